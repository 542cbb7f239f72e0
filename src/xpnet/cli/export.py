"""``xpnet export``: a model for other programs, ONNX or PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

import xpnet
from xpnet.backends.place import to_numpy
from xpnet.cli import output
from xpnet.cli.options import ModelFile, check_output_file
from xpnet.cli.trained import Trained
from xpnet.files import onnx
from xpnet.files.atomic import open_atomically
from xpnet.files.torch import save_torch

EXAMPLES = """Examples:

\b
  xpnet export model.safetensors model.onnx
  xpnet export model.safetensors model.pt
  xpnet export model.safetensors core.onnx --standardized

The exported model takes features as they are in the data, examples in rows (m, n): standardisation
is part of it, and a regression answers in units of the target. --standardized leaves both out.

ONNX: input X, outputs probabilities and label (class names), or Y; for ONNX Runtime and its like.
PyTorch: an nn.Sequential, read back by torch.load(FILE, weights_only=False); needs the extra torch.

Exit codes: 0 done; 1 the model cannot be read or exported; 2 wrong options."""


def export(
    model: ModelFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .onnx or .pt file.")],
    standardized: Annotated[
        bool, typer.Option("--standardized", help="The model takes standardised features.")
    ] = False,
) -> None:
    """Write a model for ONNX Runtime or PyTorch."""
    check_output_file("OUT", out, (".onnx", ".pt"))
    trained = Trained.load(model)
    raw = trained.inputs is not None and not standardized
    if out.suffix.lower() == ".onnx":
        onnx.write(trained.net, out, raw=raw)
    else:
        with open_atomically(out) as file:
            save_torch(_with_raw_features(trained) if raw else trained.net, file)
    console = output.Console()
    takes = "features as they are" if raw or trained.inputs is None else "standardised features"
    console.line_of(f"{out} takes {len(trained.features):,} {takes}")
    console.check()


def _with_raw_features(trained: Trained) -> Any:
    """The same function of features that are not standardised, as a net of its own.

    W (x - mean) / scale + b = (W / scale) x + (b - (W / scale) mean), and a regression's last
    layer is multiplied by the target's scale in the same way. Constant columns get weights 0.
    """
    net, inputs, targets = trained.net, trained.inputs, trained.targets
    assert inputs is not None
    layers = [(to_numpy(W).astype(np.float64), to_numpy(b).astype(np.float64))
              for W, b in net.parameters]  # fmt: skip
    W, b = layers[0]
    constant = inputs.scale == 0
    W = np.where(constant, 0.0, W / np.where(constant, 1.0, inputs.scale))
    layers[0] = W, b - W @ inputs.mean[:, None]
    if targets is not None:
        W, b = layers[-1]
        layers[-1] = W * targets.scale[0], b * targets.scale[0] + targets.mean[0]
    names = [activation.name for activation in net.hidden]
    twin = xpnet.DeepNet(net.sizes, names or "relu", net.output, dtype=trained.dtype.name)
    twin.parameters = [(W.astype(trained.dtype), b.astype(trained.dtype)) for W, b in layers]
    return twin
