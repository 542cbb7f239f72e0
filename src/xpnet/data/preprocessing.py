"""The columns of a table as the numbers that a net takes, as fitted on training rows in one pass.

``Encoding`` says what becomes of a column. Numbers and the parts of dates have the training rows'
median where they are missing, and are standardised; columns of 0 and 1 stay 0 and 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.data.column import Column, counted, listed
from xpnet.data.encoding import PARTS, Encoding, converted, numbers_of
from xpnet.data.standardizer import RunningMoments, Standardizer

Batch = Mapping[str, Column]
_SAMPLE, _CELLS = 100_000, 2**24  # rows that medians are taken from, and their cells, at most
_MOST_TEXTS, _MOST_CATEGORIES = 100_000, 256
_OTHERS = 20  # rows that have the categories "other", at least
_DISTINCT = 0.75  # texts that are more of the rows than this are an identifier or free text
_ID = re.compile("(^|[^A-Za-z])[Ii][Dd]$|[a-z]I[Dd]$")
_TITLES = {"number": "numbers", "bool": "true/false", "category": "categories", "date": "dates",
           "flag": "one value, or missing"}  # fmt: skip


@dataclass(frozen=True)
class PreprocessorSettings:
    """What the user decides, and what the reader knows.

    Attributes
    ----------
    kinds : mapping of column to one of ``encoding.KINDS``
        Where the column's own kind is not wanted.
    robust : bool
        Scale numbers by median and interquartile range (half the range where that is 0), and
        squash outliers smoothly.
    row_numbers : tuple of str
        Columns that only number the rows.
    seed : int
        Of the sample of rows that medians and quartiles are taken from.
    """

    kinds: Mapping[str, str] = field(default_factory=dict)
    robust: bool = False
    row_numbers: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True)
class Preprocessor:
    """Turns batches of columns into rows of numbers.

    Attributes
    ----------
    columns : tuple of Encoding
        Of the columns that are used, in the order of the table.
    standardizer : Standardizer
        Of the encoded columns (n_x,); mean 0 and scale 1 where they are 0 and 1.
    fill : float64 array (n_x,)
        What stands in the encoded columns where a cell is missing; NaN leaves it missing.
    robust : bool
        Whether standardised numbers z are squashed to z / sqrt(1 + (z / 3)^2).
    described : tuple of str
        Lines for the user: the columns by kind, and those left out with the reason.
    """

    columns: tuple[Encoding, ...]
    standardizer: Standardizer
    fill: np.ndarray
    robust: bool = False
    described: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n_x = len(self.names)
        for what in (self.fill, self.standardizer.mean, self.standardizer.scale):
            if what.shape != (n_x,):
                raise ValueError(f"{n_x} encoded columns, but statistics of shape {what.shape}")

    @classmethod
    def fit(
        cls, batches: Iterable[Batch], settings: PreprocessorSettings | None = None
    ) -> Preprocessor:
        """Measure the columns of training rows in one pass.

        A ValueError says that a column does not fit its kind, or none is left to learn from.
        """
        fitting = _Fitting(settings or PreprocessorSettings())
        for batch in batches:
            fitting.add(batch)
        return fitting.result()

    @classmethod
    def identity(
        cls, names: Iterable[str], standardizer: Standardizer, fill: np.ndarray | None = None
    ) -> Preprocessor:
        """Columns of numbers as they are, with ``fill`` where they are missing."""
        columns = tuple(Encoding(name, "number") for name in names)
        return cls(columns, standardizer, np.full(len(columns), np.nan) if fill is None else fill)

    @classmethod
    def from_json(cls, saved: Any, standardizer: Standardizer, fill: np.ndarray) -> Preprocessor:
        """What ``to_json`` gave, and the arrays; a ValueError if they are damaged."""
        try:
            columns = tuple(
                Encoding(**entry | {"parts": tuple(entry.get("parts", ()))})
                for entry in saved["encodings"]
            )
            return cls(columns, standardizer, fill, saved["robust"] is True)
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(f"what is saved of the columns is damaged: {error}") from None

    def to_json(self) -> dict[str, Any]:
        """What a model file says of the columns, without what ``Encoding`` has by default."""
        encodings = [
            {f.name: x for f in fields(column) if (x := getattr(column, f.name)) != f.default}
            for column in self.columns
        ]
        return {"encodings": encodings, "robust": self.robust}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the encoded columns, n_x of them."""
        return tuple(name for column in self.columns for name in column.names)

    @cached_property
    def sources(self) -> dict[str, str]:
        """The columns of the table, and what each holds there; "unused" where it is constant."""
        still = {name for name, scale in zip(self.names, self.standardizer.scale) if scale == 0}
        unused = {c.name for c in self.columns if c.kind == "number" and {*c.names} <= still}
        return {c.name: "unused" if c.name in unused else c.storage for c in self.columns}

    def encode(self, batch: Batch) -> np.ndarray:
        """Encode k rows as E (k, n_x): float32 if all numbers are, else float64.

        A ValueError names a column that holds what its kind cannot be, or is not there.
        """
        k = len(next(iter(batch.values())))
        unused = Column(np.zeros(k, np.float32), np.zeros(k, bool))
        batch = {name: unused if kind == "unused" else batch[name]
                 for name, kind in self.sources.items()}  # fmt: skip
        if self.plain and all(c.kind == "number" for c in self.columns):  # perhaps many thousands
            cells = [batch[c.name] for c in self.columns]
            if all(c.texts is None and c.values.dtype.kind in "fi" for c in cells):
                X = np.array([c.values for c in cells], _dtype(cells)).T
                X[np.array([c.missing for c in cells]).T] = np.nan
                return np.ascontiguousarray(self.encode_rows(X))
        read = [(c, converted(batch[c.name], c.kind, c.name)) for c in self.columns]
        E = np.zeros((k, len(self.names)), _dtype(column for _, column in read))
        at = 0
        for encoding, column in read:
            end = at + len(encoding.names)
            encoding.write(column, E[:, at:end], self.fill[at:end])
            at = end
        return E

    @cached_property
    def plain(self) -> bool:
        """Whether each column of the table, a number or a bool, is one of the encoded columns."""
        return all(c.names == (c.name,) for c in self.columns)

    def encode_rows(self, X: np.ndarray) -> np.ndarray:
        """Encode rows X (k, n) of numbers, NaN where one is missing; see ``encode``."""
        others = any(c.kind not in ("number", "bool") for c in self.columns)
        if others or X.ndim != 2 or X.shape[1] != len(self.columns):
            takes = listed([f"{name} ({kind})" for name, kind in self.sources.items()])
            raise ValueError(
                f"X has rows of shape {X.shape[1:]}, but the model takes the columns {takes}"
                + ": pass a data frame, with an example in each row" * others
            )
        missing = np.isnan(X)
        if self.plain:
            return np.where(missing, self.fill, X).astype(X.dtype) if missing.any() else X
        cells = (Column(x, no) for x, no in zip(X.T, missing.T, strict=True))
        return self.encode(dict(zip(self.sources, cells, strict=True)))

    def standardize(self, E: np.ndarray, dtype: type | np.dtype | None = None) -> np.ndarray:
        """Standardise encoded rows E (k, n_x); the result has ``dtype``, E's own if left out."""
        if not self.robust:
            return self.standardizer.apply(E, dtype)
        Z = self.standardizer.apply(E, np.float64)
        Z[:, self.squashed] /= np.hypot(1, Z[:, self.squashed] / 3)
        return Z.astype(E.dtype if dtype is None else dtype, copy=False)

    @property
    def squashed(self) -> np.ndarray:
        """Which encoded columns (n_x,) are numbers, which ``robust`` is about."""
        pairs = [(c, name) for c in self.columns for name in c.names]
        return np.array([c.kind == "number" and name == c.name for c, name in pairs])


def _dtype(columns: Iterable[Column]) -> np.dtype:
    """The dtype for such columns side by side."""
    numbers = [c.values.dtype for c in columns if c.kind == "number"]
    return np.result_type(np.float32, *numbers)


class _Fitting:
    """What is measured of batches of training rows."""

    def __init__(self, settings: PreprocessorSettings) -> None:
        self.settings = settings
        self.n = self.width = 0
        self.kinds: dict[str, str] = {}  # of the columns that may be used
        self.storage: dict[str, str] = {}
        self.places: dict[str, slice] = {}  # of a column's numbers among all numbers
        self.counts: dict[str, Counter[str]] = {}
        self.missing: Counter[str] = Counter()
        self.moments, self.sample = RunningMoments(), _Sample(settings.seed)
        self.dropped = dict.fromkeys(settings.row_numbers, "row numbers")

    def _begin(self, batch: Batch) -> None:
        """Decide on the kinds of the columns, by the first batch."""
        chosen = self.settings.kinds
        self.dropped = {name: why for name, why in self.dropped.items() if name not in chosen}
        for name, column in batch.items():
            if name in self.dropped:
                continue
            storage = column.kind
            kind = chosen.get(name, "category" if storage == "text" else storage)
            if kind == "category":
                self.counts[name] = Counter()
                whole = storage == "number" and column.values.dtype.kind == "i"
                storage = "whole" if whole else storage  # all digits count
            begin = self.width
            self.width += {"category": 0, "date": len(PARTS)}.get(kind, 1)
            self.places[name] = slice(begin, self.width)
            self.kinds[name], self.storage[name] = kind, storage

    def add(self, batch: Batch) -> None:
        if not self.kinds:
            self._begin(batch)
        columns = {name: converted(batch[name], kind, name) for name, kind in self.kinds.items()}
        k = len(next(iter(batch.values()), ()))
        X = np.zeros((k, self.width), _dtype(columns.values()))
        empty = np.zeros(X.shape, bool)
        for name, column in columns.items():
            missing = column.absent
            self.missing[name] += int(missing.sum())
            if name in self.counts:
                self._count(name, column[~missing])
                continue
            there = self.places[name]
            X[:, there] = numbers_of(column)
            if missing.any():
                empty[missing, there] = True
        self.n += k
        if self.width:
            any_empty = empty.any()
            if any_empty:
                X[empty] = 0
            self.moments.add(X, empty if any_empty else None)
            self.sample.add(X, empty)

    def _count(self, name: str, column: Column) -> None:
        texts, codes = column.as_texts()
        found = np.bincount(codes, minlength=len(texts)).tolist()
        counts = self.counts[name]
        counts.update({text: n for text, n in zip(texts, found, strict=True) if n})
        if len(counts) > _MOST_TEXTS and name not in self.settings.kinds:
            self.dropped[name] = f"identifier or free text, more than {_MOST_TEXTS:,} different"
            del self.kinds[name], self.counts[name]

    def result(self) -> Preprocessor:
        if self.n == 0:
            raise ValueError("no rows of data to learn from")
        low, median, high = self.sample.quartiles(self.width)
        for name, there in self.places.items():
            if self.kinds.get(name) == "bool":
                median[there] = median[there] > 0.5
        found = self.moments.result(median)
        mean, scale = found.mean.copy(), found.scale.copy()
        half = self.moments.high / 2 - self.moments.low / 2  # of the range, which may overflow
        columns: list[Encoding] = []
        order: list[int] = []  # of the encoded columns among all numbers; -1: 0 and 1
        for name, kind in self.kinds.items():
            own = range(self.width)[self.places[name]]
            varies = [i for i in own if half[i] > 0]
            if kind == "number" and not (varies or self.missing[name]):
                value = f"{found.mean[own[0]]:.17g}"
                self.dropped[name] = f"constant, {value} as float64"  # its place and scale 0 stay
                varies = [*own]
            encoding = self._encoding(name, varies)
            if isinstance(encoding, str):
                self.dropped[name] = encoding
                continue
            if kind == "bool":
                mean[varies], scale[varies] = 0.0, 1.0
            elif kind == "number" and self.settings.robust:
                with np.errstate(over="ignore"):
                    width = (high - low)[varies]
                mean[varies] = median[varies]
                scale[varies] = np.where(width > 0, width, half[varies])
            columns.append(encoding)
            order += [*varies, *[-1] * (len(encoding.names) - len(varies))]
        if all(c.name in self.dropped for c in columns):
            why = "; ".join(f"{name}: {reason}" for name, reason in self.dropped.items())
            raise ValueError(
                f"no column is left to learn from ({why:.300}); --column NAME=KIND keeps one"
            )
        mean, scale, fill = (
            np.append(a, x)[order] for a, x in ((mean, 0), (scale, 1), (median, 0))
        )
        statistics, robust = Standardizer(mean, scale), self.settings.robust
        return Preprocessor(tuple(columns), statistics, fill, robust, self._described(columns))

    def _encoding(self, name: str, varies: list[int]) -> Encoding | str:
        """The encoding of a column, or why there is none."""
        kind, storage = self.kinds[name], self.storage[name]
        flag, present = self.missing[name] > 0, self.n - self.missing[name]
        parts: list[str] = [PARTS[i - self.places[name].start] for i in varies if kind == "date"]
        other = False
        if present == 0:
            return "missing in every row"
        if kind == "number" and name not in self.settings.kinds and _ID.search(name):
            seen = self.sample.rows[0][:, varies]
            if len(np.unique(seen)) == seen.size > 0 and (seen == np.floor(seen)).all():
                return "identifier, a whole number of its own for each row"
        if kind == "category":
            counts = self.counts[name]
            if name not in self.settings.kinds and len(counts) > max(1, _DISTINCT * present):
                rows = counted(present, "row")
                return f"identifier or free text, {len(counts):,} different in {rows}"
            # A category of few rows teaches little of its own, and "other" of few rows little of
            # what training never saw.
            least = min(10, max(2, present // 1000))
            if sum(count for count in counts.values() if count < least) < _OTHERS:
                least = 1
            parts = sorted(counts, key=lambda text: (-counts[text], text))[:_MOST_CATEGORIES]
            parts = sorted(text for text in parts if counts[text] >= least)
            other = len(parts) < len(counts)
        if varies or len(parts) + other > 1:
            return Encoding(name, kind, storage, tuple(parts), other, flag)
        return Encoding(name, "category", storage, flag=True) if flag else "constant"

    def _described(self, columns: list[Encoding]) -> tuple[str, ...]:
        """A line for each kind of column, and one for those left out."""
        groups: dict[str, list[str]] = {title: [] for title in _TITLES.values()}
        for c in columns:
            said = [f"{len(c.parts)} and others" if c.other else f"{len(c.parts)}"] * bool(c.parts)
            if c.kind == "date":
                said = [*dict.fromkeys(part.split()[0] for part in c.parts)]
            said += [f"{self.missing[c.name]:,} missing"] * c.flag
            title = _TITLES[c.kind if c.kind != "category" or c.parts or c.other else "flag"]
            if c.name not in self.dropped:
                groups[title].append(f"{c.name} ({', '.join(said)})" if said else c.name)
        named = {name or "the unnamed column": why for name, why in self.dropped.items()}
        groups["left out"] = [f"{name} ({why})" for name, why in named.items()]
        return tuple(f"{title}: {listed(names, 20)}" for title, names in groups.items() if names)


class _Sample:
    """Some of all rows, the same for the same seed: those with the smallest random numbers."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.keys: list[np.ndarray] = []
        self.rows: list[np.ndarray] = []
        self.n, self.below = 0, 1.0

    def add(self, X: np.ndarray, empty: np.ndarray) -> None:
        """Add rows X (k, n); ``empty`` cells are NaN."""
        most = min(_SAMPLE, max(1, _CELLS // X.shape[1]))
        for i in range(0, len(X), most):
            keys = self.rng.random(min(most, len(X) - i))
            rows = i + np.flatnonzero(keys < self.below)
            self.keys.append(keys[rows - i])
            self.rows.append(np.where(empty[rows], np.nan, X[rows]))
            self.n += len(rows)
            if self.n > 2 * most:
                self._prune(most)

    def _prune(self, most: int) -> None:
        keys, rows = np.concatenate(self.keys), np.concatenate(self.rows)
        chosen = np.argpartition(keys, most)[:most] if len(keys) > most else slice(None)
        self.keys, self.rows = [keys[chosen]], [rows[chosen]]
        self.n, self.below = len(self.keys[0]), self.keys[0].max()

    def quartiles(self, n: int) -> np.ndarray:
        """Lower quartile, median and upper quartile of n columns, (3, n); 0 where all is NaN."""
        if n == 0:
            return np.empty((3, 0))
        self._prune(min(_SAMPLE, max(1, _CELLS // n)))
        rows = np.sort(self.rows[0].astype(np.float64).T, axis=1)  # NaN comes last
        last = np.maximum(np.count_nonzero(~np.isnan(rows), axis=1) - 1, 0)
        at = np.array([[0.25], [0.5], [0.75]]) * last  # (3, n)
        below, above = (np.take_along_axis(rows.T, i.astype(int), 0) for i in (at, np.ceil(at)))
        return np.nan_to_num(below * (1 - at % 1) + above * (at % 1))
