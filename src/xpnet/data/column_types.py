"""The kinds of a table's columns, decided over all of their cells, and Arrow's arrays as columns.

A kind is "whole" (int64), "number", "bool", "date" or "date FORMAT", or "text".
"""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, cached_property
from importlib import import_module
from typing import Any

import numpy as np

from xpnet.data.column import KINDS, CellFault, Column, listed, unfit
from xpnet.data.text_format import ALIKE, NUMBER

_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?", "-", ".", "#N/A")
_DATES = ("date", "date %d.%m.%Y", "date %m/%d/%Y", "date %d/%m/%Y", "date %Y/%m/%d")
# "digits": whole numbers that lose something as such, leading zeros or digits; they are text
_KINDS = ("whole", "digits", "number", "bool", *_DATES)


@dataclass(frozen=True)
class ReadOptions:
    """How a table is read; what is None is found out."""

    sep: str | None = None  # between cells
    decimal: str = "."  # or ","
    encoding: str | None = None
    header: bool | None = None  # whether the first line names the columns
    comment: str | None = None  # lines that begin with it are skipped
    missing: Collection[str] | None = None  # besides the empty cell; None: NA, ?, null and so on
    column: Mapping[str, str] | Collection[tuple[str, str]] = ()  # kinds, of KINDS, by name
    ignore: Collection[str] = ()  # columns that are not read
    dtype: str = "float64"  # that is to hold the numbers
    command: bool = False  # whether messages name options of a command, not arguments

    @cached_property
    def empty(self) -> Collection[str]:
        """The cells that hold no value."""
        return _MISSING if self.missing is None else ("", *self.missing)

    @cached_property
    def chosen(self) -> dict[str, str]:
        """The kinds of ``column``, and "ignore", by name; a ValueError if these contradict."""
        found = dict.fromkeys(self.ignore, "ignore")
        for name, kind in self.column.items() if isinstance(self.column, Mapping) else self.column:
            if kind not in KINDS:
                raise ValueError(f"column {name!r}: {kind!r} is none of {', '.join(KINDS)}")
            if (other := found.setdefault(name, kind)) != kind:
                other = self.named("column", name, "" if other == "ignore" else other)
                other = self.named("ignore", name) if found[name] == "ignore" else other
                given = f"{self.named('column', name, kind)} and {other}"
                raise ValueError(f"column {name!r}: {given} contradict each other")
        return found

    def named(self, option: str, value: str = "", kind: str = "") -> str:
        """Name an option, with a value, as the user gives it."""
        if self.command:
            given = shlex.quote(listed([f"{value}={kind}" if kind else value]))
            return f"--{option} {given}" if value else f"--{option}"
        one: Any = [value] if option in ("missing", "ignore") else value
        return f"{option}={ {value: kind} if kind else one!r}" if value else f"{option}="

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

    def by_comma(self, cells: Iterable[str]) -> bool:
        """Whether all cells are numbers, if their comma is a decimal one."""
        plain = (cell.lstrip("+-").replace(",", "", 1) for cell in cells)
        return self.decimal == "." and all(map(str.isdecimal, plain))

    def floats(self, cells: Any) -> tuple[Any, Any]:
        """Return cells of text, perhaps stripped, and as float64; None if one is no number."""
        pa, pc = import_module("pyarrow"), import_module("pyarrow.compute")
        for change in (lambda x: x, pc.utf8_trim_whitespace) if self.decimal == "." else ():
            with suppress(pa.ArrowInvalid):
                cells = change(cells)
                return cells, cells.cast(pa.float64())
        return cells, None


@dataclass
class KindFinder:
    """Finds the kind of a column of text; ``add`` takes its cells in order.

    A ``typed`` column is text in its source, and may only be dates.
    """

    options: ReadOptions
    typed: bool = False
    filled: int = 0
    n_numbers: int = 0
    n_alike: int = 0
    odd: list[tuple[int, str]] = field(default_factory=list)  # the first that are no numbers

    def __post_init__(self) -> None:
        self.possible = [*(_DATES if self.typed else _KINDS)]

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
            cells, values = self.options.floats(cells)
            if "digits" in self.possible and _any(pc.match_substring_regex(cells, "^[+-]?[0-9]+$")):
                values = None  # a sign or many digits: look closer
        if values is not None:
            if count:
                self.filled, self.n_numbers = self.filled + count, self.n_numbers + count
                self.possible = [kind for kind in self.possible if kind in fits]
        elif self.possible or not self.typed:
            coded = pa.types.is_dictionary(cells.type)
            self._add_words((cells.dictionary if coded else cells).cast(pa.string()), row)

    def _add_words(self, cells: Any, row: int) -> None:
        counts = cells.drop_null().value_counts()
        for text, count in zip(*(part.to_pylist() for part in counts.flatten())):
            word = text.strip()
            if word in self.options.empty:
                continue
            self.filled += count
            self.possible = [k for k in self.possible if self.options.value(word, k) is not None]
            if self.typed:
                if not self.possible:
                    return
            elif "number" in self.possible or self.options.value(word, "number") is not None:
                self.n_numbers += count
            else:
                self.n_alike += count * bool(ALIKE.fullmatch(word) or NUMBER.fullmatch(word))
                if len(self.odd) < 3:
                    self.odd.append((row + cells.index(text).as_py(), word))

    @property
    def kind(self) -> str:
        """The narrowest kind that all cells fit; without cells "number", or the type there is."""
        kind = [*self.possible, "text"][0]
        if self.filled:
            return "text" if kind == "digits" else kind
        return "text" if self.typed else "number"

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


def storage(kind: str) -> str:
    """Return what a column of that kind holds: "number", "bool", "date" or "text"."""
    return kind.replace("whole", "number").split()[0]


def column(cells: Any, kind: str, options: ReadOptions) -> Column:
    """Return an array of Arrow's or NumPy's as a column; a CellFault names what does not fit."""
    pa = None if isinstance(cells, np.ndarray) else import_module("pyarrow")
    own, wanted = kind_of(cells.type if pa else cells.dtype), storage(kind)
    if own == "text" or (own and wanted == "text"):
        return _of_texts(cells if pa else import_module("pyarrow").array(cells), kind, options)
    missing = np.zeros(len(cells), bool)
    if pa and cells.null_count:
        missing = cells.is_null().to_numpy(zero_copy_only=False)
    if own is None:
        if not missing.all():
            held = "the column holds neither numbers nor text nor dates"
            raise CellFault(int(missing.argmin()), held)
        return Column(np.zeros(len(cells)), missing).converted(wanted)
    if pa:
        if own == "date":
            cells = cells.cast(pa.timestamp("us"), safe=False)
        elif pa.types.is_decimal(cells.type) or pa.types.is_null(cells.type):
            cells = cells.cast(pa.float64())
        if cells.null_count:
            cells = cells.fill_null(False if own == "bool" else 0)
        cells = cells.to_numpy(zero_copy_only=False)
    elif own == "date":
        cells, missing = cells.astype("M8[us]"), np.isnat(cells)
    numeric = own in ("whole", "number")
    found = _numbers(cells, missing, options) if numeric else Column(cells, missing)
    return found.converted(wanted)


def _numbers(values: np.ndarray, missing: np.ndarray, options: ReadOptions) -> Column:
    """Return int64, float32 or float64, whichever holds the values; NaN is missing."""
    if values.dtype.kind in "iu" and not (values.size and values.max() >= 2**63):
        return Column(values.astype(np.int64, copy=False), missing)
    wide = np.float32 if values.dtype.kind == "f" and values.itemsize < 8 else np.float64
    values = values.astype(wide, copy=False)
    far = np.abs(values) > np.finfo(options.dtype).max
    if far.any():
        row = int(far.argmax())
        what, cure = "not finite", f"{options.named('missing')} may name it"
        if np.isfinite(values[row]):
            what = "beyond what float32 holds (3.4e38)"
            cure = f"a net of {options.named('dtype', 'float64')} takes it, {cure}"
        raise CellFault(row, f"{values[row]} is {what}; {cure}")
    return Column(values, missing | np.isnan(values))


def _of_texts(cells: Any, kind: str, options: ReadOptions) -> Column:
    """Return texts as such, or parsed: each distinct one is looked at once."""
    pa, wanted = import_module("pyarrow"), storage(kind)
    coded = pa.types.is_dictionary(cells.type)
    if not coded:
        cells = cells.cast(pa.string())  # fewer functions take the views that polars gives
        cells, values = options.floats(cells) if wanted == "number" else (cells, None)
        if values is not None:
            with suppress(pa.ArrowInvalid):
                return column(cells.cast(pa.int64()) if kind == "whole" else values, kind, options)
        cells = cells.dictionary_encode()
    codes = cells.indices.fill_null(len(cells.dictionary)).to_numpy().astype(np.int32)
    words = [str(word).strip() for word in cells.dictionary.to_pylist()]
    gone = np.array([*(word in options.empty for word in words), True])
    missing = gone[codes]
    if kind == "text":
        own: dict[str, int] = {}
        new = [0 if away else own.setdefault(w, len(own)) for w, away in zip([*words, ""], gone)]
        return Column(np.array(new, np.int32)[codes], missing, tuple(own))
    filler = {"number": 0, "bool": False, "date": datetime(1970, 1, 1)}[wanted]
    bits = {"1": True, "1.0": True, "0": False, "0.0": False} if kind == "bool" else {}
    for tried in (kind, wanted) if kind == "whole" else (kind,):
        parsed = [filler if away else bits.get(word, options.value(word, tried))
                  for word, away in zip([*words, ""], gone)]  # fmt: skip
        if None not in parsed:
            break
    else:
        code = parsed.index(None)
        hint = f"; {options.named('decimal', ',')} for decimal commas"
        hint *= wanted == "number" and options.by_comma([words[code]])
        raise CellFault(int((codes == code).argmax()), unfit(words[code], wanted) + hint)
    values = np.array(parsed, "M8[us]" if wanted == "date" else None)[codes]
    return _numbers(values, missing, options) if wanted == "number" else Column(values, missing)
