"""The chain rule, once.

These functions are the mathematics of the library: the forward pass of the notes, the
backward pass that follows from it, and the step of an optimiser. They are written over leaf
operations (``leaves.py``), so an engine that has faster leaves, records them, or traces them
runs this very derivation.

Shapes: ``X`` (n_x, m), ``Y`` (n_y, m), ``A[l]`` and ``Z[l]`` (n[l], m), ``W[l]``
(n[l], n[l-1]), ``b[l]`` (n[l], 1). Examples are columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xpnet._typing import Array
from xpnet.activations import Activation
from xpnet.leaves import Batch, Leaves
from xpnet.losses import Loss
from xpnet.optimizers import Moments, Optimizer
from xpnet.parameters import Layer, Layout


@dataclass(frozen=True)
class Objective:
    """What is minimised: the mean loss of a net, plus ``l2/2 * sum(W**2)`` where asked for."""

    sizes: tuple[int, ...]
    hidden: tuple[Activation, ...]
    loss: Loss
    penalized: bool = False  # whether the step has a penalty; its coefficient is a scalar

    @property
    def layout(self) -> Layout:
        return Layout(self.sizes)


def forward(
    ops: Leaves, objective: Objective, layers: Sequence[Layer], X: Array
) -> tuple[list[Array], Array]:
    """Activations ``A[0] = X, ..., A[L-1]`` and the logits ``Z`` of the output layer."""
    A = [X]
    for activation, (W, b) in zip(objective.hidden, layers[:-1], strict=True):
        Z = ops.affine(W, A[-1], b)  # (n_out, m)
        A.append(ops.activate(activation, Z))  # (n_out, m)
    W, b = layers[-1]
    return A, ops.affine(W, A[-1], b)  # (n_y, m)


def value(
    ops: Leaves, objective: Objective, theta: Array, batch: Batch, l2: Array | float
) -> Array:
    """The cost, 0-d, at ``theta`` (n_parameters,)."""
    X, Y, s = ops.gather(batch)
    _, Z = forward(ops, objective, ops.layers(theta), X)
    cost, _ = ops.output(objective.loss, Z, Y, s)
    return ops.penalize_cost(l2, theta, cost) if objective.penalized else cost


def value_and_gradient(
    ops: Leaves, objective: Objective, theta: Array, batch: Batch, l2: Array | float
) -> tuple[Array, Array]:
    """The cost, 0-d, and its gradient (n_parameters,) at ``theta`` (n_parameters,).

    ``dZ[L] = s (A[L] - Y)``, and from there for l = L ... 1: ``dW[l] = dZ[l] A[l-1]^T``,
    ``db[l]`` = row sums of ``dZ[l]``, ``dA[l-1] = W[l]^T dZ[l]``,
    ``dZ[l-1] = dA[l-1] * g'(A[l-1])`` (Rumelhart, Hinton & Williams 1986).
    """
    X, Y, s = ops.gather(batch)
    layers = ops.layers(theta)
    A, Z = forward(ops, objective, layers, X)
    cost, dZ = ops.output(objective.loss, Z, Y, s)  # dZ (n_y, m)

    gradients: list[Layer] = []
    for l in reversed(range(len(layers))):
        # The gradients of layer l come before `slope`, which may overwrite A[l].
        dW = ops.weight_gradient(l, dZ, A[l])  # (n_out, n_in)
        db = ops.bias_gradient(l, dZ)  # (n_out, 1)
        gradients.insert(0, Layer(dW, db))
        if l > 0:
            dA = ops.propagate(layers[l].W, dZ)  # (n_in, m)
            dZ = ops.slope(objective.hidden[l - 1], dA, A[l])  # (n_in, m)

    gradient = ops.flatten(gradients)
    if objective.penalized:
        cost = ops.penalize_cost(l2, theta, cost)
        gradient = ops.penalize_gradient(l2, theta, gradient)
    return cost, gradient


def step(
    ops: Leaves,
    objective: Objective,
    optimizer: Optimizer,
    theta: Array,
    moments: Moments,
    batch: Batch,
    scalars: Sequence[Array],
) -> tuple[Array, Moments, Array]:
    """One update: new parameters, new moments, and the cost *before* the update.

    ``scalars`` are this step's numbers: the penalty's coefficient, then the optimiser's own.
    """
    l2, *rates = scalars
    cost, gradient = value_and_gradient(ops, objective, theta, batch, l2)
    theta, moments = ops.update(optimizer, theta, moments, gradient, tuple(rates))
    return theta, moments, cost
