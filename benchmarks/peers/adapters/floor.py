"""The floor: a step's 3L - 1 matrix products, into buffers that are there, and nothing else."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np


class Floor:
    """Products alone: it trains nothing, so it has no result to compare."""

    def __init__(self, workload, dtype, order):
        generator = np.random.default_rng(0)
        m = workload.batch_size or workload.m
        self.data = workload.data(dtype)  # held, as every candidate does: memory is compared too

        def buffer(*shape, order="C"):
            return np.array(generator.standard_normal(shape) / 100, dtype, order=order)

        # Examples are rows here: column-major buffers are then feature-major.
        A = [buffer(m, workload.sizes[0])]
        A += [buffer(m, n, order=order) for n in workload.sizes[1:]]
        W = [buffer(k, n) for n, k in pairwise(workload.sizes)]
        self.calls, self.steps = [], workload.steps

        def product(a, b, out):
            self.calls.append(
                partial(a.dot, b, out) if out.flags.c_contiguous else partial(b.T.dot, a.T, out.T)
            )

        for l, w in enumerate(W):
            product(A[l], w.T, A[l + 1])
        for l in reversed(range(len(W))):
            product(A[l + 1].T, A[l], np.empty_like(W[l]))
            if l > 0:
                product(A[l + 1], W[l], np.empty_like(A[l]))

    def reset(self):
        pass

    def run(self):
        calls = self.calls
        for _ in range(self.steps):
            for call in calls:
                call()

    def result(self):
        return None, []


CANDIDATES = {
    "floor-rows": lambda workload, dtype: Floor(workload, dtype, "C"),
    "floor-columns": lambda workload, dtype: Floor(workload, dtype, "F"),
}
