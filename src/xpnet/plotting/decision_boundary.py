"""``DecisionBoundaryDisplay``: what a net of two features answers, all over the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backends.place import dtype_name, place_of, to_numpy
from xpnet.plotting.shared import (
    BLUE,
    COLOURS,
    MARKERS,
    ORANGE,
    add_legend,
    axes_for,
    check_names,
    class_numbers,
    n_classes,
)


@dataclass(eq=False)
class DecisionBoundaryDisplay:
    """The output of a net over a grid of its two features, and the examples on top.

    One sigmoid: the probability of class 1, and the line where it is one half. Softmax: the
    colour of the likeliest class, paler the less likely it is. Identity: the prediction. Make it
    with ``from_net``.

    Attributes
    ----------
    xx0, xx1 : ndarray (k, k)
        The grid; the first feature varies along rows.
    response : ndarray (k, k), for softmax (n_y, k, k)
        The net's output there.
    X : ndarray (2, m)
    y : ndarray (m,) or None
    class_names : list of str
        Empty for an identity output.
    ax_, figure_
        What it was drawn on.
    image_ : matplotlib AxesImage
    boundaries_ : list of matplotlib ContourSet
    points_ : list of matplotlib PathCollection
        The examples, of each class that has any.
    """

    xx0: np.ndarray
    xx1: np.ndarray
    response: np.ndarray
    X: np.ndarray
    y: np.ndarray | None
    class_names: list[str]
    ax_: Any = field(init=False, repr=False)
    figure_: Any = field(init=False, repr=False)
    image_: Any = field(init=False, repr=False)
    boundaries_: list[Any] = field(init=False, repr=False)
    points_: list[Any] = field(init=False, repr=False)

    @classmethod
    def from_net(
        cls,
        net: Any,
        X: Any,
        y: Any = None,
        *,
        grid_resolution: int = 200,
        margin: float = 0.1,
        class_names: Sequence[Any] | None = None,
        ax: Any = None,
        **options: Any,
    ) -> DecisionBoundaryDisplay:
        """Evaluates ``net`` and draws.

        Parameters
        ----------
        X : array (2, m)
            The examples, in columns. They say how far the grid goes.
        y : array (m,), (1, m) or (n_y, m), optional
            Their labels or targets; without it no examples are drawn.
        grid_resolution : int
            Points of the grid per side.
        margin : float
            How far the grid goes beyond the examples, as a share of their range.
        class_names : sequence, optional
        **options
            See ``plot``.

        Raises
        ------
        ValueError
            The net has not two features, or outputs that are neither one number nor one class.
        """
        if net.sizes[0] != 2:
            raise ValueError(f"a decision boundary needs two features; this net has {net.sizes[0]}")
        classes = 0 if net.output == "identity" and net.sizes[-1] == 1 else n_classes(net)
        points = to_numpy(X)
        if points.ndim != 2 or points.shape[0] != 2 or not points.shape[1]:
            raise ValueError(f"X has shape {points.shape}: expected (2, m), examples in columns")
        sides = []
        for low, high in zip(points.min(axis=1), points.max(axis=1), strict=True):
            beyond = margin * (float(high) - float(low)) or 0.5
            sides.append(np.linspace(low - beyond, high + beyond, grid_resolution))
        xx0, xx1 = np.meshgrid(*sides)
        grid = np.stack([xx0.ravel(), xx1.ravel()])  # (2, k k)
        answers = to_numpy(net.predict_proba(_like(X, grid)))  # (n_y, k k)
        response = answers.reshape(-1, *xx0.shape)
        if len(response) == 1:
            response = response[0]
        if y is not None:
            y = class_numbers(y, net.sizes[-1])
            if len(y) != points.shape[1]:
                raise ValueError(f"{len(y)} labels for {points.shape[1]} examples")
        names = check_names(class_names, classes)
        return cls(xx0, xx1, response, points, y, names).plot(ax, **options)

    def plot(
        self, ax: Any = None, *, feature_names: tuple[str, str] = ("$x_1$", "$x_2$")
    ) -> DecisionBoundaryDisplay:
        """Draws on ``ax``, or on a new figure.

        Raises
        ------
        ImportError
            There is no matplotlib.
        """
        ax, figure = axes_for(ax)
        self.ax_, self.figure_, self.boundaries_, self.points_ = ax, figure, [], []
        if self.response.ndim == 3:
            self._draw_classes()
        elif self.class_names:
            self._draw_probability()
        else:
            self._draw_number()
        if self.class_names:
            self._add_legend()
        extent = self._extent
        ax.set(
            xlabel=feature_names[0],
            ylabel=feature_names[1],
            xlim=extent[:2],
            ylim=extent[2:],
        )
        return self

    @property
    def _extent(self) -> tuple[float, float, float, float]:
        return self.xx0[0, 0], self.xx0[0, -1], self.xx1[0, 0], self.xx1[-1, 0]

    def _image(self, values: np.ndarray, **how: Any) -> Any:
        # pixels are centred on the points of the grid, so the image ends half a pixel further
        x0, x1, y0, y1 = self._extent
        dx, dy = (x1 - x0) / (len(values[0]) - 1) / 2, (y1 - y0) / (len(values) - 1) / 2
        extent = (x0 - dx, x1 + dx, y0 - dy, y1 + dy)
        return self.ax_.imshow(values, extent=extent, origin="lower", aspect="auto", **how)

    def _boundary(self, values: np.ndarray, level: float) -> None:
        if values.min() < level < values.max():
            self.boundaries_.append(
                self.ax_.contour(
                    self.xx0, self.xx1, values, [level], colors="black", linewidths=1.2
                )
            )

    def _draw_probability(self) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        cmap = LinearSegmentedColormap.from_list(
            "classes", [_pale(BLUE), (1.0, 1.0, 1.0), _pale(ORANGE)]
        )
        self.image_ = self._image(self.response, cmap=cmap, vmin=0, vmax=1)
        self.figure_.colorbar(
            self.image_, ax=self.ax_, label=f"probability of class {self.class_names[1]}"
        )
        self._boundary(self.response, 0.5)
        self._scatter((BLUE, ORANGE))

    def _draw_classes(self) -> None:
        P, n = self.response, len(self.response)
        colours = np.array([_pale(COLOURS[k % len(COLOURS)]) for k in range(n)])  # (n, 3)
        likeliest = np.argmax(P, axis=0)  # (k, k)
        # white where all classes are equally likely
        strength = np.clip((P.max(axis=0) - 1 / n) / (1 - 1 / n), 0, 1)[..., None]
        self.image_ = self._image(1 - strength * (1 - colours[likeliest]))
        for k in range(n):
            others = np.delete(P, k, axis=0).max(axis=0)
            self._boundary(P[k] - others, 0.0)
        self._scatter([COLOURS[k % len(COLOURS)] for k in range(n)])

    def _draw_number(self) -> None:
        targets = self.response if self.y is None else np.append(self.response, self.y)
        scale = {"cmap": "viridis", "vmin": targets.min(), "vmax": targets.max()}
        self.image_ = self._image(self.response, **scale)
        label = "prediction" if self.y is None else "prediction; points: target"
        self.figure_.colorbar(self.image_, ax=self.ax_, label=label)
        if self.y is not None:
            look = {"s": self._size, "edgecolors": "white", "linewidths": 0.6}
            self.points_.append(self.ax_.scatter(*self.X, c=self.y, **scale, **look))

    @property
    def _size(self) -> float:
        """The area of a point: 25 square points for a hundred examples, 5 for thousands."""
        return float(np.clip(2500 / max(self.X.shape[1], 1), 5, 25))

    def _scatter(self, colours: Sequence[str]) -> None:
        if self.y is None:
            return
        for k, (name, colour) in enumerate(zip(self.class_names, colours, strict=True)):
            mine = self.y == k
            if np.any(mine):
                self.points_.append(
                    self.ax_.scatter(
                        *self.X[:, mine],
                        s=self._size,
                        color=colour,
                        marker=MARKERS[k % len(MARKERS)],
                        edgecolors="black",
                        linewidths=0.5,
                        label=name,
                    )
                )

    def _add_legend(self) -> None:
        from matplotlib.lines import Line2D

        colours = (BLUE, ORANGE) if self.response.ndim == 2 else COLOURS
        look: dict[str, Any] = {"linestyle": "none", "markeredgecolor": "black", "markersize": 6}
        handles = [
            Line2D([], [], color=colours[k % len(colours)], marker=MARKERS[k % len(MARKERS)],
                   markeredgewidth=0.5, label=name, **look)
            for k, name in enumerate(self.class_names)
        ]  # fmt: skip
        add_legend(self.ax_, handles, "class", length=1.0)


def _pale(colour: str) -> tuple[float, ...]:
    """Red, green and blue of a colour half mixed with white: points in it stand out."""
    from matplotlib.colors import to_rgb

    return tuple(0.45 + 0.55 * part for part in to_rgb(colour))


def _like(X: Any, grid: np.ndarray) -> Any:
    """``grid`` in the library, on the device and in the floating dtype of X."""
    if not is_array_api_obj(X):
        return grid
    name = dtype_name(X.dtype)
    grid = grid.astype(name if name.startswith("float") else np.float32)
    return grid if isinstance(X, np.ndarray) else place_of(X).asarray(grid)
