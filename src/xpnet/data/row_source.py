"""Rows that are read by number, out of arrays with slices."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.data.checks import host_array
from xpnet.data.column import counted
from xpnet.data.epoch_order import RowRange
from xpnet.data.file_array import FileArray


@dataclass(frozen=True)
class Chunk:
    """Rows in memory, on the host: as read, or as a stream yields them, which is described here.

    Attributes
    ----------
    X : ndarray (k, n_x)
        float32 or float64, contiguous rows, finite.
    Y : ndarray (k,) or (k, n_y), or None
        Labels or targets as they were read; finite if they are numbers. None: the source has none.
    w : ndarray (k,) or None
        Sample weights, finite and at least 0.
    order : ndarray (at most k,) of integers, or None
        Rows of this chunk in the order to see them. It is shorter than X where an epoch goes on
        in the middle of this chunk. None: all, as they stand.
    rows : tuple of (start, stop)
        Where these rows stand in the source, in their order, counted from 0.
    """

    X: np.ndarray
    Y: np.ndarray | None
    w: np.ndarray | None = None
    order: np.ndarray | None = None
    rows: tuple[RowRange, ...] = ()

    def row(self, i: int) -> int:
        """Number in the source of row ``i`` of this chunk."""
        for start, stop in self.rows:
            if i < stop - start:
                return start + i
            i -= stop - start
        raise IndexError(f"this chunk has {counted(len(self.X), 'row')}")


class SlicedRows:
    """Rows of objects with ``shape`` and slices: arrays, memory maps, ``FileArray``, HDF5, Zarr.

    Parameters
    ----------
    X : (m, n)
    y : (m,) or (m, n_y), optional
    name : str
        For messages.
    target : int, optional
        The column of X that holds the labels, in place of ``y``.
    names : tuple of str, optional
        Names of the columns of X but the target.

    Attributes
    ----------
    n, n_features : int
    target : str
        Name of the labels.
    dtype : dtype
        Of X: float32 if that loses nothing, else float64.
    label_bytes : int
        Bytes of the labels of one row.
    may_round : tuple of two bool
        Whether X, and whether the labels, may be integers that float32 would round.
    grain : int
        As many rows as cost hardly more to read than one.
    """

    def __init__(
        self,
        X: Any,
        y: Any = None,
        name: str = "the stream",
        target: int | None = None,
        names: tuple[str, ...] | None = None,
        target_name: str | None = None,
    ) -> None:
        self.name, self._X, self._y, self._column = name, X, y, None
        shape = tuple(X.shape)
        if len(shape) != 2:
            raise ValueError(f"{name}: X has shape {shape}; expected (m, n), examples in rows")
        if 0 in shape:
            raise ValueError(f"{name}: X is empty, {shape}")
        self.n, width = shape
        self.names = names
        if target is not None:
            if not -width <= target < width:
                raise ValueError(f"{name}: no column {target}; there are {width}, counted from 0")
            if width < 2:
                raise ValueError(f"{name}: one column only; the target needs at least one more")
            self._column = target % width
            self.names = tuple(str(i) for i in range(width) if i != self._column)
        self.target = target_name or ("y" if self._column is None else str(self._column))
        self.n_features = width - (target is not None)
        if y is not None and (len(y.shape) not in (1, 2) or y.shape[0] != self.n):
            raise ValueError(
                f"{name}: X has {counted(self.n, 'row')} but y has shape {tuple(y.shape)}"
            )
        self._maps = [m for m in (_mapping(X), _mapping(y)) if m is not None]
        X1, Y1 = self.read(0, 1)
        check_kind(name, "X", X1, "fiub", "numbers")
        if Y1 is not None:
            check_kind(name, self.target, Y1, "fiubU", "numbers or text")
        self.dtype = float_type(X1.dtype)
        self.label_bytes = 0 if Y1 is None else Y1.nbytes
        self.may_round = are_large(X1.dtype), Y1 is not None and are_large(Y1.dtype)
        self.grain = 2**14 // max(X1.nbytes, 1)

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return X (stop - start, n_x) and Y, if there is one."""
        X = host_array(self._X[start:stop], f"{self.name}: X")
        if X.shape != (stop - start, self.n_features + (self._column is not None)):
            raise ValueError(f"{self.name}: asked for rows {start} to {stop} and got {X.shape}")
        Y = None
        if self._y is not None:  # a copy: the next slice may come in the same memory
            Y = np.array(host_array(self._y[start:stop], f"{self.name}: y"))
        if self._column is not None:
            X, Y = np.delete(X, self._column, axis=1), X[:, self._column].copy()
        if Y is not None and Y.dtype.kind in "OT":  # text of HDF5, of Zarr, of NumPy's StringDType
            Y = np.asarray([t.decode() if isinstance(t, bytes) else t for t in Y.tolist()])
        if self._maps:
            X = X.copy()
            for mapping in self._maps:  # the pages count as the kernel's cache from here on
                mapping.madvise(mmap.MADV_DONTNEED)
        return X, Y

    def close(self) -> None:
        for array in (self._X, self._y):
            if isinstance(array, FileArray):
                array.close()


class Decoded:
    """Labels (m,) kept as numbers: ``codes`` stand for ``labels[codes]``."""

    def __init__(self, codes: Any, labels: np.ndarray) -> None:
        self._codes, self._labels, self.shape = codes, labels, codes.shape

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self._labels[self._codes[rows]]


def float_type(dtype: np.dtype) -> np.dtype:
    """Return float32 if that loses nothing, else float64."""
    small = dtype.newbyteorder("=") == np.float32 or dtype.itemsize <= 2
    return np.dtype(np.float32 if small else np.float64)


def are_large(dtype: np.dtype) -> bool:
    """Whether numbers of this dtype are integers, of more digits than float32 has."""
    return dtype.kind in "iu" and dtype.itemsize > 2


def check_kind(name: str, what: str, x: Any, kinds: str, expected: str) -> None:
    """Raise ValueError unless the dtype of the array ``x`` is one of ``kinds``."""
    if x.dtype.kind not in kinds:
        raise ValueError(f"{name}: {what} holds {x.dtype}, not {expected}")


def _mapping(x: Any) -> mmap.mmap | None:
    """Return the file mapping behind a memory map or its view, if its pages may be given back."""
    while isinstance(x, np.ndarray):
        base: Any = x.base
        if isinstance(x, np.memmap) and isinstance(base, mmap.mmap):
            # "c" keeps what was written to it in these pages and nowhere else
            return base if x.mode != "c" and hasattr(base, "madvise") else None
        x = base
    return None
