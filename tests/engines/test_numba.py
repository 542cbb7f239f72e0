"""The NumPy engine follows the reference with Numba's fused loops and without them."""

from itertools import product

import numpy as np
import pytest
from helpers import OPTIMIZERS

import xpnet
from xpnet.core.activations import ACTIVATIONS
from xpnet.engines import numpy as engine

ADAM = xpnet.Adam(1e-2)
RNG = np.random.default_rng(5)
X = RNG.standard_normal((7, 33))
LABELS = RNG.integers(0, 3, 33)


@pytest.fixture(params=["plain", "fused"])
def recorder(request, monkeypatch):
    """The recorder that the NumPy engine uses during a test."""
    chosen = engine.Recorder
    if request.param == "fused":
        pytest.importorskip("numba")
        from xpnet.engines.numba import Recorder as chosen
    monkeypatch.setattr(engine, "best_recorder", lambda: chosen)
    return chosen


def fitted(sizes, hidden, output, optimizer, **options):
    net = xpnet.DeepNet(sizes, hidden, output, seed=2)
    Y = LABELS if output == "softmax" else np.eye(3)[LABELS].T
    history = net.fit(X, Y, optimizer, epochs=12, **options)
    return np.concatenate([x.ravel() for layer in net.parameters for x in layer]), history.cost


def check(sizes, hidden, output, optimizer, **options):
    found, cost = fitted(sizes, hidden, output, optimizer, **options)
    with xpnet.engines.use("generic"):
        expected, expected_cost = fitted(sizes, hidden, output, optimizer, **options)
    assert np.max(np.abs(found - expected)) <= 1e-10 * np.max(np.abs(expected))
    np.testing.assert_allclose(cost, expected_cost, rtol=1e-10)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_every_activation_and_loss(recorder, hidden, output):
    check([7, 6, 5, 3], hidden, output, ADAM, batch_size=8, l2=0.01)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser(recorder, name):
    optimizer, _ = OPTIMIZERS[name]
    for batch_size, weighted, l2 in product((None, 10), (False, True), (0.0, 0.1)):
        w = np.arange(33) % 4 if weighted else None
        check(
            [7, 6, 3], "relu", "softmax", optimizer, batch_size=batch_size, sample_weight=w, l2=l2
        )


@pytest.mark.parametrize("wide", [65, 130])
def test_layers_wider_than_the_feature_major_ones(recorder, wide):
    check([7, wide, wide, 3], "relu", "softmax", ADAM, batch_size=10, l2=0.01)


def test_one_example_at_a_time(recorder):
    check([7, 6, 3], "relu", "softmax", ADAM, batch_size=1, sample_weight=np.ones(33))


def test_nan_goes_through_relu(recorder):
    net = xpnet.DeepNet([7, 6, 3], "relu", "softmax")
    with pytest.raises(xpnet.DivergedError):
        net.fit(X * 1e150, LABELS, xpnet.GradientDescent(1e160), epochs=50)
    assert all(np.all(np.isfinite(x)) for layer in net.parameters for x in layer)


def test_numba_can_be_left_out(monkeypatch):
    monkeypatch.setenv("XPNET_NUMBA", "0")
    engine.best_recorder.cache_clear()
    try:
        assert engine.best_recorder() is engine.Recorder
    finally:
        engine.best_recorder.cache_clear()
