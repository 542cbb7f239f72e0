"""What all benchmarks share: the libraries, the sizes, and a clock that waits for the device.

Select with ``-k``: ``nox -s bench -- -k "torch and affine"``. With ``--benchmark-disable``, the
smoke pass of the tests, sizes are tiny and nothing is timed.

This file and ``test_speed_*.py`` use public names of xpnet only, since ``nox -s compare`` runs them
on older revisions: they cannot take their clock from ``xpnet.bench.timing``.
"""

import importlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

import xpnet
from xpnet import Backend, select

# array-api-strict is left out: it checks other people's code and is slow on purpose.
LIBRARIES = ("numpy", "torch", "jax", "dpnp", "cupy")
UNITS = (16, 64, 256, 1024, 4096)
PEAK = 1024  # side of the square product that a library's best rate is measured with
DTYPE = "float32"  # what accelerators are built for, and JAX's default

# A call is repeated for a fifth of a second, after as long a warm-up: kernels are compiled,
# caches filled and memory pools grown before the clock starts.
REPEATED = pytest.mark.benchmark(warmup=True, max_time=0.2, min_rounds=5)


def _wait_torch(x: Any) -> None:
    if x.is_cuda:
        importlib.import_module("torch").cuda.synchronize(x.device)


# NumPy returns when it is done. The others may return while the device still computes.
SYNCHRONIZE: dict[str, Callable[[Any], None]] = {
    "numpy": lambda x: None,
    "torch": _wait_torch,
    "jax": lambda x: x.block_until_ready(),
    "dpnp": lambda x: x.sycl_queue.wait(),
    "cupy": lambda x: importlib.import_module("cupy").cuda.get_current_stream().synchronize(),
}


def synchronize(place: Backend, result: Any) -> None:
    """Return once every array in ``result`` (an array, or sequences of them) is computed."""
    if isinstance(result, (list, tuple)):
        for item in result:
            synchronize(place, item)
    else:
        SYNCHRONIZE[place.name](result)


@lru_cache
def peak(place: Backend) -> float:
    """Floating-point operations a second of this library's own large matrix product."""
    A = place.asarray(np.ones((PEAK, PEAK)), dtype=place.dtype)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        synchronize(place, A @ A)
        seconds.append(time.perf_counter() - start)
    return 2 * PEAK**3 / min(seconds[1:])


def surroundings() -> dict[str, Any]:
    """Threads asked for, and the cores this process may use."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    threads = {k: v for k, v in os.environ.items() if k.endswith("_NUM_THREADS")}
    return {"cores": sorted(cores), "pinned": len(cores) < (os.cpu_count() or 1), **threads}


@dataclass
class Stopwatch:
    """pytest-benchmark's clock, stopped only when the device is done."""

    benchmark: Any
    place: Backend

    def __call__(
        self,
        function: Callable[..., Any],
        *arrays: Any,
        flops: float,
        moved: float | None = None,
        rounds: int | None = None,
    ) -> Any:
        """Time ``function(*arrays)`` and store what the number means beside it.

        ``flops`` counts the floating-point operations of one call, an ``exp`` or a ``tanh``
        as one; ``moved`` the bytes it must read and write, those of its arrays if not told. A
        long call says how many ``rounds`` are enough.
        """
        cpu: list[float] = []

        def run() -> Any:
            start = time.process_time()
            result = function(*arrays)
            synchronize(self.place, result)
            cpu.append(time.process_time() - start)
            return result

        self.benchmark.extra_info.update(
            backend=self.place.name,
            version=importlib.import_module(self.place.name).__version__,
            device=self.place.device_name,
            dtype=DTYPE,
            flops=flops,
            bytes=sum(x.nbytes for x in arrays) if moved is None else moved,
            **surroundings(),
        )
        with self.place.context():
            if rounds is None:
                result = self.benchmark(run)
            else:
                result = self.benchmark.pedantic(run, rounds=rounds, warmup_rounds=1)
            if self.benchmark.enabled:
                rate = flops / self.benchmark.stats.stats.median
                share = rate / peak(self.place) if flops else None
                self.benchmark.extra_info.update(cpu_seconds=float(np.median(cpu)), of_peak=share)
        return result


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "stopwatch" in getattr(item, "fixturenames", ()):
            item.add_marker(REPEATED)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "units" in metafunc.fixturenames:
        smoke = metafunc.config.getoption("benchmark_disable")
        metafunc.parametrize("units", (4,) if smoke else UNITS)


@pytest.fixture
def smoke(request: pytest.FixtureRequest) -> bool:
    """Whether this is only a pass to see that the benchmarks still run."""
    return request.config.getoption("benchmark_disable")


@pytest.fixture
def examples(smoke: bool) -> int:
    """m, the number of columns."""
    return 8 if smoke else 1024


@pytest.fixture(params=LIBRARIES)
def place(request: pytest.FixtureRequest) -> Backend:
    try:
        return select(request.param, dtype=DTYPE)
    except xpnet.BackendUnavailable as error:
        pytest.skip(f"{request.param}: {error}")


@pytest.fixture
def stopwatch(place: Backend, benchmark: Any) -> Stopwatch:
    return Stopwatch(benchmark, place)


@pytest.fixture
def normal(place: Backend) -> Callable[..., Any]:
    """``normal(n, m)``: standard normal numbers, drawn on the host, on the benchmark's device."""
    generator = np.random.default_rng(0)
    return lambda *shape: place.asarray(generator.standard_normal(shape), dtype=place.dtype)
