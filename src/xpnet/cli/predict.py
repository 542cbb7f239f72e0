"""``xpnet predict``: the answers of a model for new examples."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from xpnet.cli import output
from xpnet.cli.model import Applied
from xpnet.cli.options import Force, UsageProblem, check_output, option
from xpnet.files.atomic import open_atomically
from xpnet.files.outputs import Kind

EXAMPLES = """Examples:

\b
  xpnet predict model.safetensors new.csv
  xpnet predict model.safetensors new.csv --probabilities | head
  xpnet predict model.safetensors big.parquet --out answers.csv
  xpnet predict model.safetensors X.npy --out y.csv --backend torch
  xpnet predict model.safetensors - < new.csv

Data: all that xpnet train reads, a batch of rows at a time: it need not fit in memory. Columns are
encoded and standardised as they were in training. They go by their names, in any order; others,
such as the target, are ignored. Columns without names are taken as they come. A category that
training never saw counts as one of the rare ones.

Answers are class names, or the target in its own units, in the order of the rows.

Exit codes: 0 done; 1 the model, the data or the backend failed; 2 wrong options; 130 stopped by
Ctrl-C. Nothing half-written stays behind."""


@dataclass(frozen=True)
class Prediction(Applied):
    """Apply a model to a file of examples."""

    out: Annotated[Path | None, option("FILE", "A .csv file; stdout if left out.")] = None
    probabilities: Annotated[
        bool,
        typer.Option(
            "--probabilities", "--proba", help="A probability for each class in place of the class."
        ),
    ] = False
    force: Force = False

    def run(self) -> None:
        trained = self.load()
        if self.probabilities and trained.classes is None:
            raise UsageProblem("--probabilities", f"{self.model} predicts numbers, not classes")
        columns, answer = [trained.target], trained.predict
        classes = [] if trained.classes is None else list(map(str, trained.classes))
        if self.out is not None:
            begins = tuple("".join(_csv(x, ())).encode() for x in (columns, classes) if x)
            kind = Kind.beginning("file of this model's answers", {".csv": begins})
            others = {"MODEL": self.model, "DATA": self.data}
            check_output("--out", self.out, kind, others, self.force)
        if self.probabilities:
            columns, answer = classes, trained.probabilities
        lines = _csv(columns, map(answer, self.batches(trained)))
        if self.out is None:
            for text in lines:
                output.put(text)
        else:
            with open_atomically(self.out) as file:
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
