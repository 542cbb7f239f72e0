"""What CuPy asked of a device: counted by the stand-in, or on CUDA by what CuPy and a program tell.

``XPNET_COUNTS=cuda`` takes the second way on the stand-in too, where both can be compared. A module
that imports this is skipped where CuPy has no device.
"""

from __future__ import annotations

import os
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from unittest.mock import patch

import pytest

cupy = pytest.importorskip("cupy", exc_type=ImportError)
if not cupy.cuda.is_available():
    pytest.skip("CuPy has no usable device: nox -s cupy_on_cpu", allow_module_level=True)

from cupy._core import syncdetect
from cupy_on_cpu import counting as stand_in

from xpnet.engines.cupy import cublas
from xpnet.engines.cupy.program import Program

ON_STAND_IN = os.environ.get("XPNET_CUPY_ON_CPU") == "1"


def need_cublas():
    """Skips a module whose subject is cuBLAS where CuPy makes the products."""
    if cublas.library()[0] is None:
        pytest.skip(f"no cuBLAS: {cublas.library()[1]}", allow_module_level=True)


class CudaCounts:
    """Launches and products by the recordings that ran, the rest as CuPy announces it.

    Copies are those by ``set`` and ``get``. What CUDA does not tell (copies on the device, fills)
    counts as none.
    """

    def __init__(self):
        self.found = Counter()

    def __getattr__(self, name):
        if name == "syncs":  # one call is announced, waits, or does both
            return max(self.found["announced"], self.found["waits"])
        return self.found[name]

    def count(self, owner, attribute, name):
        """A patch under which each call of ``owner.attribute`` counts."""
        real = getattr(owner, attribute)

        def counted(*args, **kwargs):
            self.found[name] += 1
            return real(*args, **kwargs)

        return patch.object(owner, attribute, counted)

    def add_recording(self, program, length, slot):
        for call in program.recordings[length, slot]:
            is_launch = isinstance(call.func, cupy.RawKernel)
            is_product = getattr(call.func, "__name__", "") in ("dot", "cublasGemmEx")
            self.found["launches" if is_launch else "gemms" if is_product else "others"] += 1


class _Hook(cupy.cuda.MemoryHook):
    name = "xpnet_counts"

    def __init__(self, found):
        self.found = found

    def alloc_preprocess(self, **kwargs):  # the pool asks the device
        self.found["mallocs"] += 1


@contextmanager
def counting_on_cuda():
    counts, step = CudaCounts(), Program._step

    def counted_step(program, length, slot):
        step(program, length, slot)
        counts.add_recording(program, length, slot)

    with ExitStack() as stack:
        stack.enter_context(patch.object(Program, "_step", counted_step))
        stack.enter_context(counts.count(syncdetect, "_is_allowed", "announced"))
        for owner in (cupy.cuda.stream._BaseStream, cupy.cuda.Event, cupy.cuda.Device):
            with suppress(AttributeError, TypeError):  # CuPy's own classes may change
                stack.enter_context(counts.count(owner, "synchronize", "waits"))
        stack.enter_context(counts.count(cupy.ndarray, "set", "h2d"))
        stack.enter_context(counts.count(cupy.ndarray, "get", "d2h"))
        stack.enter_context(_Hook(counts.found))
        yield counts


@contextmanager
def memory_limit_on_cuda(size, device=0):
    with cupy.cuda.Device(device):
        pool = cupy.get_default_memory_pool()
        before = pool.get_limit()
        pool.set_limit(size=size)
        try:
            yield
        finally:
            pool.set_limit(size=before)


def memory_used_on_cuda(device=0):
    with cupy.cuda.Device(device):
        return cupy.get_default_memory_pool().total_bytes()


if ON_STAND_IN and os.environ.get("XPNET_COUNTS") != "cuda":
    counting, memory_limit = stand_in.counting, stand_in.memory_limit
    memory_used = stand_in.memory_used
else:
    counting, memory_limit = counting_on_cuda, memory_limit_on_cuda
    memory_used = memory_used_on_cuda
