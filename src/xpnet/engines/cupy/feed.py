"""Minibatches of host data for the CuPy engine, copied while the previous step computes.

Two slots take turns. Each has a buffer on the host, pinned where that is allowed, one on the
device, and two events.
For the batch of step k, in slot k % 2:

    host:     wait until this slot's last copy has been made, then write the pinned buffer
    copies:   wait until this slot's last step has read the device buffer, then copy
    compute:  wait for the copy, then step, then say that the buffer has been read

The host runs ahead of the device, so while it writes batch k + 1, step k computes. Without any one
of these waits a buffer is overwritten too early; the tests leave out each of them and see that.
"""

from __future__ import annotations

import weakref
from typing import Any

import cupy
import numpy as np

from xpnet._typing import Array
from xpnet.backends.upload import host_buffer
from xpnet.core.leaves import Data


class Slot:
    """Room for one minibatch: rows of X, then of Y, then shares, in one run of memory."""

    def __init__(self, capacity: int, dtype: Any) -> None:
        self.pinned = host_buffer(capacity, dtype)
        self.device = cupy.empty((capacity,), dtype)
        self.copied = cupy.cuda.Event(disable_timing=True)
        self.used = cupy.cuda.Event(disable_timing=True)
        # The pool may have handed out memory that work on this stream still uses.
        self.used.record(cupy.cuda.get_current_stream())

    # Each wait is a method of its own, so that a test can leave it out.
    def host_waits_for_copy(self) -> None:
        self.copied.synchronize()

    def copies_wait_for_step(self, copies: cupy.cuda.Stream) -> None:
        copies.wait_event(self.used)

    def compute_waits_for_copy(self) -> None:
        cupy.cuda.get_current_stream().wait_event(self.copied)

    def step_is_enqueued(self) -> None:
        self.used.record(cupy.cuda.get_current_stream())


class Feed:
    """Gathers minibatches of host ``data`` and hands them to the device in turn."""

    def __init__(self, data: Data, batch_size: int, n_y: int) -> None:
        self.data = data
        self.widths = data.X.shape[1], n_y, 0 if data.w is None else 1
        self.copies = cupy.cuda.Stream(non_blocking=True)
        # an interrupt may leave a copy that no step waits for: the slots live until it is made
        weakref.finalize(self, self.copies.synchronize)
        self.turn = 0
        self.grow(batch_size)

    def grow(self, capacity: int) -> None:
        """New slots, with room for ``capacity`` examples."""
        self.copies.synchronize()  # it may still read the pinned buffers
        self.slots, self.capacity = [], 0  # their memory may be needed
        size = capacity * sum(self.widths)
        self.slots = [Slot(size, self.data.X.dtype) for _ in range(2)]
        self.capacity = capacity

    def load(self, rows: np.ndarray, share: float) -> int:
        """Sends these examples to the device; returns the slot that the next step reads.

        ``share`` is that of an example of weight 1.
        """
        number = self.turn % 2
        self.turn += 1
        slot = self.slots[number]
        slot.host_waits_for_copy()
        x, y, s = self._views(slot.pinned, len(rows))
        np.take(self.data.X, rows, axis=0, out=x, mode="clip")
        if self.data.Y.ndim == 1:  # class numbers
            np.equal(self.data.Y[rows, None], np.arange(y.shape[1]), out=y)
        else:
            np.take(self.data.Y, rows, axis=0, out=y, mode="clip")
        if self.data.w is not None:
            np.multiply(self.data.w[rows], share, out=s)
        slot.copies_wait_for_step(self.copies)
        size = len(rows) * sum(self.widths)
        slot.device[:size].set(slot.pinned[:size], stream=self.copies)
        slot.copied.record(self.copies)
        slot.compute_waits_for_copy()
        return number

    def minibatch(self, number: int, m: int) -> tuple[Array, Array, Array | None]:
        """x (m, n_x), y (m, n_y) and shares (m,) or None: views of a slot on the device."""
        return self._views(self.slots[number].device, m)

    def _views(self, flat: Any, m: int) -> tuple[Any, Any, Any]:
        n_x, n_y, n_w = self.widths
        x, y, s = flat[: m * n_x], flat[m * n_x : m * (n_x + n_y)], flat[m * (n_x + n_y) :][:m]
        return x.reshape(m, n_x), y.reshape(m, n_y), s if n_w else None
