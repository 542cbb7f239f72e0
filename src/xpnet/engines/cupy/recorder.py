"""Leaf operations that launch kernels and matrix products on the GPU, and record the launches.

A step of L layers is 3L - 1 products and 2L + 2 launches: gather, L - 1 times bias and
activation, output, L - 1 slopes, the column sums of all layers, one update. Penalties and dropout
ride along in these; clipping needs the norm of the whole gradient first, which is one launch more.

Examples are *rows* in this package, so that every product is a GEMM on row-major arrays and
transposed views; only ``predict`` transposes its result. An activation or optimiser without a
kernel runs the reference leaf, in more launches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache, lru_cache, partial
from importlib import resources
from math import prod
from typing import Any

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
        self.rates = enumerate(() if run is None else run.engine.objective.dropout)
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

    def launch(self, name: str, blocks: int, threads: tuple[int, ...], *args: Any) -> None:
        """Launches a kernel. What is no array or scalar of NumPy's becomes one, see `_argument`."""
        self.do(self.kernel(name), (blocks,), threads, tuple(map(self._argument, args)))

    def _argument(self, x: Any) -> Any:
        if x is None:
            return np.intp(0)  # a null pointer
        if isinstance(x, int):
            return np.int32(x)
        return self.real(x) if isinstance(x, float) else x

    def launch_each(self, name: str, size: int, *args: Any) -> None:
        """Launches an elementwise kernel with ``size`` threads, or fewer that do more each."""
        blocks = min(-(-size // THREADS), most_blocks(cupy.cuda.device.get_device_id()))
        self.launch(name, blocks, (THREADS,), *args)

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
        where = run.order, run.step_number, run.table, run.width
        sizes = run.examples_per_epoch, run.batch_size, self.m, n_x, n_y
        entries = self.m * (n_x + n_y + 1)
        self.launch_each("gather", entries, X, Y, labels, w, *where, *sizes, x, y, s)
        return x, y, 1.0 / self.m if s is None else s

    # -- forward -------------------------------------------------------------------------
    def affine(self, W: Array, A: Array, b: Array) -> tuple[Array, Array]:
        """The product without its bias, and the bias: the kernel that reads both adds it."""
        Z = self.new(A.shape[0], W.shape[0])
        self.multiply(A, W.T, Z)
        return Z, b

    def activate(self, activation: Activation, Z_and_b: tuple[Array, Array]) -> Array:
        """With dropout it is dropped here, by the same kernel, if a kernel computes it at all."""
        Z, b = Z_and_b
        layer, rate = next(self.rates, (0, 0.0))
        kind = _ACTIVATIONS.get(activation, _ACTIVATIONS[identity])
        if rate > 0.0 and activation in _ACTIVATIONS:
            self._drop(kind, b, Z, self._mask(layer, rate))
            return Z
        self.launch_each("bias_activate", Z.size, kind, b, Z, np.int64(Z.size), Z.shape[1])
        if activation not in _ACTIVATIONS:
            self.do(lambda: cupy.copyto(Z, activation.value(Z, xp=cupy)))
        return Z

    def drop(self, layer: int, rate: float, A: Array, key: Key) -> tuple[Array, tuple[Any, ...]]:
        """The kernels of this and of the backward pass read the key from the table."""
        mask = self._mask(layer, rate)
        if self.run.engine.objective.hidden[layer] in _ACTIVATIONS:
            return A, mask
        dropped = self.new(*A.shape)  # `slope` needs A without dropout
        self.do(cupy.copyto, dropped, A)
        self._drop(_ACTIVATIONS[identity], None, dropped, mask)
        return dropped, mask

    def _drop(self, kind: int, b: Array | None, Z: Array, mask: tuple[Any, ...]) -> None:
        args = kind, b, Z, np.int64(Z.size), Z.shape[1], *mask
        self.launch_each("bias_activate_dropout", -(-Z.size // 4), *args)

    def _mask(self, layer: int, rate: float) -> tuple[Any, ...]:
        """What kernels with dropout take in the end."""
        run, T = self.run, masks.threshold(rate)
        own = *(self.ranks or (0, 1))[:2], np.uint32(T), masks.scale(rate), 1.0 - T / masks.FIELDS
        return run.table, run.width, run.step_number, layer, *own

    def predict(self, loss: Loss, Z_and_b: tuple[Array, Array]) -> Array:
        Z, b = Z_and_b
        self._output(loss, Z, b, None, 0.0, Z, None)
        return Z

    def output(
        self, loss: Loss, Z_and_b: tuple[Array, Array], Y: Array, s: Array | float
    ) -> tuple[Array, Array]:
        Z, b = Z_and_b
        dZ, self.losses = self.new(*Z.shape), self.new(self.m)
        self._output(loss, Z, b, Y, s, dZ, self.losses)
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
        args = _LOSSES[loss.exact], Z, b, Y, shares, share, float(low), float(high), scale
        where = dZ, losses, step_number, m, n
        self.launch("output", -(-m // rows), (threads, rows), *args, *where)

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
        self, activation: Activation, dA: Array | tuple[Array, tuple[Any, ...]], A: Array
    ) -> Array:
        kind = _ACTIVATIONS.get(activation, _ACTIVATIONS[identity])
        if isinstance(dA, tuple):
            dA, mask = dA
            args = kind, A, dA, np.int64(dA.size), dA.shape[1], *mask
            self.launch_each("times_slope_dropout", -(-dA.size // 4), *args)
        elif activation in _ACTIVATIONS:
            self.launch_each("times_slope", dA.size, kind, A, dA, np.int64(dA.size))
        if activation not in _ACTIVATIONS:
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
        self.launch(
            "column_sums",
            len(tiles) * splits + columns - 1,
            (SUM_THREADS,),
            *(upload(np.array(tiles, np.int64)), len(tiles), splits, rows, self.m, partial),
            *(cupy.zeros(len(tiles), np.uint32), run.theta, np.int64(self.layout.n_weights)),
            *(run.table, run.width, run.step_number, run.costs, columns),
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

    def clip(self, clip_norm: Any, gradient: Array) -> Array:
        """Computes the factor by which the update multiplies the gradient."""
        run = self.run
        self.scale, parts, finished = run.clipping
        args = *self._flat(gradient, run.theta), parts, finished, self.scale
        self.launch("clip", parts.size, (THREADS,), *args)
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
            name, own = "momentum", (float(optimizer.momentum), bool(optimizer.nesterov))
        elif rule is RMSProp.update:
            name, own = "rmsprop", (float(optimizer.rho),)
        elif rule in (Adam.update, AdamW.update):
            betas = float(optimizer.beta1), float(optimizer.beta2)
            name, own = "adam", (*betas, rule is AdamW.update)
        else:
            self.do(partial(self._reference_update, optimizer, theta, moments, gradient))
            return theta, moments
        args = *self._flat(gradient, theta), self.scale, *moments, *own
        self.launch_each(name, -(-theta.size // 4), *args)
        return theta, moments

    def _reference_update(
        self, optimizer: Any, theta: Array, moments: Moments, gradient: Array
    ) -> None:
        row = cupy.take(self.run.table, self.run.step_number - 1, axis=0)[0]
        objective = self.run.engine.objective
        if objective.penalized:
            gradient = self.penalize_gradient(row[0], theta, gradient)
        if objective.sparse:
            gradient = self.sparsify_gradient(row[1], theta, gradient)
        if self.scale is not None:
            gradient = self.scale * gradient
        scalars = tuple(row[i] for i in range(PREFIX, row.size - 1))
        new, new_moments = super().update(optimizer, theta, moments, gradient, scalars)
        generic.overwrite((theta, *moments), (new, *new_moments), xp=self.run.engine.backend.xp)
