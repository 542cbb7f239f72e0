"""``import xpnet`` is cheap, and brings no array library but NumPy."""

import json
import statistics
import subprocess
import sys
import warnings
from importlib.util import find_spec

import numpy as np
import pytest

import xpnet

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


@pytest.mark.parametrize("module", [xpnet, xpnet.plotting, xpnet.callbacks, xpnet.schedules])
def test_completion_offers_the_public_names_and_nothing_else(module):
    assert {name for name in dir(module) if name[0] != "_"} == set(module.__all__)
    assert all(hasattr(module, name) for name in dir(module))


@pytest.mark.parametrize("missing", [[], ["sklearn"]])
def test_lazy_names_are_offered_where_they_work(missing):
    code = f"""
import sys
from importlib import util
found = util.find_spec
util.find_spec = lambda name: None if name in {missing} else found(name)
import xpnet
print("plotting" in dir(xpnet), "MLPClassifier" in dir(xpnet))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    with_sklearn = not missing and find_spec("sklearn") is not None
    assert run.stdout.split() == ["True", str(with_sklearn)]


@pytest.mark.parametrize(
    "line",
    [
        "xpnet.MLPClassifier((2,), max_iter=1).fit(X, y)",
        "xpnet.MLPClassifier((2,), max_iter=1, solver='lbfgs').fit(X, y)",
        "xpnet.MLPClassifier((2,), batch_size=99, max_iter=400, tol=9.0).fit(X, y)",
        "xpnet.LogisticRegression(penalty='l2').fit(X, y)",
        "xpnet.LogisticRegression(max_iter=1, C=1e6).fit(X, y)",
        "xpnet.LogisticRegression(n_jobs=1).fit(X, y)",
        "make_pipeline(xpnet.LogisticRegression(l1_ratio=None)).fit(X, y)",
        "latest_checkpoint(folder)",
    ],
)
def test_warnings_point_at_the_users_line(line, tmp_path):
    make_pipeline = pytest.importorskip("sklearn.pipeline").make_pipeline
    (tmp_path / "odd.safetensors").touch()
    names = {"xpnet": xpnet, "make_pipeline": make_pipeline, "folder": tmp_path}
    names |= {"latest_checkpoint": xpnet.callbacks.latest_checkpoint, "__name__": "script"}
    names["X"] = np.random.default_rng(0).normal(size=(20, 2))
    names["y"] = np.arange(20) % 2
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        exec(compile(f"\n\n{line}", "script.py", "exec"), names)
    assert {(warning.filename, warning.lineno) for warning in caught} == {("script.py", 3)}


def test_import_costs_little_more_than_numpy():
    seconds: dict[str, list[float]] = {"numpy": [], "xpnet": []}
    for module in seconds:
        timed_import(module)  # files in the cache, byte code written
    for _ in range(5):  # interleaved, so that both meet the same machine
        for module, runs in seconds.items():
            runs.append(timed_import(module)[0])
    extra = statistics.median(seconds["xpnet"]) - statistics.median(seconds["numpy"])
    assert extra < 0.3, f"import xpnet costs {extra:.2f} s more than import numpy: {seconds}"
