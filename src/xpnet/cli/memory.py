"""Estimates whether a table fits in memory."""

from __future__ import annotations

import os
from contextlib import suppress
from math import inf
from pathlib import Path

# Columns and their batches, the training part cut out of them, float64 copies while they are
# encoded and standardised, and what the net is given.
_COPIES = 10


def fits(cells: int) -> bool:
    """Whether training on so many cells at once leaves the machine room; true if unknown."""
    return _COPIES * 8 * cells <= available()


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
