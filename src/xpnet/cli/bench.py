"""``xpnet bench``: what each array library of this machine takes for a training step."""

from __future__ import annotations

import csv
import io
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich import box
from rich.table import Table

from xpnet.backends.libraries import LIBRARIES
from xpnet.bench.products import BY_DEFAULT
from xpnet.bench.results import HIDDEN, Results, Series, Settings
from xpnet.bench.runner import run
from xpnet.cli import options, output
from xpnet.cli.interrupt import INTERRUPTED
from xpnet.cli.options import check_output, option, require
from xpnet.files.atomic import write_atomically
from xpnet.files.outputs import Kind

_HIDDEN = ",".join(map(str, HIDDEN))
_WIDE = 72  # columns from which there is room for all figures
_MARKERS = "osD^vP*X"

EXAMPLES = """Examples:

\b
  xpnet bench
  xpnet bench --backends numpy,torch
  xpnet bench --hidden 64,256,1024 --seconds 1
  xpnet bench --batch-size 1024 --out big-batch
  xpnet bench --json > machine.json

The net is INPUTS-h-OUTPUTS with ReLU, float32, trained by Adam on made-up data that lie on the
device. A step is timed through the public fit, whole epochs of minibatches at a time, with the cost
of every step computed and read at the end of each. Between the epochs the step's five matrix
products alone are timed, in the same library and without xpnet: no step can be faster than these,
its floor. All figures are medians.

The peak is the best rate of products seen on a device, by any library. A step counts as
2 * batch * h * (2 * INPUTS + 3 * OUTPUTS) operations, those of its products.

A device pays from N hidden units on if its step is faster than NumPy's on the CPU at N and at
every larger number measured.

Each library runs in a process of its own, on its default accelerator and on the CPU, with as many
threads as it takes by itself: OMP_NUM_THREADS and the like are theirs to read.

Files: bench.json has every time and the machine, bench.csv a row per net and device; time.svg and
peak.svg are the pictures, which need the extra plot.

Exit codes: 0 done; 1 a library failed or crashed, or one that was named is missing; 2 wrong
options; 130 stopped by Ctrl-C, with what was measured saved."""


def bench(
    *,
    backends: Annotated[
        str | None, option("NAMES", "For example numpy,torch; all that work if left out.")
    ] = None,
    hidden: Annotated[str, option("WIDTHS", "Hidden units to measure.")] = _HIDDEN,
    batch_size: Annotated[int, option("M", "Examples per step.", min=1)] = 128,
    inputs: Annotated[int, option("N", "Features.", min=1)] = 784,
    outputs: Annotated[int, option("N", "Classes.", min=1)] = 10,
    dtype: options.Dtype = "float32",
    seconds: Annotated[float, option("S", "Time for each net on each device, about.")] = 5.0,
    out: Annotated[Path, option("DIR", "Where the files go.")] = Path("xpnet-bench"),
    force: options.Force = False,
    as_json: options.Json = False,
) -> None:
    """Measure this machine: from how many hidden units on does a GPU pay?

    Times a training step on every array library here, from 16 to 4096 hidden units: a table and
    two pictures. It takes about a minute for each library.
    """
    listed = BY_DEFAULT if backends is None else map(str.strip, backends.split(","))
    names = list(dict.fromkeys(listed))
    for name in names:
        known = f"{name!r} is not one of {', '.join(LIBRARIES)}"
        require(name in LIBRARIES, "--backends", known)
    require(0 < seconds < float("inf"), "--seconds", f"{seconds} is not a number above 0")
    widths = tuple(sorted(set(options.widths_of(hidden))))
    options.check_output_folder("--out", out)
    for name in FILES | PICTURES if out.exists() else ():
        check_output("--out", out / name, KIND, {}, force)
    settings = Settings(widths, inputs, outputs, batch_size, dtype, seconds)
    watch = output.Console(on_stderr=True).print_line
    results = run(settings, names, backends is not None, lambda label: watch(f"measuring {label}"))
    console = output.Console(on_stderr=as_json)
    if not as_json:
        _show(console, results)
    _save(console, results, out)
    if as_json:
        output.put(json_text(results))
    console.check()
    for failure in results.failures:
        output.tell(f"error: {failure}")
    if results.interrupted:
        output.tell("stopped by Ctrl-C; the rest was not measured")
        raise typer.Exit(INTERRUPTED)
    if results.failures or not results.usable:
        raise typer.Exit(1)


def _save(console: output.Console, results: Results, out: Path) -> None:
    """Write each file in one step, and tell which of them it replaced."""
    if not results.usable:
        return  # and what an earlier run found stays
    out.mkdir(parents=True, exist_ok=True)
    for name, content_of in (FILES | PICTURES).items():
        path = out / name
        try:
            content = content_of(results)
        except ImportError as error:
            return output.tell(f"no pictures: {error}")
        replaced = " (replaced)" if path.exists() else ""
        write_atomically(path, content.encode())
        console.print_line(f"{path}{replaced}")


# -- the tables --------------------------------------------------------------------------
def _show(console: output.Console, results: Results) -> None:
    machine = results.machine
    console.print_line(f"{results.settings}")
    console.print_line(
        f"{machine['processor']}, {machine['usable_cores']} cores; NumPy with {machine['blas']}"
    )
    for series in results.series:
        hardware = f", {series.hardware}" if series.accelerator else ""
        console.print_line(f"\n{series.label} ({series.version}{hardware})", style="cyan")
        if series.measured:
            console.print(_table(results, series, console))
        for reason in dict.fromkeys(cell.left_out for cell in series.cells if cell.left_out):
            left = ", ".join(str(cell.hidden) for cell in series.cells if cell.left_out == reason)
            console.print_line(f"left out: {left} hidden units ({reason})", style="yellow")
    console.print()
    for name, why in results.absent.items():
        console.print_line(f"not measured: {name} ({why})", style="yellow")
    for sentence in results.disturbances():
        console.print_line(sentence, style="yellow")
    for sentence in results.verdict():
        console.print_line(sentence, style="bold")


def _table(results: Results, series: Series, console: output.Console) -> Table:
    wide = console.width >= _WIDE
    compared = wide and series is not results.reference and results.reference is not None
    style = box.SIMPLE_HEAD if console.is_terminal and wide else None
    shown = {"hidden": True, "step": True, "floor": wide, "/floor": True, "peak": True,
             "predict/s": wide, "vs NumPy": compared}  # fmt: skip
    table = Table(box=style, pad_edge=False, header_style="bold")
    for name in filter(shown.get, shown):
        table.add_column(name, justify="right", no_wrap=True)
    for hidden, cell in series.measured.items():
        row = results.figures(series, cell)
        ratio, share = row["times_as_fast_as_numpy"], f"{row['share_of_peak']:.0%}"
        texts = [str(hidden), time_text(row["step_seconds"]), time_text(row["floor_seconds"])]
        texts += [f"{row['step_over_floor']:.2f}", share.replace("%", " %")]
        texts += [f"{row['predict_examples_per_second']:.3g}", f"{ratio:.2f} x" if ratio else ""]
        table.add_row(*compress(texts, shown.values()))
    return table


def time_text(seconds: float) -> str:
    """To three digits: "27.1 us", "2.00 ms"."""
    units = ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)
    unit, size = next((u for u in units if seconds >= 0.9995 * u[1]), units[-1])
    number = float(f"{seconds / size:.3g}")
    return f"{number:g} {unit}" if number >= 1000 else f"{number:#.3g} {unit}".replace(". ", " ")


# -- the files ---------------------------------------------------------------------------
def json_text(results: Results) -> str:
    return output.as_json(results.to_json(), indent=1)


def csv_text(results: Results) -> str:
    """A header, then a line per net and device."""
    text, rows = io.StringIO(), list(results.rows())
    columns = max(map(list, rows), key=len)  # of a net that was measured
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def picture(results: Results, share: bool) -> str:
    """SVG: the time of a step, or its ``share`` of the peak, against hidden units.

    Two lines per series: of its steps and, dashed, of their floors.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.ticker import EngFormatter, PercentFormatter
    except ImportError as error:
        raise ImportError(f"drawing needs matplotlib: {options.INSTALL_PLOT}") from error
    figure = Figure(figsize=(8.8, 5.0), layout="constrained")
    ax, widths = figure.subplots(), results.settings.hidden
    for number, series in enumerate(results.usable):
        marker, values = _MARKERS[number % len(_MARKERS)], np.full((2, len(widths)), np.nan)
        for i, hidden in enumerate(widths):
            if (cell := series.measured.get(hidden)) is not None:
                times = cell.step_seconds, cell.floor_seconds
                values[:, i] = [results.share(series, t, hidden) if share else t for t in times]
        (line,) = ax.plot(widths, values[0], marker=marker, label=series.label)
        ax.plot(widths, values[1], "--", color=line.get_color(), marker="_", linewidth=1)
    ax.plot([], [], "--", color="grey", linewidth=1, label="its matrix products alone")
    ax.set_xscale("log", base=2)
    ax.set_xticks(widths[:: len(widths) // 12 + 1])
    ax.xaxis.set_major_formatter("{x:.0f}")
    if share:
        ax.set_ylim(0, 1)
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    else:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(EngFormatter("s"))
    what = "share of the peak of matrix products" if share else "time of a training step"
    ax.set(xlabel="hidden units", ylabel=what)
    place = f"{results.machine.get('processor', '')}, {results.date[:10]}"
    ax.set_title(f"{results.settings}; {place}", fontsize="medium")
    ax.grid(color="0.9")
    figure.legend(loc="outside right upper", frameon=False)
    text = io.StringIO()
    figure.savefig(text, format="svg")
    return text.getvalue()


FILES = {"bench.json": json_text, "bench.csv": csv_text}
KIND = Kind.beginning(
    "file of xpnet bench",
    {".json": b'{\n "settings": {', ".csv": b"backend,version,device,", ".svg": b"<?xml"},
)
PICTURES = {"time.svg": partial(picture, share=False), "peak.svg": partial(picture, share=True)}
