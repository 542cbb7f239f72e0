"""Host arrays on their way to CuPy: cast, and laid out as rows, in two pinned buffers by turns.

CuPy itself pins as much of the host as the whole array takes, rounded up to a power of two, and
keeps it. Where nothing can be pinned (WSL2, ``ulimit -l``) the buffers are ordinary memory.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any, Literal

import cupy
import cupyx
import numpy as np

from xpnet._typing import Array

BLOCK = 32 << 20  # bytes of a buffer, at most
SMALL = 32, 1 << 20  # small ones may be more than two, together of so many bytes
STRIP = 64  # columns that are transposed together: their cache lines of the source stay


def host_buffer(size: int, dtype: Any) -> np.ndarray:
    """``size`` entries that the GPU reads without the host's help; ordinary ones if need be."""
    try:
        return cupyx.empty_pinned((size,), dtype)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        _tell_pageable(str(error))
        return np.empty(size, dtype)


@cache
def _tell_pageable(why: str) -> None:
    logging.getLogger("xpnet").info(
        "host memory cannot be pinned (%s): data go to the GPU more slowly", why
    )


class Ferry:
    """Sends host arrays of up to ``nbytes``, on the stream that is current when it is made.

    Each array is read before ``send`` returns. The host waits only where a buffer has not been read
    since its last turn; the end of a ferry waits until all is there.
    """

    def __init__(self, nbytes: int) -> None:
        self.size = min(max(nbytes, 512), BLOCK)
        self.most = max(2, min(SMALL[0], SMALL[1] // self.size))
        self.stream = cupy.cuda.get_current_stream()
        self.buffers: list[tuple[np.ndarray, cupy.cuda.Event]] = []
        self.turn = 0

    @property
    def nbytes(self) -> int:
        """Bytes of its buffers."""
        return len(self.buffers) * self.size

    def send(self, host: np.ndarray, device: Array) -> None:
        """Copies ``host`` into the contiguous ``device``, of the same shape, in its dtype."""
        flat, start = device.reshape(-1), 0
        for piece in _pieces(host, self.size // device.dtype.itemsize):
            buffer, read = self._buffer()
            stop = start + piece.size
            staged = buffer[: piece.size * device.dtype.itemsize].view(device.dtype)
            _write(staged.reshape(piece.shape), piece)
            flat[start:stop].set(staged, stream=self.stream)
            read.record(self.stream)
            start = stop

    def array(self, host: Any, dtype: Any = None, order: Literal["C", "K"] = "C") -> Array:
        """``host`` as a new array; with order "K" as it lies. What is on the GPU stays."""
        if not isinstance(host, np.ndarray):
            return cupy.asarray(host, dtype)
        if order == "K" and _by_columns(host):
            return self.array(host.T, dtype).T
        out = cupy.empty(host.shape, host.dtype if dtype is None else dtype)
        self.send(host, out)
        return out

    def _buffer(self) -> tuple[np.ndarray, cupy.cuda.Event]:
        """The one whose turn it is, and the event that says that it has been read."""
        if not self.buffers:
            # nobody may be given the memory of either side while a copy is on its way
            weakref.finalize(self, self.stream.synchronize)
        if len(self.buffers) < self.most:
            event = cupy.cuda.Event(disable_timing=True)
            self.buffers.append((host_buffer(self.size, np.uint8), event))
            return self.buffers[-1]
        buffer, read = self.buffers[self.turn % self.most]
        self.turn += 1
        if not read.done:
            read.synchronize()
        return buffer, read


def upload(x: np.ndarray, dtype: Any = None) -> Array:
    """``x`` on the current device, in row-major memory, there for every stream."""
    return Ferry(x.nbytes).array(x, dtype)  # which ends here, and waits


def _by_columns(x: np.ndarray) -> bool:
    return x.ndim == 2 and abs(x.strides[0]) < abs(x.strides[1])


def _pieces(x: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """``x`` in row-major order, in parts of at most ``size`` entries."""
    if x.size <= size:
        yield x
    elif x[0].size > size:
        for row in x:
            yield from _pieces(row, size)
    else:
        n = size // x[0].size
        yield from (x[i : i + n] for i in range(0, len(x), n))


def _write(out: np.ndarray, x: np.ndarray) -> None:
    """Copies ``x`` into ``out``, which is contiguous."""
    if not _by_columns(x):
        np.copyto(out, x, casting="unsafe")
        return
    for i in range(0, x.shape[1], STRIP):
        np.copyto(out[:, i : i + STRIP], x[:, i : i + STRIP], casting="unsafe")
