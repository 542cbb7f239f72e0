"""A pytest plugin: scikit-learn's installed tests, with this package's estimators in their place.

It sets names in scikit-learn's modules before its test modules import them; no test is copied:

    python -m pytest -c tests/sklearn_compat/pytest.ini -p swap --swap-to torch \\
        --pyargs sklearn.neural_network.tests.test_mlp

with ``tests/sklearn_compat`` on PYTHONPATH. ``--swap-to`` names an array library: every array that
a test hands in becomes one of that library, every array it gets back one of NumPy's again. Tests
that cannot pass are listed in ``exceptions.txt`` with the reason, and must fail.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from elsewhere import on_library

import xpnet

SWAPPED = {
    "sklearn.neural_network": ("MLPClassifier", "MLPRegressor"),
    "sklearn.linear_model": ("LogisticRegression",),
    "sklearn.linear_model._logistic": ("LogisticRegression",),
}
EXCEPTIONS = Path(__file__).with_name("exceptions.txt")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--swap-to", default="numpy", help="array library, or library:device")


def pytest_configure(config: pytest.Config) -> None:
    library = config.getoption("--swap-to")
    for module, names in SWAPPED.items():
        for name in names:
            ours = getattr(xpnet, name, None)
            if ours is not None:
                swapped = ours if library == "numpy" else on_library(ours, library)
                setattr(importlib.import_module(module), name, swapped)


def exceptions(library: str) -> dict[str, str]:
    """Names of tests that fail, with the reason: those of every library, and this one's."""
    found = {}
    for line in EXCEPTIONS.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            where, test, reason = line.split(maxsplit=2)
            if where == "all" or (where == "other" and library != "numpy") or where == library:
                found[test] = reason
    return found


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    reasons = exceptions(config.getoption("--swap-to"))
    for item in items:
        for name in (item.name, item.name.partition("[")[0]):
            if name in reasons:
                item.add_marker(pytest.mark.xfail(reason=reasons[name], strict=True))
                break
