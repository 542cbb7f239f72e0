"""Nets of ``xpnet train`` and features as they stand in a table: what is kept beside such a net."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.data.checks import check_columns, check_numeric
from xpnet.data.table import Standardizer


def predict_raw(net: Any, X: Array) -> np.ndarray:
    """See ``DeepNet.predict_raw``."""
    n_x, n_y = net.sizes[0], net.sizes[-1]
    X = to_numpy(X)
    check_numeric(X, "X")
    check_columns(X, "X", n_x)
    inputs = standardizer(net, "input", n_x)
    answers = net.predict(inputs.apply(X.T, np.dtype(np.float64)).T)
    if net.output == "identity":
        if "target_scale" not in net.tensors:
            return answers
        targets = standardizer(net, "target", n_y)
        return targets.undo(answers.T.astype(np.float64)).T.astype(answers.dtype)
    if net.output == "sigmoid" and n_y > 1:
        return answers
    labels = classes(net)
    return answers.reshape(-1) if labels is None else labels[answers.reshape(-1)]


def standardizer(net: Any, what: str, n: int) -> Standardizer:
    """Of the "input" or the "target"; raises as ``statistic``."""
    return Standardizer(statistic(net, f"{what}_mean", n), statistic(net, f"{what}_scale", n))


def statistic(net: Any, name: str, n: int) -> np.ndarray:
    """One of the arrays that ``xpnet train`` saves, float64 (n,).

    Raises
    ------
    ValueError
        It is not there, or has another shape.
    """
    if name not in net.tensors:
        raise ValueError(
            f"raw features take {name!r} from net.tensors, which has {sorted(net.tensors)}: "
            "they are for a net that xpnet train saved and xpnet.load read"
        )
    found = np.asarray(net.tensors[name], dtype=np.float64)
    if found.shape != (n,):
        raise ValueError(f"net.tensors[{name!r}] has shape {found.shape}; expected {(n,)}")
    return found


def classes(net: Any) -> np.ndarray | None:
    """The label behind each class number, (k,); None if nobody has said.

    Raises
    ------
    ValueError
        There are not as many as the net tells apart.
    """
    said = net.data.get("classes")
    if said is None:
        return None
    labels, k = np.asarray(said), max(net.sizes[-1], 2)
    if labels.shape != (k,):
        raise ValueError(f"net.data has {labels.size} classes for {k} of the net")
    return labels
