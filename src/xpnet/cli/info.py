"""``xpnet info``: the array libraries of this machine."""

from __future__ import annotations

import platform
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

import xpnet
from xpnet.cli import output
from xpnet.cli.options import Json

EXAMPLES = """Examples:

\b
  xpnet info
  xpnet info --json

Exit codes: 0 done; 2 wrong options."""


def info(as_json: Json = False) -> None:
    """List the array libraries found, their versions and devices.

    For each one that is missing, the line that installs it.
    """
    found = xpnet.backends()
    if as_json:
        versions = {"xpnet": xpnet.__version__, "python": platform.python_version()}
        output.put_json(versions | {"backends": {n: asdict(b) for n, b in found.items()}})
        return
    console = output.Console()
    console.print_line(f"xpnet {xpnet.__version__}, Python {platform.python_version()}\n")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("backend", "version", "devices"):
        table.add_column(name, no_wrap=name != "devices", overflow="fold")
    for b in found.values():
        if b.usable:
            table.add_row(Text(b.name, style="green"), b.version, " ".join(b.devices))
    console.print(table)
    for b in found.values():
        if not b.usable:
            state = "installed, but not usable" if b.installed else "not installed"
            console.print_line(f"\n{b.name}: {state}", style="yellow")
            # What installs it is never wrapped, so that it can be copied.
            console.print_line(f"  {b.reason if b.installed else b.install}", wrap=b.installed)
    console.check()
