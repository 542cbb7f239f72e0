"""The floor: a step's 3L - 1 matrix products, into buffers that are there, and nothing else."""

from __future__ import annotations

from functools import partial

import xpnet
from xpnet.bench.products import floors


class Floor:
    """Products alone: it trains nothing, so it has no result to compare."""

    def __init__(self, workload, dtype, layout):
        self.data = workload.data(dtype)  # held, as every candidate does: memory is compared too
        place = xpnet.select("numpy", dtype=dtype)
        m = workload.batch_size or workload.m
        self.step = floors(place, workload.sizes, m, [layout])[layout].call
        self.steps = workload.steps

    def reset(self):
        pass

    def run(self):
        step = self.step
        for _ in range(self.steps):
            step()

    def result(self):
        return None, []


CANDIDATES = {
    "floor-rows": partial(Floor, layout="rows"),
    "floor-columns": partial(Floor, layout="columns"),
}
