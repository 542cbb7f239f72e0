"""Several processes train one net: the law, what they refuse, and how they end."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

FITS = str(Path(__file__).with_name("fits.py"))
LAUNCHERS = {
    "mpi": (["mpiexec", "-n"], "mpi4py"),
    "gloo": ([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"], "torch"),
}
ATOL = 1e-10  # float64
SECONDS = 30  # of a whole program; what fails must end within ten


def launch(launcher, ranks, *words, check=True):
    """Runs ``fits.py`` on several ranks; what rank 0 printed as JSON, and the process."""
    command, library = LAUNCHERS[launcher]
    pytest.importorskip(library)
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: pip install mpich")
    command = [*command, str(ranks), *([sys.executable] if launcher == "mpi" else []), FITS]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    run = subprocess.run(
        [*command, *words], capture_output=True, text=True, timeout=SECONDS, env=environment
    )
    assert not check or run.returncode == 0, run.stderr[-2000:]
    lines = [line for line in run.stdout.splitlines() if line.startswith(("{", "["))]
    return (json.loads(lines[0]) if lines else None), run


@pytest.mark.parametrize(
    ("launcher", "ranks", "libraries"),
    [
        ("mpi", 2, ["numpy", "array_api_strict"]),
        pytest.param("mpi", 4, ["numpy"], marks=pytest.mark.long),
        ("gloo", 2, ["numpy", "torch"]),
    ],
)
def test_n_ranks_train_the_net_of_one(launcher, ranks, libraries):
    for library in libraries:
        pytest.importorskip(library)
    found, _ = launch(launcher, ranks, "law", *libraries)
    assert len(found) == 8 * len(libraries)
    for name, figures in found.items():
        assert figures["theta"] <= ATOL, name
        assert figures["cost"] <= ATOL, name
        assert figures["epochs"][0] == figures["epochs"][1], name
        assert figures["repeats"] == 0.0, name  # bit for bit


def test_memory_maps_and_streams(tmp_path):
    found, _ = launch("mpi", 2, "streams", str(tmp_path))
    assert max(found.values()) <= 1e-6  # float32


def test_a_checkpoint_of_n_ranks_resumes_on_one_and_the_other_way_round(tmp_path):
    found, _ = launch("mpi", 2, "resume", str(tmp_path))
    assert max(found.values()) <= ATOL


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("seed", ["seed is 0 on rank 0 and 1 on rank 1"] * 2),
        ("option", ["l2 is 0.0 on rank 0 and 0.1 on rank 1"] * 2),
        ("rank fails", ["rank 1 of 2 could not begin: ValueError: dropout=7.0", "dropout=7.0"]),
        ("small minibatch", ["a minibatch of 1 examples has none for some of the 2 ranks"] * 2),
        ("data", ["the number of examples is 100 on rank 0 and 99 on rank 1"] * 2),
    ],
)
def test_every_rank_is_told_what_differs(what, expected):
    found, _ = launch("mpi", 2, "refuses", what)
    for message, part in zip(found, expected, strict=True):
        assert part in message


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_rank_that_fails_ends_all(launcher, how):
    began = time.perf_counter()
    _, run = launch(launcher, 2, "fails", how, check=False)
    assert time.perf_counter() - began < 15  # importing the libraries included
    assert run.returncode != 0
    if how == "raises":
        assert "rank 0 of 2 failed" in run.stderr
        assert "the disk is full" in run.stderr


def test_ctrl_c_ends_all_ranks_after_the_same_epoch():
    found, _ = launch("mpi", 2, "fails", "ctrl-c")
    assert found == [2, 2]
