"""Describes the machine that figures were measured on."""

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

PACKAGES = ("xpnet", "numpy", "scipy", "scikit-learn", "numba", "torch", "jax", "jaxlib", "dpnp")
# Variables that change what is measured: threads, precision, devices, compilers.
_VARIABLES = ("XPNET_", "XLA_", "JAX_", "CUPY_", "CUDA_VISIBLE", "NVIDIA_TF32", "KMP_", "OMP_")
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def about() -> dict[str, Any]:
    """Processor, cores, caches, versions (None: not installed), BLAS, load, variables; for JSON."""
    found: dict[str, Any] = {
        "processor": processor(),
        "cores": os.cpu_count(),
        "usable_cores": os.cpu_count() or 1,
        "caches": {p.parent.name: p.read_text().strip() for p in sorted(_CACHES.glob("*/size"))},
        "platform": platform.platform(),
        "python": platform.python_version(),
        "blas": "unknown",
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_VARIABLES) or name.endswith("_NUM_THREADS")
        },
    }
    for name in PACKAGES:
        found[name] = None
        with suppress(Exception):
            found[name] = version(name)
    with suppress(Exception):  # a matter of NumPy's build
        blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        found["blas"] = f"{blas['name']} {blas['version']}"
    with suppress(Exception):  # kernels and threads of the BLAS, where threadpoolctl tells them
        pools = importlib.import_module("threadpoolctl").threadpool_info()
        found["thread_pools"] = [{k: v for k, v in p.items() if k != "filepath"} for p in pools]
    with suppress(AttributeError, OSError):  # not on every system
        found["load"] = os.getloadavg()
    with suppress(AttributeError):
        found["usable_cores"] = len(os.sched_getaffinity(0))
    return found


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
            return subprocess.check_output(command, text=True, timeout=5).strip()
    return platform.processor() or platform.machine() or "unknown processor"
