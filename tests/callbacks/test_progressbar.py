"""The progress bar: plain lines, a bar that fits its terminal, few looks at the device."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from callback_helpers import X_VALID, Y_VALID, ReadsNothing, X, Y, make_net, watched_fit

from xpnet.callbacks import ProgressBar


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


@pytest.mark.parametrize("width", [30, 40, 80, 100])
def test_a_bar_fits_its_terminal(width):
    console = terminal(width)
    make_net().fit(X, Y, epochs=20, validation=(X_VALID, Y_VALID), batch_size=1,
                   callbacks=[ProgressBar(console=console)])  # fmt: skip
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    lines = [line.rstrip() for line in re.split(r"[\r\n]", text) if line.strip()]
    assert max(map(len, lines)) <= width
    assert "20/20 " in lines[-1]
    assert "…" not in text  # what has no room is left out
    assert "━" in text
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
