"""What the GPU's memory still holds, and work that goes on in parts where it runs out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cupy


def free_bytes() -> int:
    """Bytes that the current device can still allocate, unused blocks of the pool included."""
    pool = cupy.get_default_memory_pool()
    free = cupy.cuda.Device().mem_info[0] + pool.free_bytes()
    limit = pool.get_limit()
    return min(free, limit - pool.used_bytes()) if limit else free


def in_parts(m: int, compute: Callable[[slice], Any]) -> list[Any]:
    """``compute`` over all of ``m`` examples, in halves of halves where memory runs out."""
    results, start, size = [], 0, m
    while start < m:
        part = slice(start, min(start + size, m))
        try:
            results.append(compute(part))
        except cupy.cuda.memory.OutOfMemoryError:
            if size == 1:
                raise
            size = -(-size // 2)
            cupy.get_default_memory_pool().free_all_blocks()
            continue
        start = part.stop
    return results
