"""What a net is trained on: a table whose task is decided, in parts, standardised."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet.cli.options import require
from xpnet.cli.scores import Tally
from xpnet.data.standardizer import Standardizer
from xpnet.data.statistics import Statistics
from xpnet.data.stream import Stream
from xpnet.data.task import Labels

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
    names : tuple of str
        Of the features.
    target : str
    labels : Labels
    classes : array (k,) or None
        The labels behind the class numbers 0, 1, ...; None for a regression.
    inputs, targets : Standardizer
        Statistics of the training part; ``targets`` is None for classes.
    dtype : str
        Of the net.
    train, validation : Part
        ``validation`` is None if nothing was set aside.
    checksum : str
        Of the data.
    """

    name: str
    names: tuple[str, ...]
    target: str
    labels: Labels
    classes: np.ndarray | None
    inputs: Standardizer
    targets: Standardizer | None
    dtype: str
    checksum: str
    train: Part = field(init=False)
    validation: Part | None = None

    def __post_init__(self) -> None:
        if self.targets is not None and self.targets.scale[0] == 0:
            raise ValueError(f"the target {self.target!r} is constant in the training part")

    def in_memory(self, X: np.ndarray, y: np.ndarray) -> Part:
        """Standardise rows (m, n), and targets (m,) unless they are class numbers."""
        dtype = np.dtype(self.dtype)
        Y = y if self.targets is None else self.targets.apply(y[:, None], dtype).T
        return Part((self.inputs.apply(X, dtype).T, Y), float(np.var(Y.astype(np.float64))))

    def in_file(self, rows: Stream, found: Statistics) -> Part:
        """The same of a stream, whose statistics were ``found``."""
        variance = 0.0
        if self.targets is not None and found.target_scale is not None:
            variance = float(found.target_scale[0] / self.targets.scale[0]) ** 2
        return Part(rows.prepared(self.inputs, self.targets, self.classes), variance)

    @property
    def streamed(self) -> bool:
        """Whether the training part is read from its file again for every epoch."""
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
