"""Optimisers: frozen settings, whose state is passed in and returned.

An optimiser turns ``(theta, moments, gradient)`` into new ``(theta, moments)``. All of these
are flat vectors ``(n_parameters,)``. Numbers that change from step to step (learning rate, bias
correction) are *scalars*, which ``scalars`` computes on the host for many steps ahead: a compiled
step then needs no new constant, and no value is read from the device between steps.

Moments are kept without their ``1 - beta`` factors (``m = beta m + g``), which are folded into
the scalars instead: two operations fewer per step, the same numbers to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from xpnet._typing import Array, Namespace
from xpnet.core.settings import CheckedNumbers, number

Moments = tuple[Array, ...]
Scalars = tuple[Array, ...]


@runtime_checkable
class Optimizer(Protocol):
    """The interface of the optimisers that ``DeepNet.fit`` takes."""

    n_moments: ClassVar[int]

    @property
    def learning_rate(self) -> float: ...

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        """The scalars of the steps ``t`` (steps,), from 1, at learning rates ``rate`` (steps,)."""

    def update(
        self,
        theta: Array,
        moments: Moments,
        gradient: Array,
        scalars: Scalars,
        *,
        n_weights: int,
        xp: Namespace,
    ) -> tuple[Array, Moments]:
        """New parameters and moments; ``scalars`` are one step's. Weights are the first
        ``n_weights`` entries of ``theta``."""


@dataclass(frozen=True)
class GradientDescent(CheckedNumbers):
    """``theta := theta - learning_rate * gradient``."""

    learning_rate: float = 0.01
    n_moments: ClassVar[int] = 0

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        return [rate]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        (rate,) = scalars
        return theta - rate * gradient, moments


@dataclass(frozen=True)
class Momentum(CheckedNumbers):
    """Classical or Nesterov momentum in velocity form (Sutskever et al. 2013, eq. 1-4)."""

    learning_rate: float = 0.01
    momentum: float = number(0.9, below=1.0)
    nesterov: bool = False
    n_moments: ClassVar[int] = 1

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        return [rate]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        (rate,) = scalars
        move = rate * gradient
        velocity = self.momentum * moments[0] - move
        if self.nesterov:
            return theta + (self.momentum * velocity - move), (velocity,)
        return theta + velocity, (velocity,)


@dataclass(frozen=True)
class RMSProp(CheckedNumbers):
    """Gradient over the root of its running mean square (Tieleman & Hinton 2012, lecture 6.5).

    ``s := rho s + (1 - rho) g^2``, ``theta := theta - learning_rate g / (sqrt(s) + epsilon)``.
    """

    learning_rate: float = 1e-3
    rho: float = number(0.9, below=1.0)
    epsilon: float = 1e-8
    n_moments: ClassVar[int] = 1

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        root = sqrt(1.0 - self.rho)
        return [rate / root, np.full(t.shape, self.epsilon / root)]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        rate, epsilon = scalars
        s = self.rho * moments[0] + gradient * gradient
        return theta - rate * gradient / (xp.sqrt(s) + epsilon), (s,)


@dataclass(frozen=True)
class Adam(CheckedNumbers):
    """Adam (Kingma & Ba 2015, Algorithm 1), epsilon outside the bias-corrected root."""

    learning_rate: float = 1e-3
    beta1: float = number(0.9, below=1.0)
    beta2: float = number(0.999, below=1.0)
    epsilon: float = 1e-8
    n_moments: ClassVar[int] = 2

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        # rate * mhat / (sqrt(vhat) + epsilon) with mhat = (1 - beta1) m / (1 - beta1^t) and
        # vhat = (1 - beta2) v / (1 - beta2^t); both sides of the fraction times
        # sqrt((1 - beta2^t) / (1 - beta2)).
        root = np.sqrt((1.0 - self.beta2**t) / (1.0 - self.beta2))
        return [rate * root * (1.0 - self.beta1) / (1.0 - self.beta1**t), self.epsilon * root]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        rate, epsilon = scalars[:2]
        m, v = moments
        m = self.beta1 * m + gradient
        v = self.beta2 * v + gradient * gradient
        return theta - rate * m / (xp.sqrt(v) + epsilon), (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2).

    Each step also multiplies the weights, never the biases, by
    ``1 - learning_rate * weight_decay``.
    """

    weight_decay: float = 1e-2

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        return [*super().scalars(t, rate), 1.0 - rate * self.weight_decay]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        theta = xp.concat([theta[:n_weights] * scalars[2], theta[n_weights:]])
        return super().update(theta, moments, gradient, scalars, n_weights=n_weights, xp=xp)


class Rule(NamedTuple):
    """An optimiser as files and the command line know it.

    The rates suit standardised data: ``rate`` nets with hidden layers, ``linear_rate`` those
    without. An elementwise rule moves each parameter by its own gradient and moments alone.
    """

    kind: type[Any]
    option: str  # of --optimizer
    rate: float
    linear_rate: float
    elementwise: bool = True


# By the names of the classes, which checkpoints hold.
OPTIMIZERS = {
    rule.kind.__name__: rule
    for rule in (
        Rule(GradientDescent, "gd", 0.1, 0.1),
        Rule(Momentum, "momentum", 0.01, 0.01),
        Rule(Adam, "adam", 1e-3, 1e-2),
        Rule(AdamW, "adamw", 1e-3, 1e-2),
        Rule(RMSProp, "rmsprop", 1e-3, 1e-2),
    )
}
