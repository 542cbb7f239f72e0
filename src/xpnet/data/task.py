"""States the rule by which labels decide the task, where ``--task`` and the model leave it open."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from xpnet.data.column import Column, counted, text_of

# Whole numbers are a regression target if they have more distinct values than MOST_CLASSES, or
# fewer examples of each, on average, than EXAMPLES_PER_CLASS.
MOST_CLASSES = 100
EXAMPLES_PER_CLASS = 20


@dataclass(frozen=True)
class Labels:
    """The distinct labels of a table, and the number of its examples.

    Attributes
    ----------
    distinct : array (k,) or None
        The distinct labels, sorted; floats without fractions are integers here. None if there
        were too many to collect.
    m : int
        Examples.
    """

    distinct: np.ndarray | None
    m: int

    @classmethod
    def of(cls, y: np.ndarray) -> Labels:
        """Count labels y (m,)."""
        return cls(np.unique(as_integers(y)), len(y))

    @property
    def kind(self) -> str:
        """The kind of their dtype: "U", "b", "i", "u" or "f"."""
        return "f" if self.distinct is None else self.distinct.dtype.kind

    @property
    def task(self) -> str:
        """The task, "classification" or "regression", with k distinct labels:

        - text and bools are classes;
        - integers are classes if k <= 2, or if k <= MOST_CLASSES and every class has
          EXAMPLES_PER_CLASS examples on average;
        - floats without any fraction count as integers; other floats are a regression target.
        """
        if self.distinct is None or self.kind == "f":
            return "regression"
        k = len(self.distinct)
        few = k <= 2 or (k <= MOST_CLASSES and k * EXAMPLES_PER_CLASS <= self.m)
        return "classification" if few or self.kind in "Ub" else "regression"

    @property
    def described(self) -> str:
        """The property of the labels that decides the task, in words."""
        if self.distinct is None:
            return "too many distinct numbers to be classes"
        words = {"U": "text", "b": "true and false", "f": "numbers with fractions"}
        numbers = "whole number" if len(self.distinct) == 1 else "whole numbers"
        rows = counted(self.m, "row")
        whole = f"{len(self.distinct):,} distinct {numbers} in {rows}"
        return words.get(self.kind, whole)

    @property
    def either(self) -> bool:
        """Whether both tasks are possible with such labels."""
        return self.distinct is not None and self.kind in "iuf"


def as_integers(y: np.ndarray) -> np.ndarray:
    """Return labels y (m,) as int64 if they are floats without any fraction, else unchanged.

    The cells of a .csv file have no dtype, so its labels become integers by this rule. It holds
    for files with dtypes too: a label 1 in one file and 1.0 in another are the same class.
    """
    if y.dtype.kind != "f":
        return y
    whole = (np.floor(y) == y).all() and (np.abs(y) <= 2.0**53).all()  # exact as float64
    return y.astype(np.int64) if whole else y


def labelled(
    batch: Mapping[str, Column], target: str
) -> tuple[dict[str, Column], Column, np.ndarray]:
    """Part the labels of a batch from its features, without the rows that have no label.

    Returns the features, the labels, and which rows (m,) of the batch these are.
    """
    label, there = batch[target], ~batch[target].absent
    table = {name: column for name, column in batch.items() if name != target}
    if not there.all():
        table, label = {n: column[there] for n, column in table.items()}, label[there]
    return table, label, there


def labels_of(column: Column, name: str) -> np.ndarray:
    """The labels in a column without its missing cells: text, bools, integers or floats.

    Raises
    ------
    ValueError
        The column holds dates, or nothing.
    """
    there = column[~column.absent]
    if len(there) == 0:
        raise ValueError(f"the target {name!r} is missing in every row")
    if there.kind == "date":
        raise ValueError(f"the target {name!r} holds dates, which are neither numbers nor classes")
    if there.texts is not None:
        return np.array(there.texts)[there.values]
    return there.values


def class_numbers(column: Column, classes: np.ndarray) -> np.ndarray:
    """The number (k,) of each label among the classes; -1 where it is missing or none of them."""
    numbers = {text_of(label): i for i, label in enumerate(classes)}
    texts, codes = column.as_texts()
    if classes.dtype.kind != "U":
        texts = list(map(_plain, texts))
    table = np.array([*(numbers.get(text, -1) for text in texts), -1])
    return table[np.where(column.absent, -1, codes)]


def _plain(text: str) -> str:
    """The text of a number or a truth as ``text_of`` writes it."""
    for kind in (int, float):
        with suppress(ValueError):
            return text if "_" in text else text_of(kind(text))
    return text.lower()
