"""Finds what is installed for a GPU, the line that brings what is missing, and what the GPU is.

It runs on a machine with only a driver, and on one with nothing at all.
"""

from __future__ import annotations

import ctypes
import importlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from importlib.metadata import distributions
from typing import Any

import numpy as np

from xpnet.bench import machine as host
from xpnet.bench.gpu_report import Figure, Found, Piece, holds

DRIVER = (
    "install NVIDIA's driver from https://www.nvidia.com/drivers; `nvidia-smi` then lists the GPU"
)


@dataclass(frozen=True)
class Driver:
    """What the CUDA driver says of itself, without CuPy. ``version`` is 12040 for CUDA 12.4."""

    version: int
    devices: int
    detail: str


def find_driver() -> Driver:
    """Asks the driver's own library, which is there wherever a driver is."""
    cuda: Any = None
    for name in ("nvcuda.dll", "libcuda.so.1", "libcuda.so"):
        with suppress(OSError):
            cuda = cuda or ctypes.CDLL(name)
    if cuda is None:
        return Driver(0, 0, "no NVIDIA driver")
    version, count = ctypes.c_int(0), ctypes.c_int(0)
    cuda.cuDriverGetVersion(ctypes.byref(version))
    error = cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count))
    text = f"driver for CUDA {version.value // 1000}.{version.value % 1000 // 10}"
    sees = f"sees no GPU (error {error})" if error else f"sees {count.value} GPU"
    return Driver(version.value, 0 if error else count.value, f"{text} {sees}")


def find_wheels() -> dict[str, str]:
    """Installed distributions that bring the package ``cupy``, with their versions."""
    there = {(d.name or "").lower().replace("_", "-"): d.version for d in distributions()}
    ours = ("cupy-cuda", "cupy-rocm")
    return {n: there[n] for n in sorted(there) if n in ("cupy", "amd-cupy") or n.startswith(ours)}


def install(driver: Driver, wheels: dict[str, str]) -> str:
    """The line that leaves one distribution of CuPy, an installed one if the driver can run it."""
    version = 13 if driver.version >= 13000 else 12
    for there in (12, 13):
        if f"cupy-cuda{there}x" in wheels and driver.version >= 1000 * there * bool(driver.version):
            version = there
    line = f'python -m pip install "cupy-cuda{version}x[ctk]"'
    if set(wheels) <= {f"cupy-cuda{version}x"}:
        return line
    # All of them own the same files: removing one leaves any other without them.
    return f"python -m pip uninstall -y {' '.join(wheels)} && {line}"


def pieces(driver: Driver, wheels: dict[str, str]) -> Iterator[Piece]:
    """The driver, CuPy, and a first computation, each found or not."""
    line, remedy, cupy = install(driver, wheels), None if driver.devices else DRIVER, None
    found = " ".join(f"{name} {version}" for name, version in wheels.items())
    try:
        cupy = importlib.import_module("cupy")
        problem = ""
    except Exception as error:  # whatever a broken installation raises is the finding
        problem = first_line(error) if wheels else "not installed"
    hip = cupy is not None and cupy.cuda.runtime.is_hip
    if not hip:
        yield Piece("driver", not remedy, driver.detail, remedy)
    if len(wheels) > 1:
        problem = f"{found} overwrote each other's files: only one of them can stay"
    elif cupy is not None and not hip and driver.version:
        built_for = int(cupy.cuda.runtime.runtimeGetVersion()) // 1000
        if driver.version < 1000 * built_for:
            problem = f"{found}, built for CUDA {built_for}: too new for the driver"
            line = line if driver.version >= 12000 else DRIVER
    yield Piece("CuPy", not problem, problem or found, line if problem else None)
    if cupy is not None and not problem and (hip or driver.devices):
        try:
            yield Piece("computation", True, _compute(cupy))
        except Exception as error:  # likewise
            yield Piece("computation", False, first_line(error), line)


def _compute(cupy: Any) -> str:
    """A product and a compiled kernel, which need cuBLAS, NVRTC and CUDA's headers."""
    x = cupy.ones((2, 2), np.float32)
    y = (cupy.dot(x, x) + x).get().tolist()
    if y != [[3.0, 3.0], [3.0, 3.0]]:
        raise RuntimeError(f"2 + 1 gave {y}")
    return "a product and a kernel on " + ", ".join(device["name"] for device in devices(cupy))


# -- what the GPU is ---------------------------------------------------------------------
# Fields of nvidia-smi, which tells what CUDA does not.
SMI = (
    *("driver_version", "pstate", "clocks.sm", "clocks.max.sm", "clocks.mem", "power.limit"),
    *("pcie.link.gen.current", "pcie.link.width.current", "ecc.mode.current", "mig.mode.current"),
    *("compute_mode", "temperature.gpu"),
)
ATTRIBUTES = (
    *("L2CacheSize", "SingleToDoublePrecisionPerfRatio", "PageableMemoryAccess", "Integrated"),
    *("KernelExecTimeout", "ClockRate", "MemoryClockRate", "GlobalMemoryBusWidth"),
)


def machine(rehearse: bool) -> Iterator[Found]:
    """What figures of this machine depend on: driver, clocks and versions."""
    cupy = importlib.import_module("cupy")
    found: dict[str, Any] = {"nvidia-smi": nvidia_smi()}
    with suppress(Exception):  # CuPy's own modules may move
        nvrtc = importlib.import_module("cupy_backends.cuda.libs.nvrtc")
        found["nvrtc"] = ".".join(map(str, nvrtc.getVersion()))
        cublas = importlib.import_module("cupy_backends.cuda.libs.cublas")
        found["cublas"] = cublas.getVersion(cupy.cuda.device.get_cublas_handle())
    found["runtime"] = cupy.cuda.runtime.runtimeGetVersion()
    yield found


def nvidia_smi() -> list[dict[str, str]] | str:
    """What nvidia-smi says of each GPU, or why it says nothing."""
    if not (command := shutil.which("nvidia-smi")):
        return "no nvidia-smi on PATH"
    query = [command, f"--query-gpu={','.join(SMI)}", "--format=csv,noheader"]
    try:
        run = subprocess.run(query, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if run.returncode:
        return (run.stdout + run.stderr).strip()
    rows = [map(str.strip, line.split(",")) for line in run.stdout.strip().splitlines()]
    return [dict(zip(SMI, row, strict=False)) for row in rows]


def kernels(rehearse: bool) -> Iterator[Found]:
    """Registers and spilled bytes of the engine's kernels, as compiled for this device."""
    get = importlib.import_module("xpnet.engines.cupy.recorder").kernels
    source = resources.files("xpnet.engines.cupy").joinpath("kernels.cu").read_text("utf-8")
    names = re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)", source)
    cuda = not importlib.import_module("cupy").cuda.runtime.is_hip
    for dtype in ("float32", "float64"):
        facts = {name: get(dtype)(name).attributes for name in names}
        for name, of in facts.items():
            settings = {"kernel": name, "dtype": dtype, "compiled for": of["binary_version"]}
            yield Figure("registers", of["num_regs"], "", settings)
            yield Figure("local bytes", of["local_size_bytes"], "", settings)
        # the stand-in's numbers mean nothing
        spilled = [name for name, of in facts.items() if cuda and of["local_size_bytes"]]
        yield holds(f"no kernel of {dtype} spills registers", not spilled, ", ".join(spilled))


def first_line(error: BaseException) -> str:
    lines = [line.strip(" =\t") for line in str(error).splitlines()]
    return f"{type(error).__name__}: {next(filter(None, lines), '')}"


def installed(rehearse: bool) -> Iterator[Found]:
    """The driver, CuPy, the devices and the host, then the pieces."""
    driver, wheels, found = find_driver(), find_wheels(), list[dict[str, Any]]()
    about = host.about() | {"driver": driver.detail, "wheels": wheels}
    with suppress(Exception):  # the pieces say why
        cupy = importlib.import_module("cupy")
        found = devices(cupy)
        about["cupy"] = cupy.__version__
    yield about | {"devices": found, "has_device": bool(driver.devices or found)}
    yield from pieces(driver, wheels)


def devices(cupy: Any) -> list[dict[str, Any]]:
    """What CuPy says of each device."""
    found = []
    for number in range(cupy.cuda.runtime.getDeviceCount()):
        chip, properties = cupy.cuda.Device(number), cupy.cuda.runtime.getDeviceProperties(number)
        device: dict[str, Any] = {"name": properties["name"].decode(errors="replace")}
        device["memory_bytes"] = int(properties["totalGlobalMem"])
        device["multiprocessors"] = int(properties["multiProcessorCount"])
        device["compute_capability"] = str(chip.compute_capability)
        device["attributes"] = {name: chip.attributes.get(name) for name in ATTRIBUTES}
        found.append(device)
    return found
