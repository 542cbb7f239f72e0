"""``WeightsDisplay``: how the weights of each layer are distributed."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.plotting.shared import BLUE, as_net, axes_for, points_of


@dataclass(eq=False)
class WeightsDisplay:
    """A histogram of each layer's weights, one above the other on one scale, layer 1 on top.

    Each is as high as its own peak: heights of two layers do not compare, widths do. Make it with
    ``from_net``.

    Parameters
    ----------
    counts : list of ndarray (bins,)
        Weights per bin, for each layer.
    edges : list of ndarray (bins + 1,)
        The bounds of each layer's bins.
    std : ndarray (layers,)
        Standard deviations.
    shapes : list of (n_out, n_in)
        Of the layers' weights.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What it was drawn on.
    patches_ : list of matplotlib StepPatch
        The histograms.
    text_ : list of matplotlib Text
        The standard deviations.

    Examples
    --------
    >>> import xpnet
    >>> net = xpnet.DeepNet([64, 16, 10], output="softmax")
    >>> xpnet.plotting.WeightsDisplay.from_net(net).shapes
    [(16, 64), (10, 16)]
    """

    counts: list[np.ndarray]
    edges: list[np.ndarray]
    std: np.ndarray
    shapes: list[tuple[int, int]]

    @classmethod
    def from_net(
        cls, net: Any, *, bins: int | None = None, ax: Any = None, **options: Any
    ) -> WeightsDisplay:
        """Draw the weights of ``net``, or of an estimator, each layer over its range.

        Parameters
        ----------
        net : DeepNet
            Trained or not.
        bins : int, optional
            None: twice the cube root of the layer's weights (Rice's rule), 60 at most.
        ax : matplotlib axes, optional
            A new figure if left out.
        **options
            Options of ``plot``.

        Returns
        -------
        WeightsDisplay
            It is drawn.

        Examples
        --------
        >>> import xpnet
        >>> net = xpnet.DeepNet([64, 16, 10], output="softmax")
        >>> display = xpnet.plotting.WeightsDisplay.from_net(net, bins=30)
        >>> [int(counts.sum()) for counts in display.counts]
        [1024, 160]
        """
        weights = [to_numpy(W) for W, _ in as_net(net)[0].parameters]
        span = max(float(np.ptp(W)) for W in weights)
        counts, edges = [], []
        for W in weights:
            low, high = float(W.min()), float(W.max())
            n = bins or min(60, ceil(2 * W.size ** (1 / 3)))
            if low == high:  # all the same: a bar that does not stretch the axis
                half = 0.005 * span or 0.005 * abs(low) or 0.5
                n, low, high = 1, low - half, high + half
            count, edge = np.histogram(W, n, (low, high))
            counts.append(count)
            edges.append(edge.astype(np.float64))
        std = np.array([W.std(dtype=np.float64) for W in weights])
        return cls(counts, edges, std, [W.shape for W in weights]).plot(ax, **options)

    def plot(self, ax: Any = None, *, color: Any = BLUE) -> WeightsDisplay:
        """Draw the histograms; a new figure is high enough for all layers.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        color : matplotlib colour
            Of all histograms.

        Returns
        -------
        WeightsDisplay
            This one.

        Examples
        --------
        >>> from matplotlib import pyplot
        >>> import xpnet
        >>> display = xpnet.plotting.WeightsDisplay.from_net(xpnet.shallow_net(2, 4))
        >>> figure, ax = pyplot.subplots()
        >>> len(display.plot(ax, color="grey").patches_)
        2
        """
        n = len(self.counts)
        height = max(2.4, min(4.8, 1.2 + 0.8 * n), 1.0 + 0.38 * n)
        self.ax_, self.figure_ = axes_for(ax, (6.4, height))
        ax = self.ax_
        self.patches_, self.text_ = [], []
        bases = range(n - 1, -1, -1)  # where each histogram stands
        for base, counts, edges in zip(bases, self.counts, self.edges, strict=True):
            heights = base + 0.85 * counts / counts.max()
            self.patches_.append(ax.stairs(heights, edges, baseline=base, fill=True, color=color))
            ax.axhline(base, color=color, linewidth=0.6)
        width, height = points_of(ax)
        row = height / n
        every = ceil(6 / row)  # letters of less than five points say nothing
        shapes = enumerate(self.shapes, 1)
        names = [f"$W^{{[{l}]}}$  {n_out} × {n_in}" for l, (n_out, n_in) in shapes]
        ax.set_yticks(bases[::every], names[::every])
        # width / 14 leaves room for the histograms between the texts on both sides
        size = min(ax.yaxis.get_ticklabels()[0].get_fontsize(), 0.8 * row * every, width / 14)
        ax.tick_params(axis="y", length=0, labelsize=size)
        look = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        look |= {"va": "center", "size": 0.85 * size}
        for base, std in zip(bases[::every], self.std[::every], strict=True):
            self.text_.append(ax.annotate(f"std {std:.3g}", (1.0, base), (4, 0), **look))
        ax.set(xlabel="weight", ylim=(-0.05, n))
        ax.spines[["left", "right", "top"]].set_visible(False)
        return self
