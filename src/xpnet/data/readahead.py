"""A thread that makes the next item while the last one is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

_PATIENCE = 10.0  # seconds to wait at the end for a source that does not answer


class ReadAhead(Generic[T]):
    """Iterates over what ``produce`` yields, which runs in a thread, at most one item ahead.

    The thread starts on an item when the consumer takes the one before, so that two are in memory
    besides what the consumer keeps. What ``produce`` raises is raised in the consumer. Leaving
    the ``with`` block ends the thread and closes the iterator, in the thread that ran it.

    Parameters
    ----------
    produce : callable (stopped) -> iterator
        It may ask ``stopped()`` between two pieces of an item and return early if true.
    """

    def __init__(self, produce: Callable[[Callable[[], bool]], Iterator[T]]) -> None:
        self._produce = produce
        self._stop = Event()
        self._wanted = Semaphore(1)  # items that may be made
        self._made: SimpleQueue[tuple[T | None, BaseException | None]] = SimpleQueue()
        self._over = False
        self._thread = Thread(target=self._run, name="xpnet-reader", daemon=True)

    def __enter__(self) -> ReadAhead[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over = True
        self._stop.set()
        self._wanted.release()
        self._thread.join(_PATIENCE)

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if self._over:
            raise StopIteration
        if self._thread.ident is None:
            raise RuntimeError("chunks are read in a with statement: with stream.chunks(...) as c")
        item, error = self._made.get()
        if error is not None:
            self._over = True
            raise error
        if item is None:
            self._over = True
            raise StopIteration
        self._wanted.release()
        return item

    def _run(self) -> None:
        item: T | None = None
        error: BaseException | None = None
        try:
            items = self._produce(self._stop.is_set)
            try:
                while True:
                    self._wanted.acquire()
                    if self._stop.is_set():
                        break
                    item = next(items, None)
                    if item is None:
                        break
                    self._made.put((item, None))
                    item = None  # the consumer decides how long it stays in memory
            finally:
                close = getattr(items, "close", None)
                if close is not None:
                    close()
        except BaseException as caught:  # all are for the consumer to see
            error = caught
        self._made.put((None, error))
