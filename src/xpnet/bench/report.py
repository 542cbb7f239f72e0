"""Results as rows, CSV, JSON and files."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xpnet.bench.pictures import share_picture, time_picture
from xpnet.bench.results import Results, Series
from xpnet.files.atomic import write_atomically

CSV_COLUMNS = (
    "backend",
    "version",
    "device",
    "hardware",
    "inputs",
    "hidden",
    "outputs",
    "batch_size",
    "dtype",
    "step_seconds",
    "floor_seconds",
    "step_over_floor",
    "flops_per_step",
    "flops_per_second",
    "peak_flops_per_second",
    "share_of_peak",
    "predict_examples_per_second",
    "times_as_fast_as_numpy",
    "steps_per_epoch",
    "epochs",
    "left_out",
)


def rows(results: Results) -> Iterator[dict[str, Any]]:
    """A row for each net on each device, with the columns of the CSV; None where not measured."""
    for series in results.series:
        for cell in series.cells:
            row = dict.fromkeys(CSV_COLUMNS) | {
                "backend": series.backend,
                "version": series.version,
                "device": series.device,
                "hardware": series.hardware,
                "inputs": results.settings.inputs,
                "hidden": cell.hidden,
                "outputs": results.settings.outputs,
                "batch_size": results.settings.batch_size,
                "dtype": results.settings.dtype,
                "flops_per_step": results.settings.flops(cell.hidden),
                "left_out": cell.left_out,
            }
            yield row | (_figures(results, series, cell.hidden) if cell.left_out is None else {})


def _figures(results: Results, series: Series, hidden: int) -> dict[str, Any]:
    cell = series.measured[hidden]
    step = cell.step_seconds
    return {
        "step_seconds": step,
        "floor_seconds": cell.floor_seconds,
        "step_over_floor": step / cell.floor_seconds,
        "flops_per_second": results.settings.flops(hidden) / step,
        "peak_flops_per_second": results.peak(series.hardware),
        "share_of_peak": results.share(series, step, hidden),
        "predict_examples_per_second": cell.predict_rate,
        "times_as_fast_as_numpy": results.speedup(series, hidden),
        "steps_per_epoch": cell.steps_per_epoch,
        "epochs": len(cell.step),
    }


def csv_text(results: Results) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(results))
    return text.getvalue()


def json_text(results: Results) -> str:
    return json.dumps(results.to_json(), indent=1) + "\n"


FILES: dict[str, Callable[[Results], str]] = {
    "bench.json": json_text,
    "bench.csv": csv_text,
    "time.svg": time_picture,
    "peak.svg": share_picture,
}


def save(results: Results, folder: Path) -> dict[Path, bool]:
    """Writes all files, each in one step.

    Returns
    -------
    dict
        Their paths, and whether there was one that is now replaced.

    Raises
    ------
    OSError
        The folder or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, text in FILES.items():
        path = folder / name
        written[path] = path.exists()
        write_atomically(path, text(results).encode())
    return written
