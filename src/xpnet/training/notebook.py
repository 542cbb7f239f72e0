"""Nets and histories as HTML, for notebooks.

Plain tables and a drawing in SVG, without scripts or anything to be loaded. Lines and letters take
the colour of the text around them, and the colours of the curves are mid tones, so that both
stand out on light and on dark. All text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from math import ceil, floor, isfinite, log10
from operator import itemgetter
from typing import Any

MOST_ROWS = 24  # of a table of layers
LAST_EPOCHS = 5  # rows of a table of epochs
BUCKETS = 150  # a curve of more epochs is drawn by the least and the largest of each bucket
WIDTH, HEIGHT = 480, 200
LEFT, RIGHT, TOP, BOTTOM = 66, 464, 30, 176  # edges of the plot
LOOKS = (("#3f90da", ""), ("#e76300", ' stroke-dasharray="5 3"'))  # as in the pictures

# Notebooks style every table their own way; inside .xpnet these rules win.
STYLE = """<style>
.xpnet{color:inherit;font-size:0.9em}
.xpnet table{border-collapse:collapse;margin:0.4em 0;color:inherit}
.xpnet th,.xpnet td{padding:0.15em 0.7em;text-align:right;background:none;color:inherit;border:0}
.xpnet .text{text-align:left}
.xpnet thead th{border-bottom:1px solid currentColor}
.xpnet tfoot td{border-top:1px solid currentColor}
.xpnet svg{display:block;max-width:100%;height:auto}
</style>"""


# -- nets --------------------------------------------------------------------------------
def net_html(net: Any) -> str:
    """A ``DeepNet`` as a table of its layers; of very many, the first and the last."""
    sizes = net.sizes
    activations = [activation.name for activation in net.hidden] + [net.output]
    rows = [
        _row(
            "td",
            f"{l}",
            f"({n_out}, {n_in})",
            f"({n_out}, 1)",
            name,
            f"{n_out * (n_in + 1):,}",
            text=3,
        )
        for l, (name, (n_in, n_out)) in enumerate(zip(activations, pairwise(sizes), strict=True), 1)
    ]
    if len(rows) > MOST_ROWS:
        left_out = len(rows) - MOST_ROWS
        note = f'<tr><td class="text" colspan="5">… {left_out:,} more layers …</td></tr>'
        rows[MOST_ROWS // 2 : -MOST_ROWS // 2] = [note]
    place = net.backend
    where = f"{place}, {place.dtype_name}" if net._bound else "not placed yet"
    head = _row("th", "layer", "W", "b", "activation", "parameters", text=3)
    total = _row("td", "", "", "", "total", f"{net.n_parameters:,}", text=3)
    return (
        f'{STYLE}<div class="xpnet"><div><b>DeepNet</b>: {sizes[0]:,} inputs, {escape(where)}</div>'
        f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody><tfoot>{total}</tfoot></table>"
        "</div>"
    )


# -- histories ---------------------------------------------------------------------------
def history_html(history: Any) -> str:
    """A ``History``: its learning curve, and a table of the last epochs."""
    columns = {
        history.cost_name: history.cost,
        "validation cost": history.validation_cost,
        "validation accuracy": history.validation_accuracy,
    }
    n = max(map(len, columns.values()))
    columns = {name: values for name, values in columns.items() if values}
    epochs = "1 epoch" if n == 1 else f"{n:,} epochs"
    parts = [
        f'{STYLE}<div class="xpnet"><div><b>History</b>: {epochs}, {_seconds(history.seconds)}'
        "</div>"
    ]
    if n:
        parts.append(curve_svg(history.cost, history.validation_cost, history.cost_name))
        parts.append(f"<table><thead>{_row('th', 'epoch', *columns)}</thead><tbody>")
        for i in range(max(n - LAST_EPOCHS, 0), n):
            cells = [f"{x[i]:.5g}" if i < len(x) else "" for x in columns.values()]
            parts.append(_row("td", f"{i + 1:,}", *cells))
        parts.append("</tbody></table>")
    return "".join(parts) + "</div>"


def _seconds(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _row(tag: str, *cells: str, text: int = -1) -> str:
    """A row; words, in the column number ``text``, stand left."""
    styled = (
        f'<{tag} class="text">{escape(cell)}</{tag}>'
        if i == text
        else f"<{tag}>{escape(cell)}</{tag}>"
        for i, cell in enumerate(cells)
    )
    return f"<tr>{''.join(styled)}</tr>"


# -- the curve ---------------------------------------------------------------------------
def spans_decades(values: Iterable[float]) -> bool:
    """Whether a logarithmic axis suits: all positive, the largest over ten times the smallest."""
    finite = [x for x in values if isfinite(x)]
    return bool(finite) and 0 < 10 * min(finite) < max(finite)


def curve_svg(
    cost: Sequence[float], validation_cost: Sequence[float] = (), name: str = "cost"
) -> str:
    """Both over the epochs as SVG, the first under its ``name``.

    Empty if there are fewer than two epochs, or no finite number.
    """
    # what is nearly too small for a float counts as 0
    values = [x if abs(x) > 1e-300 else 0.0 for x in (*cost, *validation_cost) if isfinite(x)]
    n, log = max(len(cost), len(validation_cost)), spans_decades(values)
    low, high = min(values, default=0.0), max(values, default=0.0)
    if n < 2 or not values or not isfinite(high - low):
        return ""
    size = max(abs(low), abs(high))
    if high - low <= 1e-5 * size:  # a flat line, in the middle
        low, high = low - 0.1 * (size or 1.0), high + 0.1 * (size or 1.0)

    def x_at(epoch: int) -> float:
        return LEFT + (RIGHT - LEFT) * (epoch - 1) / (n - 1)

    def y_at(value: float) -> float:
        scale = log10 if log else float
        up = (scale(value) - scale(low)) / (scale(high) - scale(low))
        return BOTTOM - (BOTTOM - TOP) * up

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" '
        f'height="{HEIGHT}" role="img" aria-label="cost over {n} epochs" fill="currentColor" '
        'font-family="system-ui,sans-serif" font-size="12">'
    ]
    for tick in _ticks(low, high, log):
        y = y_at(tick)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="currentColor" opacity="0.2"/>')
        parts.append(_text(LEFT - 6, y + 4, f"{tick:.4g}", "end"))
    parts += [
        f'<path d="M{LEFT} {BOTTOM + 4}H{RIGHT}" stroke="currentColor" opacity="0.6"/>',
        _text(LEFT, BOTTOM + 19, "1"),
        _text((LEFT + RIGHT) / 2, BOTTOM + 19, "epoch"),
        _text(RIGHT + 8, BOTTOM + 19, f"{n:,}", "end"),
    ]
    key = LEFT
    curves = ((name, cost), ("validation cost", validation_cost))
    for (called, curve), (colour, dashes) in zip(curves, LOOKS, strict=True):
        look = f'stroke="{colour}" stroke-width="2"{dashes} stroke-linecap="round" fill="none"'
        if len(curve):
            parts.append(f'<path d="M{key} {TOP - 14}h24" {look}/>')
            parts.append(_text(key + 30, TOP - 10, called, "start"))
            key += 60 + 7 * len(called)  # room for its letters
        for run in _thinned(curve):
            points = [f"{x_at(epoch):.1f} {y_at(value):.1f}" for epoch, value in run]
            if len(points) == 1:  # a line of no length: only its round ends are seen
                points *= 2
            parts.append(f'<path d="M{"L".join(points)}" {look}/>')
    return "".join(parts) + "</svg>"


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _thinned(curve: Sequence[float]) -> Iterator[list[tuple[int, float]]]:
    """Runs of (epoch, value), epochs from 1: the least and the largest of each bucket of epochs.

    A bucket without a finite value ends a run.
    """
    width = -(-len(curve) // BUCKETS) or 1  # epochs in a bucket
    run: list[tuple[int, float]] = []
    for start in range(0, len(curve), width):
        bucket = enumerate(curve[start : start + width], start + 1)
        points = [(epoch, float(value)) for epoch, value in bucket if isfinite(value)]
        if points:
            ends = {min(points, key=itemgetter(1)), max(points, key=itemgetter(1))}
            run += sorted(ends)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _ticks(low: float, high: float, log: bool) -> list[float]:
    """At most six round numbers from ``low`` to ``high``."""
    if log:
        powers = range(floor(log10(low)), ceil(log10(high)) + 1)
        ticks: list[float] = []
        for digits in ((1, 2, 5), (1,)):
            every = [float(f"{digit}e{power}") for power in powers for digit in digits]
            ticks = [tick for tick in every if low <= tick <= high]
            if len(ticks) <= 6:
                break
        return ticks[:: -(-len(ticks) // 6) or 1]
    size = 10.0 ** floor(log10((high - low) / 5))
    step = next(size * d for d in (1, 2, 5, 10) if (high - low) / (size * d) <= 5)
    return [step * i for i in range(ceil(low / step), floor(high / step) + 1)]
