"""Behind ``xpnet bench``: how long a training step takes on each array library of this machine.

Files, from the bottom: ``machine`` (what it runs on), ``results`` (what was found, and what follows
from it), ``products`` (matrix products alone, per library), ``measure`` (one net on one library),
``worker`` (one library in a process of its own), ``runner`` (all of them), ``report`` (JSON and
CSV), ``pictures`` (SVG).
"""
