"""The loop in parts: stopped in the middle of an epoch, resumed and diverging there; schedules."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import assert_pairs_equal

import xpnet
from xpnet.schedules import Cosine, Plateau, Step

RNG = np.random.default_rng(29)
X = RNG.normal(size=(3, 203))
Y = (X[:1] * X[1:2] > 0).astype(float)
MINI = {"optimizer": xpnet.Adam(0.01), "batch_size": 5}  # 41 steps an epoch, the last of 3


def make_net(lib=None, **settings):
    options = lib.options if lib else {"backend": "numpy"}
    options = {"dtype": "float64", "seed": 1} | options | settings
    return xpnet.DeepNet([3, 6, 4, 1], hidden="tanh", **options)


def assert_pairs_close(found, expected):
    for f, e in zip(found, expected, strict=True):
        for one, other in zip(f, e, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


class StopAfter:
    """Ends a fit at the first look after so many updates, be it in the middle of an epoch."""

    def __init__(self, steps):
        self.steps, self.looks = steps, []

    def on_steps_end(self, net, progress):
        self.looks.append((progress.epoch, progress.position, progress.step))
        return progress.step >= self.steps

    def on_epoch_end(self, net, progress):
        return progress.step >= self.steps


@pytest.mark.parametrize("steps", [1, 16, 17, 41, 60, 130, 150])
def test_a_fit_stopped_in_the_middle_goes_on_to_the_last_bit(lib, steps):
    x, y = lib.asarray(X), lib.asarray(Y)
    long, parts = make_net(lib), make_net(lib)
    options = MINI | {"schedule": Step(2, 0.5), "l2": 1e-3}
    long.fit(x, y, epochs=6, **options)
    stopped = parts.fit(x, y, epochs=6, callbacks=[StopAfter(steps)], **options)
    state = parts.training_state
    assert state.step == 41 * state.epoch + state.position >= steps
    assert len(stopped.cost) == state.epoch < 6
    parts.fit(x, y, epochs=6 - state.epoch, resume=True, **options)
    assert parts.history.cost == pytest.approx(long.history.cost, rel=1e-12)
    # JAX compiles a scan for every length
    same = assert_pairs_close if lib.name == "jax" else assert_pairs_equal
    same(lib.host(parts.parameters), lib.host(long.parameters))


def test_parts_stop_within_epochs_and_tell_where():
    stop = StopAfter(70)
    net = make_net()
    net.fit(X, Y, epochs=9, callbacks=[stop], **MINI)
    assert stop.looks[0] == (0, 16, 16)
    assert all(step == 41 * epoch + position for epoch, position, step in stop.looks)
    assert all(0 < position < 41 for _, position, _ in stop.looks)


def test_the_history_is_of_all_resumed_fits():
    net = make_net()
    first = net.fit(X, Y, epochs=2, validation=(X, Y), **MINI)
    second = net.fit(X, Y, epochs=1, validation=(X, Y), resume=True, **MINI)
    assert net.history.cost == first.cost + second.cost
    assert net.history.validation_cost == first.validation_cost + second.validation_cost
    assert net.history.seconds == pytest.approx(first.seconds + second.seconds, abs=0.01)
    afresh = net.fit(X, Y, epochs=1, **MINI)
    assert net.history.cost == afresh.cost
    net.fit(X, Y, epochs=1, validation=(X, Y), resume=True, **MINI)
    assert np.isnan(net.history.validation_cost[0])  # none then: figures stay at their epochs
    assert len(net.history.validation_cost) == len(net.history.validation_accuracy) == 2


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_made_in_the_middle_of_an_epoch_goes_on(copied):
    class Copy:
        def on_steps_end(self, net, progress):
            if progress.step >= 50 and not hasattr(self, "twin"):
                self.twin = copied(net)

    copier, net = Copy(), make_net()
    net.fit(X, Y, epochs=4, callbacks=[copier], **MINI)
    state = copier.twin.training_state
    assert state.position > 0
    copier.twin.fit(X, Y, epochs=4 - state.epoch, resume=True, **MINI)
    assert_pairs_equal(copier.twin.parameters, net.parameters)
    assert copier.twin.history.cost == net.history.cost


def test_divergence_in_the_middle_of_a_long_epoch_ends_it_there():
    """1600 updates an epoch: the check does not wait for the end, and the net is left finite."""

    class Look(StopAfter):
        def on_epoch_end(self, net, progress):
            self.looks.append("epoch")

    x = np.tile(X, (1, 40))
    y = np.tile(X[:1], (1, 40))
    x[:, 4000:] *= 1e8
    net = xpnet.DeepNet([3, 1], output="identity", dtype="float64")
    before, look = net.parameters, Look(10**9)
    with pytest.raises(xpnet.DivergedError, match="epoch 1 of 3") as caught:
        net.fit(
            x, y, xpnet.GradientDescent(0.1), epochs=3, batch_size=5, shuffle=False,
            callbacks=[look],
        )  # fmt: skip
    assert caught.value.epoch == 1
    assert not np.isfinite(caught.value.cost)
    assert "epoch" not in look.looks
    assert_pairs_equal(net.parameters, before)


def test_an_epoch_broken_off_is_not_finished_with_other_batches():
    net = make_net()
    net.fit(X, Y, epochs=3, callbacks=[StopAfter(20)], **MINI)
    with pytest.raises(ValueError, match=r"update 32 of 41 in an epoch, which would have 21 now"):
        net.fit(X, Y, epochs=3, resume=True, **MINI | {"batch_size": 10})


# -- schedules ---------------------------------------------------------------------------
def manual(schedule, epochs, resumed_at=None):
    """Gradient descent by hand, the rate of every update as the schedule's formula has it."""
    net = make_net()
    for epoch in range(epochs):
        for k in range(41):
            rows = slice(5 * k, 5 * k + 5)
            rate = 0.1 * schedule(epoch + k / 41)
            gradients = net.gradients(X[:, rows], Y[:, rows])
            net.parameters = [
                (W - rate * dW, b - rate * db)
                for (W, b), (dW, db) in zip(net.parameters, gradients, strict=True)
            ]
    return net


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (Step(1, 0.5), lambda e: 0.5 ** int(e)),
        (Cosine(), lambda e: 0.5 + 0.5 * np.cos(np.pi * e / 3)),
        (lambda e: 1 / (1 + e), lambda e: 1 / (1 + e)),
    ],
    ids=["step", "cosine", "function"],
)
def test_each_update_has_the_rate_of_its_schedule(lib, schedule, formula):
    net = make_net(lib)
    options = {"optimizer": xpnet.GradientDescent(0.1), "batch_size": 5, "shuffle": False}
    x, y = lib.asarray(X), lib.asarray(Y)
    net.fit(x, y, epochs=2, schedule=schedule if schedule != Cosine() else Cosine(3), **options)
    net.fit(x, y, epochs=1, resume=True, schedule=schedule, **options)
    expected = manual(formula, 3).parameters
    assert_pairs_close(lib.host(net.parameters), expected)


def test_a_plateau_lowers_the_rate_and_is_resumed():
    class Rates:
        def __init__(self):
            self.seen = []

        def on_epoch_end(self, net, progress):
            self.seen.append(progress.learning_rate)

    plateau = Plateau(factor=0.5, patience=1, threshold=0.5)  # asks for a lot
    options = {"optimizer": xpnet.Adam(0.01), "batch_size": 50, "schedule": plateau}
    long, parts = make_net(), make_net()
    whole, pieces = Rates(), Rates()
    long.fit(X, Y, epochs=9, callbacks=[whole], **options)
    parts.fit(X, Y, epochs=4, callbacks=[pieces], **options)
    parts.fit(X, Y, epochs=5, callbacks=[pieces], resume=True, **options)
    assert whole.seen == pieces.seen
    assert whole.seen == [0.01] * 3 + [0.005] * 2 + [0.0025] * 2 + [0.00125] * 2
    assert_pairs_equal(parts.parameters, long.parameters)


# -- checkpoints -------------------------------------------------------------------------
def test_a_net_saved_in_the_middle_of_an_epoch_goes_on(lib, tmp_path):
    x, y = lib.asarray(X), lib.asarray(Y)
    options = MINI | {"schedule": Plateau(0.5, 0), "l2": 1e-3}
    long, parts = make_net(lib), make_net(lib)
    long.fit(x, y, epochs=5, **options)
    parts.fit(x, y, epochs=5, callbacks=[StopAfter(60)], **options)
    parts.data = {"target": "y"}
    parts.save(tmp_path / "net.safetensors", training=True)
    loaded = xpnet.load(tmp_path / "net.safetensors", **lib.options)
    assert loaded.data == {"target": "y"}
    assert loaded.tensors == {}
    state = loaded.training_state
    assert (state.epoch, state.step) == (1, state.position + 41)
    loaded.fit(x, y, epochs=4, resume=True, **options)
    same = assert_pairs_close if lib.name == "jax" else assert_pairs_equal
    same(lib.host(loaded.parameters), lib.host(long.parameters))
    assert loaded.history.cost == pytest.approx(long.history.cost, rel=1e-12)
