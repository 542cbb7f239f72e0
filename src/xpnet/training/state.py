"""Where a fit stands: what it, or another, goes on from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.core.optimizers import Moments, Optimizer
from xpnet.training.history import History


@dataclass
class TrainingState:
    """What ``fit(resume=True)`` goes on from, and what a checkpoint keeps.

    Attributes
    ----------
    epoch, step : int
        Epochs finished and updates made, over all fits that were resumed.
    position : int
        Updates made of an epoch that was broken off.
    steps_per_epoch : int or None
        Of how many; None where that is unknown.
    costs, weights : ndarray (position,)
        The cost of each of these, and what it counts for in the epoch's cost.
    history : History
        Of all epochs finished.
    schedule : dict
        What the learning-rate schedule remembers.
    callbacks : list of (name, state)
        What callbacks remember, in their order.
    """

    optimizer: Optimizer
    moments: Moments
    epoch: int = 0
    step: int = 0
    position: int = 0
    steps_per_epoch: int | None = None
    costs: np.ndarray = field(default_factory=lambda: np.empty(0))
    weights: np.ndarray = field(default_factory=lambda: np.empty(0))
    history: History = field(default_factory=History)
    schedule: dict[str, Any] = field(default_factory=dict)
    callbacks: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
