"""The JAX engine: the reference leaves under ``jit``, many steps in one compiled loop.

Dispatching a compiled step from Python costs about 150 us, more than a small net's step; a loop
over the steps pays it once. Inside the loop the parameters are a list of layers: out of one flat
vector XLA would copy every weight, every step.

XLA compiles for every shape, which takes longer than most calls. So rows, steps and predictions
come in few sizes: what is left of the last one is padded, with examples of weight 0. Arrays in the
host's memory are cut and padded by NumPy, whose operations compile nothing. Settings are known by
what tracing makes of them (``_Settings``): a rate is no part of it, an object's new value is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet._typing import Array
from xpnet.core import masks
from xpnet.core.activations import ACTIVATIONS
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.network import Key, Objective, forward, step, value_and_gradient
from xpnet.core.optimizers import OPTIMIZERS, Moments
from xpnet.core.parameters import Layer, Layout
from xpnet.engines import generic

BLOCK = 2048  # examples at a time: one of XLA's fusions on a CPU is 100 times slower beyond
LEAST, MOST = 8, 2**22  # examples of a part that is predicted, and its numbers in X
STEPS, ORDERS = 256, 2**16  # of a compiled loop: its steps, and the numbers of their examples

Layers = list[Layer]
_FROZEN = tuple(rule.kind for rule in OPTIMIZERS.values())
# These are given the layers one by one; any other rule is given the flat vector.
_ELEMENTWISE = [rule.kind.update for rule in OPTIMIZERS.values() if rule.elementwise]


@dataclass(frozen=True)
class _Settings:
    """What a function is compiled for. Equal ones are traced to the same program."""

    traced: str
    objective: Objective = field(compare=False)
    optimizer: Any = field(compare=False, default=None)

    @classmethod
    def of(cls, objective: Objective, dtype: Any, optimizer: Any = None) -> _Settings:
        """Settings told apart by what a user's functions do now: their objects may change."""
        traced: list[Any] = [replace(objective, hidden=())]
        for n, activation in zip(objective.sizes[1:], objective.hidden):
            Z = jax.ShapeDtypeStruct((n, 2), dtype)
            own = activation != ACTIVATIONS.get(activation.name)
            both = (activation.value, activation.slope) if own else ()
            traced.append([activation.name, *(_traced(f, Z, xp=jnp) for f in both)])
        if optimizer is not None:
            rule = _frozen_rule if type(optimizer) in _FROZEN else _traced_rule
            traced.append(rule(optimizer, objective.layout, np.dtype(dtype)))
        return cls(repr(traced), objective, optimizer)


def _traced(function: Callable, *arguments: Any, **settings: Any) -> tuple[str, list[bytes]]:
    """The program that ``function`` is now, in words, and the arrays that it holds."""
    made = jax.make_jaxpr(lambda *x: function(*x, **settings))(*arguments)
    words = re.sub(r" at 0x[0-9a-f]+", "", str(made.jaxpr))  # of functions made by tracing
    return words, [np.asarray(x).tobytes() for x in made.consts]


def _traced_rule(optimizer: Any, layout: Layout, dtype: Any) -> list[Any]:
    """The program of an optimiser's rule, and whether it is applied layer by layer."""
    n_scalars = len(optimizer.scalars(np.ones(1), np.ones(1)))
    theta = jax.ShapeDtypeStruct((layout.n_parameters,), dtype)
    moments, scalar = (theta,) * optimizer.n_moments, jax.ShapeDtypeStruct((), dtype)
    arguments = theta, moments, theta, (scalar,) * n_scalars
    program = _traced(optimizer.update, *arguments, n_weights=layout.n_weights, xp=jnp)
    return [type(optimizer).update in _ELEMENTWISE, program]


# Tracing takes a millisecond, as long as a short fit of a small net; ours cannot change.
_frozen_rule = lru_cache(maxsize=64)(_traced_rule)


def _on_cpu() -> bool:
    return jax.default_backend() == "cpu"


def _as_written(product: Array) -> Array:
    """Keeps XLA from transposing a product: on a CPU these shapes lose up to half their speed."""
    return jax.lax.optimization_barrier(product) if _on_cpu() else product


class LoopLeaves(Leaves):
    """Leaves of a loop, where parameters, moments and gradients are lists of layers.

    Where a step sees all examples, ``w`` are their shares, computed before the loop.
    """

    def gather(
        self, batch: Batch, share: Array | float | None = None
    ) -> tuple[Array, Array, Array | float]:
        return super().gather(batch, 1.0 if share is None else share)

    def layers(self, theta: Layers) -> Layers:
        return theta

    def flatten(self, gradients: Layers) -> Layers:
        return gradients

    def affine(self, W: Array, A: Array, b: Array) -> Array:
        if W.shape[0] <= 32 and W.shape[1] >= 1024:
            return _as_written(A.T @ W.T).T + b
        return super().affine(W, A, b)

    def weight_gradient(self, layer: int, dZ: Array, A_prev: Array) -> Array:
        if dZ.shape[0] <= 32 and A_prev.shape[0] >= 1024:
            return _as_written(dZ.T).T @ A_prev.T
        return super().weight_gradient(layer, dZ, A_prev)

    def propagate(self, W: Array, dZ: Array) -> Array:
        if min(W.shape) >= 512:
            return _as_written(dZ.T @ W).T
        return super().propagate(W, dZ)

    def drop(self, layer: int, rate: float, A: Array, key: Key) -> tuple[Array, Array]:
        n, m = A.shape
        low0, high0, low1, high1 = (jnp.asarray(x, jnp.int32) for x in key)
        number = jnp.arange(-(-m * n // 4), dtype=jnp.int32)
        words = masks.threefry2x32(
            (low0 | (high0 << 16), low1 | (high1 << 16)), (jnp.full_like(number, layer), number)
        )
        # Out of the reference's four arrays of halves XLA would compute the words four times.
        halves = jax.lax.bitcast_convert_type(jnp.stack(words, axis=1), jnp.uint16)
        fields = halves.reshape(-1)[: m * n].reshape(m, n)
        kept = (fields >= masks.threshold(rate)).T.astype(A.dtype)
        D = masks.scale(rate) * kept  # (n, m)
        return A * D, D

    def penalize_cost(self, l2: Array | float, theta: Layers, cost: Array) -> Array:
        return cost + 0.5 * l2 * sum(jnp.sum(W * W) for W, _ in theta)

    def penalize_gradient(self, l2: Array | float, theta: Layers, gradient: Layers) -> Layers:
        return [Layer(g.W + l2 * p.W, g.b) for g, p in zip(gradient, theta, strict=True)]

    def sparsify_cost(self, l1: Array | float, theta: Layers, cost: Array) -> Array:
        return cost + l1 * sum(jnp.sum(jnp.abs(W)) for W, _ in theta)

    def sparsify_gradient(self, l1: Array | float, theta: Layers, gradient: Layers) -> Layers:
        pairs = zip(gradient, theta, strict=True)
        return [Layer(g.W + l1 * jnp.sign(p.W), g.b) for g, p in pairs]

    def clip(self, clip_norm: Array | float, gradient: Layers) -> Layers:
        norm = jnp.sqrt(sum(jnp.sum(g * g) for layer in gradient for g in layer))
        scale = clip_norm / jnp.maximum(norm, clip_norm) + (norm - norm)  # as in leaves.py
        return [Layer(scale * dW, scale * db) for dW, db in gradient]

    def update(
        self,
        optimizer: Any,
        theta: Layers,
        moments: tuple[Layers, ...],
        gradient: Layers,
        scalars: tuple[Array, ...],
    ) -> tuple[Layers, tuple[Layers, ...]]:
        if type(optimizer).update not in _ELEMENTWISE:
            flat = [self.layout.flatten(x, xp=jnp) for x in (theta, gradient, *moments)]
            theta, moments = super().update(optimizer, flat[0], tuple(flat[2:]), flat[1], scalars)
            return super().layers(theta), tuple(super(LoopLeaves, self).layers(m) for m in moments)

        places = jax.tree.structure(theta)
        arrays = zip(*(jax.tree.leaves(x) for x in (theta, gradient, *moments)), strict=True)
        news = [
            optimizer.update(p, tuple(m), g, scalars, n_weights=0 if i % 2 else len(p), xp=jnp)
            for i, (p, g, *m) in enumerate(arrays)  # W, b, W, b, ...
        ]
        layers, *others = (places.unflatten(x) for x in zip(*((p, *m) for p, m in news)))
        return layers, tuple(others)


# Each function is made anew for its settings, so that its programs go when it is forgotten. It is
# traced with the settings of the call: those that it was made for may have changed since.
@lru_cache(maxsize=64)
def _compiled_steps(settings: _Settings) -> Callable:
    """The first ``n`` steps of ``index`` and ``table``: new parameters and moments, and costs."""

    def steps(
        settings: _Settings, state: Moments, data: Data, index: Array | None, table: Array, n: int
    ) -> tuple[Moments, Array]:
        objective = settings.objective
        layout, ops = objective.layout, LoopLeaves(jnp, objective.layout)

        def one(k: Array, carried: tuple) -> tuple:
            (theta, *moments), costs = carried
            batch = Batch(data, None if index is None else index[k])
            theta, moments, cost = step(
                ops, objective, settings.optimizer, theta, tuple(moments), batch, tuple(table[k])
            )
            return (theta, *moments), costs.at[k].set(cost)

        if index is None:
            least = float(jnp.finfo(table.dtype).smallest_normal)
            w: Any = data.w
            data = data._replace(w=w / jnp.maximum(jnp.sum(w), least))
        layers = tuple(layout.layers(x, xp=jnp) for x in state)
        costs = jnp.zeros(len(table), table.dtype)
        layers, costs = jax.lax.fori_loop(0, n, one, (layers, costs))
        return tuple(layout.flatten(x, xp=jnp) for x in layers), costs

    return jax.jit(steps, static_argnums=0)


@lru_cache(maxsize=64)
def _compiled(settings: _Settings) -> tuple[Callable, Callable, Callable]:
    """The output, the cost and the cost with its gradient, over parts of the examples."""

    def predict(settings: _Settings, theta: Array, X: Array) -> Array:
        objective, m = settings.objective, X.shape[1]
        ops = Leaves(jnp, objective.layout)
        size = BLOCK if _on_cpu() and m % BLOCK == 0 else m

        def block(i: Array) -> Array:
            x = jax.lax.dynamic_slice_in_dim(X, i * size, size, axis=1)
            return ops.predict(objective.loss, forward(ops, objective, ops.layers(theta), x)[1])

        A = jnp.moveaxis(jax.lax.map(block, jnp.arange(m // size)), 0, 1)  # (n_y, blocks, size)
        return A.reshape(A.shape[0], -1)

    def cost(
        settings: _Settings, theta: Array, X: Array, Y: Array, s: Array, penalties: Array
    ) -> Array:
        objective = settings.objective
        ops, (l2, l1) = Leaves(jnp, objective.layout), penalties
        _, Z = forward(ops, objective, ops.layers(theta), X.T)
        found, _ = ops.output(objective.loss, Z, ops.target_rows(Y, X.dtype).T, s)
        if objective.penalized:
            found = ops.penalize_cost(l2, theta, found)
        return ops.sparsify_cost(l1, theta, found) if objective.sparse else found

    def whole(settings: _Settings, theta: Array, data: Data, penalties: Array) -> Any:
        ops = Leaves(jnp, settings.objective.layout)
        return value_and_gradient(ops, settings.objective, theta, Batch(data, None), *penalties)

    predicted, cost_of, whole_of = (jax.jit(f, static_argnums=0) for f in (predict, cost, whole))
    return predicted, cost_of, whole_of


def _parts(m: int, most: int) -> Iterator[tuple[slice, int]]:
    """All of ``m`` examples in parts of few sizes, and the size to which each is padded."""
    start, size = 0, LEAST
    while size < m and 4 * size <= most:
        size *= 4
    while start < m:
        rest = m - start
        while size > LEAST and size - rest > max(rest / 2, m / 8):  # too much padding
            size //= 4
        yield slice(start, min(start + size, m)), size
        start += size


def _rounded(m: int) -> int:
    """The least number above ``m`` with five binary digits before its zeros."""
    unit = 2 ** max(0, m.bit_length() - 5)
    return (m // unit + 1) * unit


def _namespace(x: Array) -> Any:
    return np if isinstance(x, np.ndarray) else jnp


def _padded(x: Array, m: int, axis: int = 0) -> Array:
    """``x`` with zeros up to ``m`` along an axis."""
    n = x.shape[axis]
    if n == m:
        return x
    widths = [(0, m - n if a == axis else 0) for a in range(x.ndim)]
    if not isinstance(x, np.ndarray):
        return jnp.pad(x, widths)
    padded = np.zeros([n + more for n, (_, more) in zip(x.shape, widths, strict=True)], x.dtype)
    padded[tuple(slice(n) for n in x.shape)] = x  # numpy.pad takes longer than a small prediction
    return padded


class Program(generic.Program):
    """An epoch is a few calls of one compiled loop. The short last minibatch is padded."""

    name = "jax"

    engine: Engine
    _room = 0  # rows of the data, padded

    def start(self) -> None:
        self._compile()
        self.load(self.data)

    def _compile(self) -> None:
        self._settings = _Settings.of(self.engine.objective, self.theta.dtype, self.optimizer)
        self._steps = _compiled_steps(self._settings)

    def load(self, data: Data) -> None:
        # At least as long as before, or a stream's short last chunk would compile a new loop.
        self._m, self._weighted = len(data.X), data.w is not None
        self._room = max(_rounded(self._m), self._room if self.batch_size else 0)
        rows = (_padded(x, self._room) for x in self.engine.rows(data))
        self.data = jax.device_put(Data(*rows), self.engine.backend.device)

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        own = (a != ACTIVATIONS.get(a.name) for a in self.engine.objective.hidden)
        if any(own) or not isinstance(self.optimizer, _FROZEN):
            # A callback may have changed them.
            self._compile()
        window, index, table = STEPS, None, table.astype(self.theta.dtype)
        if orders is not None:
            epochs, k = orders.shape
            size = self.batch_size or _rounded(k - 1)
            starts = np.arange(0, k, size)
            index = np.full((epochs, len(starts) * size), self._m, np.int32)  # of weight 0
            index[:, :k] = orders
            index = index.reshape(-1, size)
            window = max(1, min(STEPS, ORDERS // size))
            if not self._weighted:
                table[:, -1] = np.tile(1.0 / np.diff(starts, append=k), epochs)
        costs = []
        for i in range(0, len(table), window):
            rows = table[i : i + window]
            places = None if index is None else _padded(index[i : i + window], window)
            # Host arrays go with the call, which takes them to where the state is.
            inputs = self.data, places, _padded(rows, window), np.int32(len(rows))
            state = self.theta, *self.moments
            (self.theta, *moments), cost = self._steps(self._settings, state, *inputs)
            self.moments = tuple(moments)
            costs.append((cost, len(rows)))
        found = [self.engine.backend.seen(cost)[:n] for cost, n in costs]
        return found[0] if len(found) == 1 else _namespace(found[0]).concatenate(found)

    def snapshot(self) -> tuple[Array, Moments]:
        return self.theta, self.moments  # nothing is written in place


class Engine(generic.Engine):
    """See ``generic.Engine``."""

    program_type = Program
    distributes = False  # an epoch is one traced loop

    def rows(self, data: Data) -> tuple[Array, Array, Array]:
        """X, Y and the sample weights, as NumPy sees them where that may be."""
        w = np.ones(len(data.X), data.X.dtype) if data.w is None else data.w
        return self.backend.seen(data.X), self.backend.seen(data.Y), self.backend.seen(w)

    def predict(self, theta: Array, X: Array) -> Array:
        settings = _Settings.of(self.objective, theta.dtype)
        predict, seen = _compiled(settings)[0], self.backend.seen
        X, found = seen(X), []
        if self.backend.is_traced(X):
            return predict(settings, theta, X)
        for part, size in _parts(X.shape[1], MOST // X.shape[0]):
            A = predict(settings, theta, _padded(X[:, part], size, axis=1))
            found.append(seen(A)[:, : part.stop - part.start])
        return found[0] if len(found) == 1 else _namespace(found[0]).concatenate(found, axis=1)

    def value(self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0) -> Array:
        settings = _Settings.of(self.objective, theta.dtype)
        penalties, found = np.array((l2, l1), theta.dtype), []
        X, Y, w = self.rows(data)
        s = w / _namespace(w).maximum(w.sum(), float(jnp.finfo(w.dtype).smallest_normal))
        for part, size in _parts(len(X), BLOCK):
            arrays = (_padded(x[part], size) for x in (X, Y, s))
            found.append(_compiled(settings)[1](settings, theta, *arrays, penalties))
            penalties = np.zeros_like(penalties)  # they count once
        return sum(found[1:], found[0])

    def of_part(self, theta: Array, data: Data, l2: float, l1: float) -> tuple[Array, Array]:
        settings = _Settings.of(self.objective, theta.dtype)
        penalties = np.array((l2, l1), theta.dtype)
        return _compiled(settings)[2](settings, theta, data, penalties)
