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
class Curve:
    """A history as arrays, ``(epochs,)`` or empty; entry 0 is that of epoch 1."""

    name: str
    cost: np.ndarray
    validation_cost: np.ndarray
    validation_accuracy: np.ndarray
    cost_name: str = "cost"


@dataclass(eq=False)
class LearningCurveDisplay:
    """Cost, validation cost, and validation accuracy on an axis to the right.

    A cost that includes a penalty is called "cost (with penalty)"; the validation cost has none.

    Make it with ``from_history``.

    Attributes
    ----------
    curves : list of Curve
    ax_, figure_
        The axes and the figure it was drawn on.
    accuracy_ax_
        The axis to the right, None without accuracies.
    lines_ : list of matplotlib lines
    """

    curves: list[Curve]

    @classmethod
    def from_history(
        cls,
        history: History | Mapping[str, History] | Iterable[History],
        *,
        ax: Any = None,
        **options: Any,
    ) -> LearningCurveDisplay:
        """Draws what ``fit`` returned, or ``net.history``.

        Parameters
        ----------
        history : History, or several of them
            A mapping gives each its name; in a list they are called by their number, from 1.
        ax : matplotlib axes, optional
        **options
            Options of ``plot``.

        Raises
        ------
        TypeError, ValueError
            It is no history, or has no epochs.
        """
        named: Iterable[tuple[Any, Any]] = [("", history)]
        if isinstance(history, Mapping):
            named = history.items()
        elif isinstance(history, Iterable):
            named = enumerate(history, 1)
        return cls([_curve(str(name), h) for name, h in named]).plot(ax, **options)

    def plot(
        self, ax: Any = None, *, log: bool | None = None, accuracy: bool = True
    ) -> LearningCurveDisplay:
        """Draws the curves.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        log : bool, optional
            Whether the axis of costs is logarithmic. None: if the largest is more than ten times
            the smallest, and all are positive.
        accuracy : bool
            Whether validation accuracy is shown where there is any.

        Raises
        ------
        ValueError
            There are no epochs to show.
        """
        if not any(len(curve.cost) for curve in self.curves):
            raise ValueError("the history has no epochs: call fit first")
        self.ax_, self.figure_ = axes_for(ax)
        ax = self.ax_
        with_accuracy = accuracy and any(len(c.validation_accuracy) for c in self.curves)
        self.accuracy_ax_ = right = ax.twinx() if with_accuracy else None
        self.lines_: list[Any] = []
        for i, curve in enumerate(self.curves):
            self._draw(curve, None if len(self.curves) == 1 else colour(i))
        costs = [x for curve in self.curves for x in (*curve.cost, *curve.validation_cost)]
        if spans_decades(costs) if log is None else log:
            ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="cost")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if right is not None:
            right.set_ylabel("validation accuracy")
            if len(self.curves) == 1:
                right.yaxis.label.set_color(PURPLE)
            bottom, top = right.get_ylim()  # no accuracy is above 1
            right.set_ylim(bottom, min(top, 1.0 + 0.05 * (1.0 - bottom)))
        self._add_legend()
        return self

    def _draw(self, curve: Curve, its_colour: str | None) -> None:
        parts = (
            (curve.cost_name, curve.cost, self.ax_, BLUE, "-"),
            ("validation cost", curve.validation_cost, self.ax_, ORANGE, "--"),
            ("validation accuracy", curve.validation_accuracy, self.accuracy_ax_, PURPLE, ":"),
        )
        for what, values, ax, usual_colour, style in parts:
            if ax is not None and len(values):
                self.lines_ += ax.plot(
                    np.arange(1, len(values) + 1),
                    values,
                    color=its_colour or usual_colour,
                    linestyle=style,
                    marker="o" if len(values) == 1 else None,  # one point makes no line
                    label=f"{curve.name}: {what}" if curve.name else what,
                )

    def _add_legend(self) -> None:
        from matplotlib.lines import Line2D

        handles = self.lines_
        if len(self.curves) > 1:  # colours stand for histories, dashes for what is shown
            grey = self.ax_.xaxis.label.get_color()
            styles = {x.get_label().rpartition(": ")[2]: x.get_linestyle() for x in self.lines_}
            handles = [
                Line2D([], [], color=colour(i), label=curve.name)
                for i, curve in enumerate(self.curves)
            ]
            for what, style in styles.items():
                handles.append(Line2D([], [], color=grey, linestyle=style, label=what))
        add_legend(self.ax_, handles)


def _curve(name: str, history: Any) -> Curve:
    if not isinstance(history, History):
        raise TypeError(f"expected what fit returned or net.history, not {history!r:.100}")
    return Curve(
        name,
        np.asarray(history.cost, dtype=np.float64),
        np.asarray(history.validation_cost, dtype=np.float64),
        np.asarray(history.validation_accuracy, dtype=np.float64),
        history.cost_name,
    )


def spans_decades(values: Iterable[float]) -> bool:
    """Whether a logarithmic axis suits: all positive, the largest over ten times the smallest."""
    finite = [x for x in values if isfinite(x)]
    return bool(finite) and 0 < 10 * min(finite) < max(finite)
