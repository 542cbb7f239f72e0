"""What was found on a GPU: pieces, checks and figures, as lines of JSON, as JSON and as tables."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
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


class Skipped(Exception):
    """Raised by a part that cannot run here; its text is the reason."""


Found = Piece | Check | Figure | dict[str, Any]  # the last: facts about the machine and the run
_KINDS: dict[str, Any] = {kind.__name__.lower(): kind for kind in (Piece, Check, Figure)}
# Of figures with the same settings.
RATIOS = (("step", "products"), ("torch", "step"), ("jax scan", "step"), ("numpy", "step"))


def append(path: Path, found: Found) -> None:
    """Adds a line to the file, which outlives the process from then on."""
    name = "about" if isinstance(found, dict) else type(found).__name__.lower()
    text = json.dumps({name: found if isinstance(found, dict) else asdict(found)})
    # NaN and infinities as text: JSON has no word for them
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(json.loads(text, parse_constant=str)) + "\n")


@dataclass
class Report:
    """Everything one run found."""

    about: dict[str, Any] = field(default_factory=dict)  # the machine, its versions, the run
    pieces: list[Piece] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Report:
        """The report of the lines that are there."""
        report = cls()
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
            with suppress(ValueError):  # a process that was killed may leave half a line
                report.add(*json.loads(line).popitem())
        return report

    def add(self, name: str, found: dict[str, Any]) -> None:
        if name == "about":
            self.about |= found
        else:
            getattr(self, name + "s").append(_KINDS[name](**found))

    @property
    def has_device(self) -> bool:
        return bool(self.about.get("has_device"))

    @property
    def stand_in(self) -> bool:
        """Whether CuPy ran on the CPU, as in this project's own tests."""
        names = [device["name"] for device in self.about.get("devices", ())]
        return any(name.startswith("CuPy on CPU") for name in names)

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
        found = {"status": self.status, "verdict": self.verdict, "note": note}
        return found | {"has_device": self.has_device} | asdict(self)

    def ratios(self) -> Iterator[Figure]:
        """How many times as long one takes as another, and from what work on the GPU is faster."""
        values: dict[str, dict[str, float]] = {}
        for figure in self.figures:
            if figure.value is not None:
                values.setdefault(json.dumps(figure.settings), {})[figure.name] = figure.value
        gains = {}
        for settings, row in values.items():
            for one, other in RATIOS:
                if one in row and other in row:
                    ratio = row[one] / row[other]
                    yield Figure(f"{one} / {other}", ratio, "", json.loads(settings))
                    if one == "numpy":
                        gains[row["work"]] = ratio
        slower = [work for work, ratio in gains.items() if ratio < 1]
        if gains and len(slower) < len(gains):
            least = min(work for work in gains if work > max(slower, default=0))
            detail = "the least work of a step from which on the GPU was faster than NumPy"
            yield Figure("crossover", least, "MFLOP", detail=detail)

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
