"""Axes without a window, and a net of two features."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet

pytest.importorskip("matplotlib").use("Agg")

from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = ["POINTS", "legend", "net_2d", "new_ax", "plt", "texts"]


def new_ax(width=6.4, height=4.8):
    """Axes that pyplot knows nothing of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def net_2d(output="sigmoid", n_y=1, **options):
    return xpnet.DeepNet([2, 4, n_y], hidden="tanh", output=output, seed=3, **options)


POINTS = np.random.default_rng(0).normal(size=(2, 30))
