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
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from xpnet.data.columns import find_target


@dataclass(frozen=True)
class CsvFormat:
    """How a file is read: its delimiter, names of the columns, the index of the target."""

    path: Path
    delimiter: str
    header: bool
    names: tuple[str, ...]
    target: int

    def column(self, index: int) -> str:
        """Name of a column for a message."""
        return f"column {self.names[index]!r}" if self.header else f"column {index} (from 0)"


@dataclass(frozen=True)
class Fault:
    """What is wrong with a file, and whether it is a label that is no number."""

    message: str
    in_target: bool = False


def read_format(path: Path, target: str | int | None) -> CsvFormat:
    """Read the format from the first line that is not empty, and find the target in it."""
    with open_text(path, errors="surrogateescape") as lines:
        numbered = enumerate(lines, 1)
        number, line = next((pair for pair in numbered if pair[1].strip()), (0, ""))
    if not line:
        raise ValueError(f"{path}: the file is empty")
    if not is_utf8(line):
        raise ValueError(f"{path}, line {number}: not UTF-8 text")
    delimiter = delimiter_of(path, line)
    cells = tuple(cell.strip() for cell in next(csv.reader([line], delimiter=delimiter)))
    header = is_header(cells, () if target is None else (str(target),))
    names = cells if header else tuple(str(i) for i in range(len(cells)))
    if len(names) < 2:
        raise ValueError(f"{path}: one column only; a table needs the target and at least one more")
    return CsvFormat(path, delimiter, header, names, find_target(path, target, names, header))


def is_header(cells: Sequence[str], known: Collection[str | None]) -> bool:
    """Whether the first line holds names: no cell is a number, or one is a ``known`` name."""
    words = [cell for cell in cells if not is_number(cell)]
    return len(words) == len(cells) or any(word in known for word in words)


def delimiter_of(path: Path, line: str) -> str:
    """Return what separates the cells, given the first line of the file."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    return next((d for d in ",;\t" if d in line), ",")


def parse(
    lines: Iterable[str],
    delimiter: str,
    converters: dict[int | str, Callable[[Any], float]] | None = None,
    columns: list[int] | None = None,
) -> np.ndarray:
    """Return cells as float64 (m, columns); ``columns`` says which, all if left out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "input contained no data": told by callers
        return np.loadtxt(
            lines,
            dtype=np.float64,
            delimiter=delimiter,
            comments=None,
            quotechar='"',
            usecols=columns,
            converters=converters,
            ndmin=2,
        )


def parse_table(form: CsvFormat, lines: list[str], codes: dict[str, int] | None) -> np.ndarray:
    """Return all cells of ``lines``, the header not among them, as float64 (m, columns).

    With ``codes`` the target is text and becomes its number there; new texts are added.
    """

    def encode(cell: str) -> float:
        cell = cell.strip()
        if codes is None or _is_missing(cell):
            raise ValueError("a label is missing")
        return float(codes.setdefault(cell, len(codes)))

    values = parse(lines, form.delimiter, None if codes is None else {form.target: encode})
    if values.size and values.shape[1] != len(form.names):
        raise ValueError("the rows are not as wide as the header")
    return values


def first_fault(form: CsvFormat, lines: Iterable[str], before: int, *, text: bool) -> Fault | None:
    """Read lines cell by cell and return the first fault.

    Parameters
    ----------
    lines
        Of the file, without the header.
    before : int
        How many lines of the file stand before them.
    text : bool
        Whether the target may hold text.
    """
    width = len(form.names)
    reader = csv.reader(lines, delimiter=form.delimiter)
    try:
        for cells in reader:
            where = f"{form.path}, line {before + reader.line_num}"
            if not all(map(is_utf8, cells)):
                return Fault(f"{where}: not UTF-8 text")
            if not any(cell.strip() for cell in cells) and len(cells) <= 1:
                if cells and cells[0]:
                    return Fault(f"{where}: only spaces; leave the line empty or remove it")
                continue
            if len(cells) != width:
                first = "the header has" if form.header else "the first line has"
                return Fault(f"{where}: {_count(len(cells), 'cell')}, but {first} {width}")
            for index, cell in enumerate(cells):
                in_target = index == form.target
                problem = problem_of(cell, number=not (in_target and text))
                if problem:
                    return Fault(f"{where}, {form.column(index)}: {problem}", in_target)
    except csv.Error as error:
        return Fault(f"{form.path}, line {before + reader.line_num}: {error}")
    return None


def problem_of(cell: str, *, number: bool) -> str | None:
    """Say what is wrong with a cell; None if it is fine."""
    if _is_missing(cell.strip()):
        return f"{cell.strip()!r} is a missing value" if cell.strip() else "the cell is empty"
    if not number:
        return None
    if not is_number(cell):
        shown = cell if len(cell) <= 40 else cell[:37] + "..."
        return f"{shown!r} is not a number"
    return None if isfinite(float(cell)) else f"{cell.strip()} is not finite"


def _is_missing(cell: str) -> bool:
    return cell == "" or cell.lower() == "nan"


def is_number(cell: str) -> bool:
    """Whether NumPy's reader takes it; Python also reads "1_000" and digits of other scripts."""
    if "_" in cell or not cell.isascii():
        return False
    try:
        float(cell)
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


def open_text(path: Path, errors: str = "strict") -> TextIO:
    """Open a file as lines of text.

    Raises
    ------
    ValueError
        It is UTF-16, as some spreadsheets and PowerShell write.
    OSError
        It cannot be opened.
    """
    with path.open("rb") as file:
        start = file.read(2)
    if start in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise ValueError(
            f"{path}: this is UTF-16 text; save it as UTF-8 (in Excel as CSV UTF-8, in PowerShell "
            "with -Encoding utf8)"
        )
    # utf-8-sig: spreadsheets write a byte-order mark. newline="": the csv module's own wish.
    return path.open(encoding="utf-8-sig", errors=errors, newline="")
