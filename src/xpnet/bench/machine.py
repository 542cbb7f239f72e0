"""What the numbers were measured on."""

from __future__ import annotations

import importlib
import os
import platform
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

# Variables that change what is measured: threads, precision, devices, compilers.
_VARIABLES = ("XPNET_", "XLA_", "JAX_", "CUPY_", "CUDA_VISIBLE", "NVIDIA_TF32", "KMP_", "OMP_")


def about() -> dict[str, Any]:
    """Processor, cores, BLAS, versions and variables, as JSON holds them."""
    found: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "xpnet": version_of("xpnet"),
        "numpy": np.__version__,
        "numba": version_of("numba"),  # the NumPy engine uses it where it is installed
        "blas": blas(),
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_VARIABLES) or name.endswith("_NUM_THREADS")
        },
    }
    if hasattr(os, "getloadavg"):
        with suppress(OSError):
            found["load"] = os.getloadavg()
    return found


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's name as it calls itself, or its kind."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    if sys.platform == "darwin":
        with suppress(OSError, subprocess.SubprocessError):
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(
                command, capture_output=True, text=True, check=True, timeout=5
            ).stdout.strip()
    return platform.processor() or platform.machine() or "unknown processor"


def version_of(distribution: str) -> str | None:
    with suppress(Exception):
        return version(distribution)
    return None


def blas() -> str:
    """The library behind NumPy's products."""
    with suppress(Exception):  # not there before NumPy 1.25, and a matter of its build
        found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return f"{found['name']} {found['version']}"
    return "unknown"


def blas_threads() -> int | None:
    """Threads of NumPy's BLAS, where threadpoolctl is installed to ask it."""
    with suppress(Exception):
        pools = importlib.import_module("threadpoolctl").threadpool_info()
        return max(int(p["num_threads"]) for p in pools if p["user_api"] == "blas")
    return None
