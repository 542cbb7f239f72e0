"""scikit-learn's stochastic solvers: its Adam, its momentum, its learning-rate policies.

The update rules are the core's; what differs is in the numbers handed to them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from math import sqrt
from typing import Any

import numpy as np

from xpnet.core.network import step_table
from xpnet.core.optimizers import Adam, GradientDescent, Moments, Momentum, Optimizer


class _AnyInterval:
    """The estimator has checked its parameters: scikit-learn's intervals include their ends."""

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            if f.type == "float":
                object.__setattr__(self, f.name, float(getattr(self, f.name)))


@dataclass(frozen=True)
class SklearnGradientDescent(_AnyInterval, GradientDescent):
    """The core's gradient descent: what momentum 0 is, without a velocity to keep."""


@dataclass(frozen=True)
class SklearnMomentum(_AnyInterval, Momentum):
    """The core's momentum, which may be 1."""


@dataclass(frozen=True)
class SklearnAdam(_AnyInterval, Adam):
    """Adam as scikit-learn has it: epsilon is added to the root *before* bias correction.

    ``rate sqrt(1 - beta2^t) / (1 - beta1^t) * m / (sqrt(v) + epsilon)``; the paper's epsilon
    counts for less in the first steps.
    """

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        # The core keeps m and v without their factors (1 - beta).
        root = sqrt(1.0 - self.beta2)
        corrected = rate * np.sqrt(1.0 - self.beta2**t) / (1.0 - self.beta1**t)
        return [corrected * (1.0 - self.beta1) / root, np.full(t.shape, self.epsilon / root)]


@dataclass
class Descent:
    """The solver of one net as it stands: ``partial_fit`` goes on with it, ``fit`` makes another.

    Attributes
    ----------
    rule : Optimizer
        The core's settings.
    learning_rate : float
        The rate of the last step, for Adam with its bias correction.
    policy : str
        "constant", "invscaling" or "adaptive".
    moments : tuple of arrays (n_parameters,)
        The rule's state.
    t : int
        Steps taken.
    """

    rule: Optimizer
    learning_rate: float
    policy: str
    power_t: float
    moments: Moments
    t: int = 0

    @classmethod
    def of(cls, estimator: Any, zeros: Callable[[], Any]) -> Descent:
        """A solver with the parameters of an estimator; ``zeros()`` makes a moment."""
        rate = float(estimator.learning_rate_init)
        rule: Optimizer
        if estimator.optimizer is not None:
            rule, policy = estimator.optimizer, estimator.learning_rate
            rate = rule.learning_rate
        elif estimator.solver == "adam":
            rule = SklearnAdam(rate, estimator.beta_1, estimator.beta_2, estimator.epsilon)
            policy = "constant"
        else:
            nesterov = bool(estimator.nesterovs_momentum)
            rule = SklearnGradientDescent(rate)
            if estimator.momentum > 0:
                rule = SklearnMomentum(rate, estimator.momentum, nesterov)
            policy = estimator.learning_rate
        moments = tuple(zeros() for _ in range(rule.n_moments))
        return cls(rule, rate, policy, estimator.power_t, moments)

    def table(self, steps: int, **others: Any) -> np.ndarray:
        """The next so many rows of ``network.step_table``, which is given ``others`` as well."""
        t = self.t + np.arange(1.0, steps + 1.0)
        self.t += steps
        rule, rate = self.rule, self.learning_rate
        if isinstance(rule, SklearnAdam):
            rate = rule.learning_rate
            correction = sqrt(1.0 - rule.beta2**self.t) / (1.0 - rule.beta1**self.t)
            self.learning_rate = rate * correction
        return step_table(rule, t, np.full(steps, rate), **others)

    def epoch_ends(self, examples_seen: int) -> None:
        if self.policy == "invscaling":
            self.learning_rate = self.rule.learning_rate / (examples_seen + 1) ** self.power_t

    def gives_up(self, message: str, verbose: bool) -> bool:
        """Whether to stop where nothing improves; the policy "adaptive" slows down instead."""
        stops = self.policy != "adaptive" or self.learning_rate <= 1e-6
        if not stops:
            self.learning_rate /= 5.0
            message += f" Setting learning rate to {self.learning_rate:f}"
        elif self.policy == "adaptive":
            message += " Learning rate too small. Stopping."
        else:
            message += " Stopping."
        if verbose:
            print(message)  # noqa: T201 - scikit-learn's verbose output
        return stops
