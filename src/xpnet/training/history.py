"""``History`` holds the figures of a fit; ``Callback`` and ``Progress`` let a user follow one."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite, nan
from typing import Any, Protocol

from xpnet.training.notebook import aligned, epochs_of, history_html, history_line

CURVES = ("cost", "validation_cost", "validation_accuracy")  # of a History


@dataclass
class History:
    """The figures of a fit, one entry per epoch; the sum of two is that of one fit after the other.

    It prints in one line; ``table()`` has all epochs.

    Parameters
    ----------
    cost : list of float
        Mean over the epoch's steps of the cost before each update; a minibatch weighs as many
        examples as it has. Includes the penalties ``l2`` and ``l1``:
        with one of them it is not comparable with the validation cost.
    validation_cost : list of float
        Cost of the validation data after each epoch, without penalties, weighted where they have
        sample weights; empty without such data.
    validation_accuracy : list of float
        Fraction of validation labels predicted correctly, for sigmoid and softmax outputs.
    seconds : float
        Wall time of the fit.
    data : {"device", "prefetched", "streamed"}
        Whether the data lay where the net computes, was copied there by minibatches, or was read
        in chunks while the net trained.
    penalized : bool
        Whether ``cost`` includes a penalty, ``l2`` or ``l1``.
    engine : str
        What ran the steps: the name of an array library, "compiled" where whole epochs of a net on
        NumPy arrays were one function compiled by Numba, or "generic" for plain Array API calls.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> history = xpnet.DeepNet([64, 10], output="softmax").fit(X.T / 16, y, epochs=3)
    >>> len(history.cost), history.validation_cost, history.data
    (3, [], 'device')
    """

    cost: list[float] = field(default_factory=list)
    validation_cost: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0
    data: str = "device"
    penalized: bool = False
    engine: str = "generic"

    @property
    def cost_name(self) -> str:
        """The name of ``cost`` in pictures and tables.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> xpnet.DeepNet([64, 10], output="softmax").fit(X.T / 16, y, epochs=1, l2=1e-3).cost_name
        'cost (with penalty)'
        """
        return "cost (with penalty)" if self.penalized else "cost"

    @property
    def best_epoch(self) -> int | None:
        """The epoch, from 1, with the least validation cost; None without validation data.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.History([3.0, 2.0, 1.0], validation_cost=[3.0, 2.5, 2.75]).best_epoch
        2
        """
        finite = [(cost, i) for i, cost in enumerate(self.validation_cost, 1) if isfinite(cost)]
        return min(finite)[1] if finite else None

    def table(self) -> str:
        """Return all epochs as lines of text.

        Returns
        -------
        str
            The names of the figures, and a line for each epoch.

        Examples
        --------
        >>> import xpnet
        >>> print(xpnet.History([2.0, 1.0], validation_cost=[2.5, 1.25]).table())
        epoch  cost  validation cost
            1     2              2.5
            2     1             1.25
        """
        return "\n".join(aligned(epochs_of(self), str.rjust))

    def __repr__(self) -> str:
        return history_line(self)

    def _repr_html_(self) -> str:
        return history_html(self)

    def __add__(self, later: History) -> History:
        """This history and the one that went on from it.

        Epochs without validation data, before others with, count as NaN.
        """

        def joined(name: str) -> list[float]:
            before, after = getattr(self, name), getattr(later, name)
            missing = len(self.cost) - len(before) if after else 0
            return before + [nan] * missing + after

        return History(
            self.cost + later.cost,
            joined("validation_cost"),
            joined("validation_accuracy"),
            self.seconds + later.seconds,
            later.data,
            self.penalized or later.penalized,
            later.engine,
        )


class Callback(Protocol):
    """An object with any of these methods; a method that is None counts as missing.

    A true return from ``on_fit_begin``, ``on_steps_end`` or ``on_epoch_end`` ends the fit. A
    callback with ``last = True`` is called after the others; its ``on_fit_end``, in reverse order,
    comes first.

    A callback that raises ends the fit with its error: the callbacks after it do not get that
    event, and the net keeps the updates made up to then.

    ``state`` and ``restore`` carry what a callback remembers to a resumed fit: JSON values and
    arrays by name. The loop also calls ``state`` after every event, so it should be cheap. Lists
    and dicts in it are copied, and so are arrays.

    Examples
    --------
    >>> import xpnet
    >>> class Enough:
    ...     def on_epoch_end(self, net, progress):
    ...         return progress.cost < 1.0
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> history = net.fit(X.T / 16, y, xpnet.Adam(1e-2), epochs=99, callbacks=[Enough()])
    >>> history.cost[-1] < 1.0 < history.cost[-2]
    True
    """

    def on_fit_begin(self, net: Any, progress: Progress) -> bool | None:
        """Called before the first step."""

    def on_steps_end(self, net: Any, progress: Progress) -> bool | None:
        """Called in the middle of an epoch, about twice a second."""

    def on_epoch_end(self, net: Any, progress: Progress) -> bool | None:
        """Called after each epoch, or after as many as ``epochs_together`` allows."""

    def on_fit_end(self, net: Any, progress: Progress) -> None:
        """Called at the end, in reverse order, where the fit does not raise."""

    def on_divergence(self, net: Any, progress: Progress) -> None:
        """Called where a DivergedError ends the fit; the net has finite parameters again."""

    def epochs_together(self, progress: Progress) -> int:
        """The number of epochs that may run before ``on_epoch_end`` is called; 1 if left out."""

    def close(self) -> None:
        """Called in any case, however the fit ends."""

    def state(self) -> dict[str, Any]:
        """What a resumed fit must know."""

    def restore(self, state: dict[str, Any]) -> None:
        """Called before ``on_fit_begin`` of a resumed fit, with what ``state`` returned."""


EVENTS = ("on_fit_begin", "on_steps_end", "on_epoch_end", "on_fit_end")


class Progress:
    """Tells callbacks how far a fit has come; a cost is fetched from the device when read.

    Examples
    --------
    >>> import xpnet
    >>> class Report:
    ...     def on_epoch_end(self, net, progress):
    ...         print(f"epoch {progress.epoch} of {progress.epochs}, {progress.step} steps")
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> history = net.fit(X.T / 16, y, epochs=2, batch_size=600, callbacks=[Report()])
    epoch 1 of 2, 3 steps
    epoch 2 of 2, 6 steps
    """

    def __init__(self, run: Any) -> None:
        self._run = run

    @property
    def epoch(self) -> int:
        """Epochs finished in this fit."""
        return self._run.epoch

    @property
    def epochs(self) -> int:
        """Epochs this fit was asked for."""
        return self._run.epochs

    @property
    def total_epoch(self) -> int:
        """Epochs finished in this fit and those it goes on from."""
        return self._run.epochs_before + self._run.epoch

    @property
    def step(self) -> int:
        """Steps made, in this fit and those it goes on from."""
        return self._run.step

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps in an epoch; None for a stream that has not been read to its end."""
        return self._run.steps_per_epoch

    @property
    def position(self) -> int:
        """Steps made of the epoch that is not finished."""
        return self._run.position

    @property
    def seconds(self) -> float:
        """Wall time since the fit began."""
        return self._run.seconds

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last step; before the first step, that of the first."""
        return self._run.learning_rate

    @property
    def history(self) -> History:
        """The epochs of this fit up to now."""
        return self._run.fetch()

    def finite(self) -> bool:
        """Whether the last epoch's cost, the parameters and the moments are finite."""
        return self._run.finite()

    @property
    def cost(self) -> float | None:
        """The last epoch's cost; None before the first."""
        return last(self._run.fetch().cost)

    @property
    def validation_cost(self) -> float | None:
        """The validation data's cost after the last epoch; None without such data."""
        return last(self._run.fetch().validation_cost)

    @property
    def validation_accuracy(self) -> float | None:
        """The fraction of validation labels predicted correctly after the last epoch.

        None without validation data or for an identity output.
        """
        return last(self._run.fetch().validation_accuracy)


def last(values: list[float]) -> float | None:
    return values[-1] if values else None
