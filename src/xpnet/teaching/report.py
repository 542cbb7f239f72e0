"""``Report``: a titled table with notes, which prints as plain text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from xpnet.training.notebook import STYLE, aligned, row_html

Row = tuple[str, ...]


@dataclass(eq=False, repr=False)
class Report:
    """A table of text with a ``title`` above it and sentences, the ``notes``, below it."""

    title: str
    head: Row
    rows: list[Row]
    notes: list[str]

    def __str__(self) -> str:
        return "\n".join([self.title, *aligned([self.head, *self.rows]), *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        columns = range(len(self.head))
        head, notes = row_html("th", self.head, columns), map(escape, self.notes)
        body = "".join(row_html("td", row, columns) for row in self.rows)
        return (
            f'{STYLE}<div class="xpnet" style="overflow-x:auto"><b>{escape(self.title)}</b>'
            f"<table><thead>{head}</thead><tbody>{body}</tbody></table>"
            f"{''.join(f'<div>{note}</div>' for note in notes)}</div>"
        )
