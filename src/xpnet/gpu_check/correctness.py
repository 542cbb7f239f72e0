"""CuPy against NumPy: training trajectories, and the rounding of products."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet
from xpnet.data.table import load_digits
from xpnet.gpu_check.report import Check, Figure, at_most, holds, unavailable

STEPS = 100
# Largest difference of an array after STEPS Adam steps, over its largest entry.
TOLERANCES = {"float64": 1e-9, "float32": 1e-3}

# Relative errors (Frobenius) of a product of normal matrices, against float64. In float32 they
# are 3e-7 to 6e-7 at n = 1024, by the order of summation. TF32 keeps 10 bits of each factor
# (NVIDIA A100 white paper): 3e-4 if these are rounded, 8e-4 if they are cut off.
FLOAT32_LIMIT = 1e-5
TF32_LIMIT = 2e-3


def correctness(quick: bool) -> Iterator[Check | Figure]:
    yield from trajectories(quick)
    yield from products(quick)
    yield tf32_net(quick)


# -- training ----------------------------------------------------------------------------
def _digits(quick: bool) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    X, y = load_digits()
    m, batch = (40, 8) if quick else (640, 64)
    X, y = X[:m].T / 16.0, y[:m]
    epochs = STEPS * batch // m
    return X, y, {"optimizer": Adam(1e-3), "epochs": epochs, "batch_size": batch, "l2": 1e-4}


def _net(quick: bool, **options: Any) -> DeepNet:
    sizes = [64, 8, 6, 10] if quick else [64, 128, 64, 10]
    return DeepNet(sizes, hidden=["relu", "tanh"], output="softmax", **options)


def trajectories(quick: bool) -> Iterator[Check]:
    """The same digits, net and order of examples on both; every array is compared."""
    X, y, options = _digits(quick)
    for dtype, tolerance in TOLERANCES.items():
        nets = [_net(quick, backend=name, dtype=dtype) for name in ("numpy", "cupy")]
        costs = [net.fit(X.astype(dtype), y, **options).cost[-1] for net in nets]
        error = _difference(*nets)
        detail = f"cost {costs[0]:.6f} NumPy, {costs[1]:.6f} CuPy"
        yield at_most(f"{STEPS} Adam steps, {dtype}", error, tolerance, detail=detail)


def _difference(one: DeepNet, other: DeepNet) -> float:
    """The largest difference of two nets, array by array, over the array's largest entry."""
    from xpnet import to_numpy

    errors = []
    for layers in zip(one.parameters, other.parameters, strict=True):
        for a, b in zip(*layers, strict=True):
            a, b = to_numpy(a), to_numpy(b)
            errors.append(float(np.max(np.abs(a - b)) / np.max(np.abs(a))))
    return float(np.max(errors))  # unlike max(), a NaN wins


def tf32_cost(quick: bool) -> float:
    """The cost that training with ``precision="tf32"`` ends at."""
    X, y, options = _digits(quick)
    net = _net(quick, backend="cupy", dtype="float32", precision="tf32")
    net.fit(X, y, **options)
    return net.cost(X, y)


def tf32_net(quick: bool) -> Check:
    name = f"{STEPS} Adam steps, TF32"
    if "precision" not in inspect.signature(DeepNet).parameters:
        return unavailable(name, "DeepNet has no parameter precision")
    X, y, options = _digits(quick)
    # In a process of its own: CuPy reads its switch once, at the first float32 product.
    script = f"from xpnet.gpu_check import correctness as c; print(c.tf32_cost({quick}))"
    cost = _in_new_process(script)
    if isinstance(cost, str):
        return holds(name, False, cost)
    exact = _net(quick, backend="numpy", dtype="float64")
    exact.fit(X.astype("float64"), y, **options)
    expected = exact.cost(X.astype("float64"), y)
    return at_most(name, abs(cost - expected) / expected, 1e-2, detail="relative error of the cost")


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


def products(quick: bool) -> Iterator[Check | Figure]:
    n = 16 if quick else 1024
    errors = product_errors(n)
    yield at_most(f"product {n} x {n}, float64", errors["float64"], 1e-14)
    # Also shows that TF32 is off unless asked for.
    detail = "CUPY_TF32 is set" if os.environ.get("CUPY_TF32", "0") != "0" else ""
    yield at_most(f"product {n} x {n}, float32", errors["float32"], FLOAT32_LIMIT, detail=detail)
    name = f"product {n} x {n}, TF32"
    script = (
        f"from xpnet.gpu_check.correctness import product_errors as e; print(e({n})['float32'])"
    )
    found = _in_new_process(script, CUPY_TF32="1")
    if isinstance(found, str):
        yield holds(name, False, found)
    elif found <= FLOAT32_LIMIT:
        yield unavailable(name, "CUPY_TF32=1 changes nothing here: TF32 needs capability 8.0")
    else:
        yield at_most(name, found, TF32_LIMIT)


def _in_new_process(script: str, **environment: str) -> float | str:
    """The number a script prints, or why there is none."""
    run = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        return (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
    return float(json.loads(run.stdout.strip().splitlines()[-1]))
