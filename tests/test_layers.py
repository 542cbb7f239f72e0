"""Imports point down an ordered list of packages, which doubles as the table of contents."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src" / "xpnet"

# Read it from the top: a package, or a module of the root, imports only what stands before it.
LAYERS = {
    "exceptions": "what is raised besides ValueError and TypeError",
    "_typing": "Array and Namespace, in words",
    "core": "the mathematics: activations, losses, optimisers, and the chain rule, once",
    "schedules": "the public address of core.schedules",
    "backends": "which array library, which device, which dtype",
    "engines": "one file per library: its fast operations, and what a step becomes",
    "optimize": "L-BFGS and its line search, for any function of one vector",
    "data": "checks of arrays, tables, and streams of what does not fit in memory",
    "training": "the training loop, what it is asked, and what it records",
    "files": "model files, checkpoints, and the exchange with other formats",
    "callbacks": "early stopping, checkpoints, logs, the progress bar",
    "net": "the public model, and the functions of the notes",
    "plotting": "pictures of nets and of their training",
    "estimators": "the models behind scikit-learn's interface",
    "xpnet": "the public names",
    "bench": "how long a step takes on this machine; does its GPU compute what it should",
    "gpu_check": "python -m xpnet.gpu_check, the public address of bench.gpu",
    "cli": "the command xpnet",
    "__main__": "python -m xpnet",
}

# Only these may name an array library other than NumPy, which is also the host's toolbox.
MAY_NAME_LIBRARIES = {"backends", "engines", "files.torch", "files.sklearn", "bench"}
LIBRARIES = {"cupy", "cupyx", "torch", "jax", "jaxlib", "dpnp", "dpctl", "array_api_strict"}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(p for p in parts if p != "__init__") or "xpnet"


MODULES = {module_name(path): ast.parse(path.read_text()) for path in PACKAGE.rglob("*.py")}


def layer(module: str) -> str:
    """The entry of ``LAYERS`` that a dotted name, without ``xpnet.``, belongs to."""
    package = module.partition(".")[0]
    return package if package in LAYERS else "xpnet"


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


def own_imports(module: str) -> set[str]:
    """What a module imports of xpnet, without ``xpnet.``."""
    names = imported_names(MODULES[module])
    return {
        n.removeprefix("xpnet").removeprefix(".") for n in names if n.partition(".")[0] == "xpnet"
    }


def test_the_list_is_complete():
    assert set(LAYERS) == {layer(module) for module in MODULES}
    assert [m for m in MODULES if layer(m) == "xpnet"] == ["xpnet"]


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module):
    order = list(LAYERS)
    above = set(order[order.index(layer(module)) + 1 :])
    upward = {layer(name) for name in own_imports(module)} & above
    assert upward == set()


@pytest.mark.parametrize("module", [m for m in MODULES if layer(m) == "core"])
def test_the_mathematics_imports_nothing_of_xpnet(module):
    assert {layer(name) for name in own_imports(module)} <= {"core", "_typing", "exceptions"}


@pytest.mark.parametrize(
    "module",
    [m for m in MODULES if not {m, layer(m)} & MAY_NAME_LIBRARIES],
)
def test_no_array_library_is_named(module):
    named = {name.partition(".")[0] for name in imported_names(MODULES[module])}
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Name):
            named.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.add(node.value)  # a whole string: `"torch"`, not prose that mentions it
    found = named & LIBRARIES
    assert found == set()
