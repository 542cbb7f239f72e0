"""``xpnet predict``, ``evaluate``, ``show`` and ``export``: what is done with a model."""

import gzip
import importlib.util
import json
import os
import re
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from cli_helpers import (
    WINDOWS,
    error,
    peak_memory,
    program,
    rows,
    same_model,
    started,
    write_big,
    write_csv,
)

import xpnet
from xpnet.cli.model import CELLS
from xpnet.data.standardizer import Standardizer
from xpnet.data.table import load_digits
from xpnet.files.model import load_model


@pytest.fixture
def sides(ok, blobs):
    """A net for blobs.csv, three columns and two classes of text."""
    ok("train blobs.csv --target side --epochs 10 --hidden 8 --lr 0.05 --out sides.model")
    return blobs


@pytest.fixture
def numbers(ok, plane):
    """A net for plane.npz, a regression."""
    ok("train plane.npz --epochs 40 --hidden 16,8 --out numbers.model")
    return plane


def assert_answers(found, expected):
    """Labels are equal; numbers are close, in units of a target of about 40."""
    if expected.dtype.kind == "f":
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)
    else:
        assert found.tolist() == expected.tolist()


def standardised(net, X):
    scale = np.where(net.tensors["input_scale"] > 0, net.tensors["input_scale"], np.inf)
    return ((X - net.tensors["input_mean"]) / scale).T.astype(np.float32)


# -- predict -----------------------------------------------------------------------------
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_columns_in_another_order_and_others_between(ok, here, sides, line_end):
    expected = ok("predict sides.model blobs.csv --proba")
    lines = ["name;c;b;a"] + [f'"x; ""{i}"" y";{c};{b};{a}' for i, (a, b, c) in enumerate(sides)]
    (here / "other.csv").write_bytes(line_end.join(lines).encode())
    assert ok("predict sides.model other.csv --proba") == expected


def test_probabilities(ok, here, sides):
    net = xpnet.load("sides.model")
    lines = ok("predict sides.model blobs.csv --proba").splitlines()
    assert lines[0] == "left,right"
    P = np.array([line.split(",") for line in lines[1:]], dtype=np.float32)
    expected = net.predict_proba(standardised(net, sides))[0]
    np.testing.assert_allclose(P[:, 1], expected, rtol=1e-6)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-6)


def test_every_kind_of_file_has_the_same_answers(ok, here, numbers):
    X, _ = numbers
    expected = ok("predict numbers.model plane.npz")
    np.save("rows.npy", X)
    np.save("columns.npy", np.asfortranarray(X))
    np.savez_compressed("packed.npz", X=np.asfortranarray(X))
    np.savetxt("bare.csv", X, delimiter=",", fmt="%.17g")
    for name in ("rows.npy", "columns.npy", "packed.npz", "bare.csv"):
        assert ok(f"predict numbers.model {name}") == expected


def test_a_header_of_months_is_a_header_to_every_command(ok, here):
    """Python reads 2020_01 as a number, NumPy's reader does not."""
    rows = [f"{i},{i * i % 7}" for i in range(40)]
    table = "2020_01,2020_02,price\n" + "".join(f"{row},{i}\n" for i, row in enumerate(rows))
    (here / "prices.csv").write_text(table)
    (here / "new.csv").write_text("\n".join(["2020_01,2020_02", *rows]))
    ok("train prices.csv --target price --epochs 3 --out prices.model")
    answers = ok("predict prices.model new.csv")
    assert len(answers.splitlines()) == 41
    assert answers == ok("predict prices.model prices.csv")


def test_parquet(ok, here, sides):
    arrow = pytest.importorskip("pyarrow")
    columns = {"c": sides[:, 2], "side": ["?"] * 120, "a": sides[:, 0], "b": sides[:, 1]}
    pytest.importorskip("pyarrow.parquet").write_table(arrow.table(columns), "x.parquet")
    assert ok("predict sides.model x.parquet") == ok("predict sides.model blobs.csv")


@pytest.mark.parametrize("command", ["predict", "evaluate"])
@pytest.mark.parametrize("cell", ["1,5", "-0,25"])
def test_decimal_commas_are_told(ok, run, here, blobs, command, cell):
    ok("train blobs.csv --target side --epochs 1 --hidden 2 --out m")
    (here / "de.csv").write_text(f"a;b;c;side\n1;2;7;left\n{cell};2;7;left\n")
    said = error(run(f"{command} m de.csv"), 1)
    where = "de.csv, line 3, column 'a'"
    assert said == f"{where}: '{cell}' is not a number; --decimal , for decimal commas"
    ok(f"{command} m de.csv --decimal ,")


def test_files_of_answers(ok, here, sides):
    assert ok("predict sides.model blobs.csv --out a.csv") == ""
    assert (here / "a.csv").read_text() == ok("predict sides.model blobs.csv")
    assert not list(here.glob(".*"))


def test_stdout_is_utf8_as_files_are(ok, here, sides):
    (here / "t.csv").write_text((here / "blobs.csv").read_text().replace("left", "größer"), "utf-8")
    ok("train t.csv --target side --epochs 1 --hidden 2 --out t.model")
    ok("predict t.model t.csv --out answers.csv")
    latin = {"PYTHONIOENCODING": "cp1252"}
    assert program("predict", "t.model", "t.csv", env=latin).stdout == (
        here / "answers.csv"
    ).read_text("utf-8")
    assert "größer" in program("show", "t.model", "--json", env=latin).stdout


def test_more_rows_than_a_block(ok, here, numbers, monkeypatch):
    X, _ = numbers
    expected = ok("predict numbers.model plane.npz").splitlines()
    monkeypatch.setattr("xpnet.cli.model.CELLS", 14)  # 64 rows
    write_csv(here / "x.csv", X, ["?"] * 200, "0,1,y")
    np.save("x.npy", X)
    for name in ("x.csv", "x.npy", "plane.npz"):
        found = ok(f"predict numbers.model {name}").splitlines()
        # A product of few rows may round otherwise.
        np.testing.assert_allclose(
            np.array(found[1:], float), np.array(expected[1:], float), rtol=1e-5
        )


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_file_larger_than_the_memory(ok, here, numbers):
    block = np.random.default_rng(0).normal(size=(CELLS // 2, 2)).astype(np.float32)
    shape = write_big(block, 100)  # 200 MB
    # MB, of which Python and NumPy take about 60
    assert peak_memory("predict numbers.model big.npy --out y.csv") < 160
    with open("y.csv", encoding="utf-8") as answers:
        assert sum(1 for _ in answers) == 1 + shape[0]


@pytest.mark.long
@pytest.mark.skipif(WINDOWS, reason="measures other programs by resource")
def test_predict_takes_time_by_the_cell(ok, here, sides):
    """Seconds of the processor, of which Python and its libraries take one."""
    import resource

    def seconds(words):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = program(*words.split())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    n = 60_000
    X = np.random.default_rng(0).normal(size=(20, n)).round(2)
    write_csv(here / "wide.csv", X, "ab" * 10, ",".join([*(f"c{i}" for i in range(n)), "y"]))
    ok("train wide.csv --target y --model logistic --epochs 1 --out wide.model")
    done, spent = seconds("predict wide.model wide.csv")
    assert (len(done.stdout.splitlines()), spent < 5) == (21, True)
    lines = [f"{i},{i % 7},{i % 5},left" for i in range(80_000)]
    lines[4] = lines[4].replace("left", '"left')
    (here / "open.csv").write_text("\n".join(["a,b,c,side", *lines]))
    done, spent = seconds("predict sides.model open.csv")
    assert "open.csv, line 6: a quotation mark opens here and is never closed" in done.stderr
    assert spent < 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a,c,y\n1,2,3\n", "x.csv: no column 'b'; the model takes a, b, c; it has a, c, y"),
        ("1,2\n3,4\n", "no column 'a' (and 1 more are missing)"),
        ("a,b,c\n1,2,3\n\n1,x,3\n", "x.csv, line 4, column 'b': 'x' is not a number"),
        ("a,b,c\n1,2,3\n1,1e999,2\n", "x.csv, line 3, column 'b': "),
        ("a,b,c\n1,2,3\n1,2\n", "x.csv, line 3: 2 cells, but the header has 3"),
        ("a,b,c\n1,2,3\n1,2,3,4\n", "x.csv, line 3: 4 cells, but the header has 3"),
        ('a,b,c\n1,2,3\n1,2,"3\n', "line 3: a quotation mark opens here and is never closed"),
        ("", "x.csv: the file is empty"),
    ],
)
def test_bad_rows(run, here, sides, content, said):
    (here / "x.csv").write_text(content)
    result = run("predict sides.model x.csv")
    assert said in error(result, 1)
    assert result.stdout == ""
    assert said in error(run("predict sides.model x.csv --out y.csv"), 1)
    assert not (here / "y.csv").exists()


def test_a_missing_number_is_the_median_of_training(ok, here, numbers):
    X, _ = numbers
    train = load_model("numbers.model").tensors["input_fill"]
    rows = X[:5].copy()
    rows[3, 1] = np.nan
    np.save("x.npy", rows)
    (here / "x.csv").write_text("\n".join(f"{a!r},{'' if b != b else b}" for a, b in rows.tolist()))
    rows[3, 1] = train[1]
    np.save("full.npy", rows)
    expected = ok("predict numbers.model full.npy")
    assert ok("predict numbers.model x.npy") == ok("predict numbers.model x.csv") == expected


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("predict none.model blobs.csv", 1, "none.model: No such file"),
        ("predict blobs.csv blobs.csv", 1, "not a safetensors file"),
        ("predict sides.model none.csv", 1, "none.csv: No such file"),
        ("predict sides.model notes.txt", 1, "notes.txt: no column 'a' (and 1 more are missing)"),
        ("predict sides.model blobs.csv --out y.txt", 2, "'--out': y.txt ends in none of"),
        ("predict sides.model blobs.csv --out no/y.csv", 2, "'--out': there is no folder no"),
        ("predict sides.model blobs.csv --backend tensor", 2, "'tensor' is not one of"),
        ("predict sides.model cut.npz", 1, "cut.npz: "),
        ("predict sides.model vector.npy", 1, "vector.npy: no column 'a'"),
        ("predict sides.model cube.npy", 1, "cube.npy: "),
        ("predict sides.model wide.npy", 1, "wide.npy: no column 'a'"),
        ("predict sides.model z.npz", 1, "z.npz: needs arrays X (m, n); it holds Z"),
        ("predict sides.model text.npz", 1, "text.npz, row 0 (from 0), column '0': 'x' is not a n"),
        ("predict sides.model odd.npz", 1, "odd.npz"),
        ("evaluate sides.model blobs.csv --target q", 1, "no column 'q'"),
        ("evaluate sides.model bare.csv", 1, "bare.csv: no column 'side' with the true answers: "
         "name their column with --target; it has a, b, c, size"),
        ("show blobs.csv", 1, "blobs.csv: not a safetensors file"),
        ("export sides.model x.h5", 2, "'OUT': x.h5 ends in none of .onnx, .pt"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("sides")
def test_errors(run, here, words, code, said):
    (here / "notes.txt").write_text("?")
    np.savez(here / "whole.npz", X=np.ones((99, 3)))
    (here / "cut.npz").write_bytes((here / "whole.npz").read_bytes()[:700])
    np.savez(here / "z.npz", Z=np.ones((3, 3)))
    np.savez(here / "text.npz", X=np.array([["x"] * 3]))
    np.savez(here / "odd.npz", X=np.ones((3, 3), complex))
    np.save(here / "vector.npy", np.ones(3))
    np.save(here / "cube.npy", np.ones((3, 3, 3)))
    np.save(here / "wide.npy", np.ones((3, 7)))
    (here / "bare.csv").write_text("a,b,c,size\n1,2,3,4\n")
    (here / "new.csv").write_text("a,b,c,side\n1,2,3,left\n1,2,3,\n")
    assert said in error(run(words), code)


@pytest.mark.skipif(WINDOWS, reason="Windows has other pipes")
def test_a_pipe_and_standard_input(ok, here, sides):
    """They are read once, where a file is read several times."""
    expected = ok("predict sides.model blobs.csv")
    os.mkfifo("pipe.csv")
    text = (here / "blobs.csv").read_text()
    writer = threading.Thread(target=lambda: (here / "pipe.csv").write_text(text))
    writer.start()
    assert ok("predict sides.model pipe.csv") == expected
    writer.join()
    assert program("predict", "sides.model", "-", input=text).stdout == expected
    words = ["train", "-", "--target", "side", "--epochs", "1", "--hidden", "2"]
    for option in ("--stream", "--no-stream"):
        done = program(*words, option, input=text)
        assert "3 features, 2 classes; 96 to train on, 24 to validate" in done.stdout, done.stderr


def test_tables_with_tabs_and_of_other_kinds(ok, here, sides):
    text = (here / "blobs.csv").read_text()
    (here / "blobs.tsv").write_text(text.replace(",", "\t"))
    (here / "wide.csv").write_text(text, encoding="utf-16")
    (here / "blobs.csv.gz").write_bytes(gzip.compress(text.encode()))
    (here / "comma.csv").write_text(text.replace(",", ";").replace(".", ","))
    expected = ok("predict sides.model blobs.csv")
    ok("train blobs.csv --target side --epochs 1 --hidden 2 --out own")
    for words in ("blobs.tsv", "wide.csv", "blobs.csv.gz", "comma.csv --sep ; --decimal ,"):
        assert ok(f"predict sides.model {words}") == expected
        for option in ("--stream", "--no-stream"):
            ok(f"train {words} --target side --epochs 1 --hidden 2 {option}")
        assert same_model("own", "model.safetensors")  # the last one was read into memory


def test_parquet_that_cannot_be_used(run, here, sides, monkeypatch):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"a": [1.0], "b": ["x"], "c": [1.0]}), "text.parquet")
    parquet.write_table(arrow.table({"a": [1, 2], "b": [1, 3], "c": [1, 2]}), "gap.parquet")
    (here / "no.parquet").write_text("?")
    for name, said in (
        ("text", "text.parquet, row 0 (from 0), column 'b': 'x' is not a number"),
        ("no", "no.parquet: no column 'a'"),
        ("none", "none.parquet: No such file"),
    ):
        assert said in error(run(f"predict sides.model {name}.parquet"), 1)
    monkeypatch.setattr("xpnet.data.table_sources.find_spec", lambda name: None)
    said = error(run("predict sides.model gap.parquet"), 1)
    assert said.endswith("pip install pyarrow")


def test_an_array_that_is_cut_off(run, here, sides):
    np.save("x.npy", np.ones((99, 3)))
    content = (here / "x.npy").read_bytes()
    not_one = "x.npy: not a .npy file"
    for length, said in (
        (1000, "x.npy: truncated, 1,000 bytes of 2,504"),
        (50, not_one),
        (0, "x.npy: the file is empty"),
    ):
        (here / "x.npy").write_bytes(content[:length])
        assert said in error(run("predict sides.model x.npy --out y.csv"), 1)
        assert not (here / "y.csv").exists()


def test_an_empty_array(ok, run, here, sides):
    np.save("x.npy", np.ones((0, 3)))
    assert ok("predict sides.model x.npy") == "side\n"
    ok("predict sides.model x.npy --out y.csv")
    assert (here / "y.csv").read_text() == "side\n"
    np.savez("x.npz", X=np.ones((0, 3)), y=np.ones(0))
    assert "x.npz: no rows of data" in error(run("evaluate sides.model x.npz"), 1)


@pytest.mark.parametrize("kept", ["statistics and classes", "nothing"])
@pytest.mark.parametrize(("n_y", "output"), [(1, "identity"), (1, "sigmoid"), (3, "softmax")])
def test_all_say_the_same_of_the_same_rows(ok, here, n_y, output, kept):
    """predict_raw, predict, evaluate, and the models that export writes; with nothing kept beside
    the net, rows go in and answers come out as they are."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(50, 3)).astype(np.float32) * [1, 50, 0] + [0, 100, 7.5]
    net = xpnet.DeepNet([3, 5, n_y], "tanh", output, backend="numpy", dtype="float32")
    net.parameters = [(rng.normal(size=W.shape), rng.normal(size=b.shape))
                      for W, b in net.parameters]  # fmt: skip
    if kept == "nothing":
        X = ((X - [0, 100, 7.5]) / [1, 50, 1]).astype(np.float32)
        expected = np.ravel(net.predict(X.T))
        net.save("own.model")
    else:
        inputs = Standardizer.fit(X)
        expected = np.ravel(net.predict(inputs.apply(X, np.float32).T))
        tensors = {"input_mean": inputs.mean, "input_scale": inputs.scale}
        if output == "identity":
            tensors |= {"target_mean": np.array([40.0]), "target_scale": np.array([3.0])}
            expected, data = 3 * expected + 40, {}
        else:
            data = {"classes": ["Größe", "b", "c"][: max(n_y, 2)]}
            expected = np.array(data["classes"])[expected]
        net.save("own.model", data, tensors)
    np.savez("x.npz", X=X, y=expected)
    said = ok("predict own.model x.npz").split()[1:]
    raw = xpnet.load("own.model").predict_raw(X.T).reshape(-1)
    measured = json.loads(ok("evaluate own.model x.npz --json"))
    if output == "identity":
        np.testing.assert_allclose(raw, expected, rtol=1e-6)
        assert [str(answer) for answer in raw] == said
        assert (measured["r2"], measured["rmse"]) == (pytest.approx(1), pytest.approx(0, abs=1e-5))
    else:
        assert len(set(said)) > 1
        assert raw.tolist() == expected.tolist()
        assert said == list(map(str, expected))
        assert measured["accuracy"] == 1
    ok("export own.model own.onnx")
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        session = onnxruntime.InferenceSession("own.onnx")
        *_, answers = session.run(None, {"X": X.astype(np.float32)})
        assert_answers(answers.reshape(-1), expected)
    if importlib.util.find_spec("torch"):
        import torch

        ok("export own.model own.pt")
        module = torch.load("own.pt", weights_only=False)
        A = module(torch.tensor(X, dtype=torch.float32)).detach().numpy()
        numbers = A.argmax(axis=1) if n_y > 1 else (A[:, 0] > 0.5).astype(int)
        classes = xpnet.load("own.model").data.get("classes", list(range(3)))
        assert_answers(A[:, 0] if output == "identity" else np.array(classes)[numbers], expected)


@pytest.mark.parametrize("dtype", [None, "float32", "float64"])
@pytest.mark.parametrize("kind", ["f8", "f4", "i8"])
def test_predict_raw_says_the_same_in_any_dtype(ok, here, dtype, kind):
    """Also of a net that no X has given a dtype, and that keeps no statistics."""
    rows = (100 * np.random.default_rng(8).normal(size=(20, 3))).astype(kind)
    np.save("x.npy", rows)
    xpnet.linear_regression(3, dtype=dtype).save("own.model")
    said = ok("predict own.model x.npy").split()[1:]
    assert said == [str(a) for a in xpnet.load("own.model").predict_raw(rows.T)[0]]


def test_nets_that_have_no_one_answer(run, here):
    for output in ("sigmoid", "identity"):
        xpnet.DeepNet([2, 3], output=output).save("many.model")
        said = error(run("predict many.model x.npz"), 1)
        assert said == "many.model: a net with 3 answers per example; use xpnet.load in Python"


@pytest.mark.parametrize(
    ("data", "tensors"),
    [
        ({"features": ["a"]}, {}),
        ({"classes": [1, 2, 3]}, {}),
        ({}, {"input_mean": np.zeros(2)}),
        ({}, {"input_mean": np.zeros(3), "input_scale": np.zeros(3)}),
    ],
)
def test_what_does_not_fit_the_net(run, here, data, tensors):
    xpnet.DeepNet([2, 1]).save("odd.model", data, tensors)
    said = error(run("predict odd.model x.npz"), 1)
    assert said.startswith("odd.model: its columns, classes or statistics are damaged")


def test_probabilities_of_numbers(run, numbers):
    assert "'--probabilities': numbers.model predicts numbers" in error(
        run("predict numbers.model plane.npz --proba"), 2
    )


TRAIN = "train plane.npz --epochs 20 --hidden 8 --out numbers.model"


@pytest.mark.skipif(WINDOWS, reason="Windows has other errors for a closed pipe")
@pytest.mark.parametrize(("words", "first"), [(TRAIN, b"epoch"),
                                              ("predict numbers.model x.npy", b"y\n")])  # fmt: skip
def test_a_closed_pipe_loses_nothing(here, numbers, words, first):
    np.save("x.npy", np.tile(numbers[0], (5000, 1)))
    with started(*words.split(), until=first) as running:
        running.stdout.close()
        errors = running.stderr.read()
    assert (running.returncode, errors) == (0, b"")
    assert xpnet.load("numbers.model").sizes[1] == (8 if words == TRAIN else 16)


@pytest.mark.skipif(WINDOWS, reason="there is no /dev/full")
@pytest.mark.parametrize("words", [TRAIN, "predict numbers.model plane.npz", "show numbers.model",
                                   "evaluate numbers.model plane.npz --json"])  # fmt: skip
def test_a_full_disk_behind_stdout_loses_nothing(here, numbers, words):
    with open("/dev/full", "w") as full:
        done = program(*words.split(), stdout=full)
    assert (done.returncode, done.stderr) == (1, "xpnet: error: stdout: No space left on device\n")
    assert xpnet.load("numbers.model").sizes[1] == (8 if words == TRAIN else 16)


# -- evaluate ----------------------------------------------------------------------------
def test_evaluation_of_classes(ok, here, sides):
    output = ok("evaluate sides.model blobs.csv")
    table = rows(output)
    assert (table["accuracy"], table["balanced accuracy"]) == ("1.0000", "1.0000")
    assert table["baseline accuracy"] == "0.5000"
    assert re.search(r"^ *left +60 +0 *$\n^ *right +0 +60 *$", output, re.M), output
    net = xpnet.load("sides.model")
    y = np.repeat([0, 1], 60)
    expected = net.cost(standardised(net, sides), y)
    found = json.loads(ok("evaluate sides.model blobs.csv --json"))
    assert found["cost"] == pytest.approx(expected, rel=1e-5)
    assert found["confusion"] == [[60, 0], [0, 60]]
    assert (found["accuracy"], found["examples"]) == (1.0, 120)


def test_evaluation_in_blocks_is_that_of_all_at_once(ok, here, numbers, monkeypatch):
    whole = json.loads(ok("evaluate numbers.model plane.npz --json"))
    monkeypatch.setattr("xpnet.cli.model.CELLS", 14)
    parts = json.loads(ok("evaluate numbers.model plane.npz --json"))
    for name in ("cost", "r2", "rmse"):
        assert parts[name] == pytest.approx(whole[name], rel=1e-4)
    y = numbers[1]
    answers = np.array(ok("predict numbers.model plane.npz").split()[1:], dtype=float)
    assert whole["rmse"] == pytest.approx(np.sqrt(np.mean((answers - y) ** 2)), rel=1e-4)
    assert whole["r2"] == pytest.approx(1 - np.mean((answers - y) ** 2) / np.var(y), rel=1e-4)


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_answers_far_from_0_keep_their_digits(ok, here, stream):
    """Of seconds since 1970 float32 holds every 128th."""
    y = 1_700_000_000 + np.arange(400)
    X = np.column_stack([np.arange(400), np.arange(400) % 7])
    write_csv(here / "t.csv", X, y, "a,b,y")
    words = f"train t.csv --target y --task regression {stream} --epochs 60 --hidden 8 --lr 0.02"
    ok(f"{words} --out t.model")
    said = np.array(ok("predict t.model t.csv").split()[1:], dtype=float)
    rmse = json.loads(ok("evaluate t.model t.csv --json"))["rmse"]
    assert rmse < 2
    assert np.sqrt(np.mean((said - y) ** 2)) == pytest.approx(rmse, rel=1e-3)
    raw = xpnet.load("t.model").predict_raw(X.T)
    np.testing.assert_array_equal(raw[0], said)


def test_evaluation_of_digits_in_forty_columns(ok, here, monkeypatch):
    ok("train --epochs 2 --hidden 8")
    X, y = load_digits()
    np.savez("digits.npz", X=X, y=y)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    output = ok("evaluate model.safetensors digits.npz")
    assert "most often taken for another class" in output
    assert max(map(len, re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines())) <= 40


@pytest.mark.parametrize("target", ["truth", "0", "-4"])
def test_the_target_by_another_name_or_its_index(ok, here, sides, target):
    (here / "x.csv").write_text("truth,a,b,c\nleft,-3,-3,7\nright,3,3,7\nright,-3,-3,7\n")
    (here / "y.csv").write_text("left,-3,-3,7\nright,3,3,7\nright,-3,-3,7\n")
    for name in ("x.csv", "y.csv")[: 1 if target == "truth" else 2]:
        found = json.loads(ok(f"evaluate sides.model {name} --target {target} --json"))
        assert found["confusion"] == [[1, 0], [1, 1]]


def test_labels_that_are_numbers_or_truths(ok, here):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 2))
    np.savez("t.npz", X=X, y=X[:, 0] > 0)
    ok("train t.npz --epochs 2 --hidden 4")
    write_csv(here / "t.csv", X, (X[:, 0] > 0).tolist(), "0,1,y")
    text = ok("evaluate model.safetensors t.csv --json").replace("t.csv", "t.npz")
    assert text == ok("evaluate model.safetensors t.npz --json")


# -- show --------------------------------------------------------------------------------
def test_show(ok, here, sides):
    output = ok("show sides.model")
    assert "sides.model: 41 parameters, float32" in output
    assert re.search(r"1 +3 +8 +relu +32 *$", output, re.M)
    assert re.search(r"2 +8 +1 +sigmoid +9 *$", output, re.M)
    assert "2: left, right" in output
    found = json.loads(ok("show sides.model --json"))
    assert found["sizes"] == [3, 8, 1]
    assert found["data"]["features"] == ["a", "b", "c"]
    assert found["training"] is None


def test_show_a_checkpoint(ok, here, blobs):
    ok("train blobs.csv --target side --epochs 5 --hidden 8 --checkpoint-dir ck")
    output = ok("show ck/epoch-000005.safetensors")
    assert "Adam, 0.001" in output
    assert re.search(r"trained +│ +5 epochs", output)
    assert re.search(r" cost \(with penalty\) +│ +0\.\d+ to 0\.\d+ ", output)
    found = json.loads(ok("show ck/epoch-000005.safetensors --json"))
    assert len(found["training"]["history"]["validation_cost"]) == 5


def test_show_a_net_that_was_saved_from_python(ok, here):
    xpnet.DeepNet([2, 3, 1], output="identity").save("own.model")
    assert "own.model: 13 parameters" in ok("show own.model")


def test_show_on_what_is_no_utf8(ok, here, blobs):
    ok("train blobs.csv --target side --epochs 3 --hidden 8 --checkpoint-dir ck")
    done = program("show", "ck/epoch-000003.safetensors",
                   env={"PYTHONIOENCODING": "ascii"})  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\| +0\.\d+ to 0\.\d+ ", done.stdout)


# -- export ------------------------------------------------------------------------------
def test_onnx_of_raw_features(ok, here, sides):
    onnxruntime = pytest.importorskip("onnxruntime")
    assert ok("export sides.model sides.onnx") == "sides.onnx takes 3 features as they are\n"
    session = onnxruntime.InferenceSession("sides.onnx")
    label, P = session.run(["label", "probabilities"], {"X": sides.astype(np.float32)})
    assert label.tolist() == ok("predict sides.model blobs.csv").split()[1:]
    net = xpnet.load("sides.model")
    ok("export sides.model core.onnx --standardized")
    core = onnxruntime.InferenceSession("core.onnx")
    (again,) = core.run(["probabilities"], {"X": standardised(net, sides).T})
    np.testing.assert_allclose(P, again, atol=1e-5)


def test_export_without_pytorch(run, sides, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert "pip install torch" in error(run("export sides.model x.pt"), 1)
