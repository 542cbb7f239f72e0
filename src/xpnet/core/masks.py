"""Dropout's random numbers: a function of a key and a counter.

Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy
as 1, 2, 3"): no number depends on the one before, so every library, device and memory layout
computes the same ones, and a step can be repeated from its number alone.

Words of 32 bits are held in int32 arrays whose sums wrap around: PyTorch has no arithmetic on
uint32, and JAX by itself no integers of 64 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xpnet._typing import Array, Namespace

PARITY = 0x1BD11BDA  # keeps the third word of the key schedule from being zero
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))  # left, in turn for groups of four rounds
FIELDS = 65536  # values of a field of 16 bits

Words = tuple[Array, Array]


def threefry2x32(key: Words, counter: Words) -> Words:
    """Two random words per counter.

    Parameters
    ----------
    key, counter : pairs of int32 arrays
        Of shapes that broadcast. Not 0-d: NumPy warns where scalars wrap around.
    """
    k0, k1 = key
    schedule = (k0, k1, k0 ^ k1 ^ PARITY)
    x0, x1 = counter[0] + k0, counter[1] + k1
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = _rotated(x1, r) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def _rotated(x: Array, r: int) -> Array:
    # A right shift of a signed number copies its sign into the upper bits.
    return (x << r) | ((x >> (32 - r)) & ((1 << r) - 1))


def threshold(rate: float) -> int:
    """The least 16-bit field that keeps a unit, which then has probability ``1 - rate``."""
    return min(round(rate * FIELDS), FIELDS - 1)


def scale(rate: float) -> float:
    """The factor on kept units: one over the exact probability of being kept."""
    return FIELDS / (FIELDS - threshold(rate))


def fields(
    layer: int, m: int, n: int, key: Sequence[Array | float], *, xp: Namespace, device: Any
) -> Array:
    """Numbers of 16 bits (m, n), int32, for the ``n`` units of hidden layer ``layer`` (from 0).

    Unit ``j`` of example ``i`` has number ``e = i n + j``. Four units share the two words of the
    counter ``(layer, e // 4)``: their low and high halves, the first word's first.

    Parameters
    ----------
    key : four numbers
        The key's two words, each as its lower and its upper 16 bits: see ``network.step_table``.
    """

    def word(low: Array | float, high: Array | float) -> Array:
        low, high = (xp.asarray(x, dtype=xp.int32, device=device) for x in (low, high))
        return xp.reshape(low | (high << 16), (1,))

    number = xp.arange(-(-m * n // 4), dtype=xp.int32, device=device)
    words = threefry2x32((word(*key[:2]), word(*key[2:])), (xp.full_like(number, layer), number))
    halves = [half & (FIELDS - 1) for w in words for half in (w, w >> 16)]
    return xp.reshape(xp.reshape(xp.stack(halves, axis=1), (-1,))[: m * n], (m, n))
