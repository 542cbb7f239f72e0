"""Two pictures as SVG, written out by hand: no library is needed for a few lines and ticks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import groupby
from math import ceil, floor, log2, log10

from xpnet.bench.results import Cell, Results, Series

WIDTH, HEIGHT = 880, 500
LEFT, RIGHT, TOP, BOTTOM = 92, 640, 64, 444  # edges of the plot; the legend is to the right
# Mid tones, which stand out on light and on dark; eight differ, and so do the marks.
COLOURS = (
    *("#2f7de1", "#e4670c", "#1a9e50", "#d6409f"),
    *("#8e5cf0", "#0c9fb5", "#a87414", "#808a96"),
)
MARKS = ("circle", "square", "triangle", "diamond")

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.title { font-size: 16px; font-weight: 600 } .small { font-size: 12px; fill: #57606a }
.back { fill: #fff } .grid { stroke: #d8dee4 } .axis { stroke: #8c959f }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .small { fill: #9da7b1 }
.back { fill: #0d1117 } .grid { stroke: #30363d } .axis { stroke: #6e7681 }
}"""


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high`` on pixels from ``start`` to ``end``, and where ticks are."""

    low: float
    high: float
    start: float
    end: float
    ticks: Sequence[tuple[float, str]]  # value and label; without one it is a line only
    scale: Callable[[float], float] = lambda value: value

    def __call__(self, value: float) -> float:
        low, high, x = map(self.scale, (self.low, self.high, value))
        return self.start + (x - low) / (high - low) * (self.end - self.start)


def time_picture(results: Results) -> str:
    """Time of a step against hidden units, both logarithmic; dashed, the products alone."""
    cells = [cell for series in results.usable for cell in series.measured.values()]
    times = [time for cell in cells for time in (cell.step_seconds, cell.floor_seconds)]
    return _picture(
        results,
        "Time of a training step",
        "time of a step",
        _time_axis(times),
        lambda series, cell: cell.step_seconds,
        lambda series, cell: cell.floor_seconds,
    )


def share_picture(results: Results) -> str:
    """Share of the device's peak that a step reaches, against hidden units."""
    ticks = [(share / 100, f"{share} %") for share in range(0, 101, 20)]
    return _picture(
        results,
        "Share of the peak of matrix products",
        "operations of a step / peak",
        Axis(0, 1, BOTTOM, TOP, ticks),
        lambda series, cell: results.share(series, cell.step_seconds, cell.hidden),
        lambda series, cell: results.share(series, cell.floor_seconds, cell.hidden),
    )


# -- axes --------------------------------------------------------------------------------
def _width_axis(widths: Sequence[int]) -> Axis:
    low, high = (float(min(widths)), float(max(widths))) if widths else (16.0, 4096.0)
    if low == high:
        low, high = low / 2, high * 2
    axis = Axis(low, high, LEFT + 16, RIGHT - 16, (), log2)
    ticks: list[tuple[float, str]] = []
    for width in widths:  # a label must leave the last one room
        label = str(width)
        if ticks and axis(width) - axis(ticks[-1][0]) < 8 * len(label) + 8:
            continue
        ticks.append((width, label))
    return Axis(low, high, axis.start, axis.end, ticks, log2)


def _time_axis(times: Sequence[float]) -> Axis:
    """From 1, 2 or 5 times a power of ten to another one."""
    least, most = (min(times), max(times)) if times else (1e-6, 1.0)
    powers = range(floor(log10(least)) - 1, ceil(log10(most)) + 2)
    steps = [(digit * 10.0**power, digit) for power in powers for digit in (1, 2, 5)]
    low = max(t for t, _ in steps if t <= least)
    high = min(t for t, _ in steps if t >= most and t > low)
    few = high / low <= 200  # too few powers of ten to read by
    inside = [(t, digit) for t, digit in steps if low <= t <= high]
    ticks = [(t, time_text(t, "µ", 1) if few or digit == 1 else "") for t, digit in inside]
    return Axis(low, high, BOTTOM, TOP, ticks, log10)


def time_text(seconds: float, micro: str = "u", digits: int = 3) -> str:
    """To so many digits: "27.1 us", "2.00 ms"; a tick has one, and is whole: "20 ms"."""
    units = ("s", 1.0), ("ms", 1e-3), (f"{micro}s", 1e-6), ("ns", 1e-9)
    unit, size = next((u for u in units if seconds >= 0.9995 * u[1]), units[-1])
    number = float(f"{seconds / size:.{digits}g}")
    whole = digits == 1 or number >= 1000
    return f"{number:g} {unit}" if whole else f"{number:#.{digits}g} {unit}".replace(". ", " ")


# -- drawing -----------------------------------------------------------------------------
def _picture(
    results: Results,
    title: str,
    quantity: str,
    y: Axis,
    value: Callable[[Series, Cell], float],
    floor_value: Callable[[Series, Cell], float],
) -> str:
    settings = results.settings
    x = _width_axis(sorted({h for series in results.usable for h in series.measured}))
    # A colour goes with the order of measuring, a place in the legend with the last value.
    shown = [
        (series, COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)])
        for i, series in enumerate(results.usable)
    ]
    subtitle = f"{settings}; {results.machine.get('processor', '')}, {results.date[:10]}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">',
        f'<style>{STYLE}</style><rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        _text(LEFT, 26, title, "title"),
        _text(LEFT, 46, subtitle[:110], "small"),
        *_grid(x, y, quantity),
    ]
    for series, colour, mark in shown:
        cells = [series.measured.get(h) for h in settings.hidden]
        for there, group in groupby(cells, key=lambda cell: cell is not None):
            run = [cell for cell in group if cell is not None] if there else []
            lower = [(x(c.hidden), y(floor_value(series, c))) for c in run]
            upper = [(x(c.hidden), y(value(series, c))) for c in run]
            if len(run) == 1:  # a line needs a second point
                lower = [(lower[0][0] + side, lower[0][1]) for side in (-14, 14)]
            parts.append(_line(lower, colour, ' stroke-dasharray="5 4" stroke-width="1.3"'))
            parts.append(_line(upper, colour, ' stroke-width="2"'))
            parts += [_mark(mark, *point, colour) for point in upper]
    parts += _legend(sorted(shown, key=lambda s: y(value(s[0], s[0].measured[max(s[0].measured)]))))
    return "\n".join(filter(None, [*parts, "</svg>", ""])) + "\n"


def _grid(x: Axis, y: Axis, quantity: str) -> Iterator[str]:
    for value, label in y.ticks:
        at = y(value)
        opacity = "" if label else ' opacity="0.45"'
        yield f'<path class="grid" d="M{LEFT} {at:.1f}H{RIGHT}"{opacity}/>'
        yield _text(LEFT - 8, at + 4, label, anchor="end") if label else ""
    for value, label in x.ticks:
        at = x(value)
        yield f'<path class="grid" d="M{at:.1f} {TOP}V{BOTTOM}"/>'
        yield _text(at, BOTTOM + 20, label, anchor="middle")
    yield f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
    yield _text((LEFT + RIGHT) / 2, BOTTOM + 42, "hidden units", anchor="middle")
    upwards = _text(0, 0, quantity, anchor="middle")
    yield f'<g transform="translate(24 {(TOP + BOTTOM) / 2}) rotate(-90)">{upwards}</g>'


def _legend(shown: Sequence[tuple[Series, str, str]]) -> Iterator[str]:
    left, at = RIGHT + 20, TOP + 8
    for series, colour, mark in shown:
        yield _line([(left, at), (left + 26, at)], colour, ' stroke-width="2"')
        yield _mark(mark, left + 13, at, colour)
        yield _text(left + 34, at + 4, series.label)
        at += 22
    if shown:
        yield f'<path class="axis" stroke-dasharray="5 4" d="M{left} {at + 6}h26"/>'
        yield _text(left + 34, at + 10, "its matrix products alone", "small")


def _text(x: float, y: float, text: str, style: str = "", anchor: str = "start") -> str:
    kind = f' class="{style}"' if style else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{kind} text-anchor="{anchor}">{escape(text)}</text>'


def _line(points: Sequence[tuple[float, float]], colour: str, more: str) -> str:
    if len(points) < 2:
        return ""
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{colour}"{more}/>'


def _mark(kind: str, x: float, y: float, colour: str) -> str:
    if kind == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>'
    shapes = {
        "square": "m-3.6-3.6h7.2v7.2h-7.2z",
        "triangle": "m0-4.8l4.6 8h-9.2z",
        "diamond": "m0-5l5 5l-5 5l-5-5z",
    }
    return f'<path d="M{x:.1f} {y:.1f}{shapes[kind]}" fill="{colour}"/>'
