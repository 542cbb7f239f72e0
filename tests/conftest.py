"""The fixture `lib` (one array library and device per test), options, and the last line's counts.

A test that asks for `lib` runs once for every array library. A library that is not installed is
skipped by its name. `--backends numpy,torch` runs on these only; then a missing one is an error.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from helpers import LIBRARIES

import xpnet

# Compiling takes JAX most of its time here, and no test asks how well it did.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")
# A shell that starts the tests in the background has them ignore Ctrl-C, which some tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Lib:
    """An array library under test, and the few things a test needs to know of it."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.name, _, device = label.partition(":")
        self.device = device or None
        self.options = {"backend": self.name, "device": self.device}
        start = getattr(self, "_start_" + self.name, lambda: importlib.import_module(self.name))
        self.xp = start()
        self.kind = type(self.asarray(np.zeros(1)))
        # The stand-in that runs CuPy on a CPU has products of matrices, and no decompositions.
        self.decomposes = self.name != "cupy" or not os.environ.get("XPNET_CUPY_ON_CPU")

    def __repr__(self) -> str:
        return f"Lib({self.label!r})"

    def _start_array_api_strict(self):
        import array_api_strict as strict

        strict.set_array_api_strict_flags(
            api_version="2024.12", boolean_indexing=False, data_dependent_shapes=False
        )
        return strict

    def _start_jax(self):
        import jax

        jax.config.update("jax_enable_x64", True)
        return jax.numpy

    def _start_dpnp(self):
        import dpnp

        import xpnet

        with xpnet.select("dpnp").context():  # see _without_onemkl_vm in libraries.py
            return dpnp

    def asarray(self, host):
        """A fresh array of this library on this device, of the host array's dtype."""
        host = np.array(host)  # a copy: no library may alias what the test keeps
        if self.name == "numpy":
            return host
        if self.name == "torch":
            return self.xp.tensor(host)
        if self.name == "array_api_strict":
            device = self.xp.Device(self.device) if self.device else None
            return self.xp.asarray(host, device=device)
        return self.xp.asarray(host)

    def to_numpy(self, x) -> np.ndarray:
        """A copy on the host, of the same dtype."""
        if self.name == "torch":
            return np.array(x.detach().cpu().numpy())
        if self.name == "dpnp" or self.name == "cupy":
            return np.array(self.xp.asnumpy(x))
        if self.name == "array_api_strict":
            return np.array(x.to_device(self.xp.Device("CPU_DEVICE")))
        return np.array(x)

    def pairs(self, parameters):
        """[(W, b), ...] of NumPy arrays as this library's."""
        return [(self.asarray(W), self.asarray(b)) for W, b in parameters]

    def host(self, parameters):
        """[(W, b), ...] of this library as NumPy's."""
        return [(self.to_numpy(W), self.to_numpy(b)) for W, b in parameters]

    def dtype_of(self, x) -> str:
        """ "float32" for every library's float32."""
        return str(x.dtype).rpartition(".")[2]

    def owns(self, x) -> bool:
        """Whether x is an array of this library, on this fixture's device."""
        if not isinstance(x, self.kind):
            return False
        return self.name != "array_api_strict" or x.device == self.asarray(np.zeros(1)).device


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("xpnet")
    group.addoption("--backends", help=f"run `lib` tests on these only, of: {', '.join(LIBRARIES)}")
    group.addoption("--long", action="store_true", help="run the tests marked `long` too")


def pytest_configure(config: pytest.Config) -> None:
    wanted = _wanted(config)
    unknown = sorted(wanted - set(LIBRARIES))
    if unknown:
        raise pytest.UsageError(f"--backends: no library {unknown}; choose of {LIBRARIES}")
    config.stash[_LIBS] = {}
    config.stash[_RAN] = ran = _Ran()
    config.pluginmanager.register(ran)


def _wanted(config: pytest.Config) -> set[str]:
    """The labels asked for; "array_api_strict" stands for both of its devices."""
    text = config.getoption("--backends")
    if not text:
        return set()
    names = {name.strip() for name in text.split(",") if name.strip()}
    if "array_api_strict" in names:
        names.add("array_api_strict:device1")
    return names


class _Ran:
    """Counts the tests that ran, per library, in the process that reports them."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and not report.skipped:
            self.counts[dict(report.user_properties).get("lib", "no library")] += 1


_LIBS = pytest.StashKey[dict]()
_RAN = pytest.StashKey[_Ran]()


def _label(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("lib") if callspec else None


# Nothing in these depends on the engine, and dpnp runs the generic one, as array-api-strict does.
MANY_STEPS = {"test_loop", "test_callbacks", "test_early_stopping", "test_checkpoint", "test_bench"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    wanted = _wanted(config)
    if wanted:
        dropped = [item for item in items if _label(item) not in wanted | {None}]
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if _label(item) in wanted | {None}]
    for item in items:
        if "long" in item.keywords and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="long: runs with --long"))
        if (
            _label(item) == "dpnp"
            and item.path.stem in MANY_STEPS
            and not config.getoption("--long")
        ):
            reason = "dpnp takes minutes for thousands of small updates: runs with --long"
            item.add_marker(pytest.mark.skip(reason=reason))
        if "gpu" in item.keywords and not _has_gpu():
            item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device"))


def _has_gpu() -> bool:
    try:
        cuda = importlib.import_module("cupy").cuda
    except ImportError:
        return False
    return cuda.is_available() and not cuda.runtime.is_hip


@pytest.fixture(params=LIBRARIES)
def lib(request: pytest.FixtureRequest) -> Lib:
    """An array library and device: `lib.asarray`, `lib.to_numpy`, `lib.options`, `lib.xp`."""
    label, started = request.param, request.config.stash[_LIBS]
    if label not in started:
        try:
            started[label] = Lib(label)
        except ImportError:
            started[label] = "is not installed"
        except Exception as error:  # dpnp and CuPy import without a device, and then fail
            started[label] = f"has no usable device: {error}"
    found = started[label]
    if isinstance(found, str):
        name = label.partition(":")[0]
        if label in _wanted(request.config):
            pytest.fail(f"--backends asks for {name}, but {name} {found}")
        pytest.skip(f"{name} {found}")
    return found


@pytest.fixture
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fits on NumPy arrays are recorded, not compiled: the loop can then go back."""
    on = request.getfixturevalue("lib").name if "lib" in request.fixturenames else "numpy"
    with xpnet.engines.use("numpy") if on == "numpy" else nullcontext():
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    # A property of the report: with -n the test runs in another process than the count.
    item.user_properties.append(("lib", _label(item) or "no library"))


def pytest_terminal_summary(terminalreporter, config: pytest.Config) -> None:
    ran = config.stash[_RAN].counts
    labels = [label for label in (*LIBRARIES, "no library") if ran[label]]
    if labels:
        counts = ", ".join(f"{label} {ran[label]}" for label in labels)
        terminalreporter.write_line(f"backends: {counts}")
    path = os.environ.get("XPNET_TEST_REPORT")
    if path:
        stats = terminalreporter.stats
        report = {
            "passed": len(stats.get("passed", [])),
            "failed": len(stats.get("failed", [])) + len(stats.get("error", [])),
            "skipped": len(stats.get("skipped", [])),
            "backends": {label: ran[label] for label in labels},
        }
        Path(path).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
