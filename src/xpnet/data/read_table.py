"""Reads all rows of a data file into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.data.csv_rows import CsvRows
from xpnet.data.file_kind import TEXT, kind_of
from xpnet.data.open_stream import stream
from xpnet.data.table import Table


def read_table(path: str | Path, target: str | int | None = None) -> Table:
    """Read examples from a ``.csv``, ``.tsv``, ``.npy``, ``.npz`` or ``.parquet`` file.

    Parameters
    ----------
    path
        The rules for text are those of ``csv_rules``; a ``.npz`` file holds arrays ``X`` (m, n)
        and ``y`` (m,).
    target
        Name or index of the label column; not for ``.npz``. A name wins over an index; negative
        indices count from the end.

    Raises
    ------
    ValueError
        If the contents are not such a table. The message names the file and, where there is one,
        the line (or row) and the column.
    OSError
        If the file cannot be opened.
    """
    path = Path(path)
    if kind_of(path) in TEXT:
        rows = CsvRows(path, target, keep=True)
        X, y = (np.concatenate(arrays) for arrays in zip(*rows.kept))
        return Table(X, y, rows.names, rows.target)
    with stream(path, target=target) as source:
        blocks = list(source.blocks())
    if blocks[0].Y is None:
        raise ValueError(f"{path}: which column is the target? Give its index (--target)")
    y = np.concatenate([block.Y for block in blocks])
    if y.ndim > 1:
        raise ValueError(f"{path}: y must be (m,), one label a row; it is {y.shape}")
    names = source.names or tuple(str(i) for i in range(source.n_features))
    X = np.concatenate([block.X for block in blocks])
    return Table(X, y.astype(y.dtype.newbyteorder("="), copy=False), names, source.target)
