"""Encoded rows that are too many for the memory, in ``.npy`` files beside a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import ENOSPC
from pathlib import Path
from time import time_ns
from typing import Any, Self

import numpy as np

from xpnet.cli.problem import Part, Problem
from xpnet.data.file_array import empty_npy, npy_writer, open_npy
from xpnet.data.open_stream import stream
from xpnet.data.standardizer import RunningMoments

_PARTS = ("training", "validation")
_BLOCK = 2**20  # labels that are measured together
_TABLE = "table.json"  # is there when all else is


class Encoded:
    """The files in ``folder``: a context at whose end they go, unless ``keep``."""

    def __init__(self, folder: Path, keep: bool = False) -> None:
        self.folder, self.keep = folder, keep
        self._used = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._used and not self.keep:
            self.remove()

    def begin(self, problem: Problem, sizes: Sequence[int]) -> str:
        """Make files for so many rows of each part; returns a name to ``find`` them by."""
        width, dtype = len(problem.names), np.dtype(problem.dtype)
        labels = dtype if problem.classes is None else np.dtype(np.int64)
        needed = sum(sizes) * (width * dtype.itemsize + labels.itemsize)
        there = next(p for p in (self.folder, *self.folder.absolute().parents) if p.exists())
        free = shutil.disk_usage(there).free
        if needed > free:
            raise OSError(
                ENOSPC,
                f"the encoded rows take {needed / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free: "
                "--out or --run-dir on another disk",
                str(self.folder),
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._used = True
        for part, n in zip(_PARTS, sizes, strict=True):
            X_path, y_path = self._paths(part)
            empty_npy(X_path, dtype, (n, width))
            empty_npy(y_path, labels, (n,))
        self.finish(name := f"begun {time_ns()}", {})
        return name

    @contextmanager
    def writing(self, part: str, first: int, stop: int | None) -> Iterator[Any]:
        """Give a function that adds rows (k, width) and labels (k,), these rows of a part."""
        X_path, y_path = self._paths(part)
        with npy_writer(X_path, first, stop) as add_X, npy_writer(y_path, first, stop) as add_y:

            def add(X: np.ndarray, y: np.ndarray) -> None:
                try:
                    add_X(X)
                    add_y(y)
                except OSError as error:
                    what = f"{error.strerror}, encoding the rows"
                    raise OSError(error.errno, what, str(self.folder)) from None

            yield add

    def open(self, problem: Problem) -> None:
        """Give a problem its parts, as streams."""
        found = []
        for X_path, y_path in map(self._paths, _PARTS):
            y, spread = open_npy(y_path), RunningMoments()
            for i in range(0, y.shape[0], _BLOCK):
                spread.add(y[i : i + _BLOCK][:, None])
            if spread.n:
                variance = float(spread.result().scale[0]) ** 2
                found.append(Part(stream(str(X_path), str(y_path)), variance))
        problem.train, problem.validation = found[0], found[1] if len(found) > 1 else None

    def finish(self, fingerprint: str, table: dict[str, Any]) -> None:
        """Record what the rows are, so that ``find`` finds them."""
        kept = {"fingerprint": fingerprint, "table": table}
        (self.folder / _TABLE).write_text(json.dumps(kept), "utf-8")

    def find(self, fingerprint: str) -> dict[str, Any] | None:
        """What was recorded of rows with this fingerprint, if they are there; they are kept."""
        with suppress(OSError, ValueError, LookupError, TypeError):
            kept = json.loads((self.folder / _TABLE).read_text("utf-8"))
            if kept["fingerprint"] == fingerprint:
                self._used = self.keep = True
                return dict(kept["table"])
        return None

    def remove(self) -> None:
        """Remove the files, those that a killed run has left too."""
        for path in (self.folder / _TABLE, *(p for part in _PARTS for p in self._paths(part))):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # there is none, or something else is in it
            self.folder.rmdir()

    def _paths(self, part: str) -> tuple[Path, Path]:
        return self.folder / f"{part}.npy", self.folder / f"{part}-labels.npy"
