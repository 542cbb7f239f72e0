"""Tables in HTML, as notebooks show them, and as lines of text; nets and histories as such.

The tables run no script and load nothing. Lines and letters take the colour of the text around
them, so that they stand out on light and on dark pages. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from xpnet.data.column import counted

MAX_LAYERS = 24  # rows of a table of layers; a deeper net is shown by its first and last layers
LAST_EPOCHS = 5  # rows of a table of epochs
NO_BREAK = ' style="white-space:nowrap"'

# Notebooks have their own style for every table; inside .xpnet these rules win.
STYLE = """<style>
.xpnet{color:inherit;font-size:0.9em}
.xpnet table{border-collapse:collapse;margin:0.4em 0;color:inherit}
.xpnet th,.xpnet td{padding:0.15em 0.7em;text-align:right;background:none;color:inherit;border:0}
.xpnet .text{text-align:left}
.xpnet thead th{border-bottom:1px solid currentColor}
.xpnet tfoot td{border-top:1px solid currentColor}
</style>"""


# -- nets --------------------------------------------------------------------------------
def net_html(net: Any) -> str:
    """A table of the layers of a ``DeepNet``; of a very deep one, the first and the last layers."""
    sizes = net.sizes
    activations = [activation.name for activation in net.hidden] + [net.output]
    rows = []
    for l, (name, (n_in, n_out)) in enumerate(zip(activations, pairwise(sizes), strict=True), 1):
        n = n_out * (n_in + 1)
        cells = f"{l}", f"({n_out}, {n_in})", f"({n_out}, 1)", name, f"{n:,}"
        rows.append(row_html("td", cells, [3]))
    if len(rows) > MAX_LAYERS:
        left_out = len(rows) - MAX_LAYERS
        note = f'<tr><td class="text" colspan="5">… {left_out:,} more layers …</td></tr>'
        rows[MAX_LAYERS // 2 : -MAX_LAYERS // 2] = [note]
    head = row_html("th", ("layer", "W", "b", "activation", "parameters"), [3])
    total = row_html("td", ("", "", "", "total", f"{net.n_parameters:,}"), [3])
    where = escape(str(net.placement))
    return (
        f'{STYLE}<div class="xpnet"><div><b>DeepNet</b>: {sizes[0]:,} inputs, {where}</div>'
        f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody><tfoot>{total}</tfoot></table>"
        "</div>"
    )


# -- histories ---------------------------------------------------------------------------
def history_line(history: Any) -> str:
    """The figures of a ``History`` in one line: the last cost, and the best of the validation."""
    n, best = len(history.cost), history.best_epoch
    parts = [counted(n, "epoch")]
    parts += [f"{history.cost_name} {history.cost[-1]:.4g}"] if n else []
    if best is not None:
        parts.append(f"best validation cost {history.validation_cost[best - 1]:.4g} (epoch {best})")
    if accuracies := [x for x in history.validation_accuracy if x == x]:  # NaN: without data
        parts.append(f"best validation accuracy {max(accuracies):.4g}")
    return f"History: {', '.join(parts)}, {_seconds(history.seconds)}"


def history_html(history: Any) -> str:
    """A table of the last epochs of a ``History``."""
    title, _, figures = history_line(history).partition(":")
    head, *rows = epochs_of(history)
    parts = [f'{STYLE}<div class="xpnet"><div><b>{title}</b>:{escape(figures)}</div>']
    if rows:
        parts.append(f"<table><thead>{row_html('th', head)}</thead><tbody>")
        parts += [row_html("td", row) for row in rows[-LAST_EPOCHS:]]
        parts.append("</tbody></table>")
    return "".join(parts) + "</div>"


def epochs_of(history: Any) -> list[list[str]]:
    """The rows of a table of a ``History``, the names of its columns first."""
    columns = {
        history.cost_name: history.cost,
        "validation cost": history.validation_cost,
        "validation accuracy": history.validation_accuracy,
    }
    n = max(map(len, columns.values()))
    columns = {name: values for name, values in columns.items() if values}
    rows = [[f"{x[i]:.5g}" if i < len(x) else "" for x in columns.values()] for i in range(n)]
    return [["epoch", *columns], *([f"{i:,}", *row] for i, row in enumerate(rows, 1))]


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


# -- any table ---------------------------------------------------------------------------
def aligned(
    rows: Sequence[Sequence[str]], pad: Callable[[str, int], str] = str.ljust
) -> Iterable[str]:
    """The rows of a table as lines of text, each cell padded to the width of its column."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ("  ".join(map(pad, row, widths)).rstrip() for row in rows)


def row_html(tag: str, cells: Iterable[str], text: Container[int] = ()) -> str:
    """A row of a table; columns of ``text`` are aligned left, and words, not numbers, may break."""
    styled = ""
    for i, cell in enumerate(cells):
        number = set(cell) <= set("0123456789-+.,e() ")
        look = f' class="text"{NO_BREAK if number else ""}' if i in text else ""
        styled += f"<{tag}{look}>{escape(cell)}</{tag}>"
    return f"<tr>{styled}</tr>"
