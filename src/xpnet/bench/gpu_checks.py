"""Checks CuPy against NumPy, data that stays on the host, and memory that runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet, load_digits, to_numpy
from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import free_memory
from xpnet.bench.gpu_report import NOT_AVAILABLE, Check, Figure, at_most, holds
from xpnet.bench.timing import Timed

STEPS = 100
# Largest difference of an array after STEPS Adam steps, over its largest entry.
TOLERANCES = {"float64": 1e-9, "float32": 1e-3}

# Relative errors (Frobenius) of a product of normal matrices, against float64. In float32 they
# are 3e-7 to 6e-7 at n = 1024, by the order of summation. TF32 keeps 10 bits of each factor
# (NVIDIA A100 white paper): 3e-4 if these are rounded, 8e-4 if they are cut off.
FLOAT32_LIMIT = 1e-5
TF32_LIMIT = 2e-3


# -- training ----------------------------------------------------------------------------
def train(quick: bool, dtype: str, **options: Any) -> tuple[DeepNet, float]:
    """A net after STEPS Adam steps on digits, always in the same order, and its cost."""
    X, y = load_digits()
    m, batch = (40, 8) if quick else (640, 64)
    X, y = (X[:m].T / 16.0).astype(dtype), y[:m]
    sizes = [64, 8, 6, 10] if quick else [64, 128, 64, 10]
    net = DeepNet(sizes, hidden=["relu", "tanh"], output="softmax", dtype=dtype, **options)
    net.fit(X, y, Adam(1e-3), epochs=STEPS * batch // m, batch_size=batch, l2=1e-4)
    return net, net.cost(X, y)


def trajectories(quick: bool) -> Iterator[Check]:
    """The same digits, net and order of examples on both; every array is compared."""
    for dtype, tolerance in TOLERANCES.items():
        ours, expected = train(quick, dtype, backend="numpy")
        theirs, cost = train(quick, dtype, backend="cupy")
        errors = [np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in paired(ours, theirs)]
        detail = f"cost {expected:.6f} NumPy, {cost:.6f} CuPy"
        # unlike max(), a NaN wins
        yield at_most(f"{STEPS} Adam steps, {dtype}", float(np.max(errors)), tolerance, detail)


def paired(one: DeepNet, other: DeepNet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each array of parameters of two nets, on the host."""
    layers = zip(one.parameters, other.parameters, strict=True)
    return [(to_numpy(a), to_numpy(b)) for pair in layers for a, b in zip(*pair, strict=True)]


def tf32_net(quick: bool) -> Iterator[Check]:
    """Training with ``precision="tf32"`` reaches the cost of training in float64."""
    name = f"{STEPS} Adam steps, TF32"
    options = '"float32", backend="cupy", precision="tf32"'
    # In a process of its own: CuPy reads its switch once, at the first float32 product.
    cost = _in_new_process(f"from {__name__} import train; print(train({quick}, {options})[1])")
    if isinstance(cost, str):
        yield holds(name, False, cost)
        return
    _, expected = train(quick, "float64", backend="numpy")
    yield at_most(name, abs(cost - expected) / expected, 1e-2, "relative error of the cost")


# -- products ----------------------------------------------------------------------------
def product_errors(n: int) -> dict[str, float]:
    """Relative errors (Frobenius) of an n x n product on the device."""
    import cupy

    rng = np.random.default_rng(0)
    A, B = (cupy.asarray(rng.standard_normal((n, n))) for _ in range(2))
    exact = A @ B
    errors = {"float64": exact.get() - A.get() @ B.get()}
    errors["float32"] = (A.astype(np.float32) @ B.astype(np.float32)).get() - exact.get()
    scale = np.linalg.norm(exact.get())
    return {name: float(np.linalg.norm(error) / scale) for name, error in errors.items()}


def products(quick: bool) -> Iterator[Check]:
    """Products round as their dtype says, with TF32 only where it was asked for."""
    n = 16 if quick else 1024
    errors = product_errors(n)
    yield at_most(f"product {n} x {n}, float64", errors["float64"], 1e-14)
    detail = "CUPY_TF32 is set" if os.environ.get("CUPY_TF32", "0") != "0" else ""
    yield at_most(f"product {n} x {n}, float32", errors["float32"], FLOAT32_LIMIT, detail)
    name = f"product {n} x {n}, TF32"
    script = f"from {__name__} import product_errors; print(product_errors({n})['float32'])"
    found = _in_new_process(script, CUPY_TF32="1")
    if isinstance(found, str):
        yield holds(name, False, found)
    elif found <= FLOAT32_LIMIT:
        why = "CUPY_TF32=1 changes nothing here: TF32 needs capability 8.0"
        yield Check(name, NOT_AVAILABLE, detail=why)
    else:
        yield at_most(name, found, TF32_LIMIT)


def _in_new_process(script: str, **environment: str) -> float | str:
    """The number a script prints, or why there is none."""
    command, env = [sys.executable, "-c", script], os.environ | environment
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if run.returncode:
        return (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
    return float(json.loads(run.stdout.strip().splitlines()[-1]))


# -- data on the host --------------------------------------------------------------------
def prefetching(quick: bool) -> Iterator[Check | Figure]:
    """Minibatches copied from the host while steps run, against data that lies on the device.

    The overlap is the share of the shorter of copying and computing that the longer one hides:
    1 if streaming takes as long as the longer of the two alone, 0 if as long as their sum.
    """
    m, width, batch = (64, 8, 16) if quick else (131_072, 1024, 4096)
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


def running_out(quick: bool) -> Iterator[Check]:
    """Evaluation goes on in parts; a step that cannot fit is refused and leaves the net alone."""
    import cupy

    width, m = (256, 512) if quick else (4096, 65_536)
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
