"""``Report``: a titled table with notes, which prints as plain text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from xpnet.training.notebook import STYLE

Row = tuple[str, ...]


@dataclass(eq=False, repr=False)
class Report:
    """A table in words under a ``title``, with sentences, its ``notes``, below it."""

    title: str
    head: Row
    rows: list[Row]
    notes: list[str]

    def __str__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
        return "\n".join([self.title, *table, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def cell(tag: str, text: str) -> str:
            numbers = set(text) <= set("0123456789-+.,e() ")
            look = ' style="white-space:nowrap"' if numbers else ""
            return f'<{tag} class="text"{look}>{escape(text)}</{tag}>'

        def line(tag: str, cells: Row) -> str:
            return f"<tr>{''.join(cell(tag, text) for text in cells)}</tr>"

        body, notes = (line("td", row) for row in self.rows), map(escape, self.notes)
        return (
            f'{STYLE}<div class="xpnet" style="overflow-x:auto"><b>{escape(self.title)}</b>'
            f"<table><thead>{line('th', self.head)}</thead><tbody>{''.join(body)}</tbody></table>"
            f"{''.join(f'<div>{note}</div>' for note in notes)}</div>"
        )
