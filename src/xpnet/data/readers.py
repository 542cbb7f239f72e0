"""One reader of tables: text, Parquet, Feather, JSON lines, arrays, data frames.

A table is read in batches of NumPy columns (``data/column.py``). Only this file and the two beside
it know pyarrow, which ``.npy``, ``.npz`` and arrays do not need.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from xpnet.data import text_format
from xpnet.data.column import Column
from xpnet.data.column_types import (
    _FEW,
    MISSING,
    CellFault,
    CellRules,
    TypeFinder,
    column,
    kind_of_dtype,
    kind_of_type,
    word_kind,
    words,
)
from xpnet.data.columns import listed
from xpnet.data.file_array import open_npy, open_npz

Batch = dict[str, Column]
_ROWS = 2**14


@dataclass(frozen=True)
class ReadOptions:
    """How a file of text is read; None: found out.

    Attributes
    ----------
    sep : str, optional
        Between cells.
    decimal : str
        "." or ",".
    encoding : str, optional
    header : bool, optional
        Whether the first line names the columns.
    comment : str, optional
        Lines that begin with it are skipped.
    missing : collection of str, optional
        What stands for a missing cell, besides the empty one; None: NA, ?, null and the like.
    """

    sep: str | None = None
    decimal: str = "."
    encoding: str | None = None
    header: bool | None = None
    comment: str | None = None
    missing: Collection[str] | None = None


def open_table(
    source: Any,
    options: ReadOptions = ReadOptions(),
    *,
    kinds: Mapping[str, str] | None = None,
    known: Collection[str] = (),
    target: str | int | None = None,
    chosen: Mapping[str, str] | None = None,
) -> TableReader:
    """Open a table.

    Parameters
    ----------
    source
        A path (".csv" and other text, also packed; Parquet files and folders, Feather, JSON lines,
        ".npy", ".npz"), "-" or a pipe, a data frame, or arrays (X, y).
    kinds : mapping of str to str, optional
        The columns to read and their kinds, as a model holds them (``TableReader.kinds``); None:
        all columns, whose kinds are found in one pass.
    known : collection of str
        Further names of columns, by which a header is known.
    target : str or int, optional
        The column of the answers, by name or index. With ``kinds`` it is one of them.
    chosen : mapping of str to str, optional
        Kinds that the user gives: "number", "bool", "date", "text", or "ignore".

    Raises
    ------
    ValueError
        The message names the source and, where there is one, the line or row and the column.
    OSError
        A file cannot be read.
    """
    asked = [*(kinds or ()), *known, *([] if target is None else [str(target)])]
    missing = MISSING if options.missing is None else ("", *options.missing)
    rules = CellRules(options.decimal, missing)
    reader = TableReader(_opened(source, options, asked, missing), rules)
    if kinds is not None:
        reader._want(kinds, None if target is None else str(target))
        return reader
    try:
        reader._find_kinds(target, chosen or {})
    except _HeaderFound:
        return open_table(
            source, replace(options, header=True), known=known, target=target, chosen=chosen
        )
    return reader


class TableReader:
    """A table whose columns have kinds; made by ``open_table``.

    Attributes
    ----------
    name : str
    names : list of str
        Of the columns, each different: ``a, a`` are "a" and "a.1", one without a name is its index.
    row_numbers : list of str
        Those of ``names`` that number the rows.
    target : str or None
    kinds : dict of str to str
        "whole", "number", "bool", "date" (or "date FORMAT") or "text", by name.
    n : int or None
        Rows; None before they were counted.
    described : str
        How the source is read, in one line.
    """

    def __init__(self, source: Any, rules: CellRules) -> None:
        self._source, self._rules = source, rules
        self.name, self.n, self.described = source.name, source.n, source.described
        self._indices = {name: i for i, name in enumerate(_unique(source.names))}
        self.names, self.target = list(self._indices), source.target
        self.row_numbers = [name for name in source.row_numbers if name in self._indices]
        self.kinds: dict[str, str] = {}

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; a temporary copy of a pipe goes."""
        self._source.close()

    def batches(
        self, columns: Sequence[str] | None = None, rows: int | None = None
    ) -> Iterator[Batch]:
        """Read the table, at most ``rows`` rows at a time; again from the start at every call.

        Parameters
        ----------
        columns : sequence of str, optional
            All but row numbers if left out.
        """
        if columns is None:
            columns = [name for name in self.names if name not in set(self.row_numbers)]
        indices, row = [self._indices[name] for name in columns], 0
        for size, arrays in self._source.batches(indices, rows or _ROWS):
            batch = {}
            for name, cells in zip(columns, arrays):
                try:
                    batch[name] = column(cells, self.kinds[name], self._rules)
                except CellFault as fault:
                    raise ValueError(f"{self.where(row + fault.row, name)}: {fault}") from None
            step = rows or size
            for start in range(0, size, step):
                yield (
                    {k: c[start : start + step] for k, c in batch.items()} if step < size else batch
                )
            row += size
        self.n = row

    def where(self, row: int, column: str | None = None) -> str:
        """Return the place of a cell in words: "data.csv, line 7, column 'age'"."""
        said = f"{self.name}, {self._source.line(row)}"
        if column is None:
            return said
        named = self._source.named
        return f"{said}, column {column!r}" if named else f"{said}, column {column} (from 0)"

    # -- all columns, whose kinds are found ----------------------------------------------
    def _find_kinds(self, target: str | int | None, chosen: Mapping[str, str]) -> None:
        for name in chosen:
            if name not in self._indices:
                raise ValueError(
                    f"{self.name}: no column {name!r}; it has {listed(self.names, 20)}"
                )
        self._indices = {n: i for n, i in self._indices.items() if chosen.get(n) != "ignore"}
        self.names = list(self._indices)
        if self._source.kinds is None:
            self._find_text_kinds(chosen)
        else:
            for name, i in self._indices.items():
                kind = chosen.get(name) or self._source.kinds[i]
                if kind is None:
                    what = self._source.types[i]
                    raise ValueError(
                        f"{self.name}: column {name!r} holds {what}, not numbers, text or dates; "
                        f"leave it out (--ignore {name})"
                    )
                self.kinds[name] = kind
        if target is not None:
            self.target = self._target(target)
        if self.n == 0:
            raise ValueError(f"{self.name}: no rows of data")
        self.row_numbers = [name for name in self.row_numbers if name != self.target]

    def _find_text_kinds(self, chosen: Mapping[str, str]) -> None:
        finders = {name: TypeFinder(self._rules) for name in self.names}
        index: list[Any] | None = [] if self.names[0] == "" else None
        row = 0
        for size, arrays in self._source.batches(list(self._indices.values()), _ROWS):
            for finder, cells in zip(finders.values(), arrays):
                finder.add(cells, row)
            if index is not None:
                first = finders[""]
                index = [*index, self._rules.numbers(arrays[0])[1]] if first.whole else None
            row += size
        self.n = row
        if not self._source.named and row > 1 and any(
            f.odd and len(f.odd) == 1 and f.odd[0][0] == 0 and f.n_numbers == f.filled - 1 > 0
            and not f.n_alike for f in finders.values()
        ):  # fmt: skip
            raise _HeaderFound
        for name, finder in finders.items():
            kind = chosen.get(name) or finder.kind
            if chosen.get(name) == "number" and finder.kind == "whole":
                kind = "whole"
            self.kinds[name] = kind
            if name not in chosen:
                self._check(name, finder)
        if index is not None:
            same = finders[""].kind == "whole" and finders[""].filled == row
            if same and len(np.unique(np.concatenate([x.to_numpy() for x in index]))) == row:
                self.row_numbers = [""]
            else:
                self._rename("", "0")
        if self.names and self._source.names[-1] == "" and not finders[self.names[-1]].filled:
            del self._indices[self.names[-1]], self.kinds[self.names.pop()]

    def _rename(self, old: str, new: str) -> None:
        self._indices = {new if n == old else n: i for n, i in self._indices.items()}
        self.names = list(self._indices)
        if old in self.kinds:
            self.kinds = {n: self.kinds[old if n == new else n] for n in self.names}

    def _check(self, name: str, finder: TypeFinder) -> None:
        """Refuse numbers with infinities, and text that is numbers but for a few cells."""
        if finder.kind == "number" and finder.not_finite:
            row, cell = finder.not_finite
            raise ValueError(f"{self.where(row, name)}: {cell!r} is not finite; if it stands for a "
                             f"missing value, say so (--missing {cell})")  # fmt: skip
        if not finder.mostly_numbers:
            return
        if not finder.n_alike:
            seen: set[str] = set()
            for batch in self.batches([name]):
                seen.update(batch[name].texts or ())
                if len(seen) > _FEW:
                    break
            else:
                return
        places = [self._source.line(row) for row, _ in finder.odd]
        cells = ", ".join(f"{c[:40]!r} in {p}" for (_, c), p in zip(finder.odd, places))
        comma = any("," in cell for _, cell in finder.odd) and self._rules.decimal == "."
        raise ValueError(
            f"{self.name}, column {name!r}: most cells are numbers, but not {cells}; write "
            f"them as plain numbers, or say what they are: --missing {finder.odd[0][1][:40]!r}, "
            + ("--decimal , for decimal commas, " if comma else "")
            + f"--column {name}=category for text"
        )

    def _target(self, target: str | int) -> str:
        """Return the name of a column given by name or index; a ValueError lists the names."""
        wanted, names = str(target), self.names
        columns = f"the columns are {listed(names, 20)}"
        if not self._source.named:
            columns += " (there is no header, so columns go by their index)"
        if wanted in self._indices:
            return wanted
        index = int(wanted) if wanted.removeprefix("-").isdecimal() else len(names)
        if not -len(names) <= index < len(names):
            raise ValueError(f"{self.name}: no column {wanted!r}; {columns}")
        return names[index]

    # -- the columns of a model ----------------------------------------------------------
    def _want(self, kinds: Mapping[str, str], target: str | None) -> None:
        """Keep the columns of ``kinds``, found by name, or by their place where none has a name."""
        there, wanted, width = self._indices, list(kinds), len(self._indices)
        features = [name for name in wanted if name != target]
        if "" in there and "0" in kinds and "0" not in there:
            self._rename("", "0")
            there = self._indices
        apart = self.target is not None and target is not None  # y of a .npz file
        if apart:
            there = {**there, target: there.pop(self.target)}  # type: ignore[dict-item]
            width -= 1
        nameless = not self._source.named or all(name.isdecimal() for name in features)
        if nameless and not set(wanted) <= set(there):
            by_index = {str(i): i for i in range(width)}
            if set(wanted) <= set(by_index):
                there = by_index
            elif width == (len(features) if apart else len(wanted)):
                there = {
                    **there,
                    **dict(
                        zip(features if apart else self._in_place(wanted, target), range(width))
                    ),
                }
        missing = [name for name in wanted if name not in there]
        if missing:
            has = (
                f"it has {listed(list(self._indices))}"
                if self._source.named
                else f"{width} columns without names"
            )
            if missing == [target]:
                raise ValueError(f"{self.name}: no column {target!r} with the true answers; {has}")
            raise ValueError(
                f"{self.name}: no column {missing[0]!r}"
                + (f" (and {len(missing) - 1} more are missing)" if len(missing) > 1 else "")
                + f"; the model takes {listed(features)}; {has}"
            )
        self._indices = {name: there[name] for name in wanted}
        self.names, self.kinds, self.target = wanted, dict(kinds), target
        self.row_numbers = []

    def _in_place(self, wanted: list[str], target: str | None) -> list[str]:
        """Return the columns in the order of a file without names."""
        if target is None or not target.isdecimal() or int(target) >= len(wanted):
            return [*(name for name in wanted if name != target), *([target] if target else [])]
        order = [name for name in wanted if name != target]
        return [*order[: int(target)], target, *order[int(target) :]]


class _HeaderFound(Exception):
    """The first line is no row after all: its words stand over columns of numbers."""


def _unique(names: Sequence[str]) -> list[str]:
    """Return names that are all different."""
    taken, counts, unique = set(names), dict[str, int](), list[str]()
    for i, name in enumerate(names):
        name = name if name or not i else str(i)
        if name in counts:
            own = name
            while name in taken:
                counts[own] += 1
                name = f"{own}.{counts[own]}"
        counts.setdefault(name, 0)
        taken.add(name)
        unique.append(name)
    return unique


# -- sources: batches of Arrow or NumPy arrays -------------------------------------------
class _Source:
    """What a reader reads: names, kinds by type (None: text), and batches of arrays."""

    named = True
    target: str | None = None
    n: int | None = None
    kinds: list[str | None] | None = None
    row_numbers: Sequence[str] = ()
    described = ""
    names: Sequence[str]
    types: Sequence[Any] = ()

    def __init__(self, name: str) -> None:
        self.name = name

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[tuple[int, list[Any]]]:
        raise NotImplementedError

    def line(self, row: int) -> str:
        return f"row {row:,} (from 0)"

    def close(self) -> None:
        pass


class _Text(_Source):
    """A file of text, all of whose columns are read as text."""

    def __init__(self, file: text_format.TextFile, missing: Collection[str]) -> None:
        super().__init__(file.name)
        self.file, self._missing = file, missing
        self.names, self.named, self.described = file.names, file.header, file.described

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[tuple[int, list[Any]]]:
        pa, csv = import_module("pyarrow"), import_module("pyarrow.csv")
        names, wanted = list(map(str, range(len(self.names)))), list(map(str, columns))
        block = min(max(2**20, 256 * self.file.line_bytes), 2**26)
        count = 0
        try:
            reader = csv.open_csv(
                self.file.stream(),
                csv.ReadOptions(block_size=block, column_names=names, use_threads=False),
                csv.ParseOptions(delimiter=self.file.sep, newlines_in_values=True),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()),
                    include_columns=wanted,
                    null_values=list(self._missing),
                    strings_can_be_null=True,
                ),
            )
            for batch in reader:
                count += len(batch)
                yield len(batch), batch.columns
        except (pa.ArrowInvalid, UnicodeError) as error:
            if "Empty CSV" in str(error):
                return
            raise ValueError(self.file.fault() or f"{self.name}: {error}") from None
        if count != self.file.lines_read and (fault := self.file.fault()):
            raise ValueError(fault)

    def line(self, row: int) -> str:
        found = next(islice(self.file.records(), row, None), None)
        return "a row of it" if found is None else f"line {found[0]}"


class _Arrow(_Source):
    """Columns with types: a pyarrow table, or a data set of files."""

    def __init__(self, name: str, data: Any) -> None:
        super().__init__(name)
        self._data, self.names = data, data.schema.names
        self.types = data.schema.types
        self.kinds = [kind_of_type(kind) for kind in self.types]
        self.n = getattr(data, "num_rows", None)
        if self.n is None:
            self.n = data.count_rows()
        notes = (data.schema.metadata or {}).get(b"pandas")
        index = json.loads(notes)["index_columns"] if notes else []
        self.row_numbers = [name for name in index if isinstance(name, str)]

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[tuple[int, list[Any]]]:
        pa = import_module("pyarrow")
        names = [self.names[i] for i in columns]
        try:
            if isinstance(self._data, pa.Table):
                found = self._data.select(list(columns)).to_batches(rows)
            else:
                found = self._data.to_batches(
                    columns=names, batch_size=rows, batch_readahead=1, fragment_readahead=1,
                    use_threads=False,
                )  # fmt: skip
            for batch in found:
                if len(batch):
                    yield len(batch), batch.columns
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.name}: {error}") from None


class _Arrays(_Source):
    """Arrays of rows, in memory or in a file, and perhaps of targets."""

    named = False

    def __init__(self, name: str, X: Any, y: Any = None) -> None:
        super().__init__(name)
        if len(X.shape) == 1:
            X = X[:].reshape(-1, 1)
        if len(X.shape) != 2:
            raise ValueError(f"{name}: a table has rows and columns; the array is {X.shape}")
        if y is not None and (y.shape[0] != X.shape[0] or y.shape[1:] not in ((), (1,))):
            raise ValueError(f"{name}: y must be (m,), one label a row; it is {y.shape} for "
                             f"{X.shape[0]} rows of X")  # fmt: skip
        self._X, self._y, self.n = X, y, X.shape[0]
        self.names = [*map(str, range(X.shape[1])), *(["y"] if y is not None else [])]
        self.target = None if y is None else "y"
        self.types = [X.dtype] * X.shape[1] + ([] if y is None else [y.dtype])
        self.kinds = [kind_of_dtype(kind) for kind in self.types]
        if X.dtype.kind in "OSU":
            for i in range(X.shape[1]):
                found = {word_kind(words(a[0])) for _, a in self.batches([i], _ROWS)}
                self.kinds[i] = found.pop() if len(found) == 1 else (
                    "number" if found <= {"whole", "number"} else "text")  # fmt: skip
        if y is not None and y.dtype.kind == "O":
            self.kinds[-1] = (
                "text"
                if any(isinstance(v, str | bytes) for v in y.ravel())
                else word_kind(words(y.ravel()))
            )

    def batches(self, columns: Sequence[int], rows: int) -> Iterator[tuple[int, list[Any]]]:
        for start in range(0, self.n or 0, rows):
            X = self._X[start : start + rows]
            y = None if self._y is None else self._y[start : start + rows].reshape(len(X))
            yield len(X), [X[:, i] if i < X.shape[1] else y for i in columns]

    def close(self) -> None:
        for array in (self._X, self._y):
            if hasattr(array, "close"):
                array.close()


def _opened(
    source: Any, options: ReadOptions, known: Collection[str], missing: Collection[str]
) -> _Source:
    """Open a source by what it is and by its first bytes."""
    if hasattr(source, "__arrow_c_stream__"):
        return _Arrow("the data frame", _pyarrow("the data frame").table(source))
    if isinstance(source, tuple):
        return _Arrays("the arrays", *map(np.asarray, source))
    if not isinstance(source, str | Path):
        raise TypeError(
            f"a table is a path, a data frame of pandas, polars or pyarrow, or arrays (X, y), not "
            f"{type(source).__name__}"
        )
    name, copy = str(source), None
    path = Path(source)
    if name == "-" or path.is_fifo() or path.is_char_device():
        name = "standard input" if name == "-" else name
        copy = NamedTemporaryFile(prefix="xpnet-")  # noqa: SIM115 - kept until close
        with sys.stdin.buffer if source == "-" else path.open("rb") as pipe:
            shutil.copyfileobj(pipe, copy, 2**16)
        copy.flush()
        path = Path(copy.name)
    opened = _of_file(path, name, options, known, missing)
    if copy is not None:
        opened.close = copy.close  # type: ignore[method-assign]
    return opened


def _pyarrow(name: str) -> Any:
    if not find_spec("pyarrow"):
        install = 'python -m pip install "xpnet[tables]"'
        raise ValueError(f"{name}: reading this needs pyarrow: {install}")
    return import_module("pyarrow")


def _of_file(
    path: Path, name: str, options: ReadOptions, known: Collection[str], missing: Collection[str]
) -> _Source:
    """Open a file by its first bytes, whatever its ending."""
    if "://" in name:
        raise ValueError(f"{name}: addresses are not read; download the file first")
    if not path.exists() and any(mark in name for mark in "*?["):
        raise ValueError(f"{name}: one file at a time; join the files first, or put Parquet files "
                         "in a folder and name that")  # fmt: skip
    if path.is_dir():
        if not any(path.rglob("*.parquet")):
            raise ValueError(f"{name}: a folder without .parquet files; name a file")
        return _data_set(path, name, "parquet")
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"\x93NUMPY"):
        return _Arrays(name, open_npy(path))
    if start.startswith(b"PK\x03\x04") and (path.suffix.lower() == ".npz" or _holds_arrays(path)):
        return _npz(path, name)
    if start.startswith((b"PAR1", b"ARROW1")):
        return _data_set(path, name, "parquet" if start[:1] == b"P" else "feather")
    pa = _pyarrow(name)
    if start.startswith(b"FEA1"):
        return _Arrow(name, import_module("pyarrow.feather").read_table(path))
    try:
        open_bytes = text_format.unpacked(path, name)
        with open_bytes() as raw:
            start = raw.read(512).lstrip()
        if start.startswith(b"{"):
            with open_bytes() as raw:
                return _Arrow(name, import_module("pyarrow.json").read_json(raw).flatten())
        if start.startswith(b"[") and path.suffix.lower() in (".json", ".jsonl", ".ndjson"):
            raise ValueError(f"{name}: JSON is read as lines, one {{...}} a row; save it so")
        known = [*known]
        found = text_format.find(name, open_bytes, options, known, missing)
        return _Text(found, missing)
    except (pa.ArrowException, EOFError, lzma.LZMAError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{name}: damaged, or cut short ({error})") from None


def _holds_arrays(path: Path) -> bool:
    with suppress(BadZipFile), ZipFile(path) as archive:
        return all(name.endswith(".npy") for name in archive.namelist())
    return False


def _npz(path: Path, name: str) -> _Arrays:
    held: set[str] = set()
    with suppress(BadZipFile), ZipFile(path) as archive:
        held = {member.removesuffix(".npy") for member in archive.namelist()}
    pair = ("x_train", "y_train") if "x_train" in held and "X" not in held else ("X", "y")
    arrays = open_npz(path, needed=tuple(n for n in pair if n in held) or ("X",))
    return _Arrays(name, arrays[pair[0]], arrays.get(pair[1]))


def _data_set(path: Path, name: str, form: str) -> _Arrow:
    pa, data = _pyarrow(name), import_module("pyarrow.dataset")
    try:
        if form == "parquet":
            scan = data.ParquetFragmentScanOptions(
                use_buffered_stream=True, buffer_size=2**16, pre_buffer=False
            )
            form = data.ParquetFileFormat(default_fragment_scan_options=scan)
        return _Arrow(name, data.dataset(path, format=form, partitioning="hive"))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{name}: damaged, or cut short ({error})") from None
