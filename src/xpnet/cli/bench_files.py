"""Files of results: JSON, CSV, and pictures that matplotlib draws."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

from xpnet.bench.results import Cell, Results, Series

_MARKERS = "osD^vP*X"


def json_bytes(results: Results) -> bytes:
    return (json.dumps(results.to_json(), indent=1) + "\n").encode()


def csv_bytes(results: Results) -> bytes:
    """A header, then a line per net and device."""
    text, rows = io.StringIO(), list(results.rows())
    columns = max(map(list, rows), key=len)  # of a net that was measured
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def time_picture(results: Results) -> bytes:
    """SVG: time of a step against hidden units, both logarithmic; dashed, the products alone."""
    return _picture(results, "time of a training step", lambda series, cell, seconds: seconds)


def share_picture(results: Results) -> bytes:
    """SVG: the share of the device's peak that a step reaches, against hidden units."""
    title = "share of the peak of matrix products"
    return _picture(results, title, lambda series, cell, s: results.share(series, s, cell.hidden))


FILES = {"bench.json": json_bytes, "bench.csv": csv_bytes}
PICTURES = {"time.svg": time_picture, "peak.svg": share_picture}


def _picture(results: Results, title: str, value: Callable[[Series, Cell, float], float]) -> bytes:
    """Two lines per series: ``value(series, cell, seconds)`` of steps, and of their floors."""
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, PercentFormatter
    except ImportError as error:
        install = 'python -m pip install "xpnet[plot]"'
        raise ImportError(f"drawing needs matplotlib: {install}") from error
    figure = Figure(figsize=(8.8, 5.0), layout="constrained")
    ax, widths = figure.subplots(), results.settings.hidden
    for number, series in enumerate(results.usable):
        cells = [series.measured.get(hidden, Cell(hidden)) for hidden in widths]
        steps = [value(series, c, c.step_seconds) if c.step else float("nan") for c in cells]
        floors = [value(series, c, c.floor_seconds) if c.step else float("nan") for c in cells]
        colour, marker = f"C{number % 10}", _MARKERS[number % len(_MARKERS)]
        ax.plot(widths, steps, color=colour, marker=marker, label=series.label)
        ax.plot(widths, floors, "--", color=colour, marker="_", linewidth=1)
    ax.plot([], [], "--", color="grey", linewidth=1, label="its matrix products alone")
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths[:: len(widths) // 12 + 1])
    ax.xaxis.set_major_formatter("{x:.0f}")
    if "share" in title:
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(EngFormatter("s"))
    processor, day = results.machine.get("processor", ""), results.date[:10]
    ax.set(xlabel="hidden units", ylabel=title)
    ax.set_title(f"{results.settings}; {processor}, {day}", fontsize="medium")
    ax.grid(color="0.9")
    figure.legend(loc="outside right upper", frameon=False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()
