"""The columns of a data file that a trained net takes, found by their names.

A ``.csv`` file with a header and a ``.parquet`` file have names, so their columns may be in any
order, and further ones are ignored. Columns without names (``.npy``, ``.npz``, ``.csv`` without a
header) are taken as they come if there are as many as the net takes; otherwise by their index, if
the net was trained on such a file with the target in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.data.csv_rules import number

Block = tuple[np.ndarray, np.ndarray | None]  # rows (m, n) and encoded targets (m,)


@dataclass(frozen=True)
class WantedColumns:
    """What to read: columns of numbers by name, and perhaps a target.

    Attributes
    ----------
    features : sequence of str
    target : str or None
        None: read features alone.
    encode : callable (label) -> float
        The number of a label, which is text or a value; raises ValueError for an unknown one.
    known : sequence of str
        Names of further columns, by which a header is recognised.
    hint : str
        What to do if there is no such target, for the message.
    """

    features: Sequence[str]
    target: str | None = None
    encode: Callable[[Any], float] = number
    known: Sequence[str] = ()
    hint: str = ""

    def places(self, path: Path, names: Sequence[str] | None, width: int) -> list[int]:
        """Return the indices of the features, then of the target, among ``width`` columns.

        ``names`` is None if columns have none. A ValueError names the column that is missing.
        """
        there = [str(i) for i in range(width)] if names is None else list(names)
        nameless = names is None or all(name.isdecimal() for name in self.features)
        if nameless and not set(self.features) <= set(there):
            there = self._by_position(there)
        wanted = [*self.features, *([] if self.target is None else [self._target(there)])]
        missing = [name for name in wanted if name not in there]
        if missing:
            has = f"{width} columns without names" if names is None else f"it has {listed(there)}"
            if missing == [self.target]:
                raise ValueError(
                    f"{path}: no column {self.target!r} with the true answers{self.hint}; {has}"
                )
            raise ValueError(
                f"{path}: no column {missing[0]!r}"
                + (f" (and {len(missing) - 1} more are missing)" if len(missing) > 1 else "")
                + f"; the model takes {listed(self.features)}; {has}"
            )
        twice = [name for name in wanted if there.count(name) > 1]
        if twice:
            raise ValueError(f"{path}: {there.count(twice[0])} columns are named {twice[0]!r}")
        return [there.index(name) for name in wanted]

    def _target(self, there: list[str]) -> str:
        """Return the target's name, if it was given by index too (negative: from the end)."""
        target = str(self.target)
        if target in there or not target.removeprefix("-").isdecimal():
            return target
        return there[int(target)] if -len(there) <= int(target) < len(there) else target

    def _by_position(self, there: list[str]) -> list[str]:
        """Return names for columns that have none, if their number leaves no doubt."""
        n = len(self.features)
        if len(there) == n:
            return list(self.features)
        if self.target is not None and len(there) == n + 1:
            target = self._target(there)
            at = there.index(target) if target in there else n + 1
            return [*self.features[:at], target, *self.features[at:]]
        return there


def encoder(classes: np.ndarray | None) -> Callable[[Any], float]:
    """Return the function from a label, or its text, to its number among the classes, if any."""
    if classes is None:
        return number
    numbers = {label: i for i, label in enumerate(classes.tolist())}
    kind = classes.dtype.kind
    truths = {"true": True, "false": False}

    def encode(label: Any) -> float:
        key = label
        if kind == "U":
            key = str(label)
        elif isinstance(label, str):
            try:
                key = truths[label.lower()] if kind == "b" else number(label)
            except (KeyError, ValueError):
                key = label
        if key not in numbers:
            known = listed(list(map(str, numbers)))
            raise ValueError(f"{str(label)[:40]!r} is no class of the model's: {known}")
        return float(numbers[key])

    return encode


def encoded(labels: Any, wanted: WantedColumns, where: Callable[[int], str]) -> np.ndarray:
    """Return labels as numbers (m,); ``where`` is the place of a row in words, for messages."""
    codes = np.empty(len(labels))
    known: dict[Any, float] = {}
    for i, label in enumerate(labels):
        if label not in known:
            try:
                known[label] = wanted.encode(label)
            except ValueError as error:
                raise ValueError(f"{where(i)}: {error}") from None
            if not isfinite(known[label]):
                what = f"{wanted.target} is {label}, not a finite number"
                raise ValueError(f"{where(i)}: {what}")
        codes[i] = known[label]
    return codes


def find_target(path: Path, target: str | int | None, names: tuple[str, ...], header: bool) -> int:
    """Return the index of the column ``target``, a name or an index; a ValueError lists names."""
    if len(names) < 2:
        raise ValueError(f"{path}: one column only; a table needs the target and at least one more")
    columns = f"the columns are {listed(names, 20)}"
    if not header:
        columns += " (line 1 holds numbers, so it is no header, and columns go by their index)"
    if target is None:
        raise ValueError(f"{path}: which column is the target? Name it (--target); {columns}")
    wanted = str(target)
    if names.count(wanted) > 1:
        places = ", ".join(str(i) for i, name in enumerate(names) if name == wanted)
        raise ValueError(f"{path}: {names.count(wanted)} columns are named {wanted!r}; {places}"
                         " are their indices, rename one")  # fmt: skip
    if wanted in names:
        return names.index(wanted)
    index = int(wanted) if wanted.removeprefix("-").isdecimal() else len(names)
    if not -len(names) <= index < len(names):
        raise ValueError(f"{path}: no column {wanted!r}; {columns}")
    return index % len(names)


def listed(names: Sequence[str], most: int = 10) -> str:
    """Join names for a message: the first ``most``, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
