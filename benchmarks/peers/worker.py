"""One candidate in a process of its own: does what the lines on its standard input say.

``result``: a round without a clock (which compiles and warms), answered with where it ended.
``round``: a round by the clock. Answers are lines of JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from dataclasses import replace

import numpy as np

from benchmarks.peers.adapters import create, estimators
from benchmarks.peers.workloads import WORKLOADS


def main() -> None:
    row, name, dtype, epochs = sys.argv[1:]
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores[-int(os.environ["OMP_NUM_THREADS"]) :])
    workload = next(w for w in WORKLOADS if w.name == row)
    workload = replace(workload, epochs=int(epochs) or workload.epochs)
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
        candidate.reset()
        wall, cpu = time.perf_counter(), time.process_time()
        candidate.run()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        answer: dict[str, object] = {"wall": wall, "cpu": cpu}
        if line.strip() == "result":
            parameters, costs = candidate.result()
            memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            cost = None if parameters is None else workload.cost(parameters, dtype)
            answer |= {"costs": costs, "cost": cost, "kilobytes": memory}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
