"""A net together with what stands beside it in its file: columns, classes, standardisation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import xpnet
from xpnet.data.table import Standardizer
from xpnet.files.raw import standardizer


@dataclass(frozen=True)
class Trained:
    """A model file, ready to be used on rows of a table.

    Attributes
    ----------
    net : DeepNet
    features : tuple of str
        Names of the columns that the net takes, in its order; "0", "1", ... if it does not know.
    target : str
        What the net predicts.
    classes : array (k,) or None
        The labels behind the class numbers; None for a regression.
    inputs, targets : Standardizer or None
        None: the net takes the features, or gives the target, as they are.
    """

    path: Path
    net: Any
    features: tuple[str, ...]
    target: str
    classes: np.ndarray | None
    inputs: Standardizer | None
    targets: Standardizer | None

    @classmethod
    def load(cls, path: Path, backend: str = "numpy", device: str | None = None) -> Trained:
        """Read a model file or a checkpoint.

        Raises
        ------
        ModelFileError, OSError
            As ``xpnet.load``; or the columns, classes or statistics do not fit the net.
        """
        net = xpnet.load(path, backend=backend, device=device)
        n_x, n_y = net.sizes[0], net.sizes[-1]
        if net.output != "softmax" and n_y > 1:
            raise xpnet.ModelFileError(
                f"{path}: a net with {n_y} answers per example; use xpnet.load in Python"
            )
        k = 0 if net.output == "identity" else max(2, n_y)
        features = net.data.get("features") or [str(i) for i in range(n_x)]
        classes = net.data.get("classes") or list(range(k))
        try:
            inputs = _standardizer(net, "input", n_x)
            targets = _standardizer(net, "target", n_y) if k == 0 else None
            if len(features) != n_x or (k and len(classes) != k):
                raise ValueError(f"{len(features)} columns, {len(classes)} classes")
        except (ValueError, TypeError) as error:
            raise xpnet.ModelFileError(f"{path}: what it says of the data is damaged: {error}") \
                from None  # fmt: skip
        return cls(
            path,
            net,
            tuple(map(str, features)),
            str(net.data.get("target", "prediction")),
            np.asarray(classes) if k else None,
            inputs,
            targets,
        )

    @property
    def dtype(self) -> np.dtype:
        place = self.net.backend
        return np.dtype("float32" if place.dtype is None else place.dtype_name)

    def columns(self, rows: np.ndarray) -> np.ndarray:
        """Rows (m, n) of a table as the net takes them: (n, m), standardised."""
        if self.inputs is None:
            return rows.astype(self.dtype).T
        return self.inputs.apply(rows, self.dtype).T

    def targets_of(self, y: np.ndarray) -> np.ndarray:
        """Class numbers (m,) as they are; targets (m,) standardised, (1, m)."""
        if self.classes is not None:
            return y
        Y = y[:, None] if self.targets is None else self.targets.apply(y[:, None])
        return Y.astype(self.dtype).T

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """What the net says of rows (m, n): labels (m,), or targets in their own units."""
        answers = np.asarray(self.net.predict(self.columns(rows))).reshape(-1)
        if self.classes is not None:
            return self.classes[answers.astype(np.int64)]
        if self.targets is None:
            return answers
        return self.targets.undo(answers[:, None].astype(np.float64))[:, 0].astype(answers.dtype)

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """(m, k), a column for each class."""
        P = np.asarray(self.net.predict_proba(self.columns(rows))).T
        return np.concatenate([1 - P, P], axis=1) if self.net.output == "sigmoid" else P


def _standardizer(net: Any, what: str, n: int) -> Standardizer | None:
    kept = f"{what}_mean" in net.tensors or f"{what}_scale" in net.tensors
    return standardizer(net, what, n) if kept else None
