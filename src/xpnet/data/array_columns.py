"""Reads columns of ``.npy``, ``.npz`` and ``.parquet`` files, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.columns import WantedColumns
from xpnet.data.file_array import open_npy, open_npz
from xpnet.data.parquet_rows import open_parquet
from xpnet.data.row_source import check_kind, float_type

Raw = tuple[np.ndarray, Any, Sequence[str]]  # rows, labels or None, names of the columns


def npy_blocks(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
    """Columns by their index, the target among them."""
    table, n = open_npy(path), len(wanted.features)
    if table.ndim != 2 or table.dtype.kind not in "fiub":
        raise ValueError(f"{path}: must hold real numbers (m, n), examples in rows; "
                         f"it holds {table.dtype} {table.shape}")  # fmt: skip
    places = wanted.places(path, None, table.shape[1])
    for start in range(0, len(table), per_block):
        rows = table[start : start + per_block][:, places]
        labels = None if wanted.target is None else rows[:, n].tolist()
        yield rows[:, :n].astype(float_type(rows.dtype)), labels, wanted.features


def npz_blocks(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
    """X (m, n), and y (m,) if there is a target, whatever it is called."""
    arrays = open_npz(path, needed=("X",) if wanted.target is None else ("X", "y"))
    X, y = arrays["X"], arrays.get("y")
    check_kind(str(path), "X", X, "fiub", "numbers")
    if y is not None:
        check_kind(str(path), "y", y, "fiubU", "numbers or text")
    if X.ndim != 2 or (y is not None and y.shape != X.shape[:1]):
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"{path}: X must be (m, n) and y (m,); found {shapes}")
    places = WantedColumns(wanted.features).places(path, None, X.shape[1])
    for start in range(0, len(X), per_block):
        rows = X[start : start + per_block][:, places]
        labels = None if y is None else y[start : start + per_block].tolist()
        yield rows.astype(float_type(rows.dtype)), labels, wanted.features


def parquet_blocks(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Raw]:
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
