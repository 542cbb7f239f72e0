"""Blocks of rows out of ``.npy``, ``.npz`` and ``.parquet`` files larger than memory."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from xpnet.data.columns import WantedColumns
from xpnet.data.parquet_rows import pyarrow_of

Raw = tuple[np.ndarray, Any, Sequence[str]]  # rows, labels or None, names of the columns


def npy_blocks(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
    with path.open("rb") as file:
        try:
            table = _Array(file, str(path))
        except (ValueError, EOFError) as error:
            said = str(error).removeprefix(f"{path}: ")
            raise ValueError(f"{path}: not a .npy file of numbers ({said})") from None
        if len(table.shape) != 2:
            raise ValueError(f"{path}: must hold real numbers (m, n), examples in rows; "
                             f"it holds {table.dtype} {table.shape}")  # fmt: skip
        places = wanted.places(path, None, table.shape[1])
        n = len(wanted.features)
        for _ in range(0, table.shape[0], per_block):
            rows = table.read(per_block)[:, places]
            labels = None if wanted.target is None else rows[:, n].tolist()
            yield _floats(rows[:, :n]), labels, wanted.features


def npz_blocks(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
    """X (m, n), and y (m,) if there is a target, whatever it is called."""
    needed = ["X"] if wanted.target is None else ["X", "y"]
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(ZipFile(path))
            held = [name.removesuffix(".npy") for name in archive.namelist()]
            if not set(needed) <= set(held):
                needs = " and ".join(needed)
                raise ValueError(f"{path}: it needs {needs}; it holds {', '.join(held)}")
            files = [stack.enter_context(archive.open(f"{name}.npy")) for name in needed]
            arrays = [
                _Array(file, f"{path}: {name}", text=name == "y")
                for file, name in zip(files, needed, strict=True)
            ]
            X, y = arrays[0], arrays[1:]
            if len(X.shape) != 2 or any(labels.shape != X.shape[:1] for labels in y):
                shapes = " and ".join(str(array.shape) for array in arrays)
                raise ValueError(f"{path}: X must be (m, n) and y (m,); found {shapes}")
            places = WantedColumns(wanted.features).places(path, None, X.shape[1])
            for _ in range(0, X.shape[0], per_block):
                labels = y[0].read(per_block).tolist() if y else None
                yield _floats(X.read(per_block)[:, places]), labels, wanted.features
        except (BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise ValueError(f"{path}: damaged .npz archive ({error})") from None


class _Array:
    """An array in a file in NumPy's format, of which the next rows can be read.

    Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """

    def __init__(self, file: Any, name: str, text: bool = False) -> None:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        self.shape, by_columns, self.dtype = read_header(file)
        if self.dtype.kind not in ("fiubU" if text else "fiub"):
            raise ValueError(f"{name} holds {self.dtype}, not real numbers")
        self._file, self._name, self._row = file, name, 0
        self._all: np.ndarray | None = None
        if by_columns and len(self.shape) > 1:  # its rows are not together: all at once, then
            self._all = self._items(math.prod(self.shape)).reshape(self.shape, order="F")

    def read(self, count: int) -> np.ndarray:
        """The next ``count`` rows, or as many as there are left."""
        row, self._row = self._row, min(self._row + count, self.shape[0])
        if self._all is not None:
            return self._all[row : self._row]
        items = self._items((self._row - row) * math.prod(self.shape[1:]))
        return items.reshape(-1, *self.shape[1:])

    def _items(self, count: int) -> np.ndarray:
        raw = self._file.read(count * self.dtype.itemsize)
        if len(raw) < count * self.dtype.itemsize:
            raise ValueError(f"{self._name} is truncated")
        return np.frombuffer(raw, self.dtype)


def parquet_blocks(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
    with path.open("rb"):  # an OSError of Python's, with the name of the file
        pass
    arrow, parquet = pyarrow_of(path)
    try:
        file = parquet.ParquetFile(path)
    except arrow.ArrowInvalid as error:
        raise ValueError(f"{path}: not a .parquet file ({error})") from None
    names = file.schema_arrow.names
    chosen = [names[i] for i in wanted.places(path, names, len(names))]
    n = len(wanted.features)
    try:
        for table in file.iter_batches(per_block, columns=chosen):
            columns = [_column(path, table, name) for name in chosen[:n]]
            labels = None if wanted.target is None else table.column(chosen[n]).to_pylist()
            yield np.stack(columns, axis=1), labels, chosen[:n]
    except (arrow.ArrowException, OSError) as error:
        raise ValueError(f"{path}: {error}") from None


def _column(path: Path, table: Any, name: str) -> np.ndarray:
    values = table.column(name).to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{path}: column {name!r} holds {values.dtype}, not numbers")
    return values.astype(np.float64)


def _floats(X: np.ndarray) -> np.ndarray:
    """float32 if that loses nothing, else float64."""
    small = X.dtype.newbyteorder("=") == np.float32 or X.dtype.itemsize <= 2
    return X.astype(np.float32 if small else np.float64, copy=False)
