"""The numbered rows of a stream: a source, weights beside it, and the part of it that is meant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.epoch_order import RowRange
from xpnet.data.held_out import HeldOut
from xpnet.data.row_source import Piece, RowSource


class SelectedRows(NamedTuple):
    """Rows as they were read, and where they stand in the source."""

    X: np.ndarray
    Y: np.ndarray | None
    w: np.ndarray | None
    ranges: list[RowRange]


@dataclass(frozen=True)
class Selection:
    """Rows 0 ... n - 1.

    Attributes
    ----------
    rows : RowSource
    w : (m,) with slices, or None
        A weight for each of ``rows``.
    shares : tuple of (HeldOut, bool)
        Which part of the rows, and which part of that part.
    """

    rows: RowSource
    w: Any = None
    shares: tuple[tuple[HeldOut, bool], ...] = ()

    @property
    def n(self) -> int:
        return self.shares[-1][0].size(self.shares[-1][1]) if self.shares else self.rows.n

    def part(self, share: HeldOut, held: bool) -> Selection:
        return replace(self, shares=(*self.shares, (share, held)))

    def read(self, start: int, stop: int) -> SelectedRows:
        ranges = [(start, stop)]
        for share, held in reversed(self.shares):
            ranges = [found for span in ranges for found in share.ranges(*span, held)]
        pieces = [piece for span in _spans(ranges, self.rows.grain) for piece in self._span(span)]
        w = None if self.w is None else [np.asarray(self.w[a:b]) for a, b in ranges]
        Y = None if pieces[0].Y is None else _joined([piece.Y for piece in pieces])
        return SelectedRows(
            _joined([piece.X for piece in pieces]), Y, None if w is None else _joined(w), ranges
        )

    def _span(self, ranges: list[RowRange]) -> list[Piece]:
        """Ranges that are read in one go, with what stands between them."""
        start, stop = ranges[0][0], ranges[-1][1]
        X, Y = self.rows.read(start, stop)
        inside = [slice(a - start, b - start) for a, b in ranges]
        return [Piece(X[rows], None if Y is None else Y[rows]) for rows in inside]

    def bounds(self, block: int) -> np.ndarray:
        """Bounds of blocks of about ``block`` rows, each well read in one go."""
        bounds = self.rows.bounds(block)
        for share, held in self.shares:
            bounds = np.array([share.before(int(row), held) for row in bounds], np.int64)
        return np.unique(bounds)


def _spans(ranges: list[RowRange], grain: int) -> list[list[RowRange]]:
    """Ranges in groups: neighbours that are better read together."""
    spans: list[list[RowRange]] = []
    for span in ranges:
        last = spans[-1] if spans else None
        if last and span[0] - last[-1][1] <= grain and span[1] - last[0][0] <= 4 * grain:
            last.append(span)
        else:
            spans.append([span])
    return spans


def _joined(arrays: list[Any]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
