"""Where a net computes, and whether that was chosen or is left to the first X."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet._typing import Array
from xpnet.backends.place import Backend, select, to_numpy


@dataclass(frozen=True)
class Placement:
    """A library, a device and a dtype.

    Attributes
    ----------
    backend : Backend
        Where the net's arrays are; its dtype is None until the first X decides it.
    follows : bool
        Whether the first X decides on library and device. Arrays from elsewhere are then refused;
        otherwise host arrays are moved.
    bound : bool
        Whether library and device are settled.
    """

    backend: Backend
    follows: bool = False
    bound: bool = True

    @classmethod
    def of(
        cls, backend: Any, device: Any = None, dtype: Any = None, precision: str | None = None
    ) -> Placement:
        """The placement that a user's ``backend``, ``device``, ``dtype``, ``precision`` ask for."""
        follows = is_auto(backend) and device is None
        place = select("numpy" if is_auto(backend) else backend, device, dtype)
        if precision is not None:
            place = place.with_precision(precision)
        return cls(place, follows, bound=not follows)

    @property
    def settled(self) -> bool:
        """Whether nothing is left to the first X."""
        return self.bound and self.backend.dtype is not None

    def settle(self, X: Array, at: Backend, *targets: Array) -> Placement:
        """This placement once the array ``X``, which is ``at`` that place, has decided the rest.

        On the dtype the targets of a regression decide with it.
        """
        place = self.backend
        if not self.bound:
            place = replace(at, dtype=None)
            if self.backend.dtype is not None:
                place = place.with_dtype(self.backend.dtype_name)
        return replace(self, backend=place.following(X, *targets), bound=True)

    def with_dtype(self, dtype: Any) -> Placement:
        return replace(self, backend=self.backend.with_dtype(dtype))

    @property
    def host(self) -> Backend:
        """NumPy, with this dtype."""
        return select("numpy", dtype=self.backend.dtype_name)

    def may_move(self, x: Any) -> bool:
        """Whether ``x`` is host data: a list, or a NumPy array if the user chose the backend."""
        return not is_array_api_obj(x) or (isinstance(x, np.ndarray) and not self.follows)

    def returned(self, A: Array, X: Any) -> Array:
        """``A`` in the library of the X that it was computed from."""
        if not self.backend.holds(X):
            lent = self.backend.lend(A, X)
            return to_numpy(A) if lent is None else lent
        return A if self.backend.holds(A) else self.backend.asarray(A)

    def __str__(self) -> str:
        return f"{self.backend}, {self.backend.dtype_name}" if self.bound else "not placed yet"


def is_auto(backend: Any) -> bool:
    return isinstance(backend, str) and backend == "auto"
