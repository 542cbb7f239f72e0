"""What it costs to bring data to the device and back, apart from computing with it."""

import numpy as np

from xpnet import to_numpy

N_X = 64


def test_to_device(stopwatch, place, examples):
    """X (64, m) of the host as an array of the library. On a CPU some share the memory."""
    X = np.random.default_rng(0).standard_normal((N_X, examples), dtype=np.float32)
    stopwatch(place.asarray, X, flops=0)


def test_to_host(stopwatch, normal, examples):
    X = normal(N_X, examples)
    stopwatch.benchmark.extra_info["bytes"] = 4 * N_X * examples
    stopwatch.benchmark(to_numpy, X)
