"""Reads columns of a ``.csv`` file by name, a block of rows at a time.

The rules are those of ``csv_rules``, but columns that are not wanted may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xpnet.data.columns import Block, WantedColumns
from xpnet.data.csv_lines import stretches
from xpnet.data.csv_rules import Check, missing, not_a_number, number, read_cells, read_format

_STRETCH = 2**20  # characters that are parsed together


def csv_blocks(path: Path, wanted: WantedColumns) -> Iterator[Block]:
    """Yield blocks as ``read_columns.read_blocks``; an error names the line and the column."""
    form = read_format(path, {*wanted.features, *wanted.known, wanted.target})
    places = wanted.places(path, form.names if form.header else None, len(form.names))
    n = len(wanted.features)
    checks: dict[int, Check] = dict.fromkeys(places, not_a_number)
    converters = None
    if wanted.target is not None:
        converters = {places[n]: lambda cell: wanted.encode(cell.strip())}
        if wanted.encode is not number:
            checks[places[n]] = lambda cell: missing(cell) or _unknown(cell, wanted)
    for _, before, _, lines in stretches(form, _STRETCH):
        if any(line.strip("\r\n") for line in lines):
            values = read_cells(form, lines, before, checks, converters, places)
            yield values[:, :n], None if wanted.target is None else values[:, n]


def _unknown(label: str, wanted: WantedColumns) -> str | None:
    try:
        wanted.encode(label.strip())
    except ValueError as error:
        return str(error)
    return None
