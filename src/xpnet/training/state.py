"""``TrainingState``: what a fit can be resumed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend
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
        Updates in that epoch; None where the number is unknown.
    costs, weights : ndarray (position,)
        The cost of each of its updates, and the weight of each in the epoch's cost.
    history : History
        The figures of all epochs finished.
    schedule : dict
        The state of the learning-rate schedule.
    callbacks : list of (name, state)
        The states of the callbacks, in their order.
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

    def mapped(self, change: Callable[[Array], Array]) -> TrainingState:
        """This state with ``change`` of each moment."""
        return replace(self, moments=tuple(change(moment) for moment in self.moments))


def starting_state(
    last: TrainingState | None, optimizer: Optimizer, theta: Array, place: Backend
) -> TrainingState:
    """The state after the ``last`` fit, or where there is none, before the first update.

    Raises
    ------
    ValueError
        The last fit had another kind of optimiser.
    """
    if last is not None:
        if type(optimizer) is not type(last.optimizer):
            raise ValueError(
                f"resume=True goes on with the state of {last.optimizer}, which "
                f"{type(optimizer).__name__} cannot use: pass the same kind of optimiser, "
                "or resume=False"
            )
        return last
    with place.context():
        # zeros, not zeros_like: memory of NumPy's that nobody wrote to costs nothing
        like: dict[str, Any] = {"dtype": theta.dtype, "device": place.device}
        moments = tuple(place.xp.zeros(theta.shape, **like) for _ in range(optimizer.n_moments))
    return TrainingState(optimizer, moments)
