"""A fit's training steps on the GPU: recordings, state, tables of scalars, and orders."""

from __future__ import annotations

import os
import weakref
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from itertools import starmap
from typing import Any

import cupy
import numpy as np
from cupyx.profiler import time_range

from xpnet._typing import Array
from xpnet.backends.upload import Ferry
from xpnet.core.leaves import Batch, Data
from xpnet.core.network import PREFIX, step
from xpnet.core.optimizers import Moments
from xpnet.engines import generic
from xpnet.engines.cupy.cublas import products
from xpnet.engines.cupy.feed import Feed
from xpnet.engines.cupy.graphs import Graphs
from xpnet.engines.cupy.memory import let_go, ran_out
from xpnet.engines.cupy.recorder import THREADS, Recorder, scratch_of

NVTX = os.environ.get("XPNET_NVTX") == "1"  # ranges for Nsight Systems
PENALTY_BLOCKS = 64
NORM_BLOCKS = 256
STEPS_AHEAD = 128  # steps whose orders and scalars are uploaded together
MOST_STEPS = 1024  # the same where one epoch has more
# Of a program that ran out of memory; its other arrays go.
KEPT = {"engine", "ops", "optimizer", "data", "batch_size", "guard"}
KEPT |= {"theta", "moments", "state", "states", "stream", "caller"}
RECORDINGS = 16  # kept at a time; a stream may bring batches of many lengths


class Program(generic.Program):
    """One recording per batch length; state, gradient and schedule in arrays of its own."""

    name = "cupy"

    states = 0  # copies of the state that exist: this program's, and that which the loop keeps

    def start(self) -> None:
        # a callback, or a library that it calls, may change the current stream
        self.stream = self.caller = cupy.cuda.get_current_stream()
        # The net is then there for every stream, and its memory can go to any.
        weakref.finalize(self, self.stream.synchronize)
        with self._explained():
            self._allocate()

    def _allocate(self) -> None:
        objective, dtype = self.engine.objective, self.theta.dtype
        layout = objective.layout
        # Kernels read four parameters at once: every vector has room for a last four.
        n = self.theta.size
        self.state = cupy.zeros((1 + len(self.moments), -(-n // 4) * 4), dtype)
        self.states = 1
        self.restore((self.theta, self.moments))
        self.theta, *moments = self.state[:, :n]
        self.moments = tuple(moments)
        self.gradient = cupy.zeros(self.state.shape[1], dtype)[:n]
        self.gradients = layout.layers(self.gradient, xp=cupy)
        m = len(self.data.X)
        self.examples_per_epoch = m if self.ops.ranks is None else self.ops.ranks.n
        on_host = isinstance(self.data.X, np.ndarray)
        feeds = (self.data, self.batch_size or m, layout.sizes[-1])
        self.feed = Feed(*feeds) if on_host else None
        of_an_epoch = -(-self.examples_per_epoch // self.batch_size) if self.batch_size else 1
        self.epochs_ahead = self._epochs_ahead(of_an_epoch)
        steps = min(max(self.epochs_ahead * of_an_epoch, STEPS_AHEAD), MOST_STEPS)
        self.gathers = self.batch_size is not None and self.feed is None
        self.order = cupy.empty(self.epochs_ahead * m if self.gathers else 0, np.int32)
        self.costs = cupy.zeros((steps, self._columns()), dtype)
        self.step_number = cupy.zeros(1, np.int32)
        self.width = np.int32(PREFIX + len(self.optimizer.scalars(np.ones(1), np.ones(1))) + 1)
        self.table = cupy.empty((steps, int(self.width)), dtype)
        self.orders_there, self.tables_there = Ferry(self.order.nbytes), Ferry(self.table.nbytes)
        if objective.clipped:
            # The scale, sums of squares, and how many blocks have written theirs.
            parts = min(-(-self.theta.size // THREADS), NORM_BLOCKS)
            one, squares = cupy.empty(1, dtype), cupy.empty(parts, dtype)
            self.clipping = one, squares, cupy.zeros(1, np.uint32)
        self.products = products()
        self.recordings: dict[tuple[int, int], list[Callable[[], Any]]] = {}
        self.graphs = Graphs(self.recordings, self.products, layout.n_layers)
        self.scratch: Array | None = None  # of all recordings, for batches up to the longest
        self.longest = 0

    def _epochs_ahead(self, steps: int) -> int:
        """Several short epochs make one run, if their orders stay small beside the data."""
        return max(1, min(STEPS_AHEAD // steps, self.data.X.shape[1]))

    def _columns(self) -> int:
        objective = self.engine.objective
        return 1 + (PENALTY_BLOCKS if objective.penalized or objective.sparse else 0)

    def load(self, data: Data) -> None:
        """See ``generic.Program``; no more rows than at first, where those are on the device."""
        if self.feed is not None:
            self.data = self.feed.data = data
            return
        with self._on_its_stream():
            for mine, news in zip(self.data, data, strict=True):
                if mine is not None:  # recordings read it where it is
                    cupy.copyto(mine[: len(news)], news)

    @contextmanager
    def _on_its_stream(self) -> Iterator[None]:
        """After what the current stream has been given, and before what it will be."""
        here = cupy.cuda.get_current_stream()
        if here == self.stream:
            yield
            return
        self.stream.wait_event(here.record())
        self.stream.use()
        try:
            yield
        finally:
            here.use()  # CuPy's ``with self.stream`` would not go back to a stream in use
            here.wait_event(self.stream.record())

    def join(self) -> None:
        here, before = cupy.cuda.get_current_stream(), self.caller
        if here != before:
            self.stream.wait_event(before.record())  # an evaluation there reads the parameters
            here.wait_event(self.stream.record())
            self.caller = here

    def marked(self, what: str) -> AbstractContextManager[Any]:
        return time_range(f"xpnet {what}") if NVTX else nullcontext()

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        with self._on_its_stream(), self.marked(f"run of {len(table)} steps"):
            # No closure: Python 3.11's traceback would keep this program after an error.
            costs = list(starmap(self._run, self._pieces(orders, table)))
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
        size = self.batch_size or orders.shape[1]
        steps = -(-orders.shape[1] // size)  # of an epoch, or of the part of one
        n = max(1, min(room // steps, self.epochs_ahead))
        for epoch in range(0, len(orders), n):
            several, rows = orders[epoch : epoch + n], table[epoch * steps : (epoch + n) * steps]
            for first in range(0, len(rows), room):  # once, unless one epoch is longer
                last = first + room
                yield several[:, first * size : last * size], rows[first:last]

    def _run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        if orders is not None and self.order.size:
            self.orders_there.send(orders, self.order[: orders.size].reshape(orders.shape))
        rows = table.astype(self.table.dtype)
        # The kernels always add both penalties.
        rows[:, :2] *= self.engine.objective.penalized, self.engine.objective.sparse
        self.tables_there.send(rows, self.table[: len(table)])
        self.step_number.fill(0)
        if self.products is not None:
            self.products.use(self.stream)
        lengths = []  # of minibatches that lie on the device
        for batch, scalars in zip(self.minibatches(orders), rows, strict=False):
            if self.feed is None:
                lengths.append(len(self.data.X) if batch is None else len(batch))
                continue
            assert batch is not None  # what stays on the host comes in minibatches
            if len(batch) > self.feed.capacity:
                self.recordings.clear()  # they read the slots that are given up
                with self._explained(len(batch)):
                    self.feed.grow(len(batch))
            slot = self.feed.load(batch, scalars[-1])
            self._step(len(batch), slot)
            self.feed.slots[slot].step_is_enqueued()
        self.graphs.run(lengths, self._step)
        costs = self.costs[: len(table)]
        if self.ops.ranks is not None:  # beside the first column there are only penalties
            costs[:, 0] = self.ops.ranks.add_up(costs[:, 0].copy())
        return cupy.sum(costs, axis=1)

    def _step(self, length: int, slot: int) -> None:
        calls = self.recordings.get((length, slot))
        if calls is None:
            if len(self.recordings) == RECORDINGS:
                self._forget()
            with self._explained(length), self.marked(f"record {length} examples"):
                self._record(length, slot)
            return
        for call in calls:
            call()

    def _forget(self) -> None:
        self.recordings.clear()
        self.graphs.clear()

    def _record(self, length: int, slot: int) -> None:
        """Runs a step and keeps the list of its launches."""
        if length > self.longest:
            self._forget()  # they write to the scratch that is given up
            self.scratch, self.longest = None, 0
            size = scratch_of(self.engine.objective, length, self.gathers)
            self.scratch = cupy.empty(size, self.theta.dtype)
            self.longest = length
        precision = self.engine.backend.precision
        ops = Recorder(self.ops.layout, self.theta.dtype, length, self, slot, precision)
        ops.ranks = self.ops.ranks
        scalars = [0.0] * int(self.width)  # the kernels read theirs from the table
        step(
            ops,  # whose kernels add the penalties
            replace(self.engine.objective, penalized=False, sparse=False),
            self.optimizer,
            self.theta,
            self.moments,
            Batch(self.data, None),
            scalars,
        )
        self.recordings[length, slot] = ops.calls

    # -- memory --------------------------------------------------------------------------
    def _needs(self, batch: int) -> int:
        """Bytes that a fit in such batches has to ask for, besides the states that exist."""
        (m, n_x), on_host = self.data.X.shape, isinstance(self.data.X, np.ndarray)
        objective = self.engine.objective
        steps = -(-m // batch)
        net = ((2 - self.states) * (1 + len(self.moments)) + 1) * self.theta.size
        slots = 2 * batch * (n_x + objective.sizes[-1] + 1) if on_host else 0
        tables = min(max(steps, STEPS_AHEAD), MOST_STEPS) * (self._columns() + 16)
        order = 0 if on_host else 4 * m * self._epochs_ahead(steps)
        numbers = net + slots + scratch_of(objective, batch, not on_host) + tables + NORM_BLOCKS
        return numbers * self.theta.itemsize + order + 512 * 12  # the pool rounds arrays up

    @contextmanager
    def _explained(self, batch: int | None = None) -> Iterator[None]:
        """Turns CuPy's error into a MemoryError with the bytes needed and free, and what fits."""
        try:
            yield
        except Exception as error:
            if not ran_out(error):
                raise
            cupy.cuda.get_current_stream().synchronize()  # nothing reads the feed's buffers now
            for name in vars(self).keys() - KEPT:
                delattr(self, name)
            free, batch = let_go(error), batch or self.batch_size or len(self.data.X)
            had, advice = "which its allocator does not give", "try a smaller batch_size"
            if free is not None:
                # A little is left: drivers give memory in pages of 2 MB.
                fits = bisect_right(range(1, batch), free - free // 32, key=self._needs)
                had = f"where {free:,} are free"
                advice = f"the largest batch_size that fits is {fits:,}" if fits else "none fits"
            raise MemoryError(
                f"a training step needs {self._needs(batch):,} bytes on "
                f"{self.engine.backend.device_name}, {had}: {advice}. The parameters are unchanged"
            ) from error

    def bytes_held(self) -> dict[str, int]:
        if "recordings" not in vars(self):  # it ran out of memory
            return {}
        slots = () if self.feed is None else self.feed.slots
        mine = [self.gradient, self.scratch, self.order, self.costs, self.table]
        mine += [*(slot.device for slot in slots), *[self.state] * (self.states - 1)]
        return {
            "scratch": sum(x.nbytes for x in mine if x is not None),
            "data": sum(x.nbytes for x in self.data if isinstance(x, cupy.ndarray)),
            "pinned": sum(slot.pinned.nbytes for slot in slots)
            + self.orders_there.nbytes
            + self.tables_there.nbytes,
        }

    def vectors(self) -> tuple[Array, ...]:
        return (self.state,)  # one launch sums them all

    def snapshot(self) -> tuple[Array, Moments]:
        self.states = 1  # the loop has let go of its last one
        with self._on_its_stream(), self._explained():
            theta, *moments = self.state.copy()[:, : self.theta.size]
        self.states = 2
        return theta, tuple(moments)

    def restore(self, state: tuple[Array, Moments]) -> None:
        theta, moments = state
        with self._on_its_stream():
            for mine, saved in zip(self.state, (theta, *moments), strict=True):
                cupy.copyto(mine[: saved.size], saved)
