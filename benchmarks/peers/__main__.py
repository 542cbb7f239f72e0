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

from benchmarks.peers.measure import measure, parity
from benchmarks.peers.workloads import PEERS, WORKLOADS, Workload

from xpnet.bench import machine

CLOCKS = ("wall", "cpu")
NOISE = 1.05  # a target of a row with Numba is reached up to so many times its figure
FLOORS = ("floor-rows", "floor-columns")
MEMORY_LIMIT = 1.5  # of the floor's process
TWO_THREADS = {"784-256-128-10": {"torch": 0.75}}  # the only target that has two of them
# xpnet on another library's arrays beside that library by hand, and xpnet's own estimator, each
# pair for at least SECONDS of the same work: what a fit costs once is not what is asked here.
SECONDS = 1.0
EXTRA = (
    ("xpnet-torch", "torch", 1.0),
    ("xpnet-jax", "jax-scan", 1.05),
    ("xpnet-mlp", "xpnet", 1.1),
)


def main() -> None:
    arguments = _arguments()
    starts = tuple(arguments.rows.split(","))
    rows = [w for w in WORKLOADS if w.name.startswith(starts)]
    report: dict[str, Any] = {"threads": arguments.threads, "rounds": arguments.rounds}
    report |= {"machine": machine.about() | {"revision": _revision()}, "rows": {}}
    counts = {"reached": 0, "short": 0, "void": 0}
    for row in rows:
        trains, chosen = row.kind == "training", arguments.peers.split(",")
        wanted = [peer for peer in chosen if trains or peer in row.limits]
        entry = _row(row, wanted, arguments)
        report["rows"][row.name] = entry
        for cell in entry["cells"].values():
            counts[cell["verdict"]] += 1
    report["counts"], report["load at the end"] = counts, os.getloadavg()
    print("\n" + ", ".join(f"{n} {verdict}" for verdict, n in counts.items()))
    path = Path(arguments.json)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {path}")
    sys.exit(1 if arguments.strict and counts["short"] + counts["void"] else 0)


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rows", default="", help="rows whose name starts so, by commas")
    parser.add_argument("--peers", default=",".join(PEERS), help="columns, separated by commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="threads and cores of each")
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what to judge by")
    parser.add_argument("--extra", action="store_true", help="xpnet on torch and JAX; its MLP")
    parser.add_argument("--no-numba", action="store_true", help="leave out xpnet with Numba")
    parser.add_argument("--no-parity", action="store_true", help="skip the comparison in float64")
    parser.add_argument("--strict", action="store_true", help="fail unless every cell is reached")
    parser.add_argument("--json", default=time.strftime("benchmarks/results/peers-%Y%m%d.json"))
    return parser.parse_args()


def _row(row: Workload, peers: list[str], arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures a row, prints it, and returns what the file keeps of it."""
    names = ["xpnet", *(n for p in peers for n in (FLOORS if p == "floor" else (p,)))]
    fused = row.fused
    if row.kind == "training" and find_spec("numba") and not arguments.no_numba:
        names.append("xpnet-numba")
    extra = EXTRA if arguments.extra and row.kind == "training" else ()
    names = list(dict.fromkeys([*names, *(peer for _, peer, _ in extra)]))
    found = measure(row, names, arguments.rounds, arguments.threads)
    times, faults = found["candidates"], found["ended"]
    if row.kind == "training" and not arguments.no_parity:
        trained = [n for n in (*names, *(ours for ours, *_ in extra)) if n not in FLOORS]
        for name, fault in parity(row, trained).items():
            faults[name] = faults.get(name) or fault
    if "floor-rows" in times:
        times["floor"] = min((times[f] for f in FLOORS), key=lambda t: t[arguments.clock])
    limits = (row.limits, fused) if arguments.threads == 1 else (TWO_THREADS.get(row.name, {}),) * 2
    cells = {}
    for ours, targets in zip(("xpnet", "xpnet-numba"), limits, strict=True):
        for peer in peers:
            if ours in times and peer in targets:
                pair = times[ours], times[peer]
                fault = faults.get(peer) or faults.get(ours) or ""
                limit = round(targets[peer] * (NOISE if row.fused else 1.0), 4)
                cells[f"{ours}/{peer}"] = _cell(*pair, limit, arguments.clock, fault)
    for ours, peer, limit in extra:
        longer = row.lasting(SECONDS / times[peer]["wall"])
        pair = measure(longer, [ours, peer], arguments.rounds, arguments.threads)["candidates"]
        fault = faults.get(peer) or faults.get(ours) or ""
        cells[f"{ours}/{peer}"] = _cell(pair[ours], pair[peer], limit, arguments.clock, fault)
        times[f"{ours}, longer"], times[f"{peer}, beside {ours}"] = pair[ours], pair[peer]
    if times["xpnet"]["megabytes"] and "floor" in times:
        pair = [dict.fromkeys(CLOCKS, times[name]["megabytes"]) for name in ("xpnet", "floor")]
        cells["memory/floor"] = _cell(*pair, MEMORY_LIMIT, arguments.clock, "")
    _print(row, times, cells, arguments.clock)
    return {"seconds": times, "cells": cells, "load": os.getloadavg()}


def _cell(ours: dict, peer: dict, limit: float, clock: str, fault: str) -> dict[str, Any]:
    ratio = {c: ours[c] / peer[c] for c in CLOCKS}
    verdict = "void" if fault else "reached" if ratio[clock] <= limit else "short"
    return ratio | {"limit": limit, "verdict": verdict, "fault": fault}


def _print(row: Workload, times: dict, cells: dict, clock: str) -> None:
    unit = "us a step" if row.kind == "training" else "us a call"
    print(f"\n{row.name}, {unit} (load {os.getloadavg()[0]:.1f}): ", end="")
    print(", ".join(f"{name} {1e6 * t[clock]:.1f}" for name, t in times.items()))
    for name, cell in cells.items():
        other = "cpu" if clock == "wall" else "wall"
        numbers = f"{cell[clock]:6.3f} <= {cell['limit']:<5} ({other} {cell[other]:.3f})"
        print(f"  {name:22} {numbers}  {cell['verdict']} {cell['fault']}", flush=True)


if __name__ == "__main__":
    main()
