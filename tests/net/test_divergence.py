"""A run that diverges stops, says where, and keeps the last finite parameters."""

from __future__ import annotations

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import assert_pairs_equal, raises_on_purpose
from net_helpers import data, make_net

import xpnet
from xpnet.callbacks import Checkpoints, latest_checkpoint

RNG = np.random.default_rng(29)


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
    history = net.fit(x, y, xpnet.GradientDescent(0.1), batch_size=None, epochs=20)
    assert history.cost[-1] < history.cost[0]


def test_the_error_goes_from_one_process_to_another():
    error = xpnet.DivergedError("it broke", epoch=3, cost=np.inf, last_cost=2.0, step=7)
    error.add_note("in the search")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("sizes", [[3, 2], [3, 6, 6, 2]], ids=["ols", "deep"])
@pytest.mark.parametrize("batch_size", [None, 5], ids=["full", "mini"])
@pytest.mark.parametrize("engine", ["generic", "numpy", "compiled"])
def test_no_number_of_epochs_leaves_infinite_parameters(engine, batch_size, sizes):
    """Also when the last update is the one that overflows, and no cost is computed after it.

    OLS creeps to infinity, a deep ReLU net gets there in a few steps: cost and parameters together.
    """
    X, Y = data("identity")
    rate, diverged = xpnet.GradientDescent(1e6), 0
    for epochs in range(1, 40):
        net = xpnet.DeepNet(sizes, "relu", "identity", backend="numpy", dtype="float64", seed=1)
        if engine == "compiled":
            pytest.importorskip("numba")
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


@pytest.mark.usefixtures("recorded")
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
    history = net.fit(X, Y, optimizer=xpnet.GradientDescent(1e6), batch_size=None, epochs=20)
    assert np.all(np.isfinite(history.cost))


def test_large_finite_parameters_are_no_divergence():
    net = xpnet.DeepNet([2, 1], output="identity", dtype="float32")
    net.parameters = [(np.full((1, 2), 3e38), np.zeros((1, 1)))]
    net.fit(np.zeros((2, 3)), np.zeros((1, 3)), epochs=0)
    history = net.fit(np.zeros((2, 3)), np.zeros((1, 3)), xpnet.GradientDescent(0.0), epochs=1)
    assert history.cost == [0.0]
    np.testing.assert_array_equal(net.parameters[0].W, np.full((1, 2), 3e38, np.float32))


@pytest.mark.usefixtures("recorded")
def test_divergence_in_the_middle_of_a_long_epoch_ends_it_there():
    """1600 updates an epoch: the check does not wait for the end, and the net is left finite."""
    x, ended = np.tile(RNG.normal(size=(3, 203)), (1, 40)), []
    look = SimpleNamespace(
        on_steps_end=lambda *_: None, on_epoch_end=lambda *_: ended.append("epoch")
    )
    y = x[:1].copy()
    x[:, 4000:] *= 1e8
    net = xpnet.DeepNet([3, 1], output="identity", dtype="float64")
    before = net.parameters
    options = {"batch_size": 5, "shuffle": False, "callbacks": [look]}
    with pytest.raises(xpnet.DivergedError, match="epoch 1 of 3") as caught:
        net.fit(x, y, xpnet.GradientDescent(0.1), epochs=3, **options)
    assert caught.value.epoch == 1
    assert not np.isfinite(caught.value.cost)
    assert ended == []
    assert_pairs_equal(net.parameters, before)


@pytest.mark.parametrize("optimizer", [xpnet.Adam(), xpnet.AdamW(), xpnet.RMSProp()])
def test_moments_that_overflow_are_divergence(lib, optimizer, tmp_path):
    """The squares of such gradients are infinite in float32; cost and parameters are not."""
    net = xpnet.DeepNet([3, 1], output="identity", dtype="float32", **lib.options)
    before = lib.host(net.parameters)
    x = lib.asarray((1e10 * RNG.normal(size=(3, 20))).astype("float32"))
    y = lib.asarray(np.full((1, 20), 1e12, "float32"))
    assert np.isfinite(net.cost(x, y))
    with pytest.raises(xpnet.DivergedError, match=r"epoch 1 of 3.*a moment of the optimiser"):
        net.fit(x, y, optimizer, epochs=3, batch_size=5, callbacks=[Checkpoints(tmp_path)])
    assert_pairs_equal(lib.host(net.parameters), before)
    assert [path.name for path in tmp_path.iterdir()] == [latest_checkpoint(tmp_path).name]
    assert xpnet.load(latest_checkpoint(tmp_path)).training_state.step == 0


@pytest.mark.usefixtures("recorded")
def test_divergence_in_the_middle_of_a_later_epoch_that_runs_in_parts(monkeypatch):
    """The replay runs in parts too, and must not start another replay from there."""
    monkeypatch.setattr("xpnet.training.plan.Pace.took", lambda self, steps, seconds: None)
    x = RNG.normal(size=(3, 500))
    net = xpnet.DeepNet([3, 1], output="identity", dtype="float64")
    expected = xpnet.DeepNet([3, 1], output="identity", dtype="float64")
    options = {"optimizer": xpnet.GradientDescent(0.01), "batch_size": 5}
    with pytest.raises(xpnet.DivergedError, match="epoch 2 of 9"):
        net.fit(
            x, x[:1], epochs=9, callbacks=[SimpleNamespace(on_steps_end=lambda *_: None)],
            schedule=lambda epoch: 1.0 if epoch < 1.1 else 1e300, **options,
        )  # fmt: skip
    expected.fit(x, x[:1], epochs=1, **options)
    assert_pairs_equal(net.parameters, expected.parameters)
    assert net.history.cost == expected.history.cost
