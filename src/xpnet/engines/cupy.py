"""The CuPy engine: few launches, no synchronisation, nothing allocated in a step.

As in ``numpy.py`` a step is recorded once and then replayed, here as a list of bound kernel
launches and matrix products into preallocated arrays. What changes from step to step (order of
the examples, learning rate, where the cost goes) lies in device memory and is found there by a
step counter, also in device memory: replaying needs no new argument and no copy, and does not wait.

A step of L layers is 3L - 1 products and 3L + 1 launches: gather, L - 1 times bias and
activation, output, L column sums, L - 1 slopes, one update. Penalties and dropout ride along in
these; clipping needs the norm of the whole gradient first, which is one launch more.

Examples are *rows* in this file, so that every product is a GEMM on row-major arrays and
transposed views; only ``predict`` transposes its result. An activation, loss or optimiser without
a kernel runs the reference leaf, in more launches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from importlib import resources
from traceback import clear_frames
from typing import Any, NamedTuple

import cupy
import numpy as np

from xpnet._typing import Array
from xpnet.core import masks
from xpnet.core.activations import ACTIVATIONS, Activation, identity
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.losses import Loss, bernoulli, categorical, log_loss_range, poisson, squared
from xpnet.core.network import PREFIX, Key, forward, step
from xpnet.core.optimizers import Adam, AdamW, GradientDescent, Moments, Momentum, RMSProp
from xpnet.core.parameters import Layer, Layout
from xpnet.engines import generic
from xpnet.engines.cupy_feed import Feed

THREADS = 256
MAX_BLOCKS = 1024  # kernels with a stride loop need no more to fill a large GPU
PENALTY_BLOCKS = 64
NORM_BLOCKS = 256
STEPS_AHEAD = 128  # steps whose orders and scalars are uploaded together
MOST_STEPS = 1024  # the same where one epoch has more
RECORDINGS = 16  # kept at a time; a stream may bring batches of many lengths

# What kernels.cu computes, by its numbers.
_NAMES = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus")
_ACTIVATIONS = {ACTIVATIONS[name]: i for i, name in enumerate(_NAMES)}
_LOSSES = {loss: i for i, loss in enumerate((squared, bernoulli, categorical, poisson))}


@lru_cache(maxsize=4)
def kernels(dtype: str) -> Callable[[str], Any]:
    """The function ``name -> kernel`` for "float32" or "float64"; compiled on first use."""
    logging.getLogger("xpnet").warning(
        "compiling CuPy kernels for %s: a few seconds, once per machine (CuPy keeps them)", dtype
    )
    real = {"float32": "float", "float64": "double"}[dtype]
    source = resources.files("xpnet.engines").joinpath("kernels.cu").read_text()
    return cupy.RawModule(code=f"typedef {real} REAL;\n{source}").get_function


class Held(NamedTuple):
    """A hidden layer that waits for `drop`, whose kernel also does its bias and activation."""

    activation: Activation
    Z: Array  # (m, n); from `drop` on the activations, dropped
    b: Array


class Recorder(Leaves):
    """Leaf operations on rows that launch into their own arrays and record the launches."""

    def __init__(
        self, layout: Layout, dtype: Any, m: int, run: Program | None = None, slot: int = 0
    ) -> None:
        super().__init__(cupy, layout)
        self.slot = slot
        self.dtype = np.dtype(dtype)
        self.real = self.dtype.type
        self.m = m
        self.run: Any = run  # None where nothing is trained
        self.rates = iter(() if run is None else run.engine.objective.dropout)
        self.scale: Array | None = None  # of the gradient, where it is clipped
        self.calls: list[Callable[[], Any]] = []
        self.kernel = kernels(self.dtype.name)

    def do(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls, and records the call."""
        call = partial(function, *args)
        call()
        self.calls.append(call)

    def launch(self, name: str, size: int, *args: Any) -> None:
        """Launches an elementwise kernel over ``size`` entries."""
        blocks = min(-(-size // THREADS), MAX_BLOCKS)
        self.do(self.kernel(name), (blocks,), (THREADS,), args)

    def new(self, *shape: int) -> Array:
        return cupy.empty(shape, self.dtype)

    # -- reading -------------------------------------------------------------------------
    def gather(
        self, batch: Batch, share: Array | float | None = None
    ) -> tuple[Array, Array, Array | float]:
        (X, Y, w), _ = batch
        run = self.run
        if run.feed is not None:
            x, y, s = run.feed.minibatch(self.slot, self.m)
            return x, y, 1.0 / self.m if s is None else s
        if run.batch_size is None:
            Y = run.engine.ops.target_rows(Y, X.dtype)
            return X, Y, 1.0 / self.m if w is None else w / cupy.sum(w)
        n_x, n_y = X.shape[1], self.layout.sizes[-1]
        Y, labels = (Y, None) if Y.ndim == 2 else (None, Y)
        x, y = self.new(self.m, n_x), self.new(self.m, n_y)
        s = None if w is None else self.new(self.m)
        sizes = (len(X), run.batch_size, self.m, n_x, n_y)
        self.launch(
            "gather",
            self.m * (n_x + n_y + 1),
            *(
                X,
                _pointer(Y),
                _pointer(labels),
                _pointer(w),
                run.order,
                run.step_number,
                run.table,
                run.width,
            ),
            *(np.int32(size) for size in sizes),
            *(x, y, _pointer(s)),
        )
        return x, y, 1.0 / self.m if s is None else s

    # -- forward -------------------------------------------------------------------------
    def affine(self, W: Array, A: Array, b: Array) -> tuple[Array, Array]:
        """The product without its bias, and the bias: the kernel that reads both adds it."""
        Z = self.new(A.shape[0], W.shape[0])
        self.do(A.dot, W.T, Z)
        return Z, b

    def activate(self, activation: Activation, Z_and_b: tuple[Array, Array]) -> Array | Held:
        Z, b = Z_and_b
        if next(self.rates, 0.0) > 0.0 and activation in _ACTIVATIONS:
            return Held(activation, Z, b)
        kind = _ACTIVATIONS.get(activation, _ACTIVATIONS[identity])
        n = np.int32(Z.shape[1])
        self.launch("bias_activate", Z.size, np.int32(kind), b, Z, np.int64(Z.size), n)
        if activation not in _ACTIVATIONS:
            self.do(lambda: cupy.copyto(Z, activation.value(Z, xp=cupy)))
        return Z

    def drop(
        self, layer: int, rate: float, A: Array | Held, key: Key
    ) -> tuple[Array, tuple[Any, ...]]:
        """The kernels of this and of the backward pass read the key from the table."""
        run = self.run
        T, scale = masks.threshold(rate), masks.scale(rate)
        mask = (
            *(run.table, run.width, run.step_number, np.int32(layer), np.uint32(T)),
            *(self.real(scale), self.real(1.0 - T / masks.FIELDS)),
        )
        if isinstance(A, Held):
            activation, Z, b = A
        else:  # no kernel computes the activation; `slope` needs A without dropout
            activation, Z, b = identity, self.new(*A.shape), None
            self.do(cupy.copyto, Z, A)
        kind, n = np.int32(_ACTIVATIONS[activation]), np.int32(Z.shape[1])
        args = (kind, _pointer(b), Z, np.int64(Z.size), n, *mask)
        self.launch("bias_activate_dropout", -(-Z.size // 4), *args)
        return Z, mask

    def predict(self, loss: Loss, Z_and_b: tuple[Array, Array]) -> Array:
        Z, b = Z_and_b
        if loss.exact not in _LOSSES:
            return loss.predict(Z.T + b, xp=cupy).T
        self._output(loss, Z, b, None, 0.0, Z, None)
        return Z

    def output(
        self, loss: Loss, Z_and_b: tuple[Array, Array], Y: Array, s: Array | float
    ) -> tuple[Array, Array]:
        Z, b = Z_and_b
        dZ, self.losses = self.new(*Z.shape), self.new(self.m)
        if loss.exact in _LOSSES:
            self._output(loss, Z, b, Y, s, dZ, self.losses)
        else:
            self.do(partial(self._reference_output, loss, Z, b, Y, s, dZ))
        return self.losses, dZ  # the losses are added up with the last layer's column sums

    def _output(
        self, loss: Loss, Z: Array, b: Array, Y: Any, s: Array | float, dZ: Array, losses: Any
    ) -> None:
        shares, share = (None, s) if isinstance(s, float) else (s, 0.0)
        m, n = Z.shape
        threads = min(max(32, 1 << (n - 1).bit_length()), THREADS)
        step_number = None if self.run is None else self.run.step_number
        low, high, scale = -np.inf, np.inf, 1.0
        if loss.reported:
            low, high = log_loss_range(self.dtype, xp=np)
            scale = 1.0 / n
        self.do(
            self.kernel("output"),
            (m,),
            (threads,),
            (
                *(np.int32(_LOSSES[loss.exact]), Z, b, _pointer(Y), _pointer(shares)),
                *(self.real(x) for x in (share, low, high, scale)),
                *(dZ, _pointer(losses), _pointer(step_number), np.int32(n)),
            ),
        )

    def _reference_output(
        self, loss: Loss, Z: Array, b: Array, Y: Array, s: Array | float, dZ: Array
    ) -> None:
        Z = Z.T + b
        cupy.copyto(dZ, (s * (loss.predict(Z, xp=cupy) - Y.T)).T)
        cupy.copyto(self.losses, cupy.sum(s * loss.value(Z, Y.T, xp=cupy), axis=0))
        if self.run is not None:
            self.run.step_number += 1

    # -- backward ------------------------------------------------------------------------
    def weight_gradient(self, layer: int, dZ: Array, A_prev: Array) -> Array:
        dW = self.run.gradients[layer].W
        self.do(dZ.T.dot, A_prev, dW)
        return dW

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        run = self.run
        db, (m, n) = run.gradients[layer].b, dZ.shape
        last = layer == self.layout.n_layers - 1
        blocks = -(-n // 32) + (run.costs.shape[1] if last else 0)
        self.do(
            self.kernel("column_sums"),
            (blocks,),
            (32, 16),
            (
                *(dZ, db, np.int32(m), np.int32(n), self.losses, run.theta),
                *(np.int64(self.layout.n_weights), run.table, run.width, run.step_number),
                *(run.costs, np.int32(run.costs.shape[1])),
            ),
        )
        return db

    def propagate(self, W: Array, dZ: Array) -> Array:
        dA = self.new(dZ.shape[0], W.shape[1])
        self.do(dZ.dot, W, dA)
        return dA

    def undrop(self, dA: Array, D: tuple[Any, ...]) -> tuple[Array, tuple[Any, ...]]:
        return dA, D  # in `slope`

    def slope(
        self, activation: Activation, dA: Array | tuple[Array, tuple[Any, ...]], A: Array | Held
    ) -> Array:
        if isinstance(dA, tuple):
            dA, mask = dA
            known, dropped = (activation, A.Z) if isinstance(A, Held) else (identity, A)
            args = (np.int32(_ACTIVATIONS[known]), dropped, dA, np.int64(dA.size), *mask)
            self.launch("times_slope_dropout", -(-dA.size // 4), *args)
            if isinstance(A, Held):
                return dA
        if activation in _ACTIVATIONS:
            kind = np.int32(_ACTIVATIONS[activation])
            self.launch("times_slope", dA.size, kind, A, dA, np.int64(dA.size))
        else:
            self.do(lambda: cupy.multiply(dA, activation.slope(A, xp=cupy), out=dA))
        return dA

    def flatten(self, gradients: list[Layer]) -> Array:
        return self.run.gradient

    def penalize_cost(self, l2: Any, theta: Array, cost: Array) -> Array:
        return cost  # column_sums adds it

    def penalize_gradient(self, l2: Any, theta: Array, gradient: Array) -> Array:
        return gradient  # the update adds it, and so does `clip`

    def sparsify_cost(self, l1: Any, theta: Array, cost: Array) -> Array:
        return cost  # added with L2

    def sparsify_gradient(self, l1: Any, theta: Array, gradient: Array) -> Array:
        return gradient  # added with L2

    def clip(self, clip_norm: Any, gradient: Array) -> Array:
        """Computes the factor by which the update multiplies the gradient."""
        run = self.run
        self.scale, parts, finished = run.clipping
        self.do(
            self.kernel("clip"),
            (parts.size,),
            (THREADS,),
            (*self._flat(gradient, run.theta), parts, finished, self.scale),
        )
        return gradient

    def _flat(self, gradient: Array, theta: Array) -> tuple[Any, ...]:
        """The arguments of every kernel that runs over the parameters."""
        run = self.run
        sizes = np.int64(theta.size), np.int64(self.layout.n_weights)
        return gradient, theta, run.table, run.width, run.step_number, *sizes

    # -- update --------------------------------------------------------------------------
    def update(
        self, optimizer: Any, theta: Array, moments: Moments, gradient: Array, scalars: Any
    ) -> tuple[Array, Moments]:
        rule: Any = type(optimizer).update
        own: tuple
        if rule is GradientDescent.update:
            name, own = "gradient_descent", ()
        elif rule is Momentum.update:
            name, own = "momentum", (self.real(optimizer.momentum), np.int32(optimizer.nesterov))
        elif rule is RMSProp.update:
            name, own = "rmsprop", (self.real(optimizer.rho),)
        elif rule in (Adam.update, AdamW.update):
            betas = self.real(optimizer.beta1), self.real(optimizer.beta2)
            name, own = "adam", (*betas, np.int32(rule is AdamW.update))
        else:
            self.do(partial(self._reference_update, optimizer, theta, moments, gradient))
            return theta, moments
        self.launch(
            name,
            theta.size,
            *(*self._flat(gradient, theta), _pointer(self.scale), *moments, *own),
        )
        return theta, moments

    def _reference_update(
        self, optimizer: Any, theta: Array, moments: Moments, gradient: Array
    ) -> None:
        row = cupy.take(self.run.table, self.run.step_number - 1, axis=0)[0]
        objective = self.run.engine.objective
        if objective.penalized:
            gradient = super().penalize_gradient(row[0], theta, gradient)
        if objective.sparse:
            gradient = super().sparsify_gradient(row[1], theta, gradient)
        if self.scale is not None:
            gradient = self.scale * gradient
        scalars = tuple(row[i] for i in range(PREFIX, row.size - 1))
        new, new_moments = super().update(optimizer, theta, moments, gradient, scalars)
        generic.overwrite((theta, *moments), (new, *new_moments), xp=self.run.engine.backend.xp)


def _pointer(x: Array | None) -> Any:
    return np.intp(0) if x is None else x  # a null pointer where there is no array


class Program(generic.Program):
    """One recording per batch length; state, gradient and schedule in arrays of its own."""

    name = "cupy"

    def start(self) -> None:
        with self._explained(self.batch_size or len(self.data.X), with_net=True):
            self._allocate()

    def _allocate(self) -> None:
        objective, dtype = self.engine.objective, self.theta.dtype
        layout = objective.layout
        self.state = cupy.stack([self.theta, *self.moments])
        self.theta, *moments = self.state
        self.moments = tuple(moments)
        self.gradient = cupy.zeros_like(self.theta)
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
            theta, *moments = self.state.copy()
        return theta, tuple(moments)

    def restore(self, state: tuple[Array, Moments]) -> None:
        theta, moments = state
        for mine, saved in zip(self.state, (theta, *moments), strict=True):
            cupy.copyto(mine, saved)


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


class Engine(generic.Engine):
    """See ``generic.Engine``. Evaluation goes on in smaller parts where memory runs out."""

    program_type = Program

    def predict(self, theta: Array, X: Array) -> Array:
        rows = X.T  # host rows are moved part by part
        out = cupy.empty((len(rows), self.objective.sizes[-1]), theta.dtype)

        def compute(part: slice) -> None:
            ops, Z = self._forward(theta, cupy.asarray(rows[part]))
            out[part] = ops.predict(self.objective.loss, Z)

        in_parts(len(rows), compute)
        return out.T

    def value(self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0) -> Array:
        X, Y, w = data
        shares = None
        if w is not None:  # they may be all zero in a part of a stream
            shares = w / np.maximum(w.sum(), np.finfo(w.dtype).tiny)

        def compute(part: slice) -> Array:
            ops, Z = self._forward(theta, cupy.asarray(X[part]))
            s = 1.0 / len(X) if shares is None else cupy.asarray(shares[part])
            rows = self.ops.target_rows(cupy.asarray(Y[part]), theta.dtype)
            return cupy.sum(ops.output(self.objective.loss, Z, rows, s)[0])

        cost = sum(in_parts(len(X), compute))
        if self.objective.penalized:
            cost = self.ops.penalize_cost(l2, theta, cost)
        return self.ops.sparsify_cost(l1, theta, cost) if self.objective.sparse else cost

    def _forward(self, theta: Array, rows: Array) -> tuple[Recorder, Any]:
        ops = Recorder(self.ops.layout, theta.dtype, len(rows))
        _, Z = forward(ops, self.objective, ops.layers(theta), rows)
        ops.calls.clear()  # they hold every layer's buffer
        return ops, Z

    def room(self) -> int:
        return free_bytes()
