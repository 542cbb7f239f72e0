"""Defines the forward pass, the chain rule and the step of an optimiser, once for every engine.

These functions are the mathematics of the library: the forward pass, the backward pass that
follows from it, and the step of an optimiser. They are written over leaf operations
(``leaves.py``), so an engine with faster leaves, or one that records or traces them, runs the same
derivation.

Shapes: ``X`` (n_x, m), ``Y`` (n_y, m), ``A[l]`` and ``Z[l]`` (n[l], m), ``W[l]``
(n[l], n[l-1]), ``b[l]`` (n[l], 1). Examples are columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from xpnet._typing import Array
from xpnet.core.activations import Activation
from xpnet.core.leaves import Batch, Leaves
from xpnet.core.losses import Loss
from xpnet.core.optimizers import Moments, Optimizer
from xpnet.core.parameters import Layer, Layout

Key: TypeAlias = Sequence[Array | float]
"""The key of the dropout masks: two words, each as its lower and its upper 16 bits."""

PREFIX = 7  # scalars of a step before those of its optimiser: see `step_table`


@dataclass(frozen=True)
class Objective:
    """The cost that is minimised: the mean loss of a net plus penalties.

    The strengths of the penalties and the bound of the gradient's norm are scalars of each step.
    An objective says only whether there are any.
    """

    sizes: tuple[int, ...]
    hidden: tuple[Activation, ...]
    loss: Loss
    penalized: bool = False  # plus l2/2 * sum(W**2)
    sparse: bool = False  # plus l1 * sum(abs(W))
    dropout: tuple[float, ...] = ()  # probability in [0, 1) for each hidden layer; (): none
    clipped: bool = False  # whether the step bounds the norm of the gradient

    @property
    def layout(self) -> Layout:
        return Layout(self.sizes)


def step_table(
    optimizer: Optimizer,
    t: np.ndarray,
    rate: np.ndarray,
    *,
    l2: float | np.ndarray = 0.0,
    l1: float | np.ndarray = 0.0,
    clip_norm: float = 0.0,
    share: float | np.ndarray = 1.0,
    seed: int | None = None,
) -> np.ndarray:
    """The scalars of the steps ``t`` (steps,), counted from 1, at learning rates ``rate``.

    Each row is ``[l2, l1, clip_norm, key0_low, key0_high, key1_low, key1_high]``, then the
    optimiser's own, and last the ``share`` of an example of weight 1 in the cost of a minibatch,
    which is read where there are sample weights. The key of the dropout masks is the seed and the
    number of the step (from 0), each modulo 2^32 and as two halves of 16 bits, which float32 holds
    exactly. Without a seed there is no dropout, and the key is 0.

    Returns
    -------
    table : ndarray of float64, (steps, PREFIX + n + 1)
    """
    table = np.zeros((len(t), PREFIX))
    for column, values in enumerate((l2, l1, clip_norm)):
        table[:, column] = values
    if seed is not None:
        numbers = np.asarray(t).astype(np.int64) - 1
        for column, word in ((3, np.int64(seed % 2**32)), (5, numbers % 2**32)):
            table[:, column], table[:, column + 1] = word % 2**16, word // 2**16
    shares = np.broadcast_to(share, len(t))
    return np.column_stack([table, *optimizer.scalars(t, rate), shares])


def forward(
    ops: Leaves, objective: Objective, layers: Sequence[Layer], X: Array
) -> tuple[list[Array], Array]:
    """The activations ``A[0] = X, ..., A[L-1]`` and the logits ``Z`` of the output layer."""
    A, Z, _, _ = forward_with_dropout(ops, objective, layers, X, None)
    return A, Z


def forward_with_dropout(
    ops: Leaves, objective: Objective, layers: Sequence[Layer], X: Array, key: Key | None
) -> tuple[list[Array], Array, list[Array], list[Any]]:
    """The inputs ``A`` of the layers, the logits ``Z``, and ``G`` and ``D`` for the backward pass.

    ``G`` are the activations before dropout and ``D`` the masks: ``A[l] = G[l] * D[l]``. In a layer
    without dropout (all of them for ``key=None``) D[l] is None and A[l] is G[l].
    """
    A, G, D = [X], [X], [None]
    for l, (activation, (W, b)) in enumerate(zip(objective.hidden, layers[:-1], strict=True)):
        Z = ops.affine(W, A[-1], b)  # (n_out, m)
        G.append(ops.activate(activation, Z))  # (n_out, m)
        dropped, mask = G[-1], None
        if key is not None and objective.dropout and objective.dropout[l] > 0:
            dropped, mask = ops.drop(l, objective.dropout[l], G[-1], key)
        A.append(dropped)  # (n_out, m)
        D.append(mask)
    W, b = layers[-1]
    return A, ops.affine(W, A[-1], b), G, D  # Z (n_y, m)


def value(
    ops: Leaves,
    objective: Objective,
    theta: Array,
    batch: Batch,
    l2: Array | float = 0.0,
    l1: Array | float = 0.0,
) -> Array:
    """The cost, 0-d, at ``theta`` (n_parameters,), without dropout."""
    X, Y, s = ops.gather(batch)
    _, Z = forward(ops, objective, ops.layers(theta), X)
    cost, _ = ops.output(objective.loss, Z, Y, s)
    if objective.penalized:
        cost = ops.penalize_cost(l2, theta, cost)
    if objective.sparse:
        cost = ops.sparsify_cost(l1, theta, cost)
    return cost


def value_and_gradient(
    ops: Leaves,
    objective: Objective,
    theta: Array,
    batch: Batch,
    l2: Array | float = 0.0,
    l1: Array | float = 0.0,
    key: Key | None = None,
    share: Array | float | None = None,
) -> tuple[Array, Array]:
    """The cost, 0-d, and its gradient (n_parameters,) at ``theta`` (n_parameters,).

    ``dZ[L] = s (A[L] - Y)``, and from there for l = L ... 1: ``dW[l] = dZ[l] A[l-1]^T``,
    ``db[l]`` = row sums of ``dZ[l]``, ``dA[l-1] = W[l]^T dZ[l]``,
    ``dZ[l-1] = dA[l-1] * g'(A[l-1])`` (Rumelhart, Hinton & Williams 1986). With dropout,
    ``dA[l-1]`` is first multiplied by the mask that ``A[l-1]`` was multiplied by.
    """
    X, Y, s = ops.gather(batch, share)
    layers = ops.layers(theta)
    A, Z, G, D = forward_with_dropout(ops, objective, layers, X, key)
    cost, dZ = ops.output(objective.loss, Z, Y, s)  # dZ (n_y, m)

    gradients: list[Layer] = []
    for l in reversed(range(len(layers))):
        # The gradients of layer l come before `slope`, which may overwrite A[l] and G[l].
        dW = ops.weight_gradient(l, dZ, A[l])  # (n_out, n_in)
        db = ops.bias_gradient(l, dZ)  # (n_out, 1)
        gradients.insert(0, Layer(dW, db))
        if l > 0:
            dA = ops.propagate(layers[l].W, dZ)  # (n_in, m)
            if D[l] is not None:
                dA = ops.undrop(dA, D[l])  # (n_in, m)
            dZ = ops.slope(objective.hidden[l - 1], dA, G[l])  # (n_in, m)

    cost, gradient = ops.allreduce(cost, ops.flatten(gradients))
    if objective.penalized:
        cost = ops.penalize_cost(l2, theta, cost)
        gradient = ops.penalize_gradient(l2, theta, gradient)
    if objective.sparse:
        cost = ops.sparsify_cost(l1, theta, cost)
        gradient = ops.sparsify_gradient(l1, theta, gradient)
    return cost, gradient


def step(
    ops: Leaves,
    objective: Objective,
    optimizer: Optimizer,
    theta: Array,
    moments: Moments,
    batch: Batch,
    scalars: Sequence[Array | float],
) -> tuple[Array, Moments, Array]:
    """One update: new parameters, new moments, and the cost *before* the update.

    ``scalars`` are this step's numbers, a row of ``step_table``.
    """
    l2, l1, clip_norm = scalars[:3]
    key, rates = scalars[3:PREFIX], scalars[PREFIX:-1]
    share = None if batch.rows is None else scalars[-1]
    cost, gradient = value_and_gradient(ops, objective, theta, batch, l2, l1, key, share)
    if objective.clipped:
        gradient = ops.clip(clip_norm, gradient)
    theta, moments = ops.update(optimizer, theta, moments, gradient, tuple(rates))
    return theta, moments, cost
