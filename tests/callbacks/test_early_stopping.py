"""Early stopping: when it ends a fit, and which parameters the net ends with."""

from __future__ import annotations

import math

import numpy as np
import pytest
from callback_helpers import Recorder, X, Y, make_net
from helpers import assert_pairs_equal, raises_on_purpose

import xpnet
from xpnet.callbacks import EarlyStopping


class Scripted:
    """In place of `progress`: figures of one's own."""

    def __init__(self, values, monitor, epochs=None):
        self.values, self.monitor, self.epoch = values, monitor, 0
        self.epochs = len(values) if epochs is None else epochs

    @property
    def total_epoch(self):
        return self.epoch

    def __getattr__(self, name):
        assert name == self.monitor, f"{name} was read, which costs a look at the device"
        return self.values[self.epoch - 1]


def stopped_after(values, monitor="validation_cost", **settings):
    """How many epochs a fit with these figures makes, and the callback."""
    stopping, progress = EarlyStopping(monitor=monitor, **settings), Scripted(values, monitor)
    assert not stopping.on_fit_begin(make_net(), progress)
    while progress.epoch < len(values):
        progress.epoch += 1
        if stopping.on_epoch_end(make_net(), progress):
            break
    return progress.epoch, stopping


@pytest.mark.parametrize(
    ("values", "settings", "epochs", "best_epoch"),
    [
        ([3, 2, 1, 1, 1, 1], {"patience": 2}, 5, 3),
        ([3, 2, 1, 2, 0.5, 1, 1, 1], {"patience": 2}, 7, 5),
        ([3, 2.95, 2.91, 2.85], {"patience": 2, "min_delta": 0.1}, 3, 1),
        ([3, 2.9, 2.8, 2.85], {"patience": 2, "min_delta": 0.1}, 4, 3),
        ([3, 2, 1], {"patience": 1}, 3, 3),
        ([1, math.nan, 0.5, math.inf], {"patience": 2}, 4, 3),
        ([math.nan, math.nan, 0.5], {"patience": 2}, 2, 0),
        ([0.5, 0.6, 0.6, 0.6], {"patience": 2, "monitor": "validation_accuracy"}, 4, 2),
        ([5, 4, 4], {"patience": 1, "monitor": "cost"}, 3, 2),
    ],
)
def test_when_early_stopping_stops(values, settings, epochs, best_epoch):
    found, stopping = stopped_after(values, **settings)
    assert (found, stopping.best_epoch) == (epochs, best_epoch)
    assert stopping.best == (values[best_epoch - 1] if best_epoch else None)


def overfit(lib, epochs=40, **settings):
    """A net, and a fit of it whose validation cost turns up again."""
    rng = np.random.default_rng(6)
    x, x_valid = rng.normal(size=(3, 12)), rng.normal(size=(3, 200))
    y, y_valid = ((a[:1] + rng.normal(size=(1, a.shape[1])) > 0) * 1.0 for a in (x, x_valid))
    x, y, x_valid, y_valid = (lib.asarray(a) for a in (x, y, x_valid, y_valid))
    net = make_net(lib)
    settings |= {"epochs": epochs, "validation": (x_valid, y_valid), "batch_size": None}
    history = net.fit(x, y, xpnet.Adam(0.1), **settings)
    return net, history, net.cost(x_valid, y_valid)


@pytest.mark.parametrize("restore_best", [True, False])
def test_the_best_parameters_come_back(lib, restore_best):
    stopping = EarlyStopping(patience=5, restore_best=restore_best)
    net, history, cost = overfit(lib, callbacks=[stopping])
    best = min(history.validation_cost)
    assert stopping.best == best
    assert len(history.cost) == stopping.best_epoch + 5 < 40
    assert cost == pytest.approx(best if restore_best else history.validation_cost[-1], rel=1e-12)
    assert all(lib.owns(x) for layer in net.parameters for x in layer)
    same, _, _ = overfit(lib, epochs=stopping.best_epoch if restore_best else len(history.cost))
    assert_pairs_equal(lib.host(net.parameters), lib.host(same.parameters))


def test_they_come_back_where_the_epochs_run_out_first(lib):
    stopping = EarlyStopping(patience=100)
    _, history, cost = overfit(lib, callbacks=[stopping])
    assert len(history.cost) == 40
    assert cost == pytest.approx(min(history.validation_cost), rel=1e-12)


def test_they_do_not_where_another_callback_breaks_off(lib):
    stopping = EarlyStopping(patience=30)
    _, history, cost = overfit(lib, callbacks=[stopping, Recorder(stop_after=30)])
    assert stopping.best_epoch < len(history.cost) == 30
    assert cost == pytest.approx(history.validation_cost[-1], rel=1e-12)


def test_one_callback_serves_two_fits(lib):
    stopping = EarlyStopping(patience=5)
    first = overfit(lib, callbacks=[stopping])[1]
    assert overfit(lib, callbacks=[stopping])[1].cost == first.cost


def test_a_fit_that_was_over_stays_over(lib):
    x, y = lib.asarray(X), lib.asarray(Y)
    options = {"validation": (x, 1.0 - y), "batch_size": 8, "resume": True}
    net = make_net(lib)
    net.fit(x, y, epochs=9, callbacks=[EarlyStopping(patience=2)], **options)
    done, parameters = len(net.history.cost), lib.host(net.parameters)
    assert done < 9
    net.fit(x, y, epochs=9, callbacks=[EarlyStopping(patience=2)], **options)
    assert len(net.history.cost) == done
    assert_pairs_equal(lib.host(net.parameters), parameters)
    net.fit(x, y, epochs=1, callbacks=[EarlyStopping(patience=9)], **options)
    assert len(net.history.cost) == done + 1


@pytest.mark.parametrize(
    ("monitor", "output", "said"),
    [
        ("validation_cost", "sigmoid", r"watches validation_cost.*validation=\(X, Y\)"),
        ("validation_accuracy", "identity", "watches validation_accuracy"),
    ],
)
def test_there_must_be_something_to_watch(monitor, output, said):
    net = xpnet.DeepNet([3, 1], output=output)
    with raises_on_purpose(ValueError, said):
        net.fit(X, Y, epochs=3, callbacks=[EarlyStopping(monitor=monitor)])


@pytest.mark.parametrize(
    "settings", [{"patience": 0}, {"patience": 1.5}, {"monitor": "loss"}, {"min_delta": -1.0}]
)
def test_bad_settings_of_early_stopping(settings):
    with raises_on_purpose((ValueError, TypeError), next(iter(settings))):
        EarlyStopping(**settings)
