"""``LearningCurveDisplay``: costs and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from xpnet.plotting.shared import BLUE, ORANGE, PURPLE, add_legend, axes_for, colour
from xpnet.training.history import History


@dataclass(eq=False)
class LearningCurveDisplay:
    """Cost, validation cost, and validation accuracy on an axis to the right.

    A ring marks the epoch with the least validation cost. A cost that includes a penalty is called
    "cost (with penalty)"; the validation cost has none.

    Make it with ``from_history``.

    Parameters
    ----------
    curves : dict of str to History
        By name; the name of a single one is empty.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What it was drawn on.
    accuracy_ax_ : matplotlib Axes or None
        The axis to the right, None without accuracies.
    lines_ : list of matplotlib Line2D
        The curves.
    best_ : list of matplotlib Line2D
        The rings, for each history with validation data.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> history = xpnet.DeepNet([64, 10], output="softmax").fit(X.T / 16, y, epochs=5)
    >>> display = xpnet.plotting.LearningCurveDisplay.from_history(history)
    >>> display.ax_.get_ylabel()
    'cost'
    """

    curves: dict[str, History]

    @classmethod
    def from_history(cls, history: Any, *, ax: Any = None, **options: Any) -> LearningCurveDisplay:
        """Draw what ``fit`` returned, ``net.history``, or the loss curve of an MLP estimator.

        Parameters
        ----------
        history : History or fitted estimator, or several of them
            A mapping gives each its name; in a list they are called by their number, from 1.
        ax : matplotlib axes, optional
            A new figure if left out.
        **options
            Options of ``plot``.

        Returns
        -------
        LearningCurveDisplay
            It is drawn.

        Raises
        ------
        TypeError, ValueError
            It is no history, or has no epochs: the solver "lbfgs" keeps none.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> X = X.T / 16
        >>> deep = xpnet.DeepNet([64, 32, 10], output="softmax")
        >>> linear = xpnet.DeepNet([64, 10], output="softmax")
        >>> histories = {"deep": deep.fit(X, y, epochs=5), "linear": linear.fit(X, y, epochs=5)}
        >>> list(xpnet.plotting.LearningCurveDisplay.from_history(histories).curves)
        ['deep', 'linear']
        """
        named: Iterable[tuple[Any, Any]] = [("", history)]
        if isinstance(history, Mapping):
            named = history.items()
        elif isinstance(history, Iterable):
            named = enumerate(history, 1)
        curves = {str(name): _history(each) for name, each in named}
        return cls(curves).plot(ax, **options)

    def plot(
        self, ax: Any = None, *, log: bool | None = None, accuracy: bool = True
    ) -> LearningCurveDisplay:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        log : bool, optional
            Whether the axis of costs is logarithmic. None: if the largest is more than ten times
            the smallest, and all are positive.
        accuracy : bool
            Whether validation accuracy is shown where there is any.

        Returns
        -------
        LearningCurveDisplay
            This one.

        Raises
        ------
        ValueError
            There are no epochs to show.

        Examples
        --------
        >>> from matplotlib import pyplot
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> history = xpnet.DeepNet([64, 10], output="softmax").fit(X.T / 16, y, epochs=5)
        >>> display = xpnet.plotting.LearningCurveDisplay.from_history(history)
        >>> figure, ax = pyplot.subplots()
        >>> display.plot(ax, log=True).ax_.get_yscale()
        'log'
        """
        curves = self.curves.values()
        if not any(curve.cost for curve in curves):
            raise ValueError("the history has no epochs: call fit first")
        self.ax_, self.figure_ = axes_for(ax)
        ax = self.ax_
        with_accuracy = accuracy and any(curve.validation_accuracy for curve in curves)
        self.accuracy_ax_ = right = ax.twinx() if with_accuracy else None
        self.lines_: list[Any] = []
        self.best_: list[Any] = []
        for i, (name, curve) in enumerate(self.curves.items()):
            self._draw(name, curve, None if len(curves) == 1 else colour(i))
        costs = [x for curve in curves for x in (*curve.cost, *curve.validation_cost)]
        costs = [x for x in costs if isfinite(x)]
        if log is None:
            log = bool(costs) and 0 < 10 * min(costs) < max(costs)
        ax.set_yscale("log" if log else "linear")
        if log and max(costs, default=1.0) < 1000 * min(costs, default=1.0):
            from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

            # plain numbers at 1, 2 and 5, where powers of ten would be one label or two
            ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel="epoch", ylabel="cost")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if right is not None:
            right.set_ylabel("validation accuracy")
            if len(curves) == 1:
                right.yaxis.label.set_color(PURPLE)
            bottom, top = right.get_ylim()  # no accuracy is above 1
            right.set_ylim(bottom, min(top, 1.0 + 0.05 * (1.0 - bottom)))
        self._add_legend()
        return self

    def _draw(self, name: str, curve: History, its_colour: str | None) -> None:
        parts = (
            (curve.cost_name, curve.cost, self.ax_, BLUE, "-"),
            ("validation cost", curve.validation_cost, self.ax_, ORANGE, "--"),
            ("validation accuracy", curve.validation_accuracy, self.accuracy_ax_, PURPLE, ":"),
        )
        for what, values, ax, usual_colour, style in parts:
            if ax is not None and values:
                look: dict[str, Any] = {"color": its_colour or usual_colour, "linestyle": style}
                look["marker"] = "o" if len(values) == 1 else None  # one point makes no line
                label = f"{name}: {what}" if name else what
                self.lines_ += ax.plot(np.arange(1, len(values) + 1), values, label=label, **look)

        if curve.best_epoch is not None:
            at = curve.best_epoch, curve.validation_cost[curve.best_epoch - 1]
            look = {"marker": "o", "markersize": 9, "fillstyle": "none", "linestyle": "none"}
            self.best_ += self.ax_.plot(*at, color=its_colour or ORANGE, **look)
            if not name:
                side = "right" if 2 * at[0] > len(curve.cost) else "left"  # away from the edge
                place = {"xytext": (0, 12), "textcoords": "offset points", "ha": side}
                under = {"facecolor": self.ax_.get_facecolor(), "edgecolor": "none", "pad": 1}
                text = f"best: epoch {at[0]}"
                self.ax_.annotate(text, at, color=ORANGE, bbox=under | {"alpha": 0.85}, **place)

    def _add_legend(self) -> None:
        from matplotlib.lines import Line2D

        handles = self.lines_
        if len(self.curves) > 1:  # colours stand for histories, dashes for what is shown
            grey = self.ax_.xaxis.label.get_color()
            styles = {x.get_label().rpartition(": ")[2]: x.get_linestyle() for x in self.lines_}
            handles = [Line2D([], [], color=colour(i), label=n) for i, n in enumerate(self.curves)]
            handles += [
                Line2D([], [], color=grey, ls=ls, label=what) for what, ls in styles.items()
            ]
        add_legend(self.ax_, handles)


def _history(given: Any) -> History:
    """``given``, or the history of an estimator."""
    if hasattr(given, "loss_curve_"):
        scores = getattr(given, "validation_scores_", None) if hasattr(given, "classes_") else None
        costs = list(given.loss_curve_), list(getattr(given, "validation_loss_curve_", None) or [])
        scores = [] if getattr(given, "scoring", None) else list(scores or [])
        return History(*costs, scores, penalized=given.alpha > 0)
    if not isinstance(given, History):
        raise TypeError(
            f"expected what fit returned, net.history or a fitted MLP, not {given!r:.100}"
        )
    return given
