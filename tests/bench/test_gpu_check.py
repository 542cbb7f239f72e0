"""``python -m xpnet.gpu_check``: what it says where something is missing, and a run of all of it.

The run needs CuPy on a GPU, or on the CPU: python tools/cupy_on_cpu/run.py -- python -m pytest ...
"""

import json
import os
import subprocess
import sys
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet.backends.place import free_memory
from xpnet.bench import gpu, gpu_checks, gpu_memory, gpu_pieces, gpu_timing, machine
from xpnet.bench.gpu_pieces import Driver
from xpnet.bench.gpu_report import (
    FAILED,
    NOT_AVAILABLE,
    PASSED,
    STAND_IN,
    Check,
    Figure,
    Piece,
    Report,
    Skipped,
    append,
    at_most,
    holds,
)

NO_DRIVER = Driver(0, 0, "no NVIDIA driver")
CUDA12 = Driver(12040, 1, "driver for CUDA 12.4 sees 1 GPU")
CUDA13 = Driver(13000, 1, "driver for CUDA 13.0 sees 1 GPU")


@pytest.fixture
def cupy():
    """CuPy with something to run on: a GPU or the stand-in."""
    found = pytest.importorskip("cupy", reason="cupy is not installed")
    if not found.cuda.is_available():
        pytest.skip("cupy has no usable device")
    return found


def fake_cupy(built_for=12090):
    """A CuPy as its CUDA wheel is, with which nothing can be computed."""

    def fail(*args):
        raise RuntimeError("cudaErrorInsufficientDriver: too old\nmore")

    runtime = SimpleNamespace(is_hip=False, runtimeGetVersion=lambda: built_for)
    return SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), ones=fail)


def by_name(pieces):
    return {piece.name: piece for piece in pieces}


def line(extra, *remove):
    """The command that installs an extra, after what it removes."""
    uninstall = f"python -m pip uninstall -y {' '.join(remove)} && " if remove else ""
    return f'{uninstall}python -m pip install "cupy-{extra}x[ctk]"'


# -- what is installed -------------------------------------------------------------------
def test_without_a_device_the_status_is_2(tmp_path, monkeypatch):
    (tmp_path / "cupy.py").write_text("raise ImportError('none here')")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    path = tmp_path / "found.json"
    command = [sys.executable, "-m", "xpnet.gpu_check", "--json", str(path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2, run.stderr
    assert "This is not a pass" in run.stdout
    found = json.loads(path.read_text())
    assert found["status"] == 2
    assert found["checks"] == found["figures"] == []
    assert found["about"]["numpy"] == np.__version__
    assert found["about"]["processor"] == machine.processor()


@pytest.mark.parametrize(
    ("driver", "wheels", "expected"),
    [
        (NO_DRIVER, [], line("cuda12")),
        (CUDA12, [], line("cuda12")),
        (CUDA13, [], line("cuda13")),
        (CUDA13, ["cupy-cuda12x"], line("cuda12")),  # which runs on CUDA 13
        (CUDA12, ["cupy-cuda13x"], line("cuda12", "cupy-cuda13x")),
        # Either owns the other's files: the one that stays is installed anew.
        (CUDA12, ["cupy-cuda12x", "cupy-cuda13x"], line("cuda12", "cupy-cuda12x", "cupy-cuda13x")),
        (CUDA13, ["cupy-cuda12x", "cupy-cuda13x"], line("cuda13", "cupy-cuda12x", "cupy-cuda13x")),
    ],
)
def test_the_line_that_installs_fits_the_driver(driver, wheels, expected):
    assert gpu_pieces.install(driver, dict.fromkeys(wheels, "14.2.0")) == expected


@pytest.mark.parametrize(
    ("cupy", "driver", "wheels", "detail", "extra"),
    [
        (None, CUDA12, [], "not installed", line("cuda12")),
        (fake_cupy(), CUDA12, ["cupy-cuda12x", "cupy-cuda13x"], "overwrote", None),
        (fake_cupy(13000), CUDA12, ["cupy-cuda13x"], "too new for the driver", None),
        (fake_cupy(), Driver(11080, 1, ""), ["cupy-cuda12x"], "too new", gpu_pieces.DRIVER),
    ],
)
def test_a_cupy_that_cannot_serve(monkeypatch, cupy, driver, wheels, detail, extra):
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    wheels = dict.fromkeys(wheels, "14.2.0")
    found = by_name(gpu_pieces.pieces(driver, wheels))
    assert set(found) == {"driver", "CuPy"}
    assert found["driver"].found
    assert not found["CuPy"].found
    assert detail in found["CuPy"].detail
    assert found["CuPy"].remedy == (extra or gpu_pieces.install(driver, wheels))


def test_a_first_computation_that_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy())
    found = by_name(gpu_pieces.pieces(CUDA12, {"cupy-cuda12x": "14.2.0"}))
    assert found["CuPy"] == Piece("CuPy", True, "cupy-cuda12x 14.2.0")
    detail = "RuntimeError: cudaErrorInsufficientDriver: too old"
    assert found["computation"] == Piece("computation", False, detail, line("cuda12"))


def test_the_distributions_of_cupy_are_found_by_name(monkeypatch):
    names = ["cupy_cuda12x", "cupy-rocm-7-0", "cupyx-something", "cupy-xarray", None, "CuPy"]
    found = [SimpleNamespace(name=name, version="1") for name in names]
    monkeypatch.setattr(gpu_pieces, "distributions", lambda: found)
    assert set(gpu_pieces.find_wheels()) == {"cupy", "cupy-cuda12x", "cupy-rocm-7-0"}


class FakeCuda:
    """libcuda with one device, or with the error that a machine without one gives."""

    def __init__(self, error=0):
        self.error = error

    def cuDriverGetVersion(self, version):
        version._obj.value = 12040

    def cuInit(self, flags):
        return self.error

    def cuDeviceGetCount(self, count):
        count._obj.value = 1
        return 0


def test_the_driver_is_asked_without_cupy(monkeypatch):
    monkeypatch.setattr(gpu_pieces.ctypes, "CDLL", lambda name: FakeCuda())
    assert gpu_pieces.find_driver() == CUDA12
    monkeypatch.setattr(gpu_pieces.ctypes, "CDLL", lambda name: FakeCuda(error=100))
    without = Driver(12040, 0, "driver for CUDA 12.4 sees no GPU (error 100)")
    assert gpu_pieces.find_driver() == without


@pytest.mark.parametrize(
    ("output", "code", "expected"),
    [
        ("580.1, P0, 1980 MHz\n", 0, {"driver_version": "580.1", "clocks.sm": "1980 MHz"}),
        ('Field "pstate" is not valid', 2, 'Field "pstate" is not valid'),
    ],
)
def test_nvidia_smi_is_asked_where_it_is(monkeypatch, output, code, expected):
    assert gpu_pieces.nvidia_smi() == "no nvidia-smi on PATH"
    monkeypatch.setattr(gpu_pieces.shutil, "which", lambda name: f"/bin/{name}")
    run = SimpleNamespace(stdout=output, stderr="", returncode=code)
    monkeypatch.setattr(gpu_pieces.subprocess, "run", lambda *args, **kwargs: run)
    found = gpu_pieces.nvidia_smi()
    if code:
        assert found == expected
    else:
        assert expected.items() <= found[0].items()


# -- the report --------------------------------------------------------------------------
def test_the_status_follows_from_what_was_found():
    report = Report({"has_device": True}, [Piece("CuPy", True, "")])
    report.checks += [at_most("small", 1.0, 2.0), Check("absent", NOT_AVAILABLE, detail="why")]
    assert (report.status, report.verdict) == (0, "1 checks passed, 0 failed, 1 not available.")
    report.checks.append(at_most("nan", float("nan"), 2.0))
    assert report.status == 1
    assert Report({"has_device": True}, [Piece("CuPy", False, "")]).status == 1
    assert Report({"has_device": False}, checks=[holds("fine", True)]).status == 2


def test_lines_make_the_report_also_after_a_kill(tmp_path):
    path = tmp_path / "found.jsonl"
    nan = at_most("nan", float("nan"), 2.0)
    found = [{"a": 1}, {"b": 2}, Piece("CuPy", True, ""), nan, Figure("step", 1.0, "us", {"w": 3})]
    for each in found:
        append(path, each)
    with open(path, "a") as file:
        file.write('{"figure": {"name": "st')
    report = Report.read(path)
    assert report.about == {"a": 1, "b": 2}
    assert (report.pieces, report.figures) == ([found[2]], [found[4]])
    # JSON has no word for them
    assert report.checks == [Check("nan", FAILED, "NaN", 2.0)]
    assert Report.read(tmp_path / "none") == Report()


def test_tables(capsys):
    report = Report({"has_device": True, "devices": [{"name": "CuPy on CPU, device 0"}]})
    for width in (16, 32):
        report.figures.append(Figure("step", width / 4, "us", {"width": width}))
        report.figures.append(Figure("torch", None, "us", {"width": width}, "no torch"))
    report.figures.append(Figure("empty", 1.5, "us"))
    report.checks.append(holds("wrong", False, "xpnet[cuda12]"))
    report.show()
    shown = capsys.readouterr().out
    assert f"Figures | torch: no torch ({STAND_IN})\n  width  step, us  torch, us\n" in shown
    assert "  16     4         -\n  32     8         -\n" in shown
    assert "  empty   1.5\n" in shown
    assert "  wrong  FAILED  -      -      xpnet[cuda12]\n" in shown


def test_ratios_and_where_the_gpu_overtakes_numpy():
    report = Report()
    # (MFLOP, step, NumPy): slower, faster, slower again, then faster for good
    for work, step, numpy in ((1, 40, 10), (2, 40, 50), (3, 50, 40), (4, 50, 200), (9, 60, 900)):
        for name, value in (("work", work), ("step", step), ("numpy", numpy), ("torch", None)):
            report.figures.append(Figure(name, value, "", {"net": str(work)}))
    found = list(report.ratios())
    assert [f.value for f in found if f.name == "numpy / step"] == [0.25, 1.25, 0.8, 4.0, 15.0]
    assert not [f for f in found if "torch" in f.name]
    assert (found[-1].name, found[-1].value) == ("crossover", 4)


def test_wrong_options_do_not_look_like_a_missing_device(capsys):
    for words in ("--fast", "--sections step,stepp"):
        with pytest.raises(SystemExit) as info:
            gpu.main(words.split())
        assert info.value.code == gpu.WRONG_OPTIONS
        assert words.split(",")[-1] in capsys.readouterr().err


# -- the run -----------------------------------------------------------------------------
@pytest.fixture
def in_this_process(monkeypatch):
    """Sections run here, where coverage sees them and tests can change them."""

    def run(name, path, limit, rehearse):
        gpu.child(name, str(path), "rehearse" if rehearse else "")
        return ""

    monkeypatch.setattr(gpu, "_in_process", run)


def test_a_rehearsal_of_all_sections_passes(cupy, in_this_process, tmp_path, capsys):
    path = tmp_path / "found.json"
    status = gpu.main(["--rehearse", "--json", str(path)])
    shown = capsys.readouterr()
    assert status == 0, shown.out + shown.err
    found = json.loads(path.read_text())
    stand_in = os.environ.get("XPNET_CUPY_ON_CPU") == "1"
    assert found["note"] == (STAND_IN if stand_in else None)
    assert found["about"]["rehearsal"] is True
    assert not [check for check in found["checks"] if check["status"] == FAILED]
    status = {check["name"]: check["status"] for check in found["checks"]}
    for name in ("trajectory of Adam, float64", "steps as CUDA graphs, bit for bit"):
        assert status[name] == PASSED
    if stand_in:
        assert status["ranks"] == NOT_AVAILABLE  # it has two devices, and no NCCL
    units = {figure["name"]: figure["unit"] for figure in found["figures"]}
    assert units["step"] == units["products"] == units["numpy"] == units["host"] == "us"
    assert {"step, device", "numpy / step", "step / products", "registers"} <= units.keys()
    assert all(device["memory_bytes"] > 0 for device in found["about"]["devices"])
    assert all(f"{name} seconds" in found["about"] for name in gpu.SECTIONS)


def test_sections_have_processes_of_their_own(cupy, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKEHIP_LAZY", "1")  # the stand-in, too, has the host run ahead
    path = tmp_path / "found.json"
    gpu.main(["--rehearse", "--sections", "torch-graph,launches", "--json", str(path)])
    found = json.loads(path.read_text())
    (check,) = [c for c in found["checks"] if c["name"] == "torch-graph"]
    assert check["detail"] == "CUDA graphs need a GPU"
    calls = [f for f in found["figures"] if "call" in f["settings"]]
    assert {f["name"] for f in calls} == {"device", "host", "arrays"}
    measured = [f["value"] for f in calls if f["value"] is not None]  # None: the host was held up
    assert len(measured) > len(calls) / 2
    assert min(measured) > 0
    assert any(f["settings"]["call"].endswith(" adam") for f in calls)


def test_a_failed_check_and_a_broken_part_make_the_status_1(
    cupy, in_this_process, monkeypatch, capsys
):
    monkeypatch.setattr(gpu_checks, "TOLERANCES", {"float32": -1.0})
    monkeypatch.setitem(
        gpu.SECTIONS, "numpy", gpu.Section((gpu_checks.trajectories, lambda rehearse: 1 / 0), 9.0)
    )
    assert gpu.main(["--rehearse", "--sections", "numpy"]) == 1
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "ran to its end" in shown.out
    assert "ZeroDivisionError" in shown.err


def fake_machine(name, path, limit, rehearse):
    append(path, {"has_device": True})
    return ""


@pytest.mark.parametrize(
    ("code", "limit", "budget", "status", "detail"),
    [
        ("import time; time.sleep(60)", 0.1, 60.0, FAILED, "ended after its 0 seconds"),
        ("import time; time.sleep(60)", 60.0, 0.4, NOT_AVAILABLE, "cut short by the budget"),
        ("raise SystemExit(3)", 60.0, 60.0, FAILED, "exit status 3"),
        ("import os; os.kill(os.getpid(), 9)", 60.0, 60.0, FAILED, "exit status -9"),
        ("", 60.0, -1.0, NOT_AVAILABLE, "skipped: 0 seconds are left of the budget"),
    ],
)
def test_a_section_that_does_not_end_well(
    monkeypatch, tmp_path, code, limit, budget, status, detail
):
    """What it found stays, and what became of it is said by its name."""
    path, real = tmp_path / "found.jsonl", gpu._in_process
    monkeypatch.setattr(gpu, "_CHILD", code)
    monkeypatch.setattr(
        gpu,
        "_in_process",
        lambda name, *more: (fake_machine if name == "installed" else real)(name, *more),
    )
    monkeypatch.setitem(gpu.SECTIONS, "installed", gpu.Section((), 9.0, -9.0))
    monkeypatch.setitem(gpu.SECTIONS, "step", gpu.Section((), limit, 0.0))
    gpu.run(path, ["step"], budget, False)
    (check,) = Report.read(path).checks
    assert check.name.startswith("step")
    assert check.status == status
    assert detail in check.detail


@pytest.mark.parametrize("name", ["cupy", "numpy"])
def test_a_step_is_timed_on_orders_that_were_made_once(name, request, monkeypatch):
    if name == "cupy":
        request.getfixturevalue("cupy")
    made, kept = [], gpu_timing.make_orders
    monkeypatch.setattr(gpu_timing, "make_orders", lambda *task: made.append(1) or kept(*task))
    with gpu_timing.running(gpu_timing.SMALL_NETS[1], name) as (_, timed):
        assert timed.within(0.0) > 0
    assert made == [1]


@pytest.mark.parametrize("name", ["torch", "torch-compile", "jax", "jax-scan"])
def test_peers_are_timed_on_the_same_nets(name, monkeypatch, request):
    library = pytest.importorskip(name.partition("-")[0])
    if library.__name__ == "jax":  # as in a process of its own: other tests switch float64 on
        switch = "jax_enable_x64"
        request.addfinalizer(partial(library.config.update, switch, library.config.jax_enable_x64))
        library.config.update(switch, False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    found = list(gpu_timing.peer(name, rehearse=True))
    assert {f.name for f in found} == {name.replace("-", " ")}
    assert [f.settings for f in found] == [task.settings for task in gpu_timing.SMALL_NETS]
    assert all(f.value > 0 for f in found)


@pytest.mark.gpu
def test_a_gpu_is_no_stand_in(cupy):
    assert gpu_pieces.find_driver().devices
    assert not gpu_pieces.about()["devices"][0]["name"].startswith("CuPy on CPU")


@pytest.mark.parametrize(
    ("factor", "status"), [(1.004, PASSED), (1.02, FAILED), (float("nan"), FAILED)]
)
def test_a_rounded_net_must_reach_the_cost_of_the_exact_one(monkeypatch, factor, status):
    real = gpu_checks.train

    def train(rehearse, dtype, **options):
        net, cost = real(rehearse, dtype, backend="numpy")
        return net, cost * (factor if options["backend"] == "cupy" else 1.0)

    monkeypatch.setattr(gpu_checks, "train", train)
    assert {check.status for check in gpu_checks.roundings(rehearse=True)} == {status}


def test_tests_of_a_checkout_are_a_check_for_each_function(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Skipped, match="checkout"):
        list(gpu_checks.tests((), False))
    file = tmp_path / gpu_checks.ENGINE[0] / "test_some.py"
    file.parent.mkdir(parents=True)
    file.write_text("""
import pytest
@pytest.mark.parametrize("x", ["a b", "c"])
def test_good(x): pass
@pytest.mark.parametrize("x", [1, 2])
def test_bad(x): assert x == 1
def test_absent(): pytest.skip("one device")
""")
    *found, end = gpu_checks.tests((str(file),), False)
    assert [(c.name, c.status) for c in found] == [
        ("test_good", PASSED),
        ("test_bad", FAILED),
        ("test_absent", NOT_AVAILABLE),
    ]
    assert found[1].detail == "1 passed, 1 failed"
    assert "one device" in found[2].detail
    assert end == holds("pytest ran to its end", True, "code 1")
    file.write_text("1 / 0")
    assert [c.status for c in gpu_checks.tests((str(file),), False)] == [FAILED]


def test_sanitizers_are_run_where_they_are(monkeypatch):
    with pytest.raises(Skipped, match="no compute-sanitizer on PATH"):
        list(gpu_checks.sanitizers(True))
    monkeypatch.setattr(gpu_checks.shutil, "which", lambda name: name)
    run = SimpleNamespace(stdout="=== ERROR SUMMARY: 2 errors\n", stderr="", returncode=9)
    monkeypatch.setattr(gpu_checks.subprocess, "run", lambda *args, **kwargs: run)
    assert {c.status for c in gpu_checks.sanitizers(True)} == {FAILED}


def test_a_first_fit_that_fails_gives_its_last_line(monkeypatch):
    run = SimpleNamespace(stdout="", stderr="Traceback\nValueError: no\n", returncode=1)
    monkeypatch.setattr(gpu_memory.subprocess, "run", lambda *args, **kwargs: run)
    assert {(f.value, f.detail) for f in gpu_memory.first_fit(True)} == {(None, "ValueError: no")}


# -- giving memory back ------------------------------------------------------------------
def test_free_memory_does_nothing_without_cupy(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert free_memory() == 0
    assert "cupy" not in sys.modules


def test_free_memory_returns_what_arrays_left_and_keeps_the_rest(cupy):
    free_memory()
    before = cupy.get_default_memory_pool().total_bytes()  # the workspace of products stays
    kept, left = cupy.arange(10.0), cupy.zeros(1_000_000)
    del left
    assert free_memory() >= 8_000_000
    assert cupy.get_default_memory_pool().total_bytes() < before + 8_000_000
    np.testing.assert_array_equal(kept.get(), np.arange(10.0))
