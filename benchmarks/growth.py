"""``python -m benchmarks.growth``: how a step of the NumPy engine grows, measured and fitted.

One thing varies at a time: hidden units, hidden layers, the batch. A step is taken to cost

    t_step + layers * t_layer + flops * t_flop + parameters * t_param + activations * t_act

and the five times are those that fit all measurements best, in relative terms, none negative.
Examples enter only through the number of steps in an epoch.
"""

from __future__ import annotations

import os
from itertools import pairwise
from statistics import median

import numpy as np

import xpnet
from xpnet.bench.products import step_flops
from xpnet.bench.timing import Timed, interleaved

SERIES = {
    "hidden units": [([64, h, 10], 64) for h in (16, 32, 64, 128, 256, 512, 1024, 2048)],
    "hidden layers": [([64] + [64] * n + [10], 64) for n in (1, 2, 3, 4, 6, 8)],
    "batch": [([64, 64, 10], m) for m in (8, 16, 32, 64, 128, 256, 512, 1024)],
}


def seconds(sizes: list[int], m: int) -> float:
    """Median seconds of a warm Adam step: a long fit less a short one, which set up alike."""
    generator = np.random.default_rng(0)
    X = generator.standard_normal((sizes[0], 4 * m), dtype=np.float32)
    y = generator.integers(0, sizes[-1], 4 * m)
    net = xpnet.DeepNet(sizes, output="softmax", backend="numpy", dtype="float32")

    def fit(epochs: int) -> float:
        adam = xpnet.Adam(1e-3)
        return Timed(lambda: net.fit(X, y, adam, epochs=epochs, batch_size=m)).seconds()

    epochs = 4
    while fit(1 + epochs) < 0.1:
        epochs *= 2
    found = interleaved({"long": lambda: fit(1 + epochs), "short": lambda: fit(1)}, rounds=5)
    pairs = zip(found["long"], found["short"], strict=True)
    return median((long - short) / (4 * epochs) for long, short in pairs)


def features(sizes: list[int], m: int) -> list[float]:
    pairs = list(pairwise(sizes))
    products = sum(n * k for n, k in pairs)
    return [
        1.0,
        len(pairs),
        float(step_flops(sizes, m)),
        products + sum(sizes[1:]),
        m * sum(sizes[1:]),
    ]


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
            t = seconds(sizes, m)
            rows.append(features(sizes, m))
            times.append(t)
            shape = "-".join(map(str, sizes)) if len(sizes) < 5 else f"64 x {len(sizes) - 2}"
            print(f"  {shape:>14}, batch {m:5}: {1e6 * t:9.1f}", flush=True)
    A, t = np.array(rows), np.array(times)
    x = fit(A, t)
    off = np.abs(A @ x / t - 1)
    print(f"\na step {1e6 * x[0]:.1f} us, a layer {1e6 * x[1]:.1f} us,", end=" ")
    print(f"{1e-9 / x[2]:.0f} GFLOP/s," if x[2] else "", end=" ")
    print(f"a parameter {1e9 * x[3]:.2f} ns, an activation {1e9 * x[4]:.2f} ns")
    print(f"off by {100 * np.median(off):.0f} % in the median, {100 * off.max():.0f} % at most")


if __name__ == "__main__":
    os.environ.setdefault("XPNET_NUMBA", "0")
    main()
