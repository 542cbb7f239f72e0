"""Checks CuPy on this machine's GPU against NumPy, and takes timings.

Exit status: 0, every check passed; 1, a piece is missing or a check failed; 2, no CUDA device
(nothing was checked: not a pass); 64, wrong options.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from xpnet.bench import gpu_pieces, machine
from xpnet.bench.gpu_checks import prefetching, products, running_out, tf32_net, trajectories
from xpnet.bench.gpu_report import STAND_IN, Check, Figure, Report, holds
from xpnet.bench.gpu_timing import calls, steps
from xpnet.files.atomic import write_atomically
from xpnet.files.outputs import Kind, refusal

WRONG_OPTIONS = 64  # EX_USAGE; argparse would take 2, which means "no device" here
REPORT = Kind.beginning("report of xpnet.gpu_check", {".json": b'{\n  "status": '})
SECTIONS: dict[str, tuple[Callable[[bool], Iterator[Check | Figure]], ...]] = {
    "correctness": (trajectories, products, tf32_net),
    "memory": (prefetching, running_out),
    "timing": (calls, steps),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(WRONG_OPTIONS, f"{self.prog}: error: {message}\n")


def main(args: Sequence[str] | None = None) -> int:
    """Runs everything, prints tables, and returns the exit status."""
    parser = _Parser(prog="python -m xpnet.gpu_check", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found to FILE")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: only to see that it runs")
    parser.add_argument("--force", action="store_true", help="replace a FILE of another kind too")
    options = parser.parse_args(args)
    if options.json and (why := refusal(options.json, REPORT, {}, options.force)):
        parser.error(f"argument --json: {why}")
    report = Report(quick=options.quick)
    try:
        run(report)
    finally:  # also what was found before Ctrl-C
        if options.json:
            # NaN and infinities as text: JSON has no word for them
            found = json.loads(json.dumps(report.to_json()), parse_constant=str)
            write_atomically(options.json, json.dumps(found, indent=2).encode(), b"\n")
    report.show()
    return report.status


def run(report: Report) -> None:
    """Fills a report."""
    driver, about = gpu_pieces.find_driver(), gpu_pieces.about()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    report.about = machine.about() | about | {"time": now}
    report.has_device = bool(driver.devices or about["devices"])
    # CuPy runs on the CPU in this project's own tests.
    report.stand_in = any(device["name"].startswith("CuPy on CPU") for device in about["devices"])
    if report.stand_in:
        sys.stderr.write(f"CuPy runs on the CPU ({STAND_IN}), with --quick\n")
        report.quick = True
    report.pieces += gpu_pieces.pieces(driver, about["wheels"])
    for section, parts in SECTIONS.items() if report.has_device and report.complete else ():
        sys.stderr.write(f"{section} ...\n")
        start = time.perf_counter()
        try:
            for part in parts:
                for found in part(report.quick):
                    report.add(found)
        except Exception as error:  # the other sections can still run
            traceback.print_exc()
            detail = f"{type(error).__name__}: {error}"
            report.add(holds(f"{section} ran to its end", False, detail[:300]))
        report.about[f"{section}_seconds"] = round(time.perf_counter() - start, 3)
