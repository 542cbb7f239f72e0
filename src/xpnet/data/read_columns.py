"""Reads the columns that a trained net takes out of a data file, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.columns import Block, WantedColumns, encoded
from xpnet.data.csv_columns import csv_blocks
from xpnet.data.csv_rules import number
from xpnet.data.file_array import open_npy, open_npz
from xpnet.data.file_kind import TEXT, kind_of
from xpnet.data.parquet_rows import open_parquet
from xpnet.data.row_source import SlicedRows
from xpnet.data.stream_checks import Preparation

Raw = tuple[np.ndarray, Any, Sequence[str]]  # rows, labels or None, names of the columns

CELLS = 2**18  # in a block: 2 MB of float64, enough to make calls cheap


def read_blocks(path: Path, wanted: WantedColumns) -> Iterator[Block]:
    """Read the rows of a file.

    Raises
    ------
    ValueError
        Naming the file and, where there is one, the row (or line) and the column.
    OSError
        The file cannot be read.
    """
    kind = kind_of(path)
    if kind in TEXT:
        yield from csv_blocks(path, wanted)
        return
    per_block = max(1, CELLS // max(1, len(wanted.features)))
    row = 0
    reader = _parquet if kind == ".parquet" else _arrays
    for X, labels, names in reader(path, wanted, per_block):

        def where(i: int, row: int = row) -> str:
            return f"{path}, row {row + i:,} (from 0)"

        Preparation(tuple(names)).features(X, X.dtype, where)
        yield X, None if labels is None else encoded(labels, wanted, where)
        row += len(X)


def read_all(path: Path, wanted: WantedColumns) -> tuple[np.ndarray, np.ndarray]:
    """All blocks at once: rows (m, n) and targets (m,), whole numbers if they are classes."""
    pieces = list(read_blocks(path, wanted))
    if not pieces:
        raise ValueError(f"{path}: no rows of data")
    y = np.concatenate([y for _, y in pieces if y is not None])
    classes = wanted.encode is not number
    return np.concatenate([X for X, _ in pieces]), y.astype(np.int64) if classes else y


def _arrays(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
    """Columns by their index, the target among them; in a .npz file it is y, whatever its name."""
    n, y = len(wanted.features), None
    if path.suffix.lower() == ".npy":
        X = open_npy(path)
    else:
        found = open_npz(path, needed=("X",) if wanted.target is None else ("X", "y"))
        X, y = found["X"], found.get("y")
        if y is not None and len(y.shape) != 1:
            raise ValueError(f"{path}: y must be (m,), one label a row; it is {y.shape}")
        wanted = WantedColumns(wanted.features)
    if X.shape[0] == 0:
        return
    rows = SlicedRows(X, y, str(path))
    places = wanted.places(path, None, rows.n_features)
    for start in range(0, rows.n, per_block):
        values, labels = rows.read(start, min(start + per_block, rows.n))
        values = values[:, places]  # whole numbers stay so: the net knows which of them it holds
        values = values if values.dtype.kind in "iu" else values.astype(rows.dtype)
        labels = labels if wanted.target is None else values[:, n]
        yield values[:, :n], None if labels is None else labels.tolist(), wanted.features


def _parquet(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
    """Columns by their names."""
    file = open_parquet(path)
    names = file.schema_arrow.names
    chosen = [names[i] for i in wanted.places(path, names, len(names))]
    n = len(wanted.features)
    try:
        for table in file.iter_batches(per_block, columns=chosen):
            columns = [_column(path, table, name) for name in chosen[:n]]
            labels = None if wanted.target is None else table.column(chosen[n]).to_pylist()
            yield np.stack(columns, axis=1), labels, chosen[:n]
    except (import_module("pyarrow").ArrowException, OSError) as error:
        raise ValueError(f"{path}: {error}") from None


def _column(path: Path, table: Any, name: str) -> np.ndarray:
    values = table.column(name).to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "fiub":
        raise ValueError(f"{path}: column {name!r} holds {values.dtype}, not numbers")
    return values.astype(np.float64)
