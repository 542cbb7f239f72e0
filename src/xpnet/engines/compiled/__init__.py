"""The compiled engine: whole epochs of a net on NumPy arrays as one function, by Numba.

``choice.py`` says which fits it runs, ``program.py`` runs them. A step is recorded as operation
codes (``recorder.py``), which ``epoch.py`` walks over the matrices of a workspace
(``workspace.py``) with loops of its own (``operations.py``, ``tiles.py``, ``vectormath.py``).
"""
