"""Peak memory of a fit of a stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from stream_helpers import RNG

import xpnet

BIG = 400_000_000
MEASURED = """
import json, resource, sys
import numpy as np
import xpnet

kind, path, memory, limit = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

def fit(source, n_x):
    net = xpnet.DeepNet([n_x, 8, 1], output="identity", dtype="float32")
    return net.fit(source, epochs=2, batch_size=500).cost

rng = np.random.default_rng(0)
fit(xpnet.stream(rng.normal(size=(2000, 99)).astype("f4"), rng.normal(size=2000)), 99)  # warm
for _ in range(5 * (kind == "csv")):  # pyarrow keeps memory of its own, whatever the file
    xpnet.stream(path + ".small", target="y", memory=memory).close()
base = peak()
if limit:
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + limit,) * 2)
if kind == "csv":
    cost = fit(xpnet.stream(path, target="y", memory=memory), 10)
elif kind == "memmap":
    rows = np.load(path, mmap_mode="r")
    cost = fit(xpnet.stream(rows, target=0, memory=memory), rows.shape[1] - 1)
else:
    cost = fit(xpnet.stream(path, target=0, memory=memory), 99)
print(json.dumps({"above": peak() - base, "cost": cost}))
"""


def measured(kind, path, memory, limit=0):
    """Peak memory of a fit over that of a small one, in bytes, in a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",  # an arena reserves 64 MB of addresses for a thread
        "PYTHONPATH": str(Path(xpnet.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, str(path), str(memory), str(limit)],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["above"]


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@pytest.fixture
def big(tmp_path):
    """400 MB of float32 rows, few of them on the disk."""
    path = tmp_path / "big.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (BIG // 400, 100))
    X[:1000] = RNG.normal(size=(1000, 100))
    return path


@linux
@pytest.mark.parametrize("kind", ["memmap", "npy"])
def test_a_file_four_times_the_limit(kind, big):
    assert measured(kind, big, memory=80e6) < 80e6 < BIG / 4


@linux
def test_a_file_four_times_the_limit_of_addresses(big):
    assert measured("npy", big, memory=60e6, limit=100_000_000) < 100e6


@linux
def test_a_csv_of_200_000_rows(tmp_path):
    path = tmp_path / "a.csv"
    lines = [",".join(map(repr, row)) for row in RNG.normal(size=(2000, 11)).tolist()]
    for name, times in (("a.csv.small", 30), ("a.csv", 100)):
        with (tmp_path / name).open("w") as file:
            file.write(",".join([f"c{i}" for i in range(10)] + ["y"]) + "\n")
            for _ in range(times):
                file.write("\n".join(lines) + "\n")
    assert path.stat().st_size > 40e6
    assert measured("csv", path, memory=10e6) < 15e6  # a stretch of lines besides


@pytest.mark.long
@linux
@pytest.mark.parametrize("kind", ["memmap", "npy"])
def test_a_full_file_of_two_gigabytes(kind, tmp_path):
    path = tmp_path / "big.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (5_000_000, 100))
    block = RNG.normal(size=(10_000, 100)).astype(np.float32)
    for start in range(0, len(X), len(block)):
        X[start : start + len(block)] = block
    del X
    assert measured(kind, path, memory=100e6) < 100e6
