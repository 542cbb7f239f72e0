"""Reads columns of a ``.csv`` file by name, a block of rows at a time.

The rules are those of ``csv_rules``, but columns that are not wanted may hold anything.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from xpnet.data.columns import Block, WantedColumns
from xpnet.data.csv_lines import stretches
from xpnet.data.csv_rules import (
    Check,
    first_fault,
    is_utf8,
    missing,
    not_a_number,
    parse,
    read_format,
)

_STRETCH = 2**20  # characters that are parsed together


def csv_blocks(path: Path, wanted: WantedColumns) -> Iterator[Block]:
    """Yield blocks as ``read_columns.read_blocks``; an error names the line and the column."""
    form = read_format(path, {*wanted.features, *wanted.known, wanted.target})
    places = wanted.places(path, form.names if form.header else None, len(form.names))
    n, cuts = len(wanted.features), len(form.names) - 1
    checks: dict[int, Check] = dict.fromkeys(places, not_a_number)
    converters = None
    if wanted.target is not None:
        converters = {places[n]: lambda cell: wanted.encode(cell.strip())}
        if wanted.encode is not float:
            checks[places[n]] = lambda cell: missing(cell) or _unknown(cell, wanted)
    for _, before, _, lines in stretches(form, _STRETCH):
        rows, refused = [line for line in lines if line.strip("\r\n")], ""
        if not rows:
            continue
        values = np.empty((0, n))
        try:
            if is_utf8("".join(rows)):
                values = parse(rows, form.delimiter, converters, places)
        except ValueError as error:
            refused = str(error)
        if (
            not len(values)
            or any(row.count(form.delimiter) != cuts for row in rows)
            or not np.isfinite(values).all()
        ):
            fault = first_fault(form, lines, before, checks)
            if refused or fault is not None:
                raise ValueError(f"{path}: {refused}" if fault is None else fault.message)
        yield values[:, :n], None if wanted.target is None else values[:, n]


def _unknown(label: str, wanted: WantedColumns) -> str | None:
    try:
        wanted.encode(label.strip())
    except ValueError as error:
        return str(error)
    return None
