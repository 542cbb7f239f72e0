"""A thread that makes the next item while the consumer works on the last one."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class ReadAhead(Generic[T]):
    """Iterates over ``items``, a generator that runs in a thread, at most one item ahead.

    The thread starts on an item when the consumer takes the one before, so that two are in memory
    besides what the consumer keeps. What the generator raises is raised in the consumer. Leaving
    the ``with`` block waits for the item that is being made, after Ctrl-C for a second at most, and
    closes the generator in its thread. Where no thread can be started, as on a machine that allows
    no more of them, items are made when they are asked for.
    """

    def __init__(self, items: Generator[T, None, None]) -> None:
        self._items, self._over, self._in_turn = items, False, False
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._made: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        # a daemon: the program may end although an item is still being made
        self._thread = Thread(target=self._read, name="xpnet-reader", daemon=True)

    def _read(self) -> None:
        while self._asked.get():
            try:
                self._made.put((next(self._items), None))
            except BaseException as error:
                self._made.put((None, error))
        with suppress(Exception):
            self._items.close()

    def __enter__(self) -> ReadAhead[T]:
        try:
            self._thread.start()
        except RuntimeError:  # "can't start new thread"
            self._in_turn = True
            return self
        self._asked.put(True)
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._over = True
        if self._in_turn:
            return self._items.close()
        self._asked.put(False)
        self._thread.join(1.0 if kind is KeyboardInterrupt else None)

    def __iter__(self) -> ReadAhead[T]:
        return self

    def __next__(self) -> T:
        if self._in_turn and not self._over:
            return next(self._items)
        if self._thread.ident is None and not self._in_turn:
            raise RuntimeError("chunks are read in a with statement: with stream.chunks(...) as c")
        if self._over:
            raise StopIteration
        made = None
        while made is None:  # Ctrl-C just before an endless wait would not be seen until its end
            with suppress(Empty):
                made = self._made.get(timeout=1.0)
        item, error = made
        if error is not None:
            self._over = True
            raise error
        self._asked.put(True)
        return item
