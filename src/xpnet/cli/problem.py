"""From a table to what a net is trained on: task, layers, parts of the data, standardised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.tables import Standardizer, Table, detect_task, split

_MANY = 100  # classes beyond which half as many classes as examples are taken for a mistake


class UsageProblem(ValueError):
    """Options that contradict each other or the data: which option, and why."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True)
class Part:
    """Examples in columns, as the net takes them.

    X is (n, m), standardised. For classes Y and y are their numbers (m,); otherwise Y (1, m) is
    the target standardised and y (m,) the target as it was.
    """

    X: np.ndarray
    Y: np.ndarray
    y: np.ndarray

    def __len__(self) -> int:
        return self.X.shape[1]


@dataclass(frozen=True)
class Problem:
    """A table made ready for a net.

    Attributes
    ----------
    task : "classification" or "regression"
    output : "sigmoid", "softmax" or "identity"
    classes : array (k,) or None
        The labels behind the class numbers 0, 1, ....
    inputs, targets : Standardizer
        Statistics of the training part; ``targets`` is None for classes.
    train, validation : Part
        ``validation`` is None if nothing was set aside.
    """

    task: str
    output: str
    classes: np.ndarray | None
    inputs: Standardizer
    targets: Standardizer | None
    train: Part
    validation: Part | None

    @property
    def n_outputs(self) -> int:
        return len(self.classes) if self.classes is not None and len(self.classes) > 2 else 1

    def scores(self, net: Any, part: Part) -> dict[str, str]:
        """Accuracy, or R^2 and the root mean squared error in units of y, on one part."""
        predicted = np.asarray(net.predict(part.X))
        if self.targets is None:
            accuracy = np.mean(predicted.reshape(-1) == part.Y)
            return {"accuracy": f"{accuracy:.4f}"}
        residuals = self.targets.undo(predicted.T.astype(np.float64))[:, 0] - part.y
        squared = float(np.mean(residuals**2))
        r2 = _r2(squared, float(np.var(part.y)))
        return {"R²": f"{r2:.4f}", "RMSE": f"{np.sqrt(squared):.4g}"}

    def figures(self, cost: float | None, accuracy: float | None) -> dict[str, float]:
        """What to show of the validation part while training, from its cost and accuracy."""
        if accuracy is not None:
            return {"accuracy": accuracy}
        if cost is None or self.validation is None:
            return {}
        # The cost is half the mean squared error of the standardised target.
        return {"R²": _r2(2 * cost, float(np.var(self.validation.Y.astype(np.float64))))}


def _r2(mean_squared_error: float, variance: float) -> float:
    """1 - MSE / variance; a constant target has none, NaN."""
    return 1.0 - mean_squared_error / variance if variance > 0 else float("nan")


def prepare(
    table: Table, task: str, model: str, validation: float, seed: int, dtype: str
) -> Problem:
    """Decide the task, set the validation part aside, standardise by the training part.

    With ``task="auto"`` the model decides where it can: linear means regression, logistic means
    classification. Otherwise ``xpnet.tables.detect_task`` does.
    """
    task = _task(table, task, model)
    classes = targets = None
    y = table.y
    if task == "classification":
        classes, y = np.unique(table.y, return_inverse=True)
        _check_classes(table, classes)
    X_train, y_train, X_test, y_test = split(
        table.X, y, validation, seed, stratify=task == "classification"
    )
    inputs = Standardizer.fit(X_train)
    if task == "regression":
        targets = Standardizer.fit(y_train[:, None])
        if targets.scale[0] == 0:
            raise ValueError(f"the target {table.target!r} is constant in the training part")

    def part(X: np.ndarray, y: np.ndarray) -> Part:
        Y = y if targets is None else targets.apply(y[:, None], np.dtype(dtype)).T
        return Part(inputs.apply(X, np.dtype(dtype)).T, Y, y)

    return Problem(
        task,
        "identity" if classes is None else "sigmoid" if len(classes) == 2 else "softmax",
        classes,
        inputs,
        targets,
        part(X_train, y_train),
        part(X_test, y_test) if len(y_test) else None,
    )


def _task(table: Table, task: str, model: str) -> str:
    """The task, held against the labels and the model."""
    wanted = {"linear": "regression", "logistic": "classification"}.get(model)
    if task == "auto":
        task = wanted or detect_task(table.y)
    elif wanted not in (None, task):
        raise UsageProblem("--model", f"{model} is for {wanted}, not for {task}")
    if task == "regression" and table.y.dtype.kind not in "fiu":
        what = "text" if table.y.dtype.kind == "U" else "true and false"
        instead = "; for classes use --model logistic" if wanted else ""
        raise ValueError(f"the target {table.target!r} holds {what}, not numbers{instead}")
    return task


def _check_classes(table: Table, classes: np.ndarray) -> None:
    k, m = len(classes), len(table.y)
    if k == 1:
        raise ValueError(f"the target {table.target!r} holds one class only, {classes[0]!s}")
    if k > _MANY and 2 * k > m:
        kind = "text" if table.y.dtype.kind == "U" else "numbers"
        raise ValueError(
            f"the target {table.target!r} holds {kind} with {k:,} distinct values in {m:,} rows: "
            "too many to be classes"
            + (", for numbers use --task regression" if kind == "numbers" else "")
        )
