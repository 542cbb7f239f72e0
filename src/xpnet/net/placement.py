"""Where a net computes, and whether that was chosen or is left to the first X."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet._typing import Array
from xpnet.backends.place import Backend, best_for, select, to_numpy


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
    asked : Backend, optional
        Of "best" until the first fit chooses: NumPy, with the dtype that the user asked for.
    why : str
        What "best" chose by.
    """

    backend: Backend
    follows: bool = False
    bound: bool = True
    asked: Backend | None = None
    why: str = ""

    @classmethod
    def of(
        cls, backend: Any, device: Any = None, dtype: Any = None, precision: str | None = None
    ) -> Placement:
        """The placement that a user's ``backend``, ``device``, ``dtype``, ``precision`` ask for."""
        if is_best(backend) and device is None and precision in (None, "exact"):
            asked = select("numpy", dtype=dtype)
            return cls(asked, bound=False, asked=asked, why="the first fit chooses")
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
        place = self if self.bound else self.at(replace(at, dtype=None))
        return replace(place, backend=place.backend.following(X, *targets))

    def at(self, there: Backend) -> Placement:
        """This placement once data that is ``there`` has decided; "best" follows a device's."""
        if self.backend.dtype is not None:
            there = there.with_dtype(self.backend.dtype_name)
        open_still = there.name == "numpy"
        asked, why = (self.asked, self.why) if open_still else (None, "")
        return replace(self, backend=there, bound=True, asked=asked, why=why)

    def chosen(self, moves: bool, n_parameters: int, batch: int) -> Placement:
        """That of a fit: "best" takes a GPU where the work pays, for data that may be moved."""
        if self.asked is None:
            return self
        if not moves:
            return replace(self, backend=self.asked, bound=False)
        dtype = None if self.asked.dtype is None else self.asked.dtype_name
        place, why = best_for(n_parameters, batch, dtype)
        return Placement(place if place.is_accelerator else self.backend, why=why)

    def with_dtype(self, dtype: Any) -> Placement:
        asked = None if self.asked is None else self.asked.with_dtype(dtype)
        return replace(self, backend=self.backend.with_dtype(dtype), asked=asked)

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
        where = f"{self.backend}, {self.backend.dtype_name}" if self.bound else "not placed yet"
        return f"{where}: {self.why}" if self.why else where


def is_auto(backend: Any) -> bool:
    return isinstance(backend, str) and backend == "auto"


def is_best(backend: Any) -> bool:
    return isinstance(backend, str) and backend == "best"
