"""The plan of a fit: what was asked for, and how many steps are run in one call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from sys import maxsize
from typing import Any

import numpy as np

from xpnet.core.network import Objective, step_table
from xpnet.core.optimizers import Optimizer
from xpnet.core.schedules import Constant, Schedule
from xpnet.training.source import Part

WORK = 2**28  # parameters times examples: training steps that take a CPU some 20 ms


@dataclass(frozen=True)
class Plan:
    """What a fit was asked to do: the same penalties in every step."""

    optimizer: Optimizer
    epochs: int
    l2: float = 0.0
    l1: float = 0.0
    clip_norm: float = 0.0
    dropout: tuple[float, ...] = ()
    seed: int = 0
    schedule: Schedule = field(default_factory=Constant)

    @property
    def penalized(self) -> bool:
        return bool(self.l2 or self.l1)

    def objective(self, net: Objective) -> Objective:
        """The objective of the net with what this fit adds to it."""
        return replace(
            net,
            penalized=self.l2 > 0,
            sparse=self.l1 > 0,
            dropout=self.dropout,
            clipped=self.clip_norm > 0,
        )

    @property
    def rate(self) -> float:
        """The learning rate before the schedule's factor."""
        return self.optimizer.learning_rate

    def table(
        self, step: int, factor: np.ndarray, part: Part, each: Any = 1.0, share: Any = None
    ) -> np.ndarray:
        """The scalars of the steps of ``part``, (steps, n_scalars): see ``network.step_table``.

        ``step`` updates were made before; ``factor`` (steps,) multiplies their learning rates, and
        ``each`` (steps,) the penalties. ``share`` (steps,) is 1 / m if left out: minibatches are
        not divided by their own sums of weights, which would bias what is learned.
        """
        return step_table(
            self.optimizer,
            step + np.arange(1.0, len(factor) + 1.0),
            self.rate * factor,
            l2=self.l2 * each,
            l1=self.l1 * each,
            clip_norm=self.clip_norm,
            share=1.0 / part.weights if share is None else share,
            seed=self.seed if self.dropout else None,
        )


class Pace:
    """The number of steps that take about half a second, where it is ``measured``."""

    def __init__(self, measured: bool) -> None:
        self.measured = measured
        self._steps = 16 if measured else maxsize

    def steps(self) -> int:
        return self._steps

    def took(self, steps: int, seconds: float) -> None:
        if steps == self._steps and seconds < 0.25:
            self._steps *= 2
        elif seconds > 1.0:
            self._steps = max(1, self._steps // 2)
