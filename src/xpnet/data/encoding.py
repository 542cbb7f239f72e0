"""How a column of a table becomes columns of numbers, side by side.

- number, bool: itself; a fixed number where the cell is missing;
- date: the year; the day of the year, that of the week and the time of day as sine and cosine;
- category: a column of 0 and 1 for each category, and one for the rare ones together ("other"),
  which also takes those that training never saw; without rare ones these are 0 everywhere;
- each of them: a column that is 1 where the cell is missing, if training had such cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xpnet.data.column import KINDS, CellFault, Column

PARTS = ("year", "yearday sin", "yearday cos", "weekday sin", "weekday cos", "time sin", "time cos")


@dataclass(frozen=True)
class Encoding:
    """The encoding of one column.

    Attributes
    ----------
    name : str
    kind : str
        One of ``KINDS``.
    storage : str
        The kind that a reader gives the column: "number", "whole", "bool", "date" or "text".
    parts : tuple of str
        The categories, or some of ``PARTS``.
    other, flag : bool
        Whether there is a column for rare categories, and one for missing cells.
    """

    name: str
    kind: str
    storage: str = "number"
    parts: tuple[str, ...] = ()
    other: bool = False
    flag: bool = False

    def __post_init__(self) -> None:
        texts = (self.name, self.kind, self.storage, *self.parts)
        known = {"date": PARTS, "category": self.parts}.get(self.kind, ())
        if not (
            all(isinstance(text, str) for text in texts)
            and self.kind in KINDS
            and set(self.parts) <= set(known)
            and len(set(self.parts)) == len(self.parts)
            and bool(self.parts) >= (self.kind == "date")
            and {type(self.other), type(self.flag)} == {bool}
        ):
            raise ValueError(f"{self!r:.200} is no encoding of a column")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the columns of numbers."""
        joined = "=" if self.kind == "category" else " "
        names = [f"{self.name}{joined}{part}" for part in self.parts]
        if self.kind in ("number", "bool"):
            names = [self.name]
        names += [f"{self.name} other"] * self.other
        return *names, *[f"{self.name} missing"] * self.flag

    def write(self, column: Column, E: np.ndarray, fill: np.ndarray) -> None:
        """Write a column to E (k, width), zeros so far; ``fill`` (width,) where it is missing."""
        missing = column.absent
        if self.kind == "category" and (self.parts or self.other):
            places = {text: i for i, text in enumerate(self.parts)}
            unseen = len(self.parts) if self.other else -1
            texts, codes = column.as_texts()
            table = np.array([*(places.get(text, unseen) for text in texts), unseen])
            at = table[np.where(missing, -1, codes)]
            rows = np.flatnonzero((at >= 0) & ~(missing & self.flag))
            E[rows, at[rows]] = 1
        elif self.kind != "category":
            width = E.shape[1] - self.flag
            wanted = [PARTS.index(part) for part in self.parts] or slice(None)
            E[:, :width] = numbers_of(column)[:, wanted]
            if missing.any():
                E[missing] = fill
        if self.flag:
            E[:, -1] = missing


def converted(column: Column, kind: str, name: str) -> Column:
    """The column as its kind wants it; a ValueError names a cell that cannot be that."""
    try:
        return column if kind == "category" else column.converted(kind)
    except CellFault as fault:
        raise ValueError(f"column {name!r}: {fault.args[1]}") from None


def numbers_of(column: Column) -> np.ndarray:
    """The numbers (k, 1) of a number or a bool, or the ``PARTS`` (k, 7) of a date."""
    values: Any = column.values
    if column.kind != "date":
        return values[:, None]
    values = np.where(column.absent, np.datetime64(0, "us"), values)
    days, years = values.astype("M8[D]"), values.astype("M8[Y]")
    yearday = (days - years.astype("M8[D]")).astype(np.int64) / 365.25
    weekday = (days.astype(np.int64) + 3) % 7 / 7  # from Monday
    turns = 2 * np.pi * np.stack([yearday, weekday, (values - days) / np.timedelta64(1, "D")])
    circles = [part for turn in turns for part in (np.sin(turn), np.cos(turn))]
    return np.stack([years.astype(np.int64) + 1970, *circles], axis=1)
