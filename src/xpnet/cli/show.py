"""``xpnet show``: a description of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

import xpnet
from xpnet.cli import output
from xpnet.cli.options import Json, ModelFile
from xpnet.cli.output import Console, results_table
from xpnet.data.columns import listed

EXAMPLES = """Examples:

\b
  xpnet show model.safetensors
  xpnet show run/checkpoints/epoch-000012.safetensors
  xpnet show model.safetensors --json

A checkpoint also has the state of training: optimiser, epochs, costs.

Exit codes: 0 done; 1 the file cannot be read or is no model; 2 wrong options."""

_CURVES = ("cost", "validation_cost", "validation_accuracy")


def show(model: ModelFile, as_json: Json = False) -> None:
    """Show a model: layers, data, classes, state of training."""
    net = xpnet.load(model, backend="numpy")
    if as_json:
        output.put_json(_described(model, net))
        return
    console = Console()
    dtype = net.backend.dtype
    console.print_line(f"{model}: {net.n_parameters:,} parameters, {np.dtype(dtype or 'f4').name}")
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in ("layer", "inputs", "units", "activation", "parameters"):
        table.add_column(heading, justify="left" if heading == "activation" else "right")
    layers = zip(net.sizes, net.sizes[1:], _activations(net), strict=False)
    for number, (inputs, units, activation) in enumerate(layers, 1):
        table.add_row(str(number), f"{inputs:,}", f"{units:,}", activation,
                      f"{units * (inputs + 1):,}")  # fmt: skip
    console.print(table)
    rows = _data_rows(net.data)
    if net.training_state is not None:
        rows |= _training_rows(net.training_state)
    if rows:
        found = results_table(rows)
        found.columns[1].justify = "left"  # words, not numbers
        console.print(found)
    console.check()


def _activations(net: Any) -> list[str]:
    return [activation.name for activation in net.hidden] + [net.output]


def _data_rows(data: dict[str, Any]) -> dict[str, str]:
    rows = {name: str(data[name]) for name in ("task", "target") if data.get(name)}
    for name in ("classes", "features"):
        if data.get(name):
            found = list(map(str, data[name]))
            rows[name] = f"{len(found):,}: {listed(found)}"
    return rows


def _training_rows(state: Any) -> dict[str, str]:
    rows = {"optimizer": f"{type(state.optimizer).__name__}, {state.optimizer.learning_rate:g}"}
    middle = f" and {state.position:,} steps" if state.position else ""
    rows["trained"] = f"{state.epoch:,} epochs{middle}, {state.history.seconds:.1f} s"
    for name in _CURVES:
        values = getattr(state.history, name)
        if values:
            called = state.history.cost_name if name == "cost" else name.replace("_", " ")
            rows[called] = f"{values[0]:.3g} to {values[-1]:.3g}"
    return rows


def _described(path: Path, net: Any) -> dict[str, Any]:
    state = net.training_state
    result: dict[str, Any] = {
        "model": str(path),
        "sizes": list(net.sizes),
        "hidden": _activations(net)[:-1],
        "output": net.output,
        "parameters": net.n_parameters,
        "dtype": None if net.backend.dtype is None else net.backend.dtype_name,
        "data": net.data,
        "training": None,
    }
    if state is not None:
        result["training"] = {
            "optimizer": type(state.optimizer).__name__,
            "learning_rate": state.optimizer.learning_rate,
            "epochs": state.epoch,
            "position": state.position,
            "updates": state.step,
            "seconds": state.history.seconds,
            "history": {name: list(getattr(state.history, name)) for name in _CURVES},
        }
    return result
