"""Columns of mean 0 and standard deviation 1, and the statistics for it, in one pass.

Blocks of rows are measured one by one and joined by the update of Chan, Golub & LeVeque 1983, for
standard deviations in place of sums of squares, which would overflow sooner:

    mean = mean_a + (n_b / n) d                                    d = mean_b - mean_a
    sd^2 = (n_a / n) sd_a^2 + (n_b / n) sd_b^2 + (n_a n_b / n^2) d^2
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Standardizer:
    """Columns shifted to mean 0 and divided by their standard deviation.

    Attributes
    ----------
    mean, scale : float64 arrays (n,)
        Mean and standard deviation (divisor m) of the columns. A scale of 0 marks a constant
        column, which ``apply`` makes 0 whatever it holds later.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, X: np.ndarray) -> Standardizer:
        """Measure X (m, n), or (m, 1) for a target."""
        moments = RunningMoments()
        moments.add(X)
        return moments.result()

    @classmethod
    def identity(cls, n: int) -> Standardizer:
        """Leaves n columns as they are."""
        return cls(np.zeros(n), np.ones(n))

    def apply(self, X: np.ndarray, dtype: type | np.dtype | None = None) -> np.ndarray:
        """Standardise X (m, n) in float64; the result has ``dtype``, X's own if left out."""
        constant = self.scale == 0
        with np.errstate(over="ignore", under="ignore"):
            Z = (X - self.mean) / np.where(constant, 1.0, self.scale)
            Z[:, constant] = 0.0
            return Z.astype(X.dtype if dtype is None else dtype, copy=False)

    def undo(self, Z: np.ndarray) -> np.ndarray:
        """From standardised columns Z (m, n) back to the original units."""
        with np.errstate(over="ignore", under="ignore"):
            return Z * self.scale + self.mean


class RunningMoments:
    """Mean and standard deviation of columns, of all blocks that were added.

    Attributes
    ----------
    n : int
        Rows.
    counts : int or int array (n_columns,)
        Cells of each column that are not missing.
    low, high : float64 arrays (n_columns,)
        The least and the greatest of these cells.
    """

    def __init__(self) -> None:
        self.n = 0
        self.counts: int | np.ndarray = 0
        self.rounded = np.zeros(1)  # (n,): see ``Statistics``
        self.low, self.high = np.array([np.inf]), np.array([-np.inf])
        self._centre = self._mean = self._sd = np.zeros(1)

    def add(self, X: np.ndarray, missing: np.ndarray | None = None) -> None:
        """Adds rows X (k, n), finite; cells where ``missing`` (k, n) is true do not count."""
        k = len(X)
        if k == 0:
            return
        counts: int | np.ndarray = k
        lows = highs = X
        if missing is not None:
            counts = k - missing.sum(axis=0)
            lows, highs = np.where(missing, np.inf, X), np.where(missing, -np.inf, X)
        low, high = lows.min(axis=0).astype(np.float64), highs.max(axis=0).astype(np.float64)
        # All is measured from here, so that a mean far from 0 costs no digits.
        begins = (np.equal(self.counts, 0)) & np.greater(counts, 0)
        ends = np.where(begins, low, 0.0), np.where(begins, high, 0.0)
        self._centre = np.where(begins, ends[0] / 2 + ends[1] / 2, self._centre)
        # Half of everything, so that not even the distance of huge values overflows.
        half = X.astype(np.float64)
        half /= 2
        half -= self._centre / 2
        if missing is not None:
            half[missing] = 0.0
        reach = np.maximum(half.max(axis=0), -half.min(axis=0))
        reach = np.maximum(reach, np.finfo(np.float64).tiny)
        half /= reach  # in [-1, 1]
        mean = half.sum(axis=0) / np.maximum(counts, 1)
        half -= mean
        if missing is not None:
            half[missing] = 0.0
        half *= half
        sd = np.sqrt(half.sum(axis=0) / np.maximum(counts, 1))
        self._join(counts, mean * reach, sd * reach)
        self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
        self.n += k
        if X.dtype != np.float32 and np.maximum(-low, high).max() > 2**24:
            with np.errstate(over="ignore"):
                rounded = (X.astype(np.float32) != X) & (np.floor(X) == X).all(axis=0)
            self.rounded = np.maximum(self.rounded, np.abs(X * rounded).max(axis=0))

    def _join(self, counts: int | np.ndarray, mean: np.ndarray, sd: np.ndarray | float) -> None:
        total = np.maximum(self.counts + counts, 1)
        a, b = self.counts / total, counts / total
        d = mean - self._mean
        spread = np.hypot(np.sqrt(a) * self._sd, np.sqrt(b) * sd)
        self._sd = np.hypot(spread, np.sqrt(a * b) * d)
        self._mean = self._mean + b * d
        self.counts = self.counts + counts

    def result(self, fill: np.ndarray | None = None) -> Standardizer:
        """The standardiser of all rows, where ``fill`` (n,) stands in the missing cells."""
        if fill is not None:
            self._join(self.n - self.counts, fill / 2 - self._centre / 2, 0.0)
        constant = self.low == self.high
        mean = np.where(constant, self.low, self._centre + 2 * self._mean)
        return Standardizer(mean, np.where(constant, 0.0, 2 * self._sd))
