"""What the program asked of the fake devices: ``with counting() as c:`` and then ``c.launches``.

Every counter of src/counters.h is an attribute: launches, gemms, h2d, d2h, d2d, syncs, mallocs ...
Inside the block it shows the count so far, after it the final one.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


class Counts:
    """Differences of the shim's counters since this object was made, until :meth:`stop`."""

    def __init__(self) -> None:
        self._start = read_counters()
        self._end: dict[str, int] | None = None
        self._kernels: list[str] | None = None

    def __getattr__(self, name: str) -> int:
        end = self.__dict__.get("_end") or read_counters()
        if name not in end:
            raise AttributeError(f"no counter {name!r}; there are: {', '.join(end)}")
        return end[name] - self._start[name]

    @property
    def kernels(self) -> list[str]:
        """The names of the launched kernels, in order. (Nested, the innermost block has them.)"""
        return noted_kernels() if self._kernels is None else self._kernels

    def nonzero(self) -> dict[str, int]:
        """Everything that happened, for messages: ``assert c.nonzero() == {"launches": 1}``."""
        return {name: count for name in self._start if (count := getattr(self, name))}

    def stop(self) -> None:
        self._end = read_counters()
        self._kernels = noted_kernels()

    def __repr__(self) -> str:
        return f"Counts({', '.join(f'{name}={count}' for name, count in self.nonzero().items())})"


@contextmanager
def counting() -> Iterator[Counts]:
    """Count what happens in a with block. CuPy must have been imported by way of run.py."""
    shim().fakehip_note_names(1)
    counts = Counts()
    try:
        yield counts
    finally:
        counts.stop()
        shim().fakehip_note_names(0)


@contextmanager
def memory_limit(size: int, device: int = 0) -> Iterator[None]:
    """Give a device ``size`` bytes of memory in all, for the time of a with block.

    What CuPy's pool holds counts as used: call ``free_all_blocks`` first where that matters.
    """
    before = shim().fakehip_memory_limit(device)
    set_memory_limit(size, device)
    try:
        yield
    finally:
        set_memory_limit(before, device)


@contextmanager
def pinned_limit(size: int) -> Iterator[None]:
    """Let ``size`` bytes (at least 1) of the host be pinned, for the time of a with block.

    Those that CuPy's pool of pinned memory holds count: ``free_all_blocks`` first.
    """
    shim().fakehip_set_pinned_limit(size)
    try:
        yield
    finally:
        shim().fakehip_set_pinned_limit(0)


def set_memory_limit(size: int, device: int = 0) -> None:
    """Set the memory of a device to ``size`` bytes. Allocations beyond fail, existing ones stay."""
    if shim().fakehip_set_memory_limit(device, size):
        raise ValueError(f"no device {device}")


def memory_used(device: int = 0) -> int:
    """Return the bytes allocated on a device, by CuPy's pool or otherwise."""
    return shim().fakehip_memory_used(device)


def lose(error: int = 700) -> None:
    """Let every later call that reaches a device fail with this error, as after a failed kernel."""
    shim().fakehip_lose(error)


def read_counters() -> dict[str, int]:
    """Return all counters since the process began."""
    names = _counter_names()
    values = (ctypes.c_long * len(names))()
    shim().fakehip_read_counters(values)
    return dict(zip(names, values, strict=True))


def noted_kernels() -> list[str]:
    return shim().fakehip_noted_names().decode().splitlines()


@cache
def _counter_names() -> list[str]:
    return shim().fakehip_counter_names().decode().split()


@cache
def shim() -> ctypes.CDLL:
    """Return the library that CuPy uses; LD_LIBRARY_PATH must name it, which run.py sees to."""
    library = ctypes.CDLL("libamdhip64.so.7")
    library.fakehip_counter_names.restype = ctypes.c_char_p
    library.fakehip_noted_names.restype = ctypes.c_char_p
    library.fakehip_set_memory_limit.argtypes = [ctypes.c_int, ctypes.c_size_t]
    library.fakehip_set_pinned_limit.argtypes = [ctypes.c_size_t]
    library.fakehip_memory_limit.restype = library.fakehip_memory_used.restype = ctypes.c_size_t
    return library
