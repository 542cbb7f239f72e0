"""Arrays that scikit-learn's own checks cannot read: the same checks, and moving them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj
from scipy import sparse

from xpnet._typing import Array
from xpnet.backends.place import dtype_name, place_of, to_numpy


def is_foreign(x: Any) -> bool:
    """Whether ``x`` is an array, or a sparse matrix on a device, of another library than NumPy."""
    if isinstance(x, (np.ndarray, np.generic)):
        return False
    return is_array_api_obj(x) or is_device_sparse(x)


def is_device_sparse(x: Any) -> bool:
    """Whether ``x`` is a sparse matrix whose values are no NumPy array."""
    return (
        hasattr(x, "tocsr")
        and not sparse.issparse(x)
        and is_array_api_obj(getattr(x, "data", None))
    )


def check_foreign(X: Any, estimator: Any) -> None:
    """scikit-learn's checks of a dense X, on its own device.

    Raises
    ------
    ValueError
        No numbers, not 2-D, no examples, no features, NaN or infinity.
    """
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
        # A finite sum has finite terms; only a sum that is not finite needs the full look.
        xp = place.xp
        if bool(xp.isfinite(xp.sum(values))) or bool(xp.all(xp.isfinite(values))):
            return
        what = "NaN" if bool(xp.any(xp.isnan(values))) else "infinity"
    raise ValueError(f"Input X contains {what}; {type(estimator).__name__} needs finite numbers.")


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
    """Arrays of another library as NumPy's; everything else as it is."""
    return to_numpy(y) if is_foreign(y) else y


def values_of(X: Any) -> Any:
    """The array in which the numbers of ``X`` lie."""
    return X.data if is_sparse(X) else X


def is_sparse(X: Any) -> bool:
    return sparse.issparse(X) or is_device_sparse(X)
