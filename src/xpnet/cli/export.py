"""``xpnet export``: a model as a file for ONNX Runtime or PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpnet.cli import output
from xpnet.cli.model import load_table_model
from xpnet.cli.options import Force, ModelFile, check_output
from xpnet.files import onnx
from xpnet.files.atomic import open_atomically
from xpnet.files.outputs import Kind
from xpnet.files.torch import save_torch

# A message of protobuf with the version of ONNX first; an archive of zip.
EXPORT = Kind.beginning("exported model", {".onnx": b"\x08", ".pt": b"PK"})

EXAMPLES = """Examples:

\b
  xpnet export model.safetensors model.onnx
  xpnet export model.safetensors model.pt
  xpnet export model.safetensors core.onnx --standardized

The exported model takes features as they are in the data, examples in rows (m, n): standardisation
is part of it, and a regression answers in units of the target. --standardized leaves both out.

ONNX: input X, or one input per column where some hold more than numbers or have missing cells;
outputs probabilities and label (class names), or Y; for ONNX Runtime and its like.
PyTorch: an nn.Sequential, read back by torch.load(FILE, weights_only=False); needs the extra torch.

Exit codes: 0 done; 1 the model cannot be read or exported; 2 wrong options."""


def export(
    model: ModelFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .onnx or .pt file.")],
    standardized: Annotated[
        bool, typer.Option("--standardized", help="The model takes standardised features.")
    ] = False,
    force: Force = False,
) -> None:
    """Write a model for ONNX Runtime or PyTorch."""
    check_output("OUT", out, EXPORT, {"MODEL": model}, force)
    trained = load_table_model(model)
    if out.suffix.lower() == ".onnx":
        onnx.write(trained.net, out, raw=not standardized)
    else:
        with open_atomically(out) as file:
            save_torch(trained.net if standardized else trained.without_statistics(), file)
    takes = f"{len(trained.features):,} standardised features"
    if not standardized or "input_mean" not in trained.net.tensors:
        what = "features" if trained.preprocessor.plain else "columns"
        takes = f"{len(trained.sources):,} {what} as they are"
    console = output.Console()
    console.print_line(f"{out} takes {takes}")
    console.check()
