"""What a check found: pieces, checks and figures, as JSON and as a table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

PASSED, FAILED, NOT_AVAILABLE = "passed", "failed", "not available"
ALL_PASSED, SOME_FAILED, NO_DEVICE = 0, 1, 2  # exit statuses
STAND_IN = "stand-in: timings mean nothing"

Row = tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """Something that must be installed. ``remedy`` is the line that brings it."""

    name: str
    found: bool
    detail: str
    remedy: str | None = None


@dataclass(frozen=True)
class Check:
    """A requirement. ``value`` passes up to ``limit``, where it has one."""

    name: str
    status: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Figure:
    """A measurement; ``value`` is None where it could not be taken, and ``detail`` says why."""

    name: str
    value: float | None
    unit: str
    settings: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


def at_most(name: str, value: float, limit: float, unit: str = "", detail: str = "") -> Check:
    """Passes if ``value <= limit``; NaN fails."""
    return Check(name, PASSED if value <= limit else FAILED, value, limit, unit, detail)


def holds(name: str, condition: bool, detail: str = "") -> Check:
    return Check(name, PASSED if condition else FAILED, detail=detail)


def unavailable(name: str, why: str) -> Check:
    return Check(name, NOT_AVAILABLE, detail=why)


@dataclass
class Report:
    """Everything one run found."""

    about: dict[str, Any] = field(default_factory=dict)  # the machine and its versions
    has_device: bool = False
    stand_in: bool = False
    quick: bool = False
    pieces: list[Piece] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    def add(self, found: Piece | Check | Figure) -> None:
        kept: dict[type, list] = {Piece: self.pieces, Check: self.checks, Figure: self.figures}
        kept[type(found)].append(found)

    @property
    def complete(self) -> bool:
        """Whether every piece is there: without one, nothing can be computed."""
        return all(piece.found for piece in self.pieces)

    @property
    def status(self) -> int:
        """0: all passed. 1: something is missing or failed. 2: there is no device."""
        if not self.has_device:
            return NO_DEVICE
        failed = any(check.status == FAILED for check in self.checks)
        return SOME_FAILED if failed or not self.complete else ALL_PASSED

    @property
    def verdict(self) -> str:
        if self.status == NO_DEVICE:
            return "No CUDA device: nothing was checked. This is not a pass."
        counts = [sum(check.status == s for check in self.checks) for s in (PASSED, FAILED)]
        missing = [piece.name for piece in self.pieces if not piece.found]
        if missing:
            return f"Not usable: {', '.join(missing)}. Nothing was checked."
        other = len(self.checks) - sum(counts)
        return f"{counts[0]} checks passed, {counts[1]} failed, {other} not available."

    def to_json(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "verdict": self.verdict,
            "note": STAND_IN if self.stand_in else None,
            "quick": self.quick,
            "about": self.about,
            "pieces": [asdict(piece) for piece in self.pieces],
            "checks": [asdict(check) for check in self.checks],
            "figures": [asdict(figure) for figure in self.figures],
        }

    # -- for people ----------------------------------------------------------------------
    def show(self) -> None:
        """Prints tables, with rich where it is installed; then remedies and the verdict."""
        note = f" ({STAND_IN})" if self.stand_in else ""
        for title, header, rows in self.tables():
            print_table(title + note, header, rows)
        for remedy in dict.fromkeys(piece.remedy for piece in self.pieces if piece.remedy):
            names = ", ".join(piece.name for piece in self.pieces if piece.remedy == remedy)
            sys.stdout.write(f"To get {names}:\n    {remedy}\n")  # a line that can be copied
        sys.stdout.write(self.verdict + "\n")

    def tables(self) -> Iterator[tuple[str, Row, list[Row]]]:
        """Title, header and rows of each table."""
        pieces: list[Row] = [
            (piece.name, "ok" if piece.found else "MISSING", piece.detail) for piece in self.pieces
        ]
        yield "Installed", ("piece", "", "detail"), pieces
        checks: list[Row] = [
            (c.name, c.status.upper() if c.status == FAILED else c.status, _amount(c), c.detail)
            for c in self.checks
        ]
        if checks:
            yield "Checks", ("check", "status", "value", "detail"), checks
        single: list[Row] = [
            (f.name, _number(f.value), f.unit, f.detail) for f in self.figures if not f.settings
        ]
        if single:
            yield "Figures", ("figure", "value", "unit", "detail"), single
        for keys in dict.fromkeys(tuple(f.settings) for f in self.figures if f.settings):
            yield _pivoted(keys, [f for f in self.figures if tuple(f.settings) == keys])


def _pivoted(keys: Row, figures: list[Figure]) -> tuple[str, Row, list[Row]]:
    """Figures with settings of the same names: a row for each combination of values."""
    names = list(dict.fromkeys((f.name, f.unit) for f in figures))
    cells: dict[Row, dict[str, str]] = {}
    for f in figures:
        row = cells.setdefault(tuple(str(value) for value in f.settings.values()), {})
        row[f.name] = _number(f.value)
    header = keys + tuple(f"{name}, {unit}" if unit else name for name, unit in names)
    rows = [key + tuple(row.get(name, "-") for name, _ in names) for key, row in cells.items()]
    reasons = dict.fromkeys(f"{f.name}: {f.detail}" for f in figures if f.detail)
    return " | ".join(["Figures", *reasons]), header, rows


def _amount(check: Check) -> str:
    if check.value is None:
        return ""
    limit = "" if check.limit is None else f" (limit {check.limit:.3g})"
    return f"{check.value:.3g} {check.unit}".rstrip() + limit


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def print_table(title: str, header: Row, rows: list[Row]) -> None:
    try:
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        _print_plain(title, [header, *rows])
        return
    table = Table(title=Text(title), title_justify="left", box=box.SIMPLE_HEAD)
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # "xpnet[cuda12]" is no markup
    terminal = sys.stdout.isatty()
    Console(width=None if terminal else 160).print(table)


def _print_plain(title: str, rows: list[Row]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    sys.stdout.write("\n".join([title, *(f"  {line.rstrip()}" for line in lines), "", ""]))
