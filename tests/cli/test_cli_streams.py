"""``xpnet train`` on files that are streamed."""

import json
import os
import re
import signal
import sys
import tomllib
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import (
    assert_close,
    error,
    peak_memory,
    program,
    rows,
    same_model,
    write_big,
    write_csv,
)

import xpnet
from xpnet.cli import training_data
from xpnet.cli.interrupt import Interrupt
from xpnet.files.model import load_model

M = 4000


@pytest.fixture
def tables(here):
    """The same examples in files of every kind: four features, a number, a label of text."""
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(M, 4)) * [1, 2, 3, 4] + [0, 1, 2, 1000]).astype(np.float32)
    y = X @ [1, 2, -1, 0.5] + rng.normal(size=M) / 10
    labels = np.where(y > np.median(y), "high", "low")
    np.savez("n.npz", X=X, y=y)
    np.save("n.npy", np.column_stack([X, y]))
    write_csv(here / "n.csv", X, y.tolist(), "a,b,c,d,y")
    write_csv(here / "t.csv", X, labels.tolist(), "a,b,c,d,y")
    return X, y, labels


FIT = "--epochs 3 --hidden 8 --lr 0.01 --batch-size 100"


def test_every_kind_of_file_gives_the_same_run(ok, here, tables):
    kinds = ("n.npz", "n.npy --target 4", "n.npy --target -1", "n.csv --target y")
    for out, data in enumerate(kinds):
        output = ok(f"train {data} --stream {FIT} --dtype float64 --out {out}")
        assert "4 features, regression; 3,200 to train on, 800 to validate, streamed" in output
        assert float(rows(output)["validation R²"]) > 0.95
        assert float(rows(ok(f"evaluate {out} n.npz"))["R²"]) > 0.95
        assert_close(str(out), "0", rtol=1e-9, atol=1e-12)
    mean = load_model("0").tensors["input_mean"]
    np.testing.assert_allclose(mean, tables[0].mean(axis=0), rtol=0.2, atol=0.1)


@pytest.mark.parametrize("option", ["--stream", "--no-stream"])
def test_parquet(ok, here, tables, option):
    arrow = pytest.importorskip("pyarrow")
    X, _, labels = tables
    columns = {name: X[:, i] for i, name in enumerate("abcd")} | {"y": labels}
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), "t.parquet")
    output = ok(f"train t.parquet --target y {option} {FIT}")
    assert float(rows(output)["validation accuracy"]) > 0.95
    assert load_model("model.safetensors").config["data"]["classes"] == ["high", "low"]
    ok(f"train t.csv --target y {option} {FIT} --out csv")
    assert_close("model.safetensors", "csv", atol=1e-3)


def test_npy_in_memory(ok, run, here, tables):
    assert float(rows(ok(f"train n.npy --target -1 {FIT}"))["validation R²"]) > 0.95
    accuracy = rows(ok("evaluate model.safetensors n.npy"))["R²"]
    assert accuracy == rows(ok("evaluate model.safetensors n.csv --target y"))["R²"]
    for option in ("--stream", "--no-stream"):
        said = error(run(f"train n.npy {option}"), 1)
        assert said.startswith("n.npy: which column is the target? Name it (--target)")


def test_a_table_that_does_not_fit_is_streamed(ok, here, tables, monkeypatch):
    copies = 8 * 5 * M  # bytes
    monkeypatch.setattr(training_data, "available", lambda: 9 * copies)
    assert ", streamed" in ok(f"train t.csv --target y {FIT}")
    assert ", streamed" not in ok(f"train t.csv --target y --no-stream {FIT}")
    monkeypatch.setattr(training_data, "available", lambda: 11 * copies)
    assert ", streamed" not in ok(f"train t.csv --target y {FIT}")
    assert ", streamed" in ok(f"train t.csv --target y --stream {FIT}")


def test_a_table_fits_where_nobody_knows(monkeypatch):
    room = training_data.available()
    assert room == float("inf") or 2**20 < room < 2**50
    monkeypatch.setattr(os, "sysconf", lambda name: int("unknown"), raising=False)
    monkeypatch.setattr(Path, "read_text", lambda path: "unknown")
    assert training_data.fits(10**15)


@pytest.mark.parametrize(("most", "left"), [("5000", 1000), ("3000", 0), ("max", None)])
def test_what_a_container_leaves(monkeypatch, most, left):
    said = {"memory.max": most, "memory.current": "4000", "meminfo": "MemAvailable: 1048576 kB"}
    monkeypatch.setattr(Path, "read_text", lambda path: said[path.name] + "\n")
    assert training_data.available() == (2**30 if left is None else left)


def test_a_validation_file(ok, run, here, tables):
    words = f"train t.csv --target y --stream {FIT} --validation t.csv"
    output = ok(words)
    assert "4,000 to train on, 4,000 to validate" in output
    accuracy = rows(output)["validation accuracy"]
    assert accuracy == rows(output)["training accuracy"]
    lines = (here / "t.csv").read_text().splitlines()
    swapped = [",".join([b, a, *rest]) for a, b, *rest in (line.split(",") for line in lines)]
    (here / "v.csv").write_text("\n".join(swapped))  # columns go by their names
    again = rows(ok(words.replace("validation t", "validation v")))
    assert again["validation accuracy"] == accuracy
    (here / "v.csv").write_text("a,b,c,d,y\n1,2,3,4,low\n1,2,3,4,up\n")
    said = error(run(words.replace("validation t", "validation v")), 1)
    assert said == "v.csv, line 3, column 'y': 'up' is no class of the model's: high, low"


def test_a_run_folder_can_be_run_again(ok, here, tables):
    ok(f"train t.csv --target y --stream {FIT} --run-dir r")
    assert tomllib.loads(Path("r/config.toml").read_text())["stream"] is True
    assert ", streamed" in ok("train --config r/config.toml --out again")
    assert same_model("r/model.safetensors", "again")


def test_a_run_that_was_stopped_goes_on_to_the_same_end(run, ok, here, tables, stop_after):
    words = f"train n.csv --target y --stream {FIT} --dropout 0.1 --schedule cosine"
    ok(f"{words} --out whole")
    stop_after(41)
    result = run(f"{words} --out parts --checkpoint-dir ck")
    stop_after(None)
    assert result.exit_code == 130, result.output
    assert re.search(r"after epoch 1 of 3 and \d+ steps", result.stderr)
    ok(f"{words} --out parts --checkpoint-dir ck --resume")
    assert same_model("whole", "parts")
    said = error(run(f"{words} --out parts --checkpoint-dir ck --resume --no-stream"), 1)
    assert "is a checkpoint of other data" in said or "--stream" in said


# -- encoded rows ------------------------------------------------------------------------
@pytest.fixture
def people(here):
    """A table as people have them: gaps, categories, dates, row numbers, missing labels."""
    rng = np.random.default_rng(3)
    lines = [",age,job,born,member,pay"]
    for i in range(600):
        age = "" if i % 9 == 0 else rng.integers(20, 60)
        job = ("smith", "cook", "NA", "clerk")[i % 4]
        pay = ("?", "low", "high")[0 if i % 50 == 0 else 1 + (job == "cook")]
        member = "TRUE" if rng.random() < 0.5 else "false"
        lines.append(f"{i},{age},{job},{i % 28 + 1:02}.{i % 12 + 1:02}.2001,{member},{pay}")
    (here / "people.csv").write_text("\n".join(lines))
    return lines


PEOPLE = "train people.csv --target pay --epochs 6 --hidden 8 --lr 0.02"


@pytest.mark.parametrize("option", ["--stream", "--no-stream"])
def test_a_table_as_people_have_them(ok, run, here, people, option):
    output = ok(f"{PEOPLE} {option} --out m")
    for said in (
        "people.csv: line 1 is the header, cells are separated by ','",
        "numbers: age (",
        "true/false: member",
        "categories: job (3, ",
        "dates: born (yearday, weekday)",
        "born: dates are read as DD.MM.YYYY",
        "left out: the unnamed column (row numbers)",
        "12 rows are left out, whose 'pay' is missing",
    ):
        assert said in output
    counts = re.search(r"2 classes; (\d+) to train on, (\d+) to validate", output).groups()
    assert sum(map(int, counts)) == 588
    assert float(rows(output)["validation accuracy"]) == 1
    assert load_model("m").config["data"]["columns"]["encodings"][2]["storage"] == "date %d.%m.%Y"
    answers = ok("predict m people.csv").split()
    assert answers[0] == "pay"
    (here / "new.csv").write_text("job,member,born,age\nking,true,04.05.2001,\ncook,,,31\n")
    assert ok("predict m new.csv").split() == ["pay", "low", "high"]
    result = run("evaluate m people.csv --json")
    assert "people.csv: 12 rows are left out, whose 'pay' is missing" in result.stderr
    assert json.loads(result.stdout)["examples"] == 588
    (here / "new.csv").write_text("job,member,born,age,pay\nking,true,04.05.2001,,\n")
    for words in ("evaluate m new.csv", f"{PEOPLE} {option} --out m2 --validation new.csv"):
        result = run(words)
        assert result.exit_code == 1
        assert "new.csv: no rows with a 'pay'" in result.stderr


def test_kinds_that_are_chosen(ok, here, people):
    words = f"{PEOPLE} --column age=category --column member=category --ignore born"
    encodings = {}
    for option in ("--stream", "--no-stream"):
        output = ok(f"{words} {option} --run-dir r{option}")
        encodings[option] = load_model(f"r{option}/model.safetensors").config["data"]["columns"]
        assert "born" not in output
    kinds = {e["name"]: e["kind"] for e in encodings["--stream"]["encodings"]}
    assert kinds == {"age": "category", "job": "category", "member": "category"}
    found = tomllib.loads(Path("r--stream/config.toml").read_text())
    assert (found["column"], found["ignore"]) == (["age=category", "member=category"], ["born"])
    ok("train --config r--stream/config.toml --out again")
    assert same_model("again", "r--stream/model.safetensors")


@pytest.mark.parametrize("option", ["", "--robust", "--robust --stream"])
@pytest.mark.parametrize("data", ["people.csv --target pay", "plane.npz"])
def test_a_model_scores_as_it_did_in_training(ok, here, people, plane, data, option):
    """Of columns of all kinds, and of numbers alone."""
    file = data.split()[0]
    words = f"train {data} --epochs 2 --validation {file} {option} --json --out m"
    trained = json.loads(ok(words))["validation"]
    found = json.loads(ok(f"evaluate m {file} --json"))
    score = "r2" if file == "plane.npz" else "accuracy"
    assert found[score] == pytest.approx(trained[score], rel=1e-4)


def test_encoded_rows_go_at_the_end_unless_they_are_kept(ok, run, here, tables, monkeypatch):
    words = f"train t.csv --target y --stream {FIT}"
    ok(f"{words} --out m")
    assert not (here / "m.encoded").exists()
    ok(f"{words} --out m --keep-encoded")
    X = np.load("m.encoded/training.npy")
    assert (X.shape, X.dtype) == ((3200, 4), np.float32)
    assert np.load("m.encoded/validation.npy").shape == (800, 4)
    np.testing.assert_allclose([X.mean(axis=0), X.std(axis=0)], [[0] * 4, [1] * 4], atol=1e-5)
    (here / "m.encoded/table.json").unlink()  # a kill would leave it so
    ok(f"{words} --out m")
    assert not (here / "m.encoded").exists()
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage(9, 9, 1000))
    said = error(run(f"{words} --out m"), 1)
    assert re.search(r"m\.encoded: the encoded rows take .* GB are free: --out or --run-dir", said)
    assert not (here / "m.encoded").exists()


def test_encoded_rows_are_found_again(run, ok, here, tables, stop_after, monkeypatch):
    words = f"train t.csv --target y --stream {FIT} --run-dir"
    ok(f"{words} whole")
    stop_after(41)
    assert run(f"{words} parts").exit_code == 130
    stop_after(None)
    assert (here / "parts/encoded/training.npy").exists()
    with monkeypatch.context() as patched:
        patched.setattr("xpnet.cli.training_data.open_table", None)  # nothing is read again
        assert "the rows are those in parts" in ok("train --run-dir parts --resume")
    assert not (here / "parts/encoded").exists()
    assert same_model("whole/model.safetensors", "parts/model.safetensors")
    stop_after(41)
    assert run(f"{words} other").exit_code == 130
    stop_after(None)
    os.utime("t.csv", (1, 1))  # it may hold other rows: they are encoded again
    assert "the rows are those in" not in ok("train --run-dir other --resume")
    assert same_model("whole/model.safetensors", "other/model.safetensors")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_before_training_leaves_no_rows(run, here, tables, monkeypatch, number):
    number = getattr(signal, number)

    def finish(*args):
        assert (here / "m.encoded/training.npy").exists()
        signal.raise_signal(number)

    monkeypatch.setattr("xpnet.cli.encoded.Encoded.finish", finish)
    assert run(f"train t.csv --target y --stream {FIT} --out m").exit_code == 128 + number
    assert not (here / "m.encoded").exists()
    assert not (here / "m").exists()


def test_encoded_rows_that_can_be_gone_on_with_stay(run, ok, here, tables, stop_after, monkeypatch):
    """Also where a resumed run is refused; a validation file is the same by any path."""
    (here / "v.csv").write_bytes((here / "t.csv").read_bytes())
    words = f"train t.csv --target y --stream {FIT} --validation v.csv --run-dir r"
    stop_after(41)
    assert run(words).exit_code == 130
    stop_after(None)
    assert "made with --l1" in error(run("train --run-dir r --resume --l1 0.1"), 1)
    monkeypatch.setattr("xpnet.cli.training_data.open_table", None)  # nothing is read again
    assert "the rows are those in r" in ok("train --run-dir r --resume")
    assert not (here / "r/encoded").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="/dev/stdin is a matter of Unix")
@pytest.mark.parametrize("data", ["-", "/dev/stdin"])
def test_a_table_that_is_piped_in_cannot_be_read_again(here, tables, data):
    table = (here / "t.csv").read_text()
    words = f"train {data} --target y --epochs 1 --hidden 2"
    done = program(*words.split(), "--run-dir", "r", input=table)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1), done.stderr
    assert "DATA is piped in: config.toml cannot repeat this run" in done.stderr
    assert tomllib.loads(Path("r/config.toml").read_text())["data"] == data
    assert program(*words.split(), input=table).stderr == ""


# -- bad input ---------------------------------------------------------------------------
@pytest.mark.parametrize("option", ["--stream", "--no-stream"])
@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1,2,3,4", "x.csv, line 3002: 4 cells, but the header has 5"),
        ("1,2,3,4,low,6", "x.csv, line 3002: 6 cells, but the header has 5"),
        ("1,2,x,4,low", "x.csv, column 'c': most cells are numbers, but not 'x' in line 3002"),
        ("1,inf,3,4,low", "x.csv, line 3002, column 'b': "),
        ('1,2,3,4,"low', "x.csv, line 3002: a quotation mark opens here and is never closed"),
    ],
)
def test_a_file_that_goes_wrong_half_way(run, here, tables, option, row, said):
    lines = (here / "t.csv").read_text().splitlines()
    lines[3001] = row
    (here / "x.csv").write_text("\n".join(lines))
    assert said in error(run(f"train x.csv --target y {option} {FIT}"), 1)
    assert not (here / "model.safetensors").exists()


@pytest.mark.parametrize("before", [False, True])
def test_encoded_rows_that_change_while_they_are_read(run, ok, here, tables, monkeypatch, before):
    """The net so far is saved; one that was there before training began is not touched."""
    if before:
        xpnet.DeepNet([2, 1]).save("model.safetensors")
    original = Interrupt.on_epoch_end

    def on_epoch_end(interrupt, net, progress):
        if progress.epoch == 2:
            encoded = next(Path().glob("*.encoded/training.npy"))
            size = os.path.getsize(encoded)
            with encoded.open("r+b") as file:
                file.truncate(size // 2)
        return original(interrupt, net, progress)

    monkeypatch.setattr(Interrupt, "on_epoch_end", on_epoch_end)
    said = error(run(f"train n.npy --target -1 --stream {FIT} --epochs 9"), 1)
    assert "training.npy" in said
    assert not list(Path().glob("*.encoded"))
    name = "model-unfinished.safetensors" if before else "model.safetensors"
    assert said.endswith(f"; the net so far is in {name}")
    assert load_model(name).parameters
    assert not before or xpnet.load("model.safetensors").sizes == (2, 1)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--stream", 2, "'--stream': the digits are in memory"),
        ("t.csv --stream --target q", 1, "no column 'q'; the columns are a, b, c, d, y"),
        ("t.csv --stream", 1, "which column is the target?"),
        ("t.csv --target y --stream --batch-size full", 2, "'--batch-size': t.csv is streamed"),
        ("t.csv --target y --stream --model linear", 1, "'y' holds text, not numbers"),
        ("n.csv --target y --stream --model logistic", 1, "too many to be classes"),
        ("one.csv --target y --stream", 1, "'y' holds one class only, up"),
        ("flat.npz --stream --task regression", 1, "'y' is constant in the training part"),
        ("none.npy --target 0 --stream", 1, "none.npy: No such file"),
        ("notes.txt --target 0 --stream", 1, "notes.txt: "),
        ("notes.parquet --target 0 --stream", 1, "notes.parquet: "),
    ],
)
def test_errors(run, here, tables, options, code, said):
    pytest.importorskip("pyarrow")
    (here / "notes.txt").write_text("?")
    (here / "notes.parquet").write_text("?")
    write_csv(here / "one.csv", np.arange(9)[:, None], ["up"] * 9, "x,y")
    np.savez("flat.npz", X=np.arange(9.0)[:, None], y=np.ones(9))
    found = error(run(f"train {options}"), code)
    assert said in found
    assert not (here / "model.safetensors").exists()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_the_memory_of_a_long_file(here):
    block = np.random.default_rng(0).normal(size=(2**18, 10)).astype(np.float32)
    block[:, -1] = block[:, 0] > 0
    write_big(block, 120)  # 1.3 GB
    words = "train big.npy --target -1 --task classification --stream --epochs 1"
    # MB: 256 of them are the stream's
    assert peak_memory(f"{words} --model logistic --batch-size 8192") < 450
