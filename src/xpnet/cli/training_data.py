"""The data of ``xpnet train``: read into memory, or streamed where it does not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xpnet.cli import memory
from xpnet.cli.problem import Problem, prepare, require
from xpnet.cli.recipe import Recipe
from xpnet.cli.settings import Settings
from xpnet.cli.streamed import prepare_stream
from xpnet.data.file_kind import kind_of
from xpnet.data.open_stream import stream
from xpnet.data.table import Table, load_digits, read_table


def load(settings: Settings, recipe: Recipe) -> Problem:
    """Read DATA, or the digits that come with the package.

    Raises
    ------
    UsageProblem, ValueError, OSError
        Options that do not fit the data, or a file that is no table; the message names it.
    """
    path = settings.data
    if path is None:
        require(settings.target is None, "--target", "the digits have their labels; give DATA too")
        require(not settings.stream, "--stream", "the digits are in memory; give DATA too")
        X, y = load_digits()
        names = tuple(f"pixel{i}" for i in range(X.shape[1]))
        table, name = Table(X, y, names, "digit"), "handwritten digits"
    else:
        nameless = kind_of(path) == ".npy" and settings.target is None
        require(not nameless, "--target", f"which column of {path.name}? Give its index")
        streamed = not memory.fits(path) if settings.stream is None else settings.stream
        if streamed:
            full = recipe.batch_size is None
            require(not full, "--batch-size", f"{path.name} is streamed, in minibatches")
            return prepare_stream(settings, recipe)
        table, name = _table(path, settings.target), path.name
    return prepare(
        name, table, settings.task, settings.model, recipe.held_out, settings.seed, settings.dtype
    )


def _table(path: Path, target: str | None) -> Table:
    """All rows of a file at once."""
    if path.suffix.lower() not in (".npy", ".parquet"):
        return read_table(path, target)
    with stream(path, target=target) as rows:
        chunks = list(rows.blocks())
        names = rows.names or tuple(str(i) for i in range(rows.n_features))
    X = np.concatenate([chunk.X for chunk in chunks])
    return Table(X, np.concatenate([chunk.Y for chunk in chunks]), names, rows.target)
