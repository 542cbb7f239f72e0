"""Reads the data of ``xpnet train``: into memory, or encoded onto the disk if it is too much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, replace
from hashlib import sha256
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np

from xpnet.cli import memory
from xpnet.cli.encoded import Encoded
from xpnet.cli.options import require
from xpnet.cli.problem import Problem, classes_of, unlabelled
from xpnet.cli.recipe import Recipe
from xpnet.cli.settings import Settings
from xpnet.data.column import Column, listed
from xpnet.data.held_out import HeldOut
from xpnet.data.preprocessing import Preprocessor, PreprocessorSettings
from xpnet.data.readers import TableReader, open_table
from xpnet.data.standardizer import RunningMoments, Standardizer
from xpnet.data.statistics import RunningLabels
from xpnet.data.table import load_digits, train_test_split
from xpnet.data.task import Labels, as_integers, labelled, labels_of

# What encoded rows depend on besides the file and how it is read.
_ASKED = ("target", "column", "ignore", "robust", "validation", "seed", "dtype")
_NOT_OF_DIGITS = {"target": "have their labels", "stream": "are in memory",
                  "column": "are numbers", "ignore": "are numbers"}  # fmt: skip
Batch = dict[str, Column]


def load(settings: Settings, recipe: Recipe, encoded: Encoded) -> Problem:
    """Read DATA, or the digits that come with the package; rows that are streamed go to disk.

    Raises
    ------
    UsageProblem, ValueError, OSError
        Options that do not fit the data, or a file that is no table; the message names it.
    """
    path = settings.data
    if path is None:
        for option, why in _NOT_OF_DIGITS.items():
            given = getattr(settings, option)
            require(not given, f"--{option}", f"the digits {why}; give DATA too")
        X, y = load_digits()
        named = {f"pixel{i}": x for i, x in enumerate(X.T)} | {"digit": y}
        table = {name: Column(x, np.zeros(len(x), bool)) for name, x in named.items()}
        return Loading(settings, recipe, "handwritten digits", "digit").in_memory(table)
    fingerprint = _fingerprint(settings)
    if settings.resume and settings.stream is not False and (kept := encoded.find(fingerprint)):
        found = _found(kept, encoded, settings, recipe)
        if (found.classes is None) == (kept["targets"] is not None):
            return found
    encoded.remove()
    with open_table(path, settings.reading, target=settings.target) as reader:
        target = reader.answers()
        if {*reader.names} <= {target, *reader.row_numbers}:
            raise ValueError(f"{path}: no column is left to learn from")
        loading = Loading(settings, recipe, path.name, target, reader)
        fits = memory.fits((reader.n or 0) * len(reader.names))
        if settings.stream is False or (settings.stream is None and fits):
            batches = list(reader.batches())
            names = list(batches[0])
            return loading.in_memory({n: Column.join([b.pop(n) for b in batches]) for n in names})
        full = recipe.fit["batch_size"] is None
        require(not full, "--batch-size", f"{path.name} is streamed, in minibatches")
        return loading.on_disk(reader, encoded, fingerprint)


class Loading:
    """A table on its way to a ``Problem``: what is asked of it, and what was seen of it."""

    def __init__(
        self,
        settings: Settings,
        recipe: Recipe,
        name: str,
        target: str,
        reader: TableReader | None = None,
    ) -> None:
        self.settings, self.name, self.target, self.reader = settings, name, target, reader
        self.held_out = recipe.held_out
        self.share = self.held_out if isinstance(self.held_out, float) else 0.0
        self.digest, self.unlabelled = sha256(), 0

    def in_memory(self, table: Batch) -> Problem:
        """Decide the task, set the validation part aside, standardise by the training part."""
        table, label, _ = self.labelled(table)
        y = as_integers(labels_of(label, self.target))
        labels = Labels.of(y)
        classes = self.classes(labels)
        if classes is not None:
            y = np.searchsorted(classes, y)
        seed, stratify = self.settings.seed, classes is not None
        rows, held = train_test_split(y, self.share, seed, stratify)
        training = {name: column[rows] for name, column in table.items()}
        columns = self.fit([training])
        targets = Standardizer.fit(y[rows, None]) if classes is None else None
        problem = self.problem(labels, classes, columns, targets)
        problem.train = problem.in_memory(columns.encode(training), y[rows])
        if isinstance(self.held_out, Path):
            pieces = zip(*self.other(self.held_out, problem))
            problem.validation = problem.in_memory(*map(np.concatenate, pieces))
        elif len(held):
            E = columns.encode({name: column[held] for name, column in table.items()})
            problem.validation = problem.in_memory(E, y[held])
        return self.told(problem)

    def on_disk(self, reader: TableReader, encoded: Encoded, fingerprint: str) -> Problem:
        """The same of a table that is read twice: to measure it, and to encode it."""
        n = reader.n or 0
        split = HeldOut.of(n, self.share, self.settings.seed) if self.share else None
        seen, targets = RunningLabels(), RunningMoments()

        def training() -> Iterator[Batch]:
            for table, label, held in self.batches(reader, split):
                seen.add(y := labels_of(label, self.target))
                if y.dtype.kind != "U":
                    targets.add(y[~held, None])
                yield {name: column[~held] for name, column in table.items()}

        columns = self.fit(training())
        distinct = None if seen.distinct is None else as_integers(seen.distinct)
        labels = Labels(distinct, n - self.unlabelled)
        scaled = targets.result() if targets.n else None
        problem = self.problem(labels, self.classes(labels), columns, scaled)
        try:
            self.write(reader, split, problem, encoded)
        except BaseException:
            encoded.remove()
            raise
        encoded.open(problem)
        encoded.finish(fingerprint, _kept(self.told(problem)))
        return problem

    def write(
        self, reader: TableReader, split: HeldOut | None, problem: Problem, encoded: Encoded
    ) -> None:
        """Write the encoded rows of both parts, and open them."""
        columns, dtype = problem.columns, np.dtype(problem.dtype)
        width = len(columns.names)
        label = np.dtype(np.int64) if problem.classes is not None else dtype
        encoded.check_room((reader.n or 0) * (width * dtype.itemsize + label.itemsize))
        with (
            encoded.writing("training", width, dtype, label) as add,
            encoded.writing("validation", width, dtype, label) as add_held,
        ):
            for table, labels, held in self.batches(reader, split, hashed=False):
                Z = columns.standardize(columns.encode(table), dtype)
                y = problem.answers(problem.numbered(labels))
                add(Z[~held], y[~held])
                add_held(Z[held], y[held])
            if isinstance(self.held_out, Path):
                for E, y in self.other(self.held_out, problem):
                    add_held(columns.standardize(E, dtype), problem.answers(y))

    def classes(self, labels: Labels) -> np.ndarray | None:
        """The classes (k,); None for a regression."""
        return classes_of(labels, self.target, self.settings.task, self.settings.model)

    def problem(
        self,
        labels: Labels,
        classes: np.ndarray | None,
        columns: Preprocessor,
        targets: Standardizer | None,
    ) -> Problem:
        """The problem without its parts."""
        return Problem(
            name=self.name,
            target=self.target,
            labels=labels,
            classes=classes,
            columns=columns,
            targets=targets if classes is None else None,
            dtype=self.settings.dtype,
        )

    def told(self, problem: Problem) -> Problem:
        """The problem with its checksum, and what to tell of it."""
        problem.checksum = self.digest.hexdigest()[:16]
        if self.reader is not None:
            lost = unlabelled(self.unlabelled, self.target)
            said = self.reader.described, *problem.columns.described, lost
            problem.notes = tuple(filter(None, said))
        return problem

    def fit(self, batches: Iterable[Batch]) -> Preprocessor:
        """Fit the columns on the training part; the model keeps how dates are written."""
        reader, settings = self.reader, self.settings
        if reader is None:
            return Preprocessor.fit(batches, PreprocessorSettings(robust=settings.robust))
        kinds = {name: kind for name, kind in settings.kinds.items() if name != self.target}
        rows = tuple(reader.row_numbers)
        found = Preprocessor.fit(
            batches, PreprocessorSettings(kinds, settings.robust, rows, settings.seed)
        )
        dates = {name: kind for name, kind in reader.kinds.items() if kind.startswith("date ")}
        written = (replace(c, storage=dates.get(c.name, c.storage)) for c in found.columns)
        return replace(found, columns=tuple(written))

    def labelled(self, table: Batch, hashed: bool = True) -> tuple[Batch, Column, np.ndarray]:
        """Part labels from features, without the rows whose label is missing; and which stay."""
        for name, column in table.items() if hashed else ():
            there = ~column.absent
            said = f"{name} {column.values.dtype.str} {column.texts}"
            self.digest.update(said.encode() + there.tobytes() + column.values[there].tobytes())
        table, label, there = labelled(table, self.target)
        self.unlabelled += len(there) - len(label)
        return table, label, there

    def batches(
        self, reader: TableReader, split: HeldOut | None, hashed: bool = True
    ) -> Iterator[tuple[Batch, Column, np.ndarray]]:
        """Read all rows with labels: features, labels, and which are held out."""
        self.unlabelled, start = 0, 0
        for read in reader.batches():
            table, label, there = self.labelled(read, hashed)
            held = np.zeros(len(there), bool)
            if split is not None:
                first, last = (split.before(i, True) for i in (start, start + len(there)))
                for a, b in split.ranges(first, last, True):
                    held[a - start : b - start] = True
            start += len(there)
            if len(label):
                yield table, label, held[there]

    def other(self, path: Path, problem: Problem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read a validation file: encoded rows and answers, a batch at a time."""
        target, classes = self.target, problem.classes
        kinds = problem.columns.sources | {target: "number" if classes is None else "text"}
        row, labelled = 0, False
        with open_table(path, self.settings.reading, kinds=kinds, target=target) as reader:
            for read in reader.batches():
                table, label, there = self.labelled(read)
                y = problem.numbered(label) if len(label) else np.empty(0)
                if classes is not None and (y < 0).any():
                    i = int((y < 0).argmax())
                    where = reader.where(row + int(np.flatnonzero(there)[i]), target)
                    text = label.as_texts()[0][label.values[i]]
                    known = listed(list(map(str, classes)))
                    raise ValueError(f"{where}: {text!r:.50} is no class of the model's: {known}")
                row += len(there)
                if len(y):
                    labelled = True
                    yield problem.columns.encode(table), y
        if not labelled:
            raise ValueError(f"{path}: no rows with a {target!r}")


# -- rows on disk ------------------------------------------------------------------------
def _fingerprint(settings: Settings) -> str:
    """What the encoded rows depend on, before they are read; a pipe's never come again."""
    path, held_out = settings.data, Path(settings.validation)
    assert path is not None
    files = [path, *([held_out] if held_out.is_file() else [])]
    found = [(str(p.resolve()), p.stat()) for p in files if p.is_file()]
    seen = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]
    asked = [getattr(settings, name) for name in _ASKED]
    return repr((seen or time_ns(), asked, settings.reading))


def _kept(problem: Problem) -> dict[str, Any]:
    """A problem as JSON can hold it, but for its parts."""
    distinct, columns, targets = problem.labels.distinct, problem.columns, problem.targets
    return {
        "name": problem.name,
        "target": problem.target,
        "distinct": None if distinct is None else distinct.tolist(),
        "m": problem.labels.m,
        "columns": columns.to_json(),
        "statistics": [x.tolist() for x in (*astuple(columns.standardizer), columns.fill)],
        "targets": None if targets is None else [x.tolist() for x in astuple(targets)],
        "checksum": problem.checksum,
        "notes": problem.notes,
    }


def _found(kept: dict[str, Any], encoded: Encoded, settings: Settings, recipe: Recipe) -> Problem:
    """The problem that ``_kept`` was made of."""
    distinct = None if kept["distinct"] is None else np.array(kept["distinct"])
    mean, scale, fill = map(np.array, kept["statistics"])
    columns = Preprocessor.from_json(kept["columns"], Standardizer(mean, scale), fill)
    targets = kept["targets"] and Standardizer(*map(np.array, kept["targets"]))
    loading = Loading(settings, recipe, kept["name"], kept["target"])
    labels = Labels(distinct, kept["m"])
    problem = loading.problem(labels, loading.classes(labels), columns, targets)
    problem.checksum = kept["checksum"]
    problem.notes = (*kept["notes"], f"the rows are those in {encoded.folder}")
    encoded.open(problem)
    return problem
