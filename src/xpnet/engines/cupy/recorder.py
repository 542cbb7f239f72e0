"""Leaf operations that launch kernels and matrix products on the GPU, and record the launches.

A step of L layers is 3L - 1 products and 2L + 2 launches: gather, L - 1 times bias and
activation, output, L - 1 slopes, the column sums of all layers, one update. Penalties and dropout
ride along in these; clipping needs the norm of the whole gradient first, which is one launch more.

Examples are *rows* in this package, so that every product is a GEMM on row-major arrays and
transposed views; only ``predict`` transposes its result. An activation, loss or optimiser without
a kernel runs the reference leaf, in more launches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, lru_cache, partial
from importlib import resources
from math import prod
from typing import Any, NamedTuple

import cupy
import numpy as np

from xpnet._typing import Array
from xpnet.backends.upload import upload
from xpnet.core import masks
from xpnet.core.activations import ACTIVATIONS, Activation, identity
from xpnet.core.leaves import Batch, Leaves
from xpnet.core.losses import Loss, bernoulli, categorical, log_loss_range, poisson, squared
from xpnet.core.network import PREFIX, Key, Objective
from xpnet.core.optimizers import Adam, AdamW, GradientDescent, Moments, Momentum, RMSProp
from xpnet.core.parameters import Layer, Layout
from xpnet.engines import generic
from xpnet.engines.cupy.cublas import products

THREADS = 256
# Kernels with a stride loop need no more to fill a multiprocessor, which holds 4, 6 or 8 at a time.
MOST_BLOCKS = 24
OUTPUT_THREADS = 128  # of a block of output, if one example needs no more
SUM_THREADS = 512  # of a block of column_sums
TILE = 32  # columns that such a block adds up
SUM_BLOCKS = 512  # of all tiles, before a thread gets more than the fewest rows
ROWS = 16, 64  # the fewest and the most rows of a thread
ALIGNED = 64  # entries; each array of the scratch begins at a multiple

# What kernels.cu computes, by its numbers.
_NAMES = ("identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus")
_ACTIVATIONS = {ACTIVATIONS[name]: i for i, name in enumerate(_NAMES)}
_LOSSES = {loss: i for i, loss in enumerate((squared, bernoulli, categorical, poisson))}


class _Notice:
    """Logs that kernels were compiled: CuPy writes to it what the compiler said, if it was run."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype

    def write(self, text: str) -> None:
        logging.getLogger("xpnet").info("compiled CuPy kernels for %s", self.dtype)


@lru_cache(maxsize=4)
def kernels(dtype: str) -> Callable[[str], Any]:
    """The function ``name -> kernel`` for "float32" or "float64"; compiled on first use."""
    real = {"float32": "float", "float64": "double"}[dtype]
    source = resources.files("xpnet.engines.cupy").joinpath("kernels.cu").read_text()
    code, notice = f"typedef {real} REAL;\n{source}", _Notice(dtype)

    @cache
    def kernel(name: str) -> Any:
        made = cupy.RawKernel(code, name)
        made.compile(log_stream=notice)  # the same for each, so that CuPy compiles all at once
        return made

    return kernel


@lru_cache
def most_blocks(device: int) -> int:
    """The blocks that a kernel with a stride loop is launched in, at most."""
    multiprocessors = cupy.cuda.runtime.cudaDevAttrMultiProcessorCount
    return MOST_BLOCKS * int(cupy.cuda.runtime.deviceGetAttribute(multiprocessors, device))


def rows_at_once(m: int, tiles: int) -> int:
    """How many of ``m`` rows a block of column_sums adds up, of each of its 32 columns."""
    depth = SUM_THREADS // TILE
    return depth * min(max(-(-m * tiles // (depth * SUM_BLOCKS)), ROWS[0]), ROWS[1])


def scratch_of(objective: Objective, m: int, gathers: bool) -> int:
    """How many numbers a step of ``m`` examples writes, with the gaps between arrays."""
    n_x, *hidden, n_y = objective.sizes
    tiles = 1 + sum(-(-n // TILE) for n in objective.sizes[1:])
    sums = -(-m // rows_at_once(m, tiles)) * tiles * TILE
    dropped = zip(hidden, objective.hidden, objective.dropout, strict=False)
    copied = sum(n for n, g, rate in dropped if rate > 0 and g not in _ACTIVATIONS)
    # the gathered example; products and their derivatives, and the loss
    example = (n_x + n_y + 1) * gathers + 2 * sum(hidden) + copied + 2 * n_y + 1
    return m * example + sums + 4 * len(objective.sizes) * ALIGNED


class Held(NamedTuple):
    """A hidden layer that waits for `drop`, whose kernel also does its bias and activation."""

    activation: Activation
    Z: Array  # (m, n); from `drop` on the activations, dropped
    b: Array


class Recorder(Leaves):
    """Leaf operations on rows that launch into their own arrays and record the launches."""

    def __init__(
        self,
        layout: Layout,
        dtype: Any,
        m: int,
        run: Any = None,
        slot: int = 0,
        precision: str = "exact",
    ) -> None:
        super().__init__(cupy, layout)
        self.slot = slot
        self.dtype = np.dtype(dtype)
        self.real = self.dtype.type
        self.m = m
        self.run = run  # the Program; None where nothing is trained
        self.rates = iter(() if run is None else run.engine.objective.dropout)
        self.sums: list[tuple[Array, Array]] = []  # what column_sums adds up, and where to
        self.used = 0  # of the scratch
        self.scale: Array | None = None  # of the gradient, where it is clipped
        self.calls: list[Callable[[], Any]] = []
        self.kernel = kernels(self.dtype.name)
        self.precision = precision  # of products
        self.products = products()
        if self.products is not None:
            self.products.use(cupy.cuda.get_current_stream())

    def do(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls, and records the call."""
        call = partial(function, *args)
        call()
        self.calls.append(call)

    def launch(self, name: str, size: int, *args: Any) -> None:
        """Launches an elementwise kernel with ``size`` threads, or fewer that do more each."""
        blocks = min(-(-size // THREADS), most_blocks(cupy.cuda.device.get_device_id()))
        self.do(self.kernel(name), (blocks,), (THREADS,), args)

    def multiply(self, A: Array, B: Array, out: Array) -> None:
        if self.products is None:
            self.do(A.dot, B, out)
        elif out.size:
            self.do(*self.products.product(A, B, out, self.precision))

    def new(self, *shape: int) -> Array:
        """An array; of a step the next piece of the scratch that all its recordings share."""
        size = prod(shape)
        first, self.used = self.used, self.used - (-size // ALIGNED) * ALIGNED
        if self.run is None or first + size > len(self.run.scratch):
            return cupy.empty(shape, self.dtype)
        return self.run.scratch[first : first + size].reshape(shape)

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
        sizes = (run.examples_per_epoch, run.batch_size, self.m, n_x, n_y)
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
        self.multiply(A, W.T, Z)
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
            *(run.table, run.width, run.step_number, np.int32(layer)),
            *(*map(np.int32, (self.ranks or (0, 1))[:2]), np.uint32(T)),
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
        threads = min(1 << (n - 1).bit_length(), THREADS)  # of each example
        rows = max(1, OUTPUT_THREADS // threads)
        step_number = None if self.run is None else self.run.step_number
        low, high, scale = -np.inf, np.inf, 1.0
        if loss.reported:
            low, high = log_loss_range(self.dtype, xp=np)
            scale = 1.0 / n
        self.do(
            self.kernel("output"),
            (-(-m // rows),),
            (threads, rows),
            (
                *(np.int32(_LOSSES[loss.exact]), Z, b, _pointer(Y), _pointer(shares)),
                *(self.real(x) for x in (share, low, high, scale)),
                *(dZ, _pointer(losses), _pointer(step_number), np.int32(m), np.int32(n)),
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
        self.multiply(dZ.T, A_prev, dW)
        return dW

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        db = self.run.gradients[layer].b
        self.sums.append((dZ, db))
        return db  # computed in `flatten`

    def propagate(self, W: Array, dZ: Array) -> Array:
        dA = self.new(dZ.shape[0], W.shape[1])
        self.multiply(dZ, W, dA)
        return dA

    def undrop(self, dA: Array, D: tuple[Any, ...]) -> tuple[Array, tuple[Any, ...]]:
        return dA, D  # in `slope`

    def slope(
        self, activation: Activation, dA: Array | tuple[Array, tuple[Any, ...]], A: Array | Held
    ) -> Array:
        if isinstance(dA, tuple):
            dA, mask = dA
            known, dropped = (activation, A.Z) if isinstance(A, Held) else (identity, A)
            size, n = np.int64(dA.size), np.int32(dA.shape[1])
            args = (np.int32(_ACTIVATIONS[known]), dropped, dA, size, n, *mask)
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
        """Every bias gradient, the sum of the losses and the penalty, in one launch."""
        run, item = self.run, self.dtype.itemsize
        tiles = [(self.losses.data.ptr, 1, 1, 0)]
        for dZ, db in self.sums:
            n = dZ.shape[1]
            for j in range(0, n, TILE):
                at = (x.data.ptr + j * item for x in (dZ, db))
                tiles.append((next(at), n, min(TILE, n - j), next(at)))
        rows = rows_at_once(self.m, len(tiles))
        splits, columns = -(-self.m // rows), run.costs.shape[1]
        partial = self.new(splits, len(tiles), TILE) if splits > 1 else None
        sizes = (np.int32(x) for x in (len(tiles), splits, rows, self.m))
        self.do(
            self.kernel("column_sums"),
            (len(tiles) * splits + columns - 1,),
            (SUM_THREADS,),
            (
                *(upload(np.array(tiles, np.int64)), *sizes, _pointer(partial)),
                *(cupy.zeros(len(tiles), np.uint32), run.theta, np.int64(self.layout.n_weights)),
                *(run.table, run.width, run.step_number, run.costs, np.int32(columns)),
            ),
        )
        return run.gradient

    def allreduce(self, cost: Array, gradient: Array) -> tuple[Array, Array]:
        if self.ranks is not None:
            self.do(self._add_up, self.ranks.add_up, gradient)
        return cost, gradient  # the costs of a run are added up at its end

    def _add_up(self, add_up: Callable[[Array], Array], gradient: Array) -> None:
        total = add_up(gradient)
        if total is not gradient:
            gradient[...] = total

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
            -(-theta.size // 4),
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
    return np.intp(0) if x is None else x  # a null _pointer where there is no array
