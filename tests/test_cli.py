"""The command line, in this process, as a program of its own, and on a terminal."""

import os
import re
import runpy
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

import xpnet.cli
from xpnet.cli import app
from xpnet.modelfile import load_model
from xpnet.tables import load_digits

WINDOWS = sys.platform == "win32"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, on something that is 80 columns wide and no terminal."""
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    # `--dtype float64` sets this one; so it is put back after the test.
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.delenv("JAX_ENABLE_X64")
    return tmp_path


@pytest.fixture
def run(here):
    """Run the command line on the words of a string."""

    def run(words: str):
        return CliRunner().invoke(app, words.split())

    return run


def rows(output: str) -> dict[str, str]:
    """The final table as a dictionary."""
    return dict(re.findall(r"│ (\S.*?) +│ +(\S+) │", output))


def error(result, code: int) -> str:
    """The one line of an error, after its prefix."""
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("xpnet: error: ")
    return line.removeprefix("xpnet: error: ")


def write_csv(path, X, y, header):
    lines = [",".join(map(str, [*row, label])) for row, label in zip(X.tolist(), y, strict=True)]
    path.write_text("\n".join([header, *lines]) + "\n")


@pytest.fixture
def blobs(here):
    """Two clouds of points in blobs.csv with text labels, easy to tell apart."""
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(60, 2)) - 3, rng.normal(size=(60, 2)) + 3]).round(3)
    X = np.concatenate([X, np.full((120, 1), 7.0)], axis=1)  # and a constant column
    write_csv(here / "blobs.csv", X, ["left"] * 60 + ["right"] * 60, "a,b,c,side")
    return X


@pytest.fixture
def plane(here):
    """y = 100 + 3 a - 2 b and a little noise in plane.npz."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) * [1, 50] + [0, 1000]
    y = 100 + X @ [3, -2] + rng.normal(size=200) / 10
    np.savez(here / "plane.npz", X=X, y=y)
    return X, y


# -- the main job ------------------------------------------------------------------------
def test_digits_by_default(run, here):
    result = run("train")
    assert result.exit_code == 0, result.output
    table = rows(result.stdout)
    assert float(table["validation accuracy"]) >= 0.96
    assert table | {"backend": "numpy", "device": "cpu", "dtype": "float32"} == table
    assert table["parameters"] == "17,226"
    assert float(table["seconds"]) < 60
    model = load_model(here / "model.safetensors")
    assert [W.shape for W, _ in model.parameters] == [(128, 64), (64, 128), (10, 64)]
    assert model.config["net"]["output"] == "softmax"
    assert model.config["data"]["classes"] == list(range(10))
    assert os.listdir(here) == ["model.safetensors"]


def test_the_file_holds_all_that_prediction_needs(run, here):
    assert run("train --epochs 5 --dtype float64").exit_code == 0
    model = load_model(here / "model.safetensors")
    net_config, X_y = model.config["net"], load_digits()
    net = xpnet.DeepNet(
        net_config["sizes"], hidden=net_config["hidden"], output=net_config["output"]
    )
    net.parameters = model.parameters
    scale = np.where(model.tensors["input_scale"] > 0, model.tensors["input_scale"], np.inf)
    Z = (X_y[0].astype(np.float64) - model.tensors["input_mean"]) / scale
    assert np.mean(net.predict(Z.T) == X_y[1]) > 0.97


@pytest.mark.parametrize("optimizer", ["gd", "momentum", "adam", "adamw", "rmsprop"])
def test_optimizers(run, optimizer):
    result = run(f"train --optimizer {optimizer} --epochs 8 --hidden 32")
    assert float(rows(result.stdout)["validation accuracy"]) > 0.9, result.output


def test_every_backend_gives_the_same_run(run, lib):
    options = f"--backend {lib.name}" + (f" --device {lib.device}" if lib.device else "")
    words = "train --epochs 3 --hidden 8 --batch-size 128 --dtype float64"
    result, expected = run(f"{words} {options}"), run(words)
    assert result.exit_code == 0, result.output
    table, expected_table = rows(result.stdout), rows(expected.stdout)
    assert table["backend"] == lib.name
    assert table["dtype"] == "float64"
    for name in ("cost", "training accuracy", "validation accuracy"):
        assert table[name] == expected_table[name]


def test_same_seed_same_model(run, here):
    for out in ("a", "b", "c --seed 1"):
        assert run(f"train --epochs 2 --hidden 8 --out {out}").exit_code == 0
    a, b, c = (load_model(here / name).parameters[0][0] for name in "abc")
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_two_classes_of_text(run, here, blobs):
    result = run("train blobs.csv --target side --epochs 20")
    assert rows(result.stdout)["validation accuracy"] == "1.0000", result.output
    assert "2 classes; 96 to train on, 24 to validate" in result.stdout
    model = load_model(here / "model.safetensors")
    assert model.config["net"]["sizes"] == [3, 128, 64, 1]
    assert model.config["net"]["output"] == "sigmoid"
    assert model.config["data"] == {
        "task": "classification",
        "model": "deep",
        "features": ["a", "b", "c"],
        "target": "side",
        "classes": ["left", "right"],
    }
    assert model.tensors["input_scale"][2] == 0


def test_linear_regression_is_least_squares(run, here, plane):
    X, y = plane
    words = "train plane.npz --model linear --dtype float64 --validation 0 --batch-size full"
    result = run(f"{words} --epochs 3000 --lr 0.05")
    table = rows(result.stdout)
    assert float(table["training R²"]) > 0.999
    assert "validation R²" not in table
    model = load_model(here / "model.safetensors")
    ((W, b),) = model.parameters
    tensors = model.tensors
    slopes = W[0] * tensors["target_scale"] / tensors["input_scale"]
    intercept = tensors["target_mean"] + b[0] * tensors["target_scale"]
    intercept = intercept - slopes @ tensors["input_mean"]
    expected = np.linalg.lstsq(np.column_stack([np.ones(200), X]), y, rcond=None)[0]
    np.testing.assert_allclose([*intercept, *slopes], expected, rtol=1e-5)


def test_regression_by_a_deep_net(run, plane):
    result = run("train plane.npz --hidden 16,8 --epochs 60")
    table = rows(result.stdout)
    assert float(table["validation R²"]) > 0.95, result.output
    assert float(table["validation RMSE"]) < 25
    assert re.search(r"epoch 60/60  cost \S+ R² 0\.9", result.stdout)


@pytest.mark.parametrize(
    ("options", "sizes"),
    [
        ("--model logistic", [3, 1]),
        ("--model shallow", [3, 64, 1]),
        ("--model shallow --hidden 5", [3, 5, 1]),
        ("--hidden 6,5,4", [3, 6, 5, 4, 1]),
        ("--hidden 9", [3, 9, 1]),
    ],
)
def test_models(run, here, blobs, options, sizes):
    result = run(f"train blobs.csv --target 3 --epochs 2 {options}")
    assert result.exit_code == 0, result.output
    assert load_model(here / "model.safetensors").config["net"]["sizes"] == sizes


@pytest.mark.parametrize(
    ("options", "task"),
    [
        ("", "classification"),
        ("--task regression", "regression"),
        ("--model linear", "regression"),
        ("--model logistic", "classification"),
    ],
)
def test_tasks(run, here, options, task):
    result = run(f"train --epochs 2 {options}")
    assert result.exit_code == 0, result.output
    assert load_model(here / "model.safetensors").config["data"]["task"] == task


def test_penalty_and_full_batches(run):
    words = "train --epochs 3 --hidden 8 --batch-size full --lr 0.01"
    free, penalised = (rows(run(f"{words} --l2 {l2}").stdout)["cost"] for l2 in (0, 1))
    assert float(penalised) > float(free) + 1


# -- what is printed ---------------------------------------------------------------------
def test_plain_lines_without_control_codes(run):
    output = run("train --epochs 40 --hidden 4").stdout
    assert "\x1b" not in output
    assert "\r" not in output
    epochs = re.findall(r"^epoch +(\d+)/40  cost \S+ accuracy 0\.\d{4}$", output, re.M)
    assert [int(epoch) for epoch in epochs] == [1, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40]


def test_help(run):
    result = run("--help")
    assert result.exit_code == 0
    assert "xpnet train data.csv --target price" in result.stdout
    assert run("").stdout == result.stdout
    result = run("train -h")
    assert result.exit_code == 0
    for words in ("--target COLUMN", "xpnet train iris.csv --target species", "Exit codes"):
        assert words in result.stdout


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_fits_the_terminal(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in ("--help", "train --help", "info --help"):
        examples = ("    xpnet ",)  # are to be copied, not broken
        lines = [line for line in run(words).stdout.splitlines() if not line.startswith(examples)]
        assert max(map(len, lines)) <= min(columns, 100)


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"xpnet {xpnet.__version__}\n")


def test_info(run):
    result = run("info")
    assert result.exit_code == 0
    found = xpnet.backends()
    assert re.search(rf"^numpy +{re.escape(np.__version__)} +cpu", result.stdout, re.M)
    for backend in found.values():
        if backend.usable:
            assert re.search(
                rf"^{backend.name} +{re.escape(backend.version)} ", result.stdout, re.M
            )
        elif not backend.installed:
            assert f"{backend.name}: not installed\n  {backend.install}\n" in result.stdout


def test_info_of_what_is_missing_or_broken(run, monkeypatch):
    info = xpnet.BackendInfo
    long_line = 'python -m pip install "' + "x" * 90 + '"'
    backends = {
        "numpy": info("numpy", True, True, "2.0", ("cpu",), "", None),
        "gone": info("gone", False, False, None, (), long_line, "no module"),
        "blind": info("blind", True, False, "1.0", (), long_line, "no device here"),
    }
    monkeypatch.setattr(xpnet, "backends", lambda: backends)
    output = run("info").stdout
    assert f"gone: not installed\n  {long_line}\n" in output
    assert "blind: installed, but not usable\n  no device here\n" in output


# -- errors: one line, exit code 2 for options and 1 for all else ------------------------
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--hidden 3 --model linear", "'--hidden': a linear model has no hidden layer"),
        ("--hidden 3 --model logistic", "'--hidden': a logistic model has no hidden layer"),
        ("--hidden 3,4 --model shallow", "a shallow net has one hidden layer"),
        ("--hidden 3,,4", "'3,,4' is no list of widths"),
        ("--hidden 0", "'0' is no list of widths"),
        ("--hidden -3", "'-3' is no list of widths"),
        ("--epochs 0", "'--epochs'"),
        ("--epochs many", "'--epochs'"),
        ("--batch-size 0", "'--batch-size': '0'"),
        ("--batch-size half", "'--batch-size': 'half'"),
        ("--lr 0", "'--lr': 0.0"),
        ("--lr nan", "'--lr': nan"),
        ("--l2 -1", "'--l2': -1.0"),
        ("--l2 inf", "'--l2': inf"),
        ("--validation 1", "'--validation': 1.0"),
        ("--validation nan", "'--validation': nan"),
        ("--seed -1", "'--seed'"),
        ("--model wide", "'wide' is not one of"),
        ("--optimizer sgd", "'sgd' is not one of"),
        ("--dtype float16", "'float16' is not one of"),
        ("--backend tensorflow", "'tensorflow' is not one of auto, best, numpy"),
        ("--task regression --model logistic", "logistic is for classification"),
        ("--task classification --model linear", "linear is for regression"),
        ("--target y", "'--target': the digits have their labels"),
        ("--out nowhere/model", "'--out': there is no folder nowhere"),
        ("--out .", "'--out': . is not a regular file"),
        ("--width 3", "No such option"),
        ("--target", "requires an argument"),
        ("a.csv b.csv", "unexpected"),
    ],
)
def test_usage_errors(run, here, options, said):
    result = run(f"train {options}")
    assert said in error(result, 2)
    assert result.stdout == ""
    assert os.listdir(here) == []


def test_unknown_command(run):
    assert "No such command 'fly'" in error(run("fly"), 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("none.csv --target y", "none.csv: No such file"),
        ("none.npz", "none.npz: No such file"),
        ("data.txt", "neither a .npz nor a .csv"),
        ("blobs.csv", "the columns are a, b, c, side"),
        ("blobs.csv --target y", "no column 'y'; the columns are a, b, c, side"),
        ("blobs.csv --target a", "column 'side': 'left' is not a number"),
        ("blobs.csv --target side --model linear", "holds text, not numbers; for classes use"),
        ("blobs.csv --target side --task regression", "holds text, not numbers"),
        ("ragged.csv --target y", "ragged.csv, line 3: 1 cell, but the header has 2"),
        ("one.csv --target y", "one class only"),
        ("one.csv --target y --task regression", "'y' is constant"),
        ("truth.npz --task regression", "holds true and false, not numbers"),
        ("names.csv --target y", "text with 150 distinct values in 150 rows: too many"),
        ("numbers.csv --target y --model logistic", "for numbers use --task regression"),
        ("--device cuda:7", "device='cuda:7'"),
        ("--optimizer gd --lr 1e9", "training diverged in epoch"),
        ("--optimizer gd --lr 1e9", "No model was written"),
    ],
)
@pytest.mark.usefixtures("blobs")
def test_data_errors(run, here, options, said):
    (here / "ragged.csv").write_text("x,y\n1,2\n3\n")
    (here / "one.csv").write_text("x,y\n1,2\n3,2\n5,2\n6,2\n7,2\n")
    write_csv(here / "names.csv", np.ones((150, 1)), [f"n{i}" for i in range(150)], "x,y")
    write_csv(here / "numbers.csv", np.ones((150, 1)), range(150), "x,y")
    np.savez(here / "truth.npz", X=np.ones((9, 1)), y=np.arange(9) > 4)
    assert said in error(run(f"train {options}"), 1)
    assert not (here / "model.safetensors").exists()


def test_missing_library(run, monkeypatch):
    def select(*args, **kwargs):
        raise xpnet.BackendUnavailable('CuPy is missing; pip install "xpnet[cuda12]"')

    monkeypatch.setattr("xpnet.deepnet.select", select)
    assert 'pip install "xpnet[cuda12]"' in error(run("train --backend cupy"), 1)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(28, "No space left on device", "model"), "model: No space left on device"),
        (OSError("odd"), "odd"),
        (MemoryError("8 GiB"), "out of memory. 8 GiB"),
        (RuntimeError("two\nlines"), "two lines"),
    ],
)
def test_unexpected_failures_are_one_line(run, monkeypatch, raised, said):
    def save_model(*args, **kwargs):
        raise raised

    monkeypatch.setattr("xpnet.deepnet.save_model", save_model)
    assert error(run("train --epochs 1 --hidden 4"), 1) == said


# -- Ctrl-C ------------------------------------------------------------------------------
class PressesCtrlC:
    """Stands in for the training rows: presses Ctrl-C so many times after the second epoch."""

    def __init__(self, times: int) -> None:
        self.times = times

    def on_epoch_end(self, original):
        def on_epoch_end(watcher, net, progress):
            original(watcher, net, progress)
            if progress.epoch == 2:
                for _ in range(self.times):
                    signal.raise_signal(signal.SIGINT)

        return on_epoch_end


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c(run, here, monkeypatch, times):
    from xpnet.cli.display import Lines

    presses = PressesCtrlC(times)
    monkeypatch.setattr(Lines, "on_epoch_end", presses.on_epoch_end(Lines.on_epoch_end))
    before = signal.getsignal(signal.SIGINT)
    result = run("train --epochs 50 --hidden 4")
    assert result.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    first, second = result.stderr.splitlines()
    assert first == "finishing this epoch; Ctrl-C again stops at once"
    if times == 1:
        assert second == "xpnet: stopped by Ctrl-C after epoch 2 of 50"
        assert load_model(here / "model.safetensors").parameters
        assert rows(result.stdout)["epochs"] == "2"
    else:
        assert second == "xpnet: stopped in the middle of an epoch; no model was written"
        assert os.listdir(here) == []


def test_ctrl_c_before_training(run, monkeypatch):
    def read(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("xpnet.cli.train.load_digits", read)
    assert error(run("train"), 130) == "interrupted"


@pytest.mark.parametrize("columns", [40, 80])
def test_ctrl_c_under_a_bar(run, here, monkeypatch, columns):
    from xpnet.cli.display import Bar

    presses = PressesCtrlC(1)
    monkeypatch.setattr(Bar, "on_epoch_end", presses.on_epoch_end(Bar.on_epoch_end))
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes anything for a terminal then
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    result = run("train --epochs 50 --hidden 4")
    assert without_codes(result.stderr) == "xpnet: stopped by Ctrl-C after epoch 2 of 50"
    assert re.search(r"2/50\b.*accuracy 0\.\d+", without_codes(result.stdout))
    assert load_model(here / "model.safetensors").parameters


def without_codes(text: str) -> str:
    """Text without control codes."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).strip()


# -- as a program ------------------------------------------------------------------------
def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "xpnet", *words]


def test_module_runs(here):
    words = command("train", "--epochs", "3", "--hidden", "8")
    done = subprocess.run(words, capture_output=True, encoding="utf-8", check=True, env=utf8())
    assert done.stderr == ""
    assert "model written to model.safetensors" in done.stdout


def utf8() -> dict[str, str]:
    return os.environ | {"PYTHONUTF8": "1"}


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


def test_without_the_extra_here(monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, "xpnet.cli.commands")
    monkeypatch.setitem(sys.modules, "typer", None)
    assert xpnet.cli.main([]) == 1
    assert "needs typer" in capsys.readouterr().err


def test_module_runs_here(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["xpnet", "--version"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("xpnet", run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"xpnet {xpnet.__version__}\n"


def test_a_console_is_silent_after_its_reader_has_gone(here, monkeypatch):
    from xpnet.cli.display import Console

    with open("pipe", "w", encoding="utf-8") as gone:
        monkeypatch.setattr(sys, "stdout", gone)
        console = Console()
        console.on_broken_pipe()
        console.line_of("more")
        gone.flush()
    assert os.path.getsize("pipe") == 0


def test_an_import_error_of_our_own_is_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "xpnet.cli.commands", None)
    with pytest.raises(ModuleNotFoundError, match=r"xpnet\.cli\.commands"):
        xpnet.cli.main([])
    with pytest.raises(AttributeError, match="nothing"):
        _ = xpnet.cli.nothing


@pytest.mark.skipif(WINDOWS, reason="Windows sends no SIGINT to one process")
def test_ctrl_c_on_the_program(here):
    words = command("train", "--epochs", "1000000", "--hidden", "8")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=utf8() | {
        "PYTHONUNBUFFERED": "1"}) as program:  # fmt: skip
        for line in program.stdout:
            if line.startswith(b"epoch"):
                break
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=60)
    assert program.returncode == 130
    assert re.search(rb"xpnet: stopped by Ctrl-C after epoch \d+ of 1000000\n$", errors)
    assert load_model(here / "model.safetensors").parameters


@pytest.mark.skipif(WINDOWS, reason="Windows has other errors for a closed pipe")
def test_a_closed_pipe_loses_nothing(here):
    words = command("train", "--epochs", "20", "--hidden", "8")
    env = utf8() | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env
    ) as program:
        program.stdout.readline()
        program.stdout.close()
        errors = program.stderr.read()
    assert (program.returncode, errors) == (0, b"")
    assert load_model(here / "model.safetensors").parameters


# -- on a terminal -----------------------------------------------------------------------
def on_a_terminal(words, columns: int, seconds: float = 60.0, term: str = "xterm") -> str:
    """Run a command on a pseudo-terminal and return everything it wrote."""
    import fcntl
    import pty
    import struct
    import termios

    keyboard, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    env = {k: v for k, v in utf8().items() if k not in ("COLUMNS", "LINES", "NO_COLOR", "CI")}
    program = subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, env=env | {"TERM": term}
    )
    os.close(terminal)
    written, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            piece = os.read(keyboard, 65536)
        except OSError:  # Linux: the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(keyboard)
    assert program.wait(timeout=10) == 0, written
    return written.decode()


@pytest.mark.skipif(WINDOWS, reason="pseudo-terminals are a matter of Unix")
@pytest.mark.parametrize("columns", [40, 64, 80, 200])
def test_on_a_terminal(here, columns):
    screen = on_a_terminal(command("train", "--epochs", "30", "--hidden", "8"), columns)
    lines = [without_codes(line) for line in re.split(r"[\r\n]+", screen)]
    assert max(map(len, lines)) <= columns
    assert any("30/30" in line and "accuracy 0." in line for line in lines)
    assert any("━━━" in line for line in lines) == (columns >= 64)
    assert not any("…" in line for line in lines)
    assert screen.count("validation accuracy") == 1


@pytest.mark.skipif(WINDOWS, reason="pseudo-terminals are a matter of Unix")
def test_on_a_terminal_that_cannot_move_its_cursor(here):
    screen = on_a_terminal(command("train", "--epochs", "10", "--hidden", "8"), 80, term="dumb")
    assert "\x1b" not in screen
    assert len(re.findall(r"^epoch", screen, re.M)) == 10
