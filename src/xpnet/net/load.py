"""``load``: the net in a model file."""

from __future__ import annotations

import os
from typing import Any

from xpnet.exceptions import ModelFileError
from xpnet.files.checkpoint import unpack
from xpnet.files.model import load_model
from xpnet.net.deepnet import DeepNet
from xpnet.net.placement import is_auto

_DAMAGED = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


def load(
    path: str | os.PathLike[str], backend: Any = "auto", device: Any = None, dtype: Any = None
) -> DeepNet:
    """The net in a file that ``DeepNet.save`` or ``xpnet train`` wrote.

    ``net.data`` and ``net.tensors`` are what was saved beside it. The net of ``xpnet train`` wants
    standardised features, ``(X - input_mean) / input_scale``, and a regression answers in units of
    ``target_scale`` around ``target_mean``: these are in ``net.tensors``, and the names of columns
    and classes in ``net.data``. A scale of 0 marks a constant column, which becomes 0.
    ``net.predict_raw(X)`` does all of that.

    Parameters
    ----------
    backend, device, dtype
        As for ``DeepNet``; the dtype is the saved one if left out.

    Raises
    ------
    ModelFileError
        The file is truncated, damaged, foreign or newer than this library.
    OSError
        It cannot be read.
    """
    model = load_model(path)
    try:
        saved = model.config["net"]
        net = DeepNet(
            saved["sizes"],
            hidden=saved["hidden"],
            output=saved["output"],
            dtype=saved["dtype"],
            seed=saved["seed"],
        )
        net.parameters = model.parameters
        net.data, net.tensors = model.config.get("data", {}), model.tensors
    except _DAMAGED as error:
        raise ModelFileError(f"{os.fspath(path)}: describes no net: {error!s:.200}") from error
    if "training" in model.config:
        try:
            training = model.config["training"]
            net.training_state, net.tensors = unpack(training, model.tensors, net.n_parameters)
        except _DAMAGED as error:
            raise ModelFileError(f"{os.fspath(path)}: {error!s:.200}") from error
    if is_auto(backend) and device is None:
        return net if dtype is None else net.with_dtype(dtype)
    return net.to("numpy" if is_auto(backend) else backend, device, dtype)
