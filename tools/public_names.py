"""The public names of xpnet, as the reference lists them and ``tests/test_docstrings.py`` checks.

``[tool.numpydoc_validation]`` in pyproject.toml says what is left out: methods of the public
classes that only the package itself calls, and those that a base or a protocol describes.
"""

import inspect
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

MODULES = ("xpnet", "xpnet.callbacks", "xpnet.schedules", "xpnet.plotting")
# What classes of a user's own look like, and what they are given; described beside the names.
INTERFACES = (
    "xpnet.engines.use",
    "xpnet.core.optimizers.Optimizer",
    "xpnet.training.history.Callback",
    "xpnet.training.history.Progress",
    "xpnet.distributed.Communicator",
)
SETTINGS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))
VALIDATION = SETTINGS["tool"]["numpydoc_validation"]


def public_names() -> dict[str, Any]:
    """Dotted names and their objects: of every ``__all__``, and the members of its classes."""
    found = {}
    for module in map(import_module, MODULES):
        for name in module.__all__:
            public = getattr(module, name)
            found[f"{module.__name__}.{name}"] = public
            for member in members(public) if inspect.isclass(public) else ():
                found[f"{module.__name__}.{name}.{member}"] = getattr(public, member)
    left_out = re.compile("|".join(VALIDATION["exclude"]))
    return {
        name: public
        for name, public in found.items()
        if not (left_out.search(name) or inspect.ismodule(public))
    }


def members(kind: type) -> list[str]:
    """Public methods and properties that the classes of xpnet define, not those of its bases."""
    found = {
        name: value
        for base in reversed(kind.__mro__)
        if base.__module__.startswith("xpnet.")
        for name, value in vars(base).items()
    }
    return [
        name
        for name, value in found.items()
        if not name.startswith("_") and (callable(value) or hasattr(value, "__get__"))
    ]
