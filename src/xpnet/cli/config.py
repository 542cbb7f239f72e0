"""Configuration files: the options of ``xpnet train`` in TOML, by their long names."""

from __future__ import annotations

import json
import platform
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import xpnet
from xpnet.cli.options import UsageProblem
from xpnet.cli.problem import Problem
from xpnet.cli.recipe import Recipe
from xpnet.cli.settings import ABOUT_THE_OUTPUT, Settings

NAME = "config.toml"  # in a run folder
FIRST_LINE = "One run of xpnet train. The same again, bit for bit where the versions are the same:"
_LISTS = ("hidden", "dropout")  # may be written as arrays
_FLAGS = ("stream", "header", "robust", "force", "json", "keep-encoded")
_SEVERAL = ("column", "ignore", "missing")  # options that may be given several times
_NOT_HERE = ("config", "resume")


def long_name(name: str) -> str:
    """The option of a field of ``Settings``: ``batch_size`` is batch-size."""
    return "json" if name == "as_json" else name.replace("_", "-")


def read(path: Path) -> dict[str, Any]:
    """Read a file; returns values by the names of the fields of ``Settings``.

    Values are text, as on a command line, or true and false.

    Raises
    ------
    UsageProblem
        It is no TOML; or a key or the kind of a value fits no option. It names the file.
    OSError
        It cannot be read.
    """
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except UnicodeDecodeError:
        raise UsageProblem("--config", f"{path}: not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageProblem("--config", f"{path}: {error}") from None
    names = {long_name(field.name): field.name for field in fields(Settings)}
    for name in _NOT_HERE:
        del names[name]
    values = {}
    for key, value in found.items():
        if key not in names:
            raise UsageProblem("--config", f"{path}: no option {key!r}")
        values[names[key]] = _as_given(path, key, value)
    return values


def _as_given(path: Path, key: str, value: Any) -> Any:
    flag = key in _FLAGS
    if key in _SEVERAL:
        return [str(item) for item in (value if isinstance(value, list) else [value])]
    if isinstance(value, bool) == flag and isinstance(value, bool | int | float | str):
        return value if flag else str(value)
    if isinstance(value, list) and key in _LISTS:
        return ",".join(str(item) for item in value)
    wanted = "true or false" if flag else "a number or text"
    found = json.dumps(value, default=str)
    raise UsageProblem("--config", f"{path}: {key} = {found}: expected {wanted}")


def resolved(settings: Settings, recipe: Recipe, problem: Problem, net: Any) -> Settings:
    """Fill in what was left to defaults, to the data and to the machine."""
    held_out, fit, data = recipe.held_out, recipe.fit, settings.data
    return replace(
        settings,
        data=data if data is None or settings.piped else data.resolve(),
        task=problem.task,  # type: ignore[arg-type]
        hidden=",".join(map(str, recipe.widths)) or None,
        backend=net.backend.name,
        optimizer=recipe.optimizer,
        epochs=None if recipe.solved else recipe.epochs,
        batch_size=None if recipe.solved else str(fit["batch_size"] or "full"),
        schedule=None if recipe.solved else settings.schedule or "constant",
        lr=None if recipe.solved else fit["optimizer"].learning_rate,
        l2=fit["l2"],
        validation=str(held_out.resolve() if isinstance(held_out, Path) else held_out),
        stream=None if data is None else problem.streamed,
    )


def as_toml(settings: Settings, comments: list[str]) -> str:
    """The text of a file that holds ``settings``, all but where the results go."""
    versions = f"xpnet {xpnet.__version__}, Python {platform.python_version()}, NumPy "
    versions += f"{np.__version__}, {platform.system()} {platform.machine()}"
    again = f"  xpnet train --config {NAME} --run-dir ANOTHER"
    comments = [FIRST_LINE, again, versions, *comments]
    values = {field.name: getattr(settings, field.name) for field in fields(Settings)}
    lines = [f"{long_name(name)} = {_toml(value)}" for name, value in values.items()
             if name not in ABOUT_THE_OUTPUT and value is not None]  # fmt: skip
    return "\n".join([*(f"# {line}" for line in comments), "", *lines, ""])


def _toml(value: Any) -> str:
    """JSON writes truth, numbers and text as TOML does, but for the character DEL."""
    plain = value if isinstance(value, bool | int | float | list) else str(value)
    return json.dumps(plain, ensure_ascii=False).replace("\x7f", "\\u007f")
