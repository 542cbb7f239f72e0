"""``xpnet predict``: the answers of a model for new examples."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from xpnet.cli import output
from xpnet.cli.model import load_table_model
from xpnet.cli.options import (
    Backend,
    DataFile,
    Device,
    Force,
    ModelFile,
    UsageProblem,
    check_backend,
    check_output,
    option,
)
from xpnet.data.columns import WantedColumns
from xpnet.data.read_columns import read_blocks
from xpnet.files.atomic import open_atomically
from xpnet.files.outputs import Kind

EXAMPLES = """Examples:

\b
  xpnet predict model.safetensors new.csv
  xpnet predict model.safetensors new.csv --proba | head
  xpnet predict model.safetensors big.parquet --out answers.csv
  xpnet predict model.safetensors X.npy --out y.csv --backend torch

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
    out: Annotated[Path | None, option("FILE", "A .csv file; stdout if left out.")] = None,
    proba: Annotated[
        bool, typer.Option("--proba", help="A probability for each class in place of the class.")
    ] = False,
    backend: Backend = "auto",
    device: Device = None,
    force: Force = False,
) -> None:
    """Apply a model to a file of examples."""
    check_backend(backend)
    trained = load_table_model(model, backend, device)
    if proba and trained.classes is None:
        raise UsageProblem("--proba", f"{model} predicts numbers, not classes")
    columns, answer = [trained.target], trained.predict
    classes = [] if trained.classes is None else list(map(str, trained.classes))
    if out is not None:
        headers = tuple("".join(_csv(names, ())).encode() for names in (columns, classes) if names)
        kind = Kind.beginning("file of this model's answers", {".csv": headers})
        check_output("--out", out, kind, {"MODEL": model, "DATA": data}, force)
    blocks = read_blocks(data, WantedColumns(trained.features, known=[trained.target]))
    if proba:
        columns, answer = classes, trained.probabilities
    lines = _csv(columns, (answer(rows) for rows, _ in blocks))
    if out is None:
        for text in lines:
            output.put(text)
        return
    with open_atomically(out) as file:
        file.writelines(text.encode() for text in lines)


def _csv(columns: Sequence[str], blocks: Iterable[np.ndarray]) -> Iterator[str]:
    """The header comes with the first block: data that cannot be read leave stdout empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for block in blocks:
        # str of a NumPy scalar has the digits that its dtype needs, and no more
        writer.writerows(map(str, row) for row in block.reshape(len(block), -1))
        yield text.getvalue()
        text.seek(0)
        text.truncate()
    yield text.getvalue()
