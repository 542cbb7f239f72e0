"""Lets a training finish its step when Ctrl-C or another signal comes, so that nothing is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

from xpnet.training.history import Progress

INTERRUPTED = 128 + signal.SIGINT  # what a shell reports for a program that Ctrl-C ended
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM"}
if hasattr(signal, "SIGHUP"):  # the terminal has gone; not on Windows
    NAMES[signal.SIGHUP] = "SIGHUP"


class Interrupt:
    """A context around a run, and a callback for its ``fit``.

    While ``fitting`` is true the first signal ends the fit after the step, the second at once; once
    the fit has ended a second one changes nothing: the model is being written. Before and after
    that a signal ends the run at once, with an exception, so that what it holds is let go.

    Outside the main thread signals are left alone, because Python allows no handler there.

    Attributes
    ----------
    signal : int or None
        The first one that came while ``fitting``.
    """

    def __init__(self, on_first: Callable[[str], None]) -> None:
        self.signal: int | None = None
        self.fitting = self._ended = False
        self._on_first = on_first
        self._before: dict[int, Any] = {}

    @property
    def name(self) -> str:
        return NAMES[signal.Signals(self.signal or signal.SIGINT)]

    @property
    def exit_code(self) -> int:
        """128 + the signal, as a shell reports it: 130 for Ctrl-C, 143 SIGTERM, 129 SIGHUP."""
        return 128 + (self.signal or signal.SIGINT)

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in NAMES:
                # A shell starts background programs with Ctrl-C ignored, nohup with SIGHUP.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.fitting and self.signal is None:
            self.signal = number
            self._on_first(self.name)
        elif not (self.fitting and self._ended):
            ends = self.fitting or number == signal.SIGINT
            raise KeyboardInterrupt if ends else SystemExit(128 + number)

    def on_steps_end(self, net: Any, progress: Progress) -> bool:
        return self.signal is not None

    on_epoch_end = on_steps_end

    def on_fit_end(self, net: Any, progress: Progress) -> None:
        self._ended = True
