"""Whether a file of examples fits in memory."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from zipfile import BadZipFile, ZipFile

# The table, the training part cut out of it, float64 copies while it is measured and
# standardised, and what the net is given.
_COPIES = 5
_UNPACKED = 5  # a guess of what .parquet saves


def fits(path: Path) -> bool:
    """Whether training on all of ``path`` at once leaves the machine room; true if unknown."""
    room = available()
    return room is None or _COPIES * size_of(path) <= room


def size_of(path: Path) -> int:
    """Bytes that the numbers of a file take in memory, about."""
    size = path.stat().st_size
    kind = path.suffix.lower()
    if kind == ".npz":
        try:
            with ZipFile(path) as archive:
                return sum(member.file_size for member in archive.infolist())
        except BadZipFile:
            return size  # an error to come
    if kind == ".parquet":
        if not find_spec("pyarrow"):
            return _UNPACKED * size
        try:
            meta = import_module("pyarrow.parquet").read_metadata(path)
        except (OSError, ValueError):  # ArrowInvalid is one
            return size
        return 8 * meta.num_rows * meta.num_columns
    return size  # in a .csv a number and its comma take about 8 characters too


def available() -> int | None:
    """Bytes that this process may still take; None where nobody says."""
    rooms = [room for room in (_of_machine(), _of_group(), _of_process()) if room is not None]
    return min(rooms, default=None)


def _of_machine() -> int | None:
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable:"):
                    return 1024 * int(line.split()[1])
    except OSError:
        pass
    try:  # a part of all there is, elsewhere
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    except (AttributeError, ValueError, OSError):
        return None


def _of_group() -> int | None:
    """What a container has left (cgroup v2)."""
    try:
        folder = Path("/sys/fs/cgroup")
        most = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
    except (OSError, ValueError):
        return None
    return None if most == "max" else max(0, int(most) - used)


def _of_process() -> int | None:
    """What ``ulimit -v`` leaves."""
    if sys.platform == "win32":
        return None
    import resource

    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY:
        return None
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return most // 2
    return max(0, most - pages * resource.getpagesize())
