"""Arguments and options that several commands share, and the checks of their values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xpnet.backends.libraries import LIBRARIES
from xpnet.files.outputs import Kind, refusal

INSTALL_PLOT = 'python -m pip install "xpnet[plot]"'


def option(metavar: str, help: str, **more: Any) -> Any:
    """An option with the name of its parameter: ``batch_size`` is --batch-size."""
    return typer.Option(metavar=metavar, help=help, **more)


ModelFile = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A file that xpnet train wrote, or a checkpoint."),
]
DataFile = Annotated[Path, typer.Argument(metavar="DATA", help="The examples.")]
Backend = Annotated[str, option("NAME", "auto (NumPy), best (a GPU if any), or as xpnet info.")]
Device = Annotated[str | None, option("NAME", "For example cpu or cuda:1.")]
Dtype = Annotated[Literal["float32", "float64"], option("TYPE", "float32 or float64.")]
Force = Annotated[bool, typer.Option("--force", help="Replace files of other kinds too.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


class UsageProblem(typer.BadParameter):
    """Options that contradict each other or the data: which option, and why."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message, param_hint=f"'{option}'")


def require(condition: bool, option: str, message: str) -> None:
    """Raise a UsageProblem unless ``condition``."""
    if not condition:
        raise UsageProblem(option, message)


def is_count(text: str) -> bool:
    """Whether it is a whole number above 0."""
    return text.isascii() and text.isdecimal() and int(text) > 0


def widths_of(text: str) -> tuple[int, ...]:
    """Read the value of --hidden."""
    fields = [field.strip() for field in text.split(",")]
    wrong = f"{text!r} is no list of widths such as 256,128"
    require(all(map(is_count, fields)), "--hidden", wrong)
    return tuple(map(int, fields))


def check_backend(name: str) -> None:
    """Raise a UsageProblem unless ``name`` is a library, "auto" or "best"."""
    names = ["auto", "best", *LIBRARIES]
    require(name in names, "--backend", f"{name!r} is not one of {', '.join(names)}")


def check_output(
    option: str,
    path: Path,
    kind: Kind,
    others: Mapping[str, Path | None],
    force: bool,
) -> None:
    """Raise a UsageProblem if ``files.outputs.refusal`` has a reason."""
    if (why := refusal(path, kind, others, force)) is not None:
        raise UsageProblem(option, why)


def check_output_folder(option: str, path: Path | None) -> None:
    """Refuse a folder that could not be made or written in."""
    if path is not None:
        there = next(p for p in (path, *path.absolute().parents) if p.exists())
        require(there.is_dir(), option, f"{there} is not a folder")
        require(os.access(there, os.W_OK), option, f"cannot write in the folder {there}")
