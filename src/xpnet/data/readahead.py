"""A thread that makes the next item while the consumer works on the last one."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Iterates over ``items``, a generator that runs in a thread, at most one item ahead.

    The thread starts on an item when the consumer takes the one before, so that two are in memory
    besides what the consumer keeps. What the generator raises is raised in the consumer. Leaving
    the ``with`` block waits for the item that is being made, and closes the generator in its
    thread.
    """

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items = items
        self._pool: ThreadPoolExecutor | None = None
        self._next: Future[T] | None = None

    def __enter__(self) -> ReadAhead[T]:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="xpnet-reader")
        self._next = self._pool.submit(next, self._items)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._pool is not None
        self._next = None
        self._pool.submit(self._items.close)
        self._pool.shutdown()

    def __iter__(self) -> ReadAhead[T]:
        return self

    def __next__(self) -> T:
        if self._pool is None:
            raise RuntimeError("chunks are read in a with statement: with stream.chunks(...) as c")
        if self._next is None:
            raise StopIteration
        made, self._next = self._next, None
        item = made.result()  # raises what the generator raised: StopIteration at its end
        self._next = self._pool.submit(next, self._items)
        return item
