"""Where the command line writes, and tables of what it found. The bar is ``progressbar``'s."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

import rich.console
from rich import box
from rich.table import Table
from rich.text import Text


class Console(rich.console.Console):
    """stdout: plain text where it is no terminal, and silent once nobody reads it any more."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False)

    @property
    def live(self) -> bool:
        """Whether a bar can be drawn."""
        return self.is_terminal and not self.is_dumb_terminal

    def line_of(self, text: str, style: str = "", wrap: bool = True) -> None:
        """Print one line; on a terminal ``wrap`` breaks it between words."""
        self.print(Text(text, style=style), soft_wrap=not (wrap and self.is_terminal))

    def on_broken_pipe(self) -> None:
        """The reader of a pipe has gone (``| head``): train on and save, without a word."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def results_table(rows: Mapping[str, str]) -> Table:
    """Names and values, a pair a row."""
    table = Table(box=box.ROUNDED, show_header=False)
    table.add_column(style="cyan")
    table.add_column(justify="right", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table
