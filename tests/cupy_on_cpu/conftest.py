"""Tests of the shim in tools/cupy_on_cpu. They run only where CuPy runs on it:

python tools/cupy_on_cpu/run.py -- python -m pytest tests/cupy_on_cpu
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"


@pytest.fixture(scope="session")
def cp():
    """CuPy on the shim, or a skip that says why not."""
    if os.environ.get("XPNET_CUPY_ON_CPU") != "1":
        pytest.skip("CuPy is not on the shim: start with tools/cupy_on_cpu/run.py")
    import cupy

    return cupy


@pytest.fixture
def run_script(cp):
    """Run Python code in a process of its own, for modes: run_script(code, FAKEHIP_LAZY=1)."""

    def run(code: str, *arguments: str, **modes: object) -> subprocess.CompletedProcess[str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("FAKEHIP_")
        }
        environment |= {name: str(value) for name, value in modes.items()}
        environment["PYTHONPATH"] = os.pathsep.join(
            filter(None, [str(TOOLS), environment.get("PYTHONPATH")])
        )
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    return run
