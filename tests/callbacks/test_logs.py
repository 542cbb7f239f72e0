"""Logs: a line an epoch that reads back exactly, also after a crash."""

from __future__ import annotations

import copy
import csv
import json

import numpy as np
import pytest
from callback_helpers import X_VALID, Y_VALID, X, Y, make_net
from helpers import raises_on_purpose

import xpnet
from xpnet.callbacks import CSVLog, JSONLinesLog
from xpnet.callbacks.logs import FIELDS

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


@pytest.mark.usefixtures("recorded")
def test_a_cost_that_is_no_number_is_null(tmp_path):
    net = xpnet.DeepNet([3, 1], output="identity", dtype="float32")
    with np.errstate(all="ignore"), pytest.raises(xpnet.DivergedError):
        net.fit(X, 1e3 * Y, xpnet.GradientDescent(40.0), batch_size=None, epochs=200,
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
