"""A run that diverges stops, says where, and keeps the last finite parameters."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import assert_pairs_equal, raises_on_purpose
from net_helpers import data, make_net

import xpnet


@pytest.mark.parametrize("batch_size", [None, 5], ids=["full", "mini"])
def test_a_diverging_run_stops_and_says_where(lib, batch_size):
    x, y = map(lib.asarray, data("identity"))
    net = make_net(lib, output="identity", sizes=[3, 2])
    start = net.parameters
    with raises_on_purpose(xpnet.DivergedError, r"epoch", r"cost") as info:
        net.fit(x, y, xpnet.GradientDescent(1e6), epochs=200, batch_size=batch_size)
    error = info.value
    assert isinstance(error, ArithmeticError)
    assert not np.isfinite(error.cost)
    assert np.isfinite(error.last_cost)
    assert 0 <= error.epoch < 200
    message = str(error)
    assert str(error.epoch) in message
    assert "inf" in message or "nan" in message
    assert f"{error.last_cost:.3g}"[:3] in message
    assert all(np.all(np.isfinite(x)) for layer in lib.host(net.parameters) for x in layer)
    net.parameters = start  # from there the net trains again
    history = net.fit(x, y, xpnet.GradientDescent(0.1), epochs=20)
    assert history.cost[-1] < history.cost[0]


@pytest.mark.parametrize("sizes", [[3, 2], [3, 6, 6, 2]], ids=["ols", "deep"])
@pytest.mark.parametrize("batch_size", [None, 5], ids=["full", "mini"])
@pytest.mark.parametrize("engine", ["generic", "numpy"])
def test_no_number_of_epochs_leaves_infinite_parameters(engine, batch_size, sizes):
    """Also when the last update is the one that overflows, and no cost is computed after it.

    OLS creeps to infinity, a deep ReLU net gets there in a few steps: cost and parameters together.
    """
    X, Y = data("identity")
    rate, diverged = xpnet.GradientDescent(1e6), 0
    for epochs in range(1, 40):
        net = xpnet.DeepNet(sizes, "relu", "identity", backend="numpy", dtype="float64", seed=1)
        try:
            with xpnet.engines.use(engine):
                net.fit(X, Y, optimizer=rate, epochs=epochs, batch_size=batch_size)
        except xpnet.DivergedError as error:
            diverged += 1
            assert error.epoch <= epochs  # noqa: PT017
        for W, b in net.parameters:
            assert np.all(np.isfinite(W)), epochs
            assert np.all(np.isfinite(b)), epochs
    assert diverged


def test_the_parameters_left_are_those_before_the_epoch_that_broke():
    X, Y = data("identity")

    def make():
        return xpnet.DeepNet([3, 6, 6, 2], "relu", "identity", backend="numpy", seed=1)

    settings = {"optimizer": xpnet.GradientDescent(10.0), "batch_size": 5}
    broken, shorter = make(), make()
    with pytest.raises(xpnet.DivergedError) as info:
        broken.fit(X, Y, epochs=100, **settings)
    good = info.value.epoch - 1  # epochs are counted from 1
    assert good >= 1
    history = shorter.fit(X, Y, epochs=good, **settings)
    assert_pairs_equal(broken.parameters, shorter.parameters)
    assert info.value.last_cost == history.cost[-1]


def test_a_large_finite_rate_that_does_not_diverge_is_no_error():
    """Stable costs stay finite: logistic regression at rate 1e6 is silly, not infinite."""
    X, Y = data(n_y=1)
    net = xpnet.logistic_regression(3)
    history = net.fit(X, Y, optimizer=xpnet.GradientDescent(1e6), epochs=20)
    assert np.all(np.isfinite(history.cost))


def test_large_finite_parameters_are_no_divergence():
    net = xpnet.DeepNet([2, 1], output="identity", dtype="float32")
    net.parameters = [(np.full((1, 2), 3e38), np.zeros((1, 1)))]
    net.fit(np.zeros((2, 3)), np.zeros((1, 3)), epochs=0)
    history = net.fit(np.zeros((2, 3)), np.zeros((1, 3)), xpnet.GradientDescent(0.0), epochs=1)
    assert history.cost == [0.0]
    np.testing.assert_array_equal(net.parameters[0].W, np.full((1, 2), 3e38, np.float32))
