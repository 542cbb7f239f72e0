"""Reads the data of ``xpnet train``: into memory, or encoded onto the disk if it is too much."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, replace
from hashlib import sha256
from math import inf
from pathlib import Path
from time import time_ns
from typing import Any

import numpy as np

from xpnet.cli.encoded import Encoded
from xpnet.cli.model import rows_at_a_time
from xpnet.cli.options import require
from xpnet.cli.problem import Problem, unlabelled
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
from xpnet.distributed import ALONE, Ranks
from xpnet.distributed.launcher import local_size

# What encoded rows depend on besides the files and how they are read.
_ASKED = ("target", "column", "ignore", "robust", "seed", "dtype")
_NOT_OF_DIGITS = {"target": "have their labels", "stream": "are in memory",
                  "column": "are numbers", "ignore": "are numbers"}  # fmt: skip
# Columns and their batches, the training part cut out of them, float64 copies while they are
# encoded and standardised, and what the net is given.
_COPIES = 10
_MANY = 100  # refused: more classes than this that are more than half of the examples
# How a format of dates is told: %d/%m/%Y is DD/MM/YYYY.
_DATE = str.maketrans({"%": "", "d": "DD", "m": "MM", "Y": "YYYY"})
Batch = dict[str, Column]


def load(settings: Settings, recipe: Recipe, encoded: Encoded, ranks: Ranks = ALONE) -> Problem:
    """Read DATA, or the digits that come with the package; rows that are streamed go to disk.

    Of several processes each reads what fits in memory; else the first one measures the rows, and
    each encodes those of its row groups, or the first one all.

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
    fingerprint = _fingerprint(settings, recipe.held_out)
    found = None
    if settings.resume and settings.stream is not False and (kept := encoded.find(fingerprint)):
        found = _found(kept, encoded, settings, recipe)
        if (found.classes is None) != (kept["targets"] is not None):
            found = None
    if ranks.decide(found is not None):
        ranks = ALONE  # nobody waits for a process that does not find them
    if found is not None:
        return found
    with open_table(path, settings.reading, target=settings.target) as reader:
        if ranks.rank == 0:
            encoded.remove()
        target = reader.answers()
        if {*reader.names} <= {target, *reader.row_numbers}:
            raise ValueError(f"{path}: no column is left to learn from")
        name = reader.name if settings.piped else path.name
        loading = Loading(settings, recipe, name, target, reader)
        cells = (reader.n or 0) * len(reader.names) * min(ranks.size, local_size())
        in_memory = ranks.decide(settings.stream is None and fits(cells))
        if settings.stream is False or in_memory:
            batches = list(reader.batches())
            names = list(batches[0])
            return loading.in_memory({n: Column.join([b.pop(n) for b in batches]) for n in names})
        full = recipe.fit["batch_size"] is None
        require(not full, "--batch-size", f"{path.name} is streamed, in minibatches")
        problem = loading.on_disk(reader, encoded, ranks)
        if ranks.rank == 0:
            encoded.finish(fingerprint, _kept(problem))
        return problem


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

    def on_disk(self, reader: TableReader, encoded: Encoded, ranks: Ranks = ALONE) -> Problem:
        """The same of a table that is read twice: to measure it, and to encode it.

        The first rank measures, in the order of the rows; each encodes what lies between two cuts.
        One that does not see the first one's files encodes all for itself, the first for the rest.
        """
        n, r = reader.n or 0, ranks.rank
        split = HeldOut.of(n, self.share, self.settings.seed) if self.share else None
        cuts, found = reader.cuts(ranks.size), None
        if r == 0:
            problem, places = self.measured(reader, split, cuts)
            found = encoded.begin(problem, places[-1]), problem, places
        ranks.meet()
        begun, problem, places = ranks.decide(found)
        there = r == 0 or encoded.find(begun) is not None
        i, j = r, r + 1
        if not ranks.agree(there):
            i, j = 0, 0 if r and there else ranks.size
        if not there:
            encoded.folder = encoded.folder.with_name(f"{encoded.folder.name}-{r}")
            encoded.begin(problem, places[-1])
        (first, first_held), (last, last_held) = places[i], places[j]
        other = self.held_out if isinstance(self.held_out, Path) and i == 0 < j else None
        columns, dtype = problem.columns, np.dtype(problem.dtype)
        with (
            encoded.writing("training", first, last) as add,
            encoded.writing("validation", first_held, None if other else last_held) as add_held,
        ):
            for table, label, held, _ in self.batches(reader, split, (cuts[i], cuts[j])):
                Z = columns.standardize(columns.encode(table), dtype)
                y = problem.answers(problem.numbered(label))
                add(Z[~held], y[~held])
                add_held(Z[held], y[held])
            for E, y in self.other(other, problem) if other else ():
                add_held(columns.standardize(E, dtype), problem.answers(y))
        ranks.meet()
        problem = ranks.decide(self.told(problem))
        encoded.open(problem)
        return problem

    def measured(
        self, reader: TableReader, split: HeldOut | None, cuts: Sequence[int]
    ) -> tuple[Problem, list[tuple[int, int]]]:
        """The problem without its parts, and how many rows of each stand before the cuts."""
        seen, targets = RunningLabels(), RunningMoments()
        counts = np.zeros((2, len(cuts)), np.int64)

        def training() -> Iterator[Batch]:
            for table, label, held, rows in self.batches(reader, split):
                counts[:] += [np.searchsorted(rows[of], cuts) for of in (~held, held)]
                seen.add(y := labels_of(label, self.target))
                if y.dtype.kind != "U":
                    targets.add(y[~held, None])
                yield {name: column[~held] for name, column in table.items()}

        columns = self.fit(training())
        distinct = None if seen.distinct is None else as_integers(seen.distinct)
        labels = Labels(distinct, int(counts[:, -1].sum()))
        scaled = targets.result() if targets.n else None
        problem = self.problem(labels, self.classes(labels), columns, scaled)
        return problem, [(m, held) for m, held in counts.T.tolist()]

    def classes(self, labels: Labels) -> np.ndarray | None:
        """The classes (k,), or None where the task is a regression.

        With ``--task auto`` the model decides where it can: linear means regression, logistic means
        classification. Otherwise the labels do. What cannot be meant is a UsageProblem, labels that
        do not fit the task are a ValueError.
        """
        model, asked, holds = self.settings.model, self.settings.task, f"the target {self.target!r}"
        wanted = {"linear": "regression", "logistic": "classification"}.get(model)
        task = wanted or labels.task if asked == "auto" else asked
        require(wanted in (None, task), "--model", f"{model} is for {wanted}, not for {task}")
        if task == "regression":
            if labels.kind in "Ub":
                instead = "; for classes use --model logistic" if wanted else ""
                raise ValueError(f"{holds} holds {labels.described}, not numbers{instead}")
            return None
        classes = labels.distinct
        if classes is None or len(classes) > max(_MANY, labels.m // 2):
            k = "very many" if classes is None else f"{len(classes):,}"
            what = "text" if labels.kind == "U" else "numbers"
            said = f"{what} with {k} distinct values in {labels.m:,} rows: too many to be classes"
            said += ", for numbers use --task regression" * (what == "numbers")
        elif len(classes) == 1:
            said = f"one class only, {classes[0]!s}"
        elif labels.kind == "f" and np.abs(classes).max() > 2.0**53:
            said = "numbers beyond 2**53, not exact: write classes as text"
        else:
            return classes
        raise ValueError(f"{holds} holds {said}")

    def problem(
        self,
        labels: Labels,
        classes: np.ndarray | None,
        columns: Preprocessor,
        targets: Standardizer | None,
    ) -> Problem:
        """The problem without its parts."""
        targets, dtype = targets if classes is None else None, self.settings.dtype
        return Problem(name=self.name, target=self.target, labels=labels, classes=classes,
                       columns=columns, targets=targets, dtype=dtype)  # fmt: skip

    def told(self, problem: Problem) -> Problem:
        """The problem with its checksum, and what to tell of it."""
        problem.checksum = self.digest.hexdigest()[:16]
        if self.reader is not None:
            lost = unlabelled(self.unlabelled, self.target)
            forms = {n: k[5:] for n, k in self.reader.kinds.items() if k.startswith("date %")}
            problem.notes = [
                self.reader.described,
                *problem.columns.described,
                *(
                    f"{listed([n])}: dates are read as {k.translate(_DATE)}"
                    for n, k in forms.items()
                ),
                *filter(None, [lost]),
            ]
        return problem

    def fit(self, batches: Iterable[Batch]) -> Preprocessor:
        """Fit the columns on the training part; the model keeps how dates are written."""
        reader, robust, seed = self.reader, self.settings.robust, self.settings.seed
        if reader is None:
            return Preprocessor.fit(batches, PreprocessorSettings(robust=robust))
        kinds = {name: kind for name, kind in self.settings.kinds.items() if name != self.target}
        rows = tuple(reader.row_numbers)
        found = Preprocessor.fit(batches, PreprocessorSettings(kinds, robust, rows, seed))
        dates = {name: kind for name, kind in reader.kinds.items() if kind.startswith("date ")}
        written = (replace(c, storage=dates.get(c.name, c.storage)) for c in found.columns)
        return replace(found, columns=tuple(written))

    def labelled(self, table: Batch, again: bool = False) -> tuple[Batch, Column, np.ndarray]:
        """Part labels from features, without the rows whose label is missing; and which stay."""
        for name, column in () if again else table.items():  # the checksum has them already
            there = ~column.absent
            said = f"{name} {column.values.dtype.str} {column.texts}"
            self.digest.update(said.encode() + there.tobytes() + column.values[there].tobytes())
        table, label, there = labelled(table, self.target)
        self.unlabelled += 0 if again else len(there) - len(label)
        return table, label, there

    def batches(
        self, reader: TableReader, split: HeldOut | None, part: tuple[int, ...] = ()
    ) -> Iterator[tuple[Batch, Column, np.ndarray, np.ndarray]]:
        """Read rows with labels, of a ``part`` again: features, labels, who is held out, where."""
        start = part[0] if part else 0
        for read in reader.batches(rows=rows_at_a_time(len(reader.names)), part=part):
            table, label, there = self.labelled(read, bool(part))
            held = np.zeros(len(there), bool)
            if split is not None:
                first, last = (split.before(i, True) for i in (start, start + len(there)))
                for a, b in split.ranges(first, last, True):
                    held[a - start : b - start] = True
            rows = start + np.flatnonzero(there)
            start += len(there)
            if len(label):
                yield table, label, held[there], rows

    def other(self, path: Path, problem: Problem) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Read a validation file: encoded rows and answers, a batch at a time."""
        target, classes = self.target, problem.classes
        kinds = problem.columns.sources | {target: "number" if classes is None else "text"}
        row, labelled = 0, False
        with open_table(path, self.settings.reading, kinds=kinds, target=target) as reader:
            for read in reader.batches(rows=rows_at_a_time(len(reader.names))):
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


# -- memory ------------------------------------------------------------------------------
def fits(cells: int) -> bool:
    """Whether training on so many cells at once leaves the machine room; true if unknown."""
    return _COPIES * 8 * cells <= available()


def available() -> float:
    """Bytes that this process may still take; infinite where nobody says."""
    room = inf
    with suppress(AttributeError, OSError, ValueError):
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # half of all there is
    with suppress(OSError, ValueError):  # of Linux, such as "MemAvailable:  123456 kB"
        said = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
        room = 1024 * int(said.partition("kB")[0])
    with suppress(OSError, ValueError):  # of cgroup v2, where "max" is no limit
        most, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
        room = min(room, int(most.read_text()) - int(used.read_text()))
    return max(0, room)


# -- rows on disk ------------------------------------------------------------------------
def _fingerprint(settings: Settings, held_out: float | Path) -> str:
    """What the encoded rows depend on, before they are read; a pipe's never come again."""
    given = [path for path in (settings.data, held_out) if isinstance(path, Path)]
    files = [f for p in given for f in ([p] if p.is_file() else sorted(p.rglob("*.parquet")))]
    found = [(str(p.resolve()), p.stat()) for p in files]
    seen = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]
    asked = [getattr(settings, name) for name in _ASKED]
    share = None if isinstance(held_out, Path) else held_out
    return repr((seen or time_ns(), share, asked, settings.reading))


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
    problem.notes = [*kept["notes"], f"the rows are those in {encoded.folder}"]
    encoded.open(problem)
    return problem
