"""How a table of text is written: compression, encoding, separator, title lines and header.

pyarrow reads the cells. Where it refuses a file, or counts fewer rows than there are lines,
Python's csv module reads it again and names the line.
"""

from __future__ import annotations

import codecs
import csv
import io
import lzma
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import import_module
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf|infinity)")
# What a person reads as a number: thousands, decimal commas, currency, percent, hexadecimal.
ALIKE = re.compile(
    r"[+-]?\s?[$€£¥]\s?[+-]?[\d.,]+|[+-]?[\d.,]*\d\s?[%€$£¥]|0[xX][0-9a-fA-F]+|[+-]?\d*,\d+"
    r"|[+-]?\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?"
)
SEPARATORS = {"\t": "tabs", ";": "';'", "|": "'|'", ",": "','", " ": "spaces"}
_SAMPLE, _PIECE, _LONGEST = 2**18, 2**20, 2**24
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\x28\xb5\x2f\xfd": "zstd"}
_ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32",
              b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # fmt: skip
_NO_TABLE = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV UTF-8",
    b"version https://git-lfs": "a pointer of Git LFS, not the data; run `git lfs pull`",
    b"<!doctype": "a web page, not a table; download the file itself",
    b"<html": "a web page, not a table; download the file itself",
    b"\x80": "a pickle, which is not read, for it can run code; save CSV or Parquet",
}
_END = "\x02\x03"  # stands after the last line, where an open quotation mark swallows it
_TOO_LONG = f"a cell that goes on for over {_LONGEST // 2**20} MB, which is no table's"


def unpacked(path: Path, name: str) -> Callable[[], IO[bytes]]:
    """Return what opens a file's bytes, out of gzip, bz2, xz, zstd or a zip of one file."""
    with path.open("rb") as file:
        start = file.read(8)
    if start.startswith(b"PK\x03\x04"):
        with ZipFile(path) as archive:
            held = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(held) != 1:
            what = "an Excel workbook; save it as CSV UTF-8"
            if "xl/workbook.xml" not in held:
                what = f"a zip of {len(held)} files; unpack the one that is the table"
            raise ValueError(f"{name}: this is {what}")
        return lambda: ZipFile(path).open(held[0])
    if start.startswith(b"\xfd7zXZ"):
        return lambda: lzma.open(path)
    for magic, kind in _PACKED.items():
        if start.startswith(magic):
            return lambda: import_module("pyarrow").CompressedInputStream(str(path), kind)
    return lambda: path.open("rb")


def _encoding(start: bytes, name: str) -> str:
    """Return the encoding of a text by its first bytes; a ValueError says what else it is."""
    for mark, encoding in _ENCODINGS.items():
        if start.startswith(mark):
            return encoding
    for mark, what in _NO_TABLE.items():
        if start.lstrip().lower().startswith(mark):
            raise ValueError(f"{name}: this is {what}")
    if b"\0" not in start:
        return "utf-8"
    for encoding in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be"):
        text = start[: len(start) // 4 * 4].decode(encoding, "replace")
        if sum(map(str.isascii, text)) > 0.9 * len(text) and "\0" not in text:
            return encoding
    raise ValueError(f"{name}: binary data, not a table of text")


@dataclass
class TextFile:
    """A file of text and how it is written, as ``find`` finds it."""

    name: str
    open: Callable[[], IO[bytes]]  # unpacked
    encoding: str
    options: Any
    sep: str = ","
    names: list[str] = field(default_factory=list)
    header: bool = False
    undecided: bool = False  # whether it may have one after all
    before: int = 0  # lines before the rows
    skip: int = 0  # their bytes in UTF-8
    longest: int = 0  # line
    line: str = ""  # the first
    fractions: set[int] = field(default_factory=set)  # columns of such numbers, it seems
    checked = False  # for quotation marks that are never closed

    @property
    def described(self) -> str:
        """Say how the file is read, in one line."""
        header = f"line {self.before} is the header" if self.header else "no header"
        plain = "" if self.encoding.startswith("utf-8") else f", {self.encoding}"
        cut = SEPARATORS.get(self.sep, repr(self.sep))
        return f"{self.name}: {header}, cells are separated by {cut}{plain}"

    @property
    def one_column(self) -> str:
        """Say how cells were looked for, for the message that there is but one column."""
        tried = ", ".join(list(SEPARATORS.values())[:-1])
        sep = self.options.named("sep")
        return f"tried {tried} and spaces between cells (or give {sep}); line 1 is {self.line!r}"

    @property
    def wrong_encoding(self) -> str:
        """Say that a line has bytes which the encoding does not have."""
        return f"not {self.encoding}; {self.options.named('encoding', 'latin-1')} may read it"

    def batches(self, types: Mapping[int, Any]) -> Iterator[Any]:
        """Yield record batches of some columns, by index, as the ``types`` given."""
        pa, reader = import_module("pyarrow"), import_module("pyarrow.csv")
        size = min(max(_PIECE, 64 * self.longest), _LONGEST)
        names = list(map(str, range(len(self.names))))
        options = (
            reader.ReadOptions(column_names=names, block_size=size),
            reader.ParseOptions(delimiter=self.sep, newlines_in_values=True),
            reader.ConvertOptions(
                column_types={str(i): kind for i, kind in types.items()},
                include_columns=list(map(str, types)), null_values=list(self.options.empty),
                strings_can_be_null=True, decimal_point=self.options.decimal,
            ),
        )  # fmt: skip
        # pyarrow's own stream would read ahead in a thread, which may outlive an error
        for piece in filter(None, self._cleaned(4 * size)):
            table = reader.read_csv(pa.BufferReader(piece), *options)
            if table.num_rows != piece.count(b"\n") and not self.checked:
                self.checked = True  # lines in quotes: are they meant to be?
                if fault := self.fault():
                    raise ValueError(fault)
            yield from table.to_batches()

    def records(self) -> Iterator[tuple[int, list[str], list[str]]]:
        """Yield the line that each row begins in, its cells, and its lines."""
        with _decoded(self) as text:
            rows = islice(text, self.before, None)
            yield from _records(rows, self.sep, self.options.comment, self.before)

    def fault(self) -> str | None:
        """Return what is wrong with a line and where; None if nothing is."""
        width = len(self.names)
        for line, cells, lines in self.records():
            where = f"{self.name}, line {line}"
            if not _is_text("".join(lines)):
                return f"{where}: {self.wrong_encoding}"
            if len(lines[0]) > _LONGEST:
                return f"{where}: {_TOO_LONG}"
            if cells[-1].endswith(_END):
                return f"{where}: a quotation mark opens here and is never closed"
            if len(lines) > 1 and (len(cells) != width or not _closed(lines, self.sep)):
                until = f"closed only in line {line + len(lines) - 1}"
                return f"{where}: a quotation mark opens here and is {until}"
            if len(cells) != width:
                first = "the header has" if self.header else "the first line has"
                count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                return f"{where}: {count}, but {first} {width}"
        return None

    def _cleaned(self, size: int) -> Iterator[bytes]:
        """Yield whole rows, about so many bytes of them, without comments and empty lines."""
        blank = rb"[ \t" + re.escape(self.sep.encode()) + rb"]*"
        if self.options.comment:
            blank = rb"(?:" + blank + rb"|" + re.escape(self.options.comment.encode()) + rb"[^\n]*)"
        pattern = re.compile(rb"\n(?:" + blank + rb"\r?\n)+")
        quotes = at = 0
        piece, rest = b"", b"\n"

        def unquoted(found: re.Match[bytes]) -> bytes:
            nonlocal at, quotes
            quotes, at = quotes + piece.count(b'"', at, found.start()), found.start()
            return found.group() if quotes % 2 else b"\n"

        plain = self.encoding.startswith("utf-8")
        skip = self.skip + (3 if self.encoding == "utf-8-sig" else 0)
        with self.open() if plain else _decoded(self, "strict") as file:
            for read in chain(iter(lambda: file.read(size), b"" if plain else ""), [None]):
                data: bytes = read if isinstance(read, bytes) else (read or "\n").encode()
                skip, data = max(skip - len(data), 0), data[skip:]
                ends, cut = b"\n" in data, len(rest) + data.rfind(b"\n") + 1
                rest += data
                last = rest.rfind(b'"', 0, cut)
                opens = rest[last - 1 : last] in (b"\n", b'"', self.sep.encode())
                opens = opens and rest.count(b'"', 0, cut) % 2 == 1  # a cell that goes on
                if opens and len(rest) > 4 * size + _LONGEST:
                    raise csv.Error("a quotation mark is never closed")
                if not ends or (opens and read is not None):
                    continue
                piece, rest = rest[:cut], b"\n" + rest[cut:]
                if self.sep == " ":  # any number of spaces and tabs is one
                    piece = re.sub(rb'("[^"]*")|[ \t]+', lambda x: x.group(1) or b" ", piece)
                    piece = re.sub(rb" ?(\r?\n) ?", rb"\1", piece)
                quotes = at = 0
                yield pattern.sub(unquoted, piece)[1:]


def _decoded(file: Any, errors: str = "surrogateescape") -> io.TextIOWrapper:
    return io.TextIOWrapper(file.open(), file.encoding, errors, newline="")


def _is_text(text: str) -> bool:
    """Whether no byte of ``text``, read with "surrogateescape", was none of its encoding."""
    return text.isascii() or not any("\ud800" <= mark <= "\udfff" for mark in text)


def _closed(lines: list[str], sep: str) -> bool:
    """Whether every quoted cell of a row ends with its quotation mark."""
    with suppress(csv.Error):
        return bool(list(csv.reader(lines, delimiter=sep, strict=True)))
    return False


def _records(
    lines: Iterable[str], sep: str, comment: str | None, before: int = 0
) -> Iterator[tuple[int, list[str], list[str]]]:
    """Yield the line that each row begins in, its cells, and its lines; empty rows left out."""
    begun, taken = before, list[str]()

    def fed() -> Iterator[str]:
        nonlocal begun
        for i, line in enumerate(chain(lines, [_END]), before + 1):
            begun = begun if taken else i
            if taken or not comment or not line.startswith(comment):
                taken.append(line)
                yield line.replace("\t", " ").strip() if sep == " " else line

    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST))  # it is one for the process
    reader = csv.reader(fed(), delimiter=sep, skipinitialspace=sep == " ")
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:  # a cell of over 16 MB
            cells = ["", _END]
        if taken != [_END] and (any(map(str.strip, cells)) or '"' in taken[0]):
            yield begun, cells, taken.copy()
        taken.clear()


# -- what the first lines tell -----------------------------------------------------------
def find(
    name: str, open_bytes: Callable[[], IO[bytes]], options: Any, known: Collection[str]
) -> TextFile:
    """Find out how a file is written from its first lines; ``known`` are names of columns."""
    try:
        encoding = codecs.lookup(options.encoding or "utf-8").name
    except LookupError:
        raise ValueError(f"encoding {options.encoding!r}: Python knows none such") from None
    if encoding == "utf-8":
        with open_bytes() as raw:
            encoding = _encoding(raw.read(512), name)
    form = TextFile(name, open_bytes, encoding, options)
    lines: list[str] = []
    with _decoded(form) as text:
        size = 0
        while (size < _SAMPLE or len(lines) < 8) and (line := text.readline(_LONGEST)):
            size += len(line)
            lines.append(line)
            if len(line) == _LONGEST:
                raise ValueError(f"{name}, line {len(lines)}: {_TOO_LONG}")
            if not _is_text(line):
                raise ValueError(f"{name}, line {len(lines)}: {form.wrong_encoding}")
    said = re.match(r"(?i)\"?sep=(.)\"?\r?\n", lines[0] if lines else "")
    lines_of = [*(["\n"] if said else []), *lines[bool(said) :]]
    form.sep = options.sep or (
        said[1] if said else _separator(lines_of[:200], name, options.comment)
    )
    rows = _table(lines_of, form.sep, options.comment)
    if not rows:
        raise ValueError(f"{name}: the file is empty")
    form.line = lines[0].strip()[:80]
    first, rest = [cell.strip() for cell in rows[0][1]], [row[1] for row in rows[1:51]]
    found = (
        is_header(first, rest, known, options.empty) if options.header is None else options.header
    )
    form.header, form.undecided = bool(found), found is None
    form.names = first if form.header else [str(i) for i in range(len(first))]
    form.before = rows[0][0] - 1
    if form.header:
        form.before += len(rows[0][2])
        first[0] = first[0].removeprefix("#").strip()
        if rest and {len(cells) for cells in rest} == {len(first) + 1}:
            # a separator ends every row, or, as R writes it, the row's name begins it
            form.names = [*first, ""] if not any(cells[-1] for cells in rest) else ["", *first]
    form.skip, form.longest = len("".join(lines[: form.before]).encode()), max(map(len, lines))
    for i, cells in enumerate(zip(*rest)):
        full = [cell.strip().replace(options.decimal, ".") for cell in cells
                if cell.strip() not in options.empty]  # fmt: skip
        if any("." in cell for cell in full) and all(map(NUMBER.fullmatch, full)):
            form.fractions.add(i)
    return form


def _separator(lines: list[str], name: str, comment: str | None) -> str:
    """Return the separator that cuts most lines into equally many cells."""
    best, found = 0.0, ","
    for sep in SEPARATORS:
        widths = [len(row[1]) for row in _table(lines, sep, comment, titles=True)]
        cut = Counter(width for width in widths if width > 1).most_common(1)
        share = cut[0][1] / len(widths) if cut else 0.0
        share += share > 0 and sep == "\t" and name.lower().endswith(".tsv")
        if sep == " " and set(widths[1:]) != {cut[0][0] if cut else 0}:
            share = 0.0  # a text, not a table
        if share > best:
            best, found = share, sep
    return found


def _table(lines: list[str], sep: str, comment: str | None, titles: bool = False) -> list[Any]:
    """Return the rows among the first lines, without titles and comments before them."""
    rows = [row for row in _records(lines, sep, comment) if not row[1][-1].endswith(_END)]
    if titles or not rows:
        return rows
    width = Counter(len(cells) for _, cells, _ in rows).most_common(1)[0][0]
    begin = next((i for i, (_, cells, _) in enumerate(rows[:100]) if len(cells) == width), 0)
    cells = [cells for _, cells, _ in rows]
    if begin and len(cells[begin - 1]) == width - 1:  # a header that names all columns but one?
        begin -= not is_header(cells[begin], cells[begin + 1 :])
    while begin + 1 < len(rows) and cells[begin][0].startswith("#"):
        after = cells[begin + 1]
        if not after[0].startswith("#") and any(NUMBER.fullmatch(cell.strip()) for cell in after):
            break  # a marked line that names the columns
        begin += 1
    return rows[begin:]


def is_header(first: list[str], rest: list[list[str]], known: Collection[str] = (),
              missing: Collection[str] = ("",)) -> bool | None:  # fmt: skip
    """Whether the first line names the columns: the cells under it tell, or ``known`` names.

    None: it does not seem so, but a word in it may stand over numbers further down.
    """
    rest = [row for row in rest if len(row) == len(first)]
    under = [[row[i].strip() for row in rest if row[i].strip() not in missing]
             for i in range(len(first))]  # fmt: skip
    values = [i for i, cell in enumerate(first) if NUMBER.fullmatch(cell) or ALIKE.fullmatch(cell)]
    words = [i for i, cell in enumerate(first) if cell not in missing and i not in {*values}]
    if any(first[i] in known for i in words):
        return True
    seen = sum(first[i] in under[i] for i in words)  # a class, not a name
    if not values or seen:
        return not values and 2 * seen < len(words)
    if any(under[i] and all(map(NUMBER.fullmatch, under[i])) for i in words):
        return True
    numbers = [float(first[i]) for i in values if NUMBER.fullmatch(first[i])]
    steps = {b - a for a, b in pairwise(numbers)}
    new = len(known) > 1 and not any(cell in known for cell in first)  # to a model
    if new or len(numbers) < max(2, len(values)) or min(steps) <= 0:
        return None
    whole = all(first[i].isdecimal() for i in values)
    far = points = 0
    for i, value in zip(values, numbers):
        column = [float(cell) for cell in under[i] if NUMBER.fullmatch(cell)] or [value]
        low, high = min(column), max(column)
        far += len(column) > 4 and abs(2 * value - low - high) > 3 * (high - low)
        points += bool(under[i]) and all("." in cell for cell in under[i])
    counted = numbers == list(range(len(numbers))) and len(numbers) > 3
    even = whole and len(steps) == 1 and 2 * points >= len(numbers)
    return counted or even or far > (len(numbers) / 2 if whole else len(numbers) - 1) or None
