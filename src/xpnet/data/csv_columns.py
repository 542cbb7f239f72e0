"""Reads columns of a ``.csv`` file by name, a block of rows at a time.

The rules are those of ``csv_rules``, but columns that are not wanted may hold anything.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.columns import Block, WantedColumns
from xpnet.data.csv_rules import delimiter_of, is_header, open_text, parse, problem_of

Record = tuple[int, str]  # the number of its last line in the file, and its text


def csv_blocks(path: Path, wanted: WantedColumns, per_block: int) -> Iterator[Block]:
    """Yield blocks as ``read_columns.read_blocks``; an error names the line and the column."""
    with open_text(path) as file:
        records = _records(path, file)
        try:
            first = next(records, None)
            if first is None:
                raise ValueError(f"{path}: the file is empty")
            delimiter = delimiter_of(path, first[1])
            cells = next(csv.reader([first[1]], delimiter=delimiter))
            names = tuple(cell.strip() for cell in cells)
            header = is_header(names, {*wanted.features, *wanted.known, wanted.target})
            places = wanted.places(path, names if header else None, len(names))
            read = _Reader(path, wanted, delimiter, len(names), places)
            block = [] if header else [first]
            while block := block + list(islice(records, per_block - len(block))):
                yield read(block)
                block = []
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not UTF-8 text ({error.reason})") from None


@dataclass(frozen=True)
class _Reader:
    """Turns the records of one file into arrays."""

    path: Path
    wanted: WantedColumns
    delimiter: str
    width: int
    places: list[int]

    def __call__(self, records: list[Record]) -> Block:
        n = len(self.wanted.features)
        converters: dict[int | str, Any] | None = None
        if self.wanted.target is not None:
            converters = {self.places[n]: lambda cell: self.wanted.encode(cell.strip())}
        try:
            lines = [text for _, text in records]
            values = parse(lines, self.delimiter, converters, self.places)
        except ValueError as error:
            raise ValueError(self._fault(records) or f"{self.path}: {error}") from None
        widths = len({text.count(self.delimiter) for _, text in records}) > 1
        if widths or not np.isfinite(values).all():
            fault = self._fault(records)
            if fault:
                raise ValueError(fault)
        return values[:, :n], None if self.wanted.target is None else values[:, n]

    def _fault(self, records: list[Record]) -> str | None:
        """Find the first fault; say where it is."""
        n = len(self.wanted.features)
        for line, text in records:
            where = f"{self.path}, line {line}"
            cells = next(csv.reader(text.splitlines(), delimiter=self.delimiter))
            if len(cells) != self.width:
                return f"{where}: {len(cells)} cells, but the first line has {self.width}"
            for i, place in enumerate(self.places):
                number = i < n or self.wanted.encode is float
                what = problem_of(cells[place], number=number)
                if what is None and not number:
                    try:
                        self.wanted.encode(cells[place].strip())
                    except ValueError as error:
                        what = str(error)
                if what is not None:
                    return f"{where}, column {self._name(i)!r}: {what}"
        return None

    def _name(self, i: int) -> str:
        return [*self.wanted.features, str(self.wanted.target)][i]


def _records(path: Path, lines: Any) -> Iterator[Record]:
    """Yield lines that are not empty; one with an open quotation mark is joined to the next."""
    held = ""
    number = 0
    for number, line in enumerate(lines, 1):
        if '"' in line or held:
            held += line
            if held.count('"') % 2:
                continue
            line, held = held, ""
        if line.strip():
            yield number, line
    if held:
        raise ValueError(f"{path}, line {number}: a quotation mark is never closed")
