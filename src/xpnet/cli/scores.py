"""Scores of a net over blocks of examples: cost, and accuracy and confusions, or R² and RMSE."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.data.standardizer import RunningMoments, Standardizer


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
    """

    def __init__(self, net: Any, targets: Standardizer | None) -> None:
        self._net, self._targets = net, targets
        self.m = 0
        self._cost = 0.0
        self._squared = 0.0  # sum of squared residuals, units of the target
        self._answers = RunningMoments()  # of the target
        k = max(net.sizes[-1], 2)
        self.confusion = np.zeros((k, k), dtype=np.int64) if targets is None else None

    def add(self, X: np.ndarray, Y: np.ndarray) -> None:
        """Adds X (n, m) and Y, class numbers (m,) or standardised targets (1, m)."""
        m = X.shape[1]
        if m == 0:
            return
        self._cost += m * self._net.cost(X, Y)
        predicted = np.asarray(self._net.predict(X))
        if self.confusion is not None:
            k = len(self.confusion)
            pairs = k * Y.astype(np.int64) + predicted.reshape(-1).astype(np.int64)
            self.confusion += np.bincount(pairs, minlength=k * k).reshape(k, k)
        else:
            assert self._targets is not None
            columns = (z.astype(np.float64).reshape(-1, 1) for z in (predicted, Y))
            found, y = map(self._targets.undo, columns)
            self._squared += float(np.sum((found - y) ** 2))
            self._answers.add(y)
        self.m += m

    @property
    def cost(self) -> float:
        """That of all examples, of the standardised target in a regression."""
        return self._cost / self.m

    def figures(self) -> dict[str, float]:
        """Accuracy, or R² (NaN for a constant target) and RMSE in units of the target."""
        if self.confusion is not None:
            return {"accuracy": float(np.trace(self.confusion)) / self.m}
        rmse = float(np.sqrt(self._squared / self.m))
        sd = float(self._answers.result().scale[0])
        return {"r2": 1.0 - (rmse / sd) ** 2 if sd > 0 else float("nan"), "rmse": rmse}


def as_text(figures: dict[str, float]) -> dict[str, str]:
    """Accuracy and R² to four decimals, cost and RMSE to four significant digits."""
    shown = {"r2": ("R²", ".4f"), "rmse": ("RMSE", ".4g"), "cost": ("cost", ".4g")}
    named = {name: shown.get(name, (name, ".4f")) for name in figures}
    return {name: f"{figures[key]:{form}}" for key, (name, form) in named.items()}
