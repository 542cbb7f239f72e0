"""Imports point down an ordered list of packages, which doubles as the table of contents."""

import ast
import re
from fnmatch import fnmatch
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "xpnet"

# Read it from the top: a package, or a module of the root, imports only what stands before it.
LAYERS = {
    "_command": "what Ctrl-C does while the command xpnet is being imported",
    "exceptions": "the errors that xpnet raises besides ValueError and TypeError",
    "_typing": "the type names Array and Namespace",
    "core": "the mathematics: activations, losses, optimisers, and the chain rule, once",
    "schedules": "the public address of `core/schedules.py`",
    "backends": "which array library, which device, which dtype",
    "distributed": "several processes that train one net: communicators, and what they agree on",
    "engines": "one module or package per library: its fast operations, what a step becomes",
    "optimize": "L-BFGS and its line search, for any function of one vector",
    "data": "checks of arrays, tables, and streams of what does not fit in memory",
    "training": "the training loop, what it is asked, and what it records",
    "files": "model files, checkpoints, and the exchange with other formats",
    "callbacks": "early stopping, checkpoints, logs, the progress bar",
    "net": "the public model, and the functions of the notes",
    "teaching": "tools that show what a net computes, and invented data",
    "plotting": "pictures of nets and of their training",
    "estimators": "the models behind scikit-learn's interface",
    "xpnet": "the public names, in `__init__.py`",
    "bench": "how long a step takes on this machine; whether its GPU computes what it should",
    "gpu_check": "the public address of the check of a GPU in `bench`",
    "cli": "the command xpnet",
    "__main__": "python -m xpnet",
}

# Only these may name an array library other than NumPy, which is also the host's toolbox.
FILES = ("files.torch", "files.sklearn", "distributed.communicator")
MAY_NAME_LIBRARIES = ("backends", "engines", *FILES, "bench")
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


def imported_modules(module: str) -> set[str]:
    """The modules of xpnet that a module imports; of a package, its ``__init__`` alone."""
    found = set()
    for name in own_imports(module):
        while name not in MODULES:  # `core.losses.Loss` names core.losses
            name = name.rpartition(".")[0] or "xpnet"
        found.add(name)
    return found - {module}


@pytest.mark.parametrize("package", LAYERS)
def test_no_cycle_inside_a_package(package):
    files = [module for module in MODULES if layer(module) == package]
    graph = {module: imported_modules(module) & set(files) for module in files}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


ELSEWHERE = [m for m in MODULES if not {m, layer(m)} & set(MAY_NAME_LIBRARIES)]


@pytest.mark.parametrize("module", ELSEWHERE)
def test_no_array_library_is_named(module):
    named = {name.partition(".")[0] for name in imported_names(MODULES[module])}
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.Name):
            named.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            named.add(node.value)  # a whole string: `"torch"`, not prose that mentions it
    found = named & LIBRARIES
    assert found == set()


@pytest.mark.parametrize("module", ELSEWHERE)
def test_no_array_library_is_reached_by_reflection(module):
    for node in ast.walk(MODULES[module]):
        assert not (isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules")
        called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if called.rpartition(".")[2] in ("import_module", "__import__"):
            (name,) = node.args
            # a module by its whole name, or one of xpnet's own
            assert isinstance(name, ast.Constant) or ast.unparse(name).startswith("f'xpnet.")


PATHS = [path for path in PACKAGE.rglob("*.py") if layer(module_name(path)) != "engines"]


@pytest.mark.parametrize("path", PATHS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_has_450_lines_at_most(path):
    """Docstrings apart: they are the API reference, long where there is much to say to users."""
    lines, tree = path.read_text("utf-8").splitlines(), MODULES[module_name(path)]
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    owners = [n for n in ast.walk(tree) if isinstance(n, kinds) and ast.get_docstring(n)]
    texts = [owner.body[0] for owner in owners]
    assert len(lines) - sum(t.end_lineno - t.lineno + 1 for t in texts) <= 450


def test_a_user_reads_one_word_for_the_cost():
    """`cost`, in messages, columns and labels; `loss_` is scikit-learn's, for its drop-ins."""
    said = set()
    for module, tree in MODULES.items():
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        texts = [n for n in ast.walk(tree) if isinstance(n, ast.Constant)]
        found = [re.search(r"(?i)\bloss\b", str(n.value)) for n in texts if id(n) not in docstrings]
        said |= {layer(module)} if any(found) else set()
    assert said <= {"estimators"}


def test_the_documents_tell_the_same_rules():
    architecture = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    table = [line for line in architecture.splitlines() if line.startswith("| `")]
    told = {line.split("`")[1]: line.split("|")[2].strip() for line in table}
    packages = list(LAYERS.items())
    assert [(name, told.get(name)) for name, _ in packages] == packages
    assert [name for name in told if name in LAYERS] == list(LAYERS), "in another order"
    places = [f"`{name.replace('.', '/')}{'.py' * ('.' in name)}`" for name in MAY_NAME_LIBRARIES]
    sentence = f"named in {', '.join(places[:-1])} and {places[-1]} and nowhere else"
    for document in ("docs/architecture.md", "CONTRIBUTING.md"):
        assert sentence in " ".join((ROOT / document).read_text("utf-8").split()), document


def test_every_module_is_tested_where_its_name_says_or_the_map_does():
    tests = ROOT / "tests"
    rows = [line.split("|") for line in (tests / "README.md").read_text("utf-8").splitlines()]
    told = [re.findall(r"`([^`]+)`", row[1]) for row in rows if len(row) == 4]
    patterns = [pattern for names in told for pattern in names]
    for row in rows:
        for place in re.findall(r"`([^`]+(?:\.py|/))`", row[2]) if len(row) == 4 else []:
            assert list(tests.glob(place)), f"{place} is not there"
    modules = [m.replace(".", "/") for m in MODULES if "." in m or m in LAYERS]
    plain = [m for m in modules if not (PACKAGE / m).is_dir() and not m.endswith("__main__")]
    own = {m for m in plain if (tests / f"{m.rpartition('/')[0]}/test_{Path(m).name}.py").exists()}
    others = [m for m in plain if m not in own | {"xpnet"}]
    lost = [m for m in others if not any(fnmatch(m, pattern) for pattern in patterns)]
    stale = [p for p in patterns if not any(fnmatch(m, p) for m in others)]
    assert (lost, stale) == ([], [])
