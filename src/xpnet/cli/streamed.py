"""A file that does not fit in memory made ready for a net: parts that are read as they are used."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.cli import memory
from xpnet.cli.problem import (
    Part,
    Problem,
    check_classes,
    check_task,
    checksum,
    labels_described,
    output_of,
)
from xpnet.cli.recipe import Recipe
from xpnet.cli.settings import Settings
from xpnet.data.columns import WantedColumns, encoder, listed
from xpnet.data.csv_rules import as_integers
from xpnet.data.open_stream import stream
from xpnet.data.read_columns import read_all
from xpnet.data.statistics import Statistics
from xpnet.data.stream import Stream
from xpnet.data.table import Standardizer, task_of


@dataclass(frozen=True)
class StreamedPart:
    """Like ``problem.Part``, in a file.

    Attributes
    ----------
    stream : Stream
        Standardised, labels as class numbers.
    targets : Standardizer or None
        Of a regression.
    spread : float
        The standard deviation of a regression's targets here, in their own units.
    """

    stream: Stream
    targets: Standardizer | None
    spread: float = 0.0

    def __len__(self) -> int:
        return self.stream.n_examples or 0

    @property
    def for_fit(self) -> tuple[Any, ...]:
        return (self.stream,)

    @property
    def variance(self) -> float:
        assert self.targets is not None
        return float((self.spread / self.targets.scale[0]) ** 2)

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        for chunk in self.stream.blocks():
            assert chunk.Y is not None
            if self.targets is None:
                yield chunk.X.T, chunk.Y, chunk.Y
            else:
                yield chunk.X.T, chunk.Y[None, :], self.targets.undo(chunk.Y[:, None])[:, 0]


def prepare_stream(settings: Settings, recipe: Recipe) -> Problem:
    """What ``problem.prepare`` does, in one pass over the file."""
    path, held_out = settings.data, recipe.held_out
    assert path is not None
    source = stream(path, target=settings.target)
    names = source.names or tuple(str(i) for i in range(source.n_features))
    train, held = source, None
    if isinstance(held_out, float) and held_out > 0:
        train, held = source.split(held_out, settings.seed)
    parts = [part.statistics() for part in (train, held) if part is not None]
    found = parts[0]
    labels = _labels(parts)
    kind, n = ("f", 0) if labels is None else (labels.dtype.kind, len(labels))
    m = source.n_examples or 0
    looks_like = "regression" if labels is None else task_of(kind, n, m)
    task = check_task(kind, looks_like, source.target, settings.task, settings.model)
    classes = targets = None
    if task == "classification":
        if labels is None:
            raise ValueError(
                f"the target {source.target!r} holds numbers with too many distinct values to be "
                "classes, for numbers use --task regression"
            )
        classes = labels
        check_classes(classes, m, source.target)
    else:
        targets = found.targets
        assert targets is not None
        if targets.scale[0] == 0:
            raise ValueError(f"the target {source.target!r} is constant in the training part")
    ready = found.inputs, targets, classes
    validation: Any = None
    if held is not None:
        validation = _part(held, parts[1], *ready)
    elif isinstance(held_out, Path):
        validation = _other_file(held_out, settings, names, source.target, *ready)
    statistics = [array for part in parts for array in (part.mean, part.scale)]
    if isinstance(held_out, Path):
        statistics.append(np.array(held_out.stat().st_size))
    beside = [array for array in (labels, found.target_mean) if array is not None]
    return Problem(
        task,
        output_of(classes),
        names,
        source.target,
        classes,
        found.inputs,
        targets,
        _part(train, found, *ready),
        validation,
        {
            "name": path.name,
            "rows": m,
            "features": source.n_features,
            "checksum": checksum([np.array(path.stat().st_size), *statistics, *beside]),
        },
        labels_described(kind, n, m),
        streamed=True,
    )


def _labels(parts: list[Statistics]) -> np.ndarray | None:
    """The distinct labels of all parts; None if there are too many."""
    found = [part.classes for part in parts if part.classes is not None]
    return as_integers(np.unique(np.concatenate(found))) if len(found) == len(parts) else None


def _part(
    rows: Stream,
    found: Statistics,
    inputs: Standardizer,
    targets: Standardizer | None,
    classes: np.ndarray | None,
) -> StreamedPart:
    spread = 0.0 if found.target_scale is None else float(found.target_scale[0])
    return StreamedPart(rows.prepared(inputs, targets, classes), targets, spread)


def _other_file(
    path: Path,
    settings: Settings,
    names: tuple[str, ...],
    target: str,
    inputs: Standardizer,
    targets: Standardizer | None,
    classes: np.ndarray | None,
) -> Part | StreamedPart:
    """The validation part out of a file of its own, which may be large too."""
    if memory.fits(path):
        X, y = read_all(path, WantedColumns(names, target, encoder(classes)))
        dtype = np.dtype(settings.dtype)
        Y = y if targets is None else targets.apply(y[:, None], dtype).T
        return Part(inputs.apply(X, dtype).T, Y, y)
    rows = stream(path, target=settings.target)
    if rows.names is not None and rows.names != names:
        raise ValueError(
            f"{path} has the columns {listed(rows.names)}, but the training data {listed(names)}: "
            "a file that is streamed needs the same order"
        )
    return _part(rows, rows.statistics(), inputs, targets, classes)
