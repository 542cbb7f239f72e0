"""Data that stays on the host, and memory that runs out."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet, to_numpy
from xpnet.backends.place import free_memory
from xpnet.gpu_check.report import Check, Figure, at_most, holds, unavailable


def memory(quick: bool) -> Iterator[Check | Figure]:
    yield from prefetching(quick)
    yield from running_out(quick)


# -- data on the host --------------------------------------------------------------------
def prefetching(quick: bool) -> Iterator[Check | Figure]:
    """Batches streamed from the host while steps run, against data that lies on the device.

    The overlap is the share of the shorter of copying and computing that the longer one hides:
    1 if streaming takes as long as the longer of the two alone, 0 if as long as their sum.
    """
    name = "streamed data gives the same net"
    if "prefetch" not in inspect.signature(DeepNet.fit).parameters:
        yield unavailable(name, "fit has no parameter prefetch")
        return
    m, width, batch = (64, 8, 16) if quick else (131_072, 1024, 4096)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((m, width), dtype=np.float32).T, rng.integers(0, 10, m)
    settings = {"examples": m, "width": width, "batch": batch}
    nets, seconds = {}, {}
    for prefetch in (False, True):
        nets[prefetch] = net = DeepNet(
            [width, width, width, 10], output="softmax", backend="cupy", dtype="float32"
        )
        options: dict[str, Any] = {"batch_size": batch, "prefetch": prefetch}
        net.fit(X, y, Adam(1e-4), epochs=1, **options)  # compiles
        # Long minus short: moving or pinning the data at the start cancels out.
        times = {n: _fit_seconds(net, X, y, n, options) for n in (1, 3)}
        seconds[prefetch] = max((times[3] - times[1]) / 2, 1e-9)
    copying = _copy_seconds(X)
    yield Figure("epoch, data on the device", seconds[False], "s", settings)
    yield Figure("epoch, data streamed", seconds[True], "s", settings)
    yield Figure("copying X once, pinned", copying, "s", settings)
    shorter = min(seconds[False], copying)
    overlap = (seconds[False] + copying - seconds[True]) / shorter
    yield Figure("overlap of copies and steps", overlap, "", settings)
    pairs = zip(nets[False].parameters, nets[True].parameters, strict=True)
    differences = [
        float(np.max(np.abs(to_numpy(a) - to_numpy(b))))
        for layers in pairs
        for a, b in zip(*layers, strict=True)
    ]
    yield at_most(name, float(np.max(differences)), 1e-5, detail="largest difference")


def _fit_seconds(
    net: DeepNet, X: np.ndarray, y: np.ndarray, epochs: int, options: dict[str, Any]
) -> float:
    start = time.perf_counter()
    net.fit(X, y, Adam(1e-4), epochs=epochs, **options)  # waits: it returns costs
    return time.perf_counter() - start


def _copy_seconds(X: np.ndarray) -> float:
    """Seconds of X's way to the device from pinned memory, by events."""
    import cupy
    import cupyx

    rows = np.ascontiguousarray(X.T[: max(1, len(X.T) // 8)])
    pinned = cupyx.empty_pinned(rows.shape, rows.dtype)
    pinned[...] = rows
    target = cupy.empty(rows.shape, rows.dtype)
    stream = cupy.cuda.get_current_stream()
    times = []
    for _ in range(3):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record(stream)
        target.set(pinned, stream=stream)
        end.record(stream)
        end.synchronize()
        times.append(float(cupy.cuda.get_elapsed_time(start, end)) * 1e-3)
    return max(min(times) * X.nbytes / rows.nbytes, 1e-9)


# -- running out -------------------------------------------------------------------------
@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Lets CuPy's pool grow by no more than ``size`` bytes."""
    import cupy

    free_memory()
    pool = cupy.get_default_memory_pool()
    before = pool.get_limit()
    pool.set_limit(size=pool.used_bytes() + size)
    try:
        yield
    finally:
        pool.set_limit(size=before)


def running_out(quick: bool) -> Iterator[Check]:
    """Evaluation goes on in parts; a step that cannot fit is refused and leaves the net alone."""
    import cupy

    width, m = (256, 512) if quick else (4096, 65_536)
    one_layer = 4 * width * m  # bytes of one hidden layer's values
    rng = np.random.default_rng(0)
    X = cupy.asarray(rng.standard_normal((4, m), dtype=np.float32))
    y = cupy.asarray(rng.integers(0, 3, m))
    net = DeepNet([4, width, 3], output="softmax", backend="cupy", dtype="float32")
    expected = to_numpy(net.predict_proba(X))
    labels = to_numpy(net.predict(X))
    with room_for(one_layer * 3 // 4):
        found = to_numpy(net.predict_proba(X))
        same = bool(np.array_equal(to_numpy(net.predict(X)), labels))
    error = float(np.max(np.abs(found - expected)))
    detail = f"room for 3/4 of a hidden layer of {one_layer:,} bytes"
    yield at_most("out of memory: predict_proba goes on in parts", error, 1e-5, detail=detail)
    yield holds("out of memory: predict goes on in parts", same, detail)

    before = [to_numpy(x) for layer in net.parameters for x in layer]
    message = ""
    with room_for(one_layer * 3 // 4):
        try:
            net.fit(X, y, Adam(1e-3), epochs=1)
        except MemoryError as error:
            message = " ".join(str(error).split())
    yield holds("out of memory: a step that cannot fit is refused", bool(message), message[:300])
    after = [to_numpy(x) for layer in net.parameters for x in layer]
    kept = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    yield holds("out of memory: the net keeps its parameters", kept)
    net.fit(X, y, Adam(1e-3), epochs=1)
    yield holds("out of memory: the net trains on with room", np.isfinite(net.cost(X, y)))
    del X, y, net
    yield holds("free_memory returns the pool", free_memory() > 0 or _pool_is_empty())


def _pool_is_empty() -> bool:
    import cupy

    pool = cupy.get_default_memory_pool()
    return bool(pool.total_bytes() == pool.used_bytes())
