"""Interleaved rounds of one row: a process per candidate, all started, one running at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from typing import Any

from benchmarks.peers.workloads import Workload

from xpnet.bench.timing import interleaved

# How far from xpnet's a candidate may end, by the dtype it computes in. scikit-learn adds Adam's
# epsilon before the bias correction, so it is elsewhere in either.
TOLERANCE = {"float32": 1e-3, "float64": 1e-8}
SKLEARN_TOLERANCE = 5e-3
LBFGS_TOLERANCE = 2e-4


class Worker:
    """A candidate's process."""

    def __init__(self, row: Workload, name: str, dtype: str, threads: int):
        n = str(threads)
        # What would choose other kernels than a user gets, or make imports compile each time.
        foreign = ("OPENBLAS_", "PYTHONDONTWRITEBYTECODE")
        env = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
        env |= {"OMP_NUM_THREADS": n, "OPENBLAS_NUM_THREADS": n, "MKL_NUM_THREADS": n, "NPROC": n}
        env |= {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": str(int(dtype == "float64"))}
        if name != "xpnet-numba":
            env["XPNET_NUMBA"] = "0"
        if threads == 1:
            env["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        command = [sys.executable, "-m", "benchmarks.peers.worker", row.name, name, dtype]
        self.process = subprocess.Popen(
            [*command, str(row.epochs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )

    def ask(self, what: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args}: died with {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def measure(
    row: Workload, names: list[str], rounds: int, threads: int, dtype: str
) -> dict[str, Any]:
    """Seconds a step of each candidate (a call, where there are no steps), and who ended where."""
    ended: dict[str, Any] = {}
    if row.kind == "inference":

        def once(name: str) -> dict[str, Any]:
            with Worker(row, name, dtype, threads) as worker:
                return worker.ask("round")

        times = interleaved({name: partial(once, name) for name in names}, rounds)
    else:
        with ExitStack() as stack:
            workers = {
                name: stack.enter_context(Worker(row, name, dtype, threads)) for name in names
            }
            for name, worker in workers.items():
                ended[name] = worker.ask("result")
            asked = {name: partial(worker.ask, "round") for name, worker in workers.items()}
            times = interleaved(asked, rounds)
    steps = row.steps if row.kind == "training" else 1
    found = {
        name: {clock: median(t[clock] for t in times[name]) / steps for clock in ("wall", "cpu")}
        | {"walls": [t["wall"] / steps for t in times[name]]}
        | {"megabytes": ended[name]["kilobytes"] / 1024 if name in ended else None}
        | {"engine": ended[name]["engine"] if name in ended else None}
        for name in names
    }
    return {"candidates": found, "ended": _strayed(row, ended, dtype)}


def parity(row: Workload, names: list[str]) -> dict[str, str]:
    """Where candidates end after a shorter run in float64: "" if where xpnet does."""
    epochs = min(row.epochs, 60 if row.batch_size is None else 2)
    ended = {}
    for name in names:
        with Worker(replace(row, epochs=epochs), name, "float64", 1) as worker:
            ended[name] = worker.ask("result")
    return _strayed(row, ended, "float64")


def _strayed(row: Workload, ended: dict[str, Any], dtype: str) -> dict[str, str]:
    """For each candidate that has a result: "" or how far its costs are from the first one's."""
    verdicts: dict[str, str] = {}
    first = next(iter(ended.values()), None)
    for name, answer in ended.items():
        if name.startswith("floor"):
            continue
        pairs = list(zip(answer["costs"], first["costs"], strict=True))
        if answer["cost"] is not None:
            pairs.append((answer["cost"], first["cost"]))
        off = max(abs(a - b) / abs(b) for a, b in pairs)
        limit = SKLEARN_TOLERANCE if name in ("sklearn", "xpnet-mlp") else TOLERANCE[dtype]
        limit = LBFGS_TOLERANCE if row.kind == "lbfgs" else limit
        verdicts[name] = "" if off <= limit else f"{dtype} costs differ by {off:.1e} > {limit:.0e}"
    return verdicts
