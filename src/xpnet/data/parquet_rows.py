"""Rows of a ``.parquet`` file, read by pyarrow.

A parquet file is read by groups of rows. Where one of them takes little memory, blocks are read
straight from the file; otherwise the rows are unpacked once to a temporary file.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from xpnet.data.columns import find_target
from xpnet.data.epoch_order import thinned
from xpnet.data.file_array import FileArray, temporary
from xpnet.data.row_source import (
    Decoded,
    Piece,
    RowSource,
    SlicedRows,
    are_large,
    check_kind,
    float_type,
)
from xpnet.data.statistics import Statistics, check_number_of_texts


def parquet_rows(
    path: Path, target: str | int | None, room: float, folder: Path | None
) -> RowSource:
    """Open the rows of a file; what is in memory at a time takes less than ``room`` bytes.

    Raises
    ------
    ValueError
        Naming the file and the column; pyarrow is missing.
    OSError
        The file cannot be read, or the temporary file not be written.
    """
    rows = _Groups(path, target)
    if rows.largest * rows.row_bytes <= room:
        return rows
    X, y = _unpacked(path, rows.pieces(max(1, int(room / 4 / rows.row_bytes))), folder)
    return SlicedRows(X, y, str(path), names=rows.names, target_name=rows.target)


def open_parquet(path: Path, **settings: Any) -> Any:
    """Open a file as pyarrow's ``ParquetFile``; what is raised names the file."""
    if not find_spec("pyarrow"):
        install = 'python -m pip install "xpnet[tables]"'
        raise ValueError(f"{path}: reading .parquet needs pyarrow: {install}")
    with path.open("rb"):  # an OSError of Python's, with the name of the file
        pass
    try:
        return import_module("pyarrow.parquet").ParquetFile(path, **settings)
    except ValueError as error:  # pyarrow.ArrowInvalid is one
        raise ValueError(f"{path}: not a .parquet file ({error})") from None


class _Groups:
    """See ``row_source.RowSource``. Keeps the group that was read last."""

    measured: Statistics | None = None
    grain = 0  # a group is kept, so small reads cost nothing

    def __init__(self, path: Path, target: str | int | None) -> None:
        self.name = str(path)
        self._file = open_parquet(path, pre_buffer=False, buffer_size=2**16)
        schema = self._file.schema_arrow
        names = tuple(schema.names)
        self.target = names[find_target(path, target, names, True)]
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise ValueError(f"{path}: {names.count(twice[0])} columns are named {twice[0]!r}")
        self.names = tuple(name for name in names if name != self.target)
        self.n_features = len(self.names)
        self._chosen = [*self.names, self.target]
        kinds = [_kind(path, name, schema.field(name).type) for name in self.names]
        self.dtype = float_type(np.result_type(*kinds))
        self.label_bytes = 8
        label = str(schema.field(self.target).type)
        self.may_round = any(map(are_large, kinds)), label.endswith(("int32", "int64"))
        meta = self._file.metadata
        counts = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
        self._bounds = np.append(0, np.cumsum(counts)).astype(np.int64)
        self.n, self.largest = int(self._bounds[-1]), max(counts, default=0)
        if self.n == 0:
            raise ValueError(f"{path}: no rows of data")
        # pyarrow's own columns, and the array that is made of them
        self.row_bytes = 2 * self.n_features * self.dtype.itemsize + 64
        self._lock = Lock()
        self._kept: tuple[int, tuple[np.ndarray, np.ndarray]] | None = None

    def read(self, start: int, stop: int) -> Piece:
        i = int(np.searchsorted(self._bounds, start, side="right")) - 1
        found = []
        while start < stop:
            group, first = self._group(i), int(self._bounds[i])
            end = min(stop, int(self._bounds[i + 1]))
            here = slice(start - first, end - first)
            found.append((group[0][here], group[1][here]))
            start, i = end, i + 1
        if len(found) == 1:
            return Piece(*found[0])
        X, Y = (np.concatenate(arrays) for arrays in zip(*found))
        return Piece(X, Y)

    def bounds(self, block: int) -> np.ndarray:
        return thinned(self._bounds, block)

    def pieces(self, per_block: int) -> Iterator[Piece]:
        """Yield all rows in their order."""
        row = 0
        for batch in self._file.iter_batches(per_block, columns=self._chosen):
            yield Piece(*self._arrays(batch, row))
            row += len(batch)

    def close(self) -> None:
        self._kept = None
        self._file.close()

    def _group(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        with self._lock:
            if self._kept is None or self._kept[0] != i:
                self._kept = None  # its memory goes first
                table = self._file.read_row_group(i, columns=self._chosen, use_threads=False)
                self._kept = i, self._arrays(table, int(self._bounds[i]))
            return self._kept[1]

    def _arrays(self, table: Any, row: int) -> tuple[np.ndarray, np.ndarray]:
        X = np.empty((table.num_rows, self.n_features), self.dtype)
        for j, name in enumerate(self.names):
            X[:, j] = self._column(table, name, row).to_numpy(zero_copy_only=False)
        labels = self._column(table, self.target, row)
        y = labels.to_numpy(zero_copy_only=False)
        if y.dtype.kind not in "fiub":
            y = np.asarray(labels.to_pylist())
            check_kind(self.name, self.target, y, "U", "numbers or text")
        return X, y

    def _column(self, table: Any, name: str, row: int) -> Any:
        column = table.column(name)
        if column.null_count:
            i = row + int(column.is_null().to_numpy(zero_copy_only=False).argmax())
            where = f"{self.name}, row {i:,} (from 0), column {name!r}"
            raise ValueError(f"{where}: a value is missing")
        return column


def _kind(path: Path, name: str, kind: Any) -> np.dtype:
    """Return the NumPy dtype of a type of pyarrow's."""
    try:
        found = np.dtype(kind.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        found = np.dtype(object)
    if found.kind not in "fiub":
        raise ValueError(f"{path}: column {name!r} holds {kind}, not numbers")
    return found


# -- unpacking ---------------------------------------------------------------------------
def _unpacked(path: Path, pieces: Iterator[Piece], folder: Path | None) -> tuple[FileArray, Any]:
    """Write all rows to temporary files, labels that are text as numbers."""
    codes: dict[str, int] = {}
    n, text, X, y = 0, False, None, None
    with temporary(path, folder) as X_file, temporary(path, folder) as y_file:
        for X, y in pieces:
            assert y is not None
            if y.dtype.kind == "U":
                text = True
                y = np.asarray([codes.setdefault(label, len(codes)) for label in y.tolist()])
                check_number_of_texts(len(codes))
            n += len(X)
            X_file.write(np.ascontiguousarray(X).data)
            y_file.write(np.ascontiguousarray(y).data)
        if X is None or y is None:
            raise ValueError(f"{path}: no rows of data")
        values = FileArray(f"{path}, unpacked", X_file, 0, ((n, X.shape[1]), False, X.dtype))
        labels: Any = FileArray(f"{path}, unpacked", y_file, 0, ((n,), False, y.dtype))
    return values, Decoded(labels, np.asarray(list(codes))) if text else labels
