"""Callbacks: when they are called, what they read, and those that come with xpnet."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from helpers import assert_pairs_equal, raises_on_purpose

import xpnet
from xpnet.callbacks import Checkpoints, CSVLog, EarlyStopping, JSONLinesLog, ProgressBar
from xpnet.callbacks.logs import FIELDS

RNG = np.random.default_rng(51)
X = RNG.normal(size=(3, 20))
Y = (X[:1] > 0).astype(float)
X_VALID = RNG.normal(size=(3, 12))
Y_VALID = (X_VALID[:1] > 0).astype(float)


def make_net(lib=None, **settings):
    options = lib.options if lib else {"backend": "numpy"}
    return xpnet.DeepNet(
        [3, 4, 1], hidden="tanh", output="sigmoid", dtype="float64", seed=1, **options, **settings
    )


class Recorder:
    """Writes down every call; stops after `stop_after` epochs where given."""

    def __init__(self, stop_after=None):
        self.calls, self.epochs, self.costs, self.seconds = [], [], [], []
        self.stop_after = stop_after

    def on_fit_begin(self, net, progress):
        self.calls.append("begin")
        self.net, self.total = net, progress.epochs

    def on_epoch_end(self, net, progress):
        self.calls.append("epoch")
        assert net is self.net
        self.epochs.append(progress.epoch)
        self.costs.append(progress.cost)
        self.seconds.append(progress.seconds)
        return self.stop_after is not None and len(self.epochs) >= self.stop_after

    def on_fit_end(self, net, progress):
        self.calls.append("end")
        self.last_epoch = progress.epoch


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
    assert all(type(cost) is float for cost in recorder.costs)
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


class Watches:
    """Reads the validation figures, and computes them again by the net's own functions."""

    def __init__(self, x, y):
        self.x, self.y, self.read, self.again = x, y, [], []

    def on_epoch_end(self, net, progress):
        self.read.append((progress.validation_cost, progress.validation_accuracy))
        self.again.append(float(net.cost(self.x, self.y)))


def test_validation_figures(lib):
    """After each epoch's updates: the cost without penalty, and the share of right labels."""
    net = make_net(lib)
    x_valid, y_valid = lib.asarray(X_VALID), lib.asarray(Y_VALID)
    watches = Watches(x_valid, y_valid)
    history = net.fit(
        lib.asarray(X),
        lib.asarray(Y),
        optimizer=xpnet.Adam(0.1),
        epochs=5,
        batch_size=8,
        validation=(x_valid, y_valid),
        callbacks=[watches],
    )
    assert history.validation_cost == [cost for cost, _ in watches.read]
    assert history.validation_accuracy == [accuracy for _, accuracy in watches.read]
    figures = [*history.validation_cost, *history.validation_accuracy]
    assert all(type(value) is float for value in figures)
    np.testing.assert_allclose(history.validation_cost, watches.again, rtol=1e-12)
    right = np.mean(lib.to_numpy(net.predict(x_valid)) == Y_VALID)
    assert history.validation_accuracy[-1] == pytest.approx(right, abs=1e-12)


def test_validation_changes_no_parameter():
    plain, watched = make_net(), make_net()
    settings = {"optimizer": xpnet.Adam(0.1), "epochs": 4, "batch_size": 8}
    plain.fit(X, Y, **settings)
    watched.fit(X, Y, validation=(X_VALID, Y_VALID), **settings)
    assert_pairs_equal(plain.parameters, watched.parameters)


def test_softmax_accuracy_counts_labels():
    rng = np.random.default_rng(52)
    x, labels = rng.normal(size=(4, 15)), rng.integers(0, 3, size=15)
    net = xpnet.DeepNet([4, 3], output="softmax", backend="numpy", dtype="float64", seed=2)
    history = net.fit(x, labels, optimizer=xpnet.Adam(0.1), epochs=3, validation=(x, labels))
    assert history.validation_accuracy[-1] == pytest.approx(np.mean(net.predict(x) == labels))


def test_without_validation_there_are_no_figures():
    history = make_net().fit(X, Y, optimizer=xpnet.Adam(0.1), epochs=2)
    assert not history.validation_cost
    assert not history.validation_accuracy


class Reads:
    def on_epoch_end(self, net, progress):
        self.figures = progress.cost, progress.validation_cost, progress.validation_accuracy


class ReadsNothing:
    def on_epoch_end(self, net, progress):
        assert progress.epoch <= progress.epochs


def watched_fit(lib, callbacks, **settings):
    """A net, its history, and how often a tensor became a number or a NumPy array in its fit."""
    fetches, net = [], make_net(lib)
    x, y, *validation = (lib.asarray(array) for array in (X, Y, X_VALID, Y_VALID))
    settings = {"epochs": 60, "validation": validation} | settings
    with pytest.MonkeyPatch.context() as patch:
        for name in ("numpy", "item", "tolist", "__float__", "__bool__", "__array__"):
            original = getattr(lib.xp.Tensor, name)

            def counting(self, *args, original=original, **kwargs):
                fetches.append(self.shape)
                return original(self, *args, **kwargs)

            patch.setattr(lib.xp.Tensor, name, counting)
        history = net.fit(x, y, xpnet.Adam(0.01), callbacks=callbacks, **settings)
    return net, history, len(fetches)


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


def test_a_callback_that_raises_ends_the_run_with_its_own_error():
    class Breaks:
        def on_epoch_end(self, net, progress):
            raise KeyboardInterrupt

    net = make_net()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, Y, optimizer=xpnet.Adam(0.1), epochs=4, callbacks=[Breaks()])
    assert math.isfinite(float(net.cost(X, Y)))
    net.fit(X, Y, optimizer=xpnet.Adam(0.1), epochs=1)  # and the net trains on


def test_a_callback_may_assign_parameters():
    """The run goes on from what was assigned."""
    start = make_net().parameters

    class GoesBack:
        def on_epoch_end(self, net, progress):
            if progress.epoch == progress.epochs - 1:
                net.parameters = start

    net, once = make_net(), make_net()
    settings = {"optimizer": xpnet.GradientDescent(0.1)}
    net.fit(X, Y, epochs=4, callbacks=[GoesBack()], **settings)
    once.fit(X, Y, epochs=1, **settings)
    assert_pairs_equal(net.parameters, once.parameters)


def test_a_callback_sees_the_parameters_of_the_epoch_it_is_told_of(lib):
    """What the callback reads from the net mid-run is the run's own state, not the start's."""
    seen = []

    class Keeps:
        def on_epoch_end(self, net, progress):
            seen.append(lib.host(net.parameters))

    x, y = lib.asarray(X), lib.asarray(Y)
    settings = {"optimizer": xpnet.Adam(0.1), "batch_size": 8}
    make_net(lib).fit(x, y, epochs=3, callbacks=[Keeps()], **settings)
    for epochs in (1, 2, 3):
        net = make_net(lib)
        net.fit(x, y, epochs=epochs, **settings)
        assert_pairs_equal(lib.host(net.parameters), seen[epochs - 1])


# -- early stopping ----------------------------------------------------------------------
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
    history = net.fit(
        x, y, xpnet.Adam(0.1), epochs=epochs, validation=(x_valid, y_valid), **settings
    )
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


# -- logs --------------------------------------------------------------------------------
LOGS = {"csv": CSVLog, "jsonl": JSONLinesLog}


def read_log(path):
    """Lists of figures by column."""
    if path.suffix == ".csv":
        with open(path, newline="", encoding="utf-8") as file:
            rows = [
                {k: float(v) if v else None for k, v in row.items()} for row in csv.DictReader(file)
            ]
    else:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {name: [row[name] for row in rows] for name in FIELDS}


def logged_fit(net, path, epochs, **settings):
    return net.fit(
        X,
        Y,
        xpnet.Adam(0.01),
        epochs=epochs,
        batch_size=8,
        callbacks=[LOGS[path.suffix[1:]](path)],
        **settings,
    )


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_log_holds_every_figure_exactly(tmp_path, name):
    path, net = tmp_path / name, make_net()
    history = logged_fit(
        net, path, 4, validation=(X_VALID, Y_VALID), schedule=lambda epoch: 1.0 / (1.0 + epoch)
    )
    found = read_log(path)
    assert found["epoch"] == [1, 2, 3, 4]
    assert found["step"] == [3, 6, 9, 12]
    rates = [0.01 / (1 + epoch + 2 / 3) for epoch in range(4)]
    np.testing.assert_allclose(found["learning_rate"], rates, rtol=1e-14)
    for curve in ("cost", "validation_cost", "validation_accuracy"):
        assert found[curve] == getattr(history, curve)
    assert 0 < found["seconds"][0] <= found["seconds"][-1] <= history.seconds
    logged_fit(make_net(), path, 2)  # a fresh fit starts anew
    assert read_log(path)["epoch"] == [1, 2]
    assert read_log(path)["validation_cost"] == [None, None]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_log_after_a_crash_has_every_epoch_once(tmp_path, name):
    """The run goes on from the third epoch; the log went further, and ends in half a line."""
    path, whole = tmp_path / name, make_net()
    logged_fit(whole, path, 3)
    twin = copy.deepcopy(whole)
    logged_fit(twin, path, 3, resume=True)
    before = read_log(path)
    with open(path, "a", encoding="utf-8") as file:
        file.write('{"epoch": 7, "st' if name.endswith("l") else "7,21,0.1")
    logged_fit(whole, path, 5, resume=True)
    found = read_log(path)
    assert found["epoch"] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert found["cost"][:6] == before["cost"]
    assert found["cost"] == whole.history.cost
    assert found["seconds"] == sorted(found["seconds"])


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_a_log_can_begin_in_a_resumed_fit(tmp_path, name):
    net = make_net()
    net.fit(X, Y, epochs=2, batch_size=8)
    logged_fit(net, tmp_path / name, 2, resume=True)
    assert read_log(tmp_path / name)["epoch"] == [3, 4]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
@pytest.mark.parametrize(
    "content", [b"a,b\n1,2\n", b"\x89PNG\n\x00", b"[1]\n", b"{}\n", b"epoch,step\n1,2\n"]
)
def test_another_file_is_not_overwritten(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with raises_on_purpose(ValueError, f"{name} is there and is no log of this kind"):
        logged_fit(make_net(), tmp_path / name, 1)
    assert (tmp_path / name).read_bytes() == content


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_an_empty_or_cut_off_log_starts_anew(tmp_path, name):
    for content in ("", "epo") if name == "log.csv" else ("", '{"epo'):
        (tmp_path / name).write_text(content)
        logged_fit(make_net(), tmp_path / name, 1)
        assert read_log(tmp_path / name)["epoch"] == [1]


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_every_line_is_there_when_its_epoch_ends(tmp_path, name):
    counts = []

    class Counts:
        last = True

        def on_epoch_end(self, net, progress):
            counts.append(len(read_log(tmp_path / name)["epoch"]))

    log = LOGS[name[4:]](tmp_path / name)
    make_net().fit(X, Y, epochs=3, callbacks=[log, Counts()])
    assert counts == [1, 2, 3]


def test_a_cost_that_is_no_number_is_null(tmp_path):
    net = xpnet.DeepNet([3, 1], output="identity", dtype="float32")
    with np.errstate(all="ignore"), pytest.raises(xpnet.DivergedError):
        net.fit(X, 1e3 * Y, xpnet.GradientDescent(40.0), epochs=200,
                callbacks=[JSONLinesLog(tmp_path / "log.jsonl")])  # fmt: skip
    costs = read_log(tmp_path / "log.jsonl")["cost"]
    assert costs[0] > 0
    assert costs[-1] is None


def test_a_log_that_cannot_be_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        logged_fit(make_net(), tmp_path / "none" / "log.csv", 1)
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(OSError, match=r"log.csv"):
        logged_fit(make_net(), tmp_path / "log.csv", 1)


# -- the progress bar --------------------------------------------------------------------
def shown_by(fit_settings=None, *, epochs=23, **settings):
    """What a bar writes to a file that is no terminal."""
    file = io.StringIO()
    make_net().fit(
        X, Y, epochs=epochs, callbacks=[ProgressBar(file=file, **settings)], **(fit_settings or {})
    )
    return file.getvalue()


def test_plain_lines_where_there_is_no_terminal():
    lines = shown_by({"validation": (X_VALID, Y_VALID)}).splitlines()
    numbers = [int(line.split()[1].split("/")[0]) for line in lines]
    assert numbers == [1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 23]
    pattern = r"epoch +\d+/23  cost 0\.\d+ validation 0\.\d+ accuracy [01]\.\d{4}"
    assert all(re.fullmatch(pattern, line) for line in lines)
    assert "\x1b" not in "".join(lines)


def test_standard_output_if_nothing_is_said(capsys):
    make_net().fit(X, Y, epochs=1, callbacks=[ProgressBar()])
    assert re.fullmatch(r"epoch 1/1  cost \S+\n", capsys.readouterr().out)


def test_figures_of_ones_own():
    text = shown_by(epochs=1, figures=lambda progress: {"cost": 1 / 3, "R2": 0.5})
    assert text == "epoch 1/1  cost 0.3333 R2 0.5000\n"


def test_a_resumed_fit_counts_on():
    net, file = make_net(), io.StringIO()
    net.fit(X, Y, epochs=2)
    net.fit(X, Y, epochs=3, resume=True, callbacks=[ProgressBar(file=file)])
    assert [line[:9] for line in file.getvalue().splitlines()] == [
        "epoch 3/5", "epoch 4/5", "epoch 5/5"
    ]  # fmt: skip


def test_plain_lines_without_rich(monkeypatch):
    monkeypatch.setattr("xpnet.callbacks.progressbar.find_spec", lambda name: None)
    assert shown_by(epochs=1).startswith("epoch 1/1  cost ")


def terminal(width):
    rich_console = pytest.importorskip("rich.console")
    return rich_console.Console(
        file=io.StringIO(), force_terminal=True, width=width, legacy_windows=False
    )


@pytest.mark.parametrize("width", [30, 40, 63, 64, 80, 100])
def test_a_bar_fits_its_terminal(width):
    console = terminal(width)
    make_net().fit(X, Y, epochs=20, validation=(X_VALID, Y_VALID), batch_size=1,
                   callbacks=[ProgressBar(console=console)])  # fmt: skip
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]", text) if line.strip()]
    assert max(map(len, lines)) <= width
    assert "20/20 " in lines[-1]
    assert "…" not in text  # what has no room is left out
    assert ("━" in text) is (width >= 64)
    assert "\x1b[?25h" in console.file.getvalue()  # the cursor is back


class Clock:
    """Time that goes on by so much at every look."""

    def __init__(self, tick):
        self.now, self.tick = 1000.0, tick

    def __call__(self):
        self.now += self.tick
        return self.now


def test_a_bar_looks_ten_times_a_second_at_most(monkeypatch):
    """An epoch lasts 10 ms by this clock: 300 of them, and the cost is looked at 30 times."""
    looks, clock = [], Clock(0.0)

    class Ticks:
        def on_epoch_end(self, net, progress):
            clock.now += 0.01

    def figures(progress):
        looks.append(clock.now)
        return {"cost": progress.cost}

    monkeypatch.setattr("xpnet.callbacks.progressbar.monotonic", clock)
    bar = ProgressBar(figures, console=terminal(80))
    make_net().fit(X, Y, epochs=300, callbacks=[Ticks(), bar])
    assert 28 <= len(looks) <= 31
    assert np.min(np.diff(looks[:-1])) >= 0.1 - 1e-9  # the last one shows how it ended


@pytest.mark.parametrize("lib", ["torch"], indirect=True)
def test_a_bar_costs_few_looks_at_the_device(lib, monkeypatch):
    """Between two looks at the cost, nothing of the bar reads a tensor."""
    monkeypatch.setattr("xpnet.callbacks.progressbar.monotonic", Clock(0.0))  # no time goes by
    without, with_bar = (
        watched_fit(lib, [ReadsNothing(), *bar], batch_size=8, validation=None)[2]
        for bar in ([], [ProgressBar(console=terminal(80))])
    )
    assert with_bar <= without + 8


def test_a_bar_moves_in_the_middle_of_an_epoch(monkeypatch):
    bar, done = pytest.importorskip("rich.progress").Progress, []
    update = bar.update

    def noted(self, task, *, completed=None, **fields):
        done.append(completed)
        update(self, task, completed=completed, **fields)

    monkeypatch.setattr(bar, "update", noted)
    make_net().fit(X, Y, epochs=2, batch_size=1, callbacks=[ProgressBar(console=terminal(80))])
    assert any(at % 1 for at in done)
    assert done == sorted(done)
    assert ProgressBar(file=io.StringIO()).on_steps_end is None  # lines do not


def test_a_method_that_is_none_is_not_there(monkeypatch):
    """Epochs stay whole for one whose `on_steps_end` is None."""

    def fail(*args):
        raise AssertionError("an epoch in parts")

    monkeypatch.setattr("xpnet.training.loop.Run._epoch_in_parts", fail)
    recorder = Recorder()
    recorder.on_steps_end = None
    make_net().fit(X, Y, epochs=3, batch_size=1, callbacks=[recorder])
    assert recorder.epochs == [1, 2, 3]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_fit_that_fails_leaves_the_terminal_as_it_was(error):
    class Breaks:
        def on_epoch_end(self, net, progress):
            raise error

    console = terminal(80)
    with pytest.raises(error):
        make_net().fit(X, Y, callbacks=[ProgressBar(console=console), Breaks()])
    assert console.file.getvalue().rstrip("\n").endswith("\x1b[?25h")


CLOSED = """
import sys
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import xpnet
from xpnet.callbacks import ProgressBar
X = np.random.default_rng(0).normal(size=(3, 20))
history = xpnet.DeepNet([3, 1], backend="numpy").fit(
    X, X[:1] > 0, epochs=400, callbacks=[ProgressBar(file=open(sys.argv[1], "w"))])
print(len(history.cost))
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_reader_that_goes_away_does_not_end_the_fit(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    words = [sys.executable, "-c", CLOSED, str(tmp_path / "pipe")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        open(tmp_path / "pipe").close()  # as `| head -0` does
        out, error = run.communicate()
    assert (run.returncode, out) == (0, b"400\n"), error


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


# -- the guide ---------------------------------------------------------------------------
def test_the_examples_of_the_guide_run(tmp_path, monkeypatch, capsys):
    guide = Path(__file__).parents[2] / "docs" / "training.md"
    examples = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 6
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in examples:
        exec(compile(example, guide.name, "exec"), names)
    assert names["done"] == 30
    assert min(names["history"].validation_cost) < 0.3
    assert "epoch   1/200" in capsys.readouterr().out
