"""Logs of training, a line an epoch: comma-separated values or JSON."""

from __future__ import annotations

import json
import os
from math import isfinite
from pathlib import Path
from typing import Any

from xpnet.files.atomic import write_atomically
from xpnet.training.history import Progress

FIELDS = (
    *("epoch", "step", "seconds", "learning_rate"),
    *("cost", "validation_cost", "validation_accuracy"),
)


class _Log:
    """A file that grows by a line an epoch; ``CSVLog`` and ``JSONLinesLog`` say what a line is."""

    head = ""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._seconds = 0.0  # of the fits before

    def on_fit_begin(self, net: Any, progress: Progress) -> None:
        kept = self._lines_up_to(progress.total_epoch)
        self._seconds = self._entry(kept[-1])[1] if kept else 0.0
        content = "".join([self.head, *kept]).encode()
        if self.path.exists() and not self.path.is_file():  # a pipe, a terminal
            self._append(content)
        else:
            write_atomically(self.path, content)

    def on_epoch_end(self, net: Any, progress: Progress) -> None:
        figures = {name: getattr(progress, name) for name in FIELDS}
        figures["epoch"] = progress.total_epoch
        figures["seconds"] = round(self._seconds + progress.seconds, 6)
        self._append(self._line(figures).encode())

    def _append(self, content: bytes) -> None:
        # Opened anew each time, so that no line waits in a buffer.
        with open(self.path, "ab", buffering=0) as file:
            file.write(content)

    def _lines_up_to(self, epoch: int) -> list[str]:
        """The lines of the file that are of epochs up to this one."""
        if not self.path.is_file():
            return []
        text = self.path.read_bytes().decode("utf-8", "replace")
        lines = text[len(self.head) :].splitlines(keepends=True)
        if lines and not lines[-1].endswith("\n"):  # the process died while it wrote this one
            lines.pop()
        try:
            if not text.startswith(self.head) and not self.head.startswith(text):
                raise ValueError
            return [line for line in lines if self._entry(line)[0] <= epoch]
        except (ValueError, KeyError, TypeError, IndexError):
            foreign = f"{self.path} is there and is no log of this kind; choose another name"
            raise ValueError(foreign) from None

    def _line(self, figures: dict[str, Any]) -> str:
        raise NotImplementedError

    def _entry(self, line: str) -> tuple[int, float]:
        """Epoch and seconds of a line."""
        raise NotImplementedError


class CSVLog(_Log):
    """Writes a .csv file with a header and a line an epoch.

    The columns are epoch, step, seconds, learning_rate, cost, validation_cost and
    validation_accuracy; figures that a fit does not have stay empty. Epochs, steps and seconds
    are counted over all fits that were resumed. Numbers are written so that they read back exactly.

    A fresh fit starts the file anew. A resumed one appends, and first drops the lines of later
    epochs and the half line that a crash may have left behind. Every line is written to the file
    when its epoch's callbacks have been called. That needs the cost, so the log waits for the
    device once an epoch.

    Parameters
    ----------
    path : path
        The file, or a pipe or terminal.

    Raises
    ------
    ValueError
        The file exists and is not such a log: it is not overwritten.
    OSError
        The file cannot be written.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import xpnet
    >>> from xpnet.callbacks import CSVLog
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> with TemporaryDirectory() as folder:
    ...     log = CSVLog(f"{folder}/run.csv")
    ...     history = net.fit(X.T / 16, y, epochs=2, callbacks=[log])
    ...     lines = log.path.read_text().splitlines()
    >>> lines[0]
    'epoch,step,seconds,learning_rate,cost,validation_cost,validation_accuracy'
    """

    head = ",".join(FIELDS) + "\n"

    def _line(self, figures: dict[str, Any]) -> str:
        return ",".join("" if v is None else repr(v) for v in figures.values()) + "\n"

    def _entry(self, line: str) -> tuple[int, float]:
        cells = line.rstrip("\n").split(",")
        if len(cells) != len(FIELDS):
            raise ValueError
        return int(cells[0]), float(cells[2])


class JSONLinesLog(_Log):
    """Writes a JSON object an epoch, one a line.

    The names are those of ``CSVLog``'s columns; figures that a fit does not have are null. A fresh
    and a resumed fit treat the file as with ``CSVLog``.

    Parameters
    ----------
    path : path
        The file, or a pipe or terminal.

    Raises
    ------
    ValueError, OSError
        As ``CSVLog``.

    Examples
    --------
    >>> import json
    >>> from tempfile import TemporaryDirectory
    >>> import xpnet
    >>> from xpnet.callbacks import JSONLinesLog
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> with TemporaryDirectory() as folder:
    ...     log = JSONLinesLog(f"{folder}/run.jsonl")
    ...     history = net.fit(X.T / 16, y, epochs=2, callbacks=[log])
    ...     lines = log.path.read_text().splitlines()
    >>> json.loads(lines[-1])["epoch"]
    2
    """

    def _line(self, figures: dict[str, Any]) -> str:
        # JSON has no NaN and no infinity, which the cost of a diverging epoch may be.
        finite = {k: v if v is None or isfinite(v) else None for k, v in figures.items()}
        return json.dumps(finite) + "\n"

    def _entry(self, line: str) -> tuple[int, float]:
        entry = json.loads(line)
        return int(entry["epoch"]), float(entry["seconds"])
