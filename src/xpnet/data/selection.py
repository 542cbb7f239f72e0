"""The rows that a stream selects of a source, with their sample weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.data.checks import check_weights, host_array
from xpnet.data.epoch_order import RowRange
from xpnet.data.held_out import HeldOut
from xpnet.data.row_source import Chunk, SlicedRows

_PIECE = 2**20  # weights that are read at once


@dataclass(frozen=True)
class Selection:
    """Rows 0 ... n - 1, which are all rows of a source or a part of them.

    Attributes
    ----------
    rows : SlicedRows
    w : (m,) with slices, or None
        A weight for each of ``rows``.
    splits : tuple of (HeldOut, bool)
        Each splits the rows that are left in two; True selects those held out.
    """

    rows: SlicedRows
    w: Any = None
    splits: tuple[tuple[HeldOut, bool], ...] = ()

    @property
    def n(self) -> int:
        return self.splits[-1][0].size(self.splits[-1][1]) if self.splits else self.rows.n

    def part(self, split: HeldOut, held: bool) -> Selection:
        return replace(self, splits=(*self.splits, (split, held)))

    def ranges(self, start: int, stop: int) -> list[RowRange]:
        """Where the rows from ``start`` to ``stop`` stand in the source."""
        ranges = [(start, stop)]
        for split, held in reversed(self.splits):
            ranges = [found for span in ranges for found in split.ranges(*span, held)]
        return ranges

    def read(self, start: int, stop: int) -> Chunk:
        ranges, pieces = self.ranges(start, stop), []
        for group in _groups(ranges, self.rows.grain):  # in one go, with what stands between
            first = group[0][0]
            X, Y = self.rows.read(first, group[-1][1])
            inside = [slice(a - first, b - first) for a, b in group]
            pieces += [(X[rows], None if Y is None else Y[rows]) for rows in inside]
        w = [None if self.w is None else host_array(self.w[a:b], "w") for a, b in ranges]
        X, Y = (joined(arrays) for arrays in zip(*pieces))
        return Chunk(X, Y, joined(w), rows=tuple(ranges))

    def weights(self) -> Iterator[np.ndarray]:
        """Yield the weights in pieces; a ValueError names the row of a bad one."""
        for start in range(0, self.n, _PIECE):
            for a, b in self.ranges(start, min(start + _PIECE, self.n)):

                def where(i: int, a: int = a) -> str:
                    return f"{self.rows.name}, row {a + i:,} (from 0): sample_weight"

                yield check_weights(host_array(self.w[a:b], "w"), where)

    def bounds(self, block: int) -> np.ndarray:
        """Bounds of blocks of about ``block`` rows, each well read in one go."""
        bounds = np.append(np.arange(0, self.rows.n, block), self.rows.n)
        for split, held in self.splits:
            bounds = np.array([split.before(int(row), held) for row in bounds], np.int64)
        return np.unique(bounds)


def _groups(ranges: list[RowRange], grain: int) -> list[list[RowRange]]:
    """Group neighbouring ranges that are better read together."""
    groups: list[list[RowRange]] = []
    for span in ranges:
        last = groups[-1] if groups else None
        if last and span[0] - last[-1][1] <= grain and span[1] - last[0][0] <= 4 * grain:
            last.append(span)
        else:
            groups.append([span])
    return groups


def joined(arrays: Sequence[Any]) -> Any:
    """Join arrays along their rows; None if that is what there is."""
    return arrays[0] if len(arrays) == 1 or arrays[0] is None else np.concatenate(arrays)
