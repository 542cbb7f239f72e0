"""Checks CuPy's results against NumPy's."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet, load_digits, to_numpy
from xpnet.bench.gpu_report import FAILED, NOT_AVAILABLE, PASSED, Check, Skipped, at_most, holds

STEPS = 100
# Largest difference of an array after STEPS Adam steps, over its largest entry.
TOLERANCES = {"float64": 1e-9, "float32": 1e-3}
PRECISIONS = ("tf32", "bf16")  # besides "exact"


# -- training ----------------------------------------------------------------------------
def train(rehearse: bool, dtype: str, **options: Any) -> tuple[DeepNet, float]:
    """A net after STEPS Adam steps on digits (rehearsed, an epoch), and its cost."""
    X, y = load_digits()
    m, batch = (40, 8) if rehearse else (640, 64)
    X, y = (X[:m].T / 16.0).astype(dtype), y[:m]
    sizes = [64, 8, 6, 10] if rehearse else [64, 128, 64, 10]
    net = DeepNet(sizes, hidden=["relu", "tanh"], output="softmax", dtype=dtype, **options)
    net.fit(
        X, y, Adam(1e-3), epochs=1 if rehearse else STEPS * batch // m, batch_size=batch, l2=1e-4
    )
    return net, net.cost(X, y)


def trajectories(rehearse: bool) -> Iterator[Check]:
    """The same digits, net and order of examples on both; every array is compared."""
    for dtype, tolerance in TOLERANCES.items():
        ours, expected = train(rehearse, dtype, backend="numpy")
        theirs, cost = train(rehearse, dtype, backend="cupy")
        errors = [np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in paired(ours, theirs)]
        detail = f"cost {expected:.6f} NumPy, {cost:.6f} CuPy"
        # unlike max(), a NaN wins
        yield at_most(f"trajectory of Adam, {dtype}", float(np.max(errors)), tolerance, detail)


def paired(one: DeepNet, other: DeepNet) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each array of parameters of two nets, on the host."""
    layers = zip(one.parameters, other.parameters, strict=True)
    return [(to_numpy(a), to_numpy(b)) for pair in layers for a, b in zip(*pair, strict=True)]


def roundings(rehearse: bool) -> Iterator[Check]:
    """Training with rounded factors reaches the cost of training in float64."""
    _, expected = train(rehearse, "float64", backend="numpy")
    for precision in PRECISIONS:
        _, cost = train(rehearse, "float32", backend="cupy", precision=precision)
        name, error = f"trajectory of Adam, {precision}", abs(cost - expected) / expected
        yield at_most(name, error, 1e-2, "relative error of the cost")


def many_rows(rehearse: bool) -> Iterator[Check]:
    """Cost and gradient of tall data at once, in float64, against NumPy's."""
    m = 1000 if rehearse else 1_000_000
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((28, m)), rng.integers(0, 2, (1, m))
    found = []
    for backend in ("numpy", "cupy"):
        net = DeepNet([28, 256, 1], backend=backend, dtype="float64")
        found.append(
            [net.cost(X, y), *(to_numpy(g) for layer in net.gradients(X, y) for g in layer)]
        )
    errors = [np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in zip(*found, strict=True)]
    yield at_most(f"cost and gradient of {m:,} rows, float64", float(np.max(errors)), 1e-9)


def capture(rehearse: bool) -> Iterator[Check]:
    """A product by xpnet's own call of cuBLAS, captured in a graph, against the same call."""
    import cupy

    cublas = importlib.import_module("xpnet.engines.cupy.cublas")
    if (products := cublas.products()) is None:
        raise Skipped(f"cuBLAS is not to be had: {cublas.library()[1]}")
    rng, n = np.random.default_rng(0), 16 if rehearse else 512
    A, B, out = (cupy.asarray(rng.random((n, n), dtype=np.float32)) for _ in range(3))
    with cupy.cuda.Stream(non_blocking=True) as stream:
        cupy.cuda.Device().synchronize()
        products.use(stream)
        call, *args = products.product(A, B, out, "exact")
        call(*args)
        expected = out.get()
        out.fill(0)
        stream.synchronize()
        stream.begin_capture()
        call(*args)
        graph = stream.end_capture()
        kept = not out.get().any()  # nothing ran yet
        graph.launch(stream)
        same = bool(np.array_equal(out.get(), expected))
    products.use(cupy.cuda.get_current_stream())
    yield holds("a product of cuBLAS captured in a graph, bit for bit", kept and same)


# -- tests of a checkout -----------------------------------------------------------------
_OUTCOME = re.compile(r"^\S+?::(\w+).* (PASSED|FAILED|ERROR|SKIPPED)\b *(\(.*\))?")
ENGINE = ("tests/engines", "--long", "-k", "cupy")
ELSEWHERE = "cupy and not engines and not gpu_check and not on_cpu"
LIBRARY = ("tests", "--backends", "cupy", "-k", ELSEWHERE)
SHORT = ("tests/engines/test_cupy.py", "-k", "of_an_epoch or waits")


def tests(of: tuple[str, ...], rehearse: bool) -> Iterator[Check]:
    """The engine's own tests, or the library's on CuPy: a check for each function."""
    if not Path(ENGINE[0]).is_dir() or not find_spec("pytest"):
        raise Skipped("needs pytest, and to be started in a checkout of xpnet")
    # A newer library may warn, which is an error only where versions are known.
    plain = ("-v", "--tb=short", "-p", "no:cacheprovider", "-o", "filterwarnings=default")
    command = [sys.executable, "-m", "pytest", *plain, *(SHORT if rehearse else of)]
    environment = os.environ | {"COLUMNS": "400"}
    last, counts, why = "", Counter[str](), ""

    def outcome() -> Check:
        detail = f"{', '.join(f'{n} {name.lower()}' for name, n in counts.items())} {why}".strip()
        failed, passed = counts["FAILED"] + counts["ERROR"], counts["PASSED"]
        return Check(last, FAILED if failed else PASSED if passed else NOT_AVAILABLE, detail=detail)

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            if match := _OUTCOME.match(line):
                if last and match[1] != last:
                    yield outcome()
                    counts.clear()
                last, why = match[1], match[3] or ""
                counts[match[2]] += 1
            elif not line.startswith("SKIPPED"):
                sys.stderr.write(line)
    if last:
        yield outcome()
    yield holds("pytest ran to its end", process.returncode in (0, 1), f"code {process.returncode}")


def sanitizers(rehearse: bool) -> Iterator[Check]:
    """NVIDIA's tools look at a short fit: bad addresses, races, memory that was never written."""
    if not (command := shutil.which("compute-sanitizer")):
        raise Skipped("no compute-sanitizer on PATH")
    script = f"from {__name__} import train; train(True, 'float32', backend='cupy')"
    for tool in ("memcheck", "racecheck", "initcheck"):
        line = [command, "--tool", tool, "--error-exitcode", "9", sys.executable, "-c", script]
        run = subprocess.run(line, capture_output=True, text=True, check=False)
        said = (run.stdout + run.stderr).strip().splitlines()[-1:]
        yield holds(f"compute-sanitizer, {tool}", run.returncode == 0, "".join(said)[:300])


# -- products ----------------------------------------------------------------------------
def products(rehearse: bool) -> Iterator[Check]:
    """Products of normal matrices round as their dtype says: TF32 would be 3e-4 to 8e-4 off."""
    import cupy

    n, rng = 16 if rehearse else 1024, np.random.default_rng(0)
    A, B = (rng.standard_normal((n, n)) for _ in range(2))
    detail = "CUPY_TF32 is set" if os.environ.get("CUPY_TF32", "0") != "0" else ""
    for dtype, limit in (("float64", 1e-14), ("float32", 1e-5)):
        found = (cupy.asarray(A, dtype) @ cupy.asarray(B, dtype)).get()
        error = float(np.linalg.norm(found - A @ B) / np.linalg.norm(A @ B))
        yield at_most(f"product {n} x {n}, {dtype}", error, limit, detail)


def in_new_process(script: str, **environment: str) -> float | str:
    """The number a script prints, or why there is none."""
    command, env = [sys.executable, "-c", script], os.environ | environment
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if run.returncode:
        return (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
    return float(json.loads(run.stdout.strip().splitlines()[-1]))
