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
    with suppress(AttributeError, OSError, ValueError):
        room = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2  # half of all there is
    with suppress(OSError, ValueError):  # of Linux, such as "MemAvailable:  123456 kB"
        said = Path("/proc/meminfo").read_text().partition("MemAvailable:")[2]
        room = 1024 * int(said.partition("kB")[0])
    with suppress(OSError, ValueError):  # of cgroup v2, where "max" is no limit
        most, used = (Path(f"/sys/fs/cgroup/memory.{name}") for name in ("max", "current"))
        room = min(room, int(most.read_text()) - int(used.read_text()))
    return max(0, room)
