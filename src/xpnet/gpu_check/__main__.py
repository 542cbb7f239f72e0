"""``python -m xpnet.gpu_check [--json FILE] [--quick]``

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
from typing import Any, NoReturn

from xpnet.gpu_check import machine
from xpnet.gpu_check.report import STAND_IN, Check, Figure, Report, holds

WRONG_OPTIONS = 64  # EX_USAGE; argparse would take 2, which means "no device" here


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(WRONG_OPTIONS, f"{self.prog}: error: {message}\n")


def main(args: Sequence[str] | None = None) -> int:
    """Runs everything, prints tables, and returns the exit status."""
    parser = _Parser(
        prog="python -m xpnet.gpu_check",
        description="Checks CuPy on this machine's GPU against NumPy, and takes timings.",
        epilog="Exit status: 0 all passed; 1 something is missing or failed; 2 no CUDA device, "
        "which is not a pass; 64 wrong options.",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything found to FILE")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that all of it runs"
    )
    options = parser.parse_args(args)
    report = Report(quick=options.quick)
    try:
        run(report)
    finally:  # also what was found before Ctrl-C
        if options.json:
            text = json.dumps(_finite(report.to_json()), indent=2)
            options.json.write_text(text + "\n", encoding="utf-8")
    report.show()
    return report.status


def run(report: Report) -> None:
    """Fills a report."""
    report.about = machine.about() | {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    report.has_device, report.stand_in = machine.has_device(), machine.is_stand_in()
    if report.stand_in:
        _say(f"CuPy runs on the CPU ({STAND_IN}), with --quick")
        report.quick = True
    for piece in machine.pieces(machine.find_driver(), machine.find_wheels()):
        report.add(piece)
    if not (report.has_device and report.complete):
        return
    from xpnet.gpu_check.correctness import correctness
    from xpnet.gpu_check.memory import memory
    from xpnet.gpu_check.timing import timing

    sections: tuple[Callable[[bool], Iterator[Check | Figure]], ...] = correctness, memory, timing
    for section in sections:
        _say(f"{section.__name__} ...")
        start = time.perf_counter()
        try:
            for found in section(report.quick):
                report.add(found)
        except Exception as error:  # the other sections still have something to say
            traceback.print_exc()
            detail = f"{type(error).__name__}: {error}"
            report.add(holds(f"{section.__name__} ran to its end", False, detail[:300]))
        report.about[f"{section.__name__}_seconds"] = round(time.perf_counter() - start, 3)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _finite(x: Any) -> Any:
    """``x`` with NaN and infinities as text: JSON has no word for them."""
    if isinstance(x, dict):
        return {key: _finite(value) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_finite(value) for value in x]
    if isinstance(x, float) and not -float("inf") < x < float("inf"):
        return str(x)
    return x


if __name__ == "__main__":
    sys.exit(main())
