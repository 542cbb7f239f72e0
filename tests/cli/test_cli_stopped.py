"""Ctrl-C, SIGTERM, closed pipes: nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_helpers import (
    WINDOWS,
    command,
    error,
    program,
    rows,
    same_model,
    started,
    without_codes,
)

import xpnet
import xpnet.cli
from xpnet.cli.interrupt import Interrupt
from xpnet.files.model import load_model


# -- signals -----------------------------------------------------------------------------
@pytest.fixture
def signals(monkeypatch):
    """Sends signals to this process after the second epoch of a training."""
    original = Interrupt.on_epoch_end

    def signals(*numbers: int) -> None:

        def on_epoch_end(interrupt, net, progress):
            if progress.total_epoch == 2 and progress.epoch:
                for number in numbers:
                    signal.raise_signal(number)
            return original(interrupt, net, progress)

        monkeypatch.setattr(Interrupt, "on_epoch_end", on_epoch_end)

    return signals


@pytest.mark.parametrize(
    ("name", "told", "code"),
    [("SIGINT", "Ctrl-C", 130), ("SIGTERM", "SIGTERM", 143), ("SIGHUP", "SIGHUP", 129)],
)
def test_a_signal_ends_the_run_and_saves(run, here, signals, name, told, code):
    if not hasattr(signal, name):
        pytest.skip("not a signal of this system")
    number = getattr(signal, name)
    signals(number)
    before = signal.getsignal(number)
    result = run("train --epochs 50 --hidden 4")
    assert result.exit_code == code
    assert signal.getsignal(number) is before
    assert result.stderr.splitlines() == [
        f"xpnet: {told}: finishing this step; again stops at once",
        f"xpnet: stopped by {told} after epoch 2 of 50",
        "xpnet: with --run-dir DIR or --checkpoint-dir DIR a run can go on where it stopped",
    ]
    assert load_model(here / "model.safetensors").parameters
    assert rows(result.stdout)["epochs"] == "2"


def test_a_second_signal_stops_at_once(run, here, signals):
    signals(signal.SIGINT, signal.SIGINT)
    result = run("train --epochs 50 --hidden 4")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1] == "xpnet: stopped at once; no model was written"
    assert os.listdir(here) == []


def test_the_line_to_go_on_with(run, here, signals):
    signals(signal.SIGINT, signal.SIGINT)
    result = run("train --epochs 4 --hidden 4 --checkpoint-dir ck --out a --seed 7")
    *_, at_once, line = result.stderr.splitlines()
    assert at_once == (
        "xpnet: stopped at once; no model was written; the last checkpoint is "
        f"{Path('ck/epoch-000001.safetensors')}"
    )
    prefix = "xpnet: to go on: xpnet "
    assert line.startswith(prefix)
    signals()
    result = run(line.removeprefix(prefix))
    assert result.exit_code == 0, result.output
    assert "going on from" in result.stdout
    assert run("train --epochs 4 --hidden 4 --out b --seed 7").exit_code == 0
    assert same_model("a", "b")


def test_a_second_signal_when_the_model_is_written(run, here, signals, monkeypatch):
    signals(signal.SIGINT)

    def results(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.cli.train_report.results", results)
    result = run("train --epochs 50 --hidden 4")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1:3] == [
        "xpnet: stopped at once; the model is in model.safetensors",
        "xpnet: stopped by Ctrl-C after epoch 2 of 50",
    ]
    assert load_model(here / "model.safetensors").parameters


@pytest.mark.parametrize("option", ["", " --checkpoint-dir ck"])
def test_ctrl_c_between_the_last_epoch_and_the_results(run, here, monkeypatch, option):
    def results(*args):
        raise KeyboardInterrupt

    words = f"train --epochs 2 --hidden 4{option}"
    with monkeypatch.context() as patch:
        patch.setattr("xpnet.cli.train_report.results", results)
        result = run(words)
    assert result.exit_code == 130
    again = f"; its results, or more epochs with --epochs N: xpnet {words} --resume" * bool(option)
    assert result.stderr.splitlines() == [
        "xpnet: stopped at once; the model is in model.safetensors",
        f"xpnet: the training is complete{again}",
    ]
    assert not option or "training accuracy" in run(f"{words} --resume").stdout


def test_ctrl_c_in_the_last_epoch(run, here, signals):
    signals(signal.SIGINT)
    result = run("train --epochs 2 --hidden 4 --checkpoint-dir ck")
    assert result.exit_code == 130
    assert "training accuracy" in result.stdout
    assert result.stderr.splitlines()[1:] == [
        "xpnet: stopped by Ctrl-C after epoch 2 of 2",
        "xpnet: the training is complete; its results, or more epochs with --epochs N: xpnet train "
        "--epochs 2 --hidden 4 --checkpoint-dir ck --resume",
    ]


def test_json_of_a_run_that_was_stopped(run, signals):
    signals(signal.SIGTERM)
    result = run("train --epochs 50 --hidden 4 --json")
    assert result.exit_code == 143
    found = json.loads(result.stdout)
    assert (found["stopped"], found["epochs"]) == ("SIGTERM", 2)


def test_a_program_in_the_background_ignores_ctrl_c(run, signals):
    signals(signal.SIGINT)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell starts one
    try:
        assert run("train --epochs 3 --hidden 4").exit_code == 0
    finally:
        signal.signal(signal.SIGINT, before)


def test_ctrl_c_before_training(run, monkeypatch):
    def read(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.cli.training_data.load_digits", read)
    assert error(run("train"), 130) == "interrupted"


@pytest.mark.parametrize("columns", [40, 80])
def test_ctrl_c_under_a_bar(run, here, monkeypatch, signals, columns):
    signals(signal.SIGINT)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes anything for a terminal then
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run("train --epochs 50 --hidden 4")
    told = without_codes(result.stderr).splitlines()
    assert told[0] == "xpnet: stopped by Ctrl-C after epoch 2 of 50"
    assert re.search(r"2/50\b.*accuracy 0\.\d+", without_codes(result.stdout))
    assert load_model(here / "model.safetensors").parameters


# -- as a program ------------------------------------------------------------------------
def test_module_runs(here):
    done = program("train", "--epochs", "3", "--hidden", "8", check=True)
    assert done.stderr == ""
    assert "model written to model.safetensors" in done.stdout


def test_output_that_is_no_utf8(here):
    words = command("train", "--epochs", "2", "--hidden", "8", "--model", "deep")
    env = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, check=True, env=env)
    assert b"validation accuracy" in done.stdout


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra(missing):
    code = (
        f"import sys; sys.modules[{missing!r}] = None; import xpnet.cli; sys.exit(xpnet.cli.main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == (
        f'xpnet: error: the command line needs {missing}: python -m pip install "xpnet[cli]"'
    )


def test_a_console_is_silent_after_its_reader_has_gone(here, monkeypatch):
    from xpnet.cli.output import Console

    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        console = Console()
        for _ in range(2):
            console.line_of("more")
        console.check()


def test_an_import_error_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "xpnet.cli.commands", None)
    with pytest.raises(ModuleNotFoundError, match=r"xpnet\.cli\.commands"):
        xpnet.cli.main([])
    with pytest.raises(AttributeError, match="nothing"):
        _ = xpnet.cli.nothing


@pytest.mark.skipif(WINDOWS, reason="Windows sends no SIGINT to one process")
def test_ctrl_c_on_the_program(here):
    with started("train", "--epochs", "1000000", "--hidden", "8") as running:
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 130
    assert re.search(rb"xpnet: stopped by Ctrl-C after epoch \d+ of 1000000", errors)
    assert load_model(here / "model.safetensors").parameters


@pytest.mark.skipif(WINDOWS, reason="Windows has other errors for a closed pipe")
def test_a_closed_pipe_loses_nothing(here):
    with started("train", "--epochs", "20", "--hidden", "8") as running:
        running.stdout.close()
        errors = running.stderr.read()
    assert (running.returncode, errors) == (0, b"")
    assert load_model(here / "model.safetensors").parameters
