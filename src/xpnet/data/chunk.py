"""What a stream hands out: rows that are in memory for now."""

from __future__ import annotations

import mmap
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Chunk:
    """Rows in memory, on the host.

    Attributes
    ----------
    X : ndarray (k, n_x)
        float32 or float64, contiguous rows, finite.
    Y : ndarray (k,) or (k, n_y), or None
        Labels or targets as they were read; finite if they are numbers. None: the source has none.
    w : ndarray (k,) or None
        Sample weights, finite and at least 0.
    order : ndarray (at most k,) of integers, or None
        Rows of this chunk in the order to see them. It is shorter than X where an epoch goes on
        in the middle of this chunk. None: all, as they stand.
    rows : tuple of (start, stop)
        Where these rows stand in the source, in their order, counted from 0.
    """

    X: np.ndarray
    Y: np.ndarray | None
    w: np.ndarray | None = None
    order: np.ndarray | None = None
    rows: tuple[tuple[int, int], ...] = ()

    def row(self, i: int) -> int:
        """Number in the source of row ``i`` of this chunk."""
        for start, stop in self.rows:
            if i < stop - start:
                return start + i
            i -= stop - start
        raise IndexError(f"this chunk has {len(self.X)} rows")


def empty(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """An array whose memory goes back to the system with it.

    What threads take from the C library and give back often stays with the process, several times
    the size of a chunk.
    """
    size = shape[0] * shape[1] * dtype.itemsize
    if size < 2**20:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=mmap.mmap(-1, size))
