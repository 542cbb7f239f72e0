"""Checks CuPy on this machine's GPU against NumPy, and takes timings.

Exit status: 0, every check passed; 1, a piece is missing or a check failed; 2, no CUDA device
(nothing was checked: not a pass); 64, wrong options.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, NoReturn

from xpnet.bench import gpu_checks, gpu_memory, gpu_pieces, gpu_timing
from xpnet.bench.gpu_report import NOT_AVAILABLE, STAND_IN, Check, Report, Skipped, append, holds
from xpnet.exceptions import BackendUnavailable
from xpnet.files.atomic import write_atomically
from xpnet.files.outputs import Kind, refusal

WRONG_OPTIONS = 64  # EX_USAGE; argparse would take 2, which means "no device" here
REPORT = Kind.beginning("report of xpnet.gpu_check", {".json": b'{\n  "status": '})
LINES = Kind.beginning("lines of xpnet.gpu_check", {".jsonl": b'{"about": '})

Part = Callable[[bool], Iterator[Any]]


class Section(NamedTuple):
    """Parts that share a process, which is ended after ``limit`` seconds.

    It is not begun with fewer than ``least`` seconds left of the budget.
    """

    parts: tuple[Part, ...]
    limit: float
    least: float = 5.0


# In the order in which they run: what matters most comes first, and the budget cuts the rest.
SECTIONS: dict[str, Section] = {
    "installed": Section((gpu_pieces.installed,), 30.0),
    "machine": Section((gpu_pieces.machine, gpu_pieces.kernels), 60.0),
    "capture": Section((gpu_timing.capture,), 30.0),
    "correctness": Section((gpu_checks.trajectories, gpu_checks.many_rows), 60.0),
    "precision": Section((gpu_checks.roundings,), 60.0),
    "ranks": Section((gpu_checks.ranks,), 60.0, 10.0),
    "engine tests": Section((partial(gpu_checks.tests, gpu_checks.ENGINE),), 150.0, 20.0),
    "step": Section((gpu_timing.own,), 60.0, 10.0),
    "numpy": Section((gpu_timing.numpy,), 60.0, 10.0),
    "torch": Section((partial(gpu_timing.peer, "torch"),), 30.0, 10.0),
    "torch-graph": Section((partial(gpu_timing.peer, "torch-graph"),), 30.0, 10.0),
    "jax-scan": Section((partial(gpu_timing.peer, "jax-scan"),), 45.0, 10.0),
    "memory": Section((gpu_memory.phases,), 45.0),
    "host data": Section((gpu_memory.uploading, gpu_memory.prefetching), 60.0),
    "first fit": Section((gpu_memory.first_fit,), 45.0),
    "launches": Section((gpu_timing.launches, gpu_timing.precisions), 40.0),
    "torch-compile": Section((partial(gpu_timing.peer, "torch-compile"),), 60.0, 20.0),
    "jax": Section((partial(gpu_timing.peer, "jax"),), 45.0, 10.0),
    "sanitizers": Section((gpu_checks.sanitizers,), 60.0, 20.0),
    "library tests": Section((partial(gpu_checks.tests, gpu_checks.LIBRARY),), 300.0, 20.0),
}
_CHILD = "import sys; from xpnet.bench.gpu import child; child(*sys.argv[1:])"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(WRONG_OPTIONS, f"{self.prog}: error: {message}\n")


def _options(args: Sequence[str] | None) -> argparse.Namespace:
    parser = _Parser(prog="python -m xpnet.gpu_check", description=__doc__)
    add, named = parser.add_argument, ", ".join(SECTIONS)
    how = "write everything found to FILE, and beside it (.jsonl) each line as it is found"
    add("--json", type=Path, metavar="FILE", help=how)
    how = "what the run may take; what does not fit is skipped, and named (default: 540)"
    add("--budget", type=float, default=540.0, metavar="SECONDS", help=how)
    add("--sections", metavar="NAMES", help=f"only these, by commas, of: {named}")
    add("--rehearse", action="store_true", help="tiny sizes: only to see that it runs")
    add("--force", action="store_true", help="replace files of another kind too")
    options = parser.parse_args(args)
    options.sections = options.sections.split(",") if options.sections else list(SECTIONS)
    if unknown := [name for name in options.sections if name not in SECTIONS]:
        parser.error(f"argument --sections: no section {unknown[0]!r} in {named}")
    if options.json:
        options.lines = options.json.with_suffix(".jsonl")
        for path, kind in ((options.json, REPORT), (options.lines, LINES)):
            if why := refusal(path, kind, {}, options.force):
                parser.error(f"argument --json: {why}")
    return options


def main(args: Sequence[str] | None = None) -> int:
    """Runs everything, prints tables, and returns the exit status."""
    options = _options(args)
    with TemporaryDirectory() as folder:
        path = options.lines if options.json else Path(folder) / "found.jsonl"
        path.unlink(missing_ok=True)
        try:
            run(path, options.sections, options.budget, options.rehearse)
        finally:  # also what was found before Ctrl-C
            report = Report.read(path)
            if options.json:
                found = json.dumps(report.to_json(), indent=2)
                write_atomically(options.json, found.encode(), b"\n")
    report.show()
    return report.status


def run(path: Path, names: Sequence[str], budget: float, rehearse: bool) -> None:
    """Fills a file with the lines of these sections, after those of "installed"."""
    begin = time.monotonic()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    append(path, {"time": now, "rehearsal": rehearse, "budget": budget})
    for name in dict.fromkeys(("installed", *names)):
        left, section = budget - (time.monotonic() - begin), SECTIONS[name]
        if left < section.least:
            why = f"skipped: {max(left, 0):.0f} seconds are left of the budget"
            append(path, Check(name, NOT_AVAILABLE, detail=why))
            continue
        sys.stderr.write(f"{name} ...\n")
        start = time.monotonic()
        fault = _in_process(name, path, min(section.limit, left), rehearse)
        append(path, {f"{name} seconds": round(time.monotonic() - start, 3)})
        if fault and left < section.limit and "seconds" in fault:
            append(path, Check(name, NOT_AVAILABLE, detail=f"cut short by the budget: {fault}"))
        elif fault:
            append(path, holds(f"{name} ran to its end", False, fault))
        report = Report.read(path)
        if not (report.has_device and report.complete):
            return
        if report.stand_in and not rehearse:
            sys.stderr.write(f"CuPy runs on the CPU ({STAND_IN}), with --rehearse\n")
            append(path, {"rehearsal": (rehearse := True)})
    for figure in Report.read(path).ratios():
        append(path, figure)


def _in_process(name: str, path: Path, limit: float, rehearse: bool) -> str:
    """Runs a section in a process of its own; what went wrong with that process, or ""."""
    command = [sys.executable, "-c", _CHILD, name, str(path), "rehearse" if rehearse else ""]
    # JAX would take three quarters of the card.
    environment = os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        code = process.wait(limit)
    except subprocess.TimeoutExpired:
        return f"ended after its {limit:.0f} seconds"
    finally:  # also on Ctrl-C, and with whatever it has started
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL) if os.name == "posix" else process.kill()
            process.wait()
    return "" if code == 0 else f"exit status {code}"


def child(name: str, path: str, rehearse: str = "") -> None:
    """Runs the parts of a section in this process and appends what they find."""
    for part in SECTIONS[name].parts:
        called = getattr(part, "__name__", "").replace("_", " ")
        called = name if called in ("", name) else f"{name}: {called}"
        try:
            for found in part(bool(rehearse)):
                append(Path(path), found)
        except (Skipped, ImportError, BackendUnavailable) as error:
            append(
                Path(path), Check(called, NOT_AVAILABLE, detail=" ".join(str(error).split())[:300])
            )
        except Exception as error:  # the other parts can still run
            traceback.print_exc()
            detail = gpu_pieces.first_line(error)
            append(Path(path), holds(f"{called} ran to its end", False, detail))
