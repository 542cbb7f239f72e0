"""What a fit was asked to do, and how many steps of it are run in one call."""

from __future__ import annotations

from dataclasses import dataclass, field
from sys import maxsize

import numpy as np

from xpnet.core.network import step_table
from xpnet.core.optimizers import Optimizer
from xpnet.core.schedules import Constant, Schedule

WORK = 2**28  # parameters times examples: training steps that take a CPU some 20 ms


@dataclass(frozen=True)
class Plan:
    """What a fit was asked to do."""

    optimizer: Optimizer
    epochs: int
    l2: float = 0.0
    l1: float = 0.0
    clip_norm: float = 0.0
    dropout_seed: int | None = None
    schedule: Schedule = field(default_factory=Constant)

    def table(self, step: int, factor: np.ndarray) -> np.ndarray:
        """Scalars of the steps after the first ``step``: see ``network.step_table``.

        ``factor`` (steps,) is what each step's learning rate is multiplied by.
        """
        t = step + np.arange(1.0, len(factor) + 1.0)
        rate = self.optimizer.learning_rate * factor
        return step_table(
            self.optimizer,
            t,
            rate,
            l2=self.l2,
            l1=self.l1,
            clip_norm=self.clip_norm,
            seed=self.dropout_seed,
        )


class Pace:
    """How many steps make a part of an epoch that takes about half a second."""

    def __init__(self, measured: bool) -> None:
        self.measured = measured
        self._steps = 16 if measured else maxsize

    def steps(self) -> int:
        return self._steps

    def took(self, steps: int, seconds: float) -> None:
        # Twice as many, or half: an engine that compiles for a length then sees few lengths.
        if steps == self._steps and seconds < 0.25:
            self._steps *= 2
        elif seconds > 1.0:
            self._steps = max(1, self._steps // 2)
