"""Steps as CUDA graphs: what many steps launch is captured once, then the host makes one call."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import cupy

from xpnet.engines.cupy.cublas import Products

NODES = 2048  # of a graph: launches and products
STEPS = 8, 64  # in a graph, least and most
GRAPHS = 32  # kept at a time


def steps_together(n_layers: int) -> int:
    """How many steps make a graph: a power of two, smaller for a deep net."""
    of_a_step = 5 * n_layers + 2  # 3L - 1 products, 2L + 3 launches
    steps = min(max(NODES // of_a_step, STEPS[0]), STEPS[1])
    return 1 << (steps.bit_length() - 1)


@lru_cache(maxsize=1)
def _say(reason: str) -> None:
    logging.getLogger("xpnet").info("steps are launched one by one: no CUDA graph, as %s", reason)


class Graphs:
    """A program's graphs, by the lengths of the minibatches in their steps.

    Steps whose like has not run before run one by one: a short fit pays for no capture. What runs
    is the same either way, so results have the same bits.

    Parameters
    ----------
    recordings : dict
        The program's: for each (length, slot) the calls of a step.
    products : Products or None
        With None, products are CuPy's, which cannot be captured.
    n_layers : int
    """

    wanted = True  # set it false to measure steps without graphs

    def __init__(
        self, recordings: dict[Any, list[Any]], products: Products | None, n_layers: int
    ) -> None:
        self._recordings = recordings
        self._products = products
        self._together = steps_together(n_layers)
        # with the workspace that its products write; None: not captured yet
        self._kept: dict[tuple[int, ...], tuple[Any, Any] | None] = {}
        self.refused = "" if products else "CuPy makes the products"  # why there are no graphs

    def clear(self) -> None:
        self._kept.clear()

    def run(self, lengths: list[int], step: Callable[[int, int], None]) -> None:
        """Makes steps of minibatches of these lengths; ``step`` makes one."""
        for first in range(0, len(lengths), self._together):
            part = tuple(lengths[first : first + self._together])
            graph = self._graph(part) if self.wanted and not self.refused else None
            if graph is not None:
                graph.launch()
                continue
            for length in part:
                step(length, 0)
            if len(self._kept) == GRAPHS:
                self._kept.clear()
            self._kept.setdefault(part, None)

    def _graph(self, part: tuple[int, ...]) -> Any:
        if part not in self._kept:
            return None
        kept = self._kept[part]
        if kept is None:
            try:
                kept = self._kept[part] = self._capture(part)
            except Exception as error:
                self.refused = str(error)
                _say(self.refused)
                return None
        return kept[0]

    def _capture(self, part: Iterable[int]) -> tuple[Any, Any]:
        products, kernel = self._products, cupy.RawKernel
        assert products is not None
        calls = [call for length in part for call in self._recordings[length, 0]]
        for call in set(calls):
            if not isinstance(call.func, kernel) and call.func is not products.function:
                raise ValueError(f"{call.func} is no kernel")
        here, stream = cupy.cuda.get_current_stream(), cupy.cuda.Stream(non_blocking=True)
        try:
            with stream:
                products.enter(stream)
                stream.begin_capture()
                try:
                    for call in calls:
                        call()
                finally:
                    graph = stream.end_capture()
        finally:
            products.enter(here)
        return graph, products.workspace
