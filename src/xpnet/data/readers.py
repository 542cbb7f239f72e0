"""One reader of tables: text, Parquet, Feather, JSON lines, arrays, data frames.

A table is read in batches of NumPy columns (``data/column.py``). Only this file and the two beside
it, ``text_format.py`` and ``column_types.py``, know pyarrow; arrays of numbers do not need it.
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

from xpnet.data.column import Column
from xpnet.data.column_types import MISSING, CellFault, CellRules, KindFinder, column, kind_of
from xpnet.data.columns import listed
from xpnet.data.file_array import open_npy, open_npz
from xpnet.data.text_format import SEPARATORS, TextFile, find, unpacked

Batch = dict[str, Column]
_ROWS = 2**14
BROKEN = (EOFError, OSError, UnicodeError, lzma.LZMAError, BadZipFile, zlib.error)
_FEW = 50  # distinct cells in a column that is text though most of them are numbers


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
    asked = {*(kinds or ()), *known, *([] if target is None else [str(target)])}
    missing = MISSING if options.missing is None else ("", *options.missing)
    rules = CellRules(options.decimal, missing)
    reader = TableReader(_opened(source, options, asked, rules), rules)
    if kinds is not None:
        reader._want(kinds, None if target is None else str(target))
    elif reader._find_kinds(target, chosen or {}):
        options = replace(options, header=True)
        return open_table(source, options, known=known, target=target, chosen=chosen)
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
        The column of the answers; "y" for arrays and ``.npz`` files.
    kinds : dict of str to str
        "whole", "number", "bool", "date" (or "date FORMAT") or "text", by name.
    n : int or None
        Rows; None before they were counted.
    described : str
        How the source is read, in one line.
    """

    def __init__(self, source: _Source, rules: CellRules) -> None:
        self._source, self._rules = source, rules
        self.name, self.n, self.described = source.name, source.n, source.described
        self._indices = _unique(source.names)
        self.names, self.target = list(self._indices), source.target
        self.row_numbers = [name for name in source.index if name in self._indices]
        self.kinds: dict[str, str] = {}

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open; the copy of a pipe goes."""
        for held in self._source.held:
            held.close()

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
            columns = [name for name in self.names if name not in self.row_numbers]
        row, indices = 0, [self._indices[name] for name in columns]
        direct = {self._indices[name]: self.kinds[name] for name in columns}
        for count, arrays in self._source.batches(indices, rows or _ROWS, direct):
            batch = {}
            for name, cells in zip(columns, arrays):
                try:
                    batch[name] = column(cells, self.kinds[name], self._rules)
                except CellFault as fault:
                    raise ValueError(f"{self.where(row + fault.row, name)}: {fault}") from None
            step = min(rows or count, count)
            for start in range(0, count, step):
                part = slice(start, start + step)
                yield batch if step == count else {k: c[part] for k, c in batch.items()}
            row += count
        self.n = row

    def where(self, row: int, column: str | None = None) -> str:
        """Return the place of a cell in words: "data.csv, line 7, column 'age'"."""
        said = f"{self.name}, {self._source.line(row)}"
        return said if column is None else f"{said}, column {column!r}"

    # -- all columns, whose kinds are found ----------------------------------------------
    def _find_kinds(self, target: str | int | None, chosen: Mapping[str, str]) -> bool:
        """Find the kinds; return whether the first line must be a header after all."""
        source = self._source
        for name in set(chosen) - set(self.names):
            raise ValueError(f"{self.name}: no column {name!r}; it has {listed(self.names, 20)}")
        self._indices = {n: i for n, i in self._indices.items() if chosen.get(n) != "ignore"}
        self.kinds = {n: chosen.get(n) or source.kinds[i] for n, i in self._indices.items()}
        text = [
            name for name, kind in self.kinds.items() if source.kinds[self._indices[name]] == "?"
        ]
        finders = {name: KindFinder(self._rules) for name in text}
        if finders and self._find(finders):
            return True
        for name, kind in self.kinds.items():
            if kind is None:
                raise ValueError(f"{self.name}: column {name!r} holds neither numbers nor text nor "
                                 f"dates; leave it out (--ignore {name})")  # fmt: skip
            if name in finders:
                own = finders[name].kind
                keep = name in chosen and (kind != "number" or own != "whole")
                self.kinds[name] = kind if keep else own
                if name not in chosen:
                    self._check(name, finders[name])
        if self.n == 0:
            raise ValueError(f"{self.name}: no rows of data")
        if len(source.names) == 1 and source.one_column:
            raise ValueError(f"{self.name}: one column only; {source.one_column}")
        self.names = list(self._indices)
        if target is not None:
            self.target = self._target(str(target))
        self.row_numbers = [name for name in self.row_numbers if name != self.target]
        return False

    def _find(self, finders: dict[str, KindFinder]) -> bool:
        """Read all of these columns; see ``_find_kinds``."""
        source, first = self._source, next(iter(finders))
        index: list[Any] | None = [] if first == "" else None
        row = 0
        for count, arrays in source.batches([self._indices[n] for n in finders], _ROWS, {}):
            for finder, cells in zip(finders.values(), arrays):
                finder.add(cells, row)
            if index is not None:
                whole = finders[""].kind == "whole"
                index = [*index, column(arrays[0], "whole", self._rules).values] if whole else None
            row += count
        self.n = row
        if source.may_have_header and any(
            [line for line, _ in f.odd] == [0] and f.n_numbers == f.filled - 1 > 0 == f.n_alike
            for f in finders.values()
        ):
            return True
        if index and finders[""].filled == len(np.unique(np.concatenate(index))) == row:
            self.row_numbers = [""]
        elif first == "":  # not the numbers of the rows
            self._indices = {name or "0": i for name, i in self._indices.items()}
            self.kinds = {name or "0": kind for name, kind in self.kinds.items()}
            finders["0"] = finders.pop("")
        last = self.names[-1]
        if last in finders and source.names[-1] == "" and not finders[last].filled:
            del self._indices[last], self.kinds[last]  # a separator ends every line
        return False

    def _check(self, name: str, finder: KindFinder) -> None:
        """Refuse a column of text that is numbers but for a few cells."""
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
        cells = ", ".join(f"{c[:40]!r} in {self._source.line(row)}" for row, c in finder.odd)
        comma = self._rules.decimal == "." and any("," in cell for _, cell in finder.odd)
        raise ValueError(
            f"{self.name}, column {name!r}: most cells are numbers, but not {cells}; write them as "
            f"plain numbers or say what they are: --missing {finder.odd[0][1][:40]!r} for missing, "
            + ("--decimal , for decimal commas, " if comma else "")
            + f"--column {name}=category for text"
        )

    def _target(self, target: str) -> str:
        """Return the name of a column given by name or index; a ValueError lists the names."""
        if target in self._indices:
            return target
        index = int(target) if target.removeprefix("-").isdecimal() else len(self.names)
        if -len(self.names) <= index < len(self.names):
            return self.names[index]
        columns = f"the columns are {listed(self.names, 20)}"
        if not self._source.named:
            columns += " (there is no header, so columns go by their index)"
        raise ValueError(f"{self.name}: no column {target!r}; {columns}")

    # -- the columns of a model ----------------------------------------------------------
    def _want(self, kinds: Mapping[str, str], target: str | None) -> None:
        """Keep the columns of ``kinds``, by name, or by their place where there are no names."""
        y = None if self.target is None else self._indices[self.target]
        there = {name: i for name, i in self._indices.items() if i != y}
        if "" in there and "0" in kinds:
            there.setdefault("0", there.pop(""))
        wanted = [name for name in kinds if y is None or name != target]
        features = [name for name in kinds if name != target]
        nameless = not self._source.named or all(map(str.isdecimal, features))
        if nameless and not set(wanted) <= set(there):
            by_index = {str(i): i for i in there.values()}
            if set(wanted) <= set(by_index):
                there = by_index
            elif len(wanted) == len(there):
                order = [*features, *(name for name in wanted if name == target)]
                there = dict(zip(order, there.values()))
        if y is not None and target is not None:
            there[target] = y
        missing = [name for name in kinds if name not in there]
        if missing:
            has = f"it has {listed(list(self._indices))}"
            if not self._source.named:
                has = f"{len(self._indices)} columns without names"
            if missing == [target]:
                raise ValueError(f"{self.name}: no column {target!r} with the true answers; {has}")
            more = f" (and {len(missing) - 1} more are missing)" if len(missing) > 1 else ""
            takes = f"the model takes {listed(features)}"
            raise ValueError(f"{self.name}: no column {missing[0]!r}{more}; {takes}; {has}")
        self._indices = {name: there[name] for name in kinds}
        self.names, self.kinds, self.target = list(kinds), dict(kinds), target
        self.row_numbers = []


def _unique(names: Sequence[str]) -> dict[str, int]:
    """Return columns by names that are all different."""
    found, counts = dict[str, int](), dict[str, int]()
    for i, given in enumerate(names):
        name = given if given or not i else str(i)
        while name in found or (name != given and name in names):
            counts[given] = counts.get(given, 0) + 1
            name = f"{given}.{counts[given]}"
        found[name] = i
    return found


# -- sources: batches of arrays of Arrow's or NumPy's ------------------------------------
class _Source:
    """What a reader reads.

    Attributes
    ----------
    kinds : list
        Of the columns; "?" for text that may be anything, None for what a table cannot hold.
    index : sequence of str
        Columns that number the rows, as pandas says.
    held : list
        What is open.
    """

    target: str | None = None
    n: int | None = None
    index: Sequence[str] = ()
    described = one_column = ""
    named, may_have_header = True, False

    def __init__(self, name: str, names: Sequence[str], kinds: Sequence[Any]) -> None:
        self.name, self.names, self.kinds, self.held = name, names, kinds, list[Any]()

    def batches(
        self, columns: Sequence[int], rows: int, direct: Mapping[int, str]
    ) -> Iterator[tuple[int, list[Any]]]:
        """Yield the number of rows and the arrays; ``direct`` are kinds that are known."""
        raise NotImplementedError

    def line(self, row: int) -> str:
        return f"row {row:,} (from 0)"


class _Text(_Source):
    """A file of text."""

    def __init__(self, file: TextFile, rules: CellRules, path: Path, fixed: bool) -> None:
        super().__init__(file.name, file.names, ["?"] * len(file.names))
        self._file, self._rules, self._path = file, rules, path
        self.named, self.described = file.header, file.described
        self.may_have_header = not fixed and not file.header
        tried = ", ".join([*SEPARATORS.values()][:-1]) + " and spaces"
        self.one_column = f"tried {tried} between cells (or give --sep); line 1 is {file.line!r}"
        self._state = _state(path)

    def batches(
        self, columns: Sequence[int], rows: int, direct: Mapping[int, str]
    ) -> Iterator[tuple[int, list[Any]]]:
        pa = import_module("pyarrow")
        plain = {"whole": pa.int64(), "number": pa.float64()}
        types = {i: plain.get(direct.get(i, ""), pa.string()) for i in columns}
        if not direct:
            types |= {i: pa.float64() for i in self._file.fractions if i in types}
        count = 0
        for attempt in (types, dict.fromkeys(columns, pa.string())):
            seen = 0
            try:
                for batch in self._open(attempt):
                    seen += len(batch)
                    if seen > count:  # what follows the rows of the first attempt
                        batch = batch.slice(max(count - seen + len(batch), 0))
                        count = seen
                        yield len(batch), batch.columns
                break
            except (pa.ArrowInvalid, UnicodeError) as error:
                if "Empty CSV" in str(error):
                    break
                if "conversion error" not in str(error) or attempt is not types:
                    raise ValueError(self._file.fault() or f"{self.name}: {error}") from None
            except BROKEN as error:
                raise _broken(self.name, error) from None
        if _state(self._path) != self._state:
            raise ValueError(f"{self.name}: the file changed while it was read")
        if count != self._file.n_lines and (fault := self._file.fault()):
            raise ValueError(fault)

    def _open(self, types: Mapping[int, Any]) -> Any:
        csv, wanted = import_module("pyarrow.csv"), list(map(str, types))
        return csv.open_csv(
            self._file.stream(),
            csv.ReadOptions(
                block_size=min(max(2**20, 256 * self._file.longest), 2**26),
                column_names=list(map(str, range(len(self.names)))),
            ),
            csv.ParseOptions(delimiter=self._file.sep, newlines_in_values=True),
            csv.ConvertOptions(
                column_types=dict(zip(wanted, types.values())),
                include_columns=wanted,
                null_values=list(self._rules.missing),
                strings_can_be_null=True,
                decimal_point=self._rules.decimal,
            ),
        )

    def line(self, row: int) -> str:
        return f"line {next(islice(self._file.records(), row, None), (0,))[0]}"


def _state(path: Path) -> tuple[int, int]:
    """Return what changes with a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


class _Arrow(_Source):
    """Columns with types: a pyarrow table, or a data set of files."""

    def __init__(self, name: str, data: Any) -> None:
        super().__init__(name, data.schema.names, [kind_of(kind) for kind in data.schema.types])
        self._data = data
        self.n = data.num_rows if hasattr(data, "num_rows") else data.count_rows()
        notes = (data.schema.metadata or {}).get(b"pandas", b"{}")
        self.index = [x for x in json.loads(notes).get("index_columns", []) if isinstance(x, str)]
        twice = [name for name in self.names if self.names.count(name) > 1]
        if twice:
            raise ValueError(f"{name}: {len(twice)} columns are named {twice[0]!r}")

    def batches(
        self, columns: Sequence[int], rows: int, direct: Mapping[int, str]
    ) -> Iterator[tuple[int, list[Any]]]:
        pa, names = import_module("pyarrow"), [self.names[i] for i in columns]
        try:
            if isinstance(self._data, pa.Table):
                found = self._data.select(names).to_batches(rows)
            else:
                few = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
                found = self._data.to_batches(columns=names, batch_size=rows, **few)
            yield from ((len(batch), batch.columns) for batch in found if len(batch))
        except (pa.ArrowException, OSError) as error:
            raise ValueError(f"{self.name}: {error}") from None


class _Arrays(_Source):
    """Arrays of rows, in memory or in a file, and perhaps of answers."""

    named = False

    def __init__(self, name: str, X: Any, y: Any = None) -> None:
        if len(X.shape) not in (1, 2):
            raise ValueError(f"{name}: a table has rows and columns; the array is {X.shape}")
        if y is not None and (y.shape[:1] != X.shape[:1] or y.shape[1:] not in ((), (1,))):
            raise ValueError(f"{name}: y must be (m,), one label a row; it is {y.shape} for "
                             f"{X.shape[0]} rows of X")  # fmt: skip
        width = [*X.shape, 1][1]
        arrays = [X] * width + ([] if y is None else [y])
        names = [*map(str, range(width)), *([] if y is None else ["y"])]
        super().__init__(name, names, ["?" if a.dtype.kind in "OSU" else kind_of(a.dtype)
                                       for a in arrays])  # fmt: skip
        self._X, self._y, self.n, self.target = X, y, X.shape[0], None if y is None else "y"
        self.held = [array for array in (X, y) if hasattr(array, "close")]

    def batches(
        self, columns: Sequence[int], rows: int, direct: Mapping[int, str]
    ) -> Iterator[tuple[int, list[Any]]]:
        for start in range(0, self.n or 0, rows):
            X = self._X[start : start + rows]
            X = X.reshape(len(X), -1)
            y = None if self._y is None else self._y[start : start + rows].reshape(-1)
            yield len(X), [_plain(X[:, i] if i < X.shape[1] else y) for i in columns]


def _plain(cells: Any) -> Any:
    """Return an array in this machine's order of bytes, objects and texts as Arrow's text."""
    if cells.dtype.kind not in "OSU":
        return cells.astype(cells.dtype.newbyteorder("="), copy=False)
    texts = [None if c is None or c != c else c.decode() if isinstance(c, bytes) else str(c)
             for c in cells.tolist()]  # fmt: skip
    return _pyarrow("text in arrays").array(texts, "string")


def _opened(source: Any, options: ReadOptions, known: Collection[str], rules: CellRules) -> _Source:
    """Open a source by what it is and by its first bytes."""
    if hasattr(source, "__arrow_c_stream__"):
        return _Arrow("the data frame", _pyarrow("the data frame").table(source))
    if isinstance(source, tuple):
        return _Arrays("the arrays", *map(np.asarray, source))
    if not isinstance(source, str | Path):
        raise TypeError(f"a table is a path, a data frame of pandas, polars or pyarrow, or arrays "
                        f"(X, y), not {type(source).__name__}")  # fmt: skip
    name, path, copy = str(source), Path(source), None
    if "://" in name:
        raise ValueError(f"{name}: addresses are not read; download the file first")
    if not path.exists() and any(mark in name for mark in "*?["):
        raise ValueError(f"{name}: one file at a time; join the files, or put Parquet files in a "
                         "folder and name that")  # fmt: skip
    if name == "-" or path.is_fifo() or path.is_char_device():
        name = "standard input" if name == "-" else name
        copy = NamedTemporaryFile(prefix="xpnet-")  # noqa: SIM115 - kept until close
        with sys.stdin.buffer if name == "standard input" else path.open("rb") as pipe:
            shutil.copyfileobj(pipe, copy, 2**16)
        copy.flush()
        path = Path(copy.name)
    try:
        opened = _of_file(path, name, options, known, rules)
    except (*BROKEN, ValueError) as error:
        raise _broken(name, error) from None
    opened.held += [copy] if copy else []
    return opened


def _broken(name: str, error: Exception) -> Exception:
    """Return the error of a file that cannot be opened, or does not hold what it says."""
    if type(error) is ValueError or (isinstance(error, OSError) and error.errno):
        return error
    return ValueError(f"{name}: damaged, or cut short ({' '.join(str(error).split())})")


def _pyarrow(name: str) -> Any:
    if not find_spec("pyarrow"):
        install = 'python -m pip install "xpnet[tables]"'
        raise ValueError(f"{name}: reading this needs pyarrow: {install}")
    return import_module("pyarrow")


def _of_file(
    path: Path, name: str, options: ReadOptions, known: Collection[str], rules: CellRules
) -> _Source:
    """Open a file or folder; its first bytes say what it is, its ending does not."""
    start = b"PAR1"
    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise ValueError(f"{name}: a folder without .parquet files; name a file")
    if not path.is_dir():
        with path.open("rb") as file:
            start = file.read(64)
    if start.startswith(b"\x93NUMPY"):
        return _Arrays(name, open_npy(path))
    if start.startswith(b"PK\x03\x04"):
        with suppress(BadZipFile), ZipFile(path) as archive:
            held = [x[:-4] for x in archive.namelist() if x.endswith(".npy")]
            if held or path.suffix.lower() == ".npz":
                pair = ("x_train", "y_train") if {"x_train"} <= {*held} - {"X"} else ("X", "y")
                arrays = open_npz(path, needed=tuple(n for n in pair if n in held) or ("X",))
                return _Arrays(name, *(arrays[n] for n in pair if n in arrays))
    _pyarrow(name)
    if start.startswith((b"PAR1", b"ARROW1")):
        data, form = import_module("pyarrow.dataset"), "feather"
        if start.startswith(b"PAR1"):
            few = {"use_buffered_stream": True, "buffer_size": 2**16, "pre_buffer": False}
            scan = data.ParquetFragmentScanOptions(**few)
            form = data.ParquetFileFormat(default_fragment_scan_options=scan)
        return _Arrow(name, data.dataset(path, format=form, partitioning="hive"))
    open_bytes = unpacked(path, name)
    with open_bytes() as raw:
        start = raw.read(512).lstrip()
        if start.startswith(b"[") and path.suffix.lower() in (".json", ".jsonl"):
            raise ValueError(f"{name}: JSON is read as lines, each {{...}} a row; save it so")
        if start.startswith(b"{"):
            with open_bytes() as lines:
                return _Arrow(name, import_module("pyarrow.json").read_json(lines).flatten())
    text = find(name, open_bytes, options, known, rules.missing)
    return _Text(text, rules, path, options.header is not None)
