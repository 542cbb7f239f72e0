"""One column of a table in NumPy: its values, and which of them are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = ("number", "bool", "category", "date")
_ONE = {"number": "a number", "bool": "true or false", "date": "a date", "text": "text"}
_MANY = {"number": "numbers", "bool": "true and false", "date": "dates", "text": "text"}


class CellFault(ValueError):
    """A cell that does not fit its column: its row, and what is wrong."""


@dataclass(frozen=True)
class Column:
    """The cells of one column in some rows.

    Attributes
    ----------
    values : array (m,)
        Numbers (float32, float64, int64), bool, datetime64[us], or the int32 codes of ``texts``.
        What stands where a value is missing has no meaning.
    missing : bool array (m,)
    texts : tuple of str or None
        The distinct texts behind the codes; None where the column holds no text.
    """

    values: np.ndarray
    missing: np.ndarray
    texts: tuple[str, ...] | None = None

    @property
    def kind(self) -> str:
        """What the column holds: "number", "bool", "date" or "text"."""
        if self.texts is not None:
            return "text"
        return {"b": "bool", "M": "date"}.get(self.values.dtype.kind, "number")

    @property
    def absent(self) -> np.ndarray:
        """Which cells (m,) are missing, NaN and NaT among them."""
        unknown = {"f": np.isnan, "M": np.isnat}.get(self.values.dtype.kind)
        return self.missing if unknown is None else self.missing | unknown(self.values)

    def as_texts(self) -> tuple[Sequence[str], np.ndarray]:
        """Distinct texts, and the code (m,) of each cell; numbers are their digits."""
        if self.texts is not None:
            return self.texts, self.values
        distinct, codes = np.unique(self.values, return_inverse=True)
        return [text_of(value) for value in distinct], codes

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Any) -> Column:
        """Return the rows of a slice, a mask or an array of indices."""
        return Column(self.values[rows], self.missing[rows], self.texts)

    def converted(self, kind: str) -> Column:
        """Return numbers 1 and 0 as bools, bools as numbers, what is all missing as any kind.

        A CellFault names a cell that is not of that kind.
        """
        if self.kind == kind:
            return self
        wrong, values = ~self.absent, np.zeros(len(self))
        numeric = {self.kind, kind} == {"number", "bool"}
        if numeric:
            values = np.where(wrong, self.values, 0)
            wrong &= (values != 0) & (values != 1)
        if wrong.any():
            row = int(wrong.argmax())
            held = f"the column holds {_MANY[self.kind]}, not {_ONE[kind]}"
            raise CellFault(row, f"{self.values[row]} is not {_ONE[kind]}" if numeric else held)
        dtype = {"number": "f4", "bool": "?", "date": "M8[us]", "text": "i4"}[kind]
        return Column(values.astype(dtype), self.absent, () if kind == "text" else None)

    @classmethod
    def join(cls, parts: Sequence[Column]) -> Column:
        """Join pieces of one column along their rows; texts keep the order they came in."""
        missing = np.concatenate([part.missing for part in parts])
        if parts[0].texts is None:
            return cls(np.concatenate([part.values for part in parts]), missing)
        codes: dict[str, int] = {}
        return cls(np.concatenate([part.codes(codes) for part in parts]), missing, tuple(codes))

    def codes(self, known: dict[str, int]) -> np.ndarray:
        """The int32 code (m,) of each text by ``known``, which gets those that are new; or -1."""
        assert self.texts is not None
        new = [known.setdefault(text, len(known)) for text in self.texts]
        table = np.array([*new, -1], np.int32)  # a missing cell may have the code -1
        return table[np.where(self.missing, -1, self.values)]


def text_of(value: Any) -> str:
    """A value as a category: whole numbers without a point, "true" and "false"."""
    if isinstance(value, float | np.floating) and value.is_integer():
        return str(int(value))
    return str(value).lower() if isinstance(value, bool | np.bool_) else str(value)


def unfit(word: str, kind: str) -> str:
    """Say that a cell is not of its column's kind."""
    return f"{shortened(word)!r} is not {_ONE[kind]}"


def shortened(text: str) -> str:
    """At most 40 characters of a cell."""
    return text if len(text) <= 40 else text[:37] + "..."


def counted(n: int, what: str) -> str:
    """A number of things: "1 row", "1,000 rows"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def listed(names: Sequence[str], most: int = 10) -> str:
    """Join names for a message, in one line: the first ``most``, and the number of the others."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    lines = (name if name.isprintable() else repr(name)[1:-1] for name in names[:most])
    return ", ".join(lines) + more
