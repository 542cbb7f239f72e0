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

_LISTED = 20  # column names shown in an error message


@dataclass(frozen=True)
class CsvFormat:
    """What the first line of a file says: names of the columns, and which one is the target."""

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
    """The first thing wrong in a file: what to tell, and whether only the target is concerned."""

    message: str
    in_target: bool = False


def read_format(path: Path, target: str | int | None) -> CsvFormat:
    """Read the first line that is not empty and find the target in it."""
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
    """What separates the cells of a file, whose first line this is."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    return next((d for d in ",;\t" if d in line), ",")


def find_target(path: Path, target: str | int | None, names: tuple[str, ...], header: bool) -> int:
    listed = ", ".join(names[:_LISTED])
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    columns = f"the columns are {listed}{more}"
    if not header:
        columns += " (line 1 holds numbers, so it is no header, and columns go by their index)"
    if target is None:
        raise ValueError(f"{path}: which column is the target? Name it (--target); {columns}")
    wanted = str(target)
    if names.count(wanted) > 1:
        places = ", ".join(str(i) for i, name in enumerate(names) if name == wanted)
        raise ValueError(f"{path}: {names.count(wanted)} columns are named {wanted!r}; {places}"
                         " are their indices, rename one")  # fmt: skip
    if wanted in names:
        return names.index(wanted)
    try:
        index = int(wanted)
    except ValueError:
        index = len(names)
    if not -len(names) <= index < len(names):
        raise ValueError(f"{path}: no column {wanted!r}; {columns}")
    return index % len(names)


def numbers(form: CsvFormat, rows: Iterable[str], codes: dict[str, int] | None) -> np.ndarray:
    """The cells of ``rows``, lines of text without the header, as float64 (m, columns).

    With ``codes`` the target is text and becomes its number there; new texts are added.
    """
    converters: dict[int | str, Callable[[Any], float]] | None = None
    if codes is not None:
        known = codes

        def encode(cell: str) -> float:
            cell = cell.strip()
            if _is_missing(cell):
                raise ValueError("a label is missing")
            return float(known.setdefault(cell, len(known)))

        converters = {form.target: encode}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # "input contained no data": told by callers
        values = np.loadtxt(
            rows,
            dtype=np.float64,
            delimiter=form.delimiter,
            comments=None,
            quotechar='"',
            converters=converters,
            ndmin=2,
        )
    if values.size and values.shape[1] != len(form.names):
        raise ValueError("the rows are not as wide as the header")
    return values


def first_fault(form: CsvFormat, lines: Iterable[str], before: int, *, text: bool) -> Fault | None:
    """Read lines cell by cell and say what is wrong first.

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
            if _is_fine(cells, form, text):
                continue
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


def _is_fine(cells: list[str], form: CsvFormat, text: bool) -> bool:
    """Whether a row certainly has no fault; told in a tenth of the time of looking for one."""
    if len(cells) != len(form.names):
        return False
    if text:
        if _is_missing(cells[form.target].strip()):
            return False
        cells = cells[: form.target] + cells[form.target + 1 :]
    together = "".join(cells)
    try:
        return together.isascii() and "_" not in together and all(map(isfinite, map(float, cells)))
    except ValueError:
        return False


def problem_of(cell: str, *, number: bool) -> str | None:
    """What is wrong with a cell, if anything."""
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
    """The lines of a file.

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
