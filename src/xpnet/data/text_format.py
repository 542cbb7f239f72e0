"""How a table of text is written: compression, encoding, separator, title lines and header.

pyarrow reads the cells. Where it refuses a file, or counts fewer rows than there are lines,
Python's csv module reads it again and names the line.
"""

from __future__ import annotations

import csv
import io
import lzma
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile

SEPARATORS = {"\t": "tab", ";": "';'", "|": "'|'", ",": "','", " ": "space"}
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?i:inf|infinity)"
# What a person reads as a number: thousands, decimal commas, currency, percent, hexadecimal.
LIKE_NUMBER = (
    r"[+-]?\s?[$€£¥]\s?[+-]?[\d.,]+|[+-]?[\d.,]*\d\s?[%€$£¥]|0[xX][0-9a-fA-F]+|[+-]?\d*,\d+"
    r"|[+-]?\d{1,3}(?:[,.' ]\d{3})+(?:[.,]\d+)?"
)
_SAMPLE, _PIECE, _LONGEST = 2**18, 2**20, 2**26
_MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\0": "xz", b"\x28\xb5\x2f\xfd": "zstd",
          b"PK\x03\x04": "zip"}  # fmt: skip
_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32",
          b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}  # fmt: skip
_REFUSED = {
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV UTF-8",
    b"version https://git-lfs": "a pointer of Git LFS, not the data; run `git lfs pull`",
    b"<!doctype html": "a web page, not a table; download the file itself",
    b"<html": "a web page, not a table; download the file itself",
    b"\x80\x04\x95": "a pickle, which is not read: it can run code; save CSV or Parquet",
    b"\x80\x05\x95": "a pickle, which is not read: it can run code; save CSV or Parquet",
    b"\x89HDF": "an HDF5 file, which is not read; save CSV or Parquet",
    b"SQLite format 3": "an SQLite database, which is not read; save a table of it as CSV",
}


def unpacked(path: Path, name: str) -> Callable[[], IO[bytes]]:
    """Return what opens a file's bytes, out of gzip, bz2, xz, zstd or a zip of one file."""
    with path.open("rb") as file:
        start = file.read(64)
    packing = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
    if packing == "zip":
        with ZipFile(path) as archive:
            held = [info.filename for info in archive.infolist() if not info.is_dir()]
        if "xl/workbook.xml" in held:
            raise ValueError(f"{name}: an Excel workbook; save it as CSV UTF-8")
        if len(held) != 1:
            raise ValueError(f"{name}: a zip of {len(held)} files; unpack the one with the table")
        return lambda: ZipFile(path).open(held[0])
    if packing == "xz":
        return lambda: lzma.open(path)
    if packing:
        return lambda: import_module("pyarrow").CompressedInputStream(str(path), packing)
    return lambda: path.open("rb")


def encoding_of(start: bytes, name: str) -> str:
    """Return the encoding of a text by its first bytes; a ValueError says what else it is."""
    for magic, what in _REFUSED.items():
        if start.lstrip().lower().startswith(magic.lower()):
            raise ValueError(f"{name}: this is {what}")
    for mark, encoding in _MARKS.items():
        if start.startswith(mark):
            return encoding
    if b"\0" not in start:
        return "utf-8"
    zeros = [start[i:64:4].count(0) for i in range(4)]  # the characters are ASCII, mostly
    if min(zeros[0], zeros[1], zeros[2]) > 8 or min(zeros[1], zeros[2], zeros[3]) > 8:
        return "utf-32-be" if zeros[0] > zeros[3] else "utf-32-le"
    if max(zeros) > 8:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    raise ValueError(f"{name}: binary data, not a table of text")


@dataclass
class TextFile:
    """A file of text and how it is written; see ``find``.

    Attributes
    ----------
    open : callable
        Opens its bytes, unpacked.
    names : list of str
        Of the columns; their index as text without a header.
    first : int
        Lines before the rows, and ``skip``, the bytes of these in UTF-8.
    """

    name: str
    open: Callable[[], IO[bytes]]
    encoding: str
    comment: str | None
    sep: str
    names: list[str]
    header: bool
    first: int
    skip: int
    line_bytes: int
    sample: list[list[str]]
    lines_read = 0

    @property
    def described(self) -> str:
        """Say how the file is read."""
        header = f"line {self.first} is the header" if self.header else "no header"
        said = [header, f"separated by {SEPARATORS.get(self.sep, repr(self.sep))}"]
        if not self.encoding.startswith("utf-8"):
            said.append(self.encoding)
        return f"{self.name}: {', '.join(said)}"

    def stream(self) -> io.RawIOBase:
        """Return the rows as UTF-8, lines that hold nothing left out, for pyarrow."""
        return _Pieces(self._spaced() if self.sep == " " else self._cleaned())

    def records(self) -> Iterator[tuple[int, list[str], list[str]]]:
        """Yield the line where each row begins, its cells, and its lines, by the csv module."""
        begun, taken = self.first, list[str]()

        def fed() -> Iterator[str]:
            nonlocal begun
            with decoded(self.open, self.encoding) as text:
                for i, line in enumerate(chain(islice(text, self.first, None), [_END]), 1):
                    if not taken:
                        begun = self.first + i
                        if self.comment and line.startswith(self.comment):
                            continue
                    taken.append(line)
                    yield " ".join(line.split("\t")).strip(" ") if self.sep == " " else line

        for cells in csv.reader(fed(), delimiter=self.sep, skipinitialspace=self.sep == " "):
            if cells != [_END] and (any(map(str.strip, cells)) or len(taken) > 1):
                yield begun, cells, taken
            taken.clear()

    def fault(self) -> str | None:
        """Return what is wrong with a line and where; None if nothing is."""
        line, width = self.first, len(self.names)
        try:
            for line, cells, lines in self.records():
                where = f"{self.name}, line {line}"
                text = "".join(lines)
                if not is_utf8(text):
                    return f"{where}: not {self.encoding} text; --encoding latin-1 may read it"
                if "\0" in text:
                    return f"{where}: a NUL character; the file is damaged"
                if cells[-1].endswith(_END):
                    return f"{where}: a quotation mark opens here and is never closed"
                if len(lines) > 1 and (len(cells) != width or not _strict(lines, self.sep)):
                    until = f"closed only in line {line + len(lines) - 1}"
                    return f"{where}: a quotation mark opens here and is {until}"
                if len(cells) != width:
                    first = "the header has" if self.header else "the first line has"
                    count = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
                    return f"{where}: {count}, but {first} {width}"
        except csv.Error as error:
            return f"{self.name}, line {line}: a quotation mark may never be closed ({error})"
        return None

    def _bytes(self) -> Iterator[bytes]:
        """Yield the rows in UTF-8, in pieces that end with a line."""
        with self.open() as raw:
            plain = self.encoding.startswith("utf-8")
            text = None if plain else io.TextIOWrapper(raw, self.encoding, newline="")
            rest, skip = b"\n", self.skip + (3 if self.encoding == "utf-8-sig" else 0)
            while piece := raw.read(_PIECE) if text is None else text.read(_PIECE).encode():
                if skip:
                    skip, piece = max(skip - len(piece), 0), piece[skip:]
                cut = piece.rfind(b"\n") + 1
                if cut:
                    yield rest + piece[:cut]
                    rest = b"\n"
                rest += piece[cut:]
            yield rest + b"\n"

    def _cleaned(self) -> Iterator[bytes]:
        blank = rb"[ \t" + re.escape(self.sep.encode()) + rb"]*"
        if self.comment:
            blank = rb"(?:" + blank + rb"|" + re.escape(self.comment.encode()) + rb"[^\n]*)"
        pattern = re.compile(rb"\n(?:" + blank + rb"\r?\n)+")
        self.lines_read = quotes = 0
        for piece in self._bytes():
            at = 0

            def outside(found: re.Match[bytes], piece: bytes = piece) -> bytes:
                nonlocal at, quotes
                quotes, at = quotes + piece.count(b'"', at, found.start()), found.start()
                return found.group() if quotes % 2 else b"\n"

            kept = pattern.sub(outside, piece)[1:]
            quotes += piece.count(b'"', at)
            self.lines_read += kept.count(b"\n")
            yield kept

    def _spaced(self) -> Iterator[bytes]:
        """Rewrite rows that are separated by any number of spaces and tabs."""
        self.lines_read, text = 0, io.StringIO()
        writer = csv.writer(text, delimiter=" ", lineterminator="\n")
        for _, cells, _ in self.records():
            writer.writerow(cells)
            self.lines_read += 1
            if text.tell() > _PIECE:
                yield text.getvalue().encode("utf-8", "surrogateescape")
                text.seek(0)
                text.truncate()
        yield text.getvalue().encode("utf-8", "surrogateescape")


_END = "\x1e\x1f"  # stands after the last line, where an open quotation mark swallows it


class _Pieces(io.RawIOBase):
    """Bytes that an iterator yields, as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces, self._rest = pieces, memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                return b""
            self._rest = memoryview(piece)
        got, self._rest = self._rest[:size], self._rest[size:]
        return bytes(got)


def decoded(open_bytes: Callable[[], IO[bytes]], encoding: str) -> io.TextIOWrapper:
    """Open text whose bytes that do not decode are found by ``is_utf8``."""
    return io.TextIOWrapper(open_bytes(), encoding, "surrogateescape", newline="")


def is_utf8(text: str) -> bool:
    """Whether no byte of ``text``, read with "surrogateescape", was no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _strict(lines: Sequence[str], sep: str) -> bool:
    """Whether every quoted cell of a row ends with its quotation mark."""
    try:
        list(csv.reader(lines, delimiter=sep, strict=True))
    except csv.Error:
        return False
    return True


# -- what the first lines tell -----------------------------------------------------------
def find(name: str, open_bytes: Callable[[], IO[bytes]], options: Any, known: Collection[str],
         missing: Collection[str]) -> TextFile:  # fmt: skip
    """Find out how a file is written from its first lines; ``known`` are names of columns."""
    with open_bytes() as raw:
        encoding = options.encoding or encoding_of(raw.read(512), name)
    lines: list[str] = []
    with decoded(open_bytes, encoding) as text:
        size = 0
        while (size < _SAMPLE or len(lines) < 8) and (line := text.readline(_LONGEST)):
            size += len(line)
            lines.append(line)
            if len(line) == _LONGEST:
                raise ValueError(f"{name}, line {len(lines)}: a line of over {_LONGEST:,} bytes")
    if not any(map(str.strip, lines)):
        raise ValueError(f"{name}: the file is empty")
    for i, line in enumerate(lines, 1):
        if not is_utf8(line):
            raise ValueError(
                f"{name}, line {i}: not {encoding} text; --encoding latin-1 may read it"
            )
    said = re.match(r"(?i)\"?sep=(.)\"?\r?\n", lines[0])
    sep = options.sep or (said[1] if said else _separator(lines, name))
    lines[: 1 if said else 0] = [sep * 2 + "\n"] if said else []
    start, rows = _rows(lines, sep, options.comment)
    first, *rest = [cells for _, cells in rows]
    header = options.header
    if header is None:
        header = is_header(first, rest, known, missing)
    width = Counter(map(len, rest or [first])).most_common(1)[0][0]
    if header:
        first = [cell.strip() for cell in first]
        first[0] = first[0].removeprefix("#").strip()
        start = rows[0][0]
        if width == len(first) + 1:  # R's row names, or a separator at the end of every row
            first = [*first, ""] if all(not cells[-1] for cells in rest) else ["", *first]
    names = first if header else [str(i) for i in range(len(first))]
    head = lines[:start]
    if said and head:
        head[0] = said.group()
    before = "".join(head)
    return TextFile(name, open_bytes, encoding, options.comment, sep, names, header, start,
                    len(before.encode()), max(map(len, lines)), rest[:1000])  # fmt: skip


def _cells(lines: Iterable[str], sep: str) -> Iterator[list[str]]:
    if sep == " ":
        lines = (line.replace("\t", " ").strip() for line in lines)
    try:
        yield from csv.reader(lines, delimiter=sep, skipinitialspace=sep == " ")
    except csv.Error:  # a quotation mark that is never closed: the lines before it tell enough
        return


def _separator(lines: list[str], name: str) -> str:
    """Return the separator that cuts most lines into equally many cells."""
    best, found = 0.0, ","
    for sep in SEPARATORS:
        widths = [len(cells) for cells in _cells(lines[:200], sep) if any(map(str.strip, cells))]
        if not widths or max(widths) == 1:
            continue
        _, count = Counter(w for w in widths if w > 1).most_common(1)[0]
        share = count / len(widths)
        if name.lower().endswith(".tsv") and sep == "\t":
            share += 1
        if share > best and (sep != " " or share == 1):
            best, found = share, sep
    return found


def _rows(lines: list[str], sep: str, comment: str | None) -> tuple[int, list[tuple[int, Any]]]:
    """Return how many lines are before the table, and the rows with the lines they end in."""
    reader, rows = csv.reader(lines, delimiter=sep), list[tuple[int, list[str]]]()
    if sep == " ":
        lines = [line.replace("\t", " ").strip() for line in lines]
        reader = csv.reader(lines, delimiter=sep, skipinitialspace=True)
    try:
        for cells in reader:
            marked = comment and cells and cells[0].startswith(comment)
            if any(map(str.strip, cells)) and not marked:
                rows.append((reader.line_num, cells))
    except csv.Error:
        pass
    width = Counter(len(cells) for _, cells in rows).most_common(1)[0][0] if rows else 1
    begin = next((i for i, (_, cells) in enumerate(rows[:100]) if len(cells) == width), 0)
    if begin and len(rows[begin - 1][1]) == width - 1 > 1:
        begin -= 1  # a header that names all columns but one
    # a marked line is a comment, unless it names the columns
    while len(rows) > begin + 1 and rows[begin][1][0].startswith("#"):
        if _numbers(rows[begin + 1][1]) and not rows[begin + 1][1][0].startswith("#"):
            break
        begin += 1
    return rows[begin - 1][0] if begin else 0, rows[begin:]


def _numbers(cells: Iterable[str]) -> list[float]:
    found = (cell.strip().replace("\N{MINUS SIGN}", "-") for cell in cells)
    return [float(cell) for cell in found if re.fullmatch(NUMBER, cell)]


def is_header(first: list[str], rest: list[list[str]], known: Collection[str],
              missing: Collection[str]) -> bool:  # fmt: skip
    """Whether a line names the columns: by the cells under it, or by ``known`` names."""
    cells = [cell.strip() for cell in first]
    values = [cell for cell in cells if re.fullmatch(f"{NUMBER}|{LIKE_NUMBER}", cell)]
    words = {cell: i for i, cell in enumerate(cells) if cell not in missing and cell not in values}
    if any(word in known for word in words):
        return True
    under = [[row[i].strip() for row in rest if len(row) == len(cells)] for i in range(len(cells))]
    if not values:
        seen = [word in under[i] for word, i in words.items()]
        return not (seen and all(seen))
    for i in words.values():  # a word over a column of numbers
        full = [cell for cell in under[i] if cell not in missing]
        if full and len(_numbers(full)) == len(full):
            return True
    numbers = _numbers(cells)
    steps = {b - a for a, b in pairwise(numbers)}
    if len(numbers) < 2 or len(numbers) < len(values) or min(steps) <= 0:
        return False
    whole = all(map(float.is_integer, numbers))
    if whole and numbers == list(range(len(numbers))) and len(numbers) > 3:
        return True
    far = fractions = 0
    for i, cell in enumerate(cells):
        column = _numbers(under[i])
        if cell in values and column:
            low, high = min(column), max(column)
            far += abs(float(cell) - (low + high) / 2) > 1.5 * (high - low)
            fractions += not all(map(float.is_integer, column))
    return far > len(numbers) / 2 or (whole and len(steps) == 1 and far + fractions > 0)
