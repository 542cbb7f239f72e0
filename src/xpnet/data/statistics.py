"""Means, standard deviations and labels of more rows than memory holds, in one pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xpnet.data.standardizer import RunningMoments, Standardizer
from xpnet.data.task import Labels, as_integers

MOST_LABELS = 10_000  # above this a target counts as regression
_CACHED = 2**15  # numbers that are measured together: they fit the L2 cache
MOST_TEXTS = 100_000  # more distinct texts are refused: they would fill the memory


@dataclass(frozen=True)
class Statistics:
    """Statistics of the rows of a stream, found in one pass.

    Attributes
    ----------
    n : int
        Rows.
    inputs : Standardizer
        Mean and standard deviation (divisor n) of each column; a scale of 0 marks a constant one.
    classes : ndarray (k,) or None
        The distinct labels, sorted. None if there are more than 10,000 distinct numbers, if
        targets are 2-D, or if there are none.
    targets : Standardizer or None
        The same as ``inputs`` of targets that are numbers.
    rounded, target_rounded : float64 ndarray (n_x,) and (n_y,), or None
        The largest number that float32 would round, by size, of each column of whole numbers.
    """

    n: int
    inputs: Standardizer
    classes: np.ndarray | None = None
    targets: Standardizer | None = None
    rounded: np.ndarray | None = None
    target_rounded: np.ndarray | None = None

    @property
    def task(self) -> str:
        """The task by the rule of ``task.Labels``."""
        distinct = None if self.classes is None else as_integers(self.classes)
        return Labels(distinct, self.n).task


class RunningLabels:
    """The distinct labels (k,), sorted, of all that were added; None if these are too many."""

    distinct: np.ndarray | None = None
    _many = False

    def add(self, y: np.ndarray) -> None:
        """Add labels (k,); those with two dimensions are too many."""
        self._many = self._many or y.ndim > 1
        if not self._many:
            found = np.unique(y)
            self.distinct = found if self.distinct is None else np.union1d(self.distinct, found)
            if y.dtype.kind == "U":
                check_number_of_texts(len(self.distinct))
            self._many = y.dtype.kind != "U" and len(self.distinct) > MOST_LABELS
        if self._many:
            self.distinct = None


class RunningStatistics:
    """Statistics of the blocks that were added."""

    def __init__(self) -> None:
        self._inputs, self._targets = RunningMoments(), RunningMoments()
        self._labels = RunningLabels()

    def add(self, X: np.ndarray, Y: np.ndarray | None) -> None:
        """Add rows X (k, n_x) and their labels or targets Y (k,) or (k, n_y), all finite."""
        step = max(1, _CACHED // max(1, X.shape[1]))
        for i in range(0, len(X), step):
            self._inputs.add(X[i : i + step])
        if Y is not None:
            self._labels.add(Y)
            if Y.dtype.kind in "fiub":
                self._targets.add(Y[:, None] if Y.ndim == 1 else Y)

    def result(self) -> Statistics:
        inputs, of = self._inputs, self._targets
        targets, rounded = (of.result(), of.rounded) if of.n else (None, None)
        labels = self._labels.distinct
        return Statistics(inputs.n, inputs.result(), labels, targets, inputs.rounded, rounded)


def check_number_of_texts(k: int) -> None:
    if k > MOST_TEXTS:
        raise ValueError(f"the labels are more than {MOST_TEXTS:,} distinct texts: no classes")
