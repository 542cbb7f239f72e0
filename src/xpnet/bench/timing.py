"""The one way to time: warm up, wait for the device, and measure in turn what is compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Timed:
    """Work to be timed: each ``call()`` does it ``chunk`` times.

    A call may return before the device is done; ``wait(result)`` returns when it is.
    """

    call: Callable[[], Any]
    wait: Callable[[Any], Any] = lambda result: None
    chunk: int = 1

    def seconds(self, times: float = 1) -> float:
        """Mean seconds of the work, done about ``times`` times, until the device is done."""
        return self._clocked(times)[0]

    def host_seconds(self, times: float = 1) -> float:
        """Mean seconds until the calls return, which start when the device is idle."""
        self.wait(self.call())
        return self._clocked(times)[1]

    def within(self, budget: float, most: int = 2000) -> float:
        """Mean seconds of the work, done as often as fits into ``budget`` seconds (3 to ``most``).

        Two calls come first: one that compiles and warms caches, one that tells how long it takes.
        """
        self.seconds()
        return self.seconds(min(max(budget / max(self.seconds(2), 1e-7), 3), most))

    def _clocked(self, times: float) -> tuple[float, float]:
        calls = max(1, round(times / self.chunk))
        start = perf_counter()
        for _ in range(calls):
            result = self.call()
        returned = perf_counter() - start
        self.wait(result)
        done = perf_counter() - start
        return done / (calls * self.chunk), returned / (calls * self.chunk)


def interleaved(measures: Mapping[str, Callable[[], T]], rounds: int) -> dict[str, list[T]]:
    """The results of all ``measures``, taken in turn: a busy machine then disturbs all alike."""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            found[name].append(measure())
    return found
