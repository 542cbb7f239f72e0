"""The environment variables under which CuPy's ROCm wheel finds the shim."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
DEFAULT_OUT = HERE / "build"


def variables(
    out: str | Path = DEFAULT_OUT,
    cache: str | Path | None = None,
    inherited: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """Return what a process needs in its environment, and no more.

    ``out`` is the folder that build.py filled. ``cache`` is where CuPy keeps compiled kernels and
    their sources; by default the variable CUPY_CACHE_DIR, else a folder in ``out``. The dynamic
    linker reads LD_LIBRARY_PATH when a process starts: set these before (run.py does).
    """
    out = Path(out).resolve()
    cache = cache or inherited.get("CUPY_CACHE_DIR") or out / "kernels"
    return {
        "XPNET_CUPY_ON_CPU": "1",
        "LD_LIBRARY_PATH": _before(out / "lib", inherited.get("LD_LIBRARY_PATH")),
        "PATH": _before(out / "bin", inherited.get("PATH")),
        "ROCM_HOME": str(out),
        "ROCM_PATH": str(out),
        "CUPY_ACCELERATORS": "",  # no CUB: its kernels are compiled for AMD
        "CUPY_CACHE_DIR": str(Path(cache).resolve()),
        "CUPY_CACHE_SAVE_CUDA_SOURCE": "1",  # for compile_kernels.py
    }


def _before(first: Path, rest: str | None) -> str:
    return f"{first}{os.pathsep}{rest}" if rest else str(first)
