"""What the displays share: the axes they draw on, colours, and class labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy

# Ten colours that people with any kind of colour vision can tell apart (Petroff 2021,
# arXiv:2107.02270), in his order.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
BLUE, ORANGE, PURPLE = COLOURS[0], COLOURS[6], COLOURS[4]
MARKERS = "osD^vP*"  # seven to ten colours: the same pair comes again after seventy classes


def axes_for(ax: Any, figsize: tuple[float, float] = (6.4, 4.8)) -> tuple[Any, Any]:
    """``ax`` and its figure; for None those of a new pyplot figure of ``figsize`` inches.

    Raises
    ------
    ImportError
        There is no matplotlib.
    """
    if ax is None:
        figure, ax = _pyplot().subplots(figsize=figsize, layout="constrained")
        return ax, figure
    return ax, ax.figure


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot
    except ImportError as error:
        raise ImportError(
            'drawing needs matplotlib: python -m pip install "xpnet[plot]"'
        ) from error
    return matplotlib.pyplot


def points_of(ax: Any) -> tuple[float, float]:
    """Width and height of ``ax`` in points, a 72nd of an inch, as text sizes are."""
    box = ax.get_window_extent()
    scale = 72.0 / ax.figure.dpi
    return box.width * scale, box.height * scale


def add_legend(
    ax: Any, handles: Sequence[Any], title: str | None = None, length: float = 2.0
) -> None:
    """A legend above ``ax``, where it hides nothing; inside and small if it is too large for that.

    If it is too large for that as well, there is none. ``length`` is that of its handles, in sizes
    of the letters.
    """
    width, height = points_of(ax)
    # in points: some 6 a letter, and what stands before and after them
    entries = [15 + 10 * length + 6 * len(handle.get_label()) for handle in handles]
    columns = len(handles) if sum(entries) < width else int(width // max(entries))
    if columns and 16 * (-(-len(handles) // columns)) < height / 3:
        above = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "frameon": False}
        ax.legend(handles=handles, title=title, handlelength=length, ncols=columns, **above)
    elif 11 * len(handles) < height / 2 and 0.7 * max(entries) < width:
        ax.legend(handles=handles, fontsize="xx-small", handlelength=1.2, framealpha=0.7)


def class_numbers(y: Any, n_y: int) -> np.ndarray:
    """Class numbers (m,) on the host, of labels (m,) or (1, m) or of one-hot columns (n_y, m).

    Raises
    ------
    ValueError
        ``y`` has another shape.
    """
    y = to_numpy(y)
    if y.ndim == 2 and y.shape[0] == n_y > 1:
        return np.argmax(y, axis=0)
    if y.ndim == 2 and y.shape[0] == 1:
        y = y[0]
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}: expected labels (m,) or columns ({n_y}, m)")
    return y


def n_classes(net: Any) -> int:
    """How many classes ``net`` tells apart.

    Raises
    ------
    ValueError
        Its output is no single choice of a class.
    """
    n_y: int = net.sizes[-1]
    if net.output == "softmax":
        return n_y
    if net.output == "sigmoid" and n_y == 1:
        return 2
    raise ValueError(f"a net with {n_y} {net.output} outputs does not choose one class of several")


def check_names(names: Any, n: int) -> list[str]:
    """``n`` names of classes; their numbers for None."""
    if names is None:
        return [str(k) for k in range(n)]
    names = [str(name) for name in names]
    if len(names) != n:
        raise ValueError(f"{len(names)} names for {n} classes")
    return names
