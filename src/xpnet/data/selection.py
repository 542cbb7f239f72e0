"""The numbered rows of a stream: a source, weights beside it, and the part of it that is meant."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from xpnet.data.epoch_order import Run
from xpnet.data.held_out import Share
from xpnet.data.row_source import Piece, Rows


class Read(NamedTuple):
    """Rows as they were read, and where they stand in the source."""

    X: np.ndarray
    Y: np.ndarray | None
    w: np.ndarray | None
    runs: list[Run]


@dataclass(frozen=True)
class Numbered:
    """Rows 0 ... n - 1.

    Attributes
    ----------
    rows : Rows
    w : (m,) with slices, or None
        A weight for each of ``rows``.
    shares : tuple of (Share, bool)
        Which part of the rows, and which part of that part.
    """

    rows: Rows
    w: Any = None
    shares: tuple[tuple[Share, bool], ...] = ()

    @property
    def n(self) -> int:
        return self.shares[-1][0].size(self.shares[-1][1]) if self.shares else self.rows.n

    def part(self, share: Share, held: bool) -> Numbered:
        return replace(self, shares=(*self.shares, (share, held)))

    def read(self, start: int, stop: int) -> Read:
        runs = [(start, stop)]
        for share, held in reversed(self.shares):
            runs = [found for run in runs for found in share.runs(*run, held)]
        pieces = [piece for span in _spans(runs, self.rows.grain) for piece in self._span(span)]
        w = None if self.w is None else [np.asarray(self.w[a:b]) for a, b in runs]
        Y = None if pieces[0].Y is None else _joined([piece.Y for piece in pieces])
        return Read(
            _joined([piece.X for piece in pieces]), Y, None if w is None else _joined(w), runs
        )

    def _span(self, runs: list[Run]) -> list[Piece]:
        """Runs that are read in one go, with what stands between them."""
        start, stop = runs[0][0], runs[-1][1]
        X, Y = self.rows.read(start, stop)
        inside = [slice(a - start, b - start) for a, b in runs]
        return [Piece(X[rows], None if Y is None else Y[rows]) for rows in inside]

    def bounds(self, block: int) -> np.ndarray:
        """Bounds of blocks of about ``block`` rows, each well read in one go."""
        bounds = self.rows.bounds(block)
        for share, held in self.shares:
            bounds = np.array([share.before(int(row), held) for row in bounds], np.int64)
        return np.unique(bounds)


def _spans(runs: list[Run], grain: int) -> list[list[Run]]:
    """Runs in groups: neighbours that are better read together."""
    spans: list[list[Run]] = []
    for run in runs:
        last = spans[-1] if spans else None
        if last and run[0] - last[-1][1] <= grain and run[1] - last[0][0] <= 4 * grain:
            last.append(run)
        else:
            spans.append([run])
    return spans


def _joined(arrays: list[Any]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
