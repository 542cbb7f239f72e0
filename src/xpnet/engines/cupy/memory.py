"""What the GPU's memory still holds, and work that goes on in parts where it would not do."""

from __future__ import annotations

import platform
from collections.abc import Callable
from traceback import clear_frames
from typing import Any

import cupy

from xpnet.backends.place import cupy_pool

CHUNK = 256 * 2**20  # bytes of activations that an evaluation holds at a time

# Errors besides MemoryError that say so: by the names of CuPy's classes, with CUDA's numbers.
_RAN_OUT = {
    ("CUDARuntimeError", 2),  # cudaErrorMemoryAllocation
    ("CUDADriverError", 2),  # CUDA_ERROR_OUT_OF_MEMORY, as of a module's
    ("CUBLASError", 1),  # CUBLAS_STATUS_NOT_INITIALIZED: no room for its workspace
    ("CUBLASError", 3),  # CUBLAS_STATUS_ALLOC_FAILED
}


def ran_out(error: BaseException) -> bool:
    """Whether the device has no memory left, whichever allocator says so."""
    if isinstance(error, MemoryError):
        return not type(error).__module__.startswith("numpy")  # the host has none
    return (type(error).__name__, getattr(error, "status", None)) in _RAN_OUT


def room_for_data() -> int:
    """Bytes of the device that data may take; the rest is for the net and a minibatch."""
    pool, free, total = cupy_pool(), free_bytes(), cupy.cuda.Device().mem_info[1]
    if pool is not None and 32 * pool.free_bytes() > free:
        pool.free_all_blocks()  # small arrays would split these, and keep them from large ones
    # under WSL, Windows moves what is above some 0.8 to the host instead of refusing it
    share = 0.7 if "microsoft" in platform.release().lower() else 0.8
    return int(share * (total if free is None else free))


def free_bytes() -> int | None:
    """Bytes that the current device can still allocate, unused blocks of the pool included.

    None where CuPy has an allocator that does not say, such as RMM's.
    """
    pool = cupy_pool()
    if pool is None:
        return None
    free = cupy.cuda.Device().mem_info[0] + pool.free_bytes()
    limit = pool.get_limit() if isinstance(pool, cupy.cuda.MemoryPool) else 0
    return min(free, limit - pool.used_bytes()) if limit else free


def let_go(error: BaseException) -> int | None:
    """Frees what the failed call held; returns the bytes that a large array may then take.

    Between blocks that are in use the pool keeps others, which are of no use to it.
    """
    clear_frames(error.__traceback__)
    pool, free = cupy_pool(), None
    if pool is not None:
        pool.free_all_blocks()
        free = free_bytes() - pool.free_bytes()
    return free


def in_parts(m: int, size: int, compute: Callable[[slice], Any]) -> list[Any]:
    """``compute`` of ``size`` of the ``m`` examples at a time; of half as many where that fails."""
    results, start = [], 0
    while start < m:
        part = slice(start, min(start + size, m))
        try:
            results.append(compute(part))
        except Exception as error:
            if size == 1 or not ran_out(error):
                raise
            size = -(-min(size, m) // 2)
            let_go(error)
            continue
        start = part.stop
    return results
