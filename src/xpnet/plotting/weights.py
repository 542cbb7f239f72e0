"""``WeightsDisplay``: how the weights of each layer are distributed."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.plotting.shared import BLUE, axes_for, points_of


@dataclass(eq=False)
class WeightsDisplay:
    """A histogram of each layer's weights, one above the other on one scale, layer 1 on top.

    Each is as high as its own peak: heights of two layers do not compare, widths do. Make it with
    ``from_net``.

    Attributes
    ----------
    counts : list of ndarray (bins,)
        Weights per bin, for each layer.
    edges : list of ndarray (bins + 1,)
        The bounds of each layer's bins.
    std : ndarray (layers,)
        Standard deviations.
    shapes : list of (n_out, n_in)
    ax_, figure_
        What it was drawn on.
    patches_ : list of matplotlib StepPatch
    text_ : list of matplotlib Text
        The standard deviations.
    """

    counts: list[np.ndarray]
    edges: list[np.ndarray]
    std: np.ndarray
    shapes: list[tuple[int, int]]
    ax_: Any = field(init=False, repr=False)
    figure_: Any = field(init=False, repr=False)
    patches_: list[Any] = field(init=False, repr=False)
    text_: list[Any] = field(init=False, repr=False)

    @classmethod
    def from_net(
        cls, net: Any, *, bins: int | None = None, ax: Any = None, **options: Any
    ) -> WeightsDisplay:
        """Draws the weights of ``net``, each layer from its least to its largest in ``bins``.

        None: twice the cube root of the layer's weights (Rice's rule), 60 at most.
        """
        weights = [to_numpy(W) for W, _ in net.parameters]
        span = max(float(np.ptp(W)) for W in weights)
        counts, edges = [], []
        for W in weights:
            bounds = float(W.min()), float(W.max())
            if bounds[0] == bounds[1]:  # all the same: a bar that does not stretch the axis
                half = 0.005 * span or 0.005 * abs(bounds[0]) or 0.5
                bounds = bounds[0] - half, bounds[1] + half
                count, edge = np.histogram(W, 1, bounds)
            else:
                count, edge = np.histogram(W, bins or min(60, ceil(2 * W.size ** (1 / 3))), bounds)
            counts.append(count)
            edges.append(edge.astype(np.float64))
        std = np.array([W.std(dtype=np.float64) for W in weights])
        return cls(counts, edges, std, [W.shape for W in weights]).plot(ax, **options)

    def plot(self, ax: Any = None, *, color: Any = BLUE) -> WeightsDisplay:
        """Draws on ``ax``, or on a new figure that is high enough for all layers.

        Raises
        ------
        ImportError
            There is no matplotlib.
        """
        n = len(self.counts)
        ax, figure = axes_for(ax, (6.4, max(2.4, min(4.8, 1.2 + 0.8 * n), 1.0 + 0.38 * n)))
        self.ax_, self.figure_, self.patches_, self.text_ = ax, figure, [], []
        row = points_of(ax)[1] / n
        every = ceil(6 / row)  # letters of less than five points say nothing
        for l, (counts, edges) in enumerate(zip(self.counts, self.edges, strict=True)):
            base = n - 1 - l
            heights = base + 0.85 * counts / counts.max()
            look = {"fill": True, "facecolor": color, "edgecolor": color}
            self.patches_.append(ax.stairs(heights, edges, baseline=base, **look))
            ax.axhline(base, color=color, linewidth=0.6)
        shown = range(0, n, every)
        names = [f"$W^{{[{l + 1}]}}$  {'{} × {}'.format(*self.shapes[l])}" for l in shown]
        ax.set_yticks([n - 1 - l for l in shown], names)
        size = ax.yaxis.get_ticklabels()[0].get_fontsize()
        size = min(size, 0.8 * row * every)
        ax.tick_params(axis="y", length=0, labelsize=size)
        at_right = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        for l in shown:
            text, place = f"std {self.std[l]:.3g}", (1.0, n - 1 - l)
            note = ax.annotate(text, place, (4, 0), **at_right, va="center", size=0.85 * size)
            self.text_.append(note)
        ax.set(xlabel="weight", ylim=(-0.05, n))
        ax.spines[["left", "right", "top"]].set_visible(False)
        return self
