"""Arrays that scikit-learn's checks cannot read: the same checks, moving, and dense blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj
from scipy import sparse

from xpnet._typing import Array
from xpnet.backends.place import Backend, dtype_name, exchanged, place_of, refuse_traced, to_numpy
from xpnet.data.checks import admit, all_finite

BLOCK = 1 << 22  # elements of X that are made dense, or copied, at a time


def is_foreign(x: Any) -> bool:
    """Whether ``x`` is an array, or a sparse matrix on a device, of another library than NumPy."""
    x = exchanged(x, "X")
    if isinstance(x, (np.ndarray, np.generic)):
        return False
    return is_array_api_obj(x) or (is_sparse(x) and not sparse.issparse(x))


def check_foreign(X: Any, estimator: Any) -> None:
    """Checks X as scikit-learn would, on X's own device.

    Raises
    ------
    TypeError
        X is a tensor that is sparse, or without values, or is traced.
    ValueError
        X is complex, not 2-D, without examples or features, or holds NaN or infinity.
    """
    if not is_sparse(X):
        refuse_traced(admit(X, "X"), "X")
    if X.ndim != 2:
        what = f"{X.ndim}D array" if X.ndim else "scalar array"
        raise ValueError(
            f"Expected 2D array, got {what} instead: X has shape {tuple(X.shape)}. Reshape your "
            "data using array.reshape(-1, 1) if it has one feature, array.reshape(1, -1) if it is "
            "one sample"
        )
    for n, what in zip(X.shape, ("sample", "feature"), strict=True):
        if n == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={tuple(X.shape)}) while a minimum of 1 is "
                f"required by {type(estimator).__name__}."
            )
    values = values_of(X)
    name = dtype_name(values.dtype)
    if name.startswith("complex"):
        raise ValueError(f"Complex data not supported: X has dtype {name}")
    if not name.startswith(("float", "bfloat")):
        return
    place = place_of(values)
    with place.context():
        if all_finite(values, xp=place.xp):
            return
        what = "NaN" if bool(place.xp.any(place.xp.isnan(values))) else "infinity"
    raise ValueError(f"Input X contains {what}; {type(estimator).__name__} needs finite numbers.")


def dtype_holding(values: np.ndarray, place: Backend) -> str | None:
    """A dtype in which ``place`` holds these numbers exactly, their own if it can; None: none."""
    if values.dtype.kind not in "biuf":
        return None
    there = place.xp.__array_namespace_info__().dtypes(device=place.device)
    floats = ("float32", "float64") if values.dtype.kind == "f" else ()
    with np.errstate(over="ignore", invalid="ignore"):
        for name in (values.dtype.name, *floats, "int32", "int64", "uint64"):
            if name in there and values.astype(name).tolist() == values.tolist():
                return name
    return None


def converted(value: Any, converter: Callable[[Array], Array]) -> Any:
    """``value`` with the arrays in its lists, tuples and dataclasses converted."""
    if is_foreign(value) or isinstance(value, np.ndarray):
        return converter(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(converted(item, converter) for item in value)
    if is_dataclass(value) and not isinstance(value, type):
        changes = {
            f.name: converted(getattr(value, f.name), converter) for f in fields(value) if f.init
        }
        return replace(value, **changes)
    return value


def host(y: Any) -> Any:
    """``y`` as NumPy's or SciPy's if it is on a device or of another library, else itself.

    A bfloat16, which scikit-learn does not know, becomes float32.
    """
    y = exchanged(y, "y")
    if is_sparse(y):
        return y if sparse.issparse(y) else y.get()
    if hasattr(y, "dtype") and dtype_name(y.dtype) == "bfloat16":
        xp = place_of(y).xp
        y = xp.astype(y, xp.float32)
    return to_numpy(y) if is_foreign(y) else y


def values_of(X: Any) -> Any:
    """The array that holds the numbers of ``X``: ``X`` itself, or the values of a sparse matrix."""
    return X.data if is_sparse(X) else X


def is_sparse(X: Any) -> bool:
    """Whether ``X`` is a sparse matrix of SciPy, or of a device's library such as cupyx."""
    return sparse.issparse(X) or (
        hasattr(X, "tocsr") and is_array_api_obj(getattr(X, "data", None))
    )


def multiplies(X: Any, place: Backend) -> bool:
    """Whether ``X`` is sparse and its own products are to be used: those of SciPy, on NumPy.

    A device's library would sort the user's matrix for one, and add in any order.
    """
    return sparse.issparse(X) and place.holds(X.data)


def _entries(X: Any, index: np.ndarray, place: Backend) -> tuple[Array, Array, Array]:
    """Of these rows of a device's CSR matrix: where each entry lies, its row, each row's end."""
    xp, rows = place.xp, place.asarray(index)
    ends = X.indptr[rows + 1]
    lengths = ends - X.indptr[rows]
    stops = xp.cumulative_sum(lengths)
    entry = xp.arange(int(xp.sum(lengths)), device=place.device)
    row = xp.searchsorted(stops, entry, side="right")
    return entry + (ends - stops)[row], row, stops


def taken(X: Any, index: np.ndarray, place: Backend) -> Any:
    """A copy of these rows, sparse if ``X`` is."""
    if not is_sparse(X):
        return dense(X, index, place)
    if sparse.issparse(X):
        return X[index]
    with place.context():
        at, _, stops = _entries(X, index, place)
        indptr = place.xp.concat([0 * stops[:1], stops])
        return type(X)((X.data[at], X.indices[at], indptr), shape=(len(index), X.shape[1]))


def dense(X: Any, rows: slice | np.ndarray | None, place: Backend) -> Array:
    """These rows of ``X`` (None: all) as a dense array in ``place`` and its dtype."""
    if sparse.issparse(X):
        return place.asarray((X if rows is None else X[rows]).toarray(), place.dtype)
    if is_sparse(X):  # cupyx, whose ``toarray`` sorts a copy
        index = np.arange(X.shape[0])[slice(None) if rows is None else rows]
        with place.context():
            at, row, _ = _entries(X, index, place)
            shape = len(index), X.shape[1]
            A = place.xp.zeros(shape, dtype=place.dtype, device=place.device)
            place.xp.add.at(A, (row, X.indices[at]), X.data[at])
        return A
    if rows is None:
        return X
    if isinstance(rows, slice):
        return X[rows, :]
    return place.xp.take(X, place.asarray(rows), axis=0)


def dense_blocks(
    X: Any, place: Backend, elements: int | None = None
) -> Iterator[tuple[slice, Array]]:
    """All rows of ``X`` in their order, at most ``elements`` (``BLOCK``) elements at a time."""
    m, n = X.shape
    size = max(1, (elements or BLOCK) // n)
    for start in range(0, m, size):
        rows = slice(start, min(start + size, m))
        yield rows, dense(X, rows, place)
