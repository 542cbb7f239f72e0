"""One reader of tables: text, Parquet, Feather, JSON lines, arrays, data frames.

A table is read in batches of NumPy columns (``data/column.py``). Only this file and the three it is
built on know pyarrow: where a table comes from (``table_sources.py``), how text is written
(``text_format.py``), what its cells are (``column_types.py``). Arrays of numbers do not need it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.data.column import CellFault, Column, listed, shortened
from xpnet.data.column_types import KindFinder, ReadOptions, column
from xpnet.data.table_sources import Source, open_source

__all__ = ["ReadOptions", "TableReader", "open_table"]

_CELLS = 2**21  # in a batch: 16 MB of float64
_FEW = 20  # distinct cells in a column that is text though most of them are numbers


def open_table(
    source: Any,
    options: ReadOptions = ReadOptions(),  # noqa: B008 - frozen
    *,
    kinds: Mapping[str, str] | None = None,
    known: Collection[str] = (),
    target: str | int | None = None,
) -> TableReader:
    """Open a table.

    Parameters
    ----------
    source
        A path (".csv" and other text, also packed; Parquet files and folders, Feather, JSON lines,
        ".npy", ".npz"), "-" or a pipe, a data frame, or arrays (X, y).
    kinds : mapping of str to str, optional
        The columns to read and their kinds, as a model holds them (``TableReader.kinds``); those
        that are "unused" need not be there. None: all columns, whose kinds are found in one pass.
    known : collection of str
        Further names of columns, by which a header is known.
    target : str or int, optional
        The column of the answers, by name or index. With ``kinds`` it is one of them.

    Raises
    ------
    ValueError
        The message names the source and, where there is one, the line or row and the column.
    OSError
        A file cannot be read.
    """
    asked = {*(kinds or ()), *known, *([] if target is None else [str(target)])}
    reader = TableReader(open_source(source, options, asked), options)
    if kinds is not None:
        reader._want(kinds, None if target is None else str(target))
    elif not reader._find_kinds(target):
        found = reader._source
        assert found.with_header is not None
        reader = TableReader(replace(found.with_header(), held=found.held), options)
        reader._find_kinds(target)
    return reader


class TableReader:
    """A table whose columns have kinds; made by ``open_table``.

    Attributes
    ----------
    name, described : str
        The second says in one line how the source is read.
    row_numbers : list of str
        Those of ``names`` that number the rows.
    target : str or None
        The column of the answers; "y" for arrays and ``.npz`` files.
    kinds : dict of str to str
        "whole", "number", "bool", "date" (or "date FORMAT") or "text", by name.
    n : int or None
        Rows; None before they were counted.
    """

    def __init__(self, source: Source, options: ReadOptions) -> None:
        self._source, self._options = source, options
        self.name, self.n, self.described = source.name, source.n, source.described
        self._indices = _unique(source.names)
        self.target = source.target
        self.row_numbers = [name for name in source.index if name in self._indices]
        self.kinds: dict[str, str] = {}

    def __enter__(self) -> TableReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def names(self) -> list[str]:
        """Of the columns, each different: ``a, a`` are "a" and "a.1", one without its index."""
        return list(self._indices)

    def close(self) -> None:
        """Close what is open; the copy of a pipe goes."""
        for held in self._source.held:
            held.close()

    def cuts(self, k: int) -> list[int]:
        """Where k parts of the rows begin, and n: between row groups, or all is in the first."""
        groups = self._source.groups or [0, self.n or 0]
        return [groups[bisect_left(groups, i * groups[-1] / k)] for i in range(k + 1)]

    def batches(
        self,
        columns: Sequence[str] | None = None,
        rows: int | None = None,
        part: tuple[int, ...] = (),
    ) -> Iterator[dict[str, Column]]:
        """Read the table, at most ``rows`` rows at a time; again from the start at every call.

        Parameters
        ----------
        columns : sequence of str, optional
            All but row numbers if left out.
        part : (first, stop), optional
            The rows to read, from one of ``cuts`` to another.
        """
        if columns is None:
            columns = [name for name in self.names if name not in self.row_numbers]
        known = {self._indices[name]: self.kinds[name] for name in columns}
        rows, part = rows or self._rows(known), () if part == (0, self.n) else part
        row = part[0] if part else 0
        if part and row == part[1]:
            return
        for count, arrays in self._source.batches(list(known), rows, known, *part):
            batch = {}
            for name, cells in zip(columns, arrays):
                try:
                    batch[name] = column(cells, self.kinds[name], self._options)
                except CellFault as fault:
                    at, what = fault.args
                    raise ValueError(f"{self.where(row + at, name)}: {what}") from None
            step = min(rows, count)
            for start in range(0, count, step):
                few = slice(start, start + step)
                yield batch if step == count else {k: c[few] for k, c in batch.items()}
            row += count
        if not part:
            self.n = row

    def _rows(self, columns: Collection[int]) -> int:
        return max(1, _CELLS // max(1, len(columns)))

    def answers(self) -> str:
        """Return the column of the answers; a ValueError if none was named."""
        if self.target is None:
            raise ValueError(f"{self.name}: which column is the target? Name it "
                             f"({self._options.named('target')}); the columns are "
                             f"{listed(self.names, 20)}")  # fmt: skip
        return self.target

    def where(self, row: int, column: str | None = None) -> str:
        """Return the place of a cell in words: "data.csv, line 7, column 'age'"."""
        said = f"{self.name}, {self._source.line(row)}"
        if column in self._indices and not self._source.named:
            column = self._source.names[self._indices[column]]  # its index
        return said if column is None else f"{said}, column {column!r}"

    # -- all columns, whose kinds are found ----------------------------------------------
    def _find_kinds(self, target: str | int | None) -> bool:
        """Find the kinds in one pass; return False if the first line must be a header after all."""
        source, chosen = self._source, self._options.chosen
        for name in [name for name in chosen if name not in self._indices]:
            raise ValueError(f"{self.name}: no column {name!r}; it has {listed(self.names, 20)}")
        self._indices = {n: i for n, i in self._indices.items() if chosen.get(n) != "ignore"}
        if not self._indices:
            raise ValueError(f"{self.name}: no column is left")
        self.kinds = {n: source.kinds[i] for n, i in self._indices.items()}
        finders = {
            name: KindFinder(self._options, kind == "text")
            for name, kind in self.kinds.items()
            if kind == "?" or (kind == "text" and name not in chosen)
        }
        text, row = [self._indices[name] for name in finders], 0
        for count, arrays in source.batches(text, self._rows(text), {}) if finders else ():
            for finder, cells in zip(finders.values(), arrays):
                finder.add(cells, row)
            row += count
            if all(finder.typed and not finder.possible for finder in finders.values()):
                break
        self.n = row if source.n is None else source.n
        if source.with_header and any(f.only_first_is_odd for f in finders.values()):
            return False
        if not self.n:
            raise ValueError(f"{self.name}: no rows of data")
        if len(source.names) == 1 and source.one_column:
            raise ValueError(f"{self.name}: one column only; {source.one_column}")
        for name, kind in self.kinds.items():
            own: Any = finders[name].kind if name in finders else kind
            given = chosen.get(name, own)
            given = "text" if given == "category" else given
            fits = own and (own.startswith(given) or (given, own) == ("number", "whole"))
            self.kinds[name] = own if fits else given
            if own is None:
                cure = self._options.named("ignore", name)
                raise ValueError(f"{self.name}: column {name!r} holds neither numbers nor text nor "
                                 f"dates; leave it out ({cure})")  # fmt: skip
        self._name_the_nameless(finders)
        for name, finder in finders.items():
            if name not in chosen and finder.mostly_numbers:
                self._refuse_unless_few(name, finder)
        if target is not None:
            self.target = self._target(str(target))
        self.row_numbers = [name for name in self.row_numbers if name != self.target]
        return True

    def _name_the_nameless(self, finders: dict[str, KindFinder]) -> None:
        """Find row numbers in a first column without a name, and drop an empty last one."""
        first, last = self.names[0], self.names[-1]
        if last in finders and self._source.names[-1] == "" and not finders[last].filled:
            del self._indices[last], self.kinds[last]
        if first not in ("", "Unnamed: 0") or first in self._options.chosen:
            return
        if self.kinds[first] == "whole":
            found = Column.join([batch[first] for batch in self.batches([first])])
            if not found.missing.any() and len(np.unique(found.values)) == len(found):
                self.row_numbers = [first]
                return
        self.kinds = {name or "0": kind for name, kind in self.kinds.items()}
        if "" in finders:
            finders["0"] = finders.pop("")
        self._indices = {name or "0": i for name, i in self._indices.items()}

    def _refuse_unless_few(self, name: str, finder: KindFinder) -> None:
        """Refuse a column of text that is numbers but for a few cells, unless they are names."""
        seen: set[str] = set()
        if not finder.n_alike:
            for batch in self.batches([name]):
                seen.update(batch[name].texts or ())
                if len(seen) > _FEW:
                    break
            else:
                return
        named, odd = self._options.named, [cell for _, cell in finder.odd]
        cells = [f"{shortened(c)!r} in {self._source.line(row)}" for row, c in finder.odd]
        comma = self._options.by_comma(odd)
        raise ValueError(
            f"{self.name}, column {name!r}: most cells are numbers, but not {', '.join(cells)}; "
            "write them as plain numbers or say what they are: "
            f"{named('missing', odd[0][:40])} for missing, "
            + f"{named('decimal', ',')} for decimal commas, "
            * comma
            + f"{named('column', name, 'category')} for text, {named('ignore', name)} to leave it "
            "out"
        )

    def _target(self, target: str) -> str:
        """Return the name of a column given by name or index; a ValueError lists the names."""
        names = self.names
        index = int(target) if target.removeprefix("-").isdecimal() else len(names)
        if target in self._indices or -len(names) <= index < len(names):
            return target if target in self._indices else names[index]
        hint = "" if self._source.named else " (no header was found, so columns go by their index)"
        raise ValueError(
            f"{self.name}: no column {target!r}; the columns are {listed(names, 20)}{hint}"
        )

    # -- the columns of a model ----------------------------------------------------------
    def _want(self, kinds: Mapping[str, str], target: str | None) -> None:
        """Keep the columns of ``kinds``, by name, or by their place where there are no names."""
        y = None if self.target is None else self._indices[self.target]
        asked = target or ""
        if y is None and (asked in self._indices or asked.removeprefix("-").isdecimal()):
            y = self._indices[self._target(asked)] if asked else None
        there = {name: i for name, i in self._indices.items() if i != y}
        if "" in there and "0" in kinds:
            there.setdefault("0", there.pop(""))
        features = [name for name in kinds if name != target]
        wanted = [*features, *(name for name in kinds if name == target and y is None)]
        named = self._source.named and not all(map(str.isdecimal, features))
        if not named and not set(wanted) <= set(there):
            by_index = {str(i): i for i in there.values()}
            if set(wanted) <= set(by_index):
                there = by_index
            elif len(wanted) == len(there):
                there = dict(zip(wanted, there.values()))
        if y is not None and target is not None:
            there[target] = y
        missing = [name for name in kinds if name not in there and kinds[name] != "unused"]
        if missing:
            names = listed(list(self._indices))
            has = f"it has {names}" if self._source.named else f"{len(there)} columns without names"
            more = f" (and {len(missing) - 1} more are missing)" if len(missing) > 1 else ""
            takes = f"; the model takes {listed(features)}"
            if missing == [target]:
                cure = self._options.named("target")
                more, takes = f" with the true answers: name their column with {cure}", ""
            raise ValueError(f"{self.name}: no column {missing[0]!r}{more}{takes}; {has}")
        self.kinds = {name: kind for name, kind in kinds.items() if kind != "unused"}
        self._indices = {name: there[name] for name in self.kinds}
        self.target, self.row_numbers = target, []


def _unique(names: Sequence[str]) -> dict[str, int]:
    """Return columns by names that are all different."""
    found, counts, given = dict[str, int](), dict[str, int](), set(names)
    for i, own in enumerate(names):
        name = own if own or not i else str(i)
        while name in found or (name != own and name in given):
            counts[own] = counts.get(own, 0) + 1
            name = f"{own}.{counts[own]}"
        found[name] = i
    return found
