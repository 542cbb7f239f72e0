"""One candidate in a process of its own: does what the lines on its standard input say.

``result``: a round without a clock (which compiles and warms), answered with where it ended.
``round``: as many runs by the clock as fill a fifth of a second. Answers are lines of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
from benchmarks.peers.adapters import create, estimators
from benchmarks.peers.workloads import WORKLOADS

ROUND = 0.2  # seconds


def main() -> None:
    row, name, dtype, epochs = sys.argv[1:]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-int(os.environ["OMP_NUM_THREADS"]) :])
    workload = next(w for w in WORKLOADS if w.name == row)
    workload = replace(workload, epochs=int(epochs))
    if name == "xpnet" and workload.kind == "lbfgs":
        candidate = estimators.CANDIDATES[name](workload, dtype)
    else:
        candidate = create(name, workload, dtype)
    if name == "torch":
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if workload.kind == "training":
        np.ones((512, 512), dtype) @ np.ones((512, 512), dtype)  # a cold BLAS runs at a third
    for line in sys.stdin:
        once = line.strip() == "result" or workload.kind == "inference"
        answer: dict[str, object] = timed(candidate, at_least=0.0 if once else ROUND)
        if line.strip() == "result":
            parameters, costs = candidate.result()
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            cost = None if parameters is None else workload.cost(parameters, dtype)
            answer |= {"costs": costs, "cost": cost, "kilobytes": memory}
            answer["engine"] = getattr(getattr(candidate, "history", None), "engine", None)
        print(json.dumps(answer), flush=True)


def timed(candidate: Any, at_least: float) -> dict[str, object]:
    """Mean seconds of a run, by the wall and of this process."""
    wall = cpu = 0.0
    runs = 0
    while wall < at_least or not runs:
        candidate.reset()
        walls, cpus = time.perf_counter(), time.process_time()
        candidate.run()
        wall += time.perf_counter() - walls
        cpu += time.process_time() - cpus
        runs += 1
    return {"wall": wall / runs, "cpu": cpu / runs}


if __name__ == "__main__":
    main()
