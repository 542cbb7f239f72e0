"""Checks of the user's X, Y and sample weights, and their layout as rows.

Examples arrive as columns and are kept in memory as contiguous rows: a minibatch is then one
row gather, and its transpose is a view that a matrix product takes as it is. A column slice
``X[:, i:j]`` would be copied at every use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from operator import add
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet._typing import Array, Namespace
from xpnet.backends.place import (
    Backend,
    beyond_float32,
    dtype_name,
    exchanged,
    place_of,
    plain,
    refuse_traced,
    to_numpy,
)
from xpnet.core.losses import Loss

_FLOATS = ("float32", "float64")


def to_backend(x: Any, what: str, backend: Backend, *, moves: bool) -> Array:
    """Return ``x`` as an array of ``backend``; one that is there already is not copied.

    Parameters
    ----------
    moves : bool
        Whether host arrays may be moved to another library: True if the user chose the
        backend, False if the net follows the library of its first X.

    Raises
    ------
    TypeError
        ``x`` lives in another library or on another device, or holds no numbers.
    """
    x = exchanged(x, what)
    is_array = is_array_api_obj(x)
    x = admit(x, what)
    check_numeric(x, what)
    if backend.holds(x):
        return x
    if not is_array or (moves and isinstance(x, np.ndarray)):
        return backend.asarray(x)
    borrowed = backend.borrow(x) if moves else None
    if borrowed is not None:
        return borrowed
    there = place_of(x)
    raise TypeError(
        f"{what} lives in {there} but this net lives in {backend}: move one of them, "
        f"net.to({there.name!r}, {there.device_name!r}) or pass {what} as an array of "
        f"{backend.name} on {backend.device_name}"
    )


def admit(x: Any, what: str) -> Array:
    """Return ``x`` as a plain array: another library's as it is, all else as one of NumPy's.

    Of an object that offers memory on a device, such as Numba's, CuPy's array of it is returned.

    What is missing in a masked array, a frame or a list becomes NaN, which is refused by its place.

    Raises
    ------
    TypeError
        ``x`` is sparse, or a tensor without values.
    ValueError
        It cannot be made an array.
    """
    if hasattr(x, "toarray") or "sparse" in f"{getattr(x, 'layout', '')}":
        raise TypeError(
            f"{what} is a sparse {type(x).__name__}, and nets take dense arrays: make it dense "
            "(toarray, to_dense), or use the estimators, which take SciPy's and cupyx's"
        )
    x = exchanged(x, what)
    is_array = is_array_api_obj(x)
    if is_array and not isinstance(x, np.ndarray | np.generic):
        if str(getattr(x, "device", "")) == "meta":
            raise TypeError(f"{what} is a meta tensor, which has a shape but no values")
        return x
    try:
        found = np.asarray(unmasked(x, what))
        if found.dtype.kind == "O" and found.ndim and not is_array:  # columns of several dtypes
            found = np.array(found.tolist())
            if found.dtype.kind == "O":  # None, or what pandas puts there
                empty = [type(value).__name__ in ("NoneType", "NAType") for value in found.flat]
                found[np.reshape(empty, found.shape)] = np.nan
                found = np.array(found.tolist())
    except ValueError as error:
        raise ValueError(f"{what} cannot be made an array: {error}") from error
    return plain(found)


def unmasked(x: Any, what: str) -> Any:
    """Return ``x`` with NaN in place of what is masked; what is no masked array as it is."""
    if isinstance(x, list | tuple) and any(isinstance(row, np.ma.MaskedArray) for row in x):
        x = np.ma.array(x)
    if not isinstance(x, np.ma.MaskedArray):
        return x
    if not np.ma.is_masked(x):
        return x.data
    if x.dtype.kind not in "fiub":
        raise ValueError(f"{what} holds masked values of {x.dtype}: drop them")
    return np.ma.filled(x if x.dtype.kind == "f" else x.astype(np.float64), np.nan)


def host_array(x: Any, what: str) -> np.ndarray:
    """Return ``x``, of any library, as a plain NumPy array; see ``admit``."""
    x = admit(x, what)
    if not isinstance(x, np.ndarray):
        refuse_traced(x, what)
        check_numeric(x, what)  # NumPy has no bfloat16
    return to_numpy(x)


def check_numeric(x: Array, what: str) -> None:
    """Raise TypeError unless ``x`` holds float32, float64, integers or booleans."""
    name = dtype_name(x.dtype)
    if name in _FLOATS or name.startswith(("int", "uint", "bool")):
        return
    if isinstance(x, np.ndarray) and x.dtype.kind in "OSU":
        raise TypeError(f"{what} holds {x.dtype} values, not numbers; encode or convert them first")
    raise TypeError(
        f"{what} has dtype {name}; xpnet computes in float32 and float64: "
        f"convert {what} to one of them"
    )


def finite_rows(x: Array, n: int, backend: Backend, what: str = "X") -> Array:
    """Check ``x`` (n, m) and return contiguous rows (m, n), in the backend's dtype."""
    check_columns(x, what, n)
    rows = backend.contiguous(cast(x, what, backend).T)
    refuse_nan(rows, what, backend)
    return rows


def cast(x: Array, what: str, backend: Backend) -> Array:
    """Return ``x`` (n, m) in the backend's dtype.

    Raises
    ------
    ValueError
        That is float32, which cannot hold ``x``; the row and the largest number are named.
    """
    if x.dtype == backend.dtype:
        return x
    if backend.dtype_name == "float32":
        refuse_beyond_float32(x, what, "row", "DeepNet(dtype='float64')")
    if backend.as_it_lies:
        return x
    with backend.context():
        return backend.xp.astype(x, backend.dtype)


def refuse_beyond_float32(x: Array, what: str, line: str, fix: str) -> None:
    """Raise ValueError if float32 cannot hold ``x`` (n, m), whose n are a ``line`` in messages."""
    if (beyond := beyond_float32(x)) is not None:
        largest = np.where(beyond, to_numpy(x), 0)
        row = int(np.argmax(np.max(np.abs(largest.astype(np.float64)), axis=1)))
        value = max(largest[row].tolist(), key=abs)
        does = "would round the integers" if isinstance(value, int) else "cannot hold the numbers"
        raise ValueError(
            f"float32 {does} of {what}, such as {value:,} in {line} {row}: use {fix}, or shift and "
            "scale them first"
        )


def check_columns(x: Array, what: str, n: int) -> None:
    """Raise ValueError unless ``x`` is (n, m) with m > 0."""
    if x.ndim != 2:
        raise ValueError(
            f"{what} has shape {tuple(x.shape)}; expected ({n}, m), examples in columns"
        )
    rows, m = x.shape
    if rows != n:
        turned = f"; pass {what}.T if examples are its rows" if m == n else ""
        raise ValueError(
            f"{what} has shape {(rows, m)} but this net takes ({n}, m), examples in columns{turned}"
        )
    if m == 0:
        raise ValueError(f"{what} has shape {(rows, m)}: no examples")


@np.errstate(all="ignore")
def all_finite(*arrays: Array, xp: Namespace) -> bool:
    """Whether no entry is NaN or infinite; if so, one number is read from the device."""
    # A finite sum has finite terms; any other sum may just have overflowed.
    total = reduce(add, [xp.sum(x) for x in arrays])
    return bool(np.isfinite(float(total))) or all(bool(xp.all(xp.isfinite(x))) for x in arrays)


def refuse_nan(rows: Array, what: str, backend: Backend) -> None:
    """Raise ValueError if ``rows`` (m, n) hold NaN or infinity, and say where the first is."""
    with backend.context():
        if all_finite(rows, xp=backend.xp):
            return
    example, feature = np.argwhere(~np.isfinite(to_numpy(rows)))[0]
    raise ValueError(
        f"{what} holds NaN or infinity, first at row {feature}, example (column) {example}: "
        "drop or impute such values (a masked value counts as NaN)"
    )


def target_rows(Y: Array, loss: Loss, n_y: int, m: int, backend: Backend, what: str = "Y") -> Array:
    """Check targets and return them as rows (m, n_y), in the backend's dtype.

    ``Y`` is (n_y, m), or 1-D: class numbers 0 ... n_y - 1 for softmax, which stay (m,), and 0/1
    for sigmoid.

    Raises
    ------
    ValueError
        Wrong shape or number of examples, labels out of range, or not whole numbers.
    """
    if Y.ndim not in (1, 2):
        raise ValueError(f"{what} has shape {tuple(Y.shape)}; expected ({n_y}, m) or labels (m,)")
    labels = Y.ndim == 1 or (n_y > 1 and Y.shape[0] == 1)
    if labels and loss.output == "softmax":
        return class_numbers(Y if Y.ndim == 1 else Y[0, :], n_y, m, backend, what)
    if labels and n_y > 1:
        raise ValueError(
            f"{what} has shape {tuple(Y.shape)} but this net takes ({n_y}, m), as its outputs are "
            f'{loss.output}: class numbers 0 ... {n_y - 1} are for output="softmax"'
        )
    Y = Y[None, :] if Y.ndim == 1 else Y
    rows = finite_rows(Y, n_y, backend, what)
    _check_m(rows.shape[0], m, what)
    xp = backend.xp
    with backend.context():
        if loss.output == "sigmoid":
            if bool(xp.any((rows < 0) | (rows > 1))):
                raise ValueError(
                    f"{what} of a sigmoid output must lie in [0, 1], and holds {_some(rows)}; "
                    'more classes than two are for output="softmax", with an output for each'
                )
            if labels and not bool(xp.all((rows == 0) | (rows == 1))):
                raise ValueError(f"{what} holds labels other than 0 and 1: {_some(rows)}")
        if loss.output == "softmax":
            off = float(xp.max(xp.abs(xp.sum(rows, axis=1) - 1.0)))
            if bool(xp.any(rows < 0)) or off > 1e-3:
                raise ValueError(
                    f"{what} of a softmax output needs class numbers, or columns of probabilities "
                    f"that sum to 1 (here a sum is off by {off:.3g})"
                )
    return rows


@np.errstate(invalid="ignore")  # of labels beyond int64, which are then unequal
def class_numbers(y: Array, n_y: int, m: int, backend: Backend, what: str = "Y") -> Array:
    """Return labels (m,), checked, as int32, which every library has."""
    _check_m(y.shape[0], m, what)
    host = to_numpy(y)
    classes = np.zeros(host.shape, dtype=np.int64)
    if not np.all(np.isfinite(host)):
        raise ValueError(f"{what} holds NaN or infinity; labels are whole numbers")
    np.copyto(classes, host, casting="unsafe")
    if np.any(classes != host):
        raise ValueError(f"{what} holds {host[classes != host][0]}: labels are whole numbers")
    if classes.min() < 0 or classes.max() >= n_y:
        outside = classes.min() if classes.min() < 0 else classes.max()
        raise ValueError(
            f"{what} holds label {outside}, but a net with {n_y} outputs takes 0 ... {n_y - 1}"
        )
    return backend.asarray(classes.astype(np.int32))


def weight_vector(
    sample_weight: Array, m: int, backend: Backend, what: str = "sample_weight"
) -> Array:
    """Return sample weights (m,) over their mean. They must be finite, at least 0, not all 0."""
    if tuple(sample_weight.shape) not in ((m,), (1, m)):
        raise ValueError(f"{what} has shape {tuple(sample_weight.shape)}; expected ({m},)")
    w = to_numpy(sample_weight).reshape(-1).astype(np.float64)  # before a cast could lose them
    check_weights(w, lambda i: f"{what} of example {i}")
    with backend.context():
        return backend.asarray((w / mean_weight([w], what)).astype(dtype_name(backend.dtype)))


def check_weights(w: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """Return weights (k,); a ValueError names one that is negative or not finite."""
    bad = ~(np.isfinite(w) & (w >= 0))
    if bad.any():
        i = int(bad.argmax())
        raise ValueError(f"{where(i)} is {w[i]}; it must be finite, at least 0")
    return w


def mean_weight(pieces: Iterable[np.ndarray], what: str) -> float:
    """Return the mean of sample weights that come in pieces; their sum need not be finite.

    Raises
    ------
    ValueError
        None is above 0.
    """
    n, total, scale = 0, 0.0, float(np.finfo(np.float64).smallest_normal)
    for w in pieces:
        largest = max(scale, float(np.max(w)))
        total = total * (scale / largest) + float(np.sum(w / largest))
        n, scale = n + len(w), largest
    if not total > 0:
        raise ValueError(f"{what} is zero for every example")
    return scale * (total / n)


def _check_m(found: int, m: int, what: str) -> None:
    if found != m:
        raise ValueError(f"{what} has {found} examples but X has {m}")


def _some(rows: Array) -> str:
    """For a message: the smallest values that are neither 0 nor 1."""
    values = np.unique(to_numpy(rows))
    return ", ".join(map(str, values[(values != 0) & (values != 1)][:5]))
