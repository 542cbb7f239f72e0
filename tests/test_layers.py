"""Imports point down an ordered list of modules, which doubles as the table of contents."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "xpnet"

# Read it from the top: every module imports only what stands before it. A package is one entry
# unless one of its modules has its own.
LAYERS = {
    "exceptions": "what is raised besides ValueError and TypeError",
    "_typing": "Array and Namespace, in words",
    "datasets": "the handwritten digits",
    "libraries": "what differs between array libraries",
    "backend": "which array library, which device, which dtype",
    "activations": "pairs of a value and a slope",
    "losses": "losses and their links, from logits",
    "parameters": "all parameters in one flat vector",
    "initializers": "first weights, drawn on the host",
    "optimizers": "settings of the update rules",
    "schedules": "learning rates over a run",
    "threefry": "random numbers for dropout, the same on every library",
    "leaves": "the operations of a training step, in plain Array API",
    "network": "the chain rule, once, over leaf operations",
    "linesearch": "steps along a line, from numbers alone",
    "quasinewton": "L-BFGS, for any function of one flat vector",
    "engines.generic": "how the reference leaves run: a call each",
    "engines": "one file per library: its fast leaves, and what a step becomes",
    "data": "what X, Y and sample weights must look like",
    "filekinds": "which data files are read",
    "csvfile": "reading .csv, with file and line in every error",
    "tables": "reading, splitting and standardising data files",
    "streams": "data that does not fit in memory",
    "html": "nets and histories in notebooks",
    "history": "what a fit leaves behind, what a callback sees",
    "trainingstate": "where a fit stands, for the next one",
    "plan": "what a fit was asked to do",
    "epochs": "minibatches out of arrays and streams",
    "training": "the loop, callbacks, divergence",
    "arguments": "checks of what DeepNet is told",
    "modelfile": "nets in safetensors files",
    "raw": "nets of xpnet train, on features as they stand in a table",
    "exchange": "nets to and from PyTorch and scikit-learn",
    "onnx": "nets as ONNX models, byte by byte",
    "checkpoint": "model files with the state of training",
    "checkpoint_folder": "which checkpoint is the latest, which may go",
    "placed": "where a net lives, and how arrays get to it",
    "fitdata": "what fit trains on: arrays or streams, as rows",
    "deepnet": "the public model",
    "notes": "the notes' functions by their own names",
    "logs": "a line an epoch in a file",
    "progressbar": "a bar on a terminal, lines elsewhere",
    "callbacks": "early stopping, checkpoints, logs, the progress bar",
    "plotting": "pictures of nets and of their training",
    "estimators": "the models behind scikit-learn's interface",
    "xpnet": "the public names",
    "gpu_check": "does this machine's GPU compute what it should, and how fast",
    "bench.machine": "what a benchmark ran on",
    "bench.results": "what it found, and what follows",
    "bench.products": "matrix products alone, in each library's words",
    "bench.measure": "one net on one device, timed",
    "bench": "how long a step takes on each library of this machine",
    "cli": "the command xpnet",
    "__main__": "python -m xpnet",
}

# Only these may name an array library other than NumPy, which is also the host's toolbox.
MAY_NAME_LIBRARIES = {"backend", "libraries", "engines.generic", "engines", "exchange", "gpu_check"}
MAY_NAME_LIBRARIES |= {"bench.products"}
LIBRARIES = {"cupy", "cupyx", "torch", "jax", "jaxlib", "dpnp", "dpctl", "array_api_strict"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__") or "xpnet"


MODULES = {module_name(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def layer(module: str) -> str:
    """The entry of ``LAYERS`` that a dotted name, without ``xpnet.``, belongs to."""
    while module and module not in LAYERS:  # `from xpnet.losses import Loss` names losses
        module = module.rpartition(".")[0]
    return module or "xpnet"


def imported_names(tree: ast.Module) -> set[str]:
    """Absolute names that a module imports, at its top or inside a function."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_the_list_is_complete():
    assert set(LAYERS) == {layer(module) for module in MODULES}
    assert [m for m in MODULES if layer(m) == "xpnet"] == ["xpnet"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    own = {name for name in imported_names(MODULES[module]) if name.partition(".")[0] == "xpnet"}
    imported = {layer(name.removeprefix("xpnet").removeprefix(".")) for name in own}
    order = list(LAYERS)
    above = set(order[order.index(layer(module)) + 1 :])
    upward = imported & above
    assert upward == set()


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) not in MAY_NAME_LIBRARIES])
def test_no_array_library_is_named(module):
    named = {name.partition(".")[0] for name in imported_names(MODULES[module])}
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Name):
            named.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.add(node.value)  # a whole string: `"torch"`, not prose that mentions it
    found = named & LIBRARIES
    assert found == set()
