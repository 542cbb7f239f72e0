"""Checks and times data that stays on the host, and memory that runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np

from xpnet import Adam, DeepNet, to_numpy
from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import free_memory
from xpnet.bench.gpu_checks import paired
from xpnet.bench.gpu_report import Check, Figure, at_most, holds
from xpnet.bench.timing import Timed


# -- data on the host --------------------------------------------------------------------
def prefetching(rehearse: bool) -> Iterator[Check | Figure]:
    """Minibatches copied from the host while steps run, against data that lies on the device.

    The overlap is the share of the shorter of copying and computing that the longer one hides:
    1 if streaming takes as long as the longer of the two alone, 0 if as long as their sum.
    """
    m, width, batch = (64, 8, 16) if rehearse else (131_072, 1024, 4096)
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((m, width), dtype=np.float32).T, rng.integers(0, 10, m)
    settings = {"examples": m, "width": width, "batch": batch}
    nets, seconds = [], []
    for prefetch in (False, True):
        net = DeepNet([width, width, width, 10], output="softmax", backend="cupy", dtype="float32")

        def fit(epochs: int, net: DeepNet = net, prefetch: bool = prefetch) -> None:
            net.fit(X, y, Adam(1e-4), epochs=epochs, batch_size=batch, prefetch=prefetch)

        # Long minus short: moving or pinning the data at the start cancels out. One compiles.
        fits = [Timed(partial(fit, epochs)).seconds() for epochs in (1, 1, 3)]
        nets.append(net)
        seconds.append(max((fits[2] - fits[1]) / 2, 1e-9))
    on_device, streamed = seconds
    copying = _copy_seconds(X)
    overlap = (on_device + copying - streamed) / min(on_device, copying)
    yield Figure("epoch, data on the device", on_device, "s", settings)
    yield Figure("epoch, data streamed", streamed, "s", settings)
    yield Figure("copying X once, pinned", copying, "s", settings)
    yield Figure("overlap of copies and steps", overlap, "", settings)
    difference = float(np.max([np.max(np.abs(a - b)) for a, b in paired(*nets)]))
    yield at_most("streamed data gives the same net", difference, 1e-5, "largest difference")


def _copy_seconds(X: np.ndarray) -> float:
    """Seconds that X takes to the device from pinned memory."""
    import cupy
    import cupyx

    rows = np.ascontiguousarray(X.T[: max(1, len(X.T) // 8)])
    pinned = cupyx.empty_pinned(rows.shape, rows.dtype)
    pinned[...] = rows
    target = cupy.empty(rows.shape, rows.dtype)
    stream = cupy.cuda.get_current_stream()
    copy = Timed(lambda: target.set(pinned, stream=stream), LIBRARIES["cupy"].wait)
    return max(min(copy.seconds() for _ in range(3)) * X.nbytes / rows.nbytes, 1e-9)


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


def running_out(rehearse: bool) -> Iterator[Check]:
    """Evaluation goes on in parts; a step that cannot fit is refused and leaves the net alone."""
    import cupy

    width, m = (256, 512) if rehearse else (4096, 65_536)
    one_layer = 4 * width * m  # bytes of one hidden layer's values
    rng = np.random.default_rng(0)
    X = cupy.asarray(rng.standard_normal((4, m), dtype=np.float32))
    y = cupy.asarray(rng.integers(0, 3, m))
    net = DeepNet([4, width, 3], output="softmax", backend="cupy", dtype="float32")
    expected, labels = to_numpy(net.predict_proba(X)), to_numpy(net.predict(X))
    with room_for(one_layer * 3 // 4):
        error = float(np.max(np.abs(to_numpy(net.predict_proba(X)) - expected)))
        same = bool(np.array_equal(to_numpy(net.predict(X)), labels))
    detail = f"room for 3/4 of a hidden layer of {one_layer:,} bytes"
    yield at_most("out of memory: predict_proba goes on in parts", error, 1e-5, detail)
    yield holds("out of memory: predict goes on in parts", same, detail)

    before, message = paired(net, net), ""
    with room_for(one_layer * 3 // 4):
        try:
            net.fit(X, y, Adam(1e-3), batch_size=None, epochs=1)
        except MemoryError as error:
            message = " ".join(str(error).split())
    yield holds("out of memory: a step that cannot fit is refused", bool(message), message[:300])
    pairs = zip(before, paired(net, net), strict=True)
    kept = all(np.array_equal(old, new) for (old, _), (new, _) in pairs)
    yield holds("out of memory: the net keeps its parameters", kept)
    net.fit(X, y, Adam(1e-3), batch_size=None, epochs=1)
    yield holds("out of memory: the net trains on with room", np.isfinite(net.cost(X, y)))
    del X, y, net
    pool = cupy.get_default_memory_pool()
    freed = free_memory() > 0 or pool.total_bytes() == pool.used_bytes()
    yield holds("free_memory returns the pool", freed)
