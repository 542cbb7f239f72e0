"""Initial weights, drawn on the host with NumPy so that one seed gives one net everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from xpnet.core.activations import Activation
from xpnet.core.parameters import Layout


def glorot(n_in: int, n_out: int) -> float:
    """Standard deviation of Glorot & Bengio 2010, equation 12."""
    return sqrt(2.0 / (n_in + n_out))


def he(n_in: int, n_out: int) -> float:
    """Standard deviation of He et al. 2015, equation 10, for ReLU and its relatives."""
    return sqrt(2.0 / n_in)


def initial_parameters(
    layout: Layout, hidden: Sequence[Activation], rng: np.random.Generator
) -> np.ndarray:
    """Normal weights, He's deviation into ReLU-like layers, Glorot's elsewhere; zero biases.

    Returns
    -------
    theta : ndarray of float64, (n_parameters,)
    """
    gains = [activation.gain for activation in hidden] + [1.0]
    theta = np.zeros(layout.n_parameters)
    for ((n_out, n_in), w, _), gain in zip(layout.slices(), gains, strict=True):
        deviation = he(n_in, n_out) if gain == 2.0 else glorot(n_in, n_out)
        theta[w] = deviation * rng.standard_normal(n_out * n_in)
    return theta
