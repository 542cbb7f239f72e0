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
    """The base of all schedules, which checks their numbers.

    A schedule of your own may be a plain function ``epoch -> factor``. One with settings that are
    checked is a frozen dataclass on this base, with a method ``at``.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> import numpy as np
    >>> from xpnet.schedules import Schedule
    >>> @dataclass(frozen=True)
    ... class Linear(Schedule):
    ...     epochs: float
    ...
    ...     def at(self, epoch):
    ...         return np.maximum(1 - epoch / self.epochs, 0)
    >>> Linear(10.0)(np.array([0, 5, 20]))
    array([1. , 0.5, 0. ])
    """

    @property
    def adapts(self) -> bool:
        """Whether the training loop calls ``after_epoch`` with the cost of each epoch.

        Examples
        --------
        >>> from xpnet.schedules import Plateau, Step
        >>> Plateau().adapts, Step(10).adapts
        (True, False)
        """
        return False

    def bound(self, total_epochs: float) -> Schedule:
        """Return the same schedule, knowing where training ends.

        Parameters
        ----------
        total_epochs : float
            The epochs of this fit and those it goes on from.

        Returns
        -------
        Schedule
            This one, where it does not depend on the end.

        Examples
        --------
        >>> from xpnet.schedules import Cosine
        >>> Cosine().bound(20)
        Cosine(epochs=20.0, final=0.0)
        """
        return self

    def after_epoch(self, cost: float, state: State) -> dict[str, Any]:
        """Return the state after an epoch.

        Parameters
        ----------
        cost : float
            Of that epoch: of the validation data if there are any, else of training.
        state : mapping
            What this method returned before; empty at first.

        Returns
        -------
        dict
            Values that JSON can hold. Its "factor" multiplies the schedule's own.

        Examples
        --------
        >>> from xpnet.schedules import Plateau
        >>> Plateau(factor=0.5, patience=0).after_epoch(2.0, {"best": 1.0})
        {'best': 1.0, 'factor': 0.5, 'since': 0}
        """
        return dict(state)

    def __call__(self, epoch: Epochs) -> Any:
        """The factor at ``epoch``, or an array of them."""
        # NumPy's powers and cosines of one number and of many may differ in the last bit. A run
        # in pieces must have the rates of one in one piece, so that here one is as many.
        epoch = np.asarray(epoch, dtype=np.float64)
        return np.reshape(self.at(np.ravel(epoch)), epoch.shape)[()]

    def at(self, epoch: np.ndarray) -> np.ndarray:
        """Return the factors at epochs, which calling the schedule does for any shape.

        Parameters
        ----------
        epoch : ndarray (n,)
            Fractions, counted from 0 at the start of the first fit.

        Returns
        -------
        ndarray (n,)
            What the optimiser's learning rate is multiplied by.

        Examples
        --------
        >>> import numpy as np
        >>> from xpnet.schedules import Step
        >>> Step(10).at(np.array([0.0, 9.5, 10.0])).round(3)
        array([1. , 1. , 0.1])
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Constant(Schedule):
    """The optimiser's own learning rate throughout.

    Examples
    --------
    >>> from xpnet.schedules import Constant
    >>> float(Constant()(7.5))
    1.0
    """

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return np.ones_like(epoch)


@dataclass(frozen=True)
class Step(Schedule):
    """A jump every so many epochs: ``factor ** floor(epoch / every)``.

    Parameters
    ----------
    every : float
        Epochs from one jump to the next.
    factor : float
        What a jump multiplies the rate by.

    Examples
    --------
    >>> from xpnet.schedules import Step
    >>> Step(10, factor=0.5)([0, 10, 25])
    array([1.  , 0.5 , 0.25])
    """

    every: float = number(above=True)
    factor: float = number(0.1)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return self.factor ** np.floor(epoch / self.every * ABOVE)


@dataclass(frozen=True)
class Exponential(Schedule):
    """A smooth decay, ``factor ** epoch``: each epoch multiplies the rate by ``factor``.

    Parameters
    ----------
    factor : float
        Above 0; 1 changes nothing.

    Examples
    --------
    >>> from xpnet.schedules import Exponential
    >>> Exponential(0.9)([0, 1, 2]).round(2)
    array([1.  , 0.9 , 0.81])
    """

    factor: float = number(above=True)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return self.factor**epoch


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """The decay ``(1 + epoch) ** -power``, the "invscaling" of scikit-learn's MLP and SGD models.

    There the unit is an example, here an epoch. ``power=1`` meets the conditions of Robbins and
    Monro for convergence, as does any power above 1/2 up to 1.

    Parameters
    ----------
    power : float
        At least 0, which changes nothing.

    References
    ----------
    Robbins & Monro 1951, "A stochastic approximation method".

    Examples
    --------
    >>> from xpnet.schedules import InverseScaling
    >>> InverseScaling(0.5)([0, 3, 8]).round(3)
    array([1.   , 0.5  , 0.333])
    """

    power: float = number(0.5)

    def at(self, epoch: np.ndarray) -> np.ndarray:
        return (1.0 + epoch) ** -self.power


@dataclass(frozen=True)
class Cosine(Schedule):
    """From 1 down to ``final`` along half a cosine.

    Parameters
    ----------
    epochs : float, optional
        When ``final`` is reached; from then on it stays. None: where the fit ends. A resumed fit
        counts the epochs before it, so that a run in pieces has the rates of one in one piece if
        both end at the same epoch.
    final : float
        The last factor.

    References
    ----------
    Loshchilov & Hutter 2017, "SGDR: stochastic gradient descent with warm restarts", equation 5,
    one period.

    Examples
    --------
    >>> from xpnet.schedules import Cosine
    >>> Cosine(20)([0, 10, 20]).round(3)
    array([1. , 0.5, 0. ])
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
    """A rate that falls by ``factor`` whenever the cost has stopped falling.

    At the end of every epoch it reads the cost, of the validation data if there are any, else of
    training; this waits for the device. An epoch is an improvement if its cost is below
    ``(1 - threshold)`` times the best before it. After ``patience`` epochs without one, the next
    such epoch lowers the rate. These are the rules of PyTorch's ``ReduceLROnPlateau``.

    Parameters
    ----------
    factor : float
        What the rate is multiplied by, in [0, 1).
    patience : int
        Epochs without an improvement that leave the rate as it is.
    threshold : float
        Relative decrease of the cost that counts, in [0, 1).
    least : float
        The factor never falls below this.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> history = net.fit(X.T / 16, y, epochs=4, schedule=xpnet.schedules.Plateau(patience=2))
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

    ``then`` begins with its own epoch 0 when the warm-up is over, so that the rate does not jump;
    ``Cosine()`` fills what is left of the fit, and ``Plateau`` watches from the first epoch on.
    With ``start=0`` the very first step does not move the parameters.

    Parameters
    ----------
    epochs : float
        How long the line is.
    then : Schedule or callable
        What follows; the optimiser's own rate if left out.
    start : float
        The first factor.

    References
    ----------
    Goyal et al. 2017, "Accurate, large minibatch SGD: training ImageNet in 1 hour", section 2.2.

    Examples
    --------
    >>> from xpnet.schedules import Step, WarmUp
    >>> WarmUp(5, then=Step(10))([0, 2.5, 5, 15])
    array([0. , 0.5, 1. , 0.1])
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
    """A schedule made of your own function; ``fit`` makes one of a function that it is given.

    Parameters
    ----------
    function : callable
        ``epoch -> factor``, called with one float for every step.

    Examples
    --------
    >>> from xpnet.schedules import Custom
    >>> Custom(lambda epoch: 1 / (1 + epoch))([0, 1, 3])
    array([1.  , 0.5 , 0.25])
    """

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
