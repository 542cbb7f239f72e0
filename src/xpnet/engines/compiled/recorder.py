"""Records a step as a small program: leaf operations that compute nothing but note their codes.

``network.step`` is run once over these leaves, with symbols in place of arrays. What it leaves
behind is a table of operation codes, which one compiled function walks in every step
(``epoch.py``). Every layer's gradient is held back until the optimiser asks for it: gradient,
penalties and update are then one operation, which works on a panel of weights at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xpnet.core.activations import (
    Activation,
    elu,
    identity,
    leaky_relu,
    relu,
    sigmoid,
    softplus,
    tanh,
)
from xpnet.core.leaves import Batch, Leaves
from xpnet.core.losses import Loss, bernoulli, categorical, poisson, squared
from xpnet.core.masks import threshold
from xpnet.core.network import PREFIX, Objective, step
from xpnet.core.optimizers import Adam, AdamW, GradientDescent, Moments, Momentum, RMSProp
from xpnet.core.parameters import Layer, Layout

# Operation codes. A row of a program is a code, a layer (from 0), and up to two numbers more.
GATHER, AFFINE, ACTIVATE, DROP, OUTPUT, PROPAGATE, UNDROP, SLOPE = range(8)
PENALIZE_COST, SPARSIFY_COST, GUARD, UPDATE = range(8, 12)

# The numbers of activations, losses and rules.
IDENTITY, RELU, TANH, SIGMOID, LEAKY_RELU, ELU, SOFTPLUS = range(7)
ACTIVATIONS = (identity, relu, tanh, sigmoid, leaky_relu, elu, softplus)
SQUARED, BERNOULLI, CATEGORICAL, POISSON = range(4)
LOSSES = (squared, bernoulli, categorical, poisson)
DESCENT, MOMENTUM, NESTEROV, RMSPROP, ADAM = range(5)
PENALIZED, SPARSE, DECAYED = 1, 2, 4  # flags of an update


class Rule(NamedTuple):
    """An optimiser as compiled code takes it: the number of its rule, and its fixed settings."""

    number: int
    settings: tuple[float, ...]
    decays: bool = False


def rule_of(optimizer: Any) -> Rule | None:
    """The rule of an optimiser; None where it is a user's own."""
    rule: Any = type(optimizer).update  # a subclass with other scalars keeps the rule
    if rule in (Adam.update, AdamW.update):
        settings = optimizer.beta1, optimizer.beta2
        return Rule(ADAM, settings, decays=rule is AdamW.update)
    if rule is RMSProp.update:
        return Rule(RMSPROP, (optimizer.rho,))
    if rule is Momentum.update:
        return Rule(NESTEROV if optimizer.nesterov else MOMENTUM, (optimizer.momentum,))
    return Rule(DESCENT, ()) if rule is GradientDescent.update else None


class Recorder(Leaves):
    """Leaf operations on symbols: an activation or slope is the number of its layer, from 0."""

    def __init__(self, layout: Layout) -> None:
        super().__init__(np, layout)
        self.program: list[tuple[int, ...]] = []
        self.flags = 0

    def note(self, code: int, layer: int = 0, *more: int) -> None:
        self.program.append((code, layer, *more, 0, 0)[:4])

    def note_all(self, code: int, *more: int) -> None:
        for l in range(self.layout.n_layers):
            self.note(code, l, *more)

    def gather(self, batch: Batch, share: Any = None) -> tuple[Any, Any, Any]:
        self.note(GATHER)
        return 0, None, None

    def layers(self, theta: Any) -> list[Layer]:
        return [Layer(l, l) for l in range(self.layout.n_layers)]

    def affine(self, W: int, A: int, b: int) -> int:
        self.note(AFFINE, W)
        return W

    def activate(self, activation: Activation, Z: int) -> int:
        self.note(ACTIVATE, Z, ACTIVATIONS.index(activation))
        return Z + 1

    def drop(self, layer: int, rate: float, A: int, key: Any) -> tuple[int, int]:
        self.note(DROP, layer, threshold(rate))
        return A, layer

    def output(self, loss: Loss, Z: int, Y: Any, s: Any) -> tuple[Any, int]:
        self.note(OUTPUT, Z, LOSSES.index(loss.exact), loss.reported)
        return None, Z

    def weight_gradient(self, layer: int, dZ: int, A_prev: int) -> Any:
        return layer

    def bias_gradient(self, layer: int, dZ: int) -> Any:
        return layer

    def propagate(self, W: int, dZ: int) -> int:
        self.note(PROPAGATE, W)
        return W - 1

    def undrop(self, dA: int, D: int) -> int:
        self.note(UNDROP, D)
        return dA

    def slope(self, activation: Activation, dA: int, A: int) -> int:
        self.note(SLOPE, dA, ACTIVATIONS.index(activation))
        return dA

    def flatten(self, gradients: list[Layer]) -> list[Layer]:
        return gradients

    def penalize_cost(self, l2: Any, theta: Any, cost: Any) -> Any:
        self.note_all(PENALIZE_COST)

    def penalize_gradient(self, l2: Any, theta: Any, gradient: Any) -> Any:
        self.flags |= PENALIZED
        return gradient

    def sparsify_cost(self, l1: Any, theta: Any, cost: Any) -> Any:
        self.note_all(SPARSIFY_COST)

    def sparsify_gradient(self, l1: Any, theta: Any, gradient: Any) -> Any:
        self.flags |= SPARSE
        return gradient

    def update(
        self, optimizer: Any, theta: Any, moments: Moments, gradient: Any, scalars: Sequence[Any]
    ) -> tuple[Any, Moments]:
        rule = rule_of(optimizer)
        assert rule is not None
        self.note(GUARD)
        self.note_all(UPDATE, rule.number, self.flags | (DECAYED if rule.decays else 0))
        return theta, moments


def program_of(objective: Objective, optimizer: Any) -> np.ndarray:
    """The operation codes of a step, (operations, 4)."""
    ops, n = Recorder(objective.layout), PREFIX + 4
    step(ops, objective, optimizer, None, (), Batch(None, None), [0.0] * n)  # type: ignore[arg-type]
    return np.array(ops.program, np.int64)
