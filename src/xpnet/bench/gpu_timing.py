"""Times training steps on the GPU, with NumPy and by peers, and a step's own launches."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet, GradientDescent
from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import free_memory, select, to_numpy
from xpnet.bench.gpu_checks import PRECISIONS
from xpnet.bench.gpu_report import Check, Figure, Skipped, holds
from xpnet.bench.products import floors, step_flops
from xpnet.bench.timing import Timed
from xpnet.core.network import step_table
from xpnet.engines import engine_for
from xpnet.net.inputs import Inputs
from xpnet.training.state import starting_state

SECONDS = 0.3  # what one figure may take, beyond a first look
MOST_NUMBERS = 2**26  # of X
QUEUED = 500  # calls: the device's queue holds about 1024 launches, and a product may be several
REPEATS = 25  # of one call, behind one another

Measured = Iterator[tuple[str, float | None, str]]  # name, value, unit


# -- what is timed -----------------------------------------------------------------------
@dataclass(frozen=True)
class Task:
    """A net to train in exact float32: ReLU, sigmoid or softmax, Adam (plain if ``full``)."""

    sizes: tuple[int, ...]
    batch: int
    full: bool = False  # all examples at once

    @property
    def steps(self) -> int:
        """Steps that are queued together."""
        return 4 if step_flops(self.sizes, self.batch) > 1e10 else 32

    @property
    def settings(self) -> dict[str, Any]:
        batch = f"all {self.batch}" if self.full else str(self.batch)
        return {"net": "-".join(map(str, self.sizes)), "batch": batch}

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows X (m, n_x) float32 and class numbers (m,); m is some batches, or one."""
        rng, m, n_y = np.random.default_rng(0), self.batch, self.sizes[-1]
        while (
            not self.full and m < self.steps * self.batch and 2 * m * self.sizes[0] < MOST_NUMBERS
        ):
            m *= 2
        X = rng.standard_normal((m, self.sizes[0]), dtype=np.float32)
        return X, rng.integers(0, max(n_y, 2), m)


# Those of docs/performance.md, and tall data in full batches.
NETS = (
    Task((2, 4, 1), 400, full=True),
    Task((30, 32, 1), 32),
    Task((64, 64, 10), 64),
    Task((784, 256, 128, 10), 128),
    Task((784, 1024, 1024, 10), 256),
    Task((784, 4096, 10), 128),
    Task((28, 256, 1), 1_000_000, full=True),
)
SMALL_NETS = (Task((2, 4, 1), 40, full=True), Task((8, 8, 3), 4))


def nets(rehearse: bool) -> Sequence[Task]:
    return SMALL_NETS if rehearse else NETS


def make_orders(task: Task, m: int) -> np.ndarray | None:
    """The order of the examples in each epoch of ``task.steps`` steps; None for full batches."""
    rng, epochs = np.random.default_rng(0), task.steps * task.batch // m
    return None if task.full else np.stack([rng.permutation(m) for _ in range(epochs)])


def each(tasks: Sequence[Task], name: str, measure: Callable[[Task], Measured]) -> Iterator[Figure]:
    """The figures of every task; one that runs out of memory leaves its reason."""
    for task in tasks:
        try:
            for figure, value, unit in measure(task):
                yield Figure(figure, value, unit, task.settings)
        except MemoryError as error:
            yield Figure(name, None, "us", task.settings, f"not available: {error}"[:200])
        free_memory()


# -- training steps ----------------------------------------------------------------------
@contextmanager
def running(task: Task, backend: str, **place: Any) -> Iterator[tuple[Any, Timed]]:
    """An engine's program and its steps, as `fit` has them, without reading costs.

    Orders and scalars are made here; uploading them belongs to a step.
    """
    X, y = task.data()
    output = "softmax" if task.sizes[-1] > 1 else "sigmoid"
    net = DeepNet(task.sizes, output=output, backend=backend, **{"dtype": "float32"} | place)
    inputs = Inputs(net.placement, net.objective)
    data = inputs.examples(X.T, y if task.sizes[-1] > 1 else y[None, :])
    optimizer = GradientDescent(1e-3) if task.full else Adam(1e-3)
    moments = starting_state(None, optimizer, net.theta, inputs.place.backend).moments
    engine = engine_for(inputs.place.backend, net.objective)
    with inputs.place.backend.context():
        batch = None if task.full else task.batch
        program = engine.program(optimizer, data, batch, net.theta, moments)
        steps = np.arange(1.0, task.steps + 1.0)
        table, orders = step_table(optimizer, steps, 0 * steps + 1e-3), make_orders(task, len(X))
        run = partial(program.run, orders, table)
        yield program, Timed(run, LIBRARIES[backend].wait, chunk=task.steps)


def capture(rehearse: bool) -> Iterator[Check]:
    """Steps as CUDA graphs: whether a capture is refused, and their bits."""
    found, refused = [], ""
    for wanted in (True, False):
        with running(nets(rehearse)[1], "cupy") as (program, timed):
            program.graphs.wanted = wanted
            timed.seconds(3 * timed.chunk)  # a run of steps is captured when it comes again
            found.append(to_numpy(program.theta))
            refused = refused or program.graphs.refused
    same = bool(np.array_equal(found[0], found[1]))
    yield holds("steps as CUDA graphs, bit for bit", same and not refused, refused)


def own(rehearse: bool) -> Iterator[Figure]:
    """The engine's step of each net, as `fit` runs it, its launches alone, and its products."""
    budget = 0.0 if rehearse else SECONDS

    def step(task: Task) -> Measured:
        flops = step_flops(task.sizes, task.batch)
        yield "work", flops * 1e-6, "MFLOP"
        with running(task, "cupy") as (program, timed):
            seconds = timed.within(budget)
            yield "step", seconds * 1e6, "us"
            yield "step, rate of products", flops / seconds * 1e-12, "TFLOP/s"
            host = median(timed.host_seconds() for _ in range(2 if rehearse else 9))
            yield "step, host", host * 1e6, "us"
            program.graphs.wanted = False
            yield "step, without graphs", timed.within(budget) * 1e6, "us"
            (recorded,) = program.recordings.values()
            device, _ = alone(program, recorded, min(task.steps, QUEUED // len(recorded)))
            yield "step, device", device, "us"
        found = floors(select("cupy", dtype="float32"), task.sizes, task.batch, ["rows"])
        yield "products", found["rows"].within(budget) * 1e6, "us"

    yield from each(nets(rehearse), "step", step)


def numpy(rehearse: bool) -> Iterator[Figure]:
    """A training step of each net with NumPy, on this machine's processor."""

    def step(task: Task) -> Measured:
        with running(task, "numpy") as (_, timed):
            yield "numpy", timed.within(0.0 if rehearse else SECONDS) * 1e6, "us"

    yield from each(nets(rehearse), "numpy", step)


def precisions(rehearse: bool) -> Iterator[Figure]:
    """A step of the wide nets by what their products round to; exact float32 is in `own`."""
    for task in nets(rehearse)[-3:-1]:
        for precision in (*PRECISIONS, "float64"):
            place = {"dtype" if precision == "float64" else "precision": precision}
            with running(task, "cupy", **place) as (_, timed):
                seconds = timed.within(0.0 if rehearse else SECONDS)
            settings = task.settings | {"precision": precision}
            yield Figure("step", seconds * 1e6, "us", settings)


def peer(name: str, rehearse: bool) -> Iterator[Figure]:
    """A peer's training step of each net, on the GPU (on the CPU where this is a rehearsal)."""
    device = "cpu" if rehearse else "cuda"
    os.environ |= {"XPNET_PEERS_DEVICE": device, "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    if rehearse and name == "torch-graph":
        raise Skipped("CUDA graphs need a GPU")
    library = importlib.import_module(name.partition("-")[0])
    on_gpu = library.cuda.is_available if "torch" in name else library.default_backend
    if not rehearse and on_gpu() not in (True, "gpu"):
        raise Skipped(f"this {library.__name__} sees no CUDA device")
    sys.path.insert(0, os.getcwd())
    try:
        peers = importlib.import_module("benchmarks.peers.adapters")
        workloads = importlib.import_module("benchmarks.peers.workloads")
    except ImportError as error:
        raise Skipped("benchmarks/ of a checkout of xpnet is not here") from error

    def step(task: Task) -> Measured:
        m = len(task.data()[0])
        epochs, batch = task.steps * task.batch // m, None if task.full else task.batch
        work = workloads.Workload(name, task.sizes, m, batch, epochs, {})
        candidate = peers.create(name, work, "float32")
        candidate.reset()
        timed = Timed(candidate.run, chunk=task.steps)  # it waits for its costs
        yield name.replace("-", " "), timed.within(0.0 if rehearse else SECONDS) * 1e6, "us"

    yield from each(nets(rehearse), name.replace("-", " "), step)


# -- the device alone --------------------------------------------------------------------
_SPIN = """extern "C" __global__ void xpnet_spin(long long n, float* x) {
    float v = *x;
    for (long long i = 0; i < n; i++) v = v * 1.0001f + 1e-3f;
    *x = v;
}"""


def alone(program: Any, calls: Sequence[Any], times: int) -> tuple[float | None, float]:
    """Microseconds of the device, and of the host, for these calls; a mean of ``times``.

    They are queued behind a kernel that takes longer. None where queueing took the host longer.
    """
    import cupy

    spin, x = cupy.RawKernel(_SPIN, "xpnet_spin"), cupy.zeros(1, np.float32)
    start, begin, end = (cupy.cuda.Event() for _ in range(3))

    def queue(n: int) -> tuple[float, float, float]:
        """Milliseconds: of the kernel, of the calls, and of the host for queueing them."""
        program.step_number.fill(1)  # the row of the table that the calls read
        cupy.cuda.get_current_stream().synchronize()
        start.record()
        spin((1,), (1,), (np.int64(n), x))
        begin.record()
        clock = perf_counter()
        for _ in range(times):
            for call in calls:
                call()
        host = 1e3 * (perf_counter() - clock)
        end.record()
        end.synchronize()
        elapsed = cupy.cuda.get_elapsed_time
        return elapsed(start, begin), elapsed(begin, end), host

    queue(1000)
    spun, _, host = queue(1000)
    for longer in (2, 4, 8):  # something may have held the host up
        rounds = 1000 * longer * host / max(spun, 1e-3)
        spun, device, host = queue(int(min(rounds, 1e8)))
        if spun > host:
            return 1e3 * device / times, 1e3 * host / times
    return None, 1e3 * host / times


def launches(rehearse: bool) -> Iterator[Figure]:
    """Every launch and product of a step alone, and the bytes of its arrays a second."""
    for task in nets(rehearse):
        with running(task, "cupy") as (program, timed):
            timed.seconds()
            (recorded,) = program.recordings.values()
            for number, call in enumerate(recorded):
                device, host = alone(program, [call], min(REPEATS, len(program.table) - 1))
                settings = task.settings | {"call": f"{number} {_name(call)}"}
                yield Figure("device", device, "us", settings)
                yield Figure("host", host, "us", settings)
                rate = device and 1e-3 * _bytes(call) / device
                yield Figure("arrays", rate, "GB/s", settings)


def _name(call: Any) -> str:
    function = getattr(call, "func", call)
    return str(getattr(function, "name", None) or getattr(function, "__name__", function))


def _bytes(call: Any) -> int:
    """The bytes of the arrays that a recorded call names: each read or written once."""

    def arrays(x: Any) -> Iterator[tuple[int, int]]:
        x = getattr(x, "array", x)  # of a pointer that a product takes
        if isinstance(x, tuple):
            for each in x:
                yield from arrays(each)
        elif hasattr(x, "nbytes") and hasattr(x.data, "ptr"):
            yield x.data.ptr, x.nbytes

    owner = getattr(getattr(call, "func", None), "__self__", None)
    return sum(dict(arrays((owner, getattr(call, "args", ())))).values())
