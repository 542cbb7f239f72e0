"""``import xpnet`` is cheap, and brings no array library but NumPy."""

import json
import statistics
import subprocess
import sys

HEAVY = {"torch", "jax", "cupy", "dpnp", "sklearn", "typer", "rich", "matplotlib"}

TIMED_IMPORT = """
import json, sys, time
start = time.process_time()
import {module}
seconds = time.process_time() - start
print(json.dumps([seconds, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


def timed_import(module: str) -> tuple[float, set[str]]:
    """Processor seconds and top-level modules of importing ``module`` in a new interpreter.

    Not wall time: what else the machine does is no cost of the import.
    """
    # -P: the current directory must not shadow an installed package.
    command = [sys.executable, "-P", "-c", TIMED_IMPORT.format(module=module)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, modules = json.loads(output)
    return seconds, set(modules)


def test_import_brings_no_other_library():
    _, modules = timed_import("xpnet")
    assert "xpnet" in modules
    assert not modules & HEAVY


def test_import_costs_little_more_than_numpy():
    seconds: dict[str, list[float]] = {"numpy": [], "xpnet": []}
    for module in seconds:
        timed_import(module)  # files in the cache, byte code written
    for _ in range(5):  # interleaved, so that both meet the same machine
        for module, runs in seconds.items():
            runs.append(timed_import(module)[0])
    extra = statistics.median(seconds["xpnet"]) - statistics.median(seconds["numpy"])
    assert extra < 0.3, f"import xpnet costs {extra:.2f} s more than import numpy: {seconds}"
