"""``python -m benchmarks.peers``: the table of targets, measured, and what was reached.

Every candidate has a process of its own, pinned to as many cores as it has threads (one). Rounds
are interleaved, so what disturbs the machine disturbs all; the figure is the median.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.peers.measure import TOLERANCE, measure, parity
from benchmarks.peers.workloads import PEERS, WORKLOADS, Workload

from xpnet.bench import machine

CLOCKS = ("wall", "cpu")
NOISE = 1.05  # a target of a row with Numba is reached up to so many times its figure
FLOORS = ("floor-rows", "floor-columns")
MEMORY_LIMIT = 1.5  # of the floor's process
TWO_THREADS = {"784-256-128-10": {"torch": 0.75}}  # the only target that has two of them
# xpnet on another library's arrays beside that library by hand, and xpnet's own estimator, each
# pair for at least SECONDS of the same work: what a fit costs once is not what is asked here. The
# targets are of nets up to the parameters of 784-256-128-10, and of larger ones.
SECONDS, SMALL = 1.0, 235_146
EXTRA = (
    ("xpnet-torch", "torch", (0.9, 1.0)),
    ("xpnet-jax", "jax-scan", (1.05, 1.05)),
    ("xpnet-mlp", "xpnet", (1.1, 1.1)),
)


def main() -> None:
    arguments = _arguments()
    starts = tuple(arguments.rows.split(","))
    rows = [w for w in WORKLOADS if w.name.startswith(starts)]
    missed = 0
    for threads in arguments.threads:
        report = _table(rows, threads, arguments)
        missed += report["counts"]["short"] + report["counts"]["void"]
        path = _path(threads, arguments)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n")
        print(f"written to {path}")
    sys.exit(1 if arguments.strict and missed else 0)


def _table(rows: list[Workload], threads: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures all rows on so many threads: what goes into a file."""
    report: dict[str, Any] = {"threads": threads, "dtype": arguments.dtype}
    report |= {"rounds": arguments.rounds}
    report |= {"machine": machine.about() | {"revision": _revision()}, "rows": {}}
    counts = {"reached": 0, "short": 0, "void": 0, "measured": 0}
    print(f"\n{arguments.dtype}, threads: {threads}")
    for row in rows:
        trains, chosen = row.kind == "training", arguments.peers.split(",")
        wanted = [peer for peer in chosen if trains or peer in row.limits]
        entry = _row(row, wanted, threads, arguments)
        report["rows"][row.name] = entry
        for cell in entry["cells"].values():
            counts[cell["verdict"]] += 1
    report["counts"], report["load at the end"] = counts, os.getloadavg()
    print("\n" + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    return report


def _path(threads: int, arguments: argparse.Namespace) -> Path:
    """The file of this many threads; a name that was given is that of the first number."""
    path = Path(arguments.json or time.strftime("benchmarks/results/peers-%Y%m%d.json"))
    plain = arguments.threads[0] if arguments.json else 1
    more = "" if threads == plain else f"-{threads}-threads"
    if not arguments.json and arguments.dtype != "float32":
        more += f"-{arguments.dtype}"
    return path.with_stem(path.stem + more)


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rows", default="", help="rows whose name starts so, by commas")
    parser.add_argument("--peers", default=",".join(PEERS), help="columns, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    more = {"help": "threads and cores of each; several: one after the other, a file for each"}
    parser.add_argument("--threads", type=int, nargs="+", default=[1], **more)
    parser.add_argument(
        "--dtype",
        choices=tuple(TOLERANCE),
        default="float32",
        help="float64 is measured, there are no targets",
    )
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what to judge by")
    parser.add_argument("--extra", action="store_true", help="xpnet on torch and JAX; its MLP")
    parser.add_argument("--no-numba", action="store_true", help="leave out xpnet with Numba")
    parser.add_argument("--no-parity", action="store_true", help="skip the comparison in float64")
    parser.add_argument("--strict", action="store_true", help="fail unless every cell is reached")
    parser.add_argument("--json", help="instead of benchmarks/results/peers-DATE.json")
    return parser.parse_args()


def _row(
    row: Workload, peers: list[str], threads: int, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Measures a row, prints it, and returns what the file keeps of it."""
    names = ["xpnet", *(n for p in peers for n in (FLOORS if p == "floor" else (p,)))]
    if row.kind == "training" and find_spec("numba") and not arguments.no_numba:
        names.append("xpnet-numba")
    extra = EXTRA if arguments.extra and row.kind == "training" else ()
    names = list(dict.fromkeys([*names, *(peer for _, peer, _ in extra)]))
    how = arguments.rounds, threads, arguments.dtype
    found = measure(row, names, *how)
    times, faults = found["candidates"], found["ended"]
    judged = arguments.dtype == "float32"
    if row.kind == "training" and judged and not arguments.no_parity:
        trained = [n for n in (*names, *(ours for ours, *_ in extra)) if n not in FLOORS]
        for name, fault in parity(row, trained).items():
            faults[name] = faults.get(name) or fault
    if "floor-rows" in times:
        times["floor"] = min((times[f] for f in FLOORS), key=lambda t: t[arguments.clock])
    limits = (row.limits, row.fused) if threads == 1 else (TWO_THREADS.get(row.name, {}),) * 2
    cells = {}
    for ours, targets in zip(("xpnet", "xpnet-numba"), limits, strict=True):
        for peer in peers:
            if ours in times and peer in targets:
                pair = times[ours], times[peer]
                fault = faults.get(peer) or faults.get(ours) or ""
                limit = round(targets[peer] * (NOISE if row.fused else 1.0), 4) if judged else None
                cells[f"{ours}/{peer}"] = _cell(*pair, limit, arguments.clock, fault)
    for ours, peer, targets in extra:
        limit = targets[row.n_parameters > SMALL] if judged else None
        longer = row.lasting(SECONDS / times[peer]["wall"])
        pair = measure(longer, [ours, peer], *how)["candidates"]
        fault = faults.get(peer) or faults.get(ours) or ""
        cells[f"{ours}/{peer}"] = _cell(pair[ours], pair[peer], limit, arguments.clock, fault)
        times[f"{ours}, longer"], times[f"{peer}, beside {ours}"] = pair[ours], pair[peer]
    if times["xpnet"]["megabytes"] and "floor" in times:
        pair = [dict.fromkeys(CLOCKS, times[name]["megabytes"]) for name in ("xpnet", "floor")]
        cells["memory/floor"] = _cell(*pair, MEMORY_LIMIT if judged else None, arguments.clock, "")
    _print(row, times, cells, arguments.clock)
    return {"seconds": times, "cells": cells, "load": os.getloadavg()}


def _cell(ours: dict, peer: dict, limit: float | None, clock: str, fault: str) -> dict[str, Any]:
    ratio = {c: ours[c] / peer[c] for c in CLOCKS}
    judged = "measured" if limit is None else "reached" if ratio[clock] <= limit else "short"
    verdict = "void" if fault else judged
    return ratio | {"limit": limit, "verdict": verdict, "fault": fault}


def _print(row: Workload, times: dict, cells: dict, clock: str) -> None:
    unit = "us a step" if row.kind == "training" else "us a call"
    print(f"\n{row.name}, {unit} (load {os.getloadavg()[0]:.1f}): ", end="")
    print(", ".join(f"{name} {1e6 * t[clock]:.1f}" for name, t in times.items()))
    for name, cell in cells.items():
        other = "cpu" if clock == "wall" else "wall"
        limit = "" if cell["limit"] is None else f" <= {cell['limit']:<5}"
        numbers = f"{cell[clock]:6.3f}{limit} ({other} {cell[other]:.3f})"
        print(f"  {name:22} {numbers}  {cell['verdict']} {cell['fault']}", flush=True)


if __name__ == "__main__":
    main()
