"""``DecisionBoundaryDisplay``: the output of a net of two features, all over the plane."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backends.place import dtype_name, place_of, to_numpy
from xpnet.plotting.shared import BLUE, ORANGE, add_colorbar, add_legend, as_net, axes_for, colour

MARKERS = "osD^vP*"  # seven to ten colours: the same pair comes again after seventy classes
PALE = 0.55  # opacity of the colours of classes: points in them stand out


@dataclass(eq=False)
class DecisionBoundaryDisplay:
    """The output of a net over a grid of its two features, and the examples on top.

    One sigmoid: the probability of class 1, and the line where it is one half. Softmax: the
    colour of the likeliest class, paler the less likely it is. Identity: the prediction. Make it
    with ``from_net``.

    Parameters
    ----------
    xx0, xx1 : ndarray (k, k)
        The grid; the first feature varies along rows.
    response : ndarray (k, k), for softmax (n_y, k, k)
        The net's output there.
    X : ndarray (2, m)
        The examples, in columns.
    y : ndarray (m,) or None
        Their labels or targets.
    class_names : list of str
        Empty for an identity output.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What it was drawn on.
    image_ : matplotlib AxesImage
        The response, in colours.
    boundaries_ : list of matplotlib ContourSet
        The lines between classes.
    points_ : list of matplotlib PathCollection
        The examples, of each class that has any.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X = np.random.default_rng(0).normal(size=(2, 100))
    >>> net = xpnet.shallow_net(2, 4)
    >>> history = net.fit(X, X[0] * X[1] > 0)
    >>> display = xpnet.plotting.DecisionBoundaryDisplay.from_net(net, X, X[0] * X[1] > 0)
    >>> display.response.shape
    (200, 200)
    """

    xx0: np.ndarray
    xx1: np.ndarray
    response: np.ndarray
    X: np.ndarray
    y: np.ndarray | None
    class_names: list[str]

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
        """Evaluate ``net`` over a grid, and draw.

        Parameters
        ----------
        net : DeepNet or fitted estimator
            Of two features.
        X : array (2, m), of an estimator (m, 2)
            The examples: a net has them in columns, an estimator in rows. The grid covers their
            range.
        y : array (m,), (1, m) or (n_y, m), optional
            Their labels or targets; without it no examples are drawn. Of an estimator (m,), of its
            own classes.
        grid_resolution : int
            Points of the grid per side.
        margin : float
            How far the grid goes beyond the examples, as a fraction of their range.
        class_names : sequence, optional
            The numbers of the classes if left out.
        ax : matplotlib axes, optional
            A new figure if left out.
        **options
            Options of ``plot``.

        Returns
        -------
        DecisionBoundaryDisplay
            It is drawn.

        Raises
        ------
        ValueError
            The net has not two features, or outputs that are neither one number nor one class.
        ImportError
            matplotlib is not installed; this holds for all displays.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X = np.random.default_rng(0).normal(size=(2, 100))
        >>> net = xpnet.DeepNet([2, 4, 3], output="softmax")
        >>> names = ["red", "green", "blue"]
        >>> display = xpnet.plotting.DecisionBoundaryDisplay.from_net(net, X, class_names=names)
        >>> display.response.shape
        (3, 200, 200)
        """
        model, (net, X, y) = net, as_net(net, X, y)
        if model is not net:
            class_names = net.data.get("classes") if class_names is None else class_names
            if "features" in net.data:
                options.setdefault("feature_names", net.data["features"])
        if net.sizes[0] != 2:
            raise ValueError(f"a decision boundary needs two features; this net has {net.sizes[0]}")
        names = _class_names(net, class_names)
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
        response = answers.reshape(xx0.shape if len(answers) == 1 else (-1, *xx0.shape))
        y = None if y is None else _labels(y, net.sizes[-1], points.shape[1])
        return cls(xx0, xx1, response, points, y, names).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        feature_names: Sequence[str] = ("$x_1$", "$x_2$"),
        equal: bool | None = None,
    ) -> DecisionBoundaryDisplay:
        """Draw the response and the examples.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        feature_names : (str, str)
            Labels of the axes.
        equal : bool, optional
            Whether a unit is as long on both axes, so that a circle is one. None: where neither
            side of the grid is over twice the other.

        Returns
        -------
        DecisionBoundaryDisplay
            This one.

        Examples
        --------
        >>> from matplotlib import pyplot
        >>> import numpy as np
        >>> import xpnet
        >>> X, net = np.array([[0.0, 1.0], [0.0, 1.0]]), xpnet.shallow_net(2, 4)
        >>> display = xpnet.plotting.DecisionBoundaryDisplay.from_net(net, X)
        >>> figure, ax = pyplot.subplots()
        >>> display.plot(ax, feature_names=("width", "height")).ax_.get_xlabel()
        'width'
        """
        self.ax_, self.figure_ = axes_for(ax)
        self.boundaries_: list[Any] = []
        self.points_: list[Any] = []
        if self.response.ndim == 3:
            self._draw_classes()
        elif self.class_names:
            self._draw_probability()
        else:
            self._draw_number()
        self.ax_.set(xlabel=feature_names[0], ylabel=feature_names[1])
        self.ax_.set(xlim=self.xx0[0, [0, -1]], ylim=self.xx1[[0, -1], 0])
        if equal is None:
            equal = bool(0.5 <= np.ptp(self.xx0) / np.ptp(self.xx1) <= 2.0)
        self.ax_.set_aspect("equal" if equal else "auto")
        return self

    def _draw_probability(self) -> None:
        from matplotlib.colors import LinearSegmentedColormap

        cmap = LinearSegmentedColormap.from_list("classes", [BLUE, "white", ORANGE])
        label = f"probability of class {self.class_names[1]}"
        self._draw_image(self.response, label, cmap=cmap, vmin=0, vmax=1, alpha=PALE)
        self._draw_boundary(self.response, 0.5)
        self._draw_examples([BLUE, ORANGE])

    def _draw_classes(self) -> None:
        from matplotlib.colors import to_rgba_array

        P, n = self.response, len(self.response)
        colours = [colour(k) for k in range(n)]
        full = to_rgba_array(colours)[:, :3]
        # white where all classes are equally likely
        strength = np.clip((P.max(axis=0) - 1 / n) / (1 - 1 / n), 0, 1)[..., None]
        self._draw_image(1 - strength * (1 - full[np.argmax(P, axis=0)]), alpha=PALE)
        for k in range(n):
            self._draw_boundary(P[k] - np.delete(P, k, axis=0).max(axis=0), 0.0)
        self._draw_examples(colours)

    def _draw_number(self) -> None:
        values = self.response if self.y is None else np.append(self.response, self.y)
        scale = {"cmap": "viridis", "vmin": values.min(), "vmax": values.max()}
        label = "prediction" if self.y is None else "prediction; points: target"
        self._draw_image(self.response, label, **scale)
        if self.y is not None:
            self._scatter(self.X, c=self.y, edgecolors="white", linewidths=0.6, **scale)

    def _draw_image(self, values: np.ndarray, label: str = "", **look: Any) -> None:
        # pixels are centred on the points of the grid, so the image ends half a pixel further
        sides = self.xx0[0, [0, 1, -1]], self.xx1[[0, 1, -1], 0]
        extent = [end for a, b, c in sides for end in ((3 * a - b) / 2, c + (b - a) / 2)]
        look |= {"extent": extent, "origin": "lower", "aspect": "auto"}
        self.image_ = self.ax_.imshow(values, **look)
        self.ax_.grid(False)  # pale colours would let it through
        if label:
            add_colorbar(self.ax_, self.image_, label)

    def _draw_boundary(self, values: np.ndarray, level: float) -> None:
        """The line where ``values`` (k, k) are at ``level``, if there is one."""
        if values.min() < level < values.max():
            look: dict[str, Any] = {"colors": "black", "linewidths": 1.2}
            self.boundaries_.append(self.ax_.contour(self.xx0, self.xx1, values, [level], **look))

    def _draw_examples(self, colours: Sequence[str]) -> None:
        """The examples of each class, and a legend of all classes."""
        from matplotlib.lines import Line2D

        handles = []
        for k, name in enumerate(self.class_names):
            marker = "s" if self.y is None else MARKERS[k % len(MARKERS)]
            own: dict[str, Any] = {"color": colours[k], "marker": marker, "label": name}
            edge: dict[str, Any] = {"markeredgecolor": "black", "markeredgewidth": 0.5}
            handles.append(Line2D([], [], linestyle="none", markersize=6, **edge, **own))
            if self.y is not None and np.any(self.y == k):
                self._scatter(self.X[:, self.y == k], edgecolors="black", linewidths=0.5, **own)
        if self.y is not None or self.response.ndim == 3:
            add_legend(self.ax_, handles, "class", length=1.0)

    def _scatter(self, X: np.ndarray, **look: Any) -> None:
        # 25 square points each for a hundred examples, 5 for thousands
        size = float(np.clip(2500 / self.X.shape[1], 5, 25))
        self.points_.append(self.ax_.scatter(*X, s=size, **look))


def _class_names(net: Any, names: Sequence[Any] | None) -> list[str]:
    """Names of the classes, by default their numbers; none for a net that predicts one number."""
    n: int = net.sizes[-1]
    if n == 1 and net.output in ("identity", "sigmoid"):
        n = 0 if net.output == "identity" else 2
    elif net.output != "softmax":
        raise ValueError(f"a net with {n} {net.output} outputs does not choose one class")
    names = [str(name) for name in (range(n) if names is None else names)]
    if len(names) != n:
        raise ValueError(f"{len(names)} names for {n} classes")
    return names


def _labels(y: Any, n_y: int, m: int) -> np.ndarray:
    """Labels or targets (m,) on the host; of one-hot columns (n_y, m) the class numbers."""
    y = to_numpy(y)
    if y.ndim == 2 and y.shape[0] in (1, n_y):
        y = y[0] if y.shape[0] == 1 else np.argmax(y, axis=0)
    if y.ndim != 1:
        raise ValueError(f"y has shape {y.shape}: expected labels (m,) or columns ({n_y}, m)")
    if len(y) != m:
        raise ValueError(f"{len(y)} labels for {m} examples")
    return y


def _like(X: Any, grid: np.ndarray) -> Any:
    """``grid`` in the library, on the device and in the floating dtype of X."""
    if not is_array_api_obj(X):
        return grid
    name = dtype_name(X.dtype)
    return place_of(X).asarray(grid.astype(name if name.startswith("float") else np.float32))
