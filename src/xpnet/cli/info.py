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
    console.print_line(f"xpnet {xpnet.__version__}, Python {platform.python_version()}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("backend", no_wrap=True)
    table.add_column("version", no_wrap=True)
    table.add_column("devices", overflow="fold")
    for backend in found.values():
        if backend.usable:
            table.add_row(
                Text(backend.name, style="green"), backend.version, " ".join(backend.devices)
            )
    console.print()
    console.print(table)
    for backend in found.values():
        if not backend.usable:
            there = backend.installed
            state = "installed, but not usable" if there else "not installed"
            console.print_line(f"\n{backend.name}: {state}", style="yellow")
            # What installs it is never wrapped, so that it can be copied.
            console.print_line(f"  {backend.reason if there else backend.install}", wrap=there)
    console.check()
