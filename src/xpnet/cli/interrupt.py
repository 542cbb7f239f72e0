"""Ctrl-C while a net is trained: the epoch is finished first, so that nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from xpnet.training import Progress


class Interrupt:
    """A callback for ``fit``: the first Ctrl-C ends the run after the epoch, the second at once.

    Use it as a context around ``fit``. Outside the main thread Ctrl-C is left alone, because
    Python allows no handler there.
    """

    def __init__(self, on_first: Callable[[], None]) -> None:
        self.asked = False
        self._on_first = on_first
        self._before: Any = None

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._on_first()

    def on_epoch_end(self, net: Any, progress: Progress) -> bool:
        return self.asked
