"""Callbacks: when they are called, what they see, and what those of xpnet read."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
from callback_helpers import X_VALID, Y_VALID, ReadsNothing, Recorder, X, Y, make_net, watched_fit
from helpers import assert_pairs_equal, raises_on_purpose

import xpnet
from xpnet.callbacks import Checkpoints, CSVLog, EarlyStopping


def test_the_calls_in_their_order(lib):
    net, recorder = make_net(lib), Recorder()
    x, y = lib.asarray(X), lib.asarray(Y)
    history = net.fit(
        x, y, optimizer=xpnet.Adam(0.01), epochs=4, batch_size=8, callbacks=[recorder]
    )
    assert recorder.calls == ["begin", "epoch", "epoch", "epoch", "epoch", "end"]
    assert recorder.net is net
    assert recorder.total == 4
    assert recorder.costs == history.cost
    assert all(type(cost) is float for cost in recorder.costs + history.cost)
    assert np.all(np.diff(recorder.epochs) == 1)
    assert recorder.last_epoch == recorder.epochs[-1]
    assert np.all(np.diff([0.0, *recorder.seconds]) >= 0.0)


def test_a_true_return_stops_the_run(lib):
    net, recorder = make_net(lib), Recorder(stop_after=3)
    x, y = lib.asarray(X), lib.asarray(Y)
    settings = {"optimizer": xpnet.Adam(0.01), "batch_size": 8}
    history = net.fit(x, y, epochs=10, callbacks=[recorder], **settings)
    assert len(history.cost) == 3
    assert recorder.calls == ["begin", "epoch", "epoch", "epoch", "end"]
    same = make_net(lib)
    same.fit(x, y, epochs=3, **settings)
    assert_pairs_equal(lib.host(net.parameters), lib.host(same.parameters))


def test_all_callbacks_hear_of_the_epoch_that_one_of_them_stops():
    stopper, listener = Recorder(stop_after=2), Recorder()
    make_net().fit(X, Y, optimizer=xpnet.Adam(0.01), epochs=9, callbacks=(stopper, listener))
    assert listener.calls == ["begin", "epoch", "epoch", "end"]


def test_a_callback_may_have_any_of_the_three_methods():
    events, called = ["on_fit_begin", "on_epoch_end", "on_fit_end"], []
    some = [
        SimpleNamespace(**{event: lambda net, progress, event=event: called.append(event)})
        for event in events
    ]
    make_net().fit(X, Y, optimizer=xpnet.Adam(0.01), epochs=3, callbacks=some)
    assert [called.count(event) for event in events] == [1, 3, 1]


def test_an_object_with_none_of_them_is_an_error():
    with raises_on_purpose((TypeError, ValueError), "callback", "on_epoch_end"):
        make_net().fit(X, Y, optimizer=xpnet.Adam(0.01), epochs=1, callbacks=[object()])


def test_a_method_that_is_none_is_not_there(monkeypatch):
    """Epochs stay whole for one whose `on_steps_end` is None."""

    def fail(*args):
        raise AssertionError("an epoch in parts")

    monkeypatch.setattr("xpnet.training.loop.Run._epoch_in_parts", fail)
    recorder = Recorder()
    recorder.on_steps_end = None
    make_net().fit(X, Y, epochs=3, batch_size=1, callbacks=[recorder])
    assert recorder.epochs == [1, 2, 3]


@pytest.mark.parametrize("w", [(), (np.arange(12.0),)], ids=["", "weighted"])
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_validation_figures(lib, output, w):
    """After each epoch's updates: the cost without penalty, and the share of right labels.

    The cost is weighted where the data is, and so is what early stopping watches.
    """
    n_y = {"sigmoid": 1, "softmax": 2}[output]
    net = xpnet.DeepNet([3, 4, n_y], output=output, dtype="float64", **lib.options)
    y, y_host = ((a if n_y == 1 else a[0].astype(int)) for a in (Y, Y_VALID))
    x_valid, y_valid = lib.asarray(X_VALID), lib.asarray(y_host)
    read, again = [], []

    def look(net, progress):
        read.append((progress.validation_cost, progress.validation_accuracy))
        again.append(float(net.cost(x_valid, y_valid, *w)))

    stopping = EarlyStopping(5, restore_best=False)
    history = net.fit(
        lib.asarray(X), lib.asarray(y), xpnet.Adam(0.1), epochs=5, batch_size=8,
        validation=(x_valid, y_valid, *w), callbacks=[SimpleNamespace(on_epoch_end=look), stopping],
    )  # fmt: skip
    assert stopping.best == min(history.validation_cost)
    assert [*zip(history.validation_cost, history.validation_accuracy)] == read
    assert all(type(value) is float for figures in read for value in figures)
    np.testing.assert_allclose(history.validation_cost, again, rtol=1e-12)
    right = np.mean(lib.to_numpy(net.predict(x_valid)) == y_host)
    assert history.validation_accuracy[-1] == pytest.approx(right, abs=1e-12)


def test_validation_changes_no_parameter():
    plain, watched = make_net(), make_net()
    settings = {"optimizer": xpnet.Adam(0.1), "epochs": 4, "batch_size": 8}
    plain.fit(X, Y, **settings)
    watched.fit(X, Y, validation=(X_VALID, Y_VALID), **settings)
    assert_pairs_equal(plain.parameters, watched.parameters)


def test_without_validation_there_are_no_figures():
    history = make_net().fit(X, Y, optimizer=xpnet.Adam(0.1), epochs=2)
    assert not history.validation_cost
    assert not history.validation_accuracy


class Reads:
    def on_epoch_end(self, net, progress):
        self.figures = progress.cost, progress.validation_cost, progress.validation_accuracy


@pytest.mark.parametrize("lib", ["torch"], indirect=True)
def test_figures_are_fetched_only_when_read(lib):
    """Counts every way a tensor becomes a number; not reading must cost far fewer of them."""
    counts, costs = {}, {}
    for kind in (Reads, ReadsNothing):
        _, history, counts[kind] = watched_fit(lib, [kind()], epochs=30, batch_size=8)
        costs[kind] = history.cost + history.validation_cost
    assert costs[Reads] == costs[ReadsNothing]
    in_the_end = 3 * 30  # the histories are fetched once the run is over
    assert counts[ReadsNothing] <= in_the_end + 20
    assert counts[Reads] >= 3 * 30


def test_a_callback_may_assign_parameters():
    """The run goes on from what was assigned."""
    start = make_net().parameters

    class GoesBack:
        def on_epoch_end(self, net, progress):
            if progress.epoch == progress.epochs - 1:
                net.parameters = start

    net, once = make_net(), make_net()
    settings = {"optimizer": xpnet.GradientDescent(0.1), "batch_size": None}
    net.fit(X, Y, epochs=4, callbacks=[GoesBack()], **settings)
    once.fit(X, Y, epochs=1, **settings)
    assert_pairs_equal(net.parameters, once.parameters)


def test_a_callback_sees_the_parameters_of_the_epoch_it_is_told_of(lib):
    """What the callback reads from the net mid-run is the run's own state, not the start's."""
    seen = []

    class Keeps:
        def on_epoch_end(self, net, progress):
            seen.append((lib.host(net.parameters), lib.host(copy.copy(net).parameters)))

    x, y = lib.asarray(X), lib.asarray(Y)
    settings = {"optimizer": xpnet.Adam(0.1), "batch_size": 8}
    make_net(lib).fit(x, y, epochs=3, callbacks=[Keeps()], **settings)
    for epochs in (1, 2, 3):
        net = make_net(lib)
        net.fit(x, y, epochs=epochs, **settings)
        for found in seen[epochs - 1]:
            assert_pairs_equal(lib.host(net.parameters), found)


# -- what ours cost ----------------------------------------------------------------------
@pytest.mark.parametrize("lib", ["torch"], indirect=True)
@pytest.mark.parametrize("name", ["checkpoints", "early stopping", "log"])
def test_ours_read_no_more_than_they_say(lib, tmp_path, name):
    """Checkpoints every 30 of 60 epochs cost nothing in between; others a few reads an epoch."""
    callback, most = {
        "checkpoints": (lambda: Checkpoints(tmp_path, every=30), 80),
        "early stopping": (lambda: EarlyStopping(60), 60 * 3),
        "log": (lambda: CSVLog(tmp_path / "log.csv"), 60 * 3),
    }[name]
    without, with_ours = (watched_fit(lib, [c])[2] for c in (ReadsNothing(), callback()))
    assert with_ours - without <= most


@pytest.mark.parametrize("lib", ["torch"], indirect=True)
def test_keeping_what_callbacks_remember_reads_nothing(lib):
    """The loop asks early stopping for its state now and then; the parameters stay where they are.

    They are fetched once, for the state that the fit leaves behind.
    """
    stopping = EarlyStopping(60)
    events = ("on_fit_begin", "on_epoch_end", "on_fit_end")
    forgets = SimpleNamespace(**{event: getattr(stopping, event) for event in events})
    _, _, without = watched_fit(lib, [forgets], batch_size=1)
    net, _, with_state = watched_fit(lib, [EarlyStopping(60)], batch_size=1)
    ((_, state),) = net.training_state.callbacks
    assert all(type(x) is np.ndarray for layer in state["parameters"] for x in layer)
    assert with_state - without == sum(map(len, state["parameters"]))


def test_a_state_may_use_its_memory_again(lib):
    """A run that diverges hands a callback the state of the update that it goes back to."""

    class Counts:
        def __init__(self):
            self.memory = np.zeros(1)

        def on_epoch_end(self, net, progress):
            self.memory += 1.0

        def state(self):
            return {"epochs": self.memory}

    net, counts = make_net(lib), Counts()
    settings = {"epochs": 310, "l2": 1e-3, "callbacks": [counts]}
    rates = lambda epoch: 1.0 if epoch < 300 else 1e300  # noqa: E731
    with pytest.raises(xpnet.DivergedError):
        net.fit(lib.asarray(X), lib.asarray(Y), xpnet.Adam(), schedule=rates, **settings)
    counts.memory += 1000.0
    ((_, state),) = net.training_state.callbacks
    assert state["epochs"] <= net.training_state.epoch == 301
