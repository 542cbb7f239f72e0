"""What the numbers were measured on."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

LIBRARIES = ("numpy", "scipy", "scikit-learn", "torch", "jax", "jaxlib", "numba")


def describe() -> dict[str, object]:
    """Processor, cores, versions, the BLAS kernels NumPy chose, the revision and the load."""
    from threadpoolctl import threadpool_info

    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((l.partition(": ")[2] for l in lines if l.startswith("model name")), "")
    caches = Path("/sys/devices/system/cpu/cpu0/cache")
    sizes = {p.parent.name: p.read_text().strip() for p in sorted(caches.glob("index*/size"))}
    blas = [p for p in threadpool_info() if "numpy" in p["filepath"]]
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "caches": sizes,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: v for name in LIBRARIES if (v := _version(name))},
        "blas": [f"{p['internal_api']} {p['version']} {p.get('architecture')}" for p in blas],
        "revision": _revision(),
        "load": os.getloadavg(),
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _revision() -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"
