"""Means, standard deviations and labels of more rows than memory holds, in one pass.

Blocks are measured one by one and joined by the update of Chan, Golub & LeVeque 1983, for
standard deviations in place of sums of squares, which would overflow sooner:

    mean = mean_a + (n_b / n) d                                    d = mean_b - mean_a
    sd^2 = (n_a / n) sd_a^2 + (n_b / n) sd_b^2 + (n_a n_b / n^2) d^2
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from xpnet.data.table import Standardizer
from xpnet.data.task import Labels, as_integers

MOST_LABELS = 10_000  # more distinct numbers than this are no classes
_CACHED = 2**15  # numbers that are measured together: what a processor keeps close
MOST_TEXTS = 100_000  # more distinct texts are a mistake, and would fill the memory


@dataclass(frozen=True)
class Statistics:
    """What one pass over the rows of a stream finds.

    Attributes
    ----------
    n : int
        Rows.
    mean, scale : float64 ndarray (n_x,)
        Mean and standard deviation (divisor n) of each column; a scale of 0 marks a constant one.
    classes : ndarray (k,) or None
        The distinct labels, sorted. None if there are more than 10,000 distinct numbers, if
        targets are 2-D, or if there are none.
    target_mean, target_scale : float64 ndarray (n_y,) or None
        Of targets that are numbers.
    """

    n: int
    mean: np.ndarray
    scale: np.ndarray
    classes: np.ndarray | None = None
    target_mean: np.ndarray | None = None
    target_scale: np.ndarray | None = None

    @property
    def inputs(self) -> Standardizer:
        return Standardizer(self.mean, self.scale)

    @property
    def targets(self) -> Standardizer | None:
        if self.target_mean is None or self.target_scale is None:
            return None
        return Standardizer(self.target_mean, self.target_scale)

    @property
    def task(self) -> str:
        """Whether the labels look like classes: see ``task.detect_task``."""
        distinct = None if self.classes is None else as_integers(self.classes)
        return Labels(distinct, self.n).task


class RunningMoments:
    """Mean and standard deviation of columns, of all blocks that were added."""

    def __init__(self) -> None:
        self.n = 0
        self._low = self._high = self._centre = self._mean = self._sd = np.empty(0)

    def add(self, X: np.ndarray) -> None:
        """Adds rows X (k, n), finite."""
        k = len(X)
        if k == 0:
            return
        low, high = X.min(axis=0).astype(np.float64), X.max(axis=0).astype(np.float64)
        if self.n == 0:
            # All is measured from here, so that a mean far from 0 costs no digits.
            self._centre = low / 2 + high / 2
        # Half of everything, so that not even the distance of huge values overflows.
        half = X.astype(np.float64) / 2 - self._centre / 2
        reach = np.maximum(np.abs(half).max(axis=0), np.finfo(np.float64).tiny)
        half /= reach  # in [-1, 1]
        mean, sd = half.mean(axis=0) * reach, half.std(axis=0) * reach
        if self.n == 0:
            self._low, self._high, self._mean, self._sd = low, high, mean, sd
        else:
            a, b = self.n / (self.n + k), k / (self.n + k)
            d = mean - self._mean
            spread = np.hypot(sqrt(a) * self._sd, sqrt(b) * sd)
            self._sd = np.hypot(spread, sqrt(a * b) * d)
            self._mean = self._mean + b * d
            self._low, self._high = np.minimum(self._low, low), np.maximum(self._high, high)
        self.n += k

    def result(self) -> Standardizer:
        """As ``table.Standardizer.fit`` of all rows at once would have it."""
        constant = self._low == self._high
        mean = self._centre + 2 * self._mean
        return Standardizer(
            np.where(constant, self._low, mean), np.where(constant, 0.0, 2 * self._sd)
        )


class RunningStatistics:
    """Statistics of the blocks that were added."""

    def __init__(self) -> None:
        self._inputs, self._targets = RunningMoments(), RunningMoments()
        self._labels: np.ndarray | None = None
        self._countable = True

    def add(self, X: np.ndarray, Y: np.ndarray | None) -> None:
        """Adds rows X (k, n_x) and their labels or targets Y (k,) or (k, n_y), all finite."""
        step = max(1, _CACHED // X.shape[1])
        for i in range(0, len(X), step):
            self._inputs.add(X[i : i + step])
        if Y is None:
            return
        if Y.dtype.kind in "fiub":
            self._targets.add(Y[:, None] if Y.ndim == 1 else Y)
        self._countable = self._countable and Y.ndim == 1
        if self._countable:
            found = np.unique(Y)
            self._labels = found if self._labels is None else np.union1d(self._labels, found)
            if Y.dtype.kind == "U":
                check_number_of_texts(len(self._labels))
            elif len(self._labels) > MOST_LABELS:
                self._countable, self._labels = False, None

    def result(self) -> Statistics:
        inputs = self._inputs.result()
        targets = self._targets.result() if self._targets.n else None
        return Statistics(
            self._inputs.n,
            inputs.mean,
            inputs.scale,
            self._labels,
            None if targets is None else targets.mean,
            None if targets is None else targets.scale,
        )


def check_number_of_texts(k: int) -> None:
    if k > MOST_TEXTS:
        raise ValueError(f"the labels are more than {MOST_TEXTS:,} distinct texts: no classes")
