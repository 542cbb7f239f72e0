"""Checkpoints: model files that also hold the state of training.

``pack`` turns a ``TrainingState`` into JSON and tensors, which ``save`` writes beside the net, and
``unpack`` turns them back. Moments and costs are tensors. JSON holds the rest; the floats that
Python writes there are read back exactly.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.core.optimizers import OPTIMIZERS, Optimizer
from xpnet.exceptions import ModelFileError
from xpnet.files.atomic import File
from xpnet.files.model import activation_names, save_model
from xpnet.training.history import CURVES, History
from xpnet.training.state import TrainingState

VERSION = 1
_PREFIX = "training."
_ARRAY = "__tensor__"  # the key that stands in JSON for an array: the name of its tensor
_COUNTS = ("epoch", "step", "position")
# Endings of other programs' models, which would not know ours for one of theirs.
_FOREIGN = (".h5", ".hdf5", ".keras", ".onnx", ".pt", ".pth", ".pkl", ".pickle", ".joblib", ".npz")


def save(
    net: Any,
    path: File,
    data: Mapping[str, Any] | None,
    tensors: Mapping[str, Any] | None,
    state: TrainingState | None,
) -> None:
    """Writes a net, what stands beside it, and the state of its training; ``DeepNet.save``."""
    if isinstance(path, str | os.PathLike) and os.fsdecode(path).lower().endswith(_FOREIGN):
        raise ValueError(
            f"{os.fspath(path)!r}: save writes a model file of xpnet, '.safetensors'; "
            "net.to_onnx(path) writes ONNX, torch.save(net.to_torch(), path) a module of PyTorch"
        )
    data = net.data if data is None else data
    tensors = net.tensors if tensors is None else tensors
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


# -- the state of training ---------------------------------------------------------------
def pack(state: TrainingState) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The state as a JSON object, and tensors whose names begin with "training.".

    Raises
    ------
    ValueError
        The optimiser is a class of the user's: a file holds names, not code.
    TypeError
        A callback's ``state()`` holds something that is neither JSON nor an array.
    """
    optimizer = state.optimizer
    name = type(optimizer).__name__
    if name not in OPTIMIZERS or OPTIMIZERS[name].kind is not type(optimizer):
        raise ValueError(
            f"optimizer {name} is a class of yours, which a checkpoint cannot hold: train without "
            f"checkpoints, or with one of {', '.join(OPTIMIZERS)}"
        )
    tensors = {f"moment{i}": to_numpy(m) for i, m in enumerate(state.moments, 1)}
    tensors |= {"costs": state.costs, "weights": state.weights}
    for curve in CURVES:
        tensors[f"history.{curve}"] = np.asarray(getattr(state.history, curve), dtype=np.float64)
    callbacks = [
        [name, _without_arrays(value, f"callback{i}", tensors, f"state() of callback {name}")]
        for i, (name, value) in enumerate(state.callbacks, 1)
    ]
    history = {
        key: getattr(state.history, key) for key in ("seconds", "data", "penalized", "engine")
    }
    config = {
        "version": VERSION,
        "optimizer": {"name": name} | asdict(optimizer),  # type: ignore[call-overload]
        "steps_per_epoch": state.steps_per_epoch,
        "schedule": _without_arrays(state.schedule, "schedule", tensors, "the schedule's state"),
        "history": history,
        "callbacks": callbacks,
        **{count: getattr(state, count) for count in _COUNTS},
    }
    return config, {_PREFIX + name: tensor for name, tensor in tensors.items()}


def unpack(
    config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], n_parameters: int
) -> tuple[TrainingState, dict[str, np.ndarray]]:
    """The state that ``pack`` was given, its arrays on the host, and the other tensors.

    Raises
    ------
    ValueError, TypeError, KeyError
        It is of a newer version, names an unknown optimiser, or does not fit together.
    """
    version = config.get("version") if isinstance(config, Mapping) else None
    if type(version) is not int or not isinstance(config.get("schedule"), dict):
        raise ValueError("its training state is damaged")
    if version > VERSION:
        raise ValueError(
            f"its training state is of version {version}, newer than this xpnet, which "
            f"reads up to {VERSION}: install a newer version of xpnet"
        )
    own = {n.removeprefix(_PREFIX): t for n, t in tensors.items() if n.startswith(_PREFIX)}
    settings = dict(config["optimizer"])
    name = settings.pop("name")
    if name not in OPTIMIZERS:
        raise ValueError(
            f"it was trained with {name!r:.40}, no optimiser of this xpnet: {', '.join(OPTIMIZERS)}"
        )
    optimizer: Optimizer = OPTIMIZERS[name].kind(**settings)
    known, history = config["steps_per_epoch"] is not None, config["history"]
    state = TrainingState(
        optimizer=optimizer,
        moments=tuple(own[f"moment{i}"] for i in range(1, optimizer.n_moments + 1)),
        steps_per_epoch=_count(config, "steps_per_epoch") if known else None,
        costs=own["costs"],
        weights=own["weights"],
        history=History(
            **{curve: own[f"history.{curve}"].tolist() for curve in CURVES},
            seconds=float(history["seconds"]),
            data=str(history["data"]),
            penalized=bool(history.get("penalized", False)),  # these two are not in older files
            engine=str(history.get("engine", "generic")),
        ),
        schedule=_with_arrays(config["schedule"], own),
        callbacks=[(str(name), _with_arrays(value, own)) for name, value in config["callbacks"]],
        **{count: _count(config, count) for count in _COUNTS},
    )
    if not state.costs.shape == state.weights.shape == (state.position,):
        raise ValueError(
            f"its training state has costs {state.costs.shape} of {state.position} steps"
        )
    if any(m.shape != (n_parameters,) or m.dtype.kind != "f" for m in state.moments):
        raise ValueError(f"its moments do not fit its {n_parameters} parameters")
    return state, {n: t for n, t in tensors.items() if not n.startswith(_PREFIX)}


def _count(config: Mapping[str, Any], name: str) -> int:
    value = config[name]
    if type(value) is not int or value < 0:
        raise ValueError(f"its training state has {name}={value!r:.40}")
    return value


def _without_arrays(value: Any, at: str, tensors: dict[str, np.ndarray], what: str) -> Any:
    """``value`` with the name of a tensor in place of each array, which goes into ``tensors``."""
    if isinstance(value, np.ndarray):
        tensors[at] = value
        return {_ARRAY: at}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {k: _without_arrays(v, f"{at}.{k}", tensors, what) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_arrays(v, f"{at}.{i}", tensors, what) for i, v in enumerate(value)]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        # JSON has no NaN and no infinity.
        return value if np.isfinite(value) else {_ARRAY: None, "float": str(value)}
    raise TypeError(
        f"{what} holds {type(value).__name__}, which a checkpoint cannot: numbers, text, lists, "
        "dicts by name and NumPy arrays only"
    )


def _with_arrays(value: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_with_arrays(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return float(value["float"]) if value[_ARRAY] is None else tensors[value[_ARRAY]]
    return {key: _with_arrays(v, tensors) for key, v in value.items()}


# -- which net ---------------------------------------------------------------------------
def check_architecture(path: str | os.PathLike[str], found: Any, wanted: Any) -> None:
    """Raises ModelFileError, naming both, unless the nets have the same layers."""
    one, other = (
        " ".join(["-".join(map(str, net.sizes)), *(a.name for a in net.hidden), net.output])
        for net in (found, wanted)
    )
    if one != other:
        raise ModelFileError(
            f"{os.fspath(path)} is a checkpoint of another net: {one}, but this run trains {other}"
        )
