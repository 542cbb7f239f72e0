"""Errors of the command line: one line each, 2 for options and 1 for all else."""

import os

import numpy as np
import pytest
from cli_helpers import error, program, write_csv

import xpnet


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
        ("--column pixel0=category", "'--column': the digits are numbers; give DATA too"),
        ("--out nowhere/model", "'--out': there is no folder nowhere"),
        ("--out .", "'--out': . is not a regular file"),
        ("--out m.onnx", "'--out': m.onnx ends in none of .safetensors, .model"),
        ("--width 3", "No such option"),
        ("--target", "requires an argument"),
        ("a.csv b.csv", "unexpected"),
        ("--schedule fast", "'--schedule': 'fast' is none of constant, cosine, step"),
        ("--schedule step", "'step' has 0 numbers after it; step takes 1 to 2"),
        ("--schedule step:x", "could not convert string to float: 'x'"),
        ("--schedule plateau:2", "must lie in [0, 1)"),
        ("--schedule cosine+step:3", "only warmup:EPOCHS takes a + SCHEDULE"),
        ("--schedule warmup:5+fast", "'fast' is none of"),
        ("--dropout 1", "'--dropout': '1' is no probability in [0, 1)"),
        ("--dropout 0.1,x", "'0.1,x' is no probability"),
        ("--dropout 0.1,0.1,0.1", "3 probabilities for 2 hidden layers"),
        ("--dropout 0.1 --model logistic", "this model has no hidden layer"),
        ("--l1 -1", "'--l1': -1.0"),
        ("--clip-norm 0", "'--clip-norm': 0.0"),
        ("--early-stopping 0", "'--early-stopping'"),
        ("--early-stopping 3 --validation 0", "there is no validation part to watch"),
        ("--validation half", "'half' is neither a share in [0, 1) nor a file"),
        ("--resume", "'--resume': goes on in a --run-dir or a --checkpoint-dir; name one"),
        ("--log run.txt", "'--log': run.txt ends in none of .csv, .jsonl"),
        ("--plot curve.doc", "'--plot': curve.doc ends in none of .svg"),
        ("--plot no/curve.svg", "'--plot': there is no folder no"),
        ("--checkpoint-every 0", "'--checkpoint-every'"),
        ("x.csv --column a", "'--column': 'a' is no NAME=KIND, with a kind of number, bool, "),
        ("x.csv --column a=word", "'--column': 'a=word' is no NAME=KIND"),
        ("x.csv --sep ab", "'--sep': 'ab' is not one character"),
        ("x.csv --decimal ;", "'--decimal': ';' is neither . nor a comma"),
        ("x.csv --encoding klingon", "'--encoding': 'klingon' is no encoding"),
        ("bench --backends numpy,tensorflow", "'--backends': 'tensorflow' is not one of numpy,"),
        ("bench --backends ,", "'--backends': '' is not one of"),
        ("bench --hidden 3,,4", "'--hidden': '3,,4' is no list of widths"),
        ("bench --hidden 0", "'--hidden': '0'"),
        ("bench --batch-size 0", "'--batch-size'"),
        ("bench --seconds 0", "'--seconds': 0.0 is not a number above 0"),
        ("bench --seconds nan", "'--seconds': nan"),
        ("bench --dtype float16", "'float16' is not one of"),
        (f"bench --out {__file__}", f"'--out': {__file__} is not a folder"),
        ("bench numpy", "unexpected"),
    ],
)
def test_usage_errors(run, here, options, said):
    if "--plot" in options:
        pytest.importorskip("matplotlib")
    name = "bench" if options.startswith("bench") else "train"
    result = run(f"{name} {options.removeprefix('bench ')}")
    message = error(result, 2)
    assert said in message
    assert message.endswith(f" (see xpnet {name} --help)")
    assert result.stdout == ""
    assert os.listdir(here) == []


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("xpnet ev", {"evaluate"}),
        ("xpnet train --model l", {"linear", "logistic"}),
        ("xpnet train --resume --run-dir r --class", {"--class-weight"}),
        ("xpnet predict --dec", {"--decimal"}),
    ],
)
def test_a_shell_completes(here, words, offered):
    count = str(len(words.split()) - 1)
    asked = {"COMP_WORDS": words, "COMP_CWORD": count, "_XPNET_COMPLETE": "complete_bash"}
    assert set(program(env=asked).stdout.split()) == offered


def test_completion_can_be_installed(ok):
    assert "--install-completion" in ok("--help")


def test_unknown_command(run):
    assert "No such command 'fly'" in error(run("fly"), 2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("none.csv --target y", "none.csv: No such file"),
        ("none.npz", "none.npz: No such file"),
        ("data.txt", "data.txt: No such file"),
        ("truth.npz --target z", "truth.npz: no column 'z'; the columns are 0, y"),
        ("blobs.csv --target side --column z=number", "blobs.csv: no column 'z'; it has a, b, c"),
        ("blobs.csv --target side --ignore z", "blobs.csv: no column 'z'; it has a, b, c"),
        ("blobs.csv --target side --ignore a --ignore b --ignore c", "no column is left"),
        ("bad.csv --target y", "bad.csv, column 'x': most cells are numbers, but not '$1' in line"),
        ("blobs.csv --target side --validation hole.csv", "hole.csv: no column 'a' (and 2 more"),
        ("hole.csv --target x --validation void.csv", "void.csv: no rows with a 'x'"),
        ("hole.csv --target y", "the target 'y' is missing in every row"),
        ("blobs.csv", "the columns are a, b, c, side"),
        ("blobs.csv --target y", "no column 'y'; the columns are a, b, c, side"),
        ("blobs.csv --target side --model linear", "holds text, not numbers; for classes use"),
        ("blobs.csv --target side --task regression", "holds text, not numbers"),
        ("ragged.csv --target y", "ragged.csv, line 3: 1 cell, but the header has 2"),
        ("one.csv --target y", "one class only"),
        ("one.csv --target y --task regression", "'y' is constant"),
        ("truth.npz --task regression", "holds true and false, not numbers"),
        ("names.csv --target y", "text with 150 distinct values in 150 rows: too many"),
        ("numbers.csv --target y --model logistic", "for numbers use --task regression"),
        ("ids.npz --task classification", "'y' holds numbers beyond 2**53, not exact"),
        ("--device cuda:7", "device='cuda:7'"),
        ("--optimizer gd --lr 1e9", "training diverged in epoch"),
        ("--optimizer gd --lr 1e9", "No model was written"),
    ],
)
@pytest.mark.usefixtures("blobs")
def test_data_errors(run, here, options, said):
    (here / "ragged.csv").write_text("x,y\n1,2\n3\n")
    (here / "one.csv").write_text("x,y\n1,2\n3,2\n5,2\n6,2\n7,2\n")
    write_csv(here / "names.csv", np.arange(150)[:, None], [f"n{i}" for i in range(150)], "x,y")
    write_csv(here / "numbers.csv", np.arange(150)[:, None], range(150), "x,y")
    (here / "bad.csv").write_text("x,y\n" + "".join(f"{i},{i % 2}\n" for i in range(99)) + "$1,0\n")
    (here / "hole.csv").write_text("x,z,y\n1,5,\n2,6,NA\n1,5,\n2,6,\n")
    (here / "void.csv").write_text("x,z\n,5\n")
    y = np.array([2.0**54 + 8 * (i % 2) for i in range(9)])
    np.savez(here / "ids.npz", X=np.arange(9.0)[:, None], y=y)
    np.savez(here / "truth.npz", X=np.ones((9, 1)), y=np.arange(9) > 4)
    assert said in error(run(f"train {options}"), 1)
    assert not (here / "model.safetensors").exists()


def test_missing_library(run, monkeypatch):
    def select(*args, **kwargs):
        raise xpnet.BackendUnavailable('CuPy is missing; pip install "xpnet[cuda12]"')

    monkeypatch.setattr("xpnet.cli.problem.DeepNet", select)
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

    monkeypatch.setattr("xpnet.files.checkpoint.save_model", save_model)
    assert error(run("train --epochs 1 --hidden 4"), 1) == said
