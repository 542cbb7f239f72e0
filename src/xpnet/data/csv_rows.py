"""Rows of a ``.csv`` file, by the rules of ``xpnet.data.csv_rules``.

Opening reads the whole file once: it checks every cell, takes the statistics, and notes where each
stretch of lines begins. Rows are then read from there. A file is parsed again in every epoch:
about a second per 50 MB.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator
from io import StringIO
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xpnet.data.csv_rules import (
    first_fault,
    is_utf8,
    open_text,
    parse_table,
    read_format,
)
from xpnet.data.epoch_order import thinned
from xpnet.data.row_source import Piece
from xpnet.data.statistics import RunningStatistics, check_number_of_texts
from xpnet.data.task import as_integers

_STRETCH = 2**16  # characters that are parsed together


class _Stretch(NamedTuple):
    """Lines of the file: the byte they start at, how many lines are before, how many bytes."""

    offset: int
    before: int
    size: int
    lines: list[str]


class _TextTarget(Exception):
    """The target holds text."""


class CsvRows:
    """See ``row_source.RowSource``.

    Parameters
    ----------
    keep : bool
        Whether to keep all rows in memory, in ``kept``, in place of their statistics.

    Raises
    ------
    ValueError
        Naming the file, the line and the column.
    OSError
        The file cannot be read.
    """

    def __init__(self, path: Path, target: str | int | None, keep: bool = False) -> None:
        self.name, self._path = str(path), path
        self._form = form = read_format(path, target)
        self.names = tuple(name for i, name in enumerate(form.names) if i != form.target)
        self.target = form.names[form.target]
        self.n_features, self.dtype = len(self.names), np.dtype(np.float64)
        try:
            self._scan(None, keep)
        except _TextTarget:
            self._scan({}, keep)
        self.n = int(self._first[-1])
        self.grain = self.n // (len(self._first) - 1)
        labels = np.empty(1, np.int64) if self._labels is None else self._labels
        self.label_bytes = labels.dtype.itemsize

    def read(self, start: int, stop: int) -> Piece:
        i = int(np.searchsorted(self._first, start, side="right")) - 1
        j = int(np.searchsorted(self._first, stop, side="left"))
        with self._path.open("rb") as file:
            file.seek(self._offsets[i])
            raw = file.read(int(self._offsets[j] - self._offsets[i]))
        first, rows = int(self._first[i]), int(self._first[j] - self._first[i])
        lines = StringIO(raw.decode("utf-8", "surrogateescape"), newline="").readlines()
        before = int(self._before[i])
        if len(lines) == rows:  # a line each: only those that are wanted
            lines, before = lines[start - first : stop - first], before + start - first
            rows, first = stop - start, start
        values = self._values(lines, before, self._codes)
        if len(values) != rows:
            raise ValueError(f"{self.name}: changed while it was being read")
        return self._piece(values[start - first : stop - first])

    def bounds(self, block: int) -> np.ndarray:
        return thinned(self._first, block)

    def close(self) -> None:
        pass

    # -- the pass at the beginning -------------------------------------------------------
    def _scan(self, codes: dict[str, int] | None, keep: bool) -> None:
        """Read the whole file; ``codes`` numbers the labels if they are text."""
        self._codes, self._labels, self._whole = codes, None, codes is None
        measuring = RunningStatistics()
        self.kept: list[Piece] = []
        offsets, before, first = array("q"), array("q"), array("q", [0])
        end = 0
        for stretch in self._stretches():
            if not any(line.strip("\r\n") for line in stretch.lines):
                continue
            values = self._values(stretch.lines, stretch.before, codes)
            if not len(values):
                continue
            target = values[:, self._form.target]
            if codes is not None:
                if self._labels is None or len(codes) > len(self._labels):
                    check_number_of_texts(len(codes))
                    self._labels = np.asarray(list(codes))
            elif self._whole:
                self._whole = as_integers(target).dtype.kind == "i"
            piece = self._piece(values)
            if keep:
                self.kept.append(piece)
            else:
                measuring.add(*piece)
            offsets.append(stretch.offset)
            before.append(stretch.before)
            first.append(first[-1] + len(values))
            end = stretch.offset + stretch.size
        if first[-1] == 0:
            raise ValueError(f"{self.name}: no rows of data")
        offsets.append(end)
        self._offsets, self._before, self._first = (
            np.frombuffer(x, np.int64) for x in (offsets, before, first)
        )
        self.measured = None if keep else measuring.result()

    def _stretches(self) -> Iterator[_Stretch]:
        """Yield the lines after the header, some at a time; a row is never cut."""
        with open_text(self._path, errors="surrogateescape") as file:
            # the byte-order mark is gone from the text, not from the file
            offset = 3 if self._starts_with_mark() else 0
            before, first = 0, ""
            for first in file:
                if first.strip():
                    break
                offset, before = offset + _bytes(first), before + 1
            rest: Iterator[str] = file
            if self._form.header:
                offset, before = offset + _bytes(first), before + 1
            else:
                rest = chain([first], file)
            count = max(_STRETCH // max(len(first), 1), 16)
            while lines := list(islice(rest, count)):
                if any('"' in line for line in lines):
                    lines = self._whole_rows(lines, rest, before)
                size = _bytes("".join(lines))
                yield _Stretch(offset, before, size, lines)
                offset, before = offset + size, before + len(lines)

    def _starts_with_mark(self) -> bool:
        with self._path.open("rb") as file:
            return file.read(3) == b"\xef\xbb\xbf"

    def _whole_rows(self, lines: list[str], rest: Iterator[str], before: int) -> list[str]:
        """Add lines until the last row is complete: a quoted cell may span many."""
        taken = list(lines)

        def fed() -> Iterator[str]:
            yield from lines
            for line in rest:
                taken.append(line)
                yield line

        reader = csv.reader(fed(), delimiter=self._form.delimiter)
        try:
            for _ in reader:
                if reader.line_num >= len(lines):
                    break
        except csv.Error as error:
            where = f"{self.name}, line {before + reader.line_num}"
            raise ValueError(f"{where}: {error}") from None
        return taken

    # -- cells ---------------------------------------------------------------------------
    def _values(self, lines: list[str], before: int, codes: dict[str, int] | None) -> np.ndarray:
        """Return all cells of ``lines`` as finite numbers, or raise what is wrong with them."""
        refused: ValueError | None = None
        try:
            if not is_utf8("".join(lines)):
                raise ValueError("not UTF-8 text")
            values = parse_table(self._form, lines, codes)
            if np.isfinite(values).all():
                return values
        except ValueError as error:
            refused = error
        fault = first_fault(self._form, lines, before, text=codes is not None)
        if refused and codes is None and fault is not None and fault.in_target:
            raise _TextTarget
        said = f"{self.name}: {refused or 'a value is not finite'}"
        raise ValueError(said if fault is None else fault.message) from None

    def _piece(self, values: np.ndarray) -> Piece:
        X = np.delete(values, self._form.target, axis=1)
        y = values[:, self._form.target]
        if self._labels is not None:
            return Piece(X, self._labels[y.astype(np.int64)])
        return Piece(X, y.astype(np.int64) if self._whole else y.copy())


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
