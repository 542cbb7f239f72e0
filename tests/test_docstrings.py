"""Every public name has a docstring that numpydoc accepts, with an example that runs."""

import doctest
import inspect
import pkgutil
import re

import pytest
from public_names import INTERFACES, VALIDATION, public_names

NAMES = public_names()
DOCUMENTED = NAMES | {name: pkgutil.resolve_name(name) for name in INTERFACES}


@pytest.mark.parametrize("name", NAMES)
def test_numpydoc_accepts(name):
    """The checks are those of ``[tool.numpydoc_validation]`` in pyproject.toml."""
    numpydoc = pytest.importorskip("numpydoc.validate")
    errors = numpydoc.validate(numpydoc.get_doc_object(NAMES[name]))["errors"]
    assert [error for error in errors if error[0] in VALIDATION["checks"]] == []


@pytest.mark.parametrize("name", DOCUMENTED)
def test_the_example_runs(name, monkeypatch, tmp_path):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    for library in re.findall(r"^ *>>> (?:import|from) (\w+)", text, re.MULTILINE):
        pytest.importorskip(library)
    draws = name.startswith("xpnet.plotting") and pytest.importorskip("matplotlib.pyplot")
    example = doctest.DocTestParser().get_doctest(text, {}, name, None, None)
    said = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=said.append)
    if draws:
        draws.close("all")
    assert example.examples
    assert said == [], "".join(said)
