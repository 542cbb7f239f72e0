"""``xpnet show``: a description of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

import xpnet
from xpnet.cli import output
from xpnet.cli.options import Json, ModelFile
from xpnet.cli.output import Console, results_table
from xpnet.data.column import listed
from xpnet.training.history import CURVES

EXAMPLES = """Examples:

\b
  xpnet show model.safetensors
  xpnet show run/checkpoints/epoch-000012.safetensors
  xpnet show model.safetensors --json

A checkpoint also has the state of training: optimiser, epochs, costs.

Exit codes: 0 done; 1 the file cannot be read or is no model; 2 wrong options."""


def show(model: ModelFile, as_json: Json = False) -> None:
    """Show a model: layers, data, classes, state of training."""
    net = xpnet.load(model, backend="numpy")
    found = _described(model, net)
    if as_json:
        output.put_json(found)
        return
    console = Console()
    console.print_line(f"{model}: {net.n_parameters:,} parameters, {found['dtype'] or 'float32'}")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("layer", "inputs", "units", "activation", "parameters"):
        table.add_column(heading, justify="left" if heading == "activation" else "right")
    layers = zip(net.sizes, net.sizes[1:], [*found["hidden"], net.output], strict=False)
    for number, (inputs, units, activation) in enumerate(layers, 1):
        table.add_row(str(number), f"{inputs:,}", f"{units:,}", activation,
                      f"{units * (inputs + 1):,}")  # fmt: skip
    console.print(table)
    rows = _data_rows(net.data) | _training_rows(found["training"], net.history.cost_name)
    if rows:
        shown = results_table(rows)
        shown.columns[1].justify = "left"  # words, not numbers
        console.print(shown)
    console.check()


def _data_rows(data: dict[str, Any]) -> dict[str, str]:
    rows = {name: str(data[name]) for name in ("task", "target") if data.get(name)}
    for name in ("classes", "features"):
        if data.get(name):
            found = list(map(str, data[name]))
            rows[name] = f"{len(found):,}: {listed(found)}"
    return rows


def _training_rows(state: dict[str, Any] | None, cost_name: str) -> dict[str, str]:
    if state is None:
        return {}
    rows = {"optimizer": f"{state['optimizer']}, {state['learning_rate']:g}"}
    middle = f" and {state['position']:,} steps" if state["position"] else ""
    rows["trained"] = f"{state['epochs']:,} epochs{middle}, {state['seconds']:.1f} s"
    for name, values in state["history"].items():
        if values:
            called = cost_name if name == "cost" else name.replace("_", " ")
            rows[called] = f"{values[0]:.3g} to {values[-1]:.3g}"
    return rows


def _described(path: Path, net: Any) -> dict[str, Any]:
    state = net.training_state
    return {
        "model": str(path),
        "sizes": list(net.sizes),
        "hidden": [activation.name for activation in net.hidden],
        "output": net.output,
        "parameters": net.n_parameters,
        "dtype": None if net.backend.dtype is None else net.backend.dtype_name,
        "data": net.data,
        "training": None
        if state is None
        else {
            "optimizer": type(state.optimizer).__name__,
            "learning_rate": state.optimizer.learning_rate,
            "epochs": state.epoch,
            "position": state.position,
            "updates": state.step,
            "seconds": state.history.seconds,
            "history": {name: list(getattr(state.history, name)) for name in CURVES},
        },
    }
