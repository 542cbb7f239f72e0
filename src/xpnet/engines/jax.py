"""The JAX engine: the reference leaves under ``jit``, an epoch in one ``lax.scan``.

Dispatching a compiled step from Python costs about 150 us, more than a small net's step; a scan
over the steps pays it once per epoch. State is donated, so XLA moves it in place.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xpnet._typing import Array
from xpnet.engines import generic
from xpnet.leaves import Batch, Data, Leaves
from xpnet.network import Objective, forward, step, value, value_and_gradient
from xpnet.optimizers import Moments


@lru_cache(maxsize=64)
def _compiled(objective: Objective) -> tuple[Callable, Callable, Callable]:
    """``predict``, ``value`` and ``value_and_gradient`` of an objective, compiled on first use."""
    ops = Leaves(jnp, objective.layout)

    def predict(theta: Array, X: Array) -> Array:
        _, Z = forward(ops, objective, ops.layers(theta), X)
        return ops.predict(objective.loss, Z)

    def whole(function: Callable, theta: Array, data: Data, l2: float) -> Array:
        return function(ops, objective, theta, Batch(data, None), l2)

    return (
        jax.jit(predict),
        jax.jit(partial(whole, value)),
        jax.jit(partial(whole, value_and_gradient)),
    )


@lru_cache(maxsize=64)
def _compiled_steps(objective: Objective, optimizer: Any) -> Callable:
    """Many steps as one compiled call: one per row of ``index`` and of ``table``."""
    ops = Leaves(jnp, objective.layout)

    @partial(jax.jit, donate_argnums=(0,))
    def steps(
        state: tuple[Array, Moments], data: Data, index: Array | None, table: Array
    ) -> tuple[tuple[Array, Moments], Array]:
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


class Program(generic.Program):
    """An epoch is one scan over its full minibatches, then a step for the short last one."""

    def start(self) -> None:
        self.restore((self.theta, self.moments))
        optimizer: Any = self.optimizer
        self._steps = _compiled_steps(self.engine.objective, optimizer)

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        size = self.batch_size
        if orders is None or size is None:
            return self._scan(None, table)
        costs = []
        for order, rows in zip(orders, np.split(table, len(orders)), strict=True):
            full = len(order) // size
            if full:
                costs.append(self._scan(order[: full * size].reshape(full, size), rows[:full]))
            if len(order) > full * size:
                costs.append(self._scan(order[None, full * size :], rows[full:]))
        return jnp.concat(costs)

    def _scan(self, index: np.ndarray | None, table: np.ndarray) -> Array:
        backend = self.engine.backend
        index = None if index is None else backend.asarray(index)
        state, costs = self._steps(
            (self.theta, self.moments), self.data, index, backend.asarray(table, self.theta.dtype)
        )
        self.theta, self.moments = state
        return costs

    def snapshot(self) -> tuple[Array, Moments]:
        return jnp.copy(self.theta), tuple(jnp.copy(m) for m in self.moments)

    def restore(self, state: tuple[Array, Moments]) -> None:
        theta, moments = state
        self.theta, self.moments = jnp.copy(theta), tuple(jnp.copy(m) for m in moments)


class Engine(generic.Engine):
    """See ``generic.Engine``; compiled functions are kept per objective, not per net."""

    program_type = Program

    def predict(self, theta: Array, X: Array) -> Array:
        return _compiled(self.objective)[0](theta, X)

    def value(self, theta: Array, data: Data, l2: float = 0.0) -> Array:
        return _compiled(self.objective)[1](theta, data, l2)

    def value_and_gradient(self, theta: Array, data: Data, l2: float = 0.0) -> tuple[Array, Array]:
        return _compiled(self.objective)[2](theta, data, l2)
