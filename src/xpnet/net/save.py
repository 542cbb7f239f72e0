"""Writing a net to a model file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.files.checkpoint import pack
from xpnet.files.model import activation_names, save_model
from xpnet.training.state import TrainingState


def save(
    net: Any,
    path: str | os.PathLike[str],
    data: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    state: TrainingState | None,
) -> None:
    """Writes a net, what stands beside it, and the state of its training; ``DeepNet.save``."""
    config: dict[str, Any] = {
        "net": {
            "sizes": list(net.sizes),
            "hidden": activation_names(net, "a model file"),
            "output": net.output,
            "dtype": None if net.backend.dtype is None else net.backend.dtype_name,
            "seed": net.seed,
        }
    }
    config |= {"data": dict(data)} if data else {}
    if state is not None:
        config["training"], packed = pack(state)
        tensors = {**tensors, **packed}
    layers = [(to_numpy(W), to_numpy(b)) for W, b in net.parameters]
    save_model(path, layers, config, tensors)
