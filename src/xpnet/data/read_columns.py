"""Reads the columns that a trained net takes out of a data file, a block of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from xpnet.data.array_columns import npy_blocks, npz_blocks, parquet_blocks
from xpnet.data.columns import Block, WantedColumns, encoded
from xpnet.data.csv_columns import csv_blocks
from xpnet.data.file_kind import TEXT, kind_of

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
    per_block = max(1, CELLS // max(1, len(wanted.features)))
    if kind in TEXT:
        yield from csv_blocks(path, wanted, per_block)
        return
    read = {".npy": npy_blocks, ".npz": npz_blocks, ".parquet": parquet_blocks}
    row = 0
    for X, labels, names in read[kind](path, wanted, per_block):
        _refuse_nan(path, X, row, names)
        y = None if labels is None else encoded(labels, wanted, f"{path}, row {{}} (from 0)", row)
        yield X, y
        row += len(X)


def read_all(path: Path, wanted: WantedColumns) -> tuple[np.ndarray, np.ndarray]:
    """All blocks at once: rows (m, n) and targets (m,), whole numbers if they are classes."""
    pieces = list(read_blocks(path, wanted))
    if not pieces:
        raise ValueError(f"{path}: no rows of data")
    y = np.concatenate([y for _, y in pieces if y is not None])
    classes = wanted.encode is not float
    return np.concatenate([X for X, _ in pieces]), y.astype(np.int64) if classes else y


def _refuse_nan(path: Path, X: np.ndarray, row: int, names: Sequence[str]) -> None:
    wrong = ~np.isfinite(X)
    if wrong.any():
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        raise ValueError(
            f"{path}, row {row + i:,} (from 0), column {names[j]!r}: {X[i, j]} is not a finite "
            "number"
        )
