"""How well a net does: loss, accuracy and confusions, or R² and RMSE, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.data.table import Standardizer


class Tally:
    """Adds up what a net gets right, over as many blocks of examples as there are.

    Parameters
    ----------
    net : DeepNet
    n_classes : int or None
        None for a regression.
    targets : Standardizer, optional
        Brings a regression's outputs into units of the target; None leaves them as they are.

    Attributes
    ----------
    m : int
        Examples seen.
    confusion : int64 array (n_classes, n_classes) or None
        Rows are the true classes, columns the predicted ones.
    """

    def __init__(self, net: Any, n_classes: int | None, targets: Standardizer | None) -> None:
        self._net, self._targets = net, targets
        self.m = 0
        self._loss = 0.0
        self._squared = 0.0  # sum of squared residuals, units of the target
        self._mean, self._spread = 0.0, 0.0  # of the target: mean, sum of squared deviations
        self.confusion = None
        if n_classes is not None:
            self.confusion = np.zeros((n_classes, n_classes), dtype=np.int64)

    def add(self, X: np.ndarray, Y: np.ndarray, y: np.ndarray) -> None:
        """Examples X (n, m) and Y as the net takes them; y (m,) class numbers or targets."""
        m = X.shape[1]
        if m == 0:
            return
        self._loss += m * self._net.cost(X, Y)
        predicted = np.asarray(self._net.predict(X))
        if self.confusion is not None:
            k = len(self.confusion)
            pairs = k * y.astype(np.int64) + predicted.reshape(-1).astype(np.int64)
            self.confusion += np.bincount(pairs, minlength=k * k).reshape(k, k)
        else:
            outputs = predicted.T.astype(np.float64)
            if self._targets is not None:
                outputs = self._targets.undo(outputs)
            y = y.astype(np.float64)
            self._squared += float(np.sum((outputs[:, 0] - y) ** 2))
            # Two sets of numbers become one: Chan, Golub & LeVeque 1979.
            mean = float(np.mean(y))
            apart = mean - self._mean
            self._spread += float(np.sum((y - mean) ** 2)) + apart**2 * self.m * m / (self.m + m)
            self._mean += apart * m / (self.m + m)
        self.m += m

    @property
    def loss(self) -> float:
        """The mean cost, of the standardised target in a regression."""
        return self._loss / self.m

    def figures(self) -> dict[str, float]:
        """Accuracy, or R² (NaN for a constant target) and RMSE in units of the target."""
        if self.confusion is not None:
            return {"accuracy": float(np.trace(self.confusion)) / self.m}
        return {
            "R²": 1.0 - self._squared / self._spread if self._spread > 0 else float("nan"),
            "RMSE": float(np.sqrt(self._squared / self.m)),
        }


def as_text(figures: dict[str, float]) -> dict[str, str]:
    """Shares to four decimals, what has a unit to four significant digits."""
    return {
        name: f"{value:.4g}" if name in ("loss", "RMSE") else f"{value:.4f}"
        for name, value in figures.items()
    }
