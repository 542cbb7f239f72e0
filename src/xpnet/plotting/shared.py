"""What the displays share: axes to draw on, colours, and a legend that hides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backends.place import to_numpy
from xpnet.net.deepnet import DeepNet

# Ten colours that people with any kind of colour vision can tell apart (Petroff 2021,
# arXiv:2107.02270), in his order.
COLOURS = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6"),
    *("#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd"),
)
BLUE, ORANGE, PURPLE = COLOURS[0], COLOURS[6], COLOURS[4]


def colour(i: int) -> str:
    """The colour of class or history ``i``; they repeat after ten."""
    return COLOURS[i % len(COLOURS)]


def as_net(model: Any, X: Any = None, y: Any = None) -> tuple[DeepNet, Any, Any]:
    """``model``, X and y, or the net of a fitted estimator, with X in columns and class numbers."""
    if isinstance(model, DeepNet):
        return model, X, y
    if X is not None:
        X = (X if is_array_api_obj(X) else np.asarray(X)).T
    if y is not None:
        y = to_numpy(y).T
        if hasattr(model, "classes_") and y.ndim == 1:
            y = np.searchsorted(to_numpy(model.classes_), y)
    return DeepNet.from_sklearn(model), X, y


def axes_for(ax: Any, figsize: tuple[float, float] = (6.4, 4.8)) -> tuple[Any, Any]:
    """``ax`` and its figure; for None those of a new pyplot figure of ``figsize`` inches.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    """
    if ax is not None:
        return ax, ax.figure
    try:
        from matplotlib import pyplot
    except ImportError:
        raise ImportError("drawing needs matplotlib: python -m pip install matplotlib") from None
    figure, ax = pyplot.subplots(figsize=figsize, layout="constrained")
    return ax, figure


def points_of(ax: Any) -> tuple[float, float]:
    """Width and height of ``ax`` in points, a 72nd of an inch, as text sizes are."""
    box = ax.get_window_extent()
    scale = 72.0 / ax.figure.dpi
    return box.width * scale, box.height * scale


def add_colorbar(ax: Any, image: Any, label: str) -> Any:
    """Add a colour bar of ``image`` as high as ``ax``, whatever its aspect; return it."""
    if points_of(ax)[0] < 120:  # too narrow for one beside it
        return ax.figure.colorbar(image, ax=ax, label=label)
    return ax.figure.colorbar(image, cax=ax.inset_axes((1.04, 0.0, 0.05, 1.0)), label=label)


def add_legend(
    ax: Any, handles: Sequence[Any], title: str | None = None, length: float = 2.0
) -> None:
    """Add a legend above ``ax``, or inside it in small letters if it is too large for that.

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
