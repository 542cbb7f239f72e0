"""What goes to stdout: text for people, JSON for scripts; and what if nobody takes it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from math import isfinite
from typing import Any

import typer

from xpnet.cli.display import Console


class Narrator(Console):
    """stdout; or stderr where stdout is kept for JSON.

    A long training is not lost because its story cannot be written (a full disk behind stdout):
    the rest of it is dropped, and ``check`` raises what went wrong when the work is done.
    """

    def __init__(self, on_stderr: bool = False) -> None:
        super().__init__()
        self._name = "stderr" if on_stderr else "stdout"
        stream = sys.stderr if on_stderr else sys.stdout
        self._patient = None if stream is None else _Patient(stream)
        self.stderr = on_stderr
        if self._patient is not None:
            self.file = self._patient  # type: ignore[assignment]

    def on_broken_pipe(self) -> None:
        """The reader of a pipe has gone (``| head``): train on and save, without a word."""
        self.quiet = True
        if self._patient is not None:
            _to_nowhere(self._patient)

    def check(self) -> None:
        """Raises the OSError that was met, if any."""
        error = None if self._patient is None else self._patient.error
        if error is not None:
            raise OSError(error.errno, error.strerror, self._name)


class _Patient:
    """A text file that keeps its error for later; a reader that has gone is another matter."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        self._guarded(lambda: self._file.write(text))
        return len(text)

    def flush(self) -> None:
        self._guarded(self._file.flush)

    def _guarded(self, action: Callable[[], Any]) -> None:
        if self.error is not None:
            return
        try:
            action()
        except BrokenPipeError:
            raise
        except OSError as error:
            self.error = error
            _to_nowhere(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _to_nowhere(file: Any) -> None:
    """What waits in a file's buffer would be tried again, and complained about, at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), file.fileno())


def put(text: str) -> None:
    """Write to stdout now.

    Raises
    ------
    typer.Exit
        The reader has gone (``| head``): there is nothing left to do, and no error.
    OSError
        It cannot be written, or stdout is closed.
    """
    if sys.stdout is None:
        raise OSError("stdout is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _to_nowhere(sys.stdout)
        raise typer.Exit(0) from None
    except OSError as error:
        _to_nowhere(sys.stdout)
        raise OSError(error.errno, error.strerror, "stdout") from None


def put_json(value: Any) -> None:
    """One JSON object on stdout; NaN and infinities, which JSON has not, become null."""
    put(json.dumps(_plain(value), indent=2, ensure_ascii=False) + "\n")


def tell(text: str) -> None:
    """One line on stderr, if there is one: it may be closed, or its terminal be gone."""
    if sys.stderr is None:
        return
    try:
        print(f"xpnet: {' '.join(text.split())}", file=sys.stderr, flush=True)
    except OSError:
        _to_nowhere(sys.stderr)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if isfinite(value) else None
    if value is None or isinstance(value, str | bool | int):
        return value
    return str(value)
