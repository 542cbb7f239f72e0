"""What is installed, piece by piece, and the line that brings what is missing.

This file imports nothing that needs CUDA before it has looked whether it is there: it runs on a
machine with only a driver, and on one with nothing at all.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

import numpy as np

from xpnet.gpu_check.report import Piece

DRIVER = (
    "install NVIDIA's driver from https://www.nvidia.com/drivers; `nvidia-smi` then lists the GPU"
)


@dataclass(frozen=True)
class Driver:
    """The CUDA driver as itself says, without CuPy. ``version`` is 12040 for CUDA 12.4."""

    version: int
    devices: tuple[str, ...]
    detail: str

    @property
    def major(self) -> int:
        return self.version // 1000


def find_driver() -> Driver:
    """Asks the driver's own library, which is there wherever a driver is."""
    names = ("nvcuda.dll",) if sys.platform == "win32" else ("libcuda.so.1", "libcuda.so")
    for name in names:
        try:
            cuda = ctypes.CDLL(name)
            break
        except OSError:
            continue
    else:
        return Driver(0, (), "no NVIDIA driver")
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    text = f"CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    error = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    if error or not count.value:
        return Driver(version.value, (), f"driver for {text} sees no GPU (error {error})")
    devices = []
    for number in range(count.value):
        device, text_buffer = ctypes.c_int(0), ctypes.create_string_buffer(256)
        cuda.cuDeviceGet(ctypes.byref(device), number)
        cuda.cuDeviceGetName(text_buffer, 256, device)
        devices.append(text_buffer.value.decode(errors="replace"))
    return Driver(version.value, tuple(devices), f"{text}: {', '.join(devices)}")


def find_wheels() -> dict[str, str]:
    """Installed distributions that bring the package ``cupy``, with their versions."""
    found = {}
    for distribution in distributions():
        name = (distribution.name or "").lower().replace("_", "-")
        if name in ("cupy", "amd-cupy") or name.startswith(("cupy-cuda", "cupy-rocm")):
            found[name] = distribution.version
    return dict(sorted(found.items()))


def extra(driver: Driver, wheels: dict[str, str]) -> str:
    """The extra of xpnet that fits: what is installed if the driver can run it."""
    for major in (13, 12):
        if f"cupy-cuda{major}x" in wheels and (not driver.version or driver.major >= major):
            return f"cuda{major}"
    return "cuda13" if driver.major >= 13 else "cuda12"


def install(driver: Driver, wheels: dict[str, str]) -> str:
    line = f'python -m pip install "xpnet[{extra(driver, wheels)}]"'
    # A second distribution beside any other would break both.
    strangers = [name for name in wheels if name != f"cupy-{extra(driver, wheels)}x"]
    return f"python -m pip uninstall -y {' '.join(strangers)} && {line}" if strangers else line


# -- the pieces --------------------------------------------------------------------------
def pieces(driver: Driver, wheels: dict[str, str]) -> Iterator[Piece]:
    """Driver, CuPy, headers, NVRTC, cuBLAS and a compiled kernel, each found or not."""
    line = install(driver, wheels)
    cupy: Any = None
    problem = "not installed"
    try:
        cupy = importlib.import_module("cupy")
    except Exception as error:  # whatever a broken installation raises is the finding
        problem = _first_line(error) if wheels else problem
    hip = cupy is not None and cupy.cuda.runtime.is_hip
    if not hip:
        yield Piece("driver", bool(driver.devices), driver.detail, _unless(driver.devices, DRIVER))
    if len(wheels) > 1:
        yield _two_wheels(driver, wheels)
        return
    if cupy is None:
        yield Piece("CuPy", False, problem, line)
        return
    where = " ".join(f"{name} {version}" for name, version in wheels.items()) or cupy.__file__
    late = not hip and 0 < driver.major < _built_for(cupy)
    detail = f"{where}, built for CUDA {_built_for(cupy)}" if late else where
    yield Piece("CuPy", not late, detail, _too_new(driver, wheels) if late else None)
    if not hip:
        yield _headers(_built_for(cupy), line)
        yield _library("NVRTC", "nvrtc", line)
        yield _library("cuBLAS", "cublas", line)
    if hip or driver.devices:
        yield _attempt("device", lambda: _devices(cupy), DRIVER)
    if cupy.cuda.is_available():
        yield _attempt("cuBLAS handle", lambda: _cublas(cupy), line)
        yield _attempt("compiled kernel", lambda: _compile(cupy), line)


def _two_wheels(driver: Driver, wheels: dict[str, str]) -> Piece:
    keep = f"cupy-{extra(driver, wheels)}x"
    wrong = [name for name in wheels if name != keep]
    both = " ".join(wheels)
    line = f'python -m pip install "xpnet[{extra(driver, wheels)}]"'
    # All of them own the same files: removing one leaves the other without them.
    return Piece(
        "CuPy",
        False,
        f"{len(wheels)} distributions share the name cupy: {both}. Remove {' and '.join(wrong)}; "
        "they overwrote each other's files, so the one that stays is installed anew",
        f"python -m pip uninstall -y {both} && {line}",
    )


def _built_for(cupy: Any) -> int:
    return int(cupy.cuda.runtime.runtimeGetVersion()) // 1000


def _too_new(driver: Driver, wheels: dict[str, str]) -> str:
    if driver.major < 12:
        return DRIVER
    return install(driver, wheels)


def _headers(built_for: int, line: str) -> Piece:
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")  # comes with CuPy 14
        folder = pathfinder.find_nvidia_header_directory("cudart")
    except (ImportError, AttributeError, RuntimeError):
        home = os.environ.get("CUDA_PATH", "/usr/local/cuda")
        folder = os.path.join(home, "include")
    header = os.path.join(folder or "", "cuda_runtime_api.h")
    if not os.path.isfile(header):
        return Piece("CUDA headers", False, "no cuda_runtime_api.h found", line)
    with open(header, encoding="utf-8", errors="replace") as file:
        version = re.search(r"#define\s+CUDART_VERSION\s+(\d+)", file.read())
    major = int(version[1]) // 1000 if version else built_for
    # Not an error by itself: whether they serve is for the compiled kernel to show.
    detail = "" if major == built_for else f", of CUDA {major}; CuPy is built for CUDA {built_for}"
    return Piece("CUDA headers", True, f"{folder}{detail}")


def _library(title: str, name: str, line: str) -> Piece:
    try:
        load = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib
    except (ImportError, AttributeError):
        return Piece(title, True, "left to CuPy, which has its own search before version 14")
    return _attempt(title, lambda: str(load(name).abs_path), line)


def _attempt(title: str, function: Callable[[], str], line: str) -> Piece:
    try:
        return Piece(title, True, function())
    except Exception as error:  # whatever a broken installation raises is the finding
        return Piece(title, False, _first_line(error), line)


def _devices(cupy: Any) -> str:
    count = cupy.cuda.runtime.getDeviceCount()
    return f"CuPy sees {count}: {_device(cupy, 0)['name']}"


def _cublas(cupy: Any) -> str:
    cublas = importlib.import_module("cupy.cuda").cublas
    return f"version {cublas.getVersion(cupy.cuda.device.get_cublas_handle())}"


def _compile(cupy: Any) -> str:
    source = 'extern "C" __global__ void twice(float* x) { x[threadIdx.x] *= 2.0f; }'
    x = cupy.arange(4, dtype=np.float32)
    cupy.RawKernel(source, "twice")((1,), (4,), (x,))
    if x.get().tolist() != [0.0, 2.0, 4.0, 6.0]:
        raise RuntimeError(f"a kernel that doubles gave {x.get().tolist()}")
    return f"NVRTC {'.'.join(map(str, cupy.cuda.nvrtc.getVersion()))}"


def _unless(found: Any, remedy: str) -> str | None:
    return None if found else remedy


def _first_line(error: BaseException) -> str:
    lines = [line.strip(" =\t") for line in str(error).splitlines()]
    line = next(filter(None, lines), "")
    return f"{type(error).__name__}: {line.partition(': No such file')[0]}"  # said twice over


# -- the machine -------------------------------------------------------------------------
def has_device() -> bool:
    """Whether the driver, or else CuPy, sees a device."""
    if find_driver().devices:
        return True
    try:
        return bool(importlib.import_module("cupy").cuda.is_available())
    except Exception:  # absent or broken, which the pieces say
        return False


def is_stand_in() -> bool:
    """Whether CuPy runs on the CPU, as in this project's own tests."""
    try:
        runtime = importlib.import_module("cupy").cuda.runtime
        return bool(runtime.getDeviceProperties(0)["name"].startswith(b"CuPy on CPU"))
    except Exception:  # no CuPy, no driver or no device
        return False


def about() -> dict[str, Any]:
    """The machine and its versions, for the JSON."""
    from xpnet import __version__

    found: dict[str, Any] = {
        "xpnet": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "driver": find_driver().detail,
        "wheels": find_wheels(),
        "torch": None,
    }
    with suppress(Exception):
        found["torch"] = importlib.import_module("torch").__version__
    with suppress(Exception):  # the pieces say why
        cupy = importlib.import_module("cupy")
        found["cupy"] = cupy.__version__
        found["devices"] = [_device(cupy, n) for n in range(cupy.cuda.runtime.getDeviceCount())]
    return found


def _device(cupy: Any, number: int) -> dict[str, Any]:
    properties = cupy.cuda.runtime.getDeviceProperties(number)
    return {
        "name": properties["name"].decode(errors="replace"),
        "memory_bytes": int(properties["totalGlobalMem"]),
        "multiprocessors": int(properties["multiProcessorCount"]),
        "compute_capability": str(cupy.cuda.Device(number).compute_capability),
    }
