"""``LearningCurveDisplay``: costs and accuracy over the epochs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

import numpy as np

from xpnet.plotting.shared import BLUE, COLOURS, ORANGE, PURPLE, add_legend, axes_for
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
        What it was drawn on.
    accuracy_ax_
        The axis to the right, None without accuracies.
    lines_ : list of matplotlib lines
    """

    curves: list[Curve]
    ax_: Any = field(init=False, repr=False)
    figure_: Any = field(init=False, repr=False)
    accuracy_ax_: Any = field(init=False, repr=False)
    lines_: list[Any] = field(init=False, repr=False)

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
            See ``plot``.

        Raises
        ------
        TypeError, ValueError
            It is no history, or has no epochs.
        """
        if isinstance(history, History):
            named: dict[str, Any] = {"": history}
        elif isinstance(history, Mapping):
            named = {str(name): h for name, h in history.items()}
        elif isinstance(history, Iterable):
            named = {str(i): h for i, h in enumerate(history, 1)}
        else:
            raise TypeError(f"expected what fit returned or net.history, not {history!r:.100}")
        for h in named.values():
            if not isinstance(h, History):
                raise TypeError(f"expected what fit returned or net.history, not {h!r:.100}")
        curves = [
            Curve(
                name,
                np.asarray(h.cost, dtype=np.float64),
                np.asarray(h.validation_cost, dtype=np.float64),
                np.asarray(h.validation_accuracy, dtype=np.float64),
                h.cost_name,
            )
            for name, h in named.items()
        ]
        return cls(curves).plot(ax, **options)

    def plot(
        self, ax: Any = None, *, log: bool | None = None, accuracy: bool = True
    ) -> LearningCurveDisplay:
        """Draws.

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
        ImportError
            There is no matplotlib.
        """
        if not any(len(curve.cost) for curve in self.curves):
            raise ValueError("the history has no epochs: call fit first")
        ax, figure = axes_for(ax)
        self.ax_, self.figure_, self.lines_ = ax, figure, []
        with_accuracy = accuracy and any(len(c.validation_accuracy) for c in self.curves)
        self.accuracy_ax_ = right = ax.twinx() if with_accuracy else None
        for i, curve in enumerate(self.curves):
            self._draw(curve, None if len(self.curves) == 1 else COLOURS[i % len(COLOURS)])
        costs = [x for curve in self.curves for x in (*curve.cost, *curve.validation_cost)]
        if spans_decades(costs) if log is None else log:
            ax.set_yscale("log")
        ax.set(xlabel="epoch", ylabel="cost")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if right is not None:
            one = len(self.curves) == 1
            right.set_ylabel("validation accuracy", **({"color": PURPLE} if one else {}))
            bottom, top = right.get_ylim()  # no share is above 1
            right.set_ylim(bottom, min(top, 1.0 + 0.05 * (1.0 - bottom)))
        self._add_legend()
        return self

    def _draw(self, curve: Curve, colour: str | None) -> None:
        parts = (
            (curve.cost_name, curve.cost, self.ax_, BLUE, "-"),
            ("validation cost", curve.validation_cost, self.ax_, ORANGE, "--"),
            ("validation accuracy", curve.validation_accuracy, self.accuracy_ax_, PURPLE, ":"),
        )
        for what, values, ax, own_colour, style in parts:
            if ax is None or not len(values):
                continue
            self.lines_ += ax.plot(
                np.arange(1, len(values) + 1),
                values,
                color=colour or own_colour,
                linestyle=style,
                marker="o" if len(values) == 1 else None,  # one point makes no line
                label=f"{curve.name}: {what}" if curve.name else what,
            )

    def _add_legend(self) -> None:
        from matplotlib.lines import Line2D

        handles = self.lines_
        if len(self.curves) > 1:  # colours stand for histories, dashes for what is shown
            grey = self.ax_.xaxis.label.get_color()
            what = {line.get_label().rpartition(": ")[2]: line for line in self.lines_}
            handles = [
                Line2D([], [], color=COLOURS[i % len(COLOURS)], label=curve.name)
                for i, curve in enumerate(self.curves)
            ] + [
                Line2D([], [], color=grey, linestyle=line.get_linestyle(), label=label)
                for label, line in what.items()
            ]
        add_legend(self.ax_, handles)


def spans_decades(values: Iterable[float]) -> bool:
    """Whether a logarithmic axis suits: all positive, the largest over ten times the smallest."""
    finite = [x for x in values if isfinite(x)]
    return bool(finite) and 0 < 10 * min(finite) < max(finite)
