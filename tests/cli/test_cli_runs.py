"""Long runs: configuration files, run folders, checkpoints, logs, and going on with them."""

import csv
import json
import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import HARD, assert_close, error, rows, same_model, write_csv

import xpnet
from xpnet.cli.recipe import _schedule, schedule_text
from xpnet.files.model import load_model


# -- options -----------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("constant", "constant"),
        ("cosine", "cosine:40:0"),
        ("cosine:100:0.1", "cosine:100:0.1"),
        ("step:10", "step:10:0.1"),
        ("step:10:0.5", "step:10:0.5"),
        ("exponential:0.95", "exponential:0.95"),
        ("inverse", "inverse:0.5"),
        ("plateau:0.5:3", "plateau:0.5:3"),
        ("warmup:5", "warmup:5"),
        ("warmup:5+cosine", "warmup:5+cosine:35:0"),
        ("warmup:2.5+step:3", "warmup:2.5+step:3:0.1"),
    ],
)
def test_schedules(text, full):
    bound = xpnet.core.schedules.prepared(_schedule(text), 40)
    assert schedule_text(bound) == full
    assert _schedule(full) == bound


def test_drawing_without_matplotlib_is_refused_first(run, here, monkeypatch):
    monkeypatch.setattr("xpnet.cli.run_folder.find_spec", lambda name: None)
    said = error(run("train --plot curve.svg"), 2)
    assert "'--plot': drawing needs matplotlib: python -m pip install matplotlib" in said
    assert run("train --epochs 1 --hidden 4 --run-dir r").exit_code == 0
    assert "curve.svg" not in os.listdir("r")


def test_early_stopping_keeps_the_best(ok, here):
    output = ok("train --epochs 60 --hidden 8 --lr 0.05 --early-stopping 2 --log log.csv")
    with open("log.csv") as file:
        costs = [float(line["validation_cost"]) for line in csv.DictReader(file)]
    best = int(np.argmin(costs))
    assert len(costs) == best + 3 < 60
    assert f"best validation cost {costs[best]:.4g} after epoch {best + 1}; " in output
    ok(f"train --epochs {best + 1} --hidden 8 --lr 0.05 --out best.model")
    assert same_model("model.safetensors", "best.model")


def test_validation_file(ok, run, here, blobs):
    write_csv(here / "v.csv", np.array([[7, -3, -3], [7, 3, 3]]), ["left", "right"], "c,b,a,side")
    output = ok("train blobs.csv --target side --epochs 9 --lr 0.05 --validation v.csv")
    assert "120 to train on, 2 to validate" in output
    assert rows(output)["validation accuracy"] == "1.0000"
    write_csv(here / "w.csv", np.array([[7, -3, -3]]), ["up"], "c,b,a,side")
    said = error(run("train blobs.csv --target side --validation w.csv"), 1)
    assert said == "w.csv, line 2, column 'side': 'up' is no class of the model's: left, right"
    assert "none.csv: No such file" in error(
        run("train blobs.csv --target side --validation none.csv"), 1
    )


def test_logs_and_curve(ok, here):
    pytest.importorskip("matplotlib")
    ok("train --epochs 3 --hidden 4 --log a.jsonl --plot curve.svg")
    lines = [json.loads(line) for line in (here / "a.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert "<svg" in (here / "curve.svg").read_text()
    before = (here / "curve.svg").read_bytes()
    ok("train --epochs 3 --hidden 4 --plot curve.svg")
    assert (here / "curve.svg").read_bytes() == before
    for kind in ("png", "pdf"):
        ok(f"train --epochs 1 --hidden 4 --plot curve.{kind}")
        assert os.path.getsize(f"curve.{kind}") > 1000


def test_no_curve_of_an_epoch_that_was_not_finished(run, here, stop_after):
    pytest.importorskip("matplotlib")
    stop_after(1)
    result = run("train --epochs 2 --hidden 4 --run-dir r")
    assert result.exit_code == 130, result.output
    assert "after epoch 0 of 2 and 16 steps" in result.stderr
    assert sorted(os.listdir("r")) == ["checkpoints", "config.toml", "log.csv", "model.safetensors"]
    assert "cost" not in rows(result.stdout)


def test_json(run, here):
    result = run("train --epochs 3 --hidden 4 --json")
    assert result.exit_code == 0
    found = json.loads(result.stdout)
    assert found["sizes"] == [64, 4, 10]
    assert (found["epochs"], found["model"], found["stopped"]) == (3, "model.safetensors", None)
    assert 0 < found["validation"]["accuracy"] < 1
    assert len(found["history"]["validation_cost"]) == 3
    assert "epoch 3/3" in result.stderr


def test_json_has_no_nan(run, here):
    x = np.ones((40, 1))
    np.savez("c.npz", X=np.arange(40.0)[:, None], y=np.r_[np.arange(20.0), np.ones(20)])
    np.savez("v.npz", X=x, y=x[:, 0])
    result = run("train c.npz --task regression --validation v.npz --epochs 1 --json")
    assert json.loads(result.stdout)["validation"]["r2"] is None, result.stderr


def test_info_as_json(ok):
    found = json.loads(ok("info --json"))
    assert found["xpnet"] == xpnet.__version__
    assert found["backends"]["numpy"]["version"] == np.__version__


# -- configuration files -----------------------------------------------------------------
def test_the_command_line_wins_over_the_file(ok, here):
    (here / "run.toml").write_text('epochs = 2\nhidden = [6, 5]\nlr = 1e-2\nout = "a"\n')
    assert "64-6-5-10, adam, learning rate 0.01" in ok("train --config run.toml")
    output = ok("train --config run.toml --epochs 3 --out b --hidden 7")
    assert rows(output)["epochs"] == "3"
    assert load_model("b").config["net"]["sizes"] == [64, 7, 10]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("epoch = 3", "run.toml: no option 'epoch'"),
        ("batch_size = 3", "no option 'batch_size'"),
        ("colour = 3", "run.toml: no option 'colour' (see"),
        ("epochs = [3]", "run.toml: epochs = [3]: expected a number or text"),
        ("epochs = true", "expected a number or text"),
        ("stream = 1", "stream = 1: expected true or false"),
        ("resume = true", "no option 'resume'"),
        ("epochs", "run.toml: Expected '=' after a key"),
        ('epochs = "many"', "'--epochs': "),
        ('epochs = "many"', ", in run.toml (see xpnet train --help)"),
        ('optimizer = "sgd"', "'sgd' is not one of"),
        ("lr = -1", "'--lr': -1.0 is not a number above 0"),
    ],
)
def test_bad_configurations(run, here, content, said):
    (here / "run.toml").write_text(content)
    assert said in error(run("train --config run.toml"), 2)
    assert os.listdir(here) == ["run.toml"]


def test_a_configuration_that_is_not_there(run):
    assert "none.toml: No such file" in error(run("train --config none.toml"), 1)


# -- run folders -------------------------------------------------------------------------
def test_a_run_folder_can_be_run_again(ok, here, blobs):
    words = f"train blobs.csv --target side --epochs 4 {HARD} --early-stopping 9 --lr 0.01"
    ok(f"{words} --run-dir runs/1")
    held = {"config.toml", "log.csv", "checkpoints", "model.safetensors"}
    assert held <= set(os.listdir("runs/1"))
    said = tomllib.loads(Path("runs/1/config.toml").read_text())
    assert said["data"] == str(here / "blobs.csv")
    assert (said["task"], said["hidden"], said["backend"]) == ("classification", "6,5", "numpy")
    assert f"# xpnet {xpnet.__version__}, Python" in Path("runs/1/config.toml").read_text()
    ok("train --config runs/1/config.toml --out again")
    assert same_model("runs/1/model.safetensors", "again")
    ok("train --config runs/1/config.toml --run-dir runs/2")
    assert same_model("runs/2/model.safetensors", "again")
    first, second = (tomllib.loads(Path(f"runs/{i}/config.toml").read_text()) for i in "12")
    assert first == second
    ok("train --config runs/1/config.toml --out other --seed 1")
    assert not same_model("other", "again")


@pytest.mark.parametrize("options", ["--model linear --validation 0.1", "--model logistic"])
def test_run_folders_of_other_models(ok, here, plane, options):
    X, y = plane
    np.savez("sign.npz", X=X, y=y > np.median(y))
    data = "plane.npz" if "linear" in options else "sign.npz"
    ok(f"train {data} {options} --epochs 3 --run-dir r --batch-size full --optimizer gd")
    ok("train --config r/config.toml --out again")
    assert same_model("r/model.safetensors", "again")


def test_a_run_folder_is_not_overwritten(run, ok, here):
    (here / "r").mkdir()
    (here / "r" / "notes").write_text("mine")
    assert "r is not empty; go on there with --resume" in error(run("train --run-dir r"), 2)
    assert os.listdir("r") == ["notes"]


# -- going on ----------------------------------------------------------------------------
@pytest.mark.parametrize("step", [1, 20, 70])
def test_a_run_that_was_stopped_goes_on_to_the_same_end(run, ok, here, stop_after, step):
    words = f"train --epochs 4 {HARD} --early-stopping 3 --batch-size 48"
    ok(f"{words} --run-dir whole")
    stop_after(step)
    result = run(f"{words} --run-dir parts")
    assert result.exit_code == 130, result.output
    stopped, line = result.stderr.splitlines()[-2:]
    assert re.fullmatch(r"xpnet: stopped by Ctrl-C after epoch \d of 4 and \d+ steps", stopped)
    assert line == f"xpnet: to go on: xpnet {words} --run-dir parts --resume"
    assert (here / "parts" / "model.safetensors").exists()
    (last,) = [name for name in os.listdir("parts/checkpoints") if "-step-" in name]
    stop_after(None)
    output = ok("train --run-dir parts --resume")  # all else is in its config.toml
    assert f"going on from {Path('parts/checkpoints') / last}" in output
    assert rows(output)["epochs"] == "4"
    assert same_model("whole/model.safetensors", "parts/model.safetensors")
    logs = []
    for name in ("whole", "parts"):
        with open(f"{name}/log.csv") as file:
            logs.append([(d["epoch"], d["step"], d["cost"]) for d in csv.DictReader(file)])
    assert [line[0] for line in logs[0]] == ["1", "2", "3", "4"]
    assert logs[0] == logs[1]


def test_going_on_with_what_is_finished(ok, here):
    ok("train --epochs 60 --hidden 8 --lr 0.05 --early-stopping 2 --run-dir r")
    before = sorted(os.listdir("r/checkpoints"))
    Path("r/model.safetensors").rename("first")  # as if the power had gone just before
    output = ok("train --run-dir r --resume")
    said = (
        r"nothing was left to train: early stopping had ended it after epoch \d+ of 60; for more,"
    )
    assert re.search(rf"^{said}", output, re.M), output
    assert same_model("first", "r/model.safetensors")
    assert sorted(os.listdir("r/checkpoints")) == before


def test_going_on_with_what_has_all_its_epochs_and_to_more(ok, here):
    ok("train --epochs 5 --hidden 6 --out whole")
    words = "train --epochs 2 --hidden 6 --checkpoint-dir ck --out a"
    assert "nothing was left" not in ok(words)
    said = "\nnothing was left to train: 2 epochs were done; for more: --epochs N\n"
    output = ok(f"{words} --resume")
    assert said in output
    assert rows(output)["epochs"] == "2"
    assert "nothing was left" not in ok(f"{words} --resume --epochs 5")
    assert same_model("whole", "a")


def test_going_on_before_there_is_a_checkpoint(ok, here, plane):
    words = "train plane.npz --epochs 2 --hidden 6"
    ok(f"{words} --out whole")
    for place in ("--run-dir r", "--checkpoint-dir ck --out a"):
        output = ok(f"{words} {place} --resume")
        assert re.search(r"no checkpoint in (r.checkpoints|ck) yet: starting afresh", output)
    assert same_model("whole", "a")
    assert same_model("whole", "r/model.safetensors")
    ok("train --config r/config.toml --run-dir s --resume")
    assert same_model("whole", "s/model.safetensors")


@pytest.mark.parametrize("option", ["--run-dir", "--checkpoint-dir"])
@pytest.mark.parametrize("made", [False, True])
def test_a_run_that_is_not_there(run, here, option, made):
    """The digits are not trained on because a folder is misspelt."""
    if made:
        (here / "typo").mkdir()
    said = error(run(f"train {option} typo --resume --epochs 2"), 2)
    assert (
        "'--resume': there is no run in typo to go on with: name its folder, or give DATA" in said
    )
    assert list(here.rglob("*")) == ([here / "typo"] if made else [])


def test_a_run_of_the_digits_without_a_checkpoint_yet(ok, here):
    ok("train --epochs 2 --hidden 6 --run-dir r")
    for path in (here / "r" / "checkpoints").iterdir():
        path.unlink()
    assert "yet: starting afresh" in ok("train --run-dir r --resume")


def test_going_on_elsewhere(ok, here, lib):
    if lib.name != "numpy" and lib.device:
        pytest.skip("one device is enough")
    words = "train --hidden 6 --dtype float64 --batch-size 256"
    ok(f"{words} --epochs 1 --checkpoint-dir ck")
    ok(f"{words} --epochs 2 --checkpoint-dir ck --resume --backend {lib.name}")
    ok(f"{words} --epochs 2 --out whole")
    assert_close("model.safetensors", "whole", atol=1e-9)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--hidden 7", 1, "another net: 64-6-10 relu softmax, but this run trains 64-7-10 relu"),
        ("--lr 0.5", 1, "was made with --lr 0.001, but this run has --lr 0.5: go on with the"),
        ("--optimizer gd --lr 0.001", 1, "made with --optimizer adam, but this run has"),
        ("--seed 3", 1, "was made with --seed 0, but this run has --seed 3"),
        ("--schedule cosine", 1, "with --schedule constant, but this run has --schedule cosine:"),
        ("--dropout 0.5", 1, "with --dropout 0, but this run has --dropout 0.5"),
        ("--clip-norm 1", 1, "with --clip-norm none, but this run has --clip-norm 1.0"),
        ("--dtype float64", 1, "with --dtype float32, but this run has --dtype float64"),
        ("--validation 0.1", 1, "with --validation 0.2, but this run has --validation 0.1"),
        ("--epochs 1", 2, "'--epochs': ck"),
        ("plane.npz", 1, "other data: handwritten digits (rows 1797, features 64, checksum "),
        ("plane.npz", 1, "but this run has plane.npz (rows 200, features 2, checksum "),
    ],
)
@pytest.mark.usefixtures("plane")
def test_checkpoints_of_other_runs(run, ok, here, options, code, said):
    ok("train --epochs 2 --hidden 6 --checkpoint-dir ck --out a")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    words = f"train --epochs 4 --hidden 6 --checkpoint-dir ck --out a --resume {options}"
    result = run(words)
    assert said in error(result, code)
    assert result.stdout == ""
    assert before == {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}


def test_changed_data(run, ok, here, plane):
    X, y = plane
    ok("train plane.npz --epochs 2 --run-dir r --hidden 4")
    X[7, 1] += 1e-9
    np.savez("plane.npz", X=X, y=y)
    assert "is a checkpoint of other data: plane.npz" in error(run("train --run-dir r --resume"), 1)


def test_data_that_has_moved(run, ok, here, plane, monkeypatch):
    ok("train plane.npz --epochs 1 --run-dir r --hidden 4")
    (here / "other").mkdir()
    monkeypatch.chdir(here / "other")
    assert "going on from" in ok("train --run-dir ../r --resume --epochs 2")
    (here / "plane.npz").rename("moved.npz")
    assert "plane.npz: No such file" in error(run("train --run-dir ../r --resume --epochs 3"), 1)
    assert "going on from" in ok("train moved.npz --run-dir ../r --resume --epochs 3")


def test_checkpoints_are_not_lost_by_starting_anew(run, ok, here):
    ok("train --epochs 2 --hidden 6 --checkpoint-dir ck")
    said = error(run("train --epochs 2 --hidden 6 --checkpoint-dir ck"), 2)
    assert "ck holds checkpoints, the latest epoch-000002.safetensors; go on from there" in said


def test_a_damaged_checkpoint_is_passed_over(run, ok, here):
    words = "train --epochs 3 --hidden 6 --checkpoint-dir ck"
    ok(f"{words} --out whole")
    last = here / "ck" / "epoch-000003.safetensors"
    last.write_bytes(last.read_bytes()[:-9])
    result = run(f"{words} --out a --resume")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith("xpnet: passed over ck")
    assert same_model("whole", "a")
    for path in (here / "ck").iterdir():
        path.write_bytes(b"?")
    assert "no checkpoint in ck can be read" in error(run(f"{words} --resume"), 1)
