"""``EarlyStopping``: ends a fit that no longer gets better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from xpnet._typing import Array
from xpnet.core.settings import check_count, check_number
from xpnet.training.history import Progress

Monitor = Literal["validation_cost", "cost", "validation_accuracy"]


class EarlyStopping:
    """Ends a fit that no longer gets better.

    Parameters
    ----------
    patience : int
        The fit ends after so many epochs in a row without an improvement.
    monitor : {"validation_cost", "cost", "validation_accuracy"}
        The figure that should fall or, for the accuracy, rise.
    min_delta : float
        An improvement is better than the best before by more than this.
    restore_best : bool
        Whether the net ends with the parameters of its best epoch, also when all epochs were
        run, and when the fit diverges. A copy of them is kept where the net is (up to ten for a
        while, so that steps can be taken back). A fit that ends for another reason leaves the
        net as it is, so that it can go on.

    Attributes
    ----------
    best : float or None
        The best value so far.
    best_epoch : int
        The number of its epoch, from 1, counted over all fits that were resumed; 0 for none.
    best_parameters : list of (W, b), or None
        Copies of the parameters after that epoch, with ``restore_best``.

    Raises
    ------
    ValueError
        At the end of the first epoch: the fit has no validation data to watch.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> from xpnet.callbacks import EarlyStopping
    >>> X = np.array([[0.0, 1.0, 2.0, 3.0]])
    >>> net, stop = xpnet.linear_regression(1), EarlyStopping(3, monitor="cost", min_delta=1e-6)
    >>> history = net.fit(X, 2 * X, xpnet.GradientDescent(0.1), epochs=999, callbacks=[stop])
    >>> len(history.cost) == stop.best_epoch + 3
    True
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: Monitor = "validation_cost",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if monitor not in get_args(Monitor):
            raise ValueError(f"monitor={monitor!r}: choose from {', '.join(get_args(Monitor))}")
        self.patience = check_count(patience, "patience", 1)
        self.monitor: Monitor = monitor
        self.min_delta = check_number(min_delta, "min_delta")
        self.restore_best = bool(restore_best)
        self._restored = False  # whether the next fit goes on from a state
        self._start()

    def _start(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self.since = 0
        self.best_parameters: list[tuple[Array, Array]] | None = None

    def on_fit_begin(self, net: Any, progress: Progress) -> bool:
        if not self._restored:  # a callback may serve one fit after another
            self._start()
        self._restored = False
        return self.since >= self.patience  # the fit that this one goes on from was over

    def on_epoch_end(self, net: Any, progress: Progress) -> bool:
        value = getattr(progress, self.monitor)
        if value is None:
            other = "accuracy" if self.monitor == "validation_accuracy" else "data"
            raise ValueError(
                f"EarlyStopping watches {self.monitor}, but this fit has no validation {other}: "
                'give fit(validation=(X, Y)), or monitor="cost"'
            )
        if self._better(value):
            self.best, self.best_epoch, self.since = value, progress.total_epoch, 0
            self.best_parameters = net.parameters if self.restore_best else None  # copies
        else:
            self.since += 1
        return self.since >= self.patience

    def _better(self, value: float) -> bool:
        if self.best is None:
            return value == value  # a NaN is never the best
        gain = value - self.best if self.monitor == "validation_accuracy" else self.best - value
        return gain > self.min_delta

    def on_fit_end(self, net: Any, progress: Progress) -> None:
        if self.since >= self.patience or progress.epoch == progress.epochs:
            self.on_divergence(net, progress)

    def on_divergence(self, net: Any, progress: Progress) -> None:
        later = self.best_epoch < progress.total_epoch or progress.position > 0
        if self.best_parameters is not None and later:
            net.parameters = self.best_parameters

    def state(self) -> dict[str, Any]:
        layers = self.best_parameters or []
        return {
            "monitor": self.monitor,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "since": self.since,
            "parameters": [[W, b] for W, b in layers],  # not fetched before somebody needs them
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._start()
        self._restored = state["monitor"] == self.monitor  # else its figures say nothing
        if self._restored:
            self.best, self.best_epoch = state["best"], state["best_epoch"]
            self.since = state["since"]
            self.best_parameters = [(W, b) for W, b in state["parameters"]] or None
