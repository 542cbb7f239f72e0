"""Checks CuPy's results against NumPy's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet, load_digits, to_numpy
from xpnet.bench.gpu_report import NOT_AVAILABLE, Check, at_most, holds

STEPS = 100
# Largest difference of an array after STEPS Adam steps, over its largest entry.
TOLERANCES = {"float64": 1e-9, "float32": 1e-3}

# Relative errors (Frobenius) of a product of normal matrices, against float64. In float32 they
# are 3e-7 to 6e-7 at n = 1024, by the order of summation. TF32 keeps 10 bits of each factor
# (NVIDIA A100 white paper): 3e-4 if these are rounded, 8e-4 if they are cut off.
FLOAT32_LIMIT = 1e-5
TF32_LIMIT = 2e-3


# -- training ----------------------------------------------------------------------------
def train(rehearse: bool, dtype: str, **options: Any) -> tuple[DeepNet, float]:
    """A net after STEPS Adam steps on digits, always in the same order, and its cost."""
    X, y = load_digits()
    m, batch = (40, 8) if rehearse else (640, 64)
    X, y = (X[:m].T / 16.0).astype(dtype), y[:m]
    sizes = [64, 8, 6, 10] if rehearse else [64, 128, 64, 10]
    net = DeepNet(sizes, hidden=["relu", "tanh"], output="softmax", dtype=dtype, **options)
    net.fit(X, y, Adam(1e-3), epochs=STEPS * batch // m, batch_size=batch, l2=1e-4)
    return net, net.cost(X, y)


def trajectories(rehearse: bool) -> Iterator[Check]:
    """The same digits, net and order of examples on both; every array is compared."""
    for dtype, tolerance in TOLERANCES.items():
        ours, expected = train(rehearse, dtype, backend="numpy")
        theirs, cost = train(rehearse, dtype, backend="cupy")
        errors = [np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in paired(ours, theirs)]
        detail = f"cost {expected:.6f} NumPy, {cost:.6f} CuPy"
        # unlike max(), a NaN wins
        yield at_most(f"{STEPS} Adam steps, {dtype}", float(np.max(errors)), tolerance, detail)


def paired(one: DeepNet, other: DeepNet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each array of parameters of two nets, on the host."""
    layers = zip(one.parameters, other.parameters, strict=True)
    return [(to_numpy(a), to_numpy(b)) for pair in layers for a, b in zip(*pair, strict=True)]


def tf32_net(rehearse: bool) -> Iterator[Check]:
    """Training with ``precision="tf32"`` reaches the cost of training in float64."""
    name = f"{STEPS} Adam steps, TF32"
    options = '"float32", backend="cupy", precision="tf32"'
    # In a process of its own: CuPy reads its switch once, at the first float32 product.
    cost = _in_new_process(f"from {__name__} import train; print(train({rehearse}, {options})[1])")
    if isinstance(cost, str):
        yield holds(name, False, cost)
        return
    _, expected = train(rehearse, "float64", backend="numpy")
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


def products(rehearse: bool) -> Iterator[Check]:
    """Products round as their dtype says, with TF32 only where it was asked for."""
    n = 16 if rehearse else 1024
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
