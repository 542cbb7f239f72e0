"""The kinds of a table's columns, decided over all of their cells, and Arrow's arrays as columns.

A kind is "whole" (int64), "number", "bool", "date" or "date FORMAT", or "text".
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.data.column import Column
from xpnet.data.text_format import ALIKE, NUMBER

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-", ".", "#N/A")
# "digits": whole numbers that lose something as such, leading zeros or digits; they are text
_KINDS = ("whole", "digits", "number", "bool", "date", "date %d.%m.%Y", "date %m/%d/%Y",
          "date %d/%m/%Y", "date %Y/%m/%d")  # fmt: skip
_ONE = {"number": "a number", "bool": "true or false", "date": "a date"}
_MANY = {"number": "numbers", "whole": "whole numbers", "bool": "true and false", "date": "dates"}
_EMPTY = {"number": "float64", "bool": "bool", "date": "datetime64[us]"}


class CellFault(ValueError):
    """A cell that does not fit its column: the row in the batch, and what is wrong."""


@dataclass
class CellRules:
    """How cells of text are read: the decimal mark, and what stands for a missing one."""

    decimal: str
    missing: Collection[str]

    def value(self, word: str, kind: str) -> Any:
        """Return the value of a text; None if it is not of that kind."""
        if kind == "bool":
            return {"true": True, "false": False}.get(word.lower())
        if kind.startswith("date"):
            with suppress(ValueError):
                if kind != "date":
                    return datetime.strptime(word, kind[5:])
                if len(word) >= 10 and word[4] == word[7] == "-":
                    found = datetime.fromisoformat(word)
                    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
            return None
        word = word.replace("\N{MINUS SIGN}", "-")
        if self.decimal != ".":
            word = word.replace(".", "!").replace(self.decimal, ".")
        if not NUMBER.fullmatch(word):
            return None
        digits = word.lstrip("+-")
        if kind == "number" or not digits.isdecimal():
            return float(word) if kind == "number" else None
        exact = (digits[0] != "0" or digits == "0") and int(digits) < 2**63
        return int(word) if exact or kind == "digits" else None

    def floats(self, cells: Any) -> tuple[Any, Any]:
        """Return cells of text, perhaps stripped, and as float64; None if one is no number."""
        pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
        if self.decimal == ".":
            with suppress(pa.ArrowInvalid):
                return cells, cells.cast(pa.float64())
            cells = pc.utf8_trim_whitespace(cells)
            with suppress(pa.ArrowInvalid):
                return cells, cells.cast(pa.float64())
        return cells, None


@dataclass
class KindFinder:
    """Finds the kind of a column of text; ``add`` takes its cells in order."""

    rules: CellRules
    possible: list[str] = field(default_factory=lambda: list(_KINDS))
    filled: int = 0
    n_numbers: int = 0
    n_alike: int = 0
    odd: list[tuple[int, str]] = field(default_factory=list)  # the first that are no numbers

    def add(self, cells: Any, row: int) -> None:
        """Take the next cells, from ``row`` on; those that pyarrow read itself are numbers."""
        pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
        count = len(cells) - cells.null_count
        values = cells if pa.types.is_floating(cells.type) else None
        fits = {"number"}
        if values is None and "digits" in self.possible:
            with suppress(pa.ArrowInvalid):
                values, fits = cells.cast(pa.int64()), {"number", "digits", "whole"}
                led = cells.filter(pc.starts_with(cells, "0"))
                if _any(pc.match_substring_regex(led, "^0[0-9]")):
                    fits = {"number", "digits"}
                if _any(pc.match_substring_regex(led, "^0[xX]")):
                    values = None
        if values is None and "number" in self.possible:
            cells, values = self.rules.floats(cells)
            if "digits" in self.possible and _any(pc.match_substring_regex(cells, "^[+-]?[0-9]+$")):
                values = None  # a sign or many digits: look closer
        if values is None:
            self._add_words(cells, row)
        elif count:
            self.filled, self.n_numbers = self.filled + count, self.n_numbers + count
            self.possible = [kind for kind in self.possible if kind in fits]

    def _add_words(self, cells: Any, row: int) -> None:
        counted = cells.drop_null().value_counts()
        for text, count in zip(*(counted.field(i).to_pylist() for i in (0, 1))):
            word = text.strip()
            if word in self.rules.missing:
                continue
            self.filled += count
            self.possible = [k for k in self.possible if self.rules.value(word, k) is not None]
            if "number" in self.possible or self.rules.value(word, "number") is not None:
                self.n_numbers += count
                continue
            self.n_alike += count if ALIKE.fullmatch(word) or NUMBER.fullmatch(word) else 0
            if len(self.odd) < 3:
                self.odd.append((row + cells.index(text).as_py(), word))

    @property
    def kind(self) -> str:
        """The narrowest kind that all cells fit; without cells "number"."""
        kind = [*self.possible, "text"][0]
        return "number" if not self.filled else "text" if kind == "digits" else kind

    @property
    def only_first_is_odd(self) -> bool:
        """Whether all cells are numbers but the first, which is a word."""
        return [row for row, _ in self.odd] == [0] and not self.n_alike and (
            0 < self.n_numbers == self.filled - 1)  # fmt: skip

    @property
    def mostly_numbers(self) -> bool:
        """Whether the column is text, but at least half of its cells are numbers to a person."""
        return not self.possible and 2 * (self.n_numbers + self.n_alike) >= self.filled


def _any(mask: Any) -> bool:
    return bool(import_module("pyarrow.compute").any(mask).as_py())


@cache
def kind_of(dtype: Any) -> str | None:
    """Return the kind of a column by its type of NumPy or Arrow; None if a table has none such."""
    if isinstance(dtype, np.dtype):
        return {"f": "number", "i": "whole", "u": "whole", "b": "bool", "M": "date"}.get(dtype.kind)
    types = import_module("pyarrow").types
    dtype = dtype.value_type if types.is_dictionary(dtype) else dtype
    for kind, tests in {
        "whole": "integer", "number": "floating decimal null", "bool": "boolean",
        "date": "timestamp date", "text": "string large_string string_view",
    }.items():  # fmt: skip
        if any(getattr(types, f"is_{test}")(dtype) for test in tests.split()):
            return kind
    return None


def _there(cells: Any) -> np.ndarray:
    """Mark the cells of an array of Arrow's that hold a value; NaN is none."""
    gone = import_module("pyarrow.compute").is_null(cells, nan_is_null=True)
    return ~gone.to_numpy(zero_copy_only=False)


def column(cells: Any, kind: str, rules: CellRules) -> Column:
    """Return an array of Arrow's or NumPy's as a column; a CellFault names what does not fit."""
    numpy = isinstance(cells, np.ndarray)
    own = str(kind_of(cells.dtype if numpy else cells.type))
    wanted = kind.replace("whole", "number").split()[0]
    if own == "text" or (kind == "text" and (numpy or own != "None")):
        cells = import_module("pyarrow").array(cells) if numpy else cells
        return _of_texts(cells, kind, wanted, rules)
    if wanted == "bool" and own in ("whole", "number"):  # 1 and 0, as many programs write them
        found = column(cells, own, rules)
        odd = ~found.absent & (found.values != 0) & (found.values != 1)
        if odd.any():
            row = int(odd.argmax())
            raise CellFault(row, f"{found.values[row]} is not {_ONE['bool']}")
        return Column(found.values == 1, found.absent)
    if own.replace("whole", "number") != wanted:  # a frame's empty column has any type
        there = cells == cells if numpy else _there(cells)
        if not there.any():
            return Column(np.zeros(len(cells), _EMPTY[wanted]), ~there)
        held = _MANY.get(own, "neither numbers nor text nor dates")
        said = f", not {_ONE[wanted]}" if own in _MANY else ""
        raise CellFault(int(there.argmax()), f"the column holds {held}{said}")
    missing = np.zeros(len(cells), bool)
    if numpy and wanted == "date":
        return Column(cells.astype("datetime64[us]"), np.isnat(cells))
    if not numpy:
        pa = import_module("pyarrow")
        if wanted == "date":
            cells = cells.cast(pa.timestamp("us"), safe=False)
        if pa.types.is_decimal(cells.type) or pa.types.is_null(cells.type):
            cells = cells.cast(pa.float64())
        if cells.null_count:
            missing = cells.is_null().to_numpy(zero_copy_only=False)
            cells = cells.fill_null(0 if wanted != "bool" else False)
        cells = cells.to_numpy(zero_copy_only=False)
    return Column(cells, missing) if wanted != "number" else _numbers(cells, missing)


def _numbers(values: np.ndarray, missing: np.ndarray) -> Column:
    """Return int64, float32 or float64, whichever holds the values; NaN is missing."""
    if values.dtype.kind in "iu" and not (values.size and values.max() >= 2**63):
        return Column(values.astype(np.int64, copy=False), missing)
    wide = np.float32 if values.dtype.kind == "f" and values.itemsize < 8 else np.float64
    values = values.astype(wide, copy=False)
    far = np.abs(values) > np.finfo(np.float32).max
    if far.any():
        row = int(far.argmax())
        what = "not finite" if np.isinf(values[row]) else "beyond what float32 holds (3.4e38)"
        raise CellFault(row, f"{values[row]} is {what}; --missing may name it")
    return Column(values, missing | np.isnan(values))


def _of_texts(cells: Any, kind: str, wanted: str, rules: CellRules) -> Column:
    """Return texts as such, or parsed: each distinct one is looked at once."""
    pa = import_module("pyarrow")
    coded = pa.types.is_dictionary(cells.type)
    if not coded:
        cells = cells.cast(pa.string())  # fewer functions take the views that polars gives
    if wanted == "number":
        cells, values = (cells, None) if coded else rules.floats(cells)
        if values is not None:
            with suppress(pa.ArrowInvalid):
                values = cells.cast(pa.int64()) if kind == "whole" else values
                return column(values, "number", rules)
    cells = cells if coded else cells.dictionary_encode()
    codes = cells.indices.fill_null(len(cells.dictionary)).to_numpy().astype(np.int32)
    words = [str(word).strip() for word in cells.dictionary.to_pylist()]
    gone = np.array([*(word in rules.missing for word in words), True])
    missing = gone[codes]
    if kind == "text":
        own: dict[str, int] = {}
        new = [0 if away else own.setdefault(w, len(own)) for w, away in zip([*words, ""], gone)]
        return Column(np.array(new, np.int32)[codes], missing, tuple(own))
    bits = dict.fromkeys(("1", "1.0"), True) | dict.fromkeys(("0", "0.0"), False)
    bits = bits if kind == "bool" else {}
    parsed = [None if away else bits.get(w, rules.value(w, kind)) for w, away in zip(words, gone)]
    if kind == "whole" and any(p is None and not away for p, away in zip(parsed, gone)):
        parsed = [None if away else rules.value(w, "number") for w, away in zip(words, gone)]
    for code, value in enumerate(parsed):
        if value is None and not gone[code]:
            shown = words[code] if len(words[code]) <= 40 else words[code][:37] + "..."
            raise CellFault(int((codes == code).argmax()), f"{shown!r} is not {_ONE[wanted]}")
    filler = {"number": 0, "bool": False, "date": datetime(1970, 1, 1)}[wanted]
    plain = [filler if value is None else value for value in [*parsed, filler]]
    dtype = "datetime64[us]" if wanted == "date" else None
    values = np.array(plain, dtype)[codes]
    return _numbers(values, missing) if wanted == "number" else Column(values, missing)
