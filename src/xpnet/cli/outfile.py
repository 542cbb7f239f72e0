"""Files of predictions: written beside their name and renamed when they are whole."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from xpnet.cli import output
from xpnet.cli.problem import UsageProblem
from xpnet.files.atomic import open_atomically

_HEADER = 192  # bytes in front of a .npy file's numbers: a multiple of 64 with room to spare


class Sink(Protocol):
    """Takes predictions, a block at a time: labels (m,) or columns (m, k)."""

    def put(self, block: np.ndarray) -> None: ...
    def finish(self) -> None: ...


@contextlib.contextmanager
def sink(path: Path | None, columns: Sequence[str]) -> Iterator[Sink]:
    """stdout as CSV, or a ``.csv`` or ``.npy`` file that appears when all went well."""
    if path is None:
        chosen: Sink = _Csv(output.put, columns)
        yield chosen
        chosen.finish()
        return
    with open_atomically(path) as file:
        npy = path.suffix.lower() == ".npy"
        chosen = _Npy(file) if npy else _Csv(lambda text: file.write(text.encode()), columns)
        yield chosen
        chosen.finish()


def check(option: str, path: Path | None, endings: Sequence[str] = ()) -> None:
    """Refuse now what could not be written after an hour of work.

    Raises
    ------
    UsageProblem
        It is no regular file, its folder is not there or closed to us, or has another ending.
    """
    if path is None:
        return
    parent = path.parent
    if path.exists() and not path.is_file():
        raise UsageProblem(option, f"{path} is not a regular file")
    if endings and path.suffix.lower() not in endings:
        raise UsageProblem(option, f"{path} ends in none of {', '.join(endings)}")
    if not parent.is_dir():
        raise UsageProblem(option, f"there is no folder {parent}")
    if not os.access(parent, os.W_OK):
        raise UsageProblem(option, f"cannot write in the folder {parent}")


class _Csv:
    """A header, together with the first examples, then a line an example."""

    def __init__(self, write: Any, columns: Sequence[str]) -> None:
        self._write = write
        self._waiting = [list(columns)]

    def put(self, block: np.ndarray) -> None:
        rows = block.reshape(len(block), -1)
        # str of a NumPy scalar has the digits that its dtype needs, and no more
        self._waiting += [[str(value) for value in row] for row in rows]
        self.finish()

    def finish(self) -> None:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(self._waiting)
        self._waiting = []
        self._write(text.getvalue())


class _Npy:
    """An array whose length is known at the end: its header is written last, in front."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._file.write(bytes(_HEADER))
        self._shape: tuple[int, ...] = (0,)
        self._dtype = np.dtype(np.float32)

    def put(self, block: np.ndarray) -> None:
        self._shape = (self._shape[0] + len(block), *block.shape[1:])
        self._dtype = block.dtype
        self._file.write(np.ascontiguousarray(block).data)

    def finish(self) -> None:
        """Format: numpy.lib.format, version 1.0."""
        shape = f"({', '.join(map(str, self._shape))}{',' * (len(self._shape) == 1)})"
        said = f"{{'descr': {self._dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
        room = _HEADER - 10
        self._file.seek(0)
        self._file.write(b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little"))
        self._file.write(said.ljust(room - 1).encode("latin1") + b"\n")
