"""The command line, ``xpnet``: needs the extra ``cli`` (Typer and rich)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

INSTALL = "python -m pip install typer rich pyarrow"


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line on ``args``, by default those of the process.

    Ends with ``SystemExit``, or returns 1 where Typer or rich is missing.
    """
    try:
        from xpnet.cli.commands import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("typer", "rich"):
            raise
        print(f"xpnet: error: the command line needs {missing}: {INSTALL}", file=sys.stderr)
        return 1
    app(args)
    return 0
