"""Arguments and options that several commands share, and the checks of their values."""

import codecs
import os
from collections.abc import Mapping
from dataclasses import dataclass
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
    Path, typer.Argument(metavar="MODEL", help="A file that xpnet train wrote, or a checkpoint.")
]
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


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The options that say how a table in text is written, of every command that reads one."""

    sep: Annotated[
        str | None, option("CHAR", "Between cells of text: , ; | tab or space; found if left out.")
    ] = None
    decimal: Annotated[str, option("CHAR", "In numbers: . or a comma.")] = "."
    encoding: Annotated[
        str | None, option("NAME", "Of text.  [default: by its first bytes, or UTF-8]")
    ] = None
    header: Annotated[
        bool | None,
        typer.Option("--header/--no-header", help="Whether line 1 holds names; found if left out."),
    ] = None
    comment: Annotated[str | None, option("CHAR", "What lines to leave out begin with.")] = None
    missing: Annotated[
        list[str] | None, option("TEXT", "A cell that holds no value; may be given several times.")
    ] = None

    @property
    def reading(self) -> ReadOptions:
        """These options, checked; a UsageProblem if they make no sense."""
        sep = {"tab": "\t", "\\t": "\t", "space": " "}.get(self.sep or "", self.sep)
        for name, value in (("--sep", sep), ("--decimal", self.decimal)):
            require(value is None or len(value) == 1, name, f"{value!r} is not one character")
        require(self.decimal in ".,", "--decimal", f"{self.decimal!r} is neither . nor a comma")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError:
                raise UsageProblem("--encoding", f"{self.encoding!r} is no encoding") from None
        missing = None if self.missing is None else tuple(self.missing)
        return ReadOptions(sep, self.decimal, self.encoding, self.header, self.comment, missing,
                           command=True)  # fmt: skip


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
    option: str, path: Path, kind: Kind, others: Mapping[str, Path | None], force: bool
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
