"""Ctrl-C, SIGTERM, SIGKILL, closed pipes, full disks: nothing is lost."""

import csv
import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import (
    HARD,
    WINDOWS,
    command,
    error,
    program,
    rows,
    same_model,
    started,
    utf8,
    without_codes,
)

import xpnet
import xpnet.cli
from xpnet.cli.interrupt import Interrupt
from xpnet.data.table import load_digits
from xpnet.files.checkpoint_folder import checkpoint_name, find_checkpoints, is_checkpoint
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


def interrupted(*args):
    raise KeyboardInterrupt


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


def test_a_second_signal_while_the_model_is_being_written(run, here, signals, monkeypatch):
    """It ends nothing: what is told and what is there are the same."""
    signals(signal.SIGINT)
    save = xpnet.DeepNet.save

    def saves(net, *args, **settings):
        save(net, *args, **settings)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(xpnet.DeepNet, "save", saves)
    result = run("train --epochs 50 --hidden 4")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1] == "xpnet: stopped by Ctrl-C after epoch 2 of 50"
    assert load_model(here / "model.safetensors").parameters


def test_a_second_signal_when_the_model_is_written(run, here, signals, monkeypatch):
    signals(signal.SIGINT)

    monkeypatch.setattr("xpnet.cli.train_report.results", interrupted)
    result = run("train --epochs 50 --hidden 4")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1:3] == [
        "xpnet: stopped at once; the model is in model.safetensors",
        "xpnet: stopped by Ctrl-C after epoch 2 of 50",
    ]
    assert load_model(here / "model.safetensors").parameters


@pytest.mark.parametrize("option", ["", " --checkpoint-dir ck"])
def test_ctrl_c_between_the_last_epoch_and_the_results(run, here, monkeypatch, option):
    words = f"train --epochs 2 --hidden 4{option}"
    with monkeypatch.context() as patch:
        patch.setattr("xpnet.cli.train_report.results", interrupted)
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
    monkeypatch.setattr("xpnet.cli.training_data.load_digits", interrupted)
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


IMPORTING = (  # the signal comes where numpy or typer is to be imported
    "import os, signal, sys\n"
    "class Finder:\n"
    "    def find_spec(self, name, *_):\n"
    "        if name in ('numpy', 'typer'): os.kill(os.getpid(), signal.SIGINT)\n"
    "sys.meta_path.insert(0, Finder())\n"
    "sys.argv = ['xpnet', 'info']\n"
    "sys.orig_argv = [sys.executable, *sys.argv]\n"
)


@pytest.mark.skipif(WINDOWS, reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("before", ["", "import numpy\n", "import numpy, typer\n"])
def test_ctrl_c_while_the_command_is_being_imported(here, before):
    code = "import sys\nfrom xpnet.cli import main\nsys.exit(main())"
    imports = f"{before}{IMPORTING}{code}"
    done = program(start=("-c", imports))
    if "typer" in before:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert (done.returncode, done.stderr) == (130, "xpnet: error: interrupted\n")
    library = imports.replace("['xpnet', 'info']", "['script.py']")  # its Ctrl-C stays Python's
    assert "typer" in before or "KeyboardInterrupt" in program(start=("-c", library)).stderr


# -- as a program ------------------------------------------------------------------------
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
        f"xpnet: error: the command line needs {missing}: python -m pip install typer rich pyarrow"
    )


def test_a_console_is_silent_after_its_reader_has_gone(here, monkeypatch):
    from xpnet.cli.output import Console

    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        console = Console()
        for _ in range(2):
            console.print_line("more")
        console.check()


def test_an_import_error_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "xpnet.cli.commands", None)
    with pytest.raises(ModuleNotFoundError, match=r"xpnet\.cli\.commands"):
        xpnet.cli.main([])


# -- what goes wrong outside -------------------------------------------------------------
@pytest.mark.skipif(WINDOWS or not Path("/proc/self").exists(), reason="/proc is Linux's")
@pytest.mark.parametrize(
    "option",
    ["--out /proc/m", "--run-dir /proc/r", "--checkpoint-dir /proc/c", "--log /proc/l.csv"],
)
def test_folders_that_nobody_can_write_in(run, here, option):
    xpnet.DeepNet([2, 1]).save("m")
    result = run(f"train --epochs 2 --hidden 4 --out m {option}")
    assert xpnet.load("m").sizes == (2, 1)
    assert result.exit_code in (1, 2)
    told = result.stderr.splitlines()
    assert len(told) == 1
    assert told[0].startswith("xpnet: error: ")
    assert "/proc/" in told[0] or "the folder /proc" in told[0]


def test_a_file_where_a_folder_should_be(run, here):
    (here / "ck").write_text("mine")
    for option in ("--run-dir", "--checkpoint-dir"):
        said = error(run(f"train --epochs 1 --hidden 4 {option} ck"), 2)
        assert f"'{option}': ck is not a folder" in said
    assert (here / "ck").read_text() == "mine"


LIMITED = (
    "import resource, signal, sys, xpnet.cli\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))\n"
    "xpnet.cli.main(sys.argv[2:])\n"
)


def limited(size: int, *words: str) -> subprocess.CompletedProcess:
    """The command line where no file may grow beyond ``size`` bytes, like on a full disk."""
    return program(str(size), *words, start=("-c", LIMITED))


@pytest.mark.skipif(WINDOWS, reason="no resource limits there")
def test_a_disk_that_fills(ok, here):
    words = ["train", "--epochs", "2", "--hidden", "64"]
    ok("train --epochs 1 --hidden 4")  # a model that was there
    before = (here / "model.safetensors").read_bytes()
    done = limited(9000, *words)
    assert done.returncode == 1
    assert done.stderr == "xpnet: error: model.safetensors: File too large\n"
    assert (here / "model.safetensors").read_bytes() == before
    assert os.listdir(here) == ["model.safetensors"]
    # The checkpoint before is whole, and going on from it ends where it would have ended.
    ok("train --epochs 1 --hidden 64 --checkpoint-dir ck --out a")
    done = limited(9000, *words, "--checkpoint-dir", "ck", "--resume", "--out", "a")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "the checkpoint was not written: File too large" in line
    assert "; the net so far is in" not in line
    ok("train --epochs 2 --hidden 64 --checkpoint-dir ck --resume --out a")
    ok("train --epochs 2 --hidden 64 --out whole")
    assert same_model("whole", "a")


@pytest.mark.skipif(WINDOWS, reason="no resource limits there")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("predict m blobs.csv --out a.csv", "a.csv: File too large"),
        ("predict m -", "File too large, keeping standard input in "),
    ],
)
def test_a_disk_that_is_full_is_named(ok, here, blobs, words, said):
    ok("train blobs.csv --target side --epochs 1 --hidden 2 --out m")
    with open("blobs.csv", "rb") as table:
        done = program("50", *words.split(), start=("-c", LIMITED), stdin=table)
    (line,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert line.startswith(f"xpnet: error: {said}")
    assert ("TMPDIR" in line) == ("-" in words.split())


def test_a_full_folder_is_named(run, here, monkeypatch):
    def fsync(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    said = error(run("train --epochs 1 --hidden 2"), 1)
    assert said == f"model.safetensors: No space left on device in the folder {here}"


@pytest.mark.skipif(WINDOWS, reason="no resource limits there")
@pytest.mark.parametrize(("options", "size"), [("--epochs 200 --hidden 4", 9000),
                                               ("--model logistic", 6000)])  # fmt: skip
def test_a_log_that_grows_too_large_does_not_lose_the_net(ok, here, options, size):
    done = limited(size, "train", *options.split(), "--log", "log.csv")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line == "xpnet: error: log.csv: File too large; the net so far is in model.safetensors"
    assert load_model("model.safetensors").parameters


@pytest.mark.skipif(WINDOWS, reason="descriptors are a matter of Unix")
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_descriptors_lose_nothing(here, closed):
    words = " ".join(command("train", "--epochs", "3", "--hidden", "4"))
    done = subprocess.run(f"{words} {closed}", shell=True, env=utf8(), capture_output=True)
    assert done.returncode == 0, done.stderr
    assert load_model("model.safetensors").parameters


def test_divergence_names_the_last_checkpoint(run, here):
    said = error(
        run("train --optimizer gd --lr 1e9 --l2 0 --hidden 4 --checkpoint-dir ck --epochs 3"), 1
    )
    assert "training diverged in epoch 1 of 3" in said
    assert said.endswith(
        f"No model was written; the last checkpoint is {Path('ck/epoch-000000.safetensors')}"
    )


# -- kill -9 -----------------------------------------------------------------------------
def killed(pause: float, *words: str) -> bool:
    """Run the command line, and kill it if it is still running after a pause."""
    with started(*words) as running:
        time.sleep(pause)
        alive = running.poll() is None
        if alive:
            running.kill()
        running.communicate()
    return alive


@pytest.mark.skipif(WINDOWS, reason="no SIGKILL there")
@pytest.mark.parametrize("moments", [8, pytest.param(50, marks=pytest.mark.long)])
def test_kill_9_and_resume(ok, here, moments):
    """What is there after each kill is whole; the model, checkpoint and log end as unbroken."""
    X, y = load_digits()
    np.savez("digits.npz", X=X, y=y)
    epochs, kills = 50 * moments, 0
    words = f"train digits.npz --epochs {epochs} --batch-size 32 {HARD} --early-stopping {epochs}"
    ok(f"{words} --run-dir whole")
    resumed = f"{words} --run-dir parts --resume".split()
    for pause in np.random.default_rng(moments).uniform(0, 0.3, moments):
        kills += killed(pause, *resumed)
        found = find_checkpoints(here / "parts" / "checkpoints")
        assert found
        assert all(is_checkpoint(each.path) for each in found)
    assert kills > 0
    ok("train --run-dir parts --resume")
    last = f"checkpoints/{checkpoint_name(epochs)}"
    for name in ("model.safetensors", last):
        assert same_model(f"whole/{name}", f"parts/{name}")
    histories, logs = [], []
    for name in ("whole", "parts"):
        history = load_model(f"{name}/{last}").config["training"]["history"]
        histories.append(history | {"seconds": 0})
        logs.append(list(csv.DictReader(Path(name, "log.csv").read_text().splitlines())))
    assert histories[0] == histories[1]
    seconds = [float(line["seconds"]) for line in logs[1]]
    assert seconds == sorted(seconds)
    assert [int(line["epoch"]) for line in logs[1]] == list(range(1, epochs + 1))
    for one, other in zip(*logs, strict=True):
        assert one | {"seconds": 0} == other | {"seconds": 0}
