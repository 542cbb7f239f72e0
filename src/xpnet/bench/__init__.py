"""Behind ``xpnet bench`` and ``python -m xpnet.gpu_check``: how long things take on this machine.

Shared, from the bottom: ``machine`` (what it runs on), ``timing`` (how a thing is timed),
``products`` (the matrix products of a step, per library). For ``xpnet bench``: ``results``,
``measure`` (one net on one library), ``runner`` (a process per library). For a GPU: ``gpu_report``,
``gpu_pieces`` (what is installed), ``gpu_checks`` (CuPy against NumPy), ``gpu_timing``, ``gpu``.
"""
