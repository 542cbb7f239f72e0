"""Host time of a call, device time of a step, its products alone, and PyTorch beside them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet
from xpnet.core.network import step_table
from xpnet.engines import engine_for
from xpnet.gpu_check.report import Check, Figure
from xpnet.net.examples import examples
from xpnet.training.state import starting_state

LAYERS = 4
WIDTHS = (16, 64, 256, 1024, 2048, 4096, 8192)
BATCHES = (128, 1024, 8192)
SECONDS = 0.3  # what one figure may take, beyond a first look


def timing(quick: bool) -> Iterator[Check | Figure]:
    yield from calls(quick)
    for width in (4, 8) if quick else WIDTHS:
        for batch in (8,) if quick else BATCHES:
            yield from steps(width, batch, quick)


# -- the host ----------------------------------------------------------------------------
def calls(quick: bool) -> Iterator[Figure]:
    """Microseconds of the host per call: small arrays, and no waiting for the device."""
    import cupy
    from cupy import cublas

    n = 8 if quick else 64
    a, b, c = (cupy.ones((n, n), np.float32) for _ in range(3))
    f = cupy.empty((n, n), np.float32, order="F")
    rows = cupy.arange(n, dtype=np.int32)
    source = 'extern "C" __global__ void copy(const float* x, float* y) { *y = *x; }'
    raw = cupy.RawKernel(source, "copy")
    elementwise = cupy.ElementwiseKernel("T x, T y", "T z", "z = x + y", "xpnet_gpu_check_add")
    table: dict[str, Callable[[], Any]] = {
        "RawKernel, 2 arguments": lambda: raw((1,), (1,), (a, c)),
        "ElementwiseKernel, 3 arrays": lambda: elementwise(a, b, c),
        "add(out=)": lambda: cupy.add(a, b, out=c),
        "matmul(out=)": lambda: cupy.matmul(a, b, out=c),
        "ndarray.dot(out)": lambda: a.dot(b, c),
        "cublas.gemm(out=)": lambda: cublas.gemm("N", "N", a, b, out=f),
        "take(axis=0, out=)": lambda: cupy.take(a, rows, axis=0, out=c),
        "empty": lambda: cupy.empty((n, n), np.float32),
    }
    rounds = (2, 3) if quick else (25, 100)
    for name, call in table.items():
        yield Figure(f"host: {name}", host_seconds(call, *rounds) * 1e6, "us")


def host_seconds(call: Callable[[], Any], rounds: int, repeats: int) -> float:
    """Median seconds of a call. A round must not fill the device's queue of 1024 launches."""
    import cupy

    call()  # compiles
    times = []
    for _ in range(rounds):
        cupy.cuda.runtime.deviceSynchronize()
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        times.append((time.perf_counter() - start) / repeats)
    cupy.cuda.runtime.deviceSynchronize()
    return float(np.median(times))


# -- the device --------------------------------------------------------------------------
def device_seconds(run: Callable[[int], Any], quick: bool) -> float:
    """Seconds per repeat of ``run(repeats)`` on the current stream, by its events."""
    import cupy

    def measured(repeats: int) -> float:
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        run(repeats)
        end.record()
        end.synchronize()
        return float(cupy.cuda.get_elapsed_time(start, end)) * 1e-3 / repeats

    measured(1)  # compiles, records, chooses algorithms
    return repeated(measured, quick)


def repeated(measured: Callable[[int], float], quick: bool) -> float:
    """``measured(repeats)`` with as many repeats as ``SECONDS`` allow."""
    first = max(measured(2), 1e-7)
    return first if quick else measured(int(min(max(SECONDS / first, 3), 2000)))


def make_problem(width: int, batch: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Sizes, X (width, batch) float32 and labels (batch,) on the host."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch, width), dtype=np.float32).T
    return [width] * (LAYERS + 1), X, rng.integers(0, width, batch)


def steps(width: int, batch: int, quick: bool) -> Iterator[Figure]:
    """A training step, its products alone, and PyTorch's step, for one width and batch."""
    from xpnet.backends.place import free_memory

    settings = {"width": width, "batch": batch, "layers": LAYERS, "dtype": "float32"}
    parts: dict[str, Callable[[int, int, bool], Iterator[tuple[str, float, str]]]] = {
        "step": own_step,
        "products": products_alone,
        "torch step": torch_step,
    }
    found: dict[str, float] = {}
    for name, part in parts.items():
        try:
            for figure, value, unit in part(width, batch, quick):
                found[figure] = value
                yield Figure(figure, value, unit, settings)
        except (MemoryError, ImportError, OSError, Unavailable) as error:
            yield Figure(name, None, "us", settings, f"not available: {error}"[:200])
        free_memory()
    if "step" in found and "products" in found:
        yield Figure("step / products", found["step"] / found["products"], "", settings)
    if "step" in found and "torch step" in found:
        yield Figure("torch step / step", found["torch step"] / found["step"], "", settings)


class Unavailable(Exception):
    """A figure cannot be taken here."""


def own_step(width: int, batch: int, quick: bool) -> Iterator[tuple[str, float, str]]:
    """The engine's step: minibatches gathered from data on the device, Adam, no waiting."""
    sizes, X, y = make_problem(width, batch)
    net = DeepNet(sizes, output="softmax", backend="cupy", dtype="float32")
    optimizer = Adam(1e-3)
    # As `fit` does it, without the reading of costs between epochs. One epoch is one step.
    place, data, _ = examples(net.placement, net.objective, X, y)
    moments = starting_state(None, optimizer, net.theta, place.backend).moments
    engine = engine_for(place.backend, net.objective)
    program = engine.program(optimizer, data, batch, net.theta, moments)
    rng = np.random.default_rng(0)
    prepared: dict[int, tuple[Any, Any]] = {}

    def run(epochs: int) -> None:
        if epochs not in prepared:
            orders = np.stack([rng.permutation(batch) for _ in range(epochs)])
            t = np.arange(1.0, epochs + 1.0)
            rate = np.full(epochs, optimizer.learning_rate)
            prepared[epochs] = orders, step_table(optimizer, t, rate)
        program.run(*prepared[epochs])

    seconds = device_seconds(run, quick)
    flops = 2.0 * batch * width * width * (3 * LAYERS - 1)
    yield "step", seconds * 1e6, "us"
    yield "step, rate of products", flops / seconds * 1e-12, "TFLOP/s"
    n = 2 if quick else 32  # about 800 launches; the upload of orders and scalars is included
    yield "step, host", host_seconds(lambda: run(n), 2 if quick else 9, 1) / n * 1e6, "us"


def products_alone(width: int, batch: int, quick: bool) -> Iterator[tuple[str, float, str]]:
    """The 3L - 1 products of a step and nothing else, into arrays made beforehand."""
    import cupy

    sizes = [width] * (LAYERS + 1)
    recorded: list[tuple[Any, Any, Any]] = []
    for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
        A, W, Z = (
            cupy.ones(shape, np.float32) for shape in ((batch, n_in), (n_out, n_in), (batch, n_out))
        )
        recorded.append((A, W.T, Z))
        recorded.append((Z.T, A, cupy.empty_like(W)))  # dW, with Z standing in for dZ
        if layer:
            recorded.append((Z, W, cupy.empty_like(A)))

    def run(repeats: int) -> None:
        for _ in range(repeats):
            for left, right, out in recorded:
                left.dot(right, out)

    assert len(recorded) == 3 * LAYERS - 1
    yield "products", device_seconds(run, quick) * 1e6, "us"


def torch_step(
    width: int, batch: int, quick: bool, device: str = "cuda"
) -> Iterator[tuple[str, float, str]]:
    """PyTorch eager: the same net and data, exact float32, fused Adam, batches by index."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise Unavailable("this PyTorch sees no CUDA device")
    try:
        seconds = _torch_seconds(torch, width, batch, quick, device)
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()
    yield "torch step", seconds * 1e6, "us"


def _torch_seconds(torch: Any, width: int, batch: int, quick: bool, device: str) -> float:
    torch.backends.cuda.matmul.allow_tf32 = False
    sizes, X, y = make_problem(width, batch)
    modules: list[Any] = []
    for n_in, n_out in pairwise(sizes):
        modules += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    net = torch.nn.Sequential(*modules[:-1]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    loss = torch.nn.CrossEntropyLoss()
    rows, labels = torch.tensor(np.ascontiguousarray(X.T)).to(device), torch.tensor(y).to(device)
    order = torch.randperm(batch, device=device)

    def measured(repeats: int) -> float:
        wait()
        start = time.perf_counter()
        for _ in range(repeats):
            optimizer.zero_grad(set_to_none=True)
            loss(net(rows[order]), labels[order]).backward()
            optimizer.step()
        wait()
        return (time.perf_counter() - start) / repeats

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    measured(3)
    return repeated(measured, quick)
