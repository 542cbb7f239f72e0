"""Times calls on the host, a training step, its products alone, and PyTorch's step beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise, product
from statistics import median
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet
from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import free_memory, select
from xpnet.bench.gpu_report import Figure
from xpnet.bench.products import floors, step_flops
from xpnet.bench.timing import Timed, interleaved
from xpnet.core.network import step_table
from xpnet.engines import engine_for
from xpnet.exceptions import BackendUnavailable
from xpnet.net.inputs import Inputs
from xpnet.training.state import starting_state

LAYERS = 4
WIDTHS = (16, 64, 256, 1024, 2048, 4096, 8192)
BATCHES = (128, 1024, 8192)
SECONDS = 0.3  # what one figure may take, beyond a first look
STEPS = 32  # queued at once: about 800 launches of the 1024 that the device's queue holds

Measured = Iterator[tuple[str, float, str]]  # name, value, unit


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
    rounds, repeats = (2, 3) if quick else (25, 100)
    wait = LIBRARIES["cupy"].wait
    measures = {n: partial(Timed(c, wait).host_seconds, repeats) for n, c in table.items()}
    for name, seconds in interleaved(measures, rounds).items():
        yield Figure(f"host: {name}", median(seconds) * 1e6, "us")


def steps(quick: bool) -> Iterator[Figure]:
    """A training step, its products alone, and PyTorch's step, for each width and batch."""
    budget = 0.0 if quick else SECONDS
    parts = {"step": own_step, "products": products_alone, "torch step": torch_step}
    for width, batch in product((4, 8), (8,)) if quick else product(WIDTHS, BATCHES):
        settings = {"width": width, "batch": batch, "layers": LAYERS, "dtype": "float32"}
        found: dict[str, float] = {}
        for name, part in parts.items():
            try:
                for figure, value, unit in part(width, batch, budget):
                    found[figure] = value
                    yield Figure(figure, value, unit, settings)
            except (MemoryError, ImportError, OSError, BackendUnavailable) as error:
                yield Figure(name, None, "us", settings, f"not available: {error}"[:200])
            free_memory()
        for one, other in (("step", "products"), ("torch step", "step")):
            if one in found and other in found:
                yield Figure(f"{one} / {other}", found[one] / found[other], "", settings)


def make_problem(width: int, batch: int) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Sizes, X (batch, width) float32 and labels (batch,) on the host."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((batch, width), dtype=np.float32)
    return [width] * (LAYERS + 1), X, rng.integers(0, width, batch)


def make_orders(batch: int) -> np.ndarray:
    """The order of the examples in each of ``STEPS`` steps (STEPS, batch), on the host."""
    rng = np.random.default_rng(0)
    return np.stack([rng.permutation(batch) for _ in range(STEPS)])


def own_step(width: int, batch: int, budget: float) -> Measured:
    """The engine's step: minibatches gathered from data on the device, Adam, no waiting."""
    sizes, X, y = make_problem(width, batch)
    net = DeepNet(sizes, output="softmax", backend="cupy", dtype="float32")
    optimizer = Adam(1e-3)
    inputs = Inputs(net.placement, net.objective)
    data, place = inputs.examples(X.T, y), inputs.place.backend
    moments = starting_state(None, optimizer, net.theta, place).moments
    engine = engine_for(place, net.objective)
    with place.context():
        program = engine.program(optimizer, data, batch, net.theta, moments)
        # As `fit` does it, without reading costs between epochs. One epoch is one step. Orders and
        # scalars are made here; uploading them belongs to a step.
        orders = make_orders(batch)
        table = step_table(optimizer, np.arange(1.0, STEPS + 1.0), np.full(STEPS, 1e-3))
        timed = Timed(lambda: program.run(orders, table), LIBRARIES["cupy"].wait, chunk=STEPS)
        seconds = timed.within(budget)
        yield "step", seconds * 1e6, "us"
        yield "step, rate of products", step_flops(sizes, batch) / seconds * 1e-12, "TFLOP/s"
        host = median(timed.host_seconds() for _ in range(9 if budget else 2))
        yield "step, host", host * 1e6, "us"


def products_alone(width: int, batch: int, budget: float) -> Measured:
    """The 3L - 1 products of a step and nothing else, into arrays made beforehand."""
    found = floors(select("cupy", dtype="float32"), [width] * (LAYERS + 1), batch, ["rows"])
    yield "products", found["rows"].within(budget) * 1e6, "us"


def torch_step(width: int, batch: int, budget: float, device: str = "cuda") -> Measured:
    """PyTorch eager: the same net and data, exact float32, fused Adam, batches by index."""
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable("this PyTorch sees no CUDA device")
    try:
        seconds = _torch_step(torch, width, batch, device).within(budget)
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    finally:
        if device == "cuda":
            torch.cuda.empty_cache()
    yield "torch step", seconds * 1e6, "us"


def _torch_step(torch: Any, width: int, batch: int, device: str) -> Timed:
    torch.backends.cuda.matmul.allow_tf32 = False
    sizes, X, y = make_problem(width, batch)
    modules: list[Any] = []
    for n_in, n_out in pairwise(sizes):
        modules += [torch.nn.Linear(n_in, n_out), torch.nn.ReLU()]
    net = torch.nn.Sequential(*modules[:-1]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    loss = torch.nn.CrossEntropyLoss()
    rows, labels = torch.tensor(X).to(device), torch.tensor(y).to(device)
    orders = make_orders(batch)

    def steps() -> Any:
        for order in torch.from_numpy(orders).to(device):  # uploaded each time, as ours are
            optimizer.zero_grad(set_to_none=True)
            cost = loss(net(rows[order]), labels[order])
            cost.backward()
            optimizer.step()
        return cost

    return Timed(steps, LIBRARIES["torch"].wait, chunk=STEPS)
