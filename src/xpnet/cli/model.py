"""Reading a model file for the commands that apply it to rows of a table."""

from __future__ import annotations

from pathlib import Path

import xpnet
from xpnet.cli.options import check_backend
from xpnet.files.raw import TableModel

CELLS = 2**18  # in a batch of rows: 2 MB of float64, enough to make calls cheap


def rows_of(model: TableModel) -> int:
    """How many rows of a table to read at a time."""
    return max(64, CELLS // len(model.sources))  # a batch of many columns takes time by itself


def load_table_model(path: Path, backend: str = "numpy", device: str | None = None) -> TableModel:
    """The net in a model file or a checkpoint, with its statistics, columns and classes.

    Raises
    ------
    UsageProblem, ModelFileError, OSError
        As ``xpnet.load``; or the columns, classes or statistics do not fit the net.
    """
    check_backend(backend)
    net = xpnet.load(path, backend=backend, device=device)
    n_y = net.sizes[-1]
    if net.output != "softmax" and n_y > 1:
        raise xpnet.ModelFileError(
            f"{path}: a net with {n_y} answers per example; use xpnet.load in Python"
        )
    try:
        model = TableModel.of(net)
        assert model.features  # raises if they do not fit the net
    except (ValueError, TypeError) as error:
        raise xpnet.ModelFileError(
            f"{path}: its columns, classes or statistics are damaged: {error}"
        ) from None
    return model
