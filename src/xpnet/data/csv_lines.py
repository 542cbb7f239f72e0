"""Reads the lines of a ``.csv`` file, many at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import chain, islice
from typing import NamedTuple

from xpnet.data.csv_rules import CsvFormat, open_text


class Stretch(NamedTuple):
    """Lines of the file: the byte they start at, how many lines are before, how many bytes."""

    offset: int
    before: int
    size: int
    lines: list[str]


def stretches(form: CsvFormat, characters: int) -> Iterator[Stretch]:
    """Yield the lines after the header, about so many characters at a time; no row is cut."""
    with open_text(form.path) as file:
        # the byte-order mark is gone from the text, not from the file
        offset = 3 if _starts_with_mark(form) else 0
        before, first = 0, ""
        for first in file:
            if first.strip():
                break
            offset, before = offset + _bytes(first), before + 1
        rest: Iterator[str] = file
        if form.header:
            offset, before = offset + _bytes(first), before + 1
        else:
            rest = chain([first], file)
        count = max(characters // max(len(first), 1), 16)
        while lines := list(islice(rest, count)):
            if any('"' in line for line in lines):
                lines = _whole_rows(form, lines, rest, before)
            size = _bytes("".join(lines))
            yield Stretch(offset, before, size, lines)
            offset, before = offset + size, before + len(lines)


def _starts_with_mark(form: CsvFormat) -> bool:
    with form.path.open("rb") as file:
        return file.read(3) == b"\xef\xbb\xbf"


def _whole_rows(form: CsvFormat, lines: list[str], rest: Iterator[str], before: int) -> list[str]:
    """Add lines until the last row is complete: a quoted cell may span many."""
    taken = list(lines)

    def fed() -> Iterator[str]:
        yield from lines
        for line in rest:
            taken.append(line)
            yield line
        raise csv.Error("a quotation mark is never closed")

    reader = csv.reader(fed(), delimiter=form.delimiter)
    try:
        for _ in reader:
            if reader.line_num >= len(lines):
                break
    except csv.Error as error:
        raise ValueError(f"{form.path}, line {before + reader.line_num}: {error}") from None
    return taken


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
