"""Dropout's masks for the PyTorch engine: threefry in place, for several steps at once.

A draw is about 110 operations however small a layer is: on a CPU each costs more than its
arithmetic, on a GPU a launch. So the masks of some steps ahead, as many as stay in cache, are drawn
together and then handed out one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from xpnet._typing import Array
from xpnet.core.masks import FIELDS, PARITY, ROTATIONS, scale, threshold

BLOCK = 65536  # counters drawn together: 256 kB per word
AHEAD = 64  # steps at most


class Masks:
    """The masks of one hidden layer for batches of one length: see ``leaves.Leaves.drop``.

    Parameters
    ----------
    layer, n : int
        The layer's number from 0, and its units.
    m : int
        Examples in a batch.
    rate : float
        The dropout probability.
    like : tensor
        Any with the device and dtype of the masks.
    """

    def __init__(self, layer: int, n: int, m: int, rate: float, like: Array) -> None:
        self._layer, self._shape = layer, (m, n)
        # Fields are compared as signed numbers, their upper bit inverted: PyTorch does little
        # with unsigned ones of 16 bits.
        self._least, self._scale = threshold(rate) - FIELDS // 2, scale(rate)
        self._number = torch.arange(-(-m * n // 4), dtype=torch.int32, device=like.device)
        self._most = max(1, min(AHEAD, BLOCK // self._number.numel()))
        self._masks = torch.empty((1, n, m), dtype=like.dtype, device=like.device)
        self._drawn = (-1, 0, 0)  # first word of the key, first step, steps

    def of(self, key: Sequence[float]) -> Array:
        """``D`` (n, m) of the step with this key; a later draw overwrites the array."""
        low0, high0, low1, high1 = (int(half) for half in key)
        seed, step = low0 + (high0 << 16), low1 + (high1 << 16)
        of, first, steps = self._drawn
        if seed != of or not first <= step < first + steps:
            # Batches of other lengths may come between: draw more only while no step is skipped.
            steps = min(2 * steps, self._most) if (seed, step) == (of, first + steps) else 1
            self._draw(seed, step, steps)
            first = step
        return self._masks[step - first]

    def _draw(self, seed: int, step: int, steps: int) -> None:
        if len(self._masks) < steps:
            self._masks = self._masks.new_empty((steps, *self._masks.shape[1:]))
        masks, (m, n) = self._masks[:steps], self._shape
        words = torch.stack(self._words(seed, step, steps), dim=-1)  # (steps, counters, 2)
        words ^= -0x7FFF8000  # the upper bit of both halves
        # Little-endian, as every device of PyTorch: the lower half comes first.
        fields = words.view(torch.int16).reshape(steps, -1)[:, : m * n].view(steps, m, n)
        masks.copy_(fields.mT)  # comparing floats is many times faster than comparing int16
        masks.ge_(self._least).mul_(self._scale)
        self._drawn = seed, step, steps

    def _words(self, seed: int, step: int, steps: int) -> tuple[Array, Array]:
        """``masks.threefry2x32`` for the steps ``step, step + 1, ...``: (steps, counters)."""
        ahead = torch.arange(steps, dtype=torch.int32, device=self._number.device)[:, None]
        k0, k1 = _signed(seed), ahead + _signed(step)
        schedule = k0, k1, k1 ^ _signed(seed ^ PARITY)
        x1 = self._number + k1
        x0 = torch.full_like(x1, _signed(seed + self._layer))
        t = torch.empty_like(x1)
        for group in range(5):
            for r in ROTATIONS[group % 2]:
                x0 += x1
                torch.bitwise_right_shift(x1, 32 - r, out=t)
                t &= (1 << r) - 1  # the shift has copied the sign into the upper bits
                torch.add(t, x1, alpha=1 << r, out=x1)
                x1 ^= x0
            x0 += schedule[(group + 1) % 3]
            x1 += schedule[(group + 2) % 3] + (group + 1)
        return x0, x1


def _signed(word: int) -> int:
    """The int32 with the lowest 32 bits of this number."""
    word %= 1 << 32
    return word - (1 << 32) if word >> 31 else word
