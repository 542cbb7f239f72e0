"""The CuPy engine: few launches, no synchronisation, nothing allocated in a step.

As in ``numpy_recorder.py`` a step is recorded once and then replayed, here as a list of bound
kernel launches and matrix products into preallocated arrays (``recorder.py``, with the kernels of
``kernels.cu``). What changes from step to step (order of the examples, learning rate, where the
cost goes) lies in device memory and is found there by a step counter, also in device memory:
replaying needs no new argument and no copy, and does not wait (``program.py``). Minibatches of
data that stay on the host come from ``feed.py``.
"""

from xpnet.engines.cupy.engine import Engine

__all__ = ["Engine"]
