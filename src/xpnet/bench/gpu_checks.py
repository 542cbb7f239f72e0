"""Checks CuPy's results against NumPy's."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from xpnet import Adam, DeepNet, load_digits, to_numpy
from xpnet.bench.gpu_report import FAILED, NOT_AVAILABLE, PASSED, Check, Skipped, at_most, holds
from xpnet.distributed.communicator import NCCL, nccl

STEPS = 100
# Largest difference of an array after STEPS Adam steps, over its largest entry.
TOLERANCES = {"float64": 1e-9, "float32": 1e-3}
PRECISIONS = ("tf32", "bf16")  # besides "exact"
NUMBERS = 2**20  # of a vector: all its sums are integers that float32 holds


# -- training ----------------------------------------------------------------------------
def train(
    rehearse: bool, dtype: str, communicator: Any = None, **options: Any
) -> tuple[DeepNet, float]:
    """A net after STEPS Adam steps on digits (rehearsed, an epoch), and its cost."""
    X, y = load_digits()
    m, batch = (40, 8) if rehearse else (640, 64)
    X, y = (X[:m].T / 16.0).astype(dtype), y[:m]
    sizes = [64, 8, 6, 10] if rehearse else [64, 128, 64, 10]
    net = DeepNet(sizes, hidden=["relu", "tanh"], output="softmax", dtype=dtype, **options)
    settings = {"batch_size": batch, "l2": 1e-4, "communicator": communicator}
    net.fit(X, y, Adam(1e-3), epochs=1 if rehearse else STEPS * batch // m, **settings)
    return net, net.cost(X, y)


def trajectories(rehearse: bool) -> Iterator[Check]:
    """The same digits, net and order of examples on both; every array is compared."""
    for dtype, tolerance in TOLERANCES.items():
        ours, expected = train(rehearse, dtype, backend="numpy")
        theirs, cost = train(rehearse, dtype, backend="cupy")
        detail = f"cost {expected:.6f} NumPy, {cost:.6f} CuPy"
        error = furthest(arrays(ours), arrays(theirs))
        yield at_most(f"trajectory of Adam, {dtype}", error, tolerance, detail)


def arrays(net: DeepNet) -> list[np.ndarray]:
    """The parameters, on the host."""
    return [to_numpy(array) for layer in net.parameters for array in layer]


def furthest(expected: Sequence[Any], found: Sequence[Any]) -> float:
    """The largest difference of two arrays of a pair, over the largest entry."""
    pairs = zip(expected, found, strict=True)
    # unlike max(), a NaN wins
    return float(np.max([np.max(np.abs(a - b)) / np.max(np.abs(a)) for a, b in pairs]))


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
        gradients = [to_numpy(g) for layer in net.gradients(X, y) for g in layer]
        found.append([net.cost(X, y), *gradients])
    yield at_most(f"cost and gradient of {m:,} rows, float64", furthest(*found), 1e-9)


# -- two GPUs ----------------------------------------------------------------------------
class Pair:
    """A communicator of two processes that a pipe joins."""

    size = 2

    def __init__(self, rank: int, pipe: Any) -> None:
        self.rank, self._pipe = rank, pipe

    def gather(self, value: Any) -> list[Any]:
        if self.rank == 0:
            self._pipe.send(value)
            return [value, self._pipe.recv()]
        other = self._pipe.recv()  # the pipe has no room for two large ones
        self._pipe.send(value)
        return [other, value]

    def broadcast(self, value: Any) -> Any:
        return self.gather(value)[0]

    def allreduce(self, vector: Any) -> Any:
        return np.add(*self.gather(vector))

    def abort(self) -> None:
        raise SystemExit(1)


def together(pair: Pair, rehearse: bool) -> tuple[list[np.ndarray], DeepNet]:
    """What each of two processes gets: sums of a vector by NCCL, and the net that both train."""
    import cupy

    group = NCCL(pair)
    with cupy.cuda.Device(pair.rank):
        vectors = [cupy.arange(NUMBERS, dtype=dtype) + pair.rank for dtype in TOLERANCES]
        sums = [to_numpy(group.allreduce(vector)) for vector in vectors]
    device = f"cuda:{pair.rank}"
    return sums, train(rehearse, "float64", group, backend="cupy", device=device)[0]


def ranks(rehearse: bool) -> Iterator[Check]:
    """All-reduces by NCCL, and a fit of two processes against that of one."""
    import cupy

    if cupy.cuda.runtime.getDeviceCount() < 2:
        raise Skipped("needs two GPUs")
    nccl()
    spawn = multiprocessing.get_context("spawn")
    mine, theirs = spawn.Pipe()
    other = spawn.Process(target=together, args=(Pair(1, theirs), rehearse), daemon=True)
    other.start()
    theirs.close()  # or the end of the other process would not end this one's waiting
    sums, net = together(Pair(0, mine), rehearse)
    other.join()
    expected = 2 * np.arange(NUMBERS) + 1
    for dtype, found in zip(TOLERANCES, sums, strict=True):
        yield holds(f"all-reduce by NCCL, {dtype}", bool(np.array_equal(found, expected)))
    error = furthest(arrays(train(rehearse, "float64", backend="cupy")[0]), arrays(net))
    yield at_most("a fit on two GPUs against one", error, TOLERANCES["float64"])


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

    def outcomes(lines: Iterable[str]) -> Iterator[re.Match[str]]:
        for line in lines:
            if match := _OUTCOME.match(line):
                yield match
            elif not line.startswith("SKIPPED"):
                sys.stderr.write(line)

    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        for function, cases in groupby(outcomes(process.stdout or ()), itemgetter(1)):
            *_, last = found = list(cases)
            counts = Counter(case[2] for case in found)
            said = [f"{n} {outcome.lower()}" for outcome, n in counts.items()]
            failed, passed = counts["FAILED"] + counts["ERROR"], counts["PASSED"]
            status = FAILED if failed else PASSED if passed else NOT_AVAILABLE
            yield Check(function, status, detail=f"{', '.join(said)} {last[3] or ''}".strip())
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
