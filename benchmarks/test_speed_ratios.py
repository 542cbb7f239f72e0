"""Two promises of the NumPy engine, as ratios measured in one run, in turn, on one machine."""

import statistics
import time
from collections.abc import Callable

import numpy as np
import pytest

import xpnet

pytestmark = pytest.mark.benchmark(group="ratios")


def interleaved_medians(*runs: Callable[[], object], rounds: int) -> list[float]:
    """Median seconds of each run; taken in turn, so that a busy machine slows all alike."""
    seconds: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()  # warm-up
    for _ in range(rounds):
        for run, times in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


@pytest.fixture
def hold(benchmark, smoke):
    """``hold(fast, slow, limit, steps)``: fast takes at most ``limit`` of slow's time."""

    def check(fast, slow, limit, steps):
        ours, theirs = interleaved_medians(fast, slow, rounds=1 if smoke else 15)
        benchmark.extra_info.update(
            ratio=ours / theirs,
            limit=limit,
            microseconds_per_step=[1e6 * ours / steps, 1e6 * theirs / steps],
        )
        benchmark.pedantic(fast, rounds=1)
        print(
            f"\n{1e6 * ours / steps:.1f} us against {1e6 * theirs / steps:.1f} us per step, ",
            end="",
        )
        print(f"ratio {ours / theirs:.3f}, at most {limit}")
        assert smoke or ours <= limit * theirs

    return check


def notes_shallow_net(X, Y, n_h, alpha, iterations):
    """The notes' shallow net (hidden layer tanh, output sigmoid), line by line."""
    generator = np.random.default_rng(0)
    m = X.shape[1]
    W1, b1 = generator.standard_normal((n_h, X.shape[0])) * 0.01, np.zeros((n_h, 1))
    W2, b2 = generator.standard_normal((1, n_h)) * 0.01, np.zeros((1, 1))
    for _ in range(iterations):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        A2 = 1 / (1 + np.exp(-Z2))
        J = -np.sum(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)) / m
        dZ2 = A2 - Y
        dW2 = dZ2 @ A1.T / m
        db2 = np.sum(dZ2, axis=1, keepdims=True) / m
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T / m
        db1 = np.sum(dZ1, axis=1, keepdims=True) / m
        W1 = W1 - alpha * dW1
        b1 = b1 - alpha * db1
        W2 = W2 - alpha * dW2
        b2 = b2 - alpha * db2
    return J


def test_shallow_net_against_the_notes(hold, smoke):
    """2-4-1, m = 400, full batch, float64: at most 60 % of the notes' own lines."""
    iterations = 3 if smoke else 1000
    generator = np.random.default_rng(0)
    X = generator.standard_normal((2, 400))
    Y = (X[:1] * X[1:] > 0).astype(float)  # two classes in four quadrants
    net = xpnet.shallow_net(2, 4, backend="numpy")
    optimizer = xpnet.GradientDescent(0.5)
    hold(
        lambda: net.fit(X, Y, optimizer=optimizer, batch_size=None, epochs=iterations),
        lambda: notes_shallow_net(X, Y, 4, 0.5, iterations),
        limit=0.6,
        steps=iterations,
    )


def test_deep_net_against_the_generic_engine(hold, smoke):
    """784-256-128-10, batch 128, Adam, float32: at most 0.8 x the reference leaves on NumPy."""
    batches = 2 if smoke else 20
    m = 128 * batches
    generator = np.random.default_rng(0)
    X = generator.standard_normal((784, m)).astype(np.float32)
    Y = generator.integers(0, 10, m)
    orders = [generator.permutation(m) for _ in range(2)]

    def epochs(engine):
        net = xpnet.DeepNet([784, 256, 128, 10], output="softmax", backend="numpy", dtype="float32")
        with xpnet.engines.use(engine):
            net.fit(
                X,
                Y,
                optimizer=xpnet.Adam(1e-3),
                epochs=2,
                batch_size=128,
                shuffle=orders.__getitem__,
            )

    hold(lambda: epochs("numpy"), lambda: epochs("generic"), limit=0.8, steps=2 * batches)
