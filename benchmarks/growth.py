"""``python -m benchmarks.growth``: how a step of the NumPy engine grows, measured and fitted.

One thing varies at a time: hidden units, hidden layers, the batch. A step is taken to cost

    calls * t_call + flops * t_flop + parameters * t_parameter + activations * t_activation

and the four times are those that fit all measurements best, in relative terms, none negative.
Examples enter only through the number of steps in an epoch.
"""

from __future__ import annotations

import os
import time
from itertools import pairwise
from statistics import median

import numpy as np

import xpnet
from xpnet.engines import numpy as engine

SERIES = {
    "hidden units": [([64, h, 10], 64) for h in (16, 32, 64, 128, 256, 512, 1024, 2048)],
    "hidden layers": [([64] + [64] * n + [10], 64) for n in (1, 2, 3, 4, 6, 8)],
    "batch": [([64, 64, 10], m) for m in (8, 16, 32, 64, 128, 256, 512, 1024)],
}


def seconds(sizes: list[int], m: int) -> tuple[float, int]:
    """Median seconds of a warm Adam step, and its calls."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((sizes[0], 4 * m), dtype=np.float32)
    y = generator.integers(0, sizes[-1], 4 * m)
    net = xpnet.DeepNet(sizes, output="softmax", backend="numpy", dtype="float32")
    programs = []
    original = engine.Program.run

    def run(self, orders, table):
        programs.append(self)
        return original(self, orders, table)

    engine.Program.run = run
    try:
        net.fit(X, y, xpnet.Adam(1e-3), epochs=2, batch_size=m)
    finally:
        engine.Program.run = original
    ((_, calls, _),) = programs[0].recordings.values()
    times = []
    deadline = time.perf_counter() + 0.4
    while time.perf_counter() < deadline or len(times) < 10:
        start = time.perf_counter()
        for call in calls:
            call()
        times.append(time.perf_counter() - start)
    return median(times), len(calls)


def features(sizes: list[int], m: int, calls: int) -> list[float]:
    pairs = list(pairwise(sizes))
    products = sum(n * k for n, k in pairs)
    flops = 2.0 * m * (3 * products - sizes[0] * sizes[1])  # no product goes back to the input
    return [calls, flops, products + sum(sizes[1:]), m * sum(sizes[1:])]


def fit(A: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Least squares of relative errors; columns that would be negative are left out, one by one."""
    A = A / t[:, None]
    used = list(range(A.shape[1]))
    while True:
        x = np.zeros(A.shape[1])
        x[used] = np.linalg.lstsq(A[:, used], np.ones(len(t)), rcond=None)[0]
        if np.all(x >= 0):
            return x
        used.remove(int(np.argmin(x)))


def main() -> None:
    rows, times = [], []
    for name, nets in SERIES.items():
        print(f"\n{name}: microseconds a step")
        for sizes, m in nets:
            t, calls = seconds(sizes, m)
            rows.append(features(sizes, m, calls))
            times.append(t)
            shape = "-".join(map(str, sizes)) if len(sizes) < 5 else f"64 x {len(sizes) - 2}"
            print(f"  {shape:>14}, batch {m:5}: {1e6 * t:9.1f}", flush=True)
    A, t = np.array(rows), np.array(times)
    x = fit(A, t)
    off = np.abs(A @ x / t - 1)
    print(f"\na call {1e6 * x[0]:.3f} us, {1e-9 / x[1]:.0f} GFLOP/s," if x[1] else "", end=" ")
    print(f"a parameter {1e9 * x[2]:.2f} ns, an activation {1e9 * x[3]:.2f} ns")
    print(f"off by {100 * np.median(off):.0f} % in the median, {100 * off.max():.0f} % at most")


if __name__ == "__main__":
    os.environ.setdefault("XPNET_NUMBA", "0")
    main()
