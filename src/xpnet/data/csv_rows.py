"""Rows of a ``.csv`` file, by the rules of ``xpnet.data.csv_rules``.

Opening reads the whole file once: it checks every cell, takes the statistics, and notes where each
stretch of lines begins. Rows are then read from there. A file is parsed again in every epoch:
about a second per 50 MB.
"""

from __future__ import annotations

from array import array
from io import StringIO
from pathlib import Path

import numpy as np

from xpnet.data.columns import find_target
from xpnet.data.csv_lines import stretches
from xpnet.data.csv_rules import (
    Check,
    CsvError,
    missing,
    not_a_number,
    read_cells,
    read_format,
)
from xpnet.data.epoch_order import thinned
from xpnet.data.row_source import Piece
from xpnet.data.statistics import RunningStatistics, check_number_of_texts
from xpnet.data.task import as_integers

_STRETCH = 2**16  # characters that are parsed together


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
        self._form = form = read_format(path, () if target is None else (str(target),))
        self._target = find_target(path, target, form.names, form.header)
        self.names = tuple(name for i, name in enumerate(form.names) if i != self._target)
        self.target = form.names[self._target]
        self.may_round = True, True
        self.n_features, self.dtype = len(self.names), np.dtype(np.float64)
        try:
            self._scan(None, keep)
        except CsvError as error:
            if error.column != self._target:
                raise
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
        for stretch in stretches(self._form, _STRETCH):
            if not any(line.strip("\r\n") for line in stretch.lines):
                continue
            values = self._values(stretch.lines, stretch.before, codes)
            if not len(values):
                continue
            target = values[:, self._target]
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

    # -- cells ---------------------------------------------------------------------------
    def _values(self, lines: list[str], before: int, codes: dict[str, int] | None) -> np.ndarray:
        """Return all cells of ``lines`` as finite numbers, or raise what is wrong with them."""

        def encode(cell: str) -> float:
            assert codes is not None
            if missing(cell):
                raise ValueError("a label is missing")
            return float(codes.setdefault(cell.strip(), len(codes)))

        checks: dict[int, Check] = dict.fromkeys(range(len(self._form.names)), not_a_number)
        if codes is None:
            return read_cells(self._form, lines, before, checks)
        checks[self._target] = missing
        return read_cells(self._form, lines, before, checks, {self._target: encode})

    def _piece(self, values: np.ndarray) -> Piece:
        X = np.delete(values, self._target, axis=1)
        y = values[:, self._target]
        if self._labels is not None:
            return Piece(X, self._labels[y.astype(np.int64)])
        return Piece(X, y.astype(np.int64) if self._whole else y.copy())
