"""Files that are replaced in one step: a temporary file, a flush to the disk, a rename.

No crash, full disk or power cut leaves half a file under the final name. A file that is replaced
hands its mode on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", None))
File: TypeAlias = str | os.PathLike[str] | BinaryIO  # its path, or a file that is open


@contextlib.contextmanager
def open_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A temporary file beside ``path``, which takes its name when the block ends without an error.

    Raises
    ------
    OSError
        The file cannot be written, or ``path`` is no regular file. A file that was there is
        unharmed.
    """
    final = Path(os.path.realpath(path))  # a symbolic link stays one
    if os.path.exists(final) and not os.path.isfile(final):  # these never raise
        raise OSError(f"{os.fspath(path)} is not a regular file")
    # 60 characters are 240 bytes or less; a file system takes 255
    temporary = final.with_name(f".{final.name[:60]}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            with contextlib.suppress(OSError):  # there was no file, or its system has no modes
                shutil.copymode(final, temporary)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, final)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError) and error.filename in (None, str(temporary)):
            # The message names the file that the caller asked for, and the folder that is full.
            full = f" in the folder {final.parent}" if error.errno in _FULL else ""
            raise OSError(error.errno, f"{error.strerror}{full}", os.fspath(path)) from error
        raise
    _flush_folder(final.parent)


def write_atomically(file: File, *content: bytes | memoryview) -> None:
    """Replaces a file by ``content``, as ``open_atomically``; or writes to one that is open."""
    if isinstance(file, str | os.PathLike):
        with open_atomically(file) as temporary:
            return write_atomically(temporary, *content)
    if not hasattr(file, "write"):
        raise TypeError(f"a path or an open file is needed, not {file!r}")
    for part in content:
        file.write(part)


def name_of(file: File) -> str:
    """The name of a file for messages."""
    return str(file if isinstance(file, str | os.PathLike) else getattr(file, "name", "open file"))


def _flush_folder(folder: Path) -> None:
    """Makes the rename survive a power cut, where folders can be flushed (not on Windows)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
