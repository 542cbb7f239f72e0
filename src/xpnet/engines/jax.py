"""The JAX engine: the reference leaves under ``jit``, an epoch in one ``lax.scan``.

Dispatching a compiled step from Python costs about 150 us, more than a small net's step; a scan
over the steps pays it once per epoch. State is donated, so XLA moves it in place. Inside the scan
the parameters are a list of layers: out of one flat vector XLA would copy every weight, every step.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet._typing import Array
from xpnet.core import masks
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.network import Key, Objective, forward, step, value, value_and_gradient
from xpnet.core.optimizers import OPTIMIZERS, Moments
from xpnet.core.parameters import Layer
from xpnet.engines import generic

CHUNK = 2048  # examples predicted at a time

Layers = list[Layer]
# These are given the layers one by one; any other rule is given the flat vector.
_ELEMENTWISE = [rule.kind.update for rule in OPTIMIZERS.values() if rule.elementwise]


@lru_cache(maxsize=64)
def _compiled(objective: Objective) -> tuple[Callable, Callable, Callable]:
    """``predict``, ``value`` and ``value_and_gradient`` of an objective, compiled on first use."""
    ops = Leaves(jnp, objective.layout)

    def predict(theta: Array, X: Array) -> Array:
        _, Z = forward(ops, objective, ops.layers(theta), X)
        return ops.predict(objective.loss, Z)

    def whole(function: Callable, theta: Array, data: Data, l2: float, l1: float) -> Array:
        return function(ops, objective, theta, Batch(data, None), l2, l1)

    return (
        jax.jit(predict),
        jax.jit(partial(whole, value)),
        jax.jit(partial(whole, value_and_gradient)),
    )


def _as_written(product: Array) -> Array:
    """Keeps XLA from transposing a product: on a CPU these shapes lose up to half their speed."""
    on_cpu = jax.default_backend() == "cpu"
    return jax.lax.optimization_barrier(product) if on_cpu else product


class ScanLeaves(Leaves):
    """Leaves of a scan, where parameters, moments and gradients are lists of layers."""

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
            return super().layers(theta), tuple(super(ScanLeaves, self).layers(m) for m in moments)

        def moved(decays: bool, p: Array, g: Array, *m: Array) -> tuple[Array, Moments]:
            n = p.shape[0] if decays else 0
            return optimizer.update(p, m, g, scalars, n_weights=n, xp=jnp)

        layers: Layers = []
        news: tuple[Layers, ...] = tuple([] for _ in moments)
        for p, g, *m in zip(theta, gradient, *moments, strict=True):
            W, m_W = moved(True, p.W, g.W, *(x.W for x in m))
            b, m_b = moved(False, p.b, g.b, *(x.b for x in m))
            layers.append(Layer(W, b))
            for new, pair in zip(news, zip(m_W, m_b, strict=True), strict=True):
                new.append(Layer(*pair))
        return layers, news


@lru_cache(maxsize=64)
def _compiled_steps(objective: Objective, optimizer: Any) -> Callable:
    """Many steps as one compiled call: one per row of ``index`` and of ``table``."""
    ops = ScanLeaves(jnp, objective.layout)

    @partial(jax.jit, donate_argnums=(0,))
    def steps(
        state: tuple[Layers, tuple[Layers, ...]], data: Data, index: Array | None, table: Array
    ) -> tuple[tuple[Layers, tuple[Layers, ...]], Array]:
        def one(state: tuple, inputs: tuple) -> tuple[tuple, Array]:
            theta, moments = state
            rows, scalars = inputs
            batch = Batch(data, rows)
            theta, moments, cost = step(
                ops, objective, optimizer, theta, moments, batch, tuple(scalars)
            )
            return (theta, moments), cost

        return jax.lax.scan(one, state, (index, table))

    return steps


@lru_cache(maxsize=64)
def _compiled_forms(objective: Objective) -> tuple[Callable, Callable]:
    """Between a list of layers and a flat vector, or a tuple of either; both make copies."""
    layout = objective.layout

    def layers(flat: tuple[Array, ...]) -> tuple[Layers, ...]:
        return tuple(layout.layers(x, xp=jnp) for x in flat)

    def vectors(layers: tuple[Layers, ...]) -> tuple[Array, ...]:
        return tuple(layout.flatten(x, xp=jnp) for x in layers)

    return jax.jit(layers), jax.jit(vectors)


class Program(generic.Program):
    """An epoch is one scan over its full minibatches, then a step for the short last one.

    Between scans the state stays a list of layers; the vectors are made when they are asked for.
    """

    _state: tuple[Layers, tuple[Layers, ...]]

    def start(self) -> None:
        optimizer: Any = self.optimizer
        self._steps = _compiled_steps(self.engine.objective, optimizer)
        self._layers, self._vectors = _compiled_forms(self.engine.objective)
        self._dtype = self.theta.dtype
        self.restore((self.theta, self.moments))

    @cached_property
    def theta(self) -> Array:
        return self._vectors((self._state[0],))[0]

    @cached_property
    def moments(self) -> Moments:  # type: ignore[override]
        return self._vectors(self._state[1])

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        size = self.batch_size
        if orders is None:
            return self._scan(None, table)
        size = size or orders.shape[1]
        costs = []
        for order, rows in zip(orders, np.split(table, len(orders)), strict=True):
            full = len(order) // size
            if full:
                costs.append(self._scan(order[: full * size].reshape(full, size), rows[:full]))
            if len(order) > full * size:
                costs.append(self._scan(order[None, full * size :], rows[full:]))
        return costs[0] if len(costs) == 1 else jnp.concat(costs)

    def _scan(self, index: np.ndarray | None, table: np.ndarray) -> Array:
        # Host arrays go with the call, which takes them to where the state is.
        index = None if index is None else index.astype(np.int32)
        table = table.astype(self._dtype)
        self._state, costs = self._steps(self._state, self.data, index, table)
        for name in ("theta", "moments"):
            self.__dict__.pop(name, None)
        return costs

    def load(self, data: Data) -> None:
        # At least as long as before, or a stream's short last chunk would compile a new scan.
        m = len(data.X)
        if self.batch_size is not None:
            m = max(m, self.data.X.shape[0])

        def padded(x: np.ndarray | None) -> Array | None:
            if x is None:
                return None
            # Copied even where nothing is padded: steps may still run when the caller reuses x,
            # and JAX may read it in place.
            rows = np.zeros((m, *x.shape[1:]), x.dtype)
            rows[: len(x)] = x
            return self.engine.backend.asarray(rows)

        self.data = Data(*(padded(x) for x in data))

    def snapshot(self) -> tuple[Array, Moments]:
        return self.theta, self.moments  # nothing is written in place

    def restore(self, state: tuple[Array, Moments]) -> None:
        self.theta, self.moments = state
        theta, *moments = self._layers((self.theta, *self.moments))
        self._state = theta, tuple(moments)


class Engine(generic.Engine):
    """See ``generic.Engine``; compiled functions are kept per objective, not per net."""

    program_type = Program

    def predict(self, theta: Array, X: Array) -> Array:
        predict = _compiled(self.objective)[0]
        # One of XLA's fusions on a CPU is a hundred times slower beyond some 2048 examples.
        parts = [predict(theta, X[:, i : i + CHUNK]) for i in range(0, X.shape[1], CHUNK)]
        return parts[0] if len(parts) == 1 else jnp.concat(parts, axis=1)

    def value(self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0) -> Array:
        return _compiled(self.objective)[1](theta, data, l2, l1)

    def value_and_gradient(
        self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0
    ) -> tuple[Array, Array]:
        return _compiled(self.objective)[2](theta, data, l2, l1)
