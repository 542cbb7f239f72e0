"""Estimates whether a file of examples fits in memory."""

from __future__ import annotations

import os
from contextlib import suppress
from importlib import import_module
from math import inf
from pathlib import Path
from zipfile import BadZipFile, ZipFile

# The table, the training part cut out of it, float64 copies while it is standardised, and what the
# net is given.
_COPIES = 5


def fits(path: Path) -> bool:
    """Whether training on all of ``path`` at once leaves the machine room; true if unknown."""
    return _COPIES * size_of(path) <= available()


def size_of(path: Path) -> int:
    """Bytes that the numbers of a file take in memory, about; those of a damaged one, its size."""
    size = path.stat().st_size
    kind = path.suffix.lower()
    with suppress(BadZipFile, ImportError, OSError, ValueError):
        if kind == ".npz":
            with ZipFile(path) as archive:
                return sum(member.file_size for member in archive.infolist())
        if kind == ".parquet":
            found = import_module("pyarrow.parquet").read_metadata(path)
            return int(8 * found.num_rows * found.num_columns)
    return size  # in a .csv a number and its comma take about 8 characters too


def available() -> float:
    """Bytes that this process may still take; infinite where nobody says."""
    room = inf
    for left in (_left_on_machine, _left_in_container):
        with suppress(AttributeError, OSError, StopIteration, ValueError):
            room = min(room, left())
    return max(0, room)


def _left_on_machine() -> int:
    if Path("/proc/meminfo").exists():  # lines such as "MemAvailable:  123456 kB"
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * next(int(s.split()[1]) for s in lines if s.startswith("MemAvailable:"))
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # half of all there is


def _left_in_container() -> int:
    """What the limit of cgroup v2 leaves; a ValueError for "max", no limit."""
    folder = Path("/sys/fs/cgroup")
    most, used = (folder / f"memory.{name}" for name in ("max", "current"))
    return int(most.read_text()) - int(used.read_text())
