"""``ConfusionMatrixDisplay``: which classes are taken for which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.plotting.shared import axes_for, check_names, class_numbers, n_classes, points_of


@dataclass(eq=False)
class ConfusionMatrixDisplay:
    """True classes in rows, predicted ones in columns. Make it with ``from_...``.

    Attributes
    ----------
    confusion_matrix : ndarray (n, n)
        Counts of int, or shares.
    display_labels : list of str
        The classes' names.
    ax_, figure_
        What it was drawn on.
    im_ : matplotlib AxesImage
    text_ : ndarray (n, n) of matplotlib Text, or None
        None where cells are too small for a number; the colour bar is then all there is.
    """

    confusion_matrix: np.ndarray
    display_labels: list[str]
    ax_: Any = field(init=False, repr=False)
    figure_: Any = field(init=False, repr=False)
    im_: Any = field(init=False, repr=False)
    text_: Any = field(init=False, repr=False)

    @classmethod
    def from_predictions(
        cls,
        y_true: Any,
        y_pred: Any,
        *,
        labels: Sequence[Any] | None = None,
        display_labels: Sequence[Any] | None = None,
        normalize: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> ConfusionMatrixDisplay:
        """Counts and draws.

        Parameters
        ----------
        y_true, y_pred : arrays (m,) or (1, m)
            Labels: numbers or strings, of any array library.
        labels : sequence, optional
            The classes to count, in this order; None: all that occur, sorted.
        display_labels : sequence, optional
            Their names.
        normalize : {None, "true", "pred", "all"}
            Shares of each row, of each column, or of all instead of counts.
        **options
            See ``plot``.

        Raises
        ------
        ValueError
            The lengths differ, labels repeat, or names do not match them.
        """
        true, predicted = class_numbers(y_true, 1), class_numbers(y_pred, 1)
        if len(true) != len(predicted):
            raise ValueError(f"{len(true)} true labels but {len(predicted)} predicted ones")
        occurring = np.unique(np.concatenate([true, predicted]))
        classes = occurring if labels is None else np.asarray(list(labels))
        if not len(classes):
            raise ValueError("there are no labels")
        names = check_names([str(c) for c in classes] if display_labels is None else display_labels,
                            len(classes))  # fmt: skip
        matrix = normalized(counts(true, predicted, classes), normalize)
        return cls(matrix, names).plot(ax, **options)

    @classmethod
    def from_net(
        cls,
        net: Any,
        X: Any,
        y: Any,
        *,
        display_labels: Sequence[Any] | None = None,
        normalize: str | None = None,
        ax: Any = None,
        **options: Any,
    ) -> ConfusionMatrixDisplay:
        """What ``net`` predicts for X (n_x, m), against the labels or one-hot columns ``y``.

        Raises
        ------
        ValueError
            The net does not choose one class; names do not match its classes.
        """
        n = n_classes(net)
        return cls.from_predictions(
            class_numbers(y, net.sizes[-1]),
            to_numpy(net.predict(X)).reshape(-1),
            labels=range(n),
            display_labels=check_names(display_labels, n),
            normalize=normalize,
            ax=ax,
            **options,
        )

    def plot(
        self, ax: Any = None, *, cmap: Any = "Blues", include_values: bool = True
    ) -> ConfusionMatrixDisplay:
        """Draws.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        cmap : str or Colormap
        include_values : bool
            Whether cells show their number, where it fits.

        Raises
        ------
        ImportError
            There is no matplotlib.
        """
        ax, figure = axes_for(ax)
        self.ax_, self.figure_, self.text_ = ax, figure, None
        matrix, n = self.confusion_matrix, len(self.confusion_matrix)
        whole = np.issubdtype(matrix.dtype, np.integer)
        self.im_ = ax.imshow(matrix, cmap=cmap, vmin=0, interpolation="nearest")
        bar = figure.colorbar(self.im_, ax=ax, label="examples" if whole else "share of examples")
        if whole:
            bar.locator.set_params(integer=True)
            bar.update_ticks()
        largest = max((len(name) for name in self.display_labels), default=1)
        steep = n * largest > 40  # names side by side would overlap
        size = min(points_of(ax)) / n
        shown = slice(0, n, ceil(7 / size))  # one letter needs some seven points
        at, names = np.arange(n)[shown], self.display_labels[shown]
        ax.set_xticks(at, names, rotation=90 if steep else 0)
        ax.set_yticks(at, names)
        ax.set(xlabel="predicted class", ylabel="true class")
        ax.tick_params(labelsize=min(10.0, 0.9 * size * shown.step))
        if include_values:
            self._write_values([f"{x:d}" if whole else f"{x:.2f}" for x in matrix.flat], size)
        return self

    def _write_values(self, numbers: list[str], cell: float) -> None:
        """Writes into cells of so many points, if the longest number can be read there."""
        from matplotlib import rcParams

        # a digit is about 0.64 of its size wide
        size = min(rcParams["font.size"], 0.85 * cell / (0.64 * max(map(len, numbers))), cell / 2)
        if size < 4:
            return
        n, middle = len(self.confusion_matrix), self.im_.norm.vmax / 2
        dark, light = self.im_.cmap(1.0), self.im_.cmap(0.0)
        self.text_ = np.empty((n, n), dtype=object)
        for (i, j), value in np.ndenumerate(self.confusion_matrix):
            colour = light if value > middle else dark
            self.text_[i, j] = self.ax_.text(
                j, i, numbers[i * n + j], ha="center", va="center", color=colour, fontsize=size
            )


def counts(true: np.ndarray, predicted: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """How often class i was taken for class j, (n, n); other labels are left out."""
    n, order = len(classes), np.argsort(classes, kind="stable")
    ordered = classes[order]
    if np.any(ordered[1:] == ordered[:-1]):
        raise ValueError("labels has the same one twice")

    def positions(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.minimum(np.searchsorted(ordered, labels), n - 1)
        return order[at], ordered[at] == labels

    (rows, known), (columns, also) = positions(true), positions(predicted)
    cells = (rows * n + columns)[known & also]
    return np.bincount(cells, minlength=n * n).reshape(n, n)


def normalized(matrix: np.ndarray, by: str | None) -> np.ndarray:
    """Shares of rows ("true"), columns ("pred") or all; a class that never occurs has zeros."""
    if by is None:
        return matrix
    axes: dict[str, int | None] = {"true": 1, "pred": 0, "all": None}
    if by not in axes:
        raise ValueError(f"normalize={by!r}: choose None, 'true', 'pred' or 'all'")
    total = matrix.sum(axis=axes[by], keepdims=True)
    return matrix / np.maximum(total, 1)
