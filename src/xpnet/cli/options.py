"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ModelFile = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A file that xpnet train wrote, or a checkpoint."),
]
DataFile = Annotated[Path, typer.Argument(metavar="DATA", help="The examples.")]
Backend = Annotated[
    str,
    typer.Option(metavar="NAME", help="auto (NumPy), best (a GPU if any), or as xpnet info."),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="For example cpu or cuda:1."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]
