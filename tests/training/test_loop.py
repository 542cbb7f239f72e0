"""The loop in parts: stopped in the middle of an epoch, resumed and diverging there; schedules."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import assert_pairs_equal

import xpnet
from xpnet.callbacks import EarlyStopping
from xpnet.core.leaves import Data
from xpnet.core.losses import get_loss
from xpnet.core.network import Objective
from xpnet.engines import engine_for
from xpnet.net.arguments import orders
from xpnet.schedules import Cosine, Plateau, Step
from xpnet.training.loop import Run
from xpnet.training.plan import Plan
from xpnet.training.source import Resident

RNG = np.random.default_rng(29)
X = RNG.normal(size=(3, 203))
Y = (X[:1] * X[1:2] > 0).astype(float)
MINI = {"optimizer": xpnet.Adam(0.01), "batch_size": 5}  # 41 steps an epoch, the last of 3


def assert_goes_on(net, epochs, *data, **settings):
    """The rest of the epochs makes of a net what they would have made of it in one go."""
    fitted, settings = data or (X, Y), MINI | settings
    whole = make_net(dtype=net.backend.dtype_name)
    whole.fit(*fitted, epochs=epochs, **settings)
    net.fit(*fitted, epochs=epochs - net.training_state.epoch, resume=True, **settings)
    assert_pairs_equal(net.parameters, whole.parameters)
    assert net.history.cost == whole.history.cost
    assert net.history.validation_cost == whole.history.validation_cost


def told(function):
    """A callback that is called with the net and its progress when an epoch ends."""
    return SimpleNamespace(on_epoch_end=function)


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


STOPS = [1, 16, 17, 41, 130, 150]


@pytest.mark.parametrize(
    ("lib", "steps"),  # the stand-in for a GPU takes 50 ms for a step
    [*product(["numpy", "torch"], STOPS), ("cupy", 17), ("cupy", 130)],
    indirect=["lib"],
)
def test_a_fit_goes_on_wherever_it_was_stopped(lib, steps):
    x, y = lib.asarray(X), lib.asarray(Y)
    long, parts, stop = make_net(lib), make_net(lib), StopAfter(steps)
    options = MINI | {"schedule": Step(2, 0.5), "l2": 1e-3}
    long.fit(x, y, epochs=5, **options)
    stopped = parts.fit(x, y, epochs=5, callbacks=[stop], **options)
    assert stop.looks[0] == (0, 16, 16)
    for epoch, position, step in stop.looks:  # within epochs, and told where
        assert step == 41 * epoch + position
        assert 0 < position < 41
    state = parts.training_state
    assert state.step == 41 * state.epoch + state.position >= steps
    assert len(stopped.cost) == state.epoch < 5
    parts.fit(x, y, epochs=5 - state.epoch, resume=True, **options)
    assert parts.history.cost == pytest.approx(long.history.cost, rel=1e-12)
    assert_pairs_equal(lib.host(parts.parameters), lib.host(long.parameters))


@pytest.mark.parametrize(("penalty", "penalized"), [({}, False), ({"l2": 0.1}, True),
                                                    ({"l1": 0.1}, True)])  # fmt: skip
def test_the_history_knows_of_a_penalty(penalty, penalized):
    net = make_net()
    assert net.fit(X, Y, epochs=1, **MINI | {"l2": 0} | penalty).penalized is penalized
    assert net.fit(X, Y, epochs=1, resume=True, **MINI | {"l2": 0}).penalized is False
    assert net.history.penalized is penalized  # of both fits


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


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))]
)
def test_a_copy_made_in_the_middle_of_an_epoch_goes_on(copied):
    twins = []

    def keep(net, progress):
        if progress.step >= 50 and not twins:
            twins.append(copied(net))

    net = make_net()
    net.fit(X, Y, epochs=4, callbacks=[SimpleNamespace(on_steps_end=keep)], **MINI)
    assert twins[0].training_state.position > 0
    assert_goes_on(twins[0], 4)
    assert_pairs_equal(twins[0].parameters, net.parameters)


# -- schedules ---------------------------------------------------------------------------
def manual(schedule, epochs):
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


def test_the_rate_before_the_first_update_is_that_of_its_schedule():
    def rates_of(resume=False, **settings):
        rates = []
        looks = SimpleNamespace(
            on_fit_begin=lambda net, progress: rates.append(progress.learning_rate),
            on_steps_end=lambda net, p: rates.append(p.learning_rate) or p.step == 16,
        )
        settings = {"optimizer": xpnet.Adam(0.1), "batch_size": 5} | settings
        net.fit(X, Y, callbacks=[looks], resume=resume, **settings)
        return rates

    net, schedule = make_net(), lambda e: 1 / (2 + e)
    assert rates_of(epochs=2, schedule=schedule) == [0.1 / 2, 0.1 / (2 + 15 / 41)]
    assert rates_of(True, epochs=1, schedule=schedule)[0] == 0.1 / (2 + 16 / 41)
    assert rates_of(epochs=0) == [0.1]


def test_a_plateau_lowers_the_rate_and_is_resumed():
    plateau = Plateau(factor=0.5, patience=1, threshold=0.5)  # asks for a lot
    options = {"optimizer": xpnet.Adam(0.01), "batch_size": 50, "schedule": plateau}
    long, parts, whole, pieces = make_net(), make_net(), [], []
    all_of_it = told(lambda net, progress: whole.append(progress.learning_rate))
    by_epoch = told(lambda net, progress: pieces.append(progress.learning_rate))
    long.fit(X, Y, epochs=9, callbacks=[all_of_it], **options)
    parts.fit(X, Y, epochs=4, callbacks=[by_epoch], **options)
    parts.fit(X, Y, epochs=5, callbacks=[by_epoch], resume=True, **options)
    assert whole == pieces == [0.01] * 3 + [0.005] * 2 + [0.0025] * 2 + [0.00125] * 2
    assert_pairs_equal(parts.parameters, long.parameters)
    options["schedule"] = None  # what a plateau found out ends with it
    parts.fit(X, Y, epochs=1, callbacks=[by_epoch], resume=True, **options)
    assert pieces[-1] == 0.01


# -- checkpoints -------------------------------------------------------------------------
def test_a_net_saved_in_the_middle_of_an_epoch_goes_on(lib, tmp_path):
    x, y = lib.asarray(X), lib.asarray(Y)
    options = MINI | {"schedule": Plateau(0.5, 0), "l2": 1e-3}
    long, parts = make_net(lib), make_net(lib)
    long.fit(x, y, epochs=3, **options)
    parts.fit(x, y, epochs=3, callbacks=[StopAfter(60)], **options)
    parts.data = {"target": "y"}
    parts.save(tmp_path / "net.safetensors", training=True)
    loaded = xpnet.load(tmp_path / "net.safetensors", **lib.options)
    assert loaded.data == {"target": "y"}
    assert loaded.tensors == {}
    state = loaded.training_state
    assert (state.epoch, state.step) == (1, state.position + 41)
    for net in (parts, loaded):
        net.fit(x, y, epochs=2, resume=True, **options)
        assert_pairs_equal(lib.host(net.parameters), lib.host(long.parameters))
        assert net.history.cost == pytest.approx(long.history.cost, rel=1e-12)


# -- what goes wrong on the way ----------------------------------------------------------
def interrupted(monkeypatch, net, call, *data, **settings):
    """A fit whose ``call``-th call of the engine is broken off in the middle of a step."""
    from xpnet.engines import numpy as engine

    run, calls = engine.Program.run, []

    def breaks(self, orders, table):
        calls.append(1)
        if len(calls) == call:
            self.theta[...] = 7.0
            raise KeyboardInterrupt
        return run(self, orders, table)

    with monkeypatch.context() as patched:
        patched.setattr(engine.Program, "run", breaks)
        with pytest.raises(KeyboardInterrupt):
            net.fit(*data, **settings)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("call", [1, 2, 3, 4, 5, 7])
@pytest.mark.parametrize("callback", [StopAfter(10**9), told(lambda *_: None)],
                         ids=["steps", "epochs"])  # fmt: skip
def test_an_interrupted_step_takes_its_history_back(monkeypatch, call, callback):
    net, options = make_net(), MINI | {"validation": (X, Y)}
    interrupted(monkeypatch, net, call, X, Y, epochs=9, callbacks=[callback], **options)
    done = net.training_state.epoch
    assert len(net.history.cost) == len(net.history.validation_cost) == done
    assert_goes_on(net, 9, validation=(X, Y))


class Diary:
    """Remembers what it was told, in a list that it adds to."""

    def __init__(self):
        self.epochs = []

    def on_epoch_end(self, net, progress):
        self.epochs.append(progress.total_epoch)

    def state(self):
        return {"epochs": self.epochs}

    def restore(self, state):
        self.epochs = state["epochs"]


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("call", [1, 4, 5, 7])
def test_an_interrupted_step_takes_back_what_callbacks_counted(monkeypatch, tmp_path, call):
    """Also through a file, and for another fit of the same callbacks that does not go on."""
    monkeypatch.setattr(xpnet.training.loop, "CHECK", (128, 128))
    options = MINI | {"validation": (X, 1.0 - Y)}
    net, whole = make_net(), make_net()
    stopping, diary = EarlyStopping(patience=8), Diary()
    whole.fit(X, Y, epochs=20, callbacks=[stopping, diary], **options)
    expected = vars(stopping) | {"best_parameters": None, "_restored": None}
    told = [EarlyStopping(patience=8), Diary()]
    interrupted(monkeypatch, net, call, X, Y, epochs=20, callbacks=told, **options)
    done = net.training_state.epoch
    assert done in (0, 4)
    net.save(tmp_path / "net.safetensors", training=True)
    for again in (xpnet.load(tmp_path / "net.safetensors"), net):
        again.fit(X, Y, epochs=20 - done, resume=True, callbacks=told, **options)
        assert vars(told[0]) | {"best_parameters": None, "_restored": None} == expected
        assert told[1].epochs == diary.epochs
        assert_pairs_equal(again.parameters, whole.parameters)
    interrupted(monkeypatch, make_net(), call, X, Y, epochs=20, callbacks=told, **options)
    make_net().fit(X, Y, epochs=20, callbacks=told[:1], **options)
    assert vars(told[0]) | {"best_parameters": None, "_restored": None} == expected


def interrupted_in_validation(monkeypatch, net, call, *data, **settings):
    """A fit whose ``call``-th pass over the validation data is broken off."""
    from xpnet.net import evaluation

    evaluate, calls = evaluation.evaluate, []

    def breaks(*args):
        calls.append(1)
        if len(calls) == call:
            raise KeyboardInterrupt
        return evaluate(*args)

    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "evaluate", breaks)
        with pytest.raises(KeyboardInterrupt):
            net.fit(*data, **settings)


@pytest.mark.parametrize(("call", "streams"), [(1, True), (4, False)], ids=["stream", "resident"])
def test_an_epoch_whose_validation_was_interrupted_is_still_evaluated(
    lib, monkeypatch, tmp_path, call, streams
):
    x, y, whole, net = lib.asarray(X), lib.asarray(Y), make_net(lib), make_net(lib)
    data = (xpnet.stream(X.T.copy(), Y[0]),) if streams else (x, y)
    options = MINI | {"optimizer": xpnet.Adam(0.3), "validation": (x, 1.0 - y)}
    options["schedule"] = Plateau(patience=0)
    whole.fit(*data, epochs=6, **options)
    diary = Diary()
    interrupted_in_validation(monkeypatch, net, call, *data, epochs=6, callbacks=[diary], **options)
    state = net.training_state
    assert (state.epoch, state.step, state.position) == (call - 1, 41 * call, 41)
    assert len(net.history.cost) == len(net.history.validation_cost) == call - 1
    net.save(tmp_path / "net.safetensors", training=True)
    again = xpnet.load(tmp_path / "net.safetensors", **lib.options)
    for each in (net, again):
        each.fit(*data, epochs=7 - call, resume=True, callbacks=[diary], **options)
        assert_pairs_equal(lib.host(each.parameters), lib.host(whole.parameters))
        ours, theirs = each.training_state.history, whole.history
        assert (ours.cost, ours.validation_cost) == (theirs.cost, theirs.validation_cost)
        assert diary.epochs == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("streams", [False, True], ids=["resident", "stream"])
def test_after_an_epochs_last_step_another_batch_size_may_follow(monkeypatch, streams):
    """The epoch ends as it was, even if interrupted once more; the next has other steps."""
    data = (xpnet.stream(X.T.copy(), Y[0]),) if streams else (X, Y)
    whole, net, more = make_net(), make_net(), MINI | {"validation": (X, Y)}
    whole.fit(*data, epochs=2, **more)
    whole.fit(*data, epochs=2, resume=True, **more | {"batch_size": 8})
    interrupted_in_validation(monkeypatch, net, 2, *data, epochs=4, **more)
    more["batch_size"] = 8
    interrupted_in_validation(monkeypatch, net, 1, *data, epochs=3, resume=True, **more)
    assert (net.training_state.epoch, net.training_state.position) == (1, 41)
    net.fit(*data, epochs=3, resume=True, **more)
    assert_pairs_equal(net.parameters, whole.parameters)
    ours, theirs = net.training_state, whole.training_state
    assert ours.step == 41 * 2 + 26 * 2
    assert ours.history.cost == theirs.history.cost
    assert ours.history.validation_cost == theirs.history.validation_cost
    net.fit(*data, epochs=1, callbacks=[StopAfter(16)], **MINI)
    with pytest.raises(ValueError, match="after update 16 of 41 in an epoch, which would have 26"):
        net.fit(*data, epochs=1, resume=True, **more)


@pytest.mark.usefixtures("recorded")
def test_divergence_takes_back_what_callbacks_counted(monkeypatch):
    monkeypatch.setattr(xpnet.training.loop, "CHECK", (128, 128))
    net, diary = xpnet.DeepNet([3, 1], output="identity", dtype="float64"), Diary()
    with pytest.raises(xpnet.DivergedError, match="epoch 6 of 20"):
        net.fit(
            X, X[:1], xpnet.GradientDescent(0.01), epochs=20, batch_size=5, callbacks=[diary],
            schedule=lambda epoch: 1.0 if epoch < 5 else 1e300,
        )  # fmt: skip
    ((_, state),) = net.training_state.callbacks
    assert max(state["epochs"]) == net.training_state.epoch == 5 < max(diary.epochs)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("restore_best", [True, False])
def test_divergence_leaves_the_best_to_early_stopping(lib, restore_best):
    """It forgets nothing, and restores its best where it should; a fit goes on from there."""
    stopping = EarlyStopping(9, restore_best=restore_best)
    x, y = lib.asarray(X), lib.asarray(X[:1])
    options = {"optimizer": xpnet.GradientDescent(0.01), "validation": (x, -y), "batch_size": 50}
    net, best, last = (
        xpnet.DeepNet([3, 1], output="identity", dtype="float64", **lib.options) for _ in range(3)
    )
    with np.errstate(all="ignore"), pytest.raises(xpnet.DivergedError, match="epoch 6 of 20"):
        net.fit(x, y, epochs=20, callbacks=[stopping], **options | {
            "schedule": lambda epoch: 1.0 if epoch < 5 else 1e300,
        })  # fmt: skip
    best.fit(x, y, epochs=1, **options)
    last.fit(x, y, epochs=5, **options)
    assert_pairs_equal(*(lib.host(n.parameters) for n in (net, best if restore_best else last)))
    assert stopping.best_epoch == 1
    if restore_best:
        assert_pairs_equal(lib.host(stopping.best_parameters), lib.host(best.parameters))
    net.fit(x, y, epochs=0, callbacks=[again := EarlyStopping(9)], resume=True, **options)
    assert (again.best, again.best_epoch, again.since) == (stopping.best, 1, 4)


def test_a_callback_that_raises_leaves_the_later_ones_untold():
    calls = []

    class Says:
        def __init__(self, name, breaks=False):
            self.name, self.breaks = name, breaks

        def on_epoch_end(self, net, progress):
            calls.append((self.name, progress.epoch))
            if self.breaks and progress.epoch == 2:
                raise RuntimeError("on purpose")

        def on_fit_end(self, net, progress):
            calls.append((self.name, "end"))

        def close(self):
            calls.append((self.name, "close"))

    net = make_net()
    with pytest.raises(RuntimeError, match="on purpose"):
        net.fit(X, Y, epochs=4, callbacks=[Says("a"), Says("b", True), Says("c")], **MINI)
    assert calls[:5] == [("a", 1), ("b", 1), ("c", 1), ("a", 2), ("b", 2)]
    assert sorted(calls[5:]) == [("a", "close"), ("b", "close"), ("c", "close")]
    assert net.training_state.epoch == 2
    assert_goes_on(net, 4)


def test_a_resumed_fit_that_cannot_begin_loses_nothing():
    def fails(state):
        raise RuntimeError("not mine")

    spoilt = SimpleNamespace(on_epoch_end=lambda *_: None, state=dict, restore=fails)
    net = make_net()
    net.fit(X, Y, epochs=3, callbacks=[StopAfter(20), spoilt], **MINI)
    with pytest.raises(ValueError, match=r"update 32 of 41 in an epoch, which would have 21 now"):
        net.fit(X, Y, epochs=3, resume=True, **MINI | {"batch_size": 10})
    with pytest.raises(RuntimeError, match="not mine"):
        net.fit(X, Y, epochs=3, resume=True, callbacks=[spoilt], **MINI)
    assert_goes_on(net, 3)


def test_a_part_without_weight_is_no_divergence():
    x, y, w = np.tile(X, 10), np.tile(Y, 10), np.ones(2030)
    w[:1500] = 0.0  # the first 300 updates see no example
    options = MINI | {"shuffle": False, "epochs": 2}
    plain, parts = make_net(), make_net()
    plain.fit(x, y, sample_weight=w, **options)
    parts.fit(x, y, sample_weight=w, callbacks=[StopAfter(10**9)], **options)
    assert parts.history.cost == plain.history.cost
    stream = xpnet.stream(x.T, y[0], w, memory=60_000)
    assert len(make_net().fit(stream, **options).cost) == 2


def test_the_cost_of_a_resumed_epoch_is_exact_with_float32_weights():
    options = {"sample_weight": np.random.default_rng(0).uniform(0.0, 2.0, 203)}
    net = make_net(dtype="float32")
    for step in (20, 50, 70):
        done = net.training_state.epoch if net.training_state else 0
        net.fit(X, Y, epochs=3 - done, resume=True, callbacks=[StopAfter(step)], **MINI | options)
    assert_goes_on(net, 3, **options)


def test_batches_resume_their_schedule():
    def batches(epoch):
        for k in range(0, 203, 20):
            yield X.T[k : k + 20], Y[0, k : k + 20]

    options = {"schedule": xpnet.schedules.Exponential(0.5), "batch_size": None}
    net = make_net()
    net.fit(xpnet.stream(batches), epochs=2, **MINI | options)
    assert_goes_on(net, 4, xpnet.stream(batches), **options)


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net.fit(X, Y),
        lambda net: net.to("numpy", dtype="float32"),
        lambda net: net.with_dtype("float32"),
    ],
    ids=["fit", "to", "with_dtype"],
)
def test_a_net_in_training_is_not_moved_nor_fitted(change):
    def at_the_second(net, progress):
        if progress.epoch == 2:
            change(net)

    net, expected = make_net(), make_net()
    with pytest.raises(RuntimeError, match="being trained"):
        net.fit(X, Y, epochs=4, callbacks=[told(at_the_second)], **MINI)
    expected.fit(X, Y, epochs=2, **MINI)
    assert_pairs_equal(net.parameters, expected.parameters)
    change(net)  # now it may be


def test_of_two_fits_at_once_the_second_is_refused():
    """Also while the first still looks at its data."""
    net, expected, seen = make_net(), make_net(), []

    def another_thread(*_):
        with ThreadPoolExecutor(1) as pool:
            seen.append(pool.submit(net.fit, X, Y, epochs=1, **MINI).exception())
        return np.ones(203)

    weights = type("Weights", (), {"__array__": another_thread})()
    net.fit(
        X,
        Y,
        epochs=1,
        sample_weight=weights,
        callbacks=[told(lambda *_: another_thread() is None)],
        **MINI,
    )
    assert len(seen) >= 2
    assert all(type(error) is RuntimeError for error in seen)
    expected.fit(X, Y, epochs=1, **MINI)
    assert_pairs_equal(net.parameters, expected.parameters)
    for free in (net, copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        free.fit(X, Y, epochs=1, **MINI)


def test_parameters_assigned_before_an_error_stay():
    def assign(net, progress):
        net.parameters = [(0.0 * W, 0.0 * b) for W, b in net.parameters]
        raise KeyboardInterrupt

    net = make_net()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, epochs=4, callbacks=[told(assign)], **MINI)
    assert all(not np.any(x) for layer in net.parameters for x in layer)


def test_functions_that_a_fit_calls_may_look_at_the_net(lib, monkeypatch):
    monkeypatch.setattr(xpnet.training.loop, "CHECK", (128, 128))  # epochs until then run together
    x, y, seen = lib.asarray(X), lib.asarray(Y), []

    def order(epoch):
        seen.append(net.cost(x, y))
        return np.arange(203)

    net = make_net(lib)
    net.fit(x, y, epochs=9, shuffle=order, **MINI)
    assert len(seen) == 9
    assert seen[-1] < seen[0]


# -- what must not go unnoticed -----------------------------------------------------------
def test_orders_of_many_epochs_are_not_kept_together(monkeypatch):
    """A minibatch of all examples makes 128 epochs between two checks; their orders are large."""
    seen, run = [], Run._run
    monkeypatch.setattr(xpnet.training.loop, "AHEAD", 1000)  # not even five orders of 203 examples
    monkeypatch.setattr(
        Run, "_run", lambda self, part: seen.append(part.orders.shape) or run(self, part)
    )
    net, other = make_net(), make_net()
    net.fit(X, Y, epochs=10, batch_size=203)
    assert seen == [(4, 203), (4, 203), (2, 203)]
    monkeypatch.undo()
    other.fit(X, Y, epochs=10, batch_size=203)
    assert_pairs_equal(net.parameters, other.parameters)


def test_a_callback_whose_state_fails_does_not_lose_the_rest():
    def fails():
        raise KeyError("nothing")

    net = make_net()
    forgetful = SimpleNamespace(on_epoch_end=lambda *_: None, state=fails)
    with pytest.raises(KeyError, match="nothing"):
        net.fit(X, Y, epochs=2, callbacks=[forgetful], **MINI)
    assert net.training_state.epoch == 2
    assert_goes_on(net, 3)


# -- the loop by itself --------------------------------------------------------------------
def run_of(net, rate=0.01, epochs=6, shuffle=True, **options):
    """The run that ``net.fit(X, Y, Adam(rate), epochs=6, batch_size=5)`` makes, without the net."""
    rule = xpnet.Adam(rate)
    objective = Objective(net.sizes, net.hidden, get_loss(net.output))
    rows = Data(np.ascontiguousarray(X.T), np.ascontiguousarray(Y.T), None)
    theta = objective.layout.flatten(net.parameters, xp=np)
    zeros = (np.zeros_like(theta), np.zeros_like(theta))
    program = engine_for(net.backend, objective).program(rule, rows, 5, theta, zeros)
    source = Resident(203, 5, orders(shuffle, net.seed, 203))
    return Run(program, Plan(rule, epochs), source, **options)


def test_the_loop_needs_neither_a_net_nor_callbacks():
    net = make_net()
    run = run_of(net)
    history = run.train()
    assert history.cost == net.fit(X, Y, epochs=6, **MINI).cost
    assert np.array_equal(run.theta, net.theta)
    state = run.state()
    assert (state.epoch, state.step) == (6, 6 * 41)
    assert all(map(np.array_equal, state.moments, net.training_state.moments))


def test_epochs_run_together_where_a_callback_decides_nothing_in_between():
    drawn, seen = [], []

    def order(epoch):
        drawn.append(epoch)
        return np.arange(203)

    def at_the_end(net, progress):
        seen.append((progress.epoch, len(progress.history.cost)))
        return progress.epoch >= 4

    in_twos = SimpleNamespace(epochs_together=lambda progress: 2, on_epoch_end=at_the_end)
    run_of(make_net(), epochs=7, shuffle=order, callbacks=[in_twos], checked=False).train()
    assert seen == [(2, 2), (4, 4)]
    assert drawn == [0, 1, 2, 3]  # no more are drawn than are run


def test_a_loop_that_checks_nothing_goes_on_with_nan():
    with np.errstate(all="ignore"):
        with pytest.raises(xpnet.DivergedError):
            run_of(make_net(), rate=1e308).train()
        history = run_of(make_net(), rate=1e308, checked=False).train()
    assert len(history.cost) == 6
    assert not np.isfinite(history.cost[-1])
