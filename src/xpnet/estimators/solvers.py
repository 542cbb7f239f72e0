"""scikit-learn's stochastic solvers: its Adam, its momentum, its learning-rate policies.

The update rules are the core's; the drop-ins hand other numbers to them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend
from xpnet.core.optimizers import Adam, GradientDescent, Moments, Momentum, Optimizer
from xpnet.training.state import starting_state


class SklearnMomentum(Momentum):
    """The core's momentum, which may be 1: scikit-learn has checked the numbers."""

    def __post_init__(self) -> None:
        pass


class SklearnAdam(Adam):
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
class StochasticSolver:
    """The rule of one net, its learning-rate policy, and the state of both.

    ``partial_fit`` goes on with it; ``fit`` makes a new one.

    Attributes
    ----------
    rule : Optimizer
        The core's settings.
    policy : str
        "constant", "invscaling" or "adaptive".
    moments : tuple of arrays (n_parameters,)
        The rule's state.
    rate : float
        The learning rate that the policy has come to.
    steps : int
        Updates made.
    """

    rule: Optimizer
    policy: str
    power_t: float
    moments: Moments
    rate: float
    steps: int = 0

    @classmethod
    def of(cls, estimator: Any, theta: Array, place: Backend) -> StochasticSolver:
        """A solver with the parameters of an estimator, for a net that begins at ``theta``."""
        rate, policy = float(estimator.learning_rate_init), estimator.learning_rate
        rule: Optimizer
        if estimator.optimizer is not None:
            rule = estimator.optimizer
        elif estimator.solver == "adam":
            rule = SklearnAdam(rate, estimator.beta_1, estimator.beta_2, estimator.epsilon)
            policy = "constant"
        elif estimator.momentum > 0:
            momentum, nesterov = float(estimator.momentum), bool(estimator.nesterovs_momentum)
            rule = SklearnMomentum(rate, momentum, nesterov)
        else:
            rule = GradientDescent(rate)
        moments = starting_state(None, rule, theta, place).moments
        return cls(rule, policy, estimator.power_t, moments, rule.learning_rate)

    @property
    def learning_rate(self) -> float:
        """The rate of the next update; of scikit-learn's Adam, of the last, bias-corrected."""
        rate, t = self.rate, self.steps
        if isinstance(self.rule, SklearnAdam) and t > 0:
            rate *= sqrt(1.0 - self.rule.beta2**t) / (1.0 - self.rule.beta1**t)
        return rate

    def epoch_ends(self, steps: int, examples_seen: int) -> None:
        self.steps = steps
        if self.policy == "invscaling":
            self.rate = self.rule.learning_rate / (examples_seen + 1) ** self.power_t

    def slows_down_or_stops(self) -> tuple[bool, str]:
        """Whether to stop where nothing improves, and the message; "adaptive" slows down first."""
        if self.policy != "adaptive":
            return True, "Stopping."
        if self.learning_rate <= 1e-6:
            return True, "Learning rate too small. Stopping."
        self.rate /= 5.0
        return False, f"Setting learning rate to {self.learning_rate:f}"
