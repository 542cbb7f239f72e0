"""Learning-rate schedules: frozen settings, whose state is passed in and returned.

A schedule is a function ``epoch -> factor``; the learning rate of a step is the optimiser's own
times that factor. ``epoch`` is fractional: step ``i`` of the ``n`` in epoch ``e`` asks for
``e + i / n``, and ``e`` counts from 0 at the first fit and goes on in a resumed one.

Only ``Plateau`` ``adapts`` to the costs. Its state is a small dict, whose "factor" multiplies the
schedule's. The training loop treats all schedules alike:

    schedule = prepared(schedule, total_epochs)           # once per fit: checks and binds
    rate = learning_rate * factors(schedule, epochs, state)           # (steps,); state {} at first
    state = schedule.after_epoch(cost, state)             # only where schedule.adapts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, TypeAlias

import numpy as np

from xpnet.core.settings import CheckedNumbers, number

# Epochs are rounded fractions, and 0.6 / 0.2 < 3: an epoch this near to a jump has reached it.
ABOVE = 1.0 + 1e-10

Epochs: TypeAlias = Any  # a float, or an ndarray of them
State: TypeAlias = Mapping[str, Any]  # what JSON can hold


class Schedule(CheckedNumbers):
    """The base of all schedules, which checks their numbers."""

    @property
    def adapts(self) -> bool:
        """Whether the training loop calls ``after_epoch`` with the cost of each epoch."""
        return False

    def bound(self, total_epochs: float) -> Schedule:
        """The same schedule, knowing that training ends at ``total_epochs``."""
        return self

    def after_epoch(self, cost: float, state: State) -> dict[str, Any]:
        """The state after an epoch that ended at ``cost``."""
        return dict(state)

    def __call__(self, epoch: Epochs) -> Any:
        """The factor at ``epoch``, or an array of them."""
        # NumPy's powers and cosines of one number and of many may differ in the last bit. A run
        # in pieces must have the rates of one in one piece, so that here one is as many.
        epoch = np.asarray(epoch, dtype=np.float64)
        return np.reshape(self.at(np.ravel(epoch)), epoch.shape)[()]

    def at(self, epoch: np.ndarray) -> np.ndarray:
        """The factors (n,) at the epochs (n,)."""
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The optimiser's own learning rate throughout."""

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return np.ones_like(epoch)


@dataclass(frozen=True)
class Step(Schedule):
    """``factor ** floor(epoch / every)``: a jump every so many epochs."""

    every: float = number(above=True)
    factor: float = number(0.1)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return self.factor ** np.floor(epoch / self.every * ABOVE)


@dataclass(frozen=True)
class Exponential(Schedule):
    """``factor ** epoch``, smoothly: an epoch after another multiplies the rate by ``factor``."""

    factor: float = number(above=True)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return self.factor**epoch


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """``(1 + epoch) ** -power``, the "invscaling" of scikit-learn's MLP and SGD models.

    There the unit is an example, here an epoch. ``power=1`` meets the conditions of Robbins and
    Monro (1951) for convergence, as does any power above 1/2 up to 1.
    """

    power: float = number(0.5)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return (1.0 + epoch) ** -self.power


@dataclass(frozen=True)
class Cosine(Schedule):
    """From 1 down to ``final`` along half a cosine (Loshchilov & Hutter 2017, eq. 5, one period).

    Parameters
    ----------
    epochs : float, optional
        When ``final`` is reached; from then on it stays. None: where the fit ends. A resumed fit
        counts the epochs before it, so that a run in pieces has the rates of one in one piece if
        both end at the same epoch.
    final : float
        The last factor.
    """

    epochs: float | None = number(None, above=True)
    final: float = number(0.0)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        if self.epochs is None:
            raise ValueError("Cosine() ends where the fit does: pass it to fit, or give epochs")
        share = np.clip(epoch / self.epochs, 0.0, 1.0)
        return self.final + (1.0 - self.final) * (0.5 + 0.5 * np.cos(np.pi * share))

    def bound(self, total_epochs: float) -> Cosine:
        if self.epochs is not None:
            return self
        return replace(self, epochs=total_epochs if total_epochs > 0 else 1.0)


@dataclass(frozen=True)
class Plateau(Schedule):
    """Multiplies the rate by ``factor`` whenever the cost has stopped falling.

    At the end of every epoch it reads the cost, of the validation data if there are any, else of
    training; this waits for the device. An epoch is an improvement if its cost is below
    ``(1 - threshold)`` times the best before it. After ``patience`` epochs without one, the next
    such epoch lowers the rate. These are the rules of PyTorch's ``ReduceLROnPlateau``.

    Parameters
    ----------
    least : float
        The factor never falls below this.
    """

    factor: float = number(0.1, below=1.0)
    patience: int = number(10, whole=True)
    threshold: float = number(1e-4, below=1.0)
    least: float = number(0.0)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        """1 everywhere: the factor of its state lowers the rate."""
        return np.ones_like(epoch)

    @property
    def adapts(self) -> bool:
        return True

    def after_epoch(self, cost: float, state: State) -> dict[str, Any]:
        """``state`` has "factor" (1 at first), "best" cost, and epochs "since" then."""
        factor, since = state.get("factor", 1.0), state.get("since", 0)
        best = state.get("best", inf)
        if cost < (1.0 - self.threshold) * best:  # inf * (1 - threshold) is inf
            return {"factor": factor, "best": cost, "since": 0}
        if since < self.patience:
            return {**state, "factor": factor, "since": since + 1}
        lower = max(factor * self.factor, min(self.least, factor))
        return {**state, "factor": lower, "since": 0}


@dataclass(frozen=True)
class WarmUp(Schedule):
    """A straight line from ``start`` to 1 over the first ``epochs``, then another schedule.

    Gradual warm-up of Goyal et al. (2017, section 2.2). ``then`` begins with its own epoch 0 when
    the warm-up is over, so that the rate does not jump; ``Cosine()`` fills what is left of the
    fit, and ``Plateau`` watches from the first epoch on. With ``start=0`` the very first step
    does not move the parameters.
    """

    epochs: float = number(above=True)
    then: Schedule = field(default_factory=Constant)  # a function becomes one
    start: float = number(0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "then", _as_schedule(self.then, "WarmUp's then"))

    def at(self, epoch: np.ndarray) -> np.ndarray:
        found = self.start + (1.0 - self.start) * np.minimum(epoch / self.epochs, 1.0)
        after = epoch * ABOVE >= self.epochs
        if np.any(after):  # ``then`` is defined from its own epoch 0 on
            found = np.where(after, 1.0, found)
            found[after] = self.then(np.maximum(epoch[after] - self.epochs, 0.0))
        return found

    @property
    def adapts(self) -> bool:
        return self.then.adapts

    def bound(self, total_epochs: float) -> WarmUp:
        return replace(self, then=self.then.bound(total_epochs - self.epochs))

    def after_epoch(self, cost: float, state: State) -> dict[str, Any]:
        return self.then.after_epoch(cost, state)


@dataclass(frozen=True)
class Custom(Schedule):
    """The user's own function ``epoch -> factor``, called with one float for every step."""

    function: Callable[[float], float]

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return np.array([self._factor(e) for e in epoch.tolist()])

    def _factor(self, epoch: float) -> float:
        value = self.function(epoch)
        try:
            return float(value)
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"the schedule {_name(self)} gave {value!r} at epoch {epoch:g}; expected a number"
            ) from error


# -- what the training loop calls --------------------------------------------------------
def prepared(schedule: Callable[[Any], Any], total_epochs: float) -> Schedule:
    """The schedule of a run that ends at ``total_epochs``, counted from the first fit's start.

    Raises
    ------
    TypeError
        It is no function of an epoch.
    """
    schedule = _as_schedule(schedule, "schedule")
    return schedule.bound(total_epochs)


def factors(schedule: Schedule, epochs: np.ndarray, state: State | None = None) -> np.ndarray:
    """The factors (steps,) on the learning rate of the steps at ``epochs`` (steps,), in float64.

    Raises
    ------
    ValueError, TypeError
        A factor is no number, negative, infinite or NaN; the message names the epoch.
    """
    epochs = np.asarray(epochs, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(schedule(epochs), dtype=np.float64) * (state or {}).get("factor", 1.0)
    right = (found >= 0.0) & (found < inf)
    if not right.all():
        at = int(np.argmin(right))
        raise ValueError(
            f"the schedule {_name(schedule)} gave {found[at]:g} at epoch {epochs[at]:g}; a factor "
            "on the learning rate must be finite and at least 0"
        )
    return found


def _as_schedule(schedule: Any, what: str) -> Schedule:
    if isinstance(schedule, Schedule):
        return schedule
    if isinstance(schedule, type) and issubclass(schedule, Schedule):
        raise TypeError(f"{what}={schedule.__name__}: pass an instance, {schedule.__name__}(...)")
    if not callable(schedule):
        raise TypeError(
            f"{what}={schedule!r}: expected a schedule such as xpnet.schedules.Cosine(), or a "
            "function epoch -> factor"
        )
    return Custom(schedule)


def _name(schedule: Any) -> str:
    schedule = schedule.function if isinstance(schedule, Custom) else schedule
    return getattr(schedule, "__name__", None) or repr(schedule)
