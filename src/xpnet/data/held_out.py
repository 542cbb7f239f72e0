"""The rows of a stream that are held out for validation.

The source is cut into short stretches. Each gives neighbouring rows, as many as its share, at a
place drawn by a hash of the seed and the stretch's number. So both parts are read as ranges of
rows, every region of the file is in both, and nothing is kept per row. The fraction is exact.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from xpnet.data.column import counted

_MASK = 2**64 - 1


@dataclass(frozen=True)
class HeldOut:
    """Splits ``n`` rows in two parts; methods take ``held``, True for the rows held out.

    Attributes
    ----------
    held : int
        Rows held out.
    length : int
        Rows of a stretch.
    """

    n: int
    held: int
    length: int
    seed: int

    @classmethod
    def of(cls, n: int, fraction: float, seed: int) -> HeldOut:
        """Hold out ``round(fraction * n)`` rows, at least one.

        Raises
        ------
        ValueError
            The fraction is not between 0 and 1, or leaves no row.
        """
        if not 0.0 < fraction < 1.0:
            raise ValueError(f"the fraction to hold out must lie between 0 and 1; got {fraction}")
        held = max(1, round(fraction * n))
        if held >= n:
            raise ValueError(f"{counted(n, 'row')}: too few to hold out {fraction:g} of")
        # Long enough that each has a row of the smaller part, short enough for a random choice.
        least = -(-n // min(held, n - held))
        return cls(n, held, max(least, min(n // 1000, 1024)), seed)

    def size(self, held: bool) -> int:
        return self.held if held else self.n - self.held

    def ranges(self, start: int, stop: int, held: bool) -> list[tuple[int, int]]:
        """Return the rows of the source that are the rows ``start`` to ``stop`` of one part."""
        stretches = range(-(-self.n // self.length))
        j = bisect_right(stretches, start, key=lambda j: self._before(j, held)) - 1
        found: list[tuple[int, int]] = []
        while start < stop:
            at = self._before(j, held)
            for first, last in self._stretch(j, held):
                size = last - first
                a, b = max(start - at, 0), min(stop - at, size)
                if a < b:
                    if found and found[-1][1] == first + a:
                        found[-1] = found[-1][0], first + b
                    else:
                        found.append((first + a, first + b))
                at += size
            start, j = max(start, at), j + 1
        return found

    def before(self, row: int, held: bool) -> int:
        """Count the rows of one part that stand before ``row`` of the source."""
        if row >= self.n:
            return self.size(held)
        j = row // self.length
        inside = (min(row, last) - first for first, last in self._stretch(j, held))
        return self._before(j, held) + sum(max(0, count) for count in inside)

    def _before(self, j: int, held: bool) -> int:
        """Count the rows of a part before stretch ``j``."""
        begin = min(j * self.length, self.n)
        share = begin * self.held // self.n
        return share if held else begin - share

    def _stretch(self, j: int, held: bool) -> list[tuple[int, int]]:
        """Return a part's ranges in stretch ``j``."""
        begin, end = j * self.length, min((j + 1) * self.length, self.n)
        count = self._before(j + 1, True) - self._before(j, True)
        first = begin + _mixed(_mixed(self.seed) + j) % (end - begin - count + 1)
        if held:
            return [(first, first + count)]
        return [(begin, first), (first + count, end)]


def _mixed(x: int) -> int:
    """Hash to 64 bits: the finaliser of SplitMix64 (Steele, Lea & Flood 2014)."""
    x = (x + 0x9E3779B97F4A7C15) & _MASK
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & _MASK
    return x ^ (x >> 31)
