"""JAX by hand: a jitted step called from Python, and a jitted scan over an epoch's steps."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np


class Net:
    def __init__(self, workload, dtype, scan):
        self.workload, self.scan = workload, scan
        X, y = workload.data(dtype)
        self.X = jnp.asarray(X)
        self.y = jnp.asarray(y[:, None].astype(dtype) if workload.binary else y)
        self.initial = workload.parameters(dtype)
        size = workload.batch_size
        self.orders = workload.orders()
        if size is not None:
            self.orders = [o.reshape(-1, size).astype(np.int32) for o in self.orders]
        step = partial(_step, hidden=workload.hidden, rate=workload.rate, adam=size is not None)

        def epoch(state, X, y, index):
            return jax.lax.scan(lambda s, rows: step(s, X[rows], y[rows]), state, index)

        def all_epochs(state, X, y):
            return jax.lax.scan(lambda s, _: step(s, X, y), state, None, length=workload.epochs)

        self.epoch = jax.jit(epoch, donate_argnums=0)
        self.all_epochs = jax.jit(all_epochs, donate_argnums=0)
        self.batch = jax.jit(lambda s, X, y, rows: step(s, X[rows], y[rows]), donate_argnums=0)
        self.full = jax.jit(step, donate_argnums=0)

    def reset(self):
        theta = [(jnp.array(W), jnp.array(b[:, 0])) for W, b in self.initial]
        zeros = partial(jax.tree.map, jnp.zeros_like)
        self.state = jax.block_until_ready((theta, zeros(theta), zeros(theta), jnp.zeros(())))

    def run(self):
        costs, state, X, y = [], self.state, self.X, self.y
        full = self.workload.batch_size is None
        if full and self.scan:
            state, costs = self.all_epochs(state, X, y)
        else:
            for order in self.orders:
                if full:
                    state, cost = self.full(state, X, y)
                    costs.append(cost)
                elif self.scan:
                    state, cost = self.epoch(state, X, y, order)
                    costs.append(cost)
                else:
                    for rows in order:
                        state, cost = self.batch(state, X, y, rows)
                        costs.append(cost)
        self.costs = np.array(jax.device_get(costs))
        self.state = jax.block_until_ready(state)

    def result(self):
        layers = [(np.array(W), np.array(b)) for W, b in self.state[0]]
        epochs = self.costs.astype(np.float64).reshape(self.workload.epochs, -1)
        return layers, epochs.mean(axis=1).tolist()


def _cost(theta, X, y, hidden):
    g = jnp.tanh if hidden == "tanh" else jax.nn.relu
    A = X
    for l, (W, b) in enumerate(theta):
        A = A @ W.T + b
        A = A if l == len(theta) - 1 else g(A)
    if A.shape[1] == 1:
        return jnp.mean(jnp.logaddexp(0.0, A) - y * A)
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(A), y[:, None], axis=1))


def _step(state, X, y, *, hidden, rate, adam):
    theta, m, v, t = state
    cost, g = jax.value_and_grad(_cost)(theta, X, y, hidden)
    if not adam:
        return (jax.tree.map(lambda p, d: p - rate * d, theta, g), m, v, t), cost
    t = t + 1
    m = jax.tree.map(lambda m, d: 0.9 * m + 0.1 * d, m, g)
    v = jax.tree.map(lambda v, d: 0.999 * v + 0.001 * d * d, v, g)
    first, second = 1 - 0.9**t, 1 - 0.999**t

    def moved(p, m, v):
        return p - rate * (m / first) / (jnp.sqrt(v / second) + 1e-8)

    return (jax.tree.map(moved, theta, m, v), m, v, t), cost


CANDIDATES = {"jax": partial(Net, scan=False), "jax-scan": partial(Net, scan=True)}
