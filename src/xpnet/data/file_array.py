"""Arrays in ``.npy`` and ``.npz`` files, read a slice at a time.

They are read, not mapped: a map counts its pages as memory of this process, and its whole
length as address space.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from math import prod
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from threading import Lock
from typing import IO, Any
from weakref import finalize
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import numpy as np

_BROKEN = (ValueError, EOFError, KeyError, RuntimeError, OverflowError, NotImplementedError,
           BadZipFile, zlib.error, struct.error)  # fmt: skip
Header = tuple[tuple[int, ...], bool, np.dtype]  # shape, Fortran order, dtype


class FileArray:
    """An array (m, ...) in a file, in the order C or Fortran; ``a[i:j]`` reads rows.

    Parameters
    ----------
    name : str
        For messages.
    file : path, or a binary file that is this array's own
    offset : int
        Bytes before the array.
    header : (shape, whether the first index runs fastest, dtype)
    """

    def __init__(self, name: str, file: Path | IO[bytes], offset: int, header: Header) -> None:
        self.name, self._file, self._offset = name, file, offset
        self.shape, by_columns, self.dtype = header
        self._by_columns = by_columns and len(self.shape) > 1
        self._lock = Lock()
        if isinstance(file, Path):
            length = file.stat().st_size
        else:
            finalize(self, file.close)
            length = file.seek(0, os.SEEK_END)
        needed = offset + prod(self.shape) * self.dtype.itemsize
        if self.dtype.hasobject:
            raise ValueError(f"{name}: the array holds Python objects; save numbers")
        if needed > length:
            raise ValueError(f"{name}: truncated, {length:,} bytes of {needed:,}")

    def __getitem__(self, rows: slice) -> np.ndarray:
        m, *rest = self.shape
        start, stop, _ = rows.indices(m)
        count, width = max(stop - start, 0), prod(rest)
        if not self._by_columns:
            return self._read(start * width, count * width).reshape(count, *rest)
        columns = np.empty((width, count), self.dtype)
        for j, column in enumerate(columns):
            column[:] = self._read(j * m + start, count)
        return columns.reshape(*rest[::-1], count).T

    def close(self) -> None:
        if not isinstance(self._file, Path):
            self._file.close()

    def _read(self, first: int, count: int) -> np.ndarray:
        """Return ``count`` elements from number ``first`` on."""
        at = self._offset + first * self.dtype.itemsize
        if isinstance(self._file, Path):  # opened for each read: there is nothing to close
            found = np.fromfile(self._file, self.dtype, count, offset=at)
        else:
            with self._lock:
                self._file.seek(at)
                found = np.fromfile(self._file, self.dtype, count)
        if len(found) < count:
            raise ValueError(f"{self.name}: truncated while it was being read")
        return found


def open_npy(path: Path) -> FileArray:
    """Open the array in a ``.npy`` file."""
    with path.open("rb") as file:
        try:
            header = _header(file)
        except _BROKEN as error:
            raise ValueError(f"{path}: not a .npy file ({error})") from None
        return FileArray(str(path), path, file.tell(), header)


def open_npz(
    path: Path, folder: Path | None = None, needed: tuple[str, ...] = ("X", "y")
) -> dict[str, FileArray]:
    """Open the ``needed`` arrays of a ``.npz`` file.

    What is compressed is unpacked to a nameless file in ``folder`` (None: the system's), which
    goes with the array.
    """
    shapes = " and ".join({"X": "X (m, n)", "y": "y (m,)"}.get(name, name) for name in needed)
    with path.open("rb") as file:
        try:
            with ZipFile(file) as archive:
                held = {name.removesuffix(".npy"): name for name in archive.namelist()}
                if not set(needed) <= set(held):
                    holds = ", ".join(sorted(held))
                    raise ValueError(f"{path}: needs arrays {shapes}; it holds {holds}")
                infos = {name: archive.getinfo(held[name]) for name in needed}
                return {n: _member(path, n, archive, i, folder) for n, i in infos.items()}
        except _BROKEN as error:
            if str(error).startswith(str(path)):
                raise
            raise ValueError(f"{path}: not a .npz archive, or a damaged one ({error})") from None


def _member(
    path: Path, name: str, archive: ZipFile, info: ZipInfo, folder: Path | None
) -> FileArray:
    label = f"{path}: {name}"
    with archive.open(info) as member:
        if info.compress_type == ZIP_STORED:
            header = _header(member)
            return FileArray(label, path, _content(path, info) + member.tell(), header)
        with temporary(path, folder) as file:
            shutil.copyfileobj(member, file, 2**20)
            file.seek(0)
            header = _header(file)
            return FileArray(label, file, file.tell(), header)


def _content(path: Path, info: ZipInfo) -> int:
    """Return where a member's content begins: after its local header (APPNOTE.TXT, 4.3.7)."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise BadZipFile("damaged .npz archive")
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + name + extra


def _header(file: Any) -> Header:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


@contextmanager
def npy_writer(path: Path, first: int, stop: int | None) -> Iterator[Callable[..., None]]:
    """Give a function that writes rows to a file of ``empty_npy``, from ``first`` to ``stop``.

    Several processes may do so, each its own rows. Without ``stop`` the file ends with them.
    """
    end = first

    def add(rows: np.ndarray) -> None:
        nonlocal end
        end += len(rows)
        file.write(np.ascontiguousarray(rows, dtype).data)

    with path.open("r+b") as file:
        (_, *row), _, dtype = _header(file)
        file.seek(first * prod(row) * dtype.itemsize, os.SEEK_CUR)
        yield add
        if stop is None:
            file.seek(0)  # the header leaves room for any number of rows
            _write_header(file, dtype, (end, *row))
        elif end != stop:
            raise ValueError(f"{path}: row {end:,} follows, not {stop:,}: the data has changed")


def empty_npy(path: Path, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """Make a ``.npy`` file of this shape whose rows are still to be written."""
    with path.open("wb") as file:
        _write_header(file, dtype, shape)


def _write_header(file: Any, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    form = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, form)


@contextmanager
def temporary(path: Path, folder: Path | None) -> Iterator[IO[bytes]]:
    """Open a nameless file to unpack ``path`` to, which lasts as long as this process at most.

    It stays open unless there is an error; an OSError then says what was unpacked where.
    """
    file = TemporaryFile(prefix="xpnet-", dir=folder)  # noqa: SIM115 - stays open
    try:
        yield file
        file.flush()
    except BaseException as error:
        with suppress(OSError):  # closing writes what is buffered, and the disk may be full
            file.close()
        if isinstance(error, OSError):
            where = folder or gettempdir()
            what = f"{error.strerror}, unpacking {path} to {where}: another folder= may have room"
            raise OSError(error.errno, what) from None
        raise
