"""``python -m xpnet.gpu_check``: what it says where something is missing, and a run of all of it.

The run needs CuPy on a GPU, or on the CPU: python tools/cupy_on_cpu/run.py -- python -m pytest ...
"""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from xpnet import DeepNet
from xpnet.backends.place import free_memory
from xpnet.gpu_check import correctness, machine, timing
from xpnet.gpu_check.__main__ import WRONG_OPTIONS, main
from xpnet.gpu_check.machine import Driver
from xpnet.gpu_check.report import (
    FAILED,
    NOT_AVAILABLE,
    PASSED,
    STAND_IN,
    Figure,
    Piece,
    Report,
    at_most,
    holds,
    print_table,
    unavailable,
)

NO_DRIVER = Driver(0, (), "no NVIDIA driver")
CUDA12 = Driver(12040, ("T4",), "CUDA 12.4: T4")
CUDA13 = Driver(13000, ("H100",), "CUDA 13.0: H100")

RUN_WITHOUT_CUPY = """
import runpy, sys
sys.modules["cupy"] = None
sys.argv[1:] = {arguments}
runpy.run_module("xpnet.gpu_check", run_name="__main__")
"""


@pytest.fixture
def cupy():
    """CuPy with something to run on: a GPU or the stand-in."""
    found = pytest.importorskip("cupy", reason="cupy is not installed")
    if not found.cuda.is_available():
        pytest.skip("cupy has no usable device")
    return found


def install_fake_cupy(monkeypatch, built_for=12090, missing=()):
    """A CuPy as its CUDA wheel is without a device; ``missing`` names libraries."""

    def fail():
        raise RuntimeError("cudaErrorInsufficientDriver: too old\nmore")

    def load(name):
        if name in missing:
            raise RuntimeError(f"Failure finding lib{name}: No such file: lib{name}")
        return SimpleNamespace(abs_path=f"/lib/lib{name}.so.12")

    runtime = SimpleNamespace(
        is_hip=False, runtimeGetVersion=lambda: built_for, getDeviceCount=fail
    )
    cuda = SimpleNamespace(runtime=runtime, is_available=lambda: False)
    fake = SimpleNamespace(cuda=cuda, __version__="14.2.0", __file__="/fake/cupy")
    monkeypatch.setitem(sys.modules, "cupy", fake)
    pathfinder = SimpleNamespace(
        load_nvidia_dynamic_lib=load, find_nvidia_header_directory=lambda name: None
    )
    monkeypatch.setitem(sys.modules, "cuda.pathfinder", pathfinder)


def by_name(pieces):
    return {piece.name: piece for piece in pieces}


# -- what is installed -------------------------------------------------------------------
@pytest.mark.parametrize("cupy_there", [False, True], ids=["cupy absent", "cupy without device"])
def test_without_a_device_the_status_is_2(tmp_path, cupy_there):
    path = tmp_path / "found.json"
    code = RUN_WITHOUT_CUPY.format(arguments=["--json", str(path)])
    if cupy_there:
        write_fake_cupy(tmp_path)
        code = code.replace('sys.modules["cupy"] = None', "")
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2, run.stderr
    assert run.stdout.splitlines()[-1] == (
        "No CUDA device: nothing was checked. This is not a pass."
    )
    if not cupy_there:
        assert 'python -m pip install "xpnet[cuda' in run.stdout
    found = json.loads(path.read_text())
    assert found["status"] == 2
    assert found["checks"] == found["figures"] == []
    assert found["about"]["numpy"] == np.__version__


def write_fake_cupy(folder):
    """A package cupy that finds no device, and what pip would have written beside it."""
    (folder / "cupy").mkdir()
    (folder / "cupy" / "__init__.py").write_text(
        "from types import SimpleNamespace as N\n"
        "def fail(*_): raise RuntimeError('cudaErrorNoDevice: no CUDA-capable device')\n"
        "runtime = N(is_hip=False, runtimeGetVersion=lambda: 12090, getDeviceCount=fail,\n"
        "            getDeviceProperties=fail)\n"
        "cuda = N(runtime=runtime, is_available=lambda: False)\n"
        "__version__ = '14.2.0'\n"
    )
    (folder / "cupy_cuda12x-14.2.0.dist-info").mkdir()
    (folder / "cupy_cuda12x-14.2.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: cupy-cuda12x\nVersion: 14.2.0\n"
    )


def test_a_driver_alone_names_the_line_that_fits_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for driver, extra in ((CUDA12, "cuda12"), (CUDA13, "cuda13"), (NO_DRIVER, "cuda12")):
        found = by_name(machine.pieces(driver, {}))
        assert found["driver"].found == bool(driver.devices)
        assert found["CuPy"] == Piece(
            "CuPy", False, "not installed", f'python -m pip install "xpnet[{extra}]"'
        )


def test_missing_libraries_are_named_with_the_line_that_brings_them(monkeypatch):
    install_fake_cupy(monkeypatch, missing=["nvrtc"])
    found = by_name(machine.pieces(CUDA13, {"cupy-cuda12x": "14.2.0"}))
    line = 'python -m pip install "xpnet[cuda12]"'  # the wheel that is there runs on CUDA 13
    assert found["CuPy"].found
    assert found["cuBLAS"] == Piece("cuBLAS", True, "/lib/libcublas.so.12")
    assert found["NVRTC"] == Piece("NVRTC", False, "RuntimeError: Failure finding libnvrtc", line)
    assert found["CUDA headers"].remedy == line
    assert "cudaErrorInsufficientDriver: too old" in found["device"].detail
    assert "compiled kernel" not in found


def test_headers_of_another_cuda_are_mentioned(monkeypatch, tmp_path):
    install_fake_cupy(monkeypatch)
    (tmp_path / "cuda_runtime_api.h").write_text("#define CUDART_VERSION  13000\n")
    pathfinder = sys.modules["cuda.pathfinder"]
    pathfinder.find_nvidia_header_directory = lambda name: str(tmp_path)
    headers = by_name(machine.pieces(CUDA13, {"cupy-cuda12x": "14.2.0"}))["CUDA headers"]
    assert headers.found
    assert headers.detail.endswith("of CUDA 13; CuPy is built for CUDA 12")


def test_two_distributions_of_cupy_are_an_error_that_says_which_to_remove(monkeypatch):
    install_fake_cupy(monkeypatch)
    wheels = {"cupy-cuda12x": "14.2.0", "cupy-cuda13x": "14.2.0"}
    for driver, keep, wrong in ((CUDA12, "cuda12", "cuda13"), (CUDA13, "cuda13", "cuda12")):
        piece = by_name(machine.pieces(driver, wheels))["CuPy"]
        assert not piece.found
        assert f"Remove cupy-{wrong}x;" in piece.detail
        assert piece.remedy == (
            "python -m pip uninstall -y cupy-cuda12x cupy-cuda13x && "
            f'python -m pip install "xpnet[{keep}]"'
        )


def test_a_wheel_too_new_for_the_driver_is_replaced(monkeypatch):
    install_fake_cupy(monkeypatch, built_for=13000)
    piece = by_name(machine.pieces(CUDA12, {"cupy-cuda13x": "14.2.0"}))["CuPy"]
    assert not piece.found
    assert piece.remedy == (
        'python -m pip uninstall -y cupy-cuda13x && python -m pip install "xpnet[cuda12]"'
    )


def test_the_distributions_of_cupy_are_found_by_name(monkeypatch):
    names = ["cupy_cuda12x", "cupy-rocm-7-0", "cupyx-something", "cupy-xarray", None, "CuPy"]
    found = [SimpleNamespace(name=name, version="1") for name in names]
    monkeypatch.setattr(machine, "distributions", lambda: found)
    assert set(machine.find_wheels()) == {"cupy", "cupy-cuda12x", "cupy-rocm-7-0"}


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

    def cuDeviceGet(self, device, number):
        device._obj.value = number

    def cuDeviceGetName(self, text, size, device):
        text.value = b"T4"


def test_the_driver_is_asked_without_cupy(monkeypatch):
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: FakeCuda())
    assert machine.find_driver() == CUDA12
    assert machine.has_device()
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: FakeCuda(error=100))
    assert machine.find_driver().devices == ()
    assert "driver for CUDA 12.4 sees no GPU (error 100)" in machine.find_driver().detail


# -- the report --------------------------------------------------------------------------
def test_the_status_follows_from_what_was_found():
    report = Report(has_device=True)
    report.add(Piece("CuPy", True, ""))
    report.add(at_most("small", 1.0, 2.0))
    report.add(unavailable("absent", "why"))
    assert (report.status, report.verdict) == (0, "1 checks passed, 0 failed, 1 not available.")
    report.add(at_most("nan", float("nan"), 2.0))
    assert report.status == 1
    assert Report(has_device=True, pieces=[Piece("CuPy", False, "")]).status == 1
    assert Report(has_device=False, checks=[holds("fine", True)]).status == 2


def test_tables_with_and_without_rich(monkeypatch, capsys):
    report = Report(has_device=True, stand_in=True)
    for width in (16, 32):
        report.add(Figure("step", width / 4, "us", {"width": width}))
        report.add(Figure("torch", None, "us", {"width": width}, "no torch"))
    report.add(Figure("empty", 1.5, "us"))
    tables = {title: (header, rows) for title, header, rows in report.tables()}
    header, rows = tables["Figures | torch: no torch"]
    assert header == ("width", "step, us", "torch, us")
    assert rows == [("16", "4", "-"), ("32", "8", "-")]
    for missing in (False, True):
        if missing:
            monkeypatch.setitem(sys.modules, "rich", None)
        report.show()
        print_table("title", ("a", "b"), [("xpnet[cuda12]", "1")])
        shown = capsys.readouterr().out
        assert STAND_IN in shown
        assert "xpnet[cuda12]" in shown
        assert "torch, us" in shown


def test_wrong_options_do_not_look_like_a_missing_device(capsys):
    with pytest.raises(SystemExit) as info:
        main(["--fast"])
    assert info.value.code == WRONG_OPTIONS
    assert "--fast" in capsys.readouterr().err


# -- all of it ---------------------------------------------------------------------------
def test_all_of_it_runs_and_passes(cupy, tmp_path, capsys):
    path = tmp_path / "found.json"
    pool = cupy.get_default_memory_pool()
    limit = pool.get_limit()
    status = main(["--quick", "--json", str(path)])
    shown = capsys.readouterr()
    assert status == 0, shown.out + shown.err
    assert pool.get_limit() == limit
    found = json.loads(path.read_text())
    stand_in = os.environ.get("XPNET_CUPY_ON_CPU") == "1"
    assert found["note"] == (STAND_IN if stand_in else None)
    assert found["quick"] is True
    assert not [check for check in found["checks"] if check["status"] == FAILED]
    names = {check["name"] for check in found["checks"] if check["status"] != NOT_AVAILABLE}
    assert {"100 Adam steps, float64", "out of memory: predict goes on in parts"} <= names
    units = {figure["name"]: figure["unit"] for figure in found["figures"]}
    assert units["host: RawKernel, 2 arguments"] == units["step"] == units["products"] == "us"
    assert {"torch step", "step / products"} <= units.keys()
    assert all(device["memory_bytes"] > 0 for device in found["about"]["devices"])


def test_a_failed_check_and_a_broken_section_make_the_status_1(cupy, monkeypatch, capsys):
    monkeypatch.setattr(correctness, "TOLERANCES", {"float32": -1.0})
    monkeypatch.setattr(timing, "calls", lambda quick: 1 / 0)
    assert main(["--quick"]) == 1
    shown = capsys.readouterr()
    assert "FAILED" in shown.out
    assert "timing ran to its end" in shown.out
    assert "ZeroDivisionError" in shown.err


def test_pytorch_is_timed_on_the_same_net():
    pytest.importorskip("torch", reason="torch is not installed")
    ((name, value, unit),) = timing.torch_step(8, 4, quick=True, device="cpu")
    assert (name, unit) == ("torch step", "us")
    assert value > 0


@pytest.mark.gpu
def test_a_gpu_is_no_stand_in(cupy):
    assert machine.has_device()
    assert not machine.is_stand_in()


@pytest.mark.parametrize(
    ("error", "status"),
    [(3e-4, PASSED), (1e-2, FAILED), (3e-7, NOT_AVAILABLE), ("ImportError: no", FAILED)],
)
def test_tf32_products_are_judged_by_their_rounding(monkeypatch, error, status):
    monkeypatch.setattr(correctness, "product_errors", lambda n: {"float64": 0.0, "float32": 0.0})
    monkeypatch.setattr(correctness, "_in_new_process", lambda script, **_: error)
    *_, check = correctness.products(quick=True)
    assert (check.name, check.status) == ("product 16 x 16, TF32", status)


def test_a_net_in_tf32_must_reach_the_cost_of_the_exact_one(monkeypatch):
    class Precise(DeepNet):
        def __init__(self, sizes, precision=None, **options):
            super().__init__(sizes, **options)

    monkeypatch.setattr(correctness, "DeepNet", Precise)
    for cost, status in ((2.1252, PASSED), (2.3, FAILED), ("TypeError: no", FAILED)):
        monkeypatch.setattr(correctness, "_in_new_process", lambda script, cost=cost: cost)
        assert correctness.tf32_net(quick=True).status == status


def test_a_script_that_fails_gives_its_last_line():
    assert correctness._in_new_process("print(0.5)") == 0.5
    assert correctness._in_new_process("raise ValueError('no')") == "ValueError: no"


# -- giving memory back ------------------------------------------------------------------
def test_free_memory_does_nothing_without_cupy(monkeypatch):
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    assert free_memory() == 0
    assert "cupy" not in sys.modules


def test_free_memory_returns_what_arrays_left_and_keeps_the_rest(cupy):
    free_memory()
    kept, left = cupy.arange(10.0), cupy.zeros(1_000_000)
    del left
    assert free_memory() >= 8_000_000
    assert cupy.get_default_memory_pool().total_bytes() < 8_000_000
    np.testing.assert_array_equal(kept.get(), np.arange(10.0))
