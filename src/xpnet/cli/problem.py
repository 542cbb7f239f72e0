"""From a table to what a net is trained on: task, layers, parts of the data, standardised."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backends.libraries import LIBRARIES
from xpnet.cli.scores import Tally
from xpnet.data.columns import WantedColumns, encoder
from xpnet.data.csv_rules import as_integers
from xpnet.data.read_columns import read_all
from xpnet.data.table import Standardizer, Table, task_of, train_test_split

NO_CHOICE = ("text", "true and false", "too many distinct numbers to be classes")
_MANY = 100  # classes beyond which half as many classes as examples are taken for a mistake


class UsageProblem(ValueError):
    """Options that contradict each other or the data: which option, and why."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__(message)
        self.option = option


def require(condition: bool, option: str, message: str) -> None:
    """A UsageProblem unless ``condition``."""
    if not condition:
        raise UsageProblem(option, message)


def check_backend(name: str) -> None:
    names = ["auto", "best", *LIBRARIES]
    require(name in names, "--backend", f"{name!r} is not one of {', '.join(names)}")


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

    @property
    def for_fit(self) -> tuple[Any, ...]:
        """What ``DeepNet.fit`` takes."""
        return self.X, self.Y

    @property
    def variance(self) -> float:
        """Of the standardised target."""
        return float(np.var(self.Y.astype(np.float64)))

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        yield self.X, self.Y, self.y


@dataclass(frozen=True)
class Problem:
    """A table made ready for a net.

    Attributes
    ----------
    task : "classification" or "regression"
    output : "sigmoid", "softmax" or "identity"
    names : tuple of str
        Of the features.
    target : str
    classes : array (k,) or None
        The labels behind the class numbers 0, 1, ....
    inputs, targets : Standardizer
        Statistics of the training part; ``targets`` is None for classes.
    train, validation : Part
        ``validation`` is None if nothing was set aside.
    fingerprint : dict
        Which data this is: name, rows, features, and a checksum.
    labels : str
        What the target holds, in words: by it the task is decided if nobody tells it.
    streamed : bool
        Whether the parts are read from the file again for every epoch.
    """

    task: str
    output: str
    names: tuple[str, ...]
    target: str
    classes: np.ndarray | None
    inputs: Standardizer
    targets: Standardizer | None
    train: Any
    validation: Any
    fingerprint: dict[str, Any]
    labels: str
    streamed: bool = False

    @property
    def n_outputs(self) -> int:
        return len(self.classes) if self.classes is not None and len(self.classes) > 2 else 1

    def scores(self, net: Any, part: Any) -> dict[str, float]:
        """Accuracy, or R^2 and the root mean squared error in units of y, on one part."""
        n_classes = None if self.classes is None else len(self.classes)
        tally = Tally(net, n_classes, self.targets)
        for block in part.blocks():
            tally.add(*block)
        return tally.figures()

    def figures(self, cost: float | None, accuracy: float | None) -> dict[str, float]:
        """What to show of the validation part while training, from its cost and accuracy."""
        if accuracy is not None:
            return {"accuracy": accuracy}
        if cost is None or self.validation is None:
            return {}
        # The cost is half the mean squared error of the standardised target.
        variance = self.validation.variance
        return {"R²": 1.0 - 2 * cost / variance if variance > 0 else float("nan")}

    def beside(self, model: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """What turns a row of a table into the net's input and its output into an answer.

        The data and the tensors that stand beside the net in a file.
        """
        tensors = {"input_mean": self.inputs.mean, "input_scale": self.inputs.scale}
        if self.targets is not None:
            tensors |= {"target_mean": self.targets.mean, "target_scale": self.targets.scale}
        data = {
            "task": self.task,
            "model": model,
            "features": list(self.names),
            "target": self.target,
            "classes": None if self.classes is None else self.classes.tolist(),
        }
        return data, tensors


def prepare(
    name: str,
    table: Table,
    task: str,
    model: str,
    held_out: float | Path,
    seed: int,
    dtype: str,
) -> Problem:
    """Decide the task, set the validation part aside, standardise by the training part.

    With ``task="auto"`` the model decides where it can: linear means regression, logistic means
    classification. Otherwise ``data.table.detect_task`` does. ``held_out`` is the share of the
    validation part, or a file with others; ``name`` is what the data is called.
    """
    y = as_integers(table.y)
    distinct, kind, m = np.unique(y), y.dtype.kind, len(y)
    task = check_task(kind, task_of(kind, len(distinct), m), table.target, task, model)
    classes = targets = None
    labels = labels_described(kind, len(distinct), m)
    if task == "classification":
        classes, y = distinct, np.searchsorted(distinct, y)
        check_classes(classes, m, table.target)
    share = 0.0 if isinstance(held_out, Path) else held_out
    X_train, y_train, X_test, y_test = train_test_split(
        table.X, y, share, seed, stratify=task == "classification"
    )
    if isinstance(held_out, Path):
        wanted = WantedColumns(table.names, table.target, encoder(classes))
        X_test, y_test = read_all(held_out, wanted)
    inputs = Standardizer.fit(X_train)
    if task == "regression":
        targets = Standardizer.fit(y_train[:, None])
        if targets.scale[0] == 0:
            raise ValueError(f"the target {table.target!r} is constant in the training part")

    def part(X: np.ndarray, y: np.ndarray) -> Part:
        Y = y if targets is None else targets.apply(y[:, None], np.dtype(dtype)).T
        return Part(inputs.apply(X, np.dtype(dtype)).T, Y, y)

    arrays = (table.X, table.y, *((X_test, y_test) if isinstance(held_out, Path) else ()))
    return Problem(
        task,
        output_of(classes),
        table.names,
        table.target,
        classes,
        inputs,
        targets,
        part(X_train, y_train),
        part(X_test, y_test) if len(y_test) else None,
        {"name": name, "rows": m, "features": table.X.shape[1], "checksum": checksum(arrays)},
        labels,
    )


def output_of(classes: np.ndarray | None) -> str:
    return "identity" if classes is None else "sigmoid" if len(classes) == 2 else "softmax"


def checksum(arrays: Iterable[np.ndarray]) -> str:
    """The beginning of their SHA-256."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data if array.size else b"")
    return digest.hexdigest()[:16]


def check_task(kind: str, looks_like: str, target: str, task: str, model: str) -> str:
    """The task, held against the model and the labels, whose dtype is of this ``kind``."""
    wanted = {"linear": "regression", "logistic": "classification"}.get(model)
    if task == "auto":
        task = wanted or looks_like
    elif wanted not in (None, task):
        raise UsageProblem("--model", f"{model} is for {wanted}, not for {task}")
    if task == "regression" and kind not in "fiu":
        what = "text" if kind == "U" else "true and false"
        instead = "; for classes use --model logistic" if wanted else ""
        raise ValueError(f"the target {target!r} holds {what}, not numbers{instead}")
    return task


def labels_described(kind: str, k: int, m: int) -> str:
    """``m`` labels of a NumPy ``kind``, ``k`` of them distinct (0: too many), in words."""
    text, truths, too_many = NO_CHOICE
    if kind in "Ub":
        return text if kind == "U" else truths
    if k == 0:
        return too_many
    if kind == "f":
        return "numbers with fractions"
    return f"{k:,} distinct whole numbers in {m:,} rows"


def check_classes(classes: np.ndarray, m: int, target: str) -> None:
    """ValueError if there is one class only, or so many that they must be something else."""
    k = len(classes)
    if k == 1:
        raise ValueError(f"the target {target!r} holds one class only, {classes[0]!s}")
    if k > _MANY and 2 * k > m:
        kind = "text" if classes.dtype.kind == "U" else "numbers"
        raise ValueError(
            f"the target {target!r} holds {kind} with {k:,} distinct values in {m:,} rows: "
            "too many to be classes"
            + (", for numbers use --task regression" if kind == "numbers" else "")
        )
