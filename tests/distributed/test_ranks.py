"""Several processes train one net: the law, what they refuse, and how they end."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import fits
import numpy as np
import pytest

import xpnet
from xpnet.bench import gpu_checks
from xpnet.bench.gpu_report import Skipped
from xpnet.distributed import launcher

FITS = fits.__file__
LAUNCHERS = {
    "mpi": (["mpiexec", "-n"], "mpi4py"),
    "gloo": (
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"],
        "torch",
    ),
}
ATOL = 1e-10  # float64
SECONDS = 120  # of a whole program, on a busy machine


def command(launcher, ranks, *more):
    """The words that start a program on several ranks."""
    words, library = LAUNCHERS[launcher]
    pytest.importorskip(library)
    if shutil.which(words[0]) is None:
        pytest.skip(f"{words[0]} is not installed: pip install mpich")
    return [*words, str(ranks), *more, *([sys.executable] if launcher == "mpi" else [])]


def run_to_its_end(words, **options):
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        words, capture_output=True, text=True, timeout=SECONDS, env=environment, **options
    )


def launch(launcher, ranks, *words, check=True):
    """Runs ``fits.py`` on several ranks; what rank 0 printed as JSON, and the process."""
    run = run_to_its_end([*command(launcher, ranks), FITS, *words])
    assert not check or run.returncode == 0, run.stderr[-2000:]
    lines = run.stdout.splitlines()
    return (json.loads(lines[-1]) if lines and run.returncode == 0 else None), run


@pytest.mark.parametrize(
    ("launcher", "ranks", "libraries"),
    [
        ("mpi", 2, ["numpy", "torch", "array_api_strict"]),
        pytest.param("mpi", 4, ["numpy"], marks=pytest.mark.long),
        ("gloo", 2, ["numpy", "torch"]),
    ],
)
def test_n_ranks_train_the_net_of_one(launcher, ranks, libraries):
    for library in libraries:
        pytest.importorskip(library)
    check_law(launcher, ranks, *libraries)


@pytest.mark.parametrize("library", ["cupy", "nccl"])
def test_n_ranks_train_the_net_of_one_on_cupy(library):
    if not os.environ.get("XPNET_CUPY_ON_CPU"):
        pytest.skip("both ranks take the same device, which the stand-in for a GPU allows")
    check_law("mpi", 2, library)


def test_gpu_check_has_two_devices_train_the_net_of_one(monkeypatch):
    """On the stand-in, where NCCL is pretended; else a run of gpu_check does it on real ones."""
    cupy = pytest.importorskip("cupy", exc_type=ImportError)
    if not os.environ.get("XPNET_CUPY_ON_CPU"):
        pytest.skip("only the stand-in for a GPU pretends an NCCL")
    with pytest.raises(xpnet.BackendUnavailable, match="finds no NCCL: pip install nvidia-nccl"):
        list(gpu_checks.ranks(rehearse=True))
    monkeypatch.setattr(cupy.cuda, "nccl", fits.PretendedNCCL(None), raising=False)
    monkeypatch.setattr(gpu_checks, "together", fits.on_two_devices)
    found = list(gpu_checks.ranks(rehearse=True))
    assert [check.status for check in found] == ["passed"] * 3, found
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: 1)
    with pytest.raises(Skipped, match="needs two GPUs"):
        list(gpu_checks.ranks(rehearse=True))


def check_law(launcher, ranks, *libraries):
    found, _ = launch(launcher, ranks, "law", *libraries)
    assert len(found) == 8 * len(libraries)
    for name, figures in found.items():
        assert figures["theta"] <= ATOL, name
        assert figures["cost"] <= ATOL, name
        assert figures["epochs"][0] == figures["epochs"][1], name
        assert figures["repeats"] == 0.0, name  # bit for bit


def test_memory_maps(tmp_path):
    found, _ = launch("mpi", 2, "memory_map", str(tmp_path))
    assert found <= ATOL


def test_each_rank_reads_its_share_of_a_stream():
    found, _ = launch("mpi", 2, "stream")
    assert found["difference"] <= ATOL
    assert found["rows"] == [103] * 3  # each row once


def test_a_checkpoint_of_n_ranks_resumes_on_one_and_the_other_way_round(tmp_path):
    found, _ = launch("mpi", 2, "resume", str(tmp_path))
    assert max(found.values()) <= ATOL


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("seed", ["seed is 0 on rank 0 and 1 on rank 1"] * 2),
        ("option", ["l2 is 0.0 on rank 0 and 0.1 on rank 1"] * 2),
        ("rank fails", ["rank 1 of 2 could not begin: ValueError: dropout=7.0", "dropout=7.0"]),
        ("small minibatch", ["none for some of the 2 ranks: choose batch_size=52"] * 2),
        ("data", ["the number of examples is 100 on rank 0 and 99 on rank 1"] * 2),
    ],
)
def test_every_rank_is_told_what_differs(what, expected):
    found, _ = launch("mpi", 2, "refuses", what)
    for message, part in zip(found, expected, strict=True):
        assert part in message


def test_every_rank_is_told_what_one_of_them_was_given():
    found, _ = launch("mpi", 2, "refuses_together")
    expected = {
        "weights": "the checksum of some weights is ",
        "features": "the checksum of some features is ",
        "validation": "validation is False on rank 0 and True on rank 1",
        "all validate": "validation X has shape (4, 40)",
        "shuffle": "shuffle is False on rank 0 and True on rank 1",
        "a part each": "the checksum of some targets is ",
        "one batch less": "ranks read [20, 0] examples",
        "small batch": "ranks read [1, 1] examples",
    }
    assert found.pop("schedule") is None  # its place in memory is another on each rank
    for name, messages in found.items():
        assert len(messages) == 2, name
        for message in messages:
            assert expected[name] in message


def test_an_error_of_divergence_that_a_callback_raises_ends_all():
    _, run = launch("mpi", 2, "fails", "diverges", check=False)
    assert run.returncode != 0
    assert "rank 0 of 2 failed" in run.stderr


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("how", ["raises", "dies"])
def test_a_rank_that_fails_ends_all(launcher, how, tmp_path):
    when = tmp_path / "when"
    _, run = launch(launcher, 2, "fails", how, str(when), check=False)
    assert time.time() - float(when.read_text()) < 10.0
    assert run.returncode != 0
    if how == "raises":
        assert "rank 0 of 2 failed" in run.stderr
        assert "the disk is full" in run.stderr


def test_ctrl_c_ends_all_ranks_after_the_same_epoch():
    found, _ = launch("mpi", 2, "fails", "ctrl-c")
    assert found == [2, 2]


# -- the command -------------------------------------------------------------------------
def train(launcher, folder, *options):
    pytest.importorskip("typer")
    return run_to_its_end(
        [*command(launcher, 2), "-m", "xpnet", "train", "--epochs", "2", *options], cwd=folder
    )


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_the_command_trains_on_all_ranks_and_writes_once(launcher, tmp_path):
    run = train(launcher, tmp_path, "--run-dir", "run", "--dtype", "float64")
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.count("model written to") == 1
    again = train(launcher, tmp_path, "--run-dir", "run", "--resume", "--epochs", "4")
    assert again.returncode == 0, again.stderr[-2000:]
    alone = run_to_its_end(
        [sys.executable, "-m", "xpnet", "train", "--epochs", "4", "--dtype", "float64"],
        cwd=tmp_path,
    )
    assert alone.returncode == 0, alone.stderr
    nets = [xpnet.load(tmp_path / name) for name in ("run/model.safetensors", "model.safetensors")]
    assert np.max(np.abs(nets[0].theta - nets[1].theta)) <= ATOL


def test_rows_that_are_streamed_are_encoded_once_for_all_ranks(tmp_path):
    """Parts of a Parquet folder by each rank, to the bytes that one process writes."""
    arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    (tmp_path / "d").mkdir()
    for i in range(2):
        rng = np.random.default_rng(i)
        y = arrow.array(rng.integers(0, 2, 250), mask=np.arange(250) % 9 == 0)
        table = arrow.table({name: rng.random(250) for name in "abc"} | {"y": y})
        parquet.write_table(table, tmp_path / "d" / f"{i}.parquet", row_group_size=80)
    options = ["d", "--target", "y", "--stream", "--keep-encoded", "--run-dir", "run"]
    run = train("mpi", tmp_path, *options, "--epochs", "3")
    assert run.returncode == 0, run.stderr[-2000:]
    assert [path.name for path in tmp_path.glob("run/encoded*")] == ["encoded"]
    words = [sys.executable, "-m", "xpnet", "train", *options[:-1], "one", "--epochs", "1"]
    assert run_to_its_end(words, cwd=tmp_path).returncode == 0
    assert len([*tmp_path.glob("run/encoded/*")]) == 5
    for path in tmp_path.glob("run/encoded/*"):
        assert path.read_bytes() == (tmp_path / "one" / "encoded" / path.name).read_bytes()
    again = train("mpi", tmp_path, *options, "--resume", "--epochs", "4")
    assert again.returncode == 0, again.stderr[-2000:]
    assert "the rows are those in" in again.stdout


def test_a_pipe_is_refused(tmp_path):
    run = train("mpi", tmp_path, "-", "--target", "y")
    assert run.returncode == 2
    assert run.stderr.count("several processes cannot read") == 1


def test_what_is_wrong_is_told_once(tmp_path):
    run = train("mpi", tmp_path, "no-such-file.csv")
    assert run.returncode == 1
    assert run.stderr.count("no-such-file.csv") == 1
    run = train("mpi", tmp_path, "--oops")
    assert run.returncode == 2
    assert run.stderr.count("--oops") == 1


def test_a_model_that_is_solved_is_solved_by_one_rank(tmp_path):
    pytest.importorskip("typer")
    words = [*command("mpi", 2), "-m", "xpnet", "train", "--model", "logistic"]
    run = run_to_its_end(words, cwd=tmp_path)
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stderr.count("one process solves logistic") == 1
    if Path("/proc/self").exists():  # where root cannot write, either; rank 1 does not try
        run = run_to_its_end([*words, "--run-dir", "/proc/none"], cwd=tmp_path)
        assert run.returncode != 0
        assert run.stderr.count("/proc/none") == 1


def test_a_signal_ends_all_ranks_after_the_same_step(tmp_path):
    pytest.importorskip("typer")
    words = [*command("mpi", 2), "-m", "xpnet", "train", "--epochs", "1000000", "--run-dir", "run"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.csv"
    deadline = time.monotonic() + SECONDS
    while not (log.exists() and log.read_text().count("\n") > 2) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=SECONDS)
    assert process.returncode != 0
    assert "stopped by Ctrl-C after epoch" in told
    assert "to go on: mpiexec -n 2 xpnet train --epochs 1000000" in told
    assert (tmp_path / "run" / "model.safetensors").exists()


def ranks_of(process):
    """The numbers of the processes that train: those of the launcher's that run xpnet."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            words = status.read_text().rpartition(")")[2].split()
            children.setdefault(int(words[1]), []).append(int(status.parent.name))
    below, found = [process.pid], []
    while below:
        here = below.pop()
        below += children.get(here, [])
        with suppress(OSError):
            words = Path(f"/proc/{here}/cmdline").read_text().split("\0")
            if words[1:4] == ["-m", "xpnet", "train"]:
                found.append(here)
    return found


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found in /proc")
def test_a_run_goes_on_after_twenty_kills(tmp_path):
    """A rank is killed at a random moment, all end, and --resume goes on to the same net."""
    pytest.importorskip("typer")
    rng, options = np.random.default_rng(0), ["--dtype", "float64", "--epochs", "2000"]

    def words(folder):
        begun = ["--resume"] * (tmp_path / folder / "config.toml").exists()
        started = [*command("mpi", 2), "-m", "xpnet", "train", *options]
        return [*started, "--run-dir", folder, *begun]

    for _ in range(20):
        nothing = subprocess.DEVNULL
        run = subprocess.Popen(words("run"), cwd=tmp_path, stdout=nothing, stderr=nothing)
        time.sleep(rng.uniform(0.5, 4.0))
        if found := ranks_of(run):
            os.kill(found[rng.integers(len(found))], signal.SIGKILL)
            assert run.wait(timeout=10.0) != 0
        else:
            run.kill()
            run.wait()
    for folder in ("run", "whole"):
        done = run_to_its_end(words(folder), cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-2000:]
    nets = [xpnet.load(tmp_path / name / "model.safetensors") for name in ("run", "whole")]
    assert np.array_equal(nets[0].theta, nets[1].theta)


# -- what launchers say ------------------------------------------------------------------
@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (0, 0)),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "RANK": "3"}, (0, 0)),  # no srun
        ({"PMI_RANK": "3", "PMI_SIZE": "4", "MPI_LOCALRANKID": "1"}, (3, 1)),
        ({"OMPI_COMM_WORLD_RANK": "2", "OMPI_COMM_WORLD_LOCAL_RANK": "0"}, (2, 0)),
        ({"PMIX_RANK": "5", "SLURM_LOCALID": "1"}, (5, 1)),
        ({"TORCHELASTIC_RUN_ID": "x", "RANK": "7", "LOCAL_RANK": "3"}, (7, 3)),
    ],
)
def test_ranks_of_launchers(environment, expected):
    assert (launcher.rank(environment), launcher.local_rank(environment)) == expected


@pytest.mark.parametrize(
    ("size", "environment", "expected"),
    [
        (1, {"TORCHELASTIC_RUN_ID": "x"}, "xpnet"),
        (4, {"PMI_SIZE": "4"}, "mpiexec -n 4 xpnet"),
        (
            4,
            {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "2"},
            "torchrun --nproc-per-node 2 -m xpnet",
        ),
    ],
)
def test_the_words_that_start_as_many_ranks_again(size, environment, expected):
    assert " ".join(launcher.words(size, environment)) == expected


@pytest.mark.parametrize(
    "environment", [{}, {"PMI_SIZE": "1"}, {"SLURM_NTASKS": "4"}, {"RANK": "1", "WORLD_SIZE": "2"}]
)
def test_a_process_that_was_started_alone_has_no_communicator(environment):
    assert launcher.launched(environment) is None


@pytest.mark.parametrize(
    ("environment", "library", "cure"),
    [
        ({"PMI_SIZE": "2"}, "mpi4py", r"pip install 'xpnet\[mpi\]'"),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2"}, "torch", "PyTorch is missing"),
    ],
)
def test_a_launcher_whose_library_is_missing(environment, library, cure, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(xpnet.BackendUnavailable, match=cure):
        launcher.launched(environment)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_each_rank_takes_its_own_gpu(number, monkeypatch):
    monkeypatch.setattr(launcher, "accelerators", lambda name: ["cuda:0", "cuda:1"])
    monkeypatch.setenv("LOCAL_RANK", str(number))
    assert launcher.own_gpu("cupy") == f"cuda:{number % 2}"


def test_libraries_without_a_gpu_have_none_to_take():
    assert launcher.own_gpu("numpy") is None
    assert launcher.own_gpu("auto") is None


# -- one process -------------------------------------------------------------------------
def test_what_is_no_communicator_is_refused():
    with pytest.raises(TypeError, match="communicator=7: expected mpi4py"):
        xpnet.DeepNet([2, 1]).fit(np.ones((2, 3)), np.ones((1, 3)), communicator=7)


class Pretended:
    """A communicator of two ranks, of which the other agrees with everything."""

    rank, size = 0, 2

    def allreduce(self, vector):
        return vector

    def broadcast(self, value):
        return value

    def gather(self, value):
        return [value, value]

    def abort(self):
        raise SystemExit(1)


class Twin(Pretended):
    """Its other rank has the same examples; its sums are new arrays."""

    def allreduce(self, vector):
        return vector + vector


def test_sums_need_not_be_written_in_place(lib):
    """Each example comes twice, so that both ranks have the same."""
    if lib.name == "jax":
        pytest.skip("JAX has no communicator")
    rng = np.random.default_rng(0)
    X, Y = (lib.asarray(np.repeat(rng.random((n, 12)), 2, axis=1)) for n in (3, 1))
    nets = [
        xpnet.DeepNet([3, 4, 1], "tanh", seed=0, dtype="float64", **lib.options) for _ in range(2)
    ]
    for net, communicator in zip(nets, (None, Twin()), strict=True):
        net.fit(X, Y, epochs=3, batch_size=8, shuffle=False, l2=0.1, communicator=communicator)
    one, other = (xpnet.to_numpy(net.theta) for net in nets)
    assert np.max(np.abs(one - other)) <= ATOL
    assert np.max(np.abs(np.subtract(nets[0].history.cost, nets[1].history.cost))) <= ATOL


def test_jax_is_refused():
    pytest.importorskip("jax")
    net = xpnet.DeepNet([2, 1], backend="jax", dtype="float32")
    with pytest.raises(ValueError, match="a communicator is not offered for nets on JAX"):
        net.fit(np.ones((2, 3)), np.ones((1, 3)), communicator=Pretended())


class PressesCtrlC:
    def on_epoch_end(self, net, progress):
        os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_in_one_fit_does_not_end_the_next_of_the_same_ranks():
    ranks, net = xpnet.distributed.Ranks(Pretended()), xpnet.DeepNet([2, 1])
    settings = {"epochs": 2, "communicator": ranks}
    with pytest.raises(KeyboardInterrupt):
        net.fit(np.ones((2, 4)), np.ones((1, 4)), callbacks=[PressesCtrlC()], **settings)
    assert len(net.fit(np.ones((2, 4)), np.ones((1, 4)), **settings).cost) == 2


def test_a_fit_of_this_rank_alone_leaves_ctrl_c_as_it_was():
    before = signal.getsignal(signal.SIGINT)
    xpnet.DeepNet([2, 1]).fit(np.ones((2, 4)), np.ones((1, 4)), communicator=Pretended())
    assert signal.getsignal(signal.SIGINT) is before
