"""``python -m benchmarks.compare A B [--rounds N] [pytest arguments]``: two git revisions.

Today's benchmarks run on the sources of A and of B in turn, a process each, so that what disturbs
the machine disturbs both. Per benchmark it prints the median over the rounds of B's time over A's,
and fails where that is above 1.10.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

from xpnet.bench.timing import interleaved

LIMIT = 1.10


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__)
    parser.add_argument("revisions", nargs=2, metavar="REVISION")
    parser.add_argument("--rounds", type=int, default=5)
    arguments, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory() as name:
        folders = [unpacked(r, Path(name, str(i))) for i, r in enumerate(arguments.revisions)]
        runs = {folder.name: partial(medians, folder, rest) for folder in folders}
        a, b = interleaved(runs, arguments.rounds).values()
    ratios = median_ratios(a, b)
    for benchmark, ratio in sorted(ratios.items(), key=lambda item: item[1]):
        print(f"{ratio:6.3f}{' slower' if ratio > LIMIT else '       '} {benchmark}")
    slower = sum(ratio > LIMIT for ratio in ratios.values())
    print(f"{len(ratios)} benchmarks, {arguments.rounds} rounds: the median ratio is", end=" ")
    print(f"{median(ratios.values()):.3f}, {slower} above {LIMIT:.2f}")
    sys.exit(1 if slower else 0)


def unpacked(revision: str, folder: Path) -> Path:
    """The folder, with the sources of a revision in it."""
    archive = subprocess.check_output(["git", "archive", revision, "src"])
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def medians(folder: Path, arguments: list[str]) -> dict[str, float]:
    """Median seconds of each benchmark on the sources in ``folder``, in one process."""
    environment = os.environ | {"PYTHONPATH": str(folder / "src")}
    found = folder / "found.json"
    # Those of test_speed_ratios.py compare within a revision.
    options = ["--ignore=benchmarks/test_speed_ratios.py", f"--benchmark-json={found}", "-qq"]
    command = [sys.executable, "-m", "pytest", "benchmarks", *options, *arguments]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{run.stdout}{run.stderr}the benchmarks failed on {folder}")
    print(".", end="", flush=True)
    return {
        b["fullname"]: b["stats"]["median"] for b in json.loads(found.read_text())["benchmarks"]
    }


def median_ratios(a: list[dict[str, float]], b: list[dict[str, float]]) -> dict[str, float]:
    """Per benchmark, the median over rounds of its time in ``b`` over its time in ``a``."""
    return {name: median(y[name] / x[name] for x, y in zip(a, b, strict=True)) for name in a[0]}


if __name__ == "__main__":
    main()
