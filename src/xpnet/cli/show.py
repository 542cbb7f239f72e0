"""``xpnet show``: a description of a model file."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from rich.table import Column, Table

import xpnet
from xpnet.cli import output
from xpnet.cli.options import Json, ModelFile
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
    activations, state = [activation.name for activation in net.hidden], net.training_state
    dtype = None if net.backend.dtype is None else net.backend.dtype_name
    training: dict[str, Any] = {} if state is None else {
        "optimizer": type(state.optimizer).__name__,
        "learning_rate": state.optimizer.learning_rate,
        "epochs": state.epoch,
        "position": state.position,
        "updates": state.step,
        "seconds": state.history.seconds,
        "history": {name: getattr(state.history, name) for name in CURVES},
    }  # fmt: skip
    if as_json:
        found: dict[str, Any] = {"model": str(model), "sizes": net.sizes}
        found |= {"hidden": activations, "output": net.output, "parameters": net.n_parameters}
        output.put_json(found | {"dtype": dtype, "data": net.data, "training": training or None})
        return
    console = output.Console()
    console.print_line(f"{model}: {net.n_parameters:,} parameters, {dtype or 'float32'}")
    right = [Column(name, justify="right") for name in ("layer", "inputs", "units", "parameters")]
    table = Table(*right[:3], "activation", right[3], box=None, pad_edge=False,
                  padding=(0, 1, 0, 0), header_style="bold")  # fmt: skip
    for number, (inputs, units) in enumerate(pairwise(net.sizes)):
        parameters, activation = units * (inputs + 1), [*activations, net.output][number]
        table.add_row(str(number + 1), f"{inputs:,}", f"{units:,}", activation, f"{parameters:,}")
    console.print(table)
    rows = {name: str(net.data[name]) for name in ("task", "target") if net.data.get(name)}
    for name in ("classes", "features"):
        if named := list(map(str, net.data.get(name) or ())):
            rows[name] = f"{len(named):,}: {listed(named)}"
    if training:
        rows["optimizer"] = f"{training['optimizer']}, {training['learning_rate']:g}"
        middle = f" and {training['position']:,} steps" if training["position"] else ""
        rows["trained"] = f"{training['epochs']:,} epochs{middle}, {training['seconds']:.1f} s"
        for name, values in training["history"].items():
            if values:
                called = net.history.cost_name if name == "cost" else name.replace("_", " ")
                rows[called] = f"{values[0]:.3g} to {values[-1]:.3g}"
    if rows:
        console.print_rows(rows, justify="left")
    console.check()
