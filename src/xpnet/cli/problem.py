"""What a net is trained on: a table whose task is decided, in parts, standardised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.cli.options import require
from xpnet.cli.scores import Tally
from xpnet.data.column import Column, counted
from xpnet.data.preprocessing import Preprocessor
from xpnet.data.standardizer import Standardizer
from xpnet.data.stream import Stream
from xpnet.data.task import Labels, class_numbers, labels_of

_MANY = 100  # refused: more classes than this that are more than half of the examples


@dataclass(frozen=True)
class Part:
    """Standardised examples, with class numbers or standardised targets.

    Attributes
    ----------
    for_fit : (X, Y) or Stream
        What ``fit`` takes: X (n, m) and Y, (m,) for classes and (1, m) for a regression; or a
        stream of such rows.
    variance : float
        Of the standardised target of a regression.
    """

    for_fit: tuple[np.ndarray, np.ndarray] | Stream
    variance: float = 0.0

    def __len__(self) -> int:
        rows = self.for_fit
        return rows.n_examples or 0 if isinstance(rows, Stream) else rows[0].shape[1]

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if not isinstance(self.for_fit, Stream):
            yield self.for_fit
            return
        for chunk in self.for_fit.blocks():
            assert chunk.Y is not None
            yield chunk.X.T, chunk.Y


@dataclass(kw_only=True)
class Problem:
    """A table made ready for a net; the parts are set when all else is known.

    Attributes
    ----------
    name : str
        What the data is called.
    target : str
    labels : Labels
    classes : array (k,) or None
        The labels behind the class numbers 0, 1, ...; None for a regression.
    columns : Preprocessor
        Makes the net's input of the columns, as fitted on the training part.
    targets : Standardizer
        The same of a regression's target; None for classes.
    dtype : str
        Of the net.
    train, validation : Part
        ``validation`` is None if nothing was set aside.
    checksum : str
        Of the data.
    notes : tuple of str
        What to tell of it before training.
    """

    name: str
    target: str
    labels: Labels
    classes: np.ndarray | None
    columns: Preprocessor
    targets: Standardizer | None
    dtype: str
    checksum: str = ""
    notes: tuple[str, ...] = ()
    train: Part = field(init=False)
    validation: Part | None = None

    def __post_init__(self) -> None:
        if self.targets is not None and self.targets.scale[0] == 0:
            raise ValueError(f"the target {self.target!r} is constant in the training part, "
                             f"{self.targets.mean[0]:.17g} as float64")  # fmt: skip

    def in_memory(self, E: np.ndarray, y: np.ndarray) -> Part:
        """Standardise encoded rows (m, n), and targets (m,) unless they are class numbers."""
        Y = self.answers(y)
        Y = Y if self.targets is None else Y[None, :]
        Z = self.columns.standardize(E, np.dtype(self.dtype))
        return Part((Z.T, Y), float(np.var(Y.astype(np.float64))))

    def numbered(self, label: Column) -> np.ndarray:
        """Labels (m,) as numbers of their classes, -1 for none of them; or as they are."""
        if self.classes is None:
            return labels_of(label, self.target)
        return class_numbers(label, self.classes)

    def answers(self, y: np.ndarray) -> np.ndarray:
        """Class numbers (m,) as they are, targets (m,) standardised."""
        if self.targets is None:
            return y
        return self.targets.apply(y[:, None], np.dtype(self.dtype))[:, 0]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the net's inputs."""
        return self.columns.names

    @property
    def streamed(self) -> bool:
        """Whether the training part is read from the disk again for every epoch."""
        return isinstance(self.train.for_fit, Stream)

    @property
    def task(self) -> str:
        return "regression" if self.classes is None else "classification"

    @property
    def output(self) -> str:
        """The output of the net."""
        if self.classes is None:
            return "identity"
        return "sigmoid" if len(self.classes) == 2 else "softmax"

    @property
    def n_outputs(self) -> int:
        return len(self.classes) if self.classes is not None and len(self.classes) > 2 else 1

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Which data this is."""
        return {
            "name": self.name,
            "rows": self.labels.m,
            "features": len(self.names),
            "checksum": self.checksum,
        }

    def weights(self) -> np.ndarray:
        """Weights (m,) of the training part: those of each of the k classes add up to m / k."""
        k = 0 if self.classes is None else len(self.classes)
        require(k > 0, "--class-weight", f"{self.target!r} holds no classes")
        require(not self.streamed, "--class-weight", f"{self.name} is streamed, without weights")
        assert not isinstance(self.train.for_fit, Stream)
        Y = self.train.for_fit[1].astype(np.int64)
        return len(Y) / (k * np.bincount(Y)[Y])

    def scores(self, net: Any, part: Part) -> dict[str, float]:
        """Accuracy, or R^2 and the root mean squared error in units of y, on one part."""
        tally = Tally(net, self.targets)
        for block in part.blocks():
            tally.add(*block)
        return tally.figures()

    def saved(self, model: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The data and the tensors that a model file holds beside the net.

        They turn a row of a table into the net's input, and its output into an answer.
        """
        columns, statistics = self.columns, self.columns.standardizer
        tensors = {"input_mean": statistics.mean, "input_scale": statistics.scale}
        tensors["input_fill"] = columns.fill
        if self.targets is not None:
            tensors |= {"target_mean": self.targets.mean, "target_scale": self.targets.scale}
        data = {
            "task": self.task,
            "model": model,
            "features": list(self.names),
            "target": self.target,
            "classes": None if self.classes is None else self.classes.tolist(),
        }
        numbers = columns.plain and all(c.storage == "number" for c in columns.columns)
        if columns.robust or not numbers:
            data["columns"] = columns.to_json()
        return data, tensors


def unlabelled(count: int, target: str) -> str:
    """Say that rows are left out because they have no label; "" if there are none."""
    if not count:
        return ""
    are = "is" if count == 1 else "are"
    return f"{counted(count, 'row')} {are} left out, whose {target!r} is missing"


def classes_of(labels: Labels, target: str, task: str, model: str) -> np.ndarray | None:
    """The classes (k,), or None where the task is a regression.

    With ``task="auto"`` the model decides where it can: linear means regression, logistic means
    classification. Otherwise the labels do.

    Raises
    ------
    UsageProblem
        Task and model contradict each other.
    ValueError
        The labels do not fit the task.
    """
    holds = f"the target {target!r} holds"
    wanted = {"linear": "regression", "logistic": "classification"}.get(model)
    task = wanted or labels.task if task == "auto" else task
    require(wanted in (None, task), "--model", f"{model} is for {wanted}, not for {task}")
    if task == "regression":
        if labels.kind in "Ub":
            instead = "; for classes use --model logistic" if wanted else ""
            raise ValueError(f"{holds} {labels.described}, not numbers{instead}")
        return None
    classes = labels.distinct
    if classes is not None and len(classes) == 1:
        raise ValueError(f"{holds} one class only, {classes[0]!s}")
    if classes is not None and labels.kind == "f" and np.abs(classes).max() > 2.0**53:
        raise ValueError(f"{holds} numbers beyond 2**53, not exact: write classes as text")
    if classes is None or len(classes) > max(_MANY, labels.m // 2):
        k = "very many" if classes is None else f"{len(classes):,}"
        text = labels.kind == "U"
        instead = "" if text else ", for numbers use --task regression"
        raise ValueError(
            f"{holds} {'text' if text else 'numbers'} with {k} distinct values in {labels.m:,} "
            f"rows: too many to be classes{instead}"
        )
    return classes
