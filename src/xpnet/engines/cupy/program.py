"""A fit's training steps on the GPU: recordings, state, tables of scalars, and orders."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import clear_frames
from typing import Any

import cupy
import numpy as np

from xpnet._typing import Array
from xpnet.core.leaves import Batch, Data
from xpnet.core.network import PREFIX, step
from xpnet.core.optimizers import Moments
from xpnet.engines import generic
from xpnet.engines.cupy.feed import Feed
from xpnet.engines.cupy.memory import free_bytes
from xpnet.engines.cupy.recorder import THREADS, Recorder

PENALTY_BLOCKS = 64
NORM_BLOCKS = 256
STEPS_AHEAD = 128  # steps whose orders and scalars are uploaded together
MOST_STEPS = 1024  # the same where one epoch has more
RECORDINGS = 16  # kept at a time; a stream may bring batches of many lengths


class Program(generic.Program):
    """One recording per batch length; state, gradient and schedule in arrays of its own."""

    name = "cupy"

    def start(self) -> None:
        with self._explained(self.batch_size or len(self.data.X), with_net=True):
            self._allocate()

    def _allocate(self) -> None:
        objective, dtype = self.engine.objective, self.theta.dtype
        layout = objective.layout
        # Kernels read four parameters at once: every vector has room for a last four.
        n = self.theta.size
        self.state = cupy.zeros((1 + len(self.moments), -(-n // 4) * 4), dtype)
        self.restore((self.theta, self.moments))
        self.theta, *moments = self.state[:, :n]
        self.moments = tuple(moments)
        self.gradient = cupy.zeros(self.state.shape[1], dtype)[:n]
        self.gradients = layout.layers(self.gradient, xp=cupy)
        m, n_x = self.data.X.shape
        on_host = isinstance(self.data.X, np.ndarray)
        feeds = (self.data, self.batch_size or m, layout.sizes[-1])
        self.feed = Feed(*feeds) if on_host else None
        self.steps_per_epoch = 1 if self.batch_size is None else -(-m // self.batch_size)
        # Several short epochs make one run, if their orders stay small beside the data.
        ahead = min(STEPS_AHEAD // self.steps_per_epoch, n_x)
        self.epochs_ahead = max(1, ahead)
        steps = min(self.epochs_ahead * self.steps_per_epoch, MOST_STEPS)
        if self.feed is not None:
            steps = max(steps, STEPS_AHEAD)
        columns = 1 + (PENALTY_BLOCKS if objective.penalized or objective.sparse else 0)
        gathers = self.batch_size is not None and self.feed is None
        self.order = cupy.empty(self.epochs_ahead * m if gathers else 0, np.int32)
        self.costs = cupy.zeros((steps, columns), dtype)
        self.step_number = cupy.zeros(1, np.int32)
        self.width = np.int32(PREFIX + len(self.optimizer.scalars(np.ones(1), np.ones(1))) + 1)
        self.table = cupy.empty((steps, int(self.width)), dtype)
        if objective.clipped:
            # The scale, sums of squares, and how many blocks have written theirs.
            parts = min(-(-self.theta.size // THREADS), NORM_BLOCKS)
            one, squares = cupy.empty(1, dtype), cupy.empty(parts, dtype)
            self.clipping = one, squares, cupy.zeros(1, np.uint32)
        self.recordings: dict[tuple[int, int], list[Callable[[], Any]]] = {}

    def load(self, data: Data) -> None:
        """See ``generic.Program``; for a program that was made with host rows."""
        assert self.feed is not None
        self.data = self.feed.data = data

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        costs = [self._run(*piece) for piece in self._pieces(orders, table)]
        return costs[0] if len(costs) == 1 else cupy.concatenate(costs)

    def _pieces(
        self, orders: np.ndarray | None, table: np.ndarray
    ) -> Iterator[tuple[np.ndarray | None, np.ndarray]]:
        """The steps in pieces whose orders and scalars have room on the device."""
        room = len(self.table)
        if orders is None:
            for first in range(0, len(table), room):
                yield None, table[first : first + room]
            return
        assert self.batch_size or self.feed  # data on the device are gathered by batches
        size = self.batch_size or orders.shape[1]
        steps = -(-orders.shape[1] // size)  # of an epoch, or of the part of one
        if steps <= room:
            n = min(room // steps, self.epochs_ahead)
            for first in range(0, len(orders), n):
                last = first + n
                yield orders[first:last], table[first * steps : last * steps]
            return
        for order, rows in zip(orders, np.split(table, len(orders)), strict=True):
            for first in range(0, steps, room):
                last = first + room
                yield order[None, first * size : last * size], rows[first:last]

    def _run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        stream = cupy.cuda.get_current_stream()
        if orders is not None and self.order.size:
            self.order[: orders.size].set(orders.reshape(-1).astype(np.int32), stream=stream)
        rows = table.astype(self.table.dtype)
        # The kernels always add both penalties.
        objective = self.engine.objective
        rows[:, :2] *= objective.penalized, objective.sparse
        self.table[: len(table)].set(rows, stream=stream)
        self.step_number.fill(0)
        for batch, scalars in zip(self.minibatches(orders), rows, strict=False):
            slot = 0
            if self.feed is not None and batch is not None:
                if len(batch) > self.feed.capacity:
                    self.recordings.clear()  # they read the slots that are given up
                    with self._explained(len(batch)):
                        self.feed.grow(len(batch))
                slot = self.feed.load(batch, scalars[-1])
            self._step(len(self.data.X) if batch is None else len(batch), slot)
            if self.feed is not None:
                self.feed.step_is_enqueued(slot)
        return cupy.sum(self.costs[: len(table)], axis=1)

    def _step(self, length: int, slot: int) -> None:
        calls = self.recordings.get((length, slot))
        if calls is None:
            if len(self.recordings) == RECORDINGS:
                self.recordings.clear()
            with self._explained(length):
                self._record(length, slot)
            return
        for call in calls:
            call()

    def _record(self, length: int, slot: int) -> None:
        """Runs a step and keeps the list of its launches."""
        ops = Recorder(self.ops.layout, self.theta.dtype, length, self, slot)
        scalars = [0.0] * int(self.width)  # the kernels read theirs from the table
        step(
            ops,
            self.engine.objective,
            self.optimizer,
            self.theta,
            self.moments,
            Batch(self.data, None),
            scalars,
        )
        self.recordings[length, slot] = ops.calls

    @contextmanager
    def _explained(self, batch: int, with_net: bool = False) -> Iterator[None]:
        """Turns CuPy's error into a MemoryError with the bytes needed and free, and what fits."""
        free = free_bytes()
        try:
            yield
        except cupy.cuda.memory.OutOfMemoryError as error:
            n_x, *hidden, n_y = self.engine.objective.sizes
            item = self.data.X.dtype.itemsize
            # of each example: its rows and share (twice where prefetched), products and their
            # derivatives, and its loss
            copies = 2 if isinstance(self.data.X, np.ndarray) else 1
            example = item * (copies * (n_x + n_y + 1) + 2 * sum(hidden) + 2 * n_y + 1)
            n_vectors = 2 * (1 + len(self.moments)) + 1  # state, the copy kept of it, gradient
            net = item * n_vectors * self.ops.layout.n_parameters if with_net else 0
            rounding = 512 * (4 * len(hidden) + 16)  # the pool rounds every array up
            fits = max(0, free - net - rounding) // example
            clear_frames(error.__traceback__)  # they hold the arrays that did fit
            raise MemoryError(
                f"a training step needs {net + batch * example + rounding:,} bytes on "
                f"{self.engine.backend.device_name}, where {free:,} are free: "
                + (f"the largest batch_size that fits is {fits:,}" if fits else "no batch fits")
                + ". The net is unchanged"
            ) from error

    def vectors(self) -> tuple[Array, ...]:
        return (self.state,)  # one launch sums them all

    def snapshot(self) -> tuple[Array, Moments]:
        with self._explained(0, with_net=True):
            theta, *moments = self.state.copy()[:, : self.theta.size]
        return theta, tuple(moments)

    def restore(self, state: tuple[Array, Moments]) -> None:
        theta, moments = state
        for mine, saved in zip(self.state, (theta, *moments), strict=True):
            cupy.copyto(mine[: saved.size], saved)
