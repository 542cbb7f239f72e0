"""What a net is trained on: a table whose task is decided, in parts, standardised."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xpnet import DeepNet
from xpnet.cli.options import UsageProblem, require
from xpnet.cli.scores import Tally
from xpnet.data.column import Column, counted
from xpnet.data.preprocessing import Preprocessor
from xpnet.data.standardizer import Standardizer
from xpnet.data.stream import Stream
from xpnet.data.task import Labels, class_numbers, labels_of


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
    name, target : str
        What the data and its target are called.
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
    notes : sequence of str
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
    notes: Sequence[str] = ()
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

    def net(self, widths: Sequence[int], **options: Any) -> DeepNet:
        """A net with hidden layers of these widths that fits the data."""
        k = 0 if self.classes is None else len(self.classes)
        output = "identity" if k == 0 else "sigmoid" if k == 2 else "softmax"
        sizes = [len(self.names), *widths, k if k > 2 else 1]
        net = DeepNet(sizes, output=output, dtype=self.dtype, **options)
        if widths and k == 0:  # the first answers are the mean
            *first, (W, b) = net.parameters
            net.parameters = [*first, (0 * W, b)]
        return net

    @property
    def fingerprint(self) -> dict[str, Any]:
        """Which data this is."""
        figures = {"rows": self.labels.m, "features": len(self.names), "checksum": self.checksum}
        return {"name": self.name, **figures}

    def weights(self) -> np.ndarray:
        """Weights (m,) of the training part: those of each of the k classes add up to m / k."""
        require(self.classes is not None, "--class-weight", f"{self.target!r} holds no classes")
        rows, streamed = self.train.for_fit, f"{self.name} is streamed, without weights"
        if isinstance(rows, Stream) or self.classes is None:
            raise UsageProblem("--class-weight", streamed)
        Y = rows[1].astype(np.int64)
        return len(Y) / (len(self.classes) * np.bincount(Y)[Y])

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
        data: dict[str, Any] = {"task": self.task, "model": model, "target": self.target}
        data["features"] = list(self.names)
        data["classes"] = None if self.classes is None else self.classes.tolist()
        numbers = columns.plain and all(c.storage == "number" for c in columns.columns)
        if columns.robust or not numbers:
            data["columns"] = columns.to_json()
        return data, tensors


def unlabelled(count: int, target: str) -> str:
    """Say that rows are left out because they have no label; "" if there are none."""
    are = "is" if count == 1 else "are"
    return f"{counted(count, 'row')} {are} left out, whose {target!r} is missing" * bool(count)
