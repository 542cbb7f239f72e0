"""Writes predictions: CSV on stdout, or a ``.csv`` or ``.npy`` file that appears when whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from xpnet.cli import output
from xpnet.files.atomic import open_atomically


def write(path: Path | None, columns: Sequence[str], blocks: Iterable[np.ndarray]) -> None:
    """Write blocks of labels (m,) or columns (m, k); to stdout if ``path`` is None."""
    if path is None:
        for text in _csv(columns, blocks):
            output.put(text)
        return
    with open_atomically(path) as file:
        if path.suffix.lower() == ".npy":
            _write_npy(file, blocks)
        else:
            file.writelines(text.encode() for text in _csv(columns, blocks))


def _csv(columns: Sequence[str], blocks: Iterable[np.ndarray]) -> Iterator[str]:
    """The header comes with the first block: data that cannot be read leave stdout empty."""
    lines = [list(columns)]
    for block in blocks:
        # str of a NumPy scalar has the digits that its dtype needs, and no more
        lines += [[str(value) for value in row] for row in block.reshape(len(block), -1)]
        yield _text(lines)
        lines = []
    if lines:
        yield _text(lines)


def _text(lines: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _write_npy(file: BinaryIO, blocks: Iterable[np.ndarray]) -> None:
    """The header is written again at the end: NumPy leaves room in it for any number of rows."""
    m, block = 0, np.empty(0, np.float32)
    _write_header(file, block, m)
    for block in blocks:
        if m == 0:
            file.seek(0)
            _write_header(file, block, m)
        file.write(np.ascontiguousarray(block).data)
        m += len(block)
    file.seek(0)
    _write_header(file, block, m)


def _write_header(file: BinaryIO, block: np.ndarray, m: int) -> None:
    described = {"descr": npy.dtype_to_descr(block.dtype), "fortran_order": False}
    npy.write_array_header_1_0(file, described | {"shape": (m, *block.shape[1:])})
