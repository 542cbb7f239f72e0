"""The NumPy engine: a step is recorded once, then replayed.

A small net's step costs more in Python than in arithmetic. So the first step leaves behind the list
of its calls, bound to buffers (``numpy_recorder.py``). From the second step on the list is the
step: no chain rule, no allocation, no dispatch; about 1 us per entry.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.core.leaves import Batch, Data
from xpnet.core.network import forward, step, value_and_gradient
from xpnet.core.optimizers import Moments, Optimizer
from xpnet.engines import generic
from xpnet.engines.numpy_recorder import ByLayer, Recorder, aligned, product_into
from xpnet.engines.numpy_sparse import SparseRows

CHUNK = 1024  # examples predicted at a time
RECORDINGS = 16  # kept at a time; a stream may bring batches of many lengths


@cache
def with_numba(module: str) -> Any:
    """A module that needs Numba; None where that is not installed, or XPNET_NUMBA=0."""
    if os.environ.get("XPNET_NUMBA") == "0":
        return None
    try:
        importlib.import_module("numba")  # some of these modules only import others that need it
        return importlib.import_module(f"xpnet.engines.{module}")
    except ImportError:
        return None


def best_recorder() -> type[Recorder]:
    """The recorder with fused loops where Numba is installed."""
    fused = with_numba("numba")
    return Recorder if fused is None else fused.Recorder


class Program(generic.Program):
    """One recording per batch length (a last batch may be short), replayed for every step."""

    name = "numpy"

    def start(self) -> None:
        _warm_up()
        state = (self.theta, *self.moments)
        self.theta, *moments = (aligned(x.shape, x.dtype) for x in state)
        self.moments = tuple(moments)
        self.restore((state[0], state[1:]))
        self.dtype = self.theta.dtype
        self.recordings: dict[int, tuple[Array, list[Callable], Array]] = {}
        self.scalars = np.empty(0, self.dtype)
        self.shared: Array | None = None  # memory of all recordings
        self.memory, self.owns_memory = self.data, False  # where recordings read minibatches

    def load(self, data: Data) -> None:
        # Recordings are bound to arrays: where they fit, new examples go into the same ones.
        # labels have one axis, targets two
        kinds, mine = ([x is not None and x.ndim for x in d] for d in (data, self.memory))
        fits = len(data.X) <= len(self.memory.X) and kinds == mine
        if not (self.owns_memory and fits):
            empty = (None if x is None else np.empty(x.shape, x.dtype) for x in data)
            self.memory, self.owns_memory = Data(*empty), True
            self.recordings.clear()
        for memory, x in zip(self.memory, data, strict=True):
            if x is not None:
                memory[: len(x)] = x
        self.data = Data(*(None if x is None else x[: len(data.X)] for x in self.memory))
        # A recording of all examples has their number in it, and what depends on them alone.
        self.recordings = {m: r for m, r in self.recordings.items() if r[0] is not None}

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        if not self.scalars.size:
            self.scalars = np.empty(table.shape[1], self.dtype)
        scalars, rows = self.scalars, table.astype(self.dtype)
        costs = np.empty(len(rows), self.dtype)
        recording, size, m = None, -1, len(self.data.X)
        scalars[...] = rows[0]
        varies = bool(np.any(rows != rows[0]))
        for k, index in zip(range(len(rows)), self.minibatches(orders), strict=False):
            if varies:
                scalars[...] = rows[k]
            if recording is None or (index is not None and len(index) != size):
                size = m if index is None else len(index)
                recording = self.recordings.get(size)
                if recording is None:
                    costs[k] = self._record(index)
                    continue
                buffer, calls, cost = recording
            if index is not None:
                buffer[...] = index
            for call in calls:
                call()
            costs[k] = cost
        return costs

    def _record(self, index: np.ndarray | None) -> Array:
        """Runs a step and keeps the list of its calls; the step's cost."""
        m = len(self.data.X) if index is None else len(index)
        buffer = None if index is None else index.copy()
        objective, layout = self.engine.objective, self.ops.layout
        scalars = [self.scalars[i : i + 1].reshape(()) for i in range(self.scalars.size)]
        ranks = self.ops.ranks
        kind, by_layer = best_recorder(), ByLayer.suits(objective, self.optimizer)
        by_layer = by_layer and ranks is None
        kind = type("ByLayer", (ByLayer, kind), {}) if by_layer else kind
        ops = kind(self.ops.xp, layout, self.dtype, m, objective.dropout, self.shared, ranks)
        self.shared = ops.memory
        if isinstance(ops, ByLayer):
            ops.objective, ops.optimizer, ops.scalars = objective, self.optimizer, scalars
            ops.state = self.theta, self.moments
            objective = replace(objective, penalized=False, sparse=False)
        *_, cost = step(
            ops,
            objective,
            self.optimizer,
            self.theta,
            self.moments,
            Batch(self.data if buffer is None else self.memory, buffer),
            scalars,
        )
        if len(self.recordings) == RECORDINGS:
            self.recordings.clear()
        self.recordings[m] = buffer, ops.calls, cost
        return cost

    def tidy(self) -> None:
        for x, least in self.least(np.finfo(self.dtype)):
            x[np.abs(x) < least] = 0.0

    def restore(self, state: tuple[Array, Moments]) -> None:
        for mine, saved in zip((self.theta, *self.moments), (state[0], *state[1]), strict=True):
            np.copyto(mine, saved)


@lru_cache(maxsize=1)
def _warm_up() -> None:
    # In a fresh process OpenBLAS runs some products at a third of its speed until it has seen a
    # larger one; training soon meets one, a first prediction may not.
    np.dot(np.ones((128, 512), np.float32), np.ones((512, 128), np.float32))


class Engine(generic.Engine):
    """See ``generic.Engine``."""

    program_type = Program
    sparse_rows = SparseRows
    _kept: tuple[Data, Array, Array, list[Callable], Array, Array] | None = None

    def program(
        self, optimizer: Optimizer, data: Data, batch_size: int | None, *state: Any
    ) -> generic.Program:
        """A compiled program where Numba is installed and the fit allows it, else a recorded one.

        Raises
        ------
        ImportError, ValueError
            ``engines.use`` asks for a compiled one, and Numba is missing, or the fit is not one.
        """
        pinned = self.pinned == "compiled"
        recorded = self.pinned == "numpy" or self.ops.ranks is not None
        choice = None if recorded else with_numba("compiled.choice")
        if pinned and self.ops.ranks is not None:
            raise ValueError("the compiled engine does not take a communicator")
        if pinned and choice is None:
            raise ImportError(
                "the compiled engine needs Numba: pip install 'xpnet[numba]', without XPNET_NUMBA=0"
            )
        settings = self.objective, optimizer, data, batch_size
        if choice is not None:
            obstacle = choice.obstacle(*settings)
            if pinned and obstacle is not None:
                raise ValueError(f"the compiled engine does not take {obstacle}")
            if obstacle is None and (
                pinned or choice.pays(self.objective.sizes, batch_size or len(data.X))
            ):
                kind = with_numba("compiled.program").Program
                return kind(self, optimizer, data, batch_size, *state)
        return super().program(optimizer, data, batch_size, *state)

    def of_part(self, theta: Array, data: Data, l2: float, l1: float) -> tuple[Array, Array]:
        """As in ``generic.Engine``; replayed where the data are those of the last call (L-BFGS)."""
        kept = self._kept
        if kept is None or any(a is not b for a, b in zip(kept[0], data, strict=True)):
            point, penalties = theta.copy(), np.array([l2, l1], theta.dtype)
            ops = best_recorder()(self.ops.xp, self.ops.layout, theta.dtype, len(data.X))
            l2_and_l1 = penalties[:1].reshape(()), penalties[1:].reshape(())
            batch = Batch(data, None)
            cost, gradient = value_and_gradient(ops, self.objective, point, batch, *l2_and_l1)
            self._kept = data, point, penalties, ops.calls, cost, gradient
        else:
            _, point, penalties, calls, cost, gradient = kept
            point[...], penalties[...] = theta, (l2, l1)
            for call in calls:
                call()
        return cost.copy(), gradient.copy()

    def predict(self, theta: Array, X: Array) -> Array:
        """The output (n_y, m), computed a chunk of examples at a time: memory stays in cache."""
        _warm_up()
        m = X.shape[1]
        out = np.empty((m, self.objective.sizes[-1]), theta.dtype).T
        ops = Recorder(self.ops.xp, self.ops.layout, theta.dtype, 1)
        layers = ops.layers(theta)
        for start in range(0, m, CHUNK):
            x = X[:, start : start + CHUNK]
            if start == 0 or x.shape[1] < CHUNK:
                ops.calls.clear()
                ops.products.clear()
                _, Z = forward(ops, self.objective, layers, x)
                ops.predict(self.objective.loss, Z)
            else:  # the first call was the product with the chunk before
                product_into(layers[0].W, x, ops.products[0])()
                for call in ops.calls[1:]:
                    call()
            out[:, start : start + CHUNK] = Z
        return out
