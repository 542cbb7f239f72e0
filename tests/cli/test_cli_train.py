"""``xpnet train``, and what is printed."""

import json
import logging
import os
import re
from importlib import import_module
from importlib.util import find_spec

import numpy as np
import pytest
from cli_helpers import program, rows, write_csv

import xpnet
from xpnet.core.optimizers import OPTIMIZERS
from xpnet.data.table import load_digits
from xpnet.files.model import load_model


# -- the main job ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("options", "name"),
    [("--hidden 5", "shallow"), ("--hidden 5,4", "deep"), ("", "deep"),
     ("--model shallow", "shallow"), ("--model logistic", "logistic")],
)  # fmt: skip
def test_a_net_is_called_by_its_layers(ok, options, name):
    assert f"\n{name}: 64-" in ok(f"train --epochs 1 {options} --out m")
    assert json.loads(ok("show m --json"))["data"]["model"] == name


def test_digits_by_default(ok, here):
    table = rows(ok("train"))
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


@pytest.fixture
def one_table(here):
    """One table in files of every kind: whole numbers and others, as floats."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    columns = {
        "few": (X[:, 0] > 0) * 1.0,
        "three": rng.integers(0, 3, 300) * 1.0,
        "many": rng.integers(0, 60, 300) * 1.0,
        "halves": rng.integers(0, 2, 300) * 0.5,
    }
    for name, y in columns.items():
        write_csv(here / f"{name}.csv", X, y.tolist(), "a,b,y")
        np.savez(here / f"{name}.npz", X=X, y=y)
        np.save(here / f"{name}.npy", np.column_stack([X, y]))
        if find_spec("pyarrow"):
            arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
            table = arrow.table({"a": X[:, 0], "b": X[:, 1], "y": y})
            parquet.write_table(table, here / f"{name}.parquet")


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
@pytest.mark.parametrize("kind", ["csv --target y", "npz", "npy --target -1", "parquet --target y"])
@pytest.mark.parametrize(
    ("name", "task", "why", "classes"),
    [
        ("few", "classification", "2 distinct whole numbers in 300 rows", [0, 1]),
        ("three", "classification", "3 distinct whole numbers in 300 rows", [0, 1, 2]),
        ("many", "regression", "60 distinct whole numbers in 300 rows", None),
        ("halves", "regression", "numbers with fractions", None),
    ],
)
def test_the_task_is_the_same_for_every_kind_of_file(
    ok, here, one_table, stream, kind, name, task, why, classes
):
    if "parquet" in kind:
        pytest.importorskip("pyarrow")
    output = ok(f"train {name}.{kind} {stream} --epochs 1 --hidden 2 --out m")
    other = "regression" if task == "classification" else "classification"
    assert re.search(rf"^task: {task}, as '[y2]' holds {why} \(or --task {other}\)$", output, re.M)
    data = load_model(here / "m").config["data"]
    assert (data["task"], data["classes"]) == (task, classes)
    assert "1.0" not in json.dumps(data["classes"])


def test_a_table_that_lies_on_its_side(run, here):
    rng = np.random.default_rng(0)
    table = rng.normal(size=(40, 401))
    np.save("wide.npy", table)
    np.savez("wide.npz", X=table[:, :-1], y=table[:, -1])
    np.savez("fine.npz", X=table[:, :399], y=table[:, -1])
    words = "--task regression --epochs 1 --hidden 2"
    said = (
        "shape (40, {}) is 40 examples of 400 features, for examples are rows; if they are columns"
    )
    for data, width in (("wide.npy --target -1", 401), ("wide.npz", 400)):
        for option in ("--stream", "--no-stream"):
            result = run(f"train {data} {words} {option}")
            assert result.exit_code == 0
            (line,) = result.stderr.splitlines()
            assert line.startswith(f"xpnet: warning: {data[:8]}: {said.format(width)}")
            assert line.endswith("save the transpose (in NumPy: array.T)")
    assert run(f"train fine.npz {words}").stderr == ""
    np.savez("tall.npz", X=table[:, :-1].T, y=table[0, :-1])
    assert run(f"train tall.npz {words}").stderr == ""


def test_the_task_is_told_where_it_was_not(ok, run, here, blobs):
    words = "train blobs.csv --target side --epochs 1 --hidden 2"
    assert "task: classification, as 'side' holds text\n" in ok(words)
    np.savez("truth.npz", X=blobs, y=blobs[:, 0] > 0)
    assert "task: classification, as 'y' holds true and false\n" in ok("train truth.npz --epochs 1")
    np.save("long.npy", np.arange(44_000.0).reshape(-1, 2))  # more than a stream counts
    many = ok("train long.npy --target 1 --stream --epochs 1 --hidden 2 --batch-size 4000")
    assert "task: regression, as '1' holds too many distinct numbers to be classes\n" in many
    for option in ("--task classification", "--model logistic"):
        words = f"train blobs.csv --target side --epochs 1 {option}"
        assert "task:" not in ok(words)


@pytest.mark.parametrize("optimizer", [rule.option for rule in OPTIMIZERS.values()])
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
    for name in ("cost+l2", "training accuracy", "validation accuracy"):
        assert table[name] == expected_table[name]


def test_a_model_that_is_replaced(run, ok, here):
    words = "train --epochs 1 --hidden 2"
    assert ok(words).endswith("model written to model.safetensors\n")
    said = "model written to model.safetensors, in place of the one that was there"
    assert ok(words).endswith(f"{said}\n")
    assert said in run(f"{words} --json").stderr
    before = (here / "model.safetensors").read_bytes()
    assert run(f"{words} --optimizer gd --lr 1e9").exit_code == 1  # it diverges
    assert (here / "model.safetensors").read_bytes() == before
    assert "in place of" not in ok(f"{words} --run-dir r")
    assert "in place of" not in ok("train --run-dir r --resume --epochs 2")
    np.savez("few.npz", X=np.arange(40.0)[:, None], y=np.arange(40) % 2)
    afresh = ok("train few.npz --epochs 1 --checkpoint-dir ck --resume")  # there is none yet
    assert afresh.endswith(f"{said}\n")
    again = ok("train few.npz --epochs 2 --checkpoint-dir ck --resume")
    assert again.endswith("model written to model.safetensors\n")


def test_what_the_library_logs_is_told(run, monkeypatch):
    """A first compile, for instance."""
    logger, fit = logging.getLogger("xpnet"), xpnet.DeepNet.fit

    def fitted(net, *args, **options):
        logger.info("compiling for %s", "float32")
        return fit(net, *args, **options)

    monkeypatch.setattr(xpnet.DeepNet, "fit", fitted)
    before = list(logger.handlers), logger.level
    for _ in range(2):
        assert run("train --epochs 1 --hidden 2").stderr == "xpnet: compiling for float32\n"
    assert (logger.handlers, logger.level) == before


def test_same_run_same_bytes(here):
    """In programs of their own too."""
    for out in ("a", "b"):
        program("train", "--epochs", "1", "--hidden", "8", "--out", out, check=True)
    assert (here / "a").read_bytes() == (here / "b").read_bytes()


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
    assert re.search(r"epoch 60/60  cost\+l2 \S+ R² 0\.9", result.stdout)


SIDES = "blobs.csv --target 3"


@pytest.mark.parametrize(
    ("words", "sizes", "task"),
    [
        (f"{SIDES} --model logistic", [3, 1], "classification"),
        (f"{SIDES} --model shallow", [3, 64, 1], "classification"),
        (f"{SIDES} --model shallow --hidden 5", [3, 5, 1], "classification"),
        (f"{SIDES} --hidden 6,5,4", [3, 6, 5, 4, 1], "classification"),
        (f"{SIDES} --hidden 9", [3, 9, 1], "classification"),
        ("", [64, 128, 64, 10], "classification"),
        ("--task regression", [64, 128, 64, 1], "regression"),
        ("--model linear", [64, 1], "regression"),
        ("--model logistic", [64, 10], "classification"),
    ],
)
def test_models_and_tasks(ok, here, blobs, words, sizes, task):
    ok(f"train {words} --epochs 2")
    config = load_model(here / "model.safetensors").config
    assert (config["net"]["sizes"], config["data"]["task"]) == (sizes, task)


def test_penalty_and_full_batches(run):
    words = "train --epochs 3 --hidden 8 --batch-size full --lr 0.01"
    outputs = (run(f"{words} --l2 {l2}").stdout for l2 in (0, 1))
    free, penalised = (rows(out)[n] for out, n in zip(outputs, ("cost", "cost+l2"), strict=True))
    assert float(penalised) > float(free) + 1


# -- what is printed ---------------------------------------------------------------------
def test_plain_lines_without_control_codes(run):
    output = run("train --epochs 40 --hidden 4").stdout
    assert "\x1b" not in output
    assert "\r" not in output
    epochs = re.findall(r"^epoch +(\d+)/40  cost\+l2 \S+ accuracy 0\.\d{4}$", output, re.M)
    assert [int(epoch) for epoch in epochs] == [1, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40]


@pytest.mark.parametrize(
    ("options", "name", "said"),
    [
        ("", "cost+l2", ", l2 0.001"),
        ("--l2 0", "cost", ""),
        ("--l2 0 --l1 1e-5", "cost+l1", ", l1 1e-05"),
        ("--l1 1e-5", "cost+l2+l1", ", l2 0.001, l1 1e-05"),
        ("--model logistic", "cost", ""),
    ],
)
def test_a_cost_with_a_penalty_says_so(run, here, options, name, said):
    output = run(f"train --epochs 2 {options}").stdout
    assert re.search(rf"^\S+: .*, learning rate \S+?{said}$", output, re.M), output
    assert re.search(rf"^epoch 2/2  {re.escape(name)} \d\S+ accuracy", output, re.M), output
    assert float(rows(output)[name]) > 0


def test_the_validation_cost_is_shown_where_it_is_watched(run, here):
    words = "train --epochs 2 --hidden 4 --log log.csv"
    assert "validation cost" not in run(words).stdout
    output = run(f"{words} --early-stopping 3").stdout
    *_, last = (here / "log.csv").read_text().splitlines()
    cost = float(last.split(",")[5])
    assert re.search(rf"^epoch 2/2  \S+ \S+ validation cost {cost:.4g} accuracy 0", output, re.M)


def test_help(run, ok):
    output = ok("--help")
    assert "xpnet train data.csv --target price" in output
    assert run("").stdout == output
    output = ok("train -h")
    for words in ("--target COLUMN", "xpnet train iris.csv --target species", "Exit codes"):
        assert words in output
    assert "xpnet bench --backends numpy,torch\n" in ok("bench --help")


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_fits_the_terminal(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    commands = ("", "train", "predict", "evaluate", "export", "show", "info", "bench")
    for words in (f"{command} --help" for command in commands):
        examples = ("    xpnet ",)  # are to be copied, not broken
        lines = [line for line in run(words).stdout.splitlines() if not line.startswith(examples)]
        assert max(map(len, lines)) <= min(columns, 100)


def test_version(run):
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"xpnet {xpnet.__version__}\n")


def test_info(ok):
    output = ok("info")
    found = xpnet.backends()
    assert re.search(rf"^numpy +{re.escape(np.__version__)} +cpu", output, re.M)
    for backend in found.values():
        if backend.usable:
            assert re.search(rf"^{backend.name} +{re.escape(backend.version)} ", output, re.M)
        elif not backend.installed:
            assert f"{backend.name}: not installed\n  {backend.install}\n" in output


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
