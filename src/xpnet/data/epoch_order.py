"""The order of an epoch's rows: blocks are shuffled, and rows within a chunk of blocks.

A block is neighbouring rows of the source, read in one go. An epoch's blocks follow each other
in a random order. A chunk is as many rows of that sequence as memory takes, a multiple of the
batch size, and its rows are shuffled; a block may begin in one chunk and end in the next. So
every row comes once an epoch, and the number of minibatches is that of data in memory.

The order is a function of (seed, epoch) and the sizes of blocks and chunks. Each chunk has a
random generator of its own, so that an epoch can be resumed in the middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

RowRange = tuple[int, int]  # neighbouring rows: start, stop


@dataclass(frozen=True)
class EpochOrder:
    """Sizes of blocks and chunks, in rows, and the random order that follows from them.

    Attributes
    ----------
    bounds : ndarray (blocks + 1,) of int64
        Where blocks start; last, the number of rows.
    chunk : int
        A multiple of the batch size.
    """

    bounds: np.ndarray
    chunk: int

    @property
    def n(self) -> int:
        return int(self.bounds[-1])

    def ranges(
        self, seed: int, epoch: int, shuffle: bool, start: int = 0
    ) -> Iterator[list[RowRange]]:
        """Yield the rows of each chunk of an epoch, from the chunk at position ``start`` on."""
        sequence = np.arange(len(self.bounds) - 1)
        if shuffle:
            sequence = np.random.default_rng((seed, epoch)).permutation(sequence)
        ends = np.cumsum(np.diff(self.bounds)[sequence])
        for begin in range(start, self.n, self.chunk):
            end = min(begin + self.chunk, self.n)
            first = int(np.searchsorted(ends, begin, side="right"))
            last = int(np.searchsorted(ends, end, side="left"))
            starts = self.bounds[sequence[first : last + 1]]
            stops = self.bounds[sequence[first : last + 1] + 1]
            starts[0] = stops[0] - (ends[first] - begin)
            stops[-1] -= ends[last] - end
            yield list(zip(starts.tolist(), stops.tolist(), strict=True))


def own_rows(n: int, batch_size: int, rank: int, ranks: int) -> int:
    """How many of ``n`` rows in minibatches one of several ranks has: of each every ranks-th."""
    full, rest = divmod(n, batch_size)
    return full * -(-(batch_size - rank) // ranks) + max(0, -(-(rest - rank) // ranks))


def part_of(ranges: Sequence[RowRange], batch_size: int, rank: int, ranks: int) -> list[RowRange]:
    """The part of a chunk's ``ranges`` of rows that one of several ranks reads."""
    n = sum(stop - start for start, stop in ranges)
    ends = np.cumsum([0, *(own_rows(n, batch_size, r, ranks) for r in range(ranks))]).tolist()
    found, before = [], 0
    for start, stop in ranges:
        first, last = (start + end - before for end in ends[rank : rank + 2])
        if max(first, start) < min(last, stop):
            found.append((max(first, start), min(last, stop)))
        before += stop - start
    return found
