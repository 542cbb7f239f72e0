"""Arrays in ``.npy`` and ``.npz`` files, read a slice at a time.

They are read, not mapped: a map counts its pages as memory of this process, and its whole
length as address space.
"""

from __future__ import annotations

import os
import shutil
import struct
import zlib
from collections.abc import Iterator
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


class FileArray:
    """An array (m, ...) in a file; ``a[i:j]`` reads rows.

    Parameters
    ----------
    name : str
        For messages.
    file : path, or a binary file that is this array's own
    offset : int
        Bytes before the array.
    by_columns : bool
        Whether the first index runs fastest (Fortran order).
    """

    def __init__(
        self,
        name: str,
        file: Path | IO[bytes],
        offset: int,
        shape: tuple[int, ...],
        dtype: np.dtype,
        by_columns: bool = False,
    ) -> None:
        self.name, self.shape, self.dtype = name, shape, dtype
        self._file, self._offset = file, offset
        self._by_columns = by_columns and len(shape) > 1
        self._lock = Lock()
        if not isinstance(file, Path):
            file.flush()
            finalize(self, file.close)
        needed = offset + prod(shape) * dtype.itemsize
        if dtype.hasobject:
            raise ValueError(f"{name}: the array holds Python objects; save numbers")
        if needed > self._length():
            raise ValueError(f"{name}: truncated, {self._length():,} bytes of {needed:,}")

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(self.shape[0])
        count = max(stop - start, 0)
        if isinstance(self._file, Path):
            # opened for each read: nothing to close, and nothing that two threads share
            with self._file.open("rb", buffering=0) as file:
                return self._read(file, start, count)
        with self._lock:
            return self._read(self._file, start, count)

    def close(self) -> None:
        if not isinstance(self._file, Path):
            self._file.close()

    def _read(self, file: IO[bytes], start: int, count: int) -> np.ndarray:
        width = prod(self.shape[1:])
        if not self._by_columns:
            flat = np.empty(count * width, self.dtype)
            self._fill(file, flat, start * width)
            return flat.reshape(count, *self.shape[1:])
        columns = np.empty((width, count), self.dtype)
        for j, column in enumerate(columns):
            self._fill(file, column, j * self.shape[0] + start)
        return columns.reshape(*self.shape[:0:-1], count).T

    def _fill(self, file: IO[bytes], flat: np.ndarray, first: int) -> None:
        """Read elements from ``first`` on into ``flat``."""
        file.seek(self._offset + first * self.dtype.itemsize)
        into = flat.view(np.uint8).data
        while into:
            n = file.readinto(into)  # type: ignore[attr-defined]
            if not n:
                raise ValueError(f"{self.name}: truncated while it was being read")
            into = into[n:]

    def _length(self) -> int:
        if isinstance(self._file, Path):
            return self._file.stat().st_size
        return os.fstat(self._file.fileno()).st_size


def open_npy(path: Path) -> FileArray:
    """Open the array in a ``.npy`` file."""
    with path.open("rb") as file:
        try:
            shape, by_columns, dtype = _header(file)
        except _BROKEN as error:
            raise ValueError(f"{path}: not a .npy file ({error})") from None
        return FileArray(str(path), path, file.tell(), shape, dtype, by_columns)


def open_npz(
    path: Path, folder: Path | None = None, needed: tuple[str, ...] = ("X", "y")
) -> dict[str, FileArray]:
    """Open the ``needed`` arrays of a ``.npz`` file.

    What is compressed is unpacked to a nameless file in ``folder`` (None: the system's), which
    goes with the array.
    """
    shapes = " and ".join({"X": "X (m, n)", "y": "y (m,)"}[name] for name in needed)
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
            shape, by_columns, dtype = _header(member)
            offset = _content(path, info) + member.tell()
            return FileArray(label, path, offset, shape, dtype, by_columns)
        with temporary(path, folder) as file:
            shutil.copyfileobj(member, file, 2**20)
            file.seek(0)
            shape, by_columns, dtype = _header(file)
            return FileArray(label, file, file.tell(), shape, dtype, by_columns)


def _content(path: Path, info: ZipInfo) -> int:
    """Return where a member's content begins: after its local header (APPNOTE.TXT, 4.3.7)."""
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
    if header[:4] != b"PK\x03\x04":
        raise BadZipFile("damaged .npz archive")
    name, extra = struct.unpack("<HH", header[26:30])
    return info.header_offset + 30 + name + extra


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


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
