"""The rules by which ``.csv`` and ``.tsv`` files are read, and messages for files that break them.

NumPy's C reader does the work. Only when it refuses lines, or finds a value that is not finite,
are they read again, cell by cell, to say which line and column is at fault.

- UTF-8, one example a row. Cells are separated by commas; where the first line has none, by
  semicolons or tabs. In a ``.tsv`` file they are separated by tabs. Cells may be quoted with ``"``.
  Empty lines are skipped.
- The first line is a header if none of its cells is a number, or if one of its cells is the
  target's name. Without a header the columns are named by their index, "0", "1", ....
- Every column but the target holds finite numbers. The target holds numbers, or text if any of
  its cells is not a number.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

import numpy as np


@dataclass(frozen=True)
class CsvFormat:
    """How a file is read: its delimiter, whether it has a header, names of the columns."""

    path: Path
    delimiter: str
    header: bool
    names: tuple[str, ...]

    def column(self, index: int) -> str:
        """Name of a column for a message."""
        return f"column {self.names[index]!r}" if self.header else f"column {index} (from 0)"


class CsvError(ValueError):
    """What is wrong with a file, and the index of the column if the reader refused a cell of it."""

    def __init__(self, message: str, column: int | None = None) -> None:
        super().__init__(message)
        self.column = column


Check = Callable[[str], str | None]  # what is wrong with a cell; None if it is fine


def read_format(path: Path, known: Collection[str | None]) -> CsvFormat:
    """Read the format from the first line that is not empty.

    It holds names if none of its cells is a number, or if one of them is a ``known`` name.
    """
    with open_text(path) as lines:
        numbered = enumerate(lines, 1)
        number, line = next((pair for pair in numbered if pair[1].strip()), (0, ""))
    if not line:
        raise ValueError(f"{path}: the file is empty")
    if not is_utf8(line):
        raise ValueError(f"{path}, line {number}: not UTF-8 text")
    delimiter = next((d for d in ",;\t" if d in line), ",")
    if path.suffix.lower() == ".tsv":
        delimiter = "\t"
    cells = tuple(cell.strip() for cell in next(csv.reader([line], delimiter=delimiter)))
    words = [cell for cell in cells if not _is_number(cell)]
    header = len(words) == len(cells) or any(word in known for word in words)
    names = cells if header else tuple(str(i) for i in range(len(cells)))
    return CsvFormat(path, delimiter, header, names)


def read_cells(
    form: CsvFormat,
    lines: list[str],
    before: int,
    checks: Mapping[int, Check],
    converters: dict[Any, Any] | None = None,
    columns: list[int] | None = None,
) -> np.ndarray:
    """Return cells as finite float64 (m, columns).

    Parameters
    ----------
    lines
        Of the file, without the header.
    before : int
        How many lines of the file stand before them.
    checks : mapping of int to function
        The check of each column that is wanted, for messages.
    converters : mapping of int to function, optional
        From the text of a cell to its number, by column.
    columns : list of int, optional
        The columns to return, all if left out.

    Raises
    ------
    CsvError
        Naming the file, the line and the column.
    """
    width, refused = len(form.names), ""
    try:
        if not is_utf8("".join(lines)):
            raise ValueError("not UTF-8 text")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "input contained no data"
            values = np.loadtxt(
                lines,
                dtype=np.float64,
                delimiter=form.delimiter,
                comments=None,
                quotechar='"',
                usecols=columns,
                converters=converters,
                ndmin=2,
            )
        if columns is None:
            fits = not values.size or values.shape[1] == width
        else:
            cuts = (line.count(form.delimiter) for line in lines if line.strip("\r\n"))
            fits = all(n == width - 1 for n in cuts)
        if fits and np.isfinite(values).all():
            return values
    except ValueError as error:
        refused = str(error)
    fault = _first_fault(form, lines, before, checks)
    if fault is None and refused:
        raise CsvError(f"{form.path}: {refused}")
    if fault is None:
        return values
    if not refused:
        fault.column = None
    raise fault


def _first_fault(
    form: CsvFormat, lines: Iterable[str], before: int, checks: Mapping[int, Check]
) -> CsvError | None:
    """Read lines cell by cell and return the first fault."""
    width = len(form.names)
    reader = csv.reader(lines, delimiter=form.delimiter)
    try:
        for cells in reader:
            where = f"{form.path}, line {before + reader.line_num}"
            if not all(map(is_utf8, cells)):
                return CsvError(f"{where}: not UTF-8 text")
            if not any(cell.strip() for cell in cells) and len(cells) <= 1:
                if cells and cells[0]:
                    return CsvError(f"{where}: only spaces; leave the line empty or remove it")
                continue
            if len(cells) != width:
                first = "the header has" if form.header else "the first line has"
                return CsvError(f"{where}: {_count(len(cells), 'cell')}, but {first} {width}")
            for index, check in checks.items():
                if problem := check(cells[index]):
                    return CsvError(f"{where}, {form.column(index)}: {problem}", index)
    except csv.Error as error:
        return CsvError(f"{form.path}, line {before + reader.line_num}: {error}")
    return None


def missing(cell: str) -> str | None:
    """Say that a cell holds no value; None if it does."""
    cell = cell.strip()
    if cell == "":
        return "the cell is empty"
    return f"{cell!r} is a missing value" if cell.lower() == "nan" else None


def not_a_number(cell: str) -> str | None:
    """Say why a cell holds no finite number; None if it does."""
    if said := missing(cell):
        return said
    if not _is_number(cell):
        shown = cell if len(cell) <= 40 else cell[:37] + "..."
        return f"{shown!r} is not a number"
    return None if isfinite(float(cell)) else f"{cell.strip()} is not finite"


def number(cell: Any) -> float:
    """Return the number of a value or of a cell's text; a ValueError says that it is none.

    Python also reads "2020_01", which is a name, and digits of other scripts.
    """
    if isinstance(cell, str) and ("_" in cell or not cell.isascii()):
        raise ValueError(f"{cell!r} is not a number")
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        number(cell)
    except ValueError:
        return False
    return True


def is_utf8(text: str) -> bool:
    """Whether no byte of ``text``, read with "surrogateescape", was no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def open_text(path: Path) -> TextIO:
    """Open a file as lines of text, in which ``is_utf8`` finds bytes that are no UTF-8.

    Raises
    ------
    ValueError
        It is UTF-16, as some spreadsheets and PowerShell write, or UTF-32.
    OSError
        It cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(4)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise ValueError(
            f"{path}: this is UTF-{32 if bytes(2) in start else 16} text; save it as UTF-8 "
            "(in Excel as CSV UTF-8, in PowerShell with -Encoding utf8)"
        )
    # utf-8-sig: spreadsheets write a byte-order mark. newline="": the csv module's own wish.
    return path.open(encoding="utf-8-sig", errors="surrogateescape", newline="")
