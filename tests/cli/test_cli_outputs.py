"""No command writes over a file that it reads, nor without --force over one of another kind."""

import os
from pathlib import Path

import numpy as np
import pytest
from cli_helpers import WINDOWS, error, write_csv

pytest.importorskip("typer")
pytest.importorskip("rich")

from xpnet.bench import gpu
from xpnet.bench.results import Cell, Results, Series, Settings

FIT = "train t.csv --target y --epochs 1 --hidden 2 --out own.safetensors"
# A command, and the file that it writes by the last option.
WRITES = {
    "model": ("train t.csv --target y --epochs 1 --hidden 2 --out {}", "m.safetensors"),
    "model by default": ("train t.csv --target y --epochs 1 --hidden 2", "model.safetensors"),
    "model in a run": (f"{FIT[:-22]} --resume --run-dir r", "r/model.safetensors"),
    "record of a run": (f"{FIT} --resume --run-dir r", "r/config.toml"),
    "log": (f"{FIT} --log {{}}", "l.csv"),
    "lines": (f"{FIT} --log {{}}", "l.jsonl"),
    "curve": (f"{FIT} --plot {{}}", "c.svg"),
    "picture": (f"{FIT} --plot {{}}", "c.png"),
    "document": (f"{FIT} --plot {{}}", "c.pdf"),
    "answers": ("predict trained.model t.csv --out {}", "a.csv"),
    "probabilities": ("predict trained.model t.csv --proba --out {}", "a.csv"),
    "onnx": ("export trained.model {}", "m.onnx"),
    "pt": ("export trained.model {}", "m.pt"),
    "times": ("bench --out b", "b/bench.json"),
    "table of times": ("bench --out b", "b/bench.csv"),
    "picture of times": ("bench --out b", "b/time.svg"),
    "report": ("gpu_check --json {}", "g.json"),
}
NEEDS = {"pt": "torch", "curve": "matplotlib", "picture": "matplotlib", "document": "matplotlib",
         "picture of times": "matplotlib"}  # fmt: skip
OTHERS = b"# mine\n"


@pytest.fixture
def table(ok, here, monkeypatch):
    """t.csv of classes, trained.model for it, and a benchmark that takes no time."""
    X = np.random.default_rng(0).normal(size=(40, 2)).round(3)
    write_csv(here / "t.csv", X, np.where(X[:, 0] > 0, "high", "low"), "a,b,y")
    ok("train t.csv --target y --epochs 1 --hidden 2 --out trained.model")
    cell = Cell(2, None, False, 1, [1.0], {"rows": [0.5]}, [0.1], 9)
    series = Series("numpy", "cpu", "2", "A CPU", cells=[cell])
    machine = {"processor": "A CPU", "usable_cores": 1, "blas": "a BLAS"}
    results = Results(Settings((2,)), "2026-01-02", machine, [series])
    monkeypatch.setattr("xpnet.cli.bench.run", lambda *args, **kwargs: results)
    monkeypatch.setattr(gpu, "run", lambda *args: None)


@pytest.fixture
def code(run, capsys):
    """Run a command, also gpu_check; its exit code and what it said on stderr."""

    def code(words):
        if not words.startswith("gpu_check"):
            result = run(words)
            return result.exit_code, result.stderr
        try:
            return gpu.main(words.split()[1:]), ""
        except SystemExit as stop:
            return stop.code, capsys.readouterr().err

    return code


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("case", WRITES)
def test_a_file_of_another_kind_is_not_replaced_without_force(code, case):
    pytest.importorskip(NEEDS.get(case, "numpy"))
    words, name = WRITES[case]
    words = words.format(name)
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(OTHERS)
    status, said = code(words)
    assert status == (64 if case == "report" else 2)
    assert f"{name} is there and is no " in said
    assert "give --force" in said
    assert path.read_bytes() == OTHERS
    done = 2 if case == "report" else 0  # there is no GPU
    assert code(f"{words} --force")[0] == done
    assert not path.read_bytes().startswith(OTHERS)
    path.with_name("empty").write_bytes(b"")
    path.with_name("empty").replace(path)
    assert code(words)[0] == done
    assert code(words)[0] == done  # a file of the same kind


TRAIN = "train t.csv --target y --epochs 1 --hidden 2"
READS = [  # a command, an ending that fits, a file that the command reads or writes besides
    (f"{TRAIN} --out {{}}", ".model", "t.csv"),
    (f"{TRAIN} --log {{}}", ".csv", "t.csv"),
    (f"{TRAIN} --plot {{}}", ".svg", "t.csv"),
    (f"{TRAIN} --validation v.csv --out {{}}", ".safetensors", "v.csv"),
    (f"{TRAIN} --validation v.csv --log {{}}", ".jsonl", "v.csv"),
    ("train --config c.toml --out {}", "", "c.toml"),
    (f"{TRAIN} --out trained.model --log {{}}", ".csv", "trained.model"),
    (f"{TRAIN} --resume --checkpoint-dir ck --out {{}}", "", "ck/epoch-000001.safetensors"),
    ("predict trained.model t.csv --out {}", ".csv", "t.csv"),
    ("predict trained.model t.csv --out {}", ".csv", "trained.model"),
    ("export trained.model {}", ".onnx", "trained.model"),
]


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize(("words", "ending", "read"), READS)
def test_a_file_in_use_is_not_replaced(ok, run, here, words, ending, read, link):
    if "--plot" in words:
        pytest.importorskip("matplotlib")
    (here / "c.toml").write_text('data = "t.csv"\ntarget = "y"\nepochs = 1\n')
    (here / "v.csv").write_bytes((here / "t.csv").read_bytes())
    ok(f"{TRAIN} --checkpoint-dir ck --out other.model")
    link(here / read, here / f"link{ending}")
    before = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    for name in (read, f"link{ending}"):
        for force in ("", " --force"):
            error(run(words.format(name) + force), 2)
    assert before == {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("case", [case for case, (words, _) in WRITES.items() if "{}" in words])
def test_places_where_no_file_can_be(code, here, case):
    """It is said before anything is read."""
    pytest.importorskip(NEEDS.get(case, "numpy"))
    words, name = WRITES[case]
    places = [Path(f"nowhere/{name}"), Path(f"folder{Path(name).suffix}"), Path("wrong.txt")]
    places[1].mkdir()
    if not WINDOWS:
        places.append(Path(f"pipe{Path(name).suffix}"))
        os.mkfifo(places[-1])
    protected = Path(f"protected{Path(name).suffix}")
    protected.touch(0o444)
    if not os.access(protected, os.W_OK):  # root may write everywhere
        places.append(protected)
    for place in [*places, "-"]:
        assert code(words.format(place))[0] == (64 if case == "report" else 2)
