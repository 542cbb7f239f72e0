"""Where a fit stands: what it, or another, goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backends.place import to_numpy
from xpnet.core.optimizers import Moments, Optimizer
from xpnet.training.history import Callback, History


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


def callback_states(
    callbacks: Iterable[Callback], leaf: Callable[[Any], Any]
) -> list[tuple[str, Any]]:
    """Names and states of those that have one; see ``copied``."""
    return [(type(c).__name__, copied(c.state(), leaf)) for c in callbacks if hasattr(c, "state")]


def copied(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """``value`` with dicts and lists of its own (tuples become lists), and ``leaf`` of the rest."""
    if isinstance(value, Mapping):
        return {key: copied(v, leaf) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [copied(v, leaf) for v in value]
    return leaf(value)


def on_host(x: Any) -> Any:
    return to_numpy(x) if is_array_api_obj(x) and not isinstance(x, np.generic) else x
