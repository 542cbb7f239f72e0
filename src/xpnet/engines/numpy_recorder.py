"""The NumPy engine's recorder: leaf operations that compute into their own buffers.

Each appends the call it made, bound to its buffers, to a list; from the second step on the list is
the step. What this trades readability for, each measured (docs/performance.md):

- every result goes into a buffer the recording owns (``out=``), most of them in place;
- layers up to ``NARROW`` wide keep their buffers feature-major, wider ones example-major;
- a product with few units and many inputs is computed example-major, its bias added into place;
- bias gradients are matrix-vector products, ReLU's slope a product with booleans;
- the optimiser runs over cache-sized blocks;
- numbers that change from step to step are 0-d views of one small array.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from xpnet._typing import Array
from xpnet.core.activations import Activation, identity, relu, sigmoid, tanh
from xpnet.core.leaves import Batch, Leaves
from xpnet.core.losses import Loss, bernoulli, categorical, log_loss_range, poisson, squared
from xpnet.core.masks import scale, threshold
from xpnet.core.network import PREFIX
from xpnet.core.optimizers import (
    OPTIMIZERS,
    Adam,
    AdamW,
    GradientDescent,
    Moments,
    Momentum,
    RMSProp,
)
from xpnet.core.parameters import Layer, Layout
from xpnet.engines.generic import overwrite
from xpnet.engines.numpy_dropout import Fields
from xpnet.engines.numpy_sparse import SparseRows

NARROW = 256  # widest layer kept feature-major
BLOCK = 32768  # elements the optimiser works on at a time: 128 kB of float32
LINE = 64  # bytes
WIDE = 2**19  # parameters from which the gradient may be of one layer at a time
RULES = {rule.kind.update for rule in OPTIMIZERS.values() if rule.elementwise}


class Recorder(Leaves):
    """Leaf operations that compute into their own buffers and record their calls."""

    def __init__(
        self,
        xp: Any,
        layout: Layout,
        dtype: Any,
        m: int,
        dropout: Sequence[float] = (),
        memory: Array | None = None,  # of another recording
        ranks: Any = None,  # see ``Leaves``
    ) -> None:
        super().__init__(xp, layout)
        self.ranks = ranks
        self.dtype = dtype
        self.m = m
        self.calls: list[Callable[[], Any]] = []
        self.products: list[Array] = []  # the outputs of those in the forward pass
        self.dropping = {l: n for l, (n, p) in enumerate(zip(layout.sizes[1:], dropout)) if p > 0}
        self.fields: Fields | None = None
        work = -(-min(layout.n_parameters, BLOCK) // LINE) * LINE  # what follows begins a line
        self.memory = aligned((work + self.room(),), dtype) if memory is None else memory
        self.scratch = self.memory[:work]
        self.gradient, self.gradients = self.place_gradient(self.memory[work:])
        self.ones = np.ones(m, dtype)
        self.shares = np.full(m, 1.0 / m, dtype)  # of each example in the cost
        self.half, self.one, self.zero = (self.scalar(v) for v in (0.5, 1.0, 0.0))

    def room(self) -> int:
        """Numbers that the gradient takes, and where it is added up the cost beside it."""
        return self.layout.n_parameters + (self.ranks is not None)

    def place_gradient(self, memory: Array) -> tuple[Array, list[Layer]]:
        gradient = memory[: self.layout.n_parameters]
        return gradient, self.layout.layers(gradient, xp=np)

    def do(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls, and records the call."""
        call = partial(function, *args) if args else function
        call()
        self.calls.append(call)

    def once(self, function: Callable[..., Any], *args: Any) -> None:
        """Calls; records the call unless each batch is all examples: its result then stays."""
        if self.all_examples:
            function(*args)
        else:
            self.do(function, *args)

    def maximum(self, a: Array, b: Array, out: Array) -> None:
        # A positional `out` is deprecated here, and keywords cost a `partial` more than a closure.
        maximum = np.maximum
        self.do(lambda: maximum(a, b, out=out))

    def scalar(self, value: float) -> np.ndarray:
        return np.array(value, self.dtype)  # as ufunc operand cheaper than a float by half

    def new(self, n: int, m: int, dtype: Any = None) -> np.ndarray:
        return aligned((n, m), dtype or self.dtype, order="C" if n <= NARROW else "F")

    def like(self, x: np.ndarray, dtype: Any = None) -> np.ndarray:
        return self.new(x.shape[0], x.shape[1], dtype)

    def product(self, a: Array, b: Array, out: Array) -> Array:
        self.do(product_into(a, b, out))
        return out

    # -- reading -------------------------------------------------------------------------
    def gather(
        self, batch: Batch, share: Array | float | None = None
    ) -> tuple[Array, Array, Array]:
        (X, Y, w), index = batch
        self.all_examples = index is None
        if index is None:
            Y = self.target_rows(Y, self.dtype)
        else:
            X = self._rows(X, index)
            Y = self._rows(Y, index) if Y.ndim == 2 else self._rows_of_labels(Y, index)
            w = None if w is None else self._rows(w, index)
        if w is None:
            return X.T, Y.T, self.scalar(1.0 / self.m)
        if share is None:
            share = 1.0 / max(w.dot(self.ones), np.finfo(self.dtype).smallest_normal)
        self.once(np.multiply, w, share, self.shares)
        return X.T, Y.T, self.shares[None, :]

    def _rows(self, rows: Any, index: Array) -> Any:
        sparse = not isinstance(rows, np.ndarray)
        out = SparseRows() if sparse else np.empty((self.m, *rows.shape[1:]), self.dtype)
        # mode="raise" would buffer the output; the order of examples is in range by construction
        self.do(rows.take, index, 0, out, "clip")
        return out

    def _rows_of_labels(self, labels: Array, index: Array) -> Array:
        rows = np.zeros((self.m, self.layout.sizes[-1]), self.dtype)
        each, picked, take = np.arange(self.m), np.zeros(self.m, labels.dtype), labels.take

        def call() -> None:
            rows[each, picked] = 0.0  # those of the step before
            take(index, 0, picked, "clip")
            rows[each, picked] = 1.0

        self.do(call)
        return rows

    # -- forward -------------------------------------------------------------------------
    def affine(self, W: Array, A: Array, b: Array) -> Array:
        Z = self.new(W.shape[0], A.shape[1])
        P = np.empty(Z.T.shape, Z.dtype).T if faster_by_example(W, A) else Z
        self.products.append(self.product(W, A, P))
        self.do(np.add, P, b if len(b) > 1 else b.reshape(()), Z)
        return Z

    def activate(self, activation: Activation, Z: Array) -> Array:
        if activation == relu:
            self.maximum(Z, self.zero, Z)
        elif activation == tanh:
            self.do(np.tanh, Z, Z)
        elif activation == sigmoid:
            self._sigmoid(Z)
        elif activation != identity:
            self.do(lambda: np.copyto(Z, activation.value(Z, xp=self.xp)))
        return Z

    def drop(self, layer: int, rate: float, A: Array, key: Sequence[Array]) -> tuple[Array, Array]:
        fields = self._fields(key)[layer][self.places(self.m)[1]]  # (m, n)
        kept, D, dropped = self.like(A, bool), self.like(A), self.like(A)
        least = np.array(threshold(rate), np.uint16)
        self.do(np.greater_equal, fields.T, least, kept)
        self.do(np.multiply, kept, self.scalar(scale(rate)), D)
        self.do(np.multiply, A, D, dropped)
        return dropped, D

    def _fields(self, key: Sequence[Array]) -> Fields:
        """Random numbers of this step for all layers that drop units, drawn for the first one."""
        if self.fields is None:
            self.fields = Fields(self.dropping, self.places(self.m)[0], key)
            self.do(self.fields.advance)
        return self.fields

    def _sigmoid(self, Z: Array) -> None:
        # (1 + tanh(z/2)) / 2 is the sigmoid, needs no second buffer and cannot overflow
        self.do(np.multiply, Z, self.half, Z)
        self.do(np.tanh, Z, Z)
        self.do(np.multiply, Z, self.half, Z)
        self.do(np.add, Z, self.half, Z)

    def predict(self, loss: Loss, Z: Array) -> Array:
        loss = loss.exact
        if loss == bernoulli:
            # 1 / (1 + e^-z) keeps the digits of probabilities near 0, which tanh loses
            self.do(np.negative, Z, Z)
            self.do(np.exp, Z, Z)
            self.do(np.add, Z, self.one, Z)
            self.do(np.divide, self.one, Z, Z)
        elif loss == categorical:
            row = self._shift(Z)
            self.do(np.exp, Z, Z)
            self._sum_outputs(Z, row[0])
            self.do(np.divide, Z, row, Z)
        elif loss == poisson:
            self.do(np.exp, Z, Z)
        elif loss != squared:
            reference = super().predict
            self.do(lambda: np.copyto(Z, reference(loss, Z)))
        return Z

    def output(self, loss: Loss, Z: Array, Y: Array, s: Array) -> tuple[Array, Array]:
        cost, dZ = self.scalar(0.0), self.like(Z)
        known = {
            bernoulli: self._bernoulli,
            categorical: self._categorical,
            squared: self._squared,
            poisson: self._poisson,
        }
        if loss.exact in known:
            known[loss.exact](loss.reported, Z, Y, s, cost, dZ)
        else:
            reference = super().output

            def call() -> None:
                cost[()], dZ[...] = reference(loss, Z, Y, s)

            self.do(call)
        return cost, dZ

    def _sum_outputs(self, x: Array, out: Array) -> None:
        """``out`` (m,) becomes the sums over the rows of ``x`` (n, m), by a product."""
        self.do(np.ones(x.shape[0], self.dtype).dot, x, out)

    def _shift(self, Z: Array) -> Array:
        """Shifts each column so that its largest entry is 0; returns a row to work in, (1, m)."""
        row = np.empty((1, Z.shape[1]), self.dtype)
        self.do(np.maximum.reduce, Z, 0, None, row, True)
        self.do(np.subtract, Z, row, Z)
        return row

    def _clip(self, losses: Array) -> None:
        low, high = (self.scalar(v) for v in log_loss_range(self.dtype, xp=np))
        self.maximum(losses, low, losses)
        minimum = np.minimum
        self.do(lambda: minimum(losses, high, out=losses))

    def _weighted_sum(self, losses: Array, cost: Array) -> None:
        """``cost`` becomes the mean of ``losses`` (n, m), summed over rows."""
        row = losses[0]
        if len(losses) > 1:
            row = np.empty(losses.shape[1], self.dtype)
            self._sum_outputs(losses, row)
        self.do(row.dot, self.shares, cost)

    def _squared(self, reported: bool, Z: Array, Y: Array, s: Array, *out: Array) -> None:
        cost, dZ = out
        self.do(np.subtract, Z, Y, Z)
        self.do(np.multiply, Z, s, dZ)
        self.do(flat(Z).dot, flat(dZ), cost)
        half = self.scalar(0.5 / Z.shape[0]) if reported else self.half
        self.do(np.multiply, cost, half, cost)

    def _bernoulli(self, reported: bool, Z: Array, Y: Array, s: Array, *out: Array) -> None:
        cost, dZ = out
        # With t = tanh(z/2)/2 the output is 1/2 + t, and the loss
        # max(z, 0) - z y + log(1 + e^-|z|) = |z|/2 - z (y - 1/2) - log(1/2 + |t|).
        losses, t, centred = self.like(Z), self.like(Z), self.like(Z)
        self.once(np.subtract, Y, self.half, centred)
        self.do(np.multiply, Z, centred, t)
        self.do(np.multiply, Z, self.half, Z)
        self.do(np.absolute, Z, losses)
        self.do(np.subtract, losses, t, losses)
        self.do(np.tanh, Z, Z)
        self.do(np.multiply, Z, self.half, Z)
        self.do(np.absolute, Z, t)
        self.do(np.add, t, self.half, t)
        self.do(np.log, t, t)
        self.do(np.subtract, losses, t, losses)
        if reported:
            self._clip(losses)
        self._weighted_sum(losses, cost)
        self.do(np.subtract, Z, centred, dZ)
        self.do(np.multiply, dZ, s, dZ)

    def _categorical(self, reported: bool, Z: Array, Y: Array, s: Array, *out: Array) -> None:
        cost, dZ = out
        # The loss is log(sum e^z) - sum(y z). Weighted and summed over examples, the second
        # term is one product of sY and Z, which does not pass through losses of examples.
        losses, sY = np.empty((1, Z.shape[1]), self.dtype), self.like(Z)
        row, picked = self._shift(Z), self.scalar(0.0)
        if reported:
            picked = np.empty_like(losses)
            self.do(np.multiply, Z, Y, sY)
            self._sum_outputs(sY, picked[0])
        self.do(np.multiply, Y, s, sY)
        if not reported:
            self.do(flat(Z).dot, flat(sY), picked)
        # A confident net has e^z below the normal numbers, and products of subnormal ones are 40
        # times slower. What is added here is far below the rounding of a sum that is at least 1.
        least = self.scalar(np.log(np.finfo(self.dtype).smallest_normal) / 2)
        self.maximum(Z, least, Z)
        self.do(np.exp, Z, Z)
        self._sum_outputs(Z, row[0])
        self.do(np.log, row, losses)
        if reported:
            self.do(np.subtract, losses, picked, losses)
            self._clip(losses)
        self._weighted_sum(losses, cost)
        if not reported:
            self.do(np.subtract, cost, picked, cost)
        self.do(np.divide, s, row, row)  # the share goes into the normaliser: one row, not n_y
        self.do(np.multiply, Z, row, Z)
        self.do(np.subtract, Z, sY, dZ)

    def _poisson(self, reported: bool, Z: Array, Y: Array, s: Array, *out: Array) -> None:
        cost, dZ = out
        # A - Y Z + Y (log Y - 1) with A = e^Z, where 0 log 0 = 0
        losses, t = self.like(Z), self.like(Z)
        tiny = self.scalar(np.finfo(self.dtype).smallest_normal)
        self.maximum(Y, tiny, t)
        self.do(np.log, t, t)
        self.do(np.subtract, t, self.one, t)
        self.do(np.subtract, t, Z, t)
        self.do(np.multiply, t, Y, losses)
        self.do(np.exp, Z, Z)
        self.do(np.add, losses, Z, losses)
        self._weighted_sum(losses, cost)
        self.do(np.subtract, Z, Y, dZ)
        self.do(np.multiply, dZ, s, dZ)

    # -- backward ------------------------------------------------------------------------
    def weight_gradient(self, layer: int, dZ: Array, A_prev: Array) -> Array:
        return self.product(dZ, A_prev.T, self.gradients[layer].W)

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        self.do(dZ.dot, self.ones, self.gradients[layer].b[:, 0])
        return self.gradients[layer].b

    def propagate(self, W: Array, dZ: Array) -> Array:
        return self.product(W.T, dZ, self.new(W.shape[1], dZ.shape[1]))

    def undrop(self, dA: Array, D: Array) -> Array:
        self.do(np.multiply, dA, D, dA)
        return dA

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        if activation == relu:
            positive = self.like(A, bool)
            self.do(np.greater, A, self.zero, positive)
            self.do(np.multiply, dA, positive, dA)
        elif activation == tanh:
            self.do(np.multiply, A, A, A)
            self.do(np.subtract, self.one, A, A)
            self.do(np.multiply, dA, A, dA)
        elif activation == sigmoid:
            t = self.like(A)
            self.do(np.subtract, self.one, A, t)
            self.do(np.multiply, A, t, A)
            self.do(np.multiply, dA, A, dA)
        elif activation != identity:
            self.do(lambda: np.multiply(dA, activation.slope(A, xp=self.xp), dA))
        return dA

    def flatten(self, gradients: list[Layer]) -> Array:
        return self.gradient  # the layers' gradients are views of it

    def allreduce(self, cost: Array, gradient: Array) -> tuple[Array, Array]:
        if self.ranks is not None:
            vector = self.memory[-len(gradient) - 1 :]  # the gradient, and room for the cost
            last = vector[-1:].reshape(())
            self.do(np.copyto, last, cost)
            self.do(self.ranks.add_up, vector)
            self.do(np.copyto, cost, last)
        return cost, gradient

    def penalize_cost(self, l2: Array, theta: Array, cost: Array) -> Array:
        weights, total = theta[: self.layout.n_weights], self.scalar(0.0)
        self.do(weights.dot, weights, total)
        self.do(np.multiply, total, self.half, total)
        self.do(np.multiply, total, l2, total)
        self.do(np.add, cost, total, cost)
        return cost

    def penalize_gradient(self, l2: Array, theta: Array, gradient: Array) -> Array:
        for w, g in self._blocks(theta[: self.layout.n_weights], gradient):
            t = self.scratch[: len(w)]
            self.do(np.multiply, w, l2, t)
            self.do(np.add, g, t, g)
        return gradient

    def sparsify_cost(self, l1: Array, theta: Array, cost: Array) -> Array:
        total, ones = self.scalar(0.0), np.ones(min(self.layout.n_weights, BLOCK), self.dtype)
        sizes = self.scratch
        for (w,) in self._blocks(theta[: self.layout.n_weights]):
            self.do(np.absolute, w, sizes[: len(w)])
            self.do(sizes[: len(w)].dot, ones[: len(w)], total)
            self.do(np.multiply, total, l1, total)
            self.do(np.add, cost, total, cost)
        return cost

    def sparsify_gradient(self, l1: Array, theta: Array, gradient: Array) -> Array:
        for w, g in self._blocks(theta[: self.layout.n_weights], gradient):
            t = self.scratch[: len(w)]
            self.do(np.sign, w, t)
            self.do(np.multiply, t, l1, t)
            self.do(np.add, g, t, g)
        return gradient

    def clip(self, clip_norm: Array, gradient: Array) -> Array:
        norm, factor = self.scalar(0.0), self.scalar(0.0)
        self.do(gradient.dot, gradient, norm)
        self.do(np.sqrt, norm, norm)
        self.maximum(norm, clip_norm, factor)
        self.do(np.divide, clip_norm, factor, factor)
        self.do(np.subtract, norm, norm, norm)  # 0, or NaN: see the reference
        self.do(np.add, factor, norm, factor)
        self.do(np.multiply, gradient, factor, gradient)
        return gradient

    # -- update --------------------------------------------------------------------------
    def _blocks(self, *vectors: Array) -> list[Sequence[Array]]:
        """Matching cache-sized views of flat vectors, as far as the first one goes."""
        n = len(vectors[0])
        return [[v[i : min(i + BLOCK, n)] for v in vectors] for i in range(0, n, BLOCK)]

    def update(
        self,
        optimizer: Any,
        theta: Array,
        moments: Moments,
        gradient: Array,
        scalars: tuple[Array, ...],
    ) -> tuple[Array, Moments]:
        moves: dict[Any, Callable[..., None]] = {
            GradientDescent.update: self._descend,
            Momentum.update: self._momentum,
            RMSProp.update: self._rmsprop,
            Adam.update: self._adam,
            AdamW.update: self._adam,
        }
        rule: Any = type(optimizer).update
        if rule not in moves:
            reference = super().update

            def call() -> None:
                new, others = reference(optimizer, theta, moments, gradient, scalars)
                overwrite((theta, *moments), (new, *others), xp=self.xp)

            self.do(call)
            return theta, moments
        if rule is AdamW.update:
            self.decay(theta, scalars[2])
        for block in self._blocks(theta, gradient, *moments):
            moves[rule](optimizer, scalars, self.scratch[: len(block[0])], *block)
        return theta, moments

    def decay(self, theta: Array, kept: Array) -> None:
        weights = theta[: self.layout.n_weights]
        self.do(np.multiply, weights, kept, weights)

    def _descend(self, rule: Any, scalars: Moments, t: Array, theta: Array, g: Array) -> None:
        self.do(np.multiply, g, scalars[0], g)
        self.do(np.subtract, theta, g, theta)

    def _momentum(self, rule: Any, scalars: Moments, t: Array, *vectors: Array) -> None:
        theta, g, velocity = vectors
        mu = self.scalar(rule.momentum)
        self.do(np.multiply, g, scalars[0], g)
        self.do(np.multiply, velocity, mu, velocity)
        self.do(np.subtract, velocity, g, velocity)
        if rule.nesterov:
            self.do(np.multiply, velocity, mu, t)
            self.do(np.subtract, t, g, t)
            self.do(np.add, theta, t, theta)
        else:
            self.do(np.add, theta, velocity, theta)

    def _rmsprop(self, rule: Any, scalars: Moments, t: Array, *vectors: Array) -> None:
        theta, g, s = vectors
        self._root_mean_square(s, rule.rho, g, scalars[1], t)
        self.do(np.divide, g, t, g)
        self.do(np.multiply, g, scalars[0], g)
        self.do(np.subtract, theta, g, theta)

    def _adam(self, rule: Any, scalars: Moments, t: Array, *vectors: Array) -> None:
        theta, g, m, v = vectors
        self.do(np.multiply, m, self.scalar(rule.beta1), m)
        self.do(np.add, m, g, m)
        self._root_mean_square(v, rule.beta2, g, scalars[1], t)
        self.do(np.divide, m, t, t)
        self.do(np.multiply, t, scalars[0], t)
        self.do(np.subtract, theta, t, theta)

    def _root_mean_square(self, v: Array, beta: float, g: Array, epsilon: Array, t: Array) -> None:
        """``v := beta v + g^2``, ``t := sqrt(v) + epsilon``."""
        self.do(np.multiply, v, self.scalar(beta), v)
        self.do(np.multiply, g, g, t)
        self.do(np.add, v, t, v)
        self.do(np.sqrt, v, t)
        self.do(np.add, t, epsilon, t)


class ByLayer(Recorder):
    """Moves a layer's weights once nothing reads them: the gradient is of one layer at a time.

    To be mixed into a recorder. What it saves is memory: the rules work entry by entry, so results
    are the same to the last bit. Biases wait for ``update``. It adds the penalties of its
    ``objective``: the step that it records is to have none.
    """

    objective: Any
    optimizer: Any
    state: tuple[Array, Moments]  # parameters and moments
    scalars: Sequence[Array]  # a row of ``network.step_table``
    waiting: int | None = None  # the layer whose gradient is in the buffer

    @staticmethod
    def suits(objective: Any, optimizer: Any) -> bool:
        """Whether nothing needs the whole gradient, and the buffer is much smaller than it."""
        layout: Layout = objective.layout
        largest = most_weights(layout)
        wide = layout.n_parameters >= WIDE and 4 * largest <= 3 * layout.n_parameters
        return wide and not objective.clipped and type(optimizer).update in RULES

    def room(self) -> int:
        return most_weights(self.layout) + self.layout.n_parameters - self.layout.n_weights

    def place_gradient(self, memory: Array) -> tuple[Array, list[Layer]]:
        n = self.layout.n_weights
        biases = memory[most_weights(self.layout) :]
        return biases, [
            Layer(
                memory[: w.stop - w.start].reshape(shape),
                biases[b.start - n : b.stop - n, None],
            )
            for shape, w, b in self.layout.slices()
        ]

    def output(self, loss: Loss, Z: Array, Y: Array, s: Array) -> tuple[Array, Array]:
        cost, dZ = super().output(loss, Z, Y, s)
        if self.objective.penalized:  # at the parameters before any of them moves
            self.penalize_cost(self.scalars[0], self.state[0], cost)
        if self.objective.sparse:
            self.sparsify_cost(self.scalars[1], self.state[0], cost)
        return cost, dZ

    def weight_gradient(self, layer: int, dZ: Array, A_prev: Array) -> Array:
        self.waiting = layer
        return super().weight_gradient(layer, dZ, A_prev)

    def propagate(self, W: Array, dZ: Array) -> Array:
        dA = super().propagate(W, dZ)
        self._move()
        return dA

    def flatten(self, gradients: list[Layer]) -> Array:
        self._move()
        return self.gradient  # of the biases

    def _move(self) -> None:
        """Updates the weights of the layer that waits."""
        assert self.waiting is not None
        _, here, _ = list(self.layout.slices())[self.waiting]
        gradient = self.gradients[self.waiting].W.reshape(-1)
        theta, moments = self.state[0][here], tuple(x[here] for x in self.state[1])
        if self.objective.penalized:
            self.penalize_gradient(self.scalars[0], theta, gradient)
        if self.objective.sparse:
            self.sparsify_gradient(self.scalars[1], theta, gradient)
        rates = tuple(self.scalars[PREFIX:-1])
        super().update(self.optimizer, theta, moments, gradient, rates)
        self.waiting = None

    def update(
        self, optimizer: Any, theta: Array, moments: Moments, gradient: Array, scalars: Moments
    ) -> tuple[Array, Moments]:
        n = self.layout.n_weights
        super().update(optimizer, theta[n:], tuple(x[n:] for x in moments), gradient, scalars)
        return theta, moments

    def decay(self, theta: Array, kept: Array) -> None:
        if self.waiting is not None:  # else these are biases
            super().decay(theta, kept)


def most_weights(layout: Layout) -> int:
    """Weights of the layer that has most of them."""
    return max(w.stop - w.start for _, w, _ in layout.slices())


def aligned(shape: tuple[int, ...], dtype: Any, order: Literal["C", "F"] = "C") -> np.ndarray:
    """Empty memory that begins with a cache line: NumPy's loops are a tenth faster there."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + LINE - 1, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + size].view(dtype).reshape(shape, order=order)


def product_into(a: np.ndarray, b: Any, out: np.ndarray) -> Callable[[], Any]:
    """The call that computes ``a @ b`` into ``out``, whichever way its memory runs."""
    if out.flags.c_contiguous and isinstance(b, np.ndarray):
        return partial(a.dot, b, out)
    return partial(b.T.dot, a.T, out.T)


def faster_by_example(W: np.ndarray, A: Any) -> bool:
    """Whether OpenBLAS computes ``A.T @ W.T`` sooner than ``W @ A``, of float32.

    Measured with its kernels for AVX-512 (0.5 to 0.95 of the time) and AVX2 (0.75 to 1.05).
    """
    if not isinstance(A, np.ndarray):  # sparse rows: their products have an example per row
        return True
    n, n_in = W.shape
    few = 2 <= n <= 32 and n_in >= 128 and n * A.shape[1] >= 1024
    return few and W.dtype == np.float32 and A.T.flags.c_contiguous


def flat(x: np.ndarray) -> np.ndarray:
    """All entries of a contiguous array, in the order of memory: a view."""
    return x.reshape(-1, order="A")
