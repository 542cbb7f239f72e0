"""Scores of a net over blocks of examples, with their standard errors and a baseline."""

from __future__ import annotations

from collections import Counter
from math import nan, sqrt
from typing import Any

import numpy as np

from xpnet.data.standardizer import Standardizer


class Tally:
    """Sums a net's costs and errors over blocks of examples.

    Parameters
    ----------
    net : DeepNet
    targets : Standardizer or None
        Brings a regression's outputs into units of the target; None for classes.

    Attributes
    ----------
    m : int
        Examples seen.
    confusion : int64 array (k, k) or None
        Rows are the true classes, columns the predicted ones.
    unseen : Counter
        Examples of each class number from k on: of classes that the net does not know.
    """

    def __init__(self, net: Any, targets: Standardizer | None) -> None:
        self._net, self._targets = net, targets
        self.m = 0
        self._cost = 0.0
        k = max(net.sizes[-1], 2)
        self.confusion = np.zeros((k, k), dtype=np.int64) if targets is None else None
        self.unseen: Counter[int] = Counter()
        # of a regression: f f^T of all examples, f = (1, d, d^2, e^2), e an answer's error and d
        # the target's distance from the first, both standardised
        self._first: Any = None
        self._sums = np.zeros((4, 4))

    def add(self, X: np.ndarray, Y: np.ndarray) -> None:
        """Adds X (n, m) and Y, class numbers (m,) or standardised targets (1, m)."""
        self.m += X.shape[1]
        if self.confusion is not None:
            known = np.less(Y, len(self.confusion))
            if not known.all():
                self.unseen.update(Y[~known].astype(int).tolist())
                X, Y = X[:, known], Y[known]
        m = X.shape[1]
        if m == 0:
            return
        self._cost += m * self._net.cost(X, Y)
        predicted = np.asarray(self._net.predict(X)).reshape(-1)
        if self.confusion is not None:
            k = len(self.confusion)
            pairs = k * Y.astype(np.int64) + predicted.astype(np.int64)
            self.confusion += np.bincount(pairs, minlength=k * k).reshape(k, k)
            return
        z = Y.reshape(-1).astype(np.float64)
        self._first = z[0] if self._first is None else self._first
        d = z - self._first
        f = np.stack([np.ones(m), d, d * d, (predicted - z) ** 2])
        self._sums += f @ f.T

    @property
    def cost(self) -> float:
        """That of the examples of known classes; of the standardised target in a regression."""
        m = self.m - self.unseen.total()
        return self._cost / m if m else nan

    def figures(self) -> dict[str, float]:
        """Accuracy, balanced accuracy, or R² (NaN for a constant target) and RMSE.

        ``_se`` ends the name of a standard error. ``baseline_`` begins that of a score of the best
        constant answer: the commonest class, or the mean, whose R² is 0.
        """
        return self._of_numbers() if self.confusion is None else self._of_classes(self.confusion)

    def _of_classes(self, confusion: np.ndarray) -> dict[str, float]:
        """Standard errors are binomial: those of the hits, and of the hits within each class."""
        of_class = confusion.sum(axis=1)
        m, hits = of_class[of_class > 0], np.diag(confusion)[of_class > 0]
        p, recalls, k = hits.sum() / self.m, hits / m, len(m) + len(self.unseen)
        return {
            "accuracy": float(p),
            "accuracy_se": sqrt(p * (1 - p) / self.m),
            "balanced_accuracy": float(recalls.sum() / k),
            "balanced_accuracy_se": float(np.sqrt(np.sum(recalls * (1 - recalls) / m)) / k),
            "baseline_accuracy": float(of_class.max() / self.m),
        }

    def _of_numbers(self) -> dict[str, float]:
        """R² is 1 minus the ratio of two means; its standard error is that of the ratio.

        Cochran 1977, "Sampling Techniques", section 2.11: with r_i = e_i^2 - (1 - R^2) (y_i -
        mean)^2 the squared error is sum(r_i^2) / (m (m - 1)) over the squared variance of y.
        """
        assert self._targets is not None
        m, unit = self.m, float(self._targets.scale[0])
        mean, square, missed = self._sums[0, 1:] / m
        variance = max(square - mean**2, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            rest = missed / variance if variance else nan
            r = np.array([-rest * mean**2, 2 * rest * mean, -rest, 1.0])  # r_i = r @ f_i
            error = np.sqrt(max(r @ self._sums @ r, 0.0) / m / (m - 1)) / variance
        return {
            "r2": 1.0 - rest,
            "r2_se": float(error),
            "rmse": unit * sqrt(missed),
            "baseline_rmse": unit * sqrt(variance),
        }


def as_text(figures: dict[str, float]) -> dict[str, str]:
    """Accuracies and R² to four decimals, with standard errors; others to four digits."""
    shown = {"r2": "R²", "rmse": "RMSE", "baseline_rmse": "baseline RMSE"}
    rows = {}
    for key, value in figures.items():
        form = ".4g" if key.endswith(("cost", "rmse")) else ".4f"
        error = f" ±{figures[f'{key}_se']:.4f}" if f"{key}_se" in figures else ""
        if not key.endswith("_se"):
            rows[shown.get(key, key.replace("_", " "))] = f"{value:{form}}{error}"
    return rows
