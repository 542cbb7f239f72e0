"""Reads the data of ``xpnet train`` into memory, or streams what does not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from xpnet.cli import memory
from xpnet.cli.options import require
from xpnet.cli.problem import Part, Problem, classes_of
from xpnet.cli.recipe import Recipe
from xpnet.cli.settings import Settings
from xpnet.data.columns import WantedColumns, encoder, listed
from xpnet.data.file_kind import kind_of
from xpnet.data.open_stream import stream
from xpnet.data.read_columns import read_all
from xpnet.data.read_table import read_table
from xpnet.data.standardizer import Standardizer
from xpnet.data.statistics import Statistics
from xpnet.data.table import Table, load_digits, train_test_split
from xpnet.data.task import Labels, as_integers


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
        return _in_memory("handwritten digits", Table(X, y, names, "digit"), settings, recipe)
    nameless = kind_of(path) == ".npy" and settings.target is None
    require(not nameless, "--target", f"which column of {path.name}? Give its index")
    streamed = not memory.fits(path) if settings.stream is None else settings.stream
    if not streamed:
        return _in_memory(path.name, read_table(path, settings.target), settings, recipe)
    full = recipe.fit["batch_size"] is None
    require(not full, "--batch-size", f"{path.name} is streamed, in minibatches")
    return _in_file(path, settings, recipe)


def _in_memory(name: str, table: Table, settings: Settings, recipe: Recipe) -> Problem:
    """Decide the task, set the validation part aside, standardise by the training part."""
    y, labels, held_out = as_integers(table.y), Labels.of(table.y), recipe.held_out
    classes = classes_of(labels, table.target, settings.task, settings.model)
    if classes is not None:
        y = np.searchsorted(classes, y)
    share = 0.0 if isinstance(held_out, Path) else held_out
    X_train, y_train, X_test, y_test = train_test_split(
        table.X, y, share, settings.seed, stratify=classes is not None
    )
    read = [table.X, table.y]
    if isinstance(held_out, Path):
        wanted = WantedColumns(table.names, table.target, encoder(classes))
        X_test, y_test = read_all(held_out, wanted)
        read += [X_test, y_test]
    problem = Problem(
        name=name,
        names=table.names,
        target=table.target,
        labels=labels,
        classes=classes,
        inputs=Standardizer.fit(X_train),
        targets=Standardizer.fit(y_train[:, None]) if classes is None else None,
        dtype=settings.dtype,
        checksum=_checksum(read),
    )
    problem.train = problem.in_memory(X_train, y_train)
    if len(y_test):
        problem.validation = problem.in_memory(X_test, y_test)
    return problem


def _in_file(path: Path, settings: Settings, recipe: Recipe) -> Problem:
    """The same for a file that is streamed, in one pass over it."""
    source, held_out = stream(path, target=settings.target), recipe.held_out
    train, held = source, None
    if isinstance(held_out, float) and held_out > 0:
        train, held = source.split(held_out, settings.seed)
    parts = [part.statistics() for part in (train, held) if part is not None]
    found, labels = parts[0], _labels(parts, source.n_examples or 0)
    classes = classes_of(labels, source.target, settings.task, settings.model)
    measured = [np.array(path.stat().st_size)]
    measured += [array for part in parts for array in (part.mean, part.scale)]
    if isinstance(held_out, Path):
        measured.append(np.array(held_out.stat().st_size))
    measured += [array for array in (labels.distinct, found.target_mean) if array is not None]
    problem = Problem(
        name=path.name,
        names=source.names or tuple(str(i) for i in range(source.n_features)),
        target=source.target,
        labels=labels,
        classes=classes,
        inputs=found.inputs,
        targets=found.targets if classes is None else None,
        dtype=settings.dtype,
        checksum=_checksum(measured),
    )
    problem.train = problem.in_file(train, found)
    if held is not None:
        problem.validation = problem.in_file(held, parts[1])
    elif isinstance(held_out, Path):
        problem.validation = _other_file(held_out, settings.target, problem)
    return problem


def _labels(parts: list[Statistics], m: int) -> Labels:
    found = [part.classes for part in parts if part.classes is not None]
    if len(found) < len(parts):
        return Labels(None, m)
    return Labels(as_integers(np.unique(np.concatenate(found))), m)


def _other_file(path: Path, target: str | None, problem: Problem) -> Part:
    """The validation part out of a file of its own, which may be large too."""
    if memory.fits(path):
        wanted = WantedColumns(problem.names, problem.target, encoder(problem.classes))
        return problem.in_memory(*read_all(path, wanted))
    rows = stream(path, target=target)
    if rows.names is not None and rows.names != problem.names:
        raise ValueError(
            f"{path} has the columns {listed(rows.names)}, but the training data "
            f"{listed(problem.names)}: a file that is streamed needs the same order"
        )
    return problem.in_file(rows, rows.statistics())


def _checksum(arrays: list[np.ndarray]) -> str:
    """The beginning of their SHA-256."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()[:16]
