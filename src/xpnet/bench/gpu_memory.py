"""Times data on its way from the host, and what memory a net takes."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet
from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import free_memory
from xpnet.bench.gpu_checks import train
from xpnet.bench.gpu_report import Figure
from xpnet.bench.gpu_timing import Task
from xpnet.bench.timing import Timed
from xpnet.net.inputs import Inputs


# -- data on the host --------------------------------------------------------------------
def prefetching(rehearse: bool) -> Iterator[Figure]:
    """Minibatches copied from the host while steps run, against data that lies on the device."""
    m, width, batch = (64, 8, 16) if rehearse else (131_072, 1024, 4096)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((m, width), dtype=np.float32).T, rng.integers(0, 10, m)
    for prefetch in (False, True):
        net = DeepNet([width, width, width, 10], output="softmax", backend="cupy", dtype="float32")
        fit = partial(net.fit, X, y, Adam(1e-4), batch_size=batch, prefetch=prefetch)
        # Long minus short: moving or pinning the data at the start cancels out. One compiles.
        fits = [Timed(partial(fit, epochs=epochs)).seconds() for epochs in (1, 1, 3)]
        name = "epoch, data streamed" if prefetch else "epoch, data on the device"
        settings = {"data, GB": X.nbytes * 1e-9, "width": width, "batch": batch}
        yield Figure(name, max((fits[2] - fits[1]) / 2, 1e-9), "s", settings)


def uploading(rehearse: bool) -> Iterator[Figure]:
    """Moving a large X whose examples are columns: its rate, and memory of the host."""
    import cupy

    m, width = (512, 64) if rehearse else (1_000_000, 1000)
    net = DeepNet([width, 8, 3], output="softmax", backend="cupy", dtype="float32")
    X, y, pinned = np.ones((width, m), np.float32), np.zeros(m, int), list[int]()
    pool = cupy.get_default_pinned_memory_pool()

    def malloc(size: int) -> Any:
        pinned.append(size)
        return pool.malloc(size)

    cupy.cuda.set_pinned_memory_allocator(malloc)
    inputs, before = Inputs(net.placement, net.objective), host_peak()
    move = Timed(lambda: inputs.examples(X, y), LIBRARIES["cupy"].wait)
    first, again = move.seconds(), move.seconds()
    cupy.cuda.set_pinned_memory_allocator(pool.malloc)
    settings = {"data, GB": X.nbytes * 1e-9, "dtype": "float32"}
    yield Figure("upload, first", X.nbytes * 1e-9 / first, "GB/s", settings)
    yield Figure("upload, again", X.nbytes * 1e-9 / again, "GB/s", settings)
    yield Figure("host's peak beyond the data", (host_peak() - before) * 1e-6, "MB", settings)
    yield Figure("pinned, asked for", sum(pinned) * 1e-6, "MB", settings)


def host_peak() -> int:
    """Bytes of host memory that this process has held at most."""
    resource = importlib.import_module("resource")  # not on Windows
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def first_fit(rehearse: bool) -> Iterator[Figure]:
    """Seconds of a small fit in a new process, imports included: without kernels, then with."""
    script = "from time import perf_counter; t = perf_counter(); "
    script += f"from {train.__module__} import train; train(True, 'float32', backend='cupy'); "
    with TemporaryDirectory() as empty:
        cache = {} if rehearse else {"CUPY_CACHE_DIR": empty}
        for name in ("first fit, no kernel cached", "first fit, kernels cached"):
            command = [sys.executable, "-c", script + "print(perf_counter() - t)"]
            run = subprocess.run(
                command, env=os.environ | cache, capture_output=True, text=True, check=False
            )
            why = "".join(run.stderr.strip().splitlines()[-1:]) if run.returncode else ""
            yield Figure(name, None if run.returncode else float(run.stdout), "s", detail=why)


def phases(rehearse: bool) -> Iterator[Figure]:
    """What CuPy's pool holds after each phase of a net's life, and the device in all."""
    import cupy

    task = Task((8, 8, 3), 8) if rehearse else Task((784, 1024, 1024, 10), 256)
    m = 64 if rehearse else 60_000
    X, y = np.ones((task.sizes[0], m), np.float32), np.arange(m) % task.sizes[-1]
    net = DeepNet(task.sizes, output="softmax", backend="cupy", dtype="float32")
    calls: dict[str, Callable[[], Any]] = {
        "minibatches": lambda: net.fit(X, y, epochs=1, batch_size=task.batch),
        "prefetched": lambda: net.fit(X, y, epochs=1, batch_size=task.batch, prefetch=True),
        "full batch": lambda: net.fit(X, y, epochs=1, batch_size=None),
        "cost": lambda: net.cost(X, y),
        "predict": lambda: net.predict(X),
    }
    for name, call in calls.items():
        free_memory()
        call()
        settings = task.settings | {"examples": m, "phase": name}
        yield Figure("pool", cupy.get_default_memory_pool().total_bytes() * 1e-6, "MB", settings)
        free, total = cupy.cuda.Device().mem_info
        yield Figure("device", (total - free) * 1e-6, "MB", settings)
