"""Writes to stdout and stderr: text for people, JSON for scripts.

A closed pipe (``| head``) is no error. A full disk is one, but a training goes on to its end.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rich.console
import typer
from rich import box
from rich.table import Table
from rich.text import Text


class Console(rich.console.Console):
    """stdout, or stderr where stdout is kept for JSON: plain text unless it is a terminal.

    What cannot be written is dropped, so that no long training is lost by it; ``check`` raises the
    error when the work is done.
    """

    def __init__(self, on_stderr: bool = False) -> None:
        super().__init__(highlight=False, markup=False, stderr=on_stderr)
        stream = sys.stderr if on_stderr else sys.stdout
        if stream is not None:
            if hasattr(stream, "reconfigure"):  # where it has no ² and no ±
                stream.reconfigure(errors="replace")
            self.file = _Lossy(stream)  # type: ignore[assignment]

    def print_line(self, text: str, style: str = "", wrap: bool = True) -> None:
        """Print one line; on a terminal ``wrap`` breaks it between words."""
        self.print(Text(text, style=style), soft_wrap=not (wrap and self.is_terminal))

    def print_rows(self, rows: Mapping[str, str], justify: Any = "right") -> None:
        """Print a table of names and values, a pair a row."""
        table = Table(box=box.ROUNDED, show_header=False)
        table.add_column(style="cyan")
        table.add_column(justify=justify, overflow="fold")
        for row in rows.items():
            table.add_row(*row)
        self.print(table)

    def check(self) -> None:
        """Raise the OSError that was met while writing, if any; a closed pipe is none."""
        error = getattr(self.file, "error", None)
        if error is not None and not isinstance(error, BrokenPipeError):
            raise error


class _Lossy:
    """A text file that keeps the first error of writing, and drops everything from there on."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        try:
            self._file.write(text)
            self._file.flush()
        except OSError as error:
            _discard(self._file)
            name = str(getattr(self._file, "name", "output")).strip("<>")
            self.error = OSError(error.errno, error.strerror, name)
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _discard(file: Any) -> None:
    """Send a file to nowhere: what waits in its buffer would fail again, at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def put(text: str) -> None:
    """Write to stdout now, as UTF-8 like every file.

    Raises
    ------
    typer.Exit
        The reader has gone (``| head``): there is nothing left to do, and no error.
    OSError
        It cannot be written, or stdout is closed.
    """
    if sys.stdout is None:
        raise OSError("stdout is closed")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(encoding="utf-8")
    stdout = _Lossy(sys.stdout)
    stdout.write(text)
    if stdout.error is not None:
        raise typer.Exit(0) if isinstance(stdout.error, BrokenPipeError) else stdout.error


def as_json(value: Any, indent: int = 2) -> str:
    """One JSON object; NaN and infinities, which JSON has not, become null."""
    plain = json.loads(json.dumps(value, default=str), parse_constant=lambda name: None)
    return json.dumps(plain, indent=indent, ensure_ascii=False) + "\n"


def put_json(value: Any) -> None:
    """Write one JSON object to stdout."""
    put(as_json(value))


def tell(text: str) -> None:
    """Write one line to stderr, if there is one: it may be closed, or its terminal be gone."""
    if sys.stderr is None:
        return
    try:
        line = " ".join(map(str.strip, text.splitlines()))
        print(f"xpnet: {line}", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def silence() -> None:
    """Drops what this process would write, for another rank of the same run writes it, too."""
    nothing = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  until the process ends
    sys.stdout = sys.stderr = nothing


class _Told(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


@contextmanager
def library_told() -> Iterator[None]:
    """Tells what the library logs: that something is compiled first, which takes a while."""
    logger, told = logging.getLogger("xpnet"), _Told()
    level = logger.level
    logger.addHandler(told)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(told)
        logger.setLevel(level)
