"""``Report``: a titled table with notes, which prints as plain text and as HTML."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from xpnet.training.notebook import STYLE


@dataclass(eq=False, repr=False)
class Report:
    """A table in words.

    Attributes
    ----------
    title : str
    head : tuple of str
    rows : list of tuple of str
    notes : list of str
        Sentences that stand below the table.
    """

    title: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    notes: list[str]

    def __str__(self) -> str:
        lines = [self.head, *self.rows] if self.rows else []
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join([self.title, *table, *self.notes])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        def line(tag: str, cells: tuple[str, ...]) -> str:
            return "".join(f'<{tag} class="text">{escape(cell)}</{tag}>' for cell in cells)

        body = "".join(f"<tr>{line('td', row)}</tr>" for row in self.rows)
        notes = "".join(f"<div>{escape(note)}</div>" for note in self.notes)
        return (
            f'{STYLE}<div class="xpnet" style="overflow-x:auto"><div><b>{escape(self.title)}</b>'
            f"</div><table><thead><tr>{line('th', self.head)}</tr></thead>"
            f"<tbody>{body}</tbody></table>{notes}</div>"
        )
