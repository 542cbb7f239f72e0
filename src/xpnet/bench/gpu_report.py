"""What was found on a GPU: pieces, checks and figures, as JSON and as tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from xpnet.training.notebook import aligned

PASSED, FAILED, NOT_AVAILABLE = "passed", "failed", "not available"
STAND_IN = "stand-in: timings mean nothing"


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
    detail: str = ""


@dataclass(frozen=True)
class Figure:
    """A measurement; ``value`` is None where it could not be taken, and ``detail`` says why."""

    name: str
    value: float | None
    unit: str
    settings: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


def at_most(name: str, value: float, limit: float, detail: str = "") -> Check:
    """Passes if ``value <= limit``; NaN fails."""
    return Check(name, PASSED if value <= limit else FAILED, value, limit, detail=detail)


def holds(name: str, condition: bool, detail: str = "") -> Check:
    """Passes if the condition is true."""
    return Check(name, PASSED if condition else FAILED, detail=detail)


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

    def add(self, found: Check | Figure) -> None:
        (self.checks if isinstance(found, Check) else self.figures).append(found)  # type: ignore

    @property
    def complete(self) -> bool:
        """Whether every piece is there: without one, nothing can be computed."""
        return all(piece.found for piece in self.pieces)

    @property
    def status(self) -> int:
        """0: all passed. 1: something is missing or failed. 2: there is no device."""
        failed = not self.complete or any(check.status == FAILED for check in self.checks)
        return int(failed) if self.has_device else 2

    @property
    def verdict(self) -> str:
        """The status in a sentence."""
        if not self.has_device:
            return "No CUDA device: nothing was checked. This is not a pass."
        if not self.complete:
            missing = ", ".join(piece.name for piece in self.pieces if not piece.found)
            return f"Not usable: {missing}. Nothing was checked."
        found = [check.status for check in self.checks]
        passed, failed, other = map(found.count, (PASSED, FAILED, NOT_AVAILABLE))
        return f"{passed} checks passed, {failed} failed, {other} not available."

    def to_json(self) -> dict[str, Any]:
        note = STAND_IN if self.stand_in else None
        return {"status": self.status, "verdict": self.verdict, "note": note} | asdict(self)

    # -- for people ----------------------------------------------------------------------
    def show(self) -> None:
        """Prints tables, then remedies and the verdict."""
        note = f" ({STAND_IN})" if self.stand_in else ""
        for title, rows in self.tables():
            header = list(dict.fromkeys(name for row in rows for name in row))
            lines = [header, *([_shown(row.get(name)) for name in header] for row in rows)]
            sys.stdout.write("\n  ".join([f"{title}{note}", *aligned(lines)]) + "\n\n")
        for remedy in dict.fromkeys(piece.remedy for piece in self.pieces if piece.remedy):
            names = ", ".join(piece.name for piece in self.pieces if piece.remedy == remedy)
            sys.stdout.write(f"To get {names}:\n    {remedy}\n")  # a line that can be copied
        sys.stdout.write(self.verdict + "\n")

    def tables(self) -> Iterator[tuple[str, list[dict[str, Any]]]]:
        """The title and the rows of each table; figures of the same settings share a row."""
        ok = {True: "ok", False: "MISSING"}
        pieces = [{"piece": p.name, "found": ok[p.found], "detail": p.detail} for p in self.pieces]
        yield "Installed", pieces
        checks = [asdict(c) | {"status": c.status.replace(FAILED, "FAILED")} for c in self.checks]
        yield "Checks", checks
        for keys in dict.fromkeys(tuple(f.settings) for f in self.figures):
            figures = [f for f in self.figures if tuple(f.settings) == keys]
            rows: dict[str, dict[str, Any]] = {}
            for f in figures:
                where = f.settings or {"figure": f.name}
                column = f"{f.name if keys else 'value'}, {f.unit}".rstrip(", ")
                rows.setdefault(str(where), dict(where))[column] = f.value
            reasons = dict.fromkeys(f"{f.name}: {f.detail}" for f in figures if f.detail)
            yield " | ".join(["Figures", *reasons]), list(rows.values())


def _shown(x: Any) -> str:
    return f"{x:.4g}" if isinstance(x, float) else "-" if x is None else str(x)
