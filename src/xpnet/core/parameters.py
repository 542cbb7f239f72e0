"""All parameters of a net in one flat vector: every weight first, then every bias.

One vector makes the optimiser one pass, L2 and weight decay one slice, a checkpoint one
tensor, and is what L-BFGS works on. ``Layout`` says where each layer lies in it. Initial weights
are drawn on the host with NumPy, so that one seed gives the same net on every library.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import sqrt
from typing import NamedTuple

import numpy as np

from xpnet._typing import Array, Namespace
from xpnet.core.activations import Activation


class Layer(NamedTuple):
    """The parameters (or their gradients) of one layer."""

    W: Array  # (n_out, n_in)
    b: Array  # (n_out, 1)


@dataclass(frozen=True)
class Layout:
    """Where the parameters of a net with these layer widths lie in its flat vector.

    Parameters
    ----------
    sizes : tuple of int
        Widths ``(n_x, ..., n_y)``, the input's first.
    """

    sizes: tuple[int, ...]

    @property
    def n_layers(self) -> int:
        return len(self.sizes) - 1

    @property
    def n_weights(self) -> int:
        return sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))

    @property
    def n_parameters(self) -> int:
        return self.n_weights + sum(self.sizes[1:])

    def slices(self) -> Iterator[tuple[tuple[int, int], slice, slice]]:
        """For each layer: ``(n_out, n_in)``, where its weights lie, where its biases lie."""
        shapes = [(n_out, n_in) for n_in, n_out in pairwise(self.sizes)]
        weights = accumulate((n_out * n_in for n_out, n_in in shapes), initial=0)
        biases = accumulate((n_out for n_out, _ in shapes), initial=self.n_weights)
        for shape, w, b in zip(shapes, pairwise(weights), pairwise(biases), strict=True):
            yield shape, slice(*w), slice(*b)

    def layers(self, theta: Array, *, xp: Namespace) -> list[Layer]:
        """The layers inside ``theta`` (n_parameters,): views where the library has views."""
        return [
            Layer(xp.reshape(theta[w], shape), xp.reshape(theta[b], (-1, 1)))
            for shape, w, b in self.slices()
        ]

    def flatten(self, layers: Sequence[tuple[Array, Array]], *, xp: Namespace) -> Array:
        """The inverse of ``layers``: a new vector (n_parameters,)."""
        pieces = [W for W, _ in layers] + [b for _, b in layers]
        return xp.concat([xp.reshape(piece, (-1,)) for piece in pieces])


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
        # He et al. 2015, equation 10, for ReLU and its relatives; else Glorot & Bengio 2010,
        # equation 12.
        variance = 2.0 / n_in if gain == 2.0 else 2.0 / (n_in + n_out)
        theta[w] = sqrt(variance) * rng.standard_normal(n_out * n_in)
    return theta
