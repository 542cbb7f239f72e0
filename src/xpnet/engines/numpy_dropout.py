"""Dropout's random numbers for the NumPy engine: threefry in place, for several steps at once.

A draw is about 120 calls of NumPy however small the net is. They work on the layers of several
steps together, as many as stay in cache, which the replayed steps then read one after the other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from xpnet.core.masks import PARITY, ROTATIONS

BLOCK = 16384  # counters drawn together: 64 kB per word
AHEAD = 64  # steps at most


def halves(words: np.ndarray) -> np.ndarray:
    """Words (..., 2) of uint32 as fields (..., 4) of uint16, the lower half first: a view."""
    fields = words.view(np.uint16)
    if sys.byteorder == "little":
        return fields
    return fields.reshape(*words.shape, 2)[..., ::-1].reshape(fields.shape)  # pragma: no cover


class Fields:
    """The 16-bit fields of a step, ``fields[layer]`` (m, n): see ``masks.fields``.

    Parameters
    ----------
    units : mapping of int to int
        The numbers of the hidden layers that drop units, from 0, and their widths.
    m : int
        Examples in a batch.
    key : four 0-d arrays
        The scalars that will hold a step's key: see ``network.step_table``.
    """

    def __init__(self, units: Mapping[int, int], m: int, key: Sequence[np.ndarray]) -> None:
        counters = [-(-m * n // 4) for n in units.values()]
        size = sum(counters)
        self._key = key
        self._most = max(1, min(AHEAD, BLOCK // size))
        self._layer = np.repeat(np.array(list(units), np.uint32), counters)
        self._number = np.concatenate([np.arange(c, dtype=np.uint32) for c in counters])
        # Rows of a multiple of 4 kB are slower to walk side by side: they share places in cache.
        buffers = np.empty(3 * (self._most * size + 272), np.uint32).reshape(3, -1)
        self._work = [b[: self._most * size].reshape(self._most, size) for b in buffers]
        self._words = np.empty((self._most, size, 2), np.uint32)
        self._now = self._words[0] if self._most == 1 else np.empty((size, 2), np.uint32)
        self._calls: dict[int, list[Callable[[], Any]]] = {}
        self._schedule = np.empty((3, self._most, 1), np.uint32)
        self._drawn = (-1, 0, 0)  # first word of the key, first step, steps
        flat, ends = halves(self._now).reshape(-1), 4 * np.cumsum(counters)
        self._views = {
            layer: flat[end - 4 * c : end - 4 * c + m * n].reshape(m, n)
            for (layer, n), c, end in zip(units.items(), counters, ends.tolist(), strict=True)
        }

    def __getitem__(self, layer: int) -> np.ndarray:
        return self._views[layer]

    def advance(self) -> None:
        """Sets the fields to those of the step whose key is in the scalars now."""
        low0, high0, low1, high1 = (int(half) for half in self._key)
        seed, step = low0 + (high0 << 16), low1 + (high1 << 16)
        of, first, steps = self._drawn
        if seed != of or not first <= step < first + steps:
            # Batches of other lengths may come between: draw more only while no step is skipped.
            steps = min(2 * steps, self._most) if (seed, step) == (of, first + steps) else 1
            self._draw(seed, step, steps)
            first = step
        if self._most > 1:
            np.copyto(self._now, self._words[step - first])

    def _draw(self, seed: int, step: int, steps: int) -> None:
        """The words of steps ``step, step + 1, ...``, whose number is the key's second word."""
        calls = self._calls.get(steps)
        if calls is None:
            calls = self._calls[steps] = self._record(steps)
        self._schedule[0] = seed
        self._schedule[1] = step
        for call in calls:
            call()
        self._drawn = seed, step, steps

    def _record(self, steps: int) -> list[Callable[[], Any]]:
        """``masks.threefry2x32``, as calls that write into the buffers."""
        calls: list[Callable[[], Any]] = []

        def do(function: Callable[..., Any], *args: Any) -> None:
            calls.append(partial(function, *args))

        add, xor, left, right = np.add, np.bitwise_xor, np.left_shift, np.right_shift
        k = schedule = self._schedule[:, :steps]  # (3, steps, 1)
        later = np.empty((5, steps, 1), np.uint32)
        x0, x1, t = (w[:steps] for w in self._work)  # (steps, counters)
        do(add, k[1], np.arange(steps, dtype=np.uint32)[:, None], k[1])
        do(xor, k[0], k[1], k[2])
        do(xor, k[2], np.array(PARITY, np.uint32), k[2])
        do(add, self._layer, k[0], x0)
        do(add, self._number, k[1], x1)
        for group in range(5):
            for r in ROTATIONS[group % 2]:
                do(add, x0, x1, x0)
                do(left, x1, np.array(r, np.uint32), t)
                do(right, x1, np.array(32 - r, np.uint32), x1)
                do(xor, t, x0, t)
                do(xor, x1, t, x1)  # the two shifts have no bit in common
            last = group == 4
            out0, out1 = (self._words[:steps, :, i] if last else x for i, x in enumerate((x0, x1)))
            do(add, schedule[(group + 2) % 3], np.array(group + 1, np.uint32), later[group])
            do(add, x0, schedule[(group + 1) % 3], out0)
            do(add, x1, later[group], out1)
        return calls
