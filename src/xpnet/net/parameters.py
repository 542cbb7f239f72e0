"""The parameters of a net as a list of layers, and as its flat vector ``theta``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend, to_numpy
from xpnet.core.parameters import Layer, Layout
from xpnet.data import checks
from xpnet.net.placement import Placement


def layers_of(theta: Array, layout: Layout, at: Backend) -> list[Layer]:
    """Copies of the layers inside ``theta`` (n_parameters,), an array of the place ``at``."""
    with at.context():
        return layout.layers(at.xp.asarray(theta, copy=True), xp=at.xp)


def theta_of(
    layers: Iterable[tuple[Any, Any]], layout: Layout, place: Placement, dtype: Any
) -> Array:
    """The vector (n_parameters,) of a user's ``[(W, b), ...]``, checked, in its place.

    Raises
    ------
    TypeError, ValueError
        The layers are no pairs, have other shapes than the net's, or hold NaN or infinity.
    """
    try:
        layers = [(W, b) for W, b in layers]
    except (TypeError, ValueError) as error:
        raise TypeError("parameters are a list of pairs (W, b), one per layer") from error
    if len(layers) != layout.n_layers:
        raise ValueError(f"{len(layers)} layers for a net of {layout.n_layers}")
    for l, ((W, b), (shape, _, _)) in enumerate(zip(layers, layout.slices(), strict=True), 1):
        for name, x, expected in (("W", W, shape), ("b", b, (shape[0], 1))):
            if tuple(np.shape(x)) != expected:
                raise ValueError(
                    f"{name} of layer {l} has shape {tuple(np.shape(x))}; expected {expected}"
                )
    if not place.bound:  # the parameters wait on the host
        layers = [(to_numpy(W), to_numpy(b)) for W, b in layers]
    at = place.backend
    there = [
        tuple(checks.to_backend(x, "a parameter", at, moves=True) for x in layer)
        for layer in layers
    ]
    with at.context():
        theta = at.xp.astype(layout.flatten(there, xp=at.xp), dtype)
    checks.refuse_nan(theta[None, :], "parameters", at)
    return theta
