"""``xpnet predict``: the answers of a model for new examples."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xpnet.cli import predictions
from xpnet.cli.model import load_table_model
from xpnet.cli.options import (
    Backend,
    DataFile,
    Device,
    ModelFile,
    UsageProblem,
    check_backend,
    check_output_file,
    option,
)
from xpnet.data.columns import WantedColumns
from xpnet.data.read_columns import read_blocks

EXAMPLES = """Examples:

\b
  xpnet predict model.safetensors new.csv
  xpnet predict model.safetensors new.csv --proba | head
  xpnet predict model.safetensors big.parquet --out answers.csv
  xpnet predict model.safetensors X.npy --out y.npy --backend torch

Data: .csv, .tsv, .npy, .npz (array X) or .parquet, examples in rows, read a block at a time: it
need not fit in memory. Features are standardised as they were in training. Columns go by their
names, in any order; others, such as the target, are ignored. Columns without names are taken as
they come.

Answers are class names, or the target in its own units, in the order of the rows.

Exit codes: 0 done; 1 the model, the data or the backend failed; 2 wrong options; 130 stopped by
Ctrl-C. Nothing half-written stays behind."""


def predict(
    model: ModelFile,
    data: DataFile,
    out: Annotated[
        Path | None, option("FILE", "A .csv or .npy file; stdout (CSV) if left out.")
    ] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="A probability for each class in place of the class.")
    ] = False,
    backend: Backend = "auto",
    device: Device = None,
) -> None:
    """Apply a model to a file of examples."""
    check_backend(backend)
    check_output_file("--out", out, (".csv", ".npy"))
    trained = load_table_model(model, backend, device)
    if proba and trained.classes is None:
        raise UsageProblem("--proba", f"{model} predicts numbers, not classes")
    blocks = read_blocks(data, WantedColumns(trained.features, known=[trained.target]))
    if proba:
        assert trained.classes is not None
        columns = [str(label) for label in trained.classes]
        predictions.write(out, columns, (trained.probabilities(rows) for rows, _ in blocks))
    else:
        answers = (trained.predict(rows).reshape(-1) for rows, _ in blocks)
        predictions.write(out, [trained.target], answers)
