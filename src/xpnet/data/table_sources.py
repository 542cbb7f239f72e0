"""Where a table comes from: a file by its first bytes, a folder, a pipe, a data frame, arrays."""

from __future__ import annotations

import csv
import json
import lzma
import re
import shutil
import sys
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import accumulate, islice
from pathlib import Path
from tempfile import NamedTemporaryFile, gettempdir
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np

from xpnet.data.column_types import ReadOptions, kind_of
from xpnet.data.file_array import open_npy, open_npz
from xpnet.data.text_format import TextFile, find, unpacked

_BROKEN = (EOFError, OSError, UnicodeError, RuntimeError, lzma.LZMAError, BadZipFile, zlib.error)
_Batches = Iterator[tuple[int, list[Any]]]  # how many rows, and the arrays of some columns


@dataclass
class Source:
    """What a reader reads."""

    name: str
    names: Sequence[str]
    kinds: Sequence[Any]  # "?": text that may be anything; None: what a table cannot hold
    batches: Callable[..., _Batches]  # of columns, at most so many rows, with the kinds known
    n: int | None = None
    groups: Sequence[int] = ()  # where row groups begin, and n; ``batches`` reads some of them
    target: str | None = None
    index: Sequence[str] = ()  # the columns that number the rows, as pandas says
    described: str = ""
    one_column: str = ""
    named: bool = True
    line: Callable[[int], str] = "row {:,} (from 0)".format
    with_header: Callable[[], Source] | None = None  # opens it with line 1 as the header
    held: list[Any] = field(default_factory=list)


def _text(file: TextFile, path: Path, again: Any) -> Source:
    """Return a file of text; numbers are left to pyarrow where it is likely to manage."""
    pa, state = import_module("pyarrow"), path.stat()
    plain = {"whole": pa.int64(), "number": pa.float64()}

    def batches(columns: Sequence[int], rows: int, known: Mapping[int, str]) -> _Batches:
        types = {i: plain.get(known.get(i, ""), pa.string()) for i in columns}
        if not known:
            types |= {i: pa.float64() for i in file.fractions if i in types}
        done = 0
        for attempt in (types, dict.fromkeys(columns, pa.string())):
            row = 0
            try:
                for batch in file.batches(attempt):
                    row += len(batch)
                    if row > done:  # a block that the first attempt did not reach
                        done = row
                        yield len(batch), batch.columns
                break
            except (*_BROKEN, pa.ArrowInvalid, csv.Error) as error:
                if "conversion error" in str(error) and attempt is types:
                    continue
                if isinstance(error, pa.ArrowInvalid | csv.Error) and (fault := file.fault()):
                    raise ValueError(fault) from None
                raise _broken(file.name, error) from None
        if (path.stat().st_size, path.stat().st_mtime_ns) != (state.st_size, state.st_mtime_ns):
            raise ValueError(f"{file.name}: the file changed while it was read")

    return Source(
        file.name, file.names, ["?"] * len(file.names), batches, described=file.described,
        one_column=file.one_column, named=file.header, with_header=again,
        line=lambda row: f"line {next(islice(file.records(), row, None), (0,))[0]}",
    )  # fmt: skip


def _arrow(name: str, schema: Any, n: int, scan: Any, sizes: Sequence[int] = ()) -> Source:
    """Return columns with types; ``scan`` yields record batches of some, and of some row groups."""
    groups = [*accumulate(sizes, initial=0)] if sizes else []
    names = schema.names
    for twice in {x for x in names if names.count(x) > 1} if len({*names}) < len(names) else ():
        raise ValueError(f"{name}: {names.count(twice)} columns are named {twice!r}")

    def batches(columns: Sequence[int], rows: int, known: Any, *part: int) -> _Batches:
        wanted = [names[i] for i in columns]
        some = [slice(*map(groups.index, part))] if part else []
        try:
            for batch in scan(wanted, rows, *some):
                if len(batch):  # some versions give the file's order
                    yield len(batch), [batch.column(x) for x in wanted]
        except (import_module("pyarrow").ArrowException, OSError) as error:
            raise _broken(name, error) from None

    notes = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    index = [x for x in notes.get("index_columns", []) if isinstance(x, str)]
    kinds = [kind_of(kind) for kind in schema.types]
    return Source(name, names, kinds, batches, n, groups, index=index)


def _frame(name: str, table: Any) -> Source:
    scan = lambda names, rows: table.select(names).to_batches(rows)  # noqa: E731 - one of three
    return _arrow(name, table.schema, table.num_rows, scan)


def _files(path: Path, name: str, form: str) -> Source:
    """Return a folder of Parquet files, or a file of Feather."""
    of = import_module("pyarrow.dataset")
    data = of.dataset(path, format=form, partitioning="hive")
    few = {"batch_readahead": 1, "fragment_readahead": 1, "use_threads": False}
    files = data.get_fragments() if form == "parquet" else ()
    groups = [(file, group) for file in files for group in file.row_groups]

    def scan(names: list[str], rows: int, *part: slice) -> Any:
        pieces = [file.subset(row_group_ids=[g.id]) for some in part for file, g in groups[some]]
        some = of.FileSystemDataset(pieces, data.schema, data.format) if part else data
        return some.to_batches(columns=names, batch_size=rows, **few)

    return _arrow(name, data.schema, data.count_rows(), scan, [g.num_rows for _, g in groups])


def _parquet(path: Path, name: str) -> Source:
    """Return a file of Parquet, of which no more is in memory than a batch needs."""
    few = {"pre_buffer": False, "buffer_size": 2**16}
    opened = import_module("pyarrow.parquet").ParquetFile

    def scan(names: list[str], rows: int, part: slice = slice(None)) -> Any:
        with opened(path, **few) as file:
            groups = range(file.num_row_groups)[part]
            yield from file.iter_batches(rows, groups, names, use_threads=False)

    with opened(path) as file:
        held = file.metadata
        sizes = [held.row_group(i).num_rows for i in range(held.num_row_groups)]
        return _arrow(name, file.schema_arrow, held.num_rows, scan, sizes)


def _arrays(name: str, X: Any, y: Any = None) -> Source:
    """Return arrays of rows, in memory or in a file, and perhaps of answers."""
    if len(X.shape) not in (1, 2):
        raise ValueError(f"{name}: a table has rows and columns; the array is {X.shape}")
    m, width = (*X.shape, 1)[:2]
    if y is not None and (y.shape[:1] != (m,) or y.shape[1:] not in ((), (1,))):
        raise ValueError(f"{name}: y must be (m,), one label a row; it is {y.shape}, X {X.shape}")

    def batches(columns: Sequence[int], rows: int, known: Mapping[int, str]) -> _Batches:
        for start in range(0, m, rows):
            few = X[start : start + rows].reshape(-1, width)
            label = None if y is None else y[start : start + rows].reshape(-1)
            yield len(few), [_plain(few[:, i] if i < width else label) for i in columns]

    answers = [] if y is None else [y]
    kinds = ["?" if a.dtype.kind in "OSU" else kind_of(a.dtype) for a in [X] * width + answers]
    names = [*map(str, range(width)), *("y" for _ in answers)]
    return Source(
        name, names, kinds, batches, m, target="y" if answers else None, named=False,
        held=[array for array in (X, y) if hasattr(array, "close")],
    )  # fmt: skip


def _plain(cells: Any) -> Any:
    """Return an array in this machine's order of bytes, objects and texts as Arrow's text."""
    if cells.dtype.kind not in "OSU":
        return cells.astype(cells.dtype.newbyteorder("="), copy=False)
    texts = [None if c is None or c != c else c.decode() if isinstance(c, bytes) else str(c)
             for c in cells.tolist()]  # fmt: skip
    return _pyarrow("text in arrays").array(texts, "string")


def open_source(source: Any, options: ReadOptions, known: Collection[str]) -> Source:
    """Open a source by what it is; a pipe is copied to a temporary file first."""
    if hasattr(source, "__arrow_c_stream__"):
        pa = _pyarrow("the data frame")
        try:
            return _frame("the data frame", pa.table(source))
        except pa.ArrowException as error:
            said = " ".join(map(str, error.args))
            raise ValueError(f"the data frame: a column holds values of several kinds ({said}); "
                             "make them one, text for instance") from None  # fmt: skip
    if isinstance(source, tuple):
        return _arrays("the arrays", *map(np.asarray, source))
    if not isinstance(source, str | Path):
        raise TypeError(f"a table is a path, a data frame of pandas, polars or pyarrow, or arrays "
                        f"(X, y), not {type(source).__name__}")  # fmt: skip
    name, path, held = str(source), Path(source), []
    if re.match(r"\w{2,}:/", name):  # a Path has lost the second slash
        raise ValueError(f"{name}: addresses are not read; download the file first")
    if not path.exists() and any(mark in name for mark in "*?["):
        raise ValueError(f"{name}: one file at a time; join the files, or put Parquet files in a "
                         "folder and name that")  # fmt: skip
    if name == "-" or path.is_fifo() or path.is_char_device():
        held = [NamedTemporaryFile(prefix="xpnet-")]  # noqa: SIM115 - kept until close
        with sys.stdin.buffer if name == "-" else path.open("rb") as pipe:
            name = "standard input" if name == "-" else name
            try:
                shutil.copyfileobj(pipe, held[0], 2**16)
                held[0].flush()
            except OSError as error:
                with suppress(OSError):  # what is buffered has no room either
                    held[0].close()
                what = f"{error.strerror}, keeping {name} in {gettempdir()}: TMPDIR may name a "
                raise OSError(error.errno, f"{what}folder with room") from None
        path = Path(held[0].name)
    try:
        opened = _of_file(path, name, options, known)
    except (*_BROKEN, ValueError) as error:
        raise _broken(name, error) from None
    return replace(opened, held=[*opened.held, *held])


def _broken(name: str, error: Exception) -> Exception:
    """Return the error of a file that cannot be opened, or does not hold what it says."""
    if type(error) is ValueError or (isinstance(error, OSError) and error.errno):
        return error
    return ValueError(f"{name}: damaged, or cut short ({' '.join(str(error).split())})")


def _pyarrow(name: str) -> Any:
    if not find_spec("pyarrow"):
        raise ValueError(f"{name}: reading this needs pyarrow: python -m pip install pyarrow")
    return import_module("pyarrow")


def _of_file(path: Path, name: str, options: ReadOptions, known: Collection[str]) -> Source:
    """Open a file or folder; its first bytes say what it is, its ending does not."""
    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise ValueError(f"{name}: a folder without .parquet files; name a file")
    start = b"" if path.is_dir() else _first(path.open("rb"))
    if start.startswith(b"\x93NUMPY"):
        return _arrays(name, open_npy(path))
    if start.startswith(b"PK\x03\x04"):
        with ZipFile(path) as archive:
            held = [x[:-4] for x in archive.namelist() if x.endswith(".npy")]
        if held or path.suffix.lower() == ".npz":
            pair = ("x_train", "y_train") if "x_train" in held and "X" not in held else ("X", "y")
            arrays = open_npz(path, needed=tuple(x for x in pair if x in held) or ("X",))
            return _arrays(name, *(arrays[x] for x in pair if x in arrays))
    _pyarrow(name)
    if path.is_dir() or start.startswith(b"ARROW1"):
        return _files(path, name, "parquet" if path.is_dir() else "feather")
    if start.startswith(b"PAR1"):
        return _parquet(path, name)
    open_bytes = unpacked(path, name)
    start = _first(open_bytes()).lstrip()
    if start.startswith(b"{"):
        with open_bytes() as lines:
            held = import_module("pyarrow").BufferReader(lines.read())
            return _frame(name, import_module("pyarrow.json").read_json(held).flatten())
    if start.startswith(b"[") and path.suffix.lower() in (".json", ".jsonl"):
        raise ValueError(f"{name}: JSON is read as lines, each {{...}} a row; save it so")

    def text(options: ReadOptions) -> Source:
        file = find(name, open_bytes, options, known)
        again = (lambda: text(replace(options, header=True))) if file.undecided else None
        return _text(file, path, again)

    return text(options)


def _first(file: Any) -> bytes:
    with file:
        found: bytes = file.read(512)
        return found
