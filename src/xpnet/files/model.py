"""Model files: safetensors with the configuration and a checksum in the header, never pickle.

A file holds the tensors ``W1``, ``b1``, ``W2``, ``b2``, ... and further ones by name. Its
metadata (text to text) are

- ``format``: "xpnet";
- ``format_version``: a whole number, ``VERSION`` here;
- ``config``: a JSON object. Under ``net``, ``DeepNet`` keeps what it was made with, which must fit
  the layers; under ``data``, an object, what the user wants kept;
- ``sha256``: over the version, the configuration and every tensor's name, dtype, shape and bytes.

The checksum finds damage, not malice: whoever changes a file on purpose can recompute it. So the
metadata are checked before any tensor is read, and the configuration before a net is made of it.

Format: https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as from_safetensors
from safetensors.numpy import save as to_safetensors

from xpnet.core.activations import ACTIVATIONS, Operator
from xpnet.core.losses import LOSSES
from xpnet.data.checks import host_array
from xpnet.exceptions import ModelFileError
from xpnet.files.atomic import File, name_of, write_atomically

VERSION = 1
# Of tensors, as NumPy writes them.
_DTYPES = ["<f8", "<f4", "<i8", "<i4", "<i2", "|i1", "<u8", "<u4", "<u2", "|u1", "|b1"]
# What safetensors and NumPy raise for a damaged file.
_UNREADABLE = (SafetensorError, OSError, ArithmeticError, AttributeError, LookupError, TypeError,
               ValueError)  # fmt: skip


@dataclass(frozen=True)
class Model:
    """What a model file holds.

    Attributes
    ----------
    parameters : list of (W, b)
        NumPy arrays, W (n_out, n_in) and b (n_out, 1), float32 or float64.
    config : dict
        What was given to ``save_model``, after JSON (tuples are lists).
    tensors : dict
        The further tensors by name.
    """

    parameters: list[tuple[np.ndarray, np.ndarray]]
    config: dict[str, Any]
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


def save_model(
    path: File,
    parameters: Sequence[tuple[np.ndarray, np.ndarray]],
    config: Mapping[str, Any],
    extra_tensors: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model file in one step. The same arguments make the same bytes.

    Raises
    ------
    ValueError, TypeError
        The layers do not fit together, the configuration is no JSON (NaN is none), or a file
        cannot hold a tensor or its name.
    OSError
        The file cannot be written. A file that was there is unharmed.
    """
    given = {f"{kind}{i}": x for i, layer in enumerate(parameters, 1)
             for kind, x in zip("Wb", layer, strict=True)}  # fmt: skip
    for name in extra_tensors or {}:
        if not isinstance(name, str):
            raise TypeError(f"extra tensors are named by text, not by {name!r}")
        if name in given or name == "__metadata__":
            raise ValueError(f"extra tensors may not be named {name!r}, which the file itself uses")
    tensors = {}
    for name, given_as in {**given, **(extra_tensors or {})}.items():
        array = host_array(given_as, f"the tensor {name!r}")
        if array.dtype.newbyteorder("<").str not in _DTYPES:
            raise TypeError(f"a model file cannot hold {name!r}, an array of {array.dtype}")
        tensors[name] = np.asarray(array, order="C")  # safetensors writes memory as it is
    _layers(tensors)
    text = as_json(config)
    metadata = {
        "format": "xpnet",
        "format_version": str(VERSION),
        "config": text,
        "sha256": _checksum(text, tensors),
    }
    write_atomically(path, *_in_order(to_safetensors(tensors, metadata=metadata)))


def load_model(path: File) -> Model:
    """Reads and verifies a model file, or what is left to read in one that is open.

    Raises
    ------
    ModelFileError
        The file is truncated, damaged, foreign, or of a newer version.
    OSError
        It cannot be opened.
    """
    name = name_of(path)
    if isinstance(path, str | os.PathLike):
        if stat.S_ISFIFO(os.stat(path).st_mode):  # to open it would wait for a writer
            raise ModelFileError(f"{name}: a pipe, not a model file")
        open(path, "rb").close()  # raises the system's error, which names the file
    try:
        metadata, tensors = _contents(path)
    except _UNREADABLE as error:
        reason = " ".join(str(error).removeprefix("Error while deserializing header: ").split())
        what = f"not a safetensors file, or a truncated or damaged one ({reason:.100})"
        raise ModelFileError(f"{name}: {what}") from None
    try:
        return _verified(metadata, tensors)
    except ValueError as error:
        raise ModelFileError(f"{name}: {error}") from None
    except RecursionError:  # from any use of a value that is nested a thousand deep
        raise ModelFileError(f"{name}: damaged: nested too deeply") from None


def is_model(path: str | os.PathLike[str]) -> bool:
    """Whether a file names the format of model files; the rest of it is not looked at."""
    try:
        with safe_open(os.fsdecode(path), framework="numpy") as file:
            return bool((file.metadata() or {}).get("format") == "xpnet")
    except _UNREADABLE:
        return False


def _contents(file: File) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata, and the tensors of a file that xpnet saved."""
    if isinstance(file, str | os.PathLike):
        with safe_open(os.fsdecode(file), framework="numpy") as opened:
            metadata = opened.metadata() or {}
            names = opened.keys() if metadata.get("format") == "xpnet" else []
            return metadata, {name: opened.get_tensor(name) for name in names}
    content = file.read()
    tensors = from_safetensors(content)  # which checks the header
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return header.get("__metadata__", {}), tensors


def as_json(value: Any) -> str:
    """JSON with sorted names; arrays, of any library, and NumPy's numbers become plain ones.

    Raises
    ------
    ValueError, TypeError
        It holds what JSON has not: NaN, or an object of another kind.
    """

    def plain(x: Any) -> Any:
        if isinstance(x, np.generic) or is_array_api_obj(x):
            return host_array(x, "the data").tolist()
        raise TypeError(
            f"JSON cannot hold {type(x).__name__} {x!r:.40}: numbers, text, lists, dicts by name "
            "and arrays only"
        )

    return json.dumps(value, sort_keys=True, allow_nan=False, default=plain)


def activation_names(net: Any, taker: str) -> list[str]:
    """The names of the hidden activations, one per layer.

    Raises
    ------
    ValueError
        One is a function of the user's own; ``taker`` says what cannot hold it.
    """
    own = [a.name for a in net.hidden if ACTIVATIONS.get(a.name) != a]
    if own:
        raise ValueError(
            f"activation {own[0]!r} is a function of yours, which {taker} cannot hold; "
            "take net.parameters instead"
        )
    return [a.name for a in net.hidden]


def written_as(name: str, form: str, taker: str) -> Operator:
    """The field ``form`` of the activation called ``name``; ValueError where it has none."""
    found: Operator | None = getattr(ACTIVATIONS[name], form)
    if found is None:
        raise ValueError(
            f"activation {name!r} has no counterpart in {taker}; take net.parameters instead"
        )
    return found


def _in_order(content: bytes) -> tuple[bytes, memoryview]:
    """A safetensors file's beginning with sorted metadata, and the numbers behind it.

    safetensors keeps metadata in a map whose order changes from call to call.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the numbers stay aligned
    return len(text).to_bytes(8, "little") + text, memoryview(content)[end:]


def _verified(metadata: Mapping[str, str], tensors: Mapping[str, np.ndarray]) -> Model:
    """The model that a file's contents describe; ValueError where they are damaged."""
    if metadata.get("format") != "xpnet":
        raise ValueError("a safetensors file, but not a model that xpnet saved")
    version = metadata.get("format_version", "")
    if not (version.isascii() and version.isdecimal()):
        raise ValueError(f"damaged: format version {version!r:.40}")
    if len(version) > 9 or int(version) > VERSION:
        raise ValueError(
            f"format version {version:.9} is newer than this xpnet, which reads up to "
            f"{VERSION}: install a newer version of xpnet"
        )
    if int(version) < 1 or not {"config", "sha256"} <= set(metadata):
        raise ValueError("damaged: the metadata are incomplete")
    if _checksum(metadata["config"], tensors) != metadata["sha256"]:
        raise ValueError("damaged: the contents do not match the checksum")
    try:
        config = json.loads(metadata["config"])
    except ValueError:
        raise ValueError("damaged: the configuration is not JSON") from None
    if not isinstance(config, dict) or not isinstance(config.get("data", {}), dict):
        raise ValueError("damaged: the configuration, or its data, is not a JSON object")
    parameters = _layers(tensors)
    if "net" in config:
        _check_net(config["net"], parameters)
    used = {f"{kind}{i}" for i in range(1, len(parameters) + 1) for kind in "Wb"}
    return Model(parameters, config, {n: t for n, t in tensors.items() if n not in used})


def _check_net(net: Any, parameters: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Checks the settings of a net against its layers, before the net is made."""
    widths = [parameters[0][0].shape[1], *(len(W) for W, _ in parameters)]
    rules: dict[str, Callable[[Any], bool]] = {
        "sizes": lambda sizes: sizes == widths and all(type(n) is int for n in sizes),
        "hidden": lambda names: (
            isinstance(names, list)
            and len(names) == len(widths) - 2
            and all(isinstance(name, str) and name in ACTIVATIONS for name in names)
        ),
        "output": lambda name: isinstance(name, str) and name in LOSSES,
        "dtype": lambda name: name in (None, parameters[0][0].dtype.name),
        "seed": lambda seed: type(seed) is int and seed >= 0,
    }
    if not isinstance(net, dict):
        raise ValueError("damaged: the settings of its net are not a JSON object")
    for key, fits in rules.items():
        if key not in net or not fits(net[key]):
            raise ValueError(f"damaged: net setting {key!r} is missing or inconsistent")


def _layers(tensors: Mapping[str, np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """W1, b1, W2, b2, ... as layers that fit together, or a ValueError."""
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    while (name := f"W{len(layers) + 1}") in tensors:
        W, b = tensors[name], tensors.get(f"b{len(layers) + 1}")
        if b is None or W.ndim != 2 or b.shape != (W.shape[0], 1):
            found = "none" if b is None else str(b.shape)
            raise ValueError(f"{name} has shape {W.shape} and b{len(layers) + 1} {found}; "
                             "expected (n_out, n_in) and (n_out, 1)")  # fmt: skip
        if layers and W.shape[1] != len(layers[-1][0]):
            raise ValueError(f"{name} has shape {W.shape}, but layer {len(layers)} "
                             f"has {len(layers[-1][0])} outputs")  # fmt: skip
        if not tensors["W1"].dtype == W.dtype == b.dtype or W.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} and its b must be float32 or float64 like W1; "
                             f"they are {W.dtype} and {b.dtype}")  # fmt: skip
        layers.append((W, b))
    if not layers:
        raise ValueError("there is no tensor W1: a model has at least one layer")
    return layers


def _checksum(config: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(f"xpnet {VERSION}\n{config}\n".encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {array.dtype.str} {np.shape(tensors[name])}\n".encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()
