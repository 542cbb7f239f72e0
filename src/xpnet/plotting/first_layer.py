"""``FirstLayerDisplay``: the weights of each unit of the first layer, as images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.core.settings import check_count
from xpnet.plotting.shared import add_colorbar, as_net, axes_for


@dataclass(eq=False)
class FirstLayerDisplay:
    """The rows of ``W[1]`` as images, in a grid: red for positive weights, blue for negative.

    Make it with ``from_net``.

    Parameters
    ----------
    images : ndarray (units, height, width)
        The weights of each unit.
    units : ndarray of int (units,)
        The numbers of these units, from 0.
    n_units : int
        How many the layer has.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What it was drawn on.
    image_ : matplotlib AxesImage
        All images, one pixel apart, in one masked array.
    colorbar_ : matplotlib Colorbar
        The scale of the weights.

    Examples
    --------
    >>> import xpnet
    >>> net = xpnet.DeepNet([64, 16, 10], output="softmax")
    >>> xpnet.plotting.FirstLayerDisplay.from_net(net, (8, 8)).images.shape
    (16, 8, 8)
    """

    images: np.ndarray
    units: np.ndarray
    n_units: int

    @classmethod
    def from_net(
        cls,
        net: Any,
        shape: tuple[int, int],
        *,
        units: int | Iterable[int] = 64,
        ax: Any = None,
        **options: Any,
    ) -> FirstLayerDisplay:
        """Draw the weights of ``net``, or of an estimator.

        Parameters
        ----------
        net : DeepNet
            Its features are pixels.
        shape : (height, width)
            Of the images that the features are the pixels of, row by row.
        units : int or list of int
            The first so many units, or these, counted from 0.
        ax : matplotlib axes, optional
            A new figure if left out.
        **options
            Options of ``plot``.

        Returns
        -------
        FirstLayerDisplay
            It is drawn.

        Raises
        ------
        ValueError
            The net's features are not height * width, or there is no such unit.

        Examples
        --------
        >>> import xpnet
        >>> net = xpnet.DeepNet([64, 16, 10], output="softmax")
        >>> xpnet.plotting.FirstLayerDisplay.from_net(net, (8, 8), units=[3, 5]).units
        array([3, 5])
        """
        W = to_numpy(as_net(net)[0].parameters[0].W)  # (n_out, n_x)
        n_out, n_x = W.shape
        height, width = shape
        if height * width != n_x:
            raise ValueError(f"shape={height, width} has {height * width} pixels, X {n_x} features")
        every = range(n_out)
        numbers = units if isinstance(units, Iterable) else every[: check_count(units, "units", 0)]
        chosen = np.array([check_count(unit, "units", 0) for unit in numbers])
        if not len(chosen) or chosen.max() >= n_out:
            raise ValueError(f"units={units!r}: the first layer has units 0 to {n_out - 1}")
        return cls(W[chosen].reshape(-1, height, width), chosen, n_out).plot(ax, **options)

    def plot(
        self, ax: Any = None, *, columns: int | None = None, vmax: float | None = None
    ) -> FirstLayerDisplay:
        """Draw the images.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        columns : int, optional
            Images in a row; None: as many as fill the axes.
        vmax : float, optional
            The weight with the strongest colour, the same on both sides of 0; None: the largest.

        Returns
        -------
        FirstLayerDisplay
            This one.

        Examples
        --------
        >>> from matplotlib import pyplot
        >>> import xpnet
        >>> net = xpnet.DeepNet([64, 16, 10], output="softmax")
        >>> display = xpnet.plotting.FirstLayerDisplay.from_net(net, (8, 8))
        >>> figure, ax = pyplot.subplots()
        >>> display.plot(ax, columns=8, vmax=0.5).ax_.get_title()
        '16 units'
        """
        self.ax_, self.figure_ = axes_for(ax)
        ax = self.ax_
        from matplotlib import colormaps

        n, height, width = self.images.shape
        box = ax.get_window_extent()
        fits = np.sqrt(n * (height + 1) / (width + 1) * box.width / box.height)
        # of about so many columns, those that leave the fewest places in the last row empty
        about = range(max(round(0.8 * fits), 1), max(round(1.25 * fits), 1) + 1)
        columns = columns or min(about, key=lambda c: (-n % c, abs(c - fits)))
        columns = min(max(columns, 1), n)
        largest = float(np.abs(self.images).max()) if vmax is None else vmax
        largest = largest or 1.0  # all weights 0: white
        # the images side by side, row by row; NaN, which is masked, in between and around
        rows = ceil(n / columns)
        tiles = np.full((rows * columns, height + 1, width + 1), np.nan)
        tiles[:n, 1:, 1:] = self.images
        tiles = tiles.reshape(rows, columns, height + 1, width + 1).swapaxes(1, 2)
        joined = tiles.reshape(rows * (height + 1), columns * (width + 1))
        joined = np.pad(joined, ((0, 1), (0, 1)), constant_values=np.nan)
        look = {"cmap": colormaps["RdBu_r"].with_extremes(bad="0.8"), "interpolation": "nearest"}
        self.image_ = ax.imshow(joined, vmin=-largest, vmax=largest, **look)
        self.colorbar_ = add_colorbar(ax, self.image_, "weight")
        ax.set_axis_off()
        ax.set_title(f"{n} of {self.n_units} units" if n < self.n_units else f"{n} units")
        return self
