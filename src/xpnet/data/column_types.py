"""The types of a table's columns, decided over all of their cells, and Arrow's arrays as columns.

A kind is "whole" (int64), "number", "bool", "date", or "text".
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.data.column import Column
from xpnet.data.text_format import LIKE_NUMBER, NUMBER

MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-", ".", "#N/A")
_DATES = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")  # besides ISO 8601; the first that fits counts
_FEW = 50  # distinct cells in a column that is text though most of them are numbers


class CellFault(ValueError):
    """A cell that does not fit its column: its row, and what is wrong with it."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(what)
        self.row, self.what = row, what


@dataclass
class CellRules:
    """How cells of text are read: the decimal mark, and what stands for a missing one."""

    decimal: str
    missing: Collection[str]

    def tidy(self, cells: Any) -> Any:
        """Return cells without spaces around them, missing ones as null, minus signs as "-"."""
        pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
        cells = pc.utf8_trim_whitespace(cells)
        null = pc.is_in(cells, value_set=pa.array([*self.missing], cells.type))
        cells = pc.if_else(null, pa.scalar(None, cells.type), cells)
        return pc.replace_substring(cells, "\N{MINUS SIGN}", "-")

    def numbers(self, cells: Any) -> tuple[Any, Any]:
        """Return (tidied cells, numbers or None if one of them is none)."""
        pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
        plain = self.decimal == "."
        for tidied in (False, True):
            if tidied:
                cells = self.tidy(cells)
            try:
                texts = cells if plain else self._points(cells, pc)
                return cells, texts.cast(pa.float64())
            except pa.ArrowInvalid:
                pass
        return cells, None

    def _points(self, cells: Any, pc: Any) -> Any:
        """Return cells with points for decimal commas, and the other way round."""
        return pc.replace_substring(
            pc.replace_substring(cells, ".", "!"), self.decimal, "."
        )  # a point that stays is no number

    def number_cells(self, cells: Any, pattern: str = NUMBER) -> np.ndarray:
        """Return which of the tidied cells are numbers."""
        pc = import_module("pyarrow.compute")
        if self.decimal != "." and pattern == NUMBER:
            cells = self._points(cells, pc)
        found = pc.match_substring_regex(cells, f"^(?:{pattern})$")
        return _numpy(pc.fill_null(found, False))


def _numpy(cells: Any) -> np.ndarray:
    return cells.to_numpy(zero_copy_only=False)


@dataclass
class TypeFinder:
    """Finds the kind of one column of text; ``add`` takes its cells in order."""

    rules: CellRules
    whole = True  # while all are int64
    zeros = False  # a leading zero, or more digits than a number keeps
    filled = 0
    n_numbers = 0
    n_alike = 0
    possible: list[str] = field(default_factory=lambda: ["number", "bool", "date", *_DATES])
    odd: list[tuple[int, str]] = field(default_factory=list)
    not_finite: tuple[int, str] | None = None

    def add(self, cells: Any, row: int) -> None:
        """Take the next cells, from ``row`` on."""
        if cells.null_count == len(cells):
            return
        values = None
        if "number" in self.possible:
            cells, values = self.rules.numbers(cells)
        else:
            cells = self.rules.tidy(cells)
        count = len(cells) - cells.null_count
        self.filled += count
        if values is None:
            self._add_odd(cells, row)
        elif count:
            self.n_numbers += count
            self.possible = ["number"] if "number" in self.possible else []
            self._digits(cells, values, row)

    def _digits(self, cells: Any, values: Any, row: int) -> None:
        """Note what numbers would lose: leading zeros, digits, infinities."""
        pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
        known = _numpy(values)
        if self.not_finite is None and np.isinf(known).any():
            i = int(np.isinf(known).argmax())
            self.not_finite = row + i, cells[i].as_py()
        if self.whole:
            try:
                cells.cast(pa.int64())
            except pa.ArrowInvalid:
                self.whole = False
        if not self.zeros:
            led = pc.or_(pc.starts_with(cells, "0"), pc.starts_with(cells, "-0"))
            self.zeros = _any(led) and _any(pc.match_substring_regex(cells, r"^-?0\d+$"))
        if not self.whole and not self.zeros and np.nanmax(np.abs(known)) >= 2.0**53:
            self.zeros = _any(pc.match_substring_regex(cells, r"^[+-]?\d{17,}$"))

    def _add_odd(self, cells: Any, row: int) -> None:
        pc = import_module("pyarrow.compute")
        filled = ~_numpy(cells.is_null())
        numbers = self.rules.number_cells(cells)
        self.n_numbers += int(numbers.sum())
        self.n_alike += int((self.rules.number_cells(cells, LIKE_NUMBER) & ~numbers).sum())
        for i in np.flatnonzero(filled & ~numbers)[: 3 - len(self.odd)].tolist():
            self.odd.append((row + i, cells[i].as_py()))
        keep = []
        for kind in self.possible:
            if kind == "bool":
                fits = pc.match_substring_regex(cells, "^(?i:true|false)$")
                if _numpy(pc.fill_null(fits, True)).all():
                    keep.append(kind)
            elif kind != "number" and (dates(cells, kind).null_count == cells.null_count):
                keep.append(kind)
        self.possible = keep

    @property
    def kind(self) -> str:
        if not self.filled:
            return "number"
        kind = self.possible[0] if self.possible else "text"
        if kind == "number":
            return "text" if self.zeros else "whole" if self.whole else "number"
        return kind if kind in ("bool", "date", "text") else f"date {kind}"

    @property
    def mostly_numbers(self) -> bool:
        """Whether the column is text, but at least half of its cells are numbers to a person."""
        return not self.possible and 2 * (self.n_numbers + self.n_alike) >= self.filled > 0


def _any(mask: Any) -> bool:
    return bool(import_module("pyarrow.compute").any(mask).as_py())


def dates(cells: Any, form: str) -> Any:
    """Return tidied texts as timestamps of microseconds, null where one is no date."""
    pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
    if form != "date":
        return pc.strptime(cells, format=form, unit="us", error_is_null=True)
    found = pc.match_substring_regex(
        cells, r"^\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?$"
    )
    zoned = pc.match_substring_regex(cells, r"^\d{4}-\d\d-\d\d[ T]\d\d:\d\d.*(Z|[+-]\d\d:?\d\d)$")
    none = pa.scalar(None, cells.type)
    try:
        plain = pc.if_else(found, cells, none).cast(pa.timestamp("us"))
        there = pc.if_else(zoned, cells, none).cast(pa.timestamp("us", "UTC"))
    except pa.ArrowInvalid:  # 2020-02-31
        return pa.nulls(len(cells), pa.timestamp("us"))
    return pc.coalesce(plain, there.cast(pa.timestamp("us")))


# -- Arrow's arrays as columns -----------------------------------------------------------
def kind_of_type(kind: Any) -> str | None:
    """Return the kind of a column by its Arrow type; None if it is none of a table's."""
    types = import_module("pyarrow").types
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_integer(kind):
        return "whole"
    if types.is_floating(kind) or types.is_decimal(kind) or types.is_null(kind):
        return "number"
    if types.is_boolean(kind):
        return "bool"
    if types.is_timestamp(kind) or types.is_date(kind):
        return "date"
    texts = types.is_string, types.is_large_string, types.is_string_view
    return "text" if any(test(kind) for test in texts) else None


def column(cells: Any, kind: str, rules: CellRules) -> Column:
    """Return an Arrow array as a column of a kind; a CellFault names the row that does not fit."""
    if isinstance(cells, np.ndarray):
        return _of_array(cells, kind, rules)
    pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
    own = kind_of_type(cells.type)
    if own == "text" and pa.types.is_dictionary(cells.type):
        cells = cells.cast(cells.type.value_type)
    if own == "text":
        cells = cells.cast(pa.string())
    if kind == "text":
        return _texts(cells if own == "text" else cells.cast(pa.string()), rules)
    wanted = "number" if kind == "whole" else kind.split()[0]
    if own == "text":
        cells = _parsed(cells, kind, rules)
    elif own not in ("whole", "number") if wanted == "number" else own != wanted:
        raise CellFault(0, f"the column holds {cells.type}, not {_PLURAL[wanted]}")
    missing = _numpy(cells.is_null()) if cells.null_count else np.zeros(len(cells), bool)
    if wanted == "date":
        return Column(_numpy(cells.cast(pa.timestamp("us"), safe=False)), missing)
    if wanted == "bool":
        return Column(_numpy(pc.fill_null(cells, False)), missing)
    if pa.types.is_decimal(cells.type) or pa.types.is_null(cells.type):
        cells = cells.cast(pa.float64())
    return _numbers(_numpy(pc.fill_null(cells, 0) if cells.null_count else cells), missing)


def _numbers(values: np.ndarray, missing: np.ndarray) -> Column:
    if values.dtype.kind != "f":
        whole = values.dtype != np.uint64 or not len(values) or values.max() < 2**63
        return Column(values.astype(np.int64 if whole else np.float64, copy=False), missing)
    values = values.astype(np.result_type(values.dtype, np.float32), copy=False)
    if np.isinf(values).any():
        raise CellFault(int(np.isinf(values).argmax()), "the cell is infinite")
    return Column(values, missing | np.isnan(values))


_ONE = {"number": "a number", "bool": "true or false", "date": "a date"}
_PLURAL = {"number": "numbers", "bool": "true or false", "date": "dates"}


def _parsed(cells: Any, kind: str, rules: CellRules) -> Any:
    """Return texts as numbers, truths or dates."""
    pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
    wanted = "number" if kind == "whole" else kind.split()[0]
    if wanted == "number":
        cells, values = rules.numbers(cells)
        if values is not None and kind == "whole":
            try:
                return cells.cast(pa.int64())
            except pa.ArrowInvalid:
                pass
        if values is not None:
            return values
        fits = rules.number_cells(cells)
    else:
        cells = rules.tidy(cells)
        if wanted == "bool":
            fits = _numpy(pc.fill_null(pc.match_substring_regex(cells, "^(?i:true|false)$"), False))
            if (fits | _numpy(cells.is_null())).all():
                return pc.utf8_lower(cells).cast(pa.bool_())
        else:
            forms = [kind.partition(" ")[2]] if " " in kind else ["date", *_DATES]
            found = pc.coalesce(*(dates(cells, form) for form in forms))
            fits = ~_numpy(found.is_null())
            if found.null_count == cells.null_count:
                return found
    i = int((~fits & ~_numpy(cells.is_null())).argmax())
    shown = cells[i].as_py()
    shown = shown if len(shown) <= 40 else shown[:37] + "..."
    raise CellFault(i, f"{shown!r} is not {_ONE[wanted]}")


def _texts(cells: Any, rules: CellRules) -> Column:
    coded = cells.dictionary_encode()
    missing = _numpy(coded.indices.is_null())
    codes = _numpy(coded.indices.fill_null(0)).astype(np.int32)
    found = coded.dictionary.to_pylist()
    own: dict[str, int] = {}
    new = [-1 if (text := t.strip()) in rules.missing else own.setdefault(text, len(own))
           for t in found]  # fmt: skip
    if len(own) < len(found) or list(own) != found:
        codes = np.array([*new, -1], np.int32)[codes]
        missing = missing | (codes < 0)
    return Column(codes, missing, tuple(own))


# -- NumPy's arrays, without pyarrow -----------------------------------------------------
def kind_of_dtype(dtype: np.dtype) -> str | None:
    """Return the kind of a column by its dtype; text may turn out to be numbers."""
    kinds = {"f": "number", "i": "whole", "u": "whole", "b": "bool", "M": "date"}
    return kinds.get(dtype.kind, "text" if dtype.kind in "OSU" else None)


def words(cells: np.ndarray) -> list[str | None]:
    """Return objects, bytes or texts as texts; None and NaN are None."""
    return [None if c is None or c != c else c.decode() if isinstance(c, bytes) else str(c)
            for c in cells.tolist()]  # fmt: skip


def word_kind(found: list[str | None]) -> str:
    """Return the kind that all of some texts are."""
    full = [word for word in found if word is not None]
    if all(word.lower() in ("true", "false") for word in full):
        return "bool" if full else "number"
    if not all(re.fullmatch(NUMBER, word) for word in full):
        return "text"
    return "whole" if all(word.lstrip("+-").isdecimal() for word in full) else "number"


def _of_array(cells: np.ndarray, kind: str, rules: CellRules) -> Column:
    own, wanted = kind_of_dtype(cells.dtype), "number" if kind == "whole" else kind.split()[0]
    if own == "text" or kind == "text":
        found = words(cells)
        missing = np.array([w is None or w.strip() in rules.missing for w in found], bool)
        if kind == "text":
            codes: dict[str, int] = {}
            values = [0 if gone else codes.setdefault(str(w).strip(), len(codes))
                      for w, gone in zip(found, missing)]  # fmt: skip
            return Column(np.array(values, np.int32), missing, tuple(codes))
        for i in np.flatnonzero(~missing):
            if word_kind([found[i]]) not in (
                (wanted, kind, "whole") if wanted == "number" else (wanted,)
            ):
                raise CellFault(int(i), f"{found[i]!r} is not {_ONE[wanted]}")
        if wanted == "bool":
            return Column(np.array([str(w).lower() == "true" for w in found], bool), missing)
        plain = [float(w) if w and not gone else 0.0 for w, gone in zip(found, missing)]
        if kind == "whole" and word_kind([w for w in found if w]) == "whole":
            plain = [int(w) if w and not gone else 0 for w, gone in zip(found, missing)]
        return _numbers(np.array(plain), missing)
    if own not in ("whole", "number") if wanted == "number" else own != wanted:
        raise CellFault(0, f"the column holds {cells.dtype}, not {_PLURAL[wanted]}")
    missing = np.zeros(len(cells), bool)
    if wanted == "date":
        return Column(cells.astype("datetime64[us]"), np.isnat(cells))
    if wanted == "bool":
        return Column(cells, missing)
    return _numbers(cells.astype(cells.dtype.newbyteorder("="), copy=False), missing)
