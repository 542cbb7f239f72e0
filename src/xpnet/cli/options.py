"""Arguments and options that several commands share, and the checks of their values."""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xpnet.backends.libraries import LIBRARIES
from xpnet.data.readers import ReadOptions
from xpnet.files.outputs import Kind, refusal

INSTALL_PLOT = "python -m pip install matplotlib"


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
Sep = Annotated[
    str | None, option("CHAR", "Between cells of text: , ; | tab or space; found if left out.")
]
Decimal = Annotated[str, option("CHAR", "In numbers: . or a comma.")]
Encoding = Annotated[
    str | None, option("NAME", "Of text.  [default: by its first bytes, or UTF-8]")
]
Header = Annotated[
    bool | None,
    typer.Option("--header/--no-header", help="Whether line 1 holds names; found if left out."),
]
Comment = Annotated[str | None, option("CHAR", "What lines to leave out begin with.")]
Missing = Annotated[
    list[str] | None, option("TEXT", "A cell that holds no value; may be given several times.")
]


class UsageProblem(typer.BadParameter):
    """Options that contradict each other or the data: which option, and why."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message, param_hint=f"'{option}'")


def require(condition: bool, option: str, message: str) -> None:
    """Raise a UsageProblem unless ``condition``."""
    if not condition:
        raise UsageProblem(option, message)


def reading(
    sep: str | None,
    decimal: str,
    encoding: str | None,
    header: bool | None,
    comment: str | None,
    missing: list[str] | None,
) -> ReadOptions:
    """What these options say of a file of text; a UsageProblem if they make no sense."""
    sep = {"tab": "\t", "\\t": "\t", "space": " "}.get(sep or "", sep)
    for name, value in (("--sep", sep), ("--decimal", decimal)):
        require(value is None or len(value) == 1, name, f"{value!r} is not one character")
    require(decimal in ".,", "--decimal", f"{decimal!r} is neither . nor a comma")
    if encoding is not None:
        try:
            codecs.lookup(encoding)
        except LookupError:
            raise UsageProblem("--encoding", f"{encoding!r} is no encoding") from None
    return ReadOptions(
        sep, decimal, encoding, header, comment, missing and tuple(missing), command=True
    )


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
