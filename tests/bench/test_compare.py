"""Revisions in turns (``benchmarks.compare``); files and verdicts of ``benchmarks.peers``."""

import json
import re
import sys
from pathlib import Path

import pytest

compare = pytest.importorskip("benchmarks.compare", reason="not run from the repository")


@pytest.mark.parametrize(("factor", "code", "said"), [(1.05, 0, " 1.050 "), (1.2, 1, "slower")])
def test_two_revisions(monkeypatch, capsys, factor, code, said):
    """B takes ``factor`` times as long, but for one round that something disturbed."""
    asked = []

    def medians(folder, arguments):
        asked.append((folder.name, arguments))
        disturbed = 10.0 if len(asked) == 4 else 1.0
        return {"a step": disturbed * (factor if folder.name == "1" else 1.0)}

    monkeypatch.setattr(compare, "unpacked", lambda revision, folder: Path(folder))
    monkeypatch.setattr(compare, "medians", medians)
    monkeypatch.setattr(sys, "argv", ["compare", "old", "new", "--rounds", "3", "-k", "numpy"])
    with pytest.raises(SystemExit) as info:
        compare.main()
    assert info.value.code == code
    assert said in capsys.readouterr().out
    assert asked == [(name, ["-k", "numpy"]) for name in "010101"]


@pytest.fixture
def peers(monkeypatch, tmp_path):
    """``benchmarks.peers`` where xpnet and torch take 1 second, all other candidates 0.95."""
    main = pytest.importorskip("benchmarks.peers.__main__")
    asked = []

    def measure(row, names, rounds, threads, dtype):
        asked.append((row.name, threads, dtype))
        times = {n: {"wall": 0.95, "cpu": 0.95, "megabytes": 1.0} for n in names}
        for name in {"xpnet", "torch"} & times.keys():
            times[name]["wall"] = 1.0
        return {"candidates": times, "ended": {}}

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["peers", *arguments])
        with pytest.raises(SystemExit):
            main.main()
        return asked

    monkeypatch.setattr(main, "measure", measure)
    monkeypatch.setattr(main, "parity", lambda row, names: {})
    monkeypatch.setattr(main.machine, "about", dict)
    monkeypatch.chdir(tmp_path)
    return run


def read(pattern):
    return {path.name: json.loads(path.read_text()) for path in Path().rglob(pattern)}


@pytest.mark.parametrize(
    ("named", "names"),
    [([], ["peers-DATE.json", "peers-DATE-2-threads.json"]),
     (["--json", "a.json"], ["a.json", "a-2-threads.json"])],
)  # fmt: skip
def test_peers_on_one_and_two_threads_are_a_file_each(peers, named, names):
    assert peers("--rows", "planar", "--threads", "1", "2", *named) == [
        ("planar", 1, "float32"), ("planar", 2, "float32")]  # fmt: skip
    found = {re.sub(r"\d{8}", "DATE", name): f["threads"] for name, f in read("*.json").items()}
    assert found == dict(zip(names, (1, 2), strict=True))


def test_peers_in_float64_are_measured_not_judged(peers):
    assert peers("--rows", "planar", "--dtype", "float64") == [("planar", 1, "float64")]
    ((name, found),) = read("*.json").items()
    assert name.endswith("-float64.json")
    cell = found["rows"]["planar"]["cells"]["xpnet/torch"]
    assert (cell["verdict"], cell["limit"]) == ("measured", None)
    assert cell["wall"] == 1.0
    assert found["counts"]["measured"] == len(found["rows"]["planar"]["cells"])


@pytest.mark.parametrize(
    ("row", "verdict"), [("784-256-128-10", "short"), ("784-1024-10", "reached")]
)
def test_xpnet_on_torch_is_to_be_faster_on_nets_up_to_235000_parameters(peers, row, verdict):
    """0.95 of the time of its own loop: enough for a larger net alone."""
    peers("--rows", row, "--extra")
    ((_, found),) = read("*.json").items()
    cell = found["rows"][row]["cells"]["xpnet-torch/torch"]
    assert cell["verdict"] == verdict
