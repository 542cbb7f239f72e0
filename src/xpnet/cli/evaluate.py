"""``xpnet evaluate``: the scores of a model on examples whose answers are known."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from rich import box
from rich.measure import Measurement
from rich.table import Table

from xpnet.cli import output
from xpnet.cli.model import load_table_model, rows_of
from xpnet.cli.options import (
    Backend,
    Comment,
    DataFile,
    Decimal,
    Device,
    Encoding,
    Header,
    Json,
    Missing,
    ModelFile,
    Sep,
    option,
    reading,
)
from xpnet.cli.output import Console, results_table
from xpnet.cli.problem import unlabelled
from xpnet.cli.scores import Tally, as_text
from xpnet.data.column import Column, listed
from xpnet.data.task import class_numbers, labelled

EXAMPLES = """Examples:

\b
  xpnet evaluate model.safetensors test.csv
  xpnet evaluate model.safetensors test.csv --target species
  xpnet evaluate model.safetensors test.npz --json | jq .accuracy

Data: as for xpnet predict, with a target column (y in a .npz file). The target has the name that it
had in training unless --target says otherwise.

The cost is the cross-entropy of the classes; of numbers, half the mean squared error of the
standardised target. R² and RMSE are of the target in its own units. What follows ± is the standard
error. The balanced accuracy is the mean of the accuracies within each class. The baseline answers
the same for all examples: the commonest class, or the mean (R² 0). Examples of a class that the
model does not know count as wrong, and are not in the cost. In the confusion matrix rows are the
true classes and columns the predicted ones.

Exit codes: 0 done; 1 the model, the data or the backend failed; 2 wrong options; 130 stopped by
Ctrl-C."""


def evaluate(
    *,
    model: ModelFile,
    data: DataFile,
    target: Annotated[str | None, option("COLUMN", "The column with the answers.")] = None,
    sep: Sep = None,
    decimal: Decimal = ".",
    encoding: Encoding = None,
    header: Header = None,
    comment: Comment = None,
    missing: Missing = None,
    backend: Backend = "auto",
    device: Device = None,
    as_json: Json = False,
) -> None:
    """Compare a model's answers with the true ones."""
    options = reading(sep, decimal, encoding, header, comment, missing)
    trained = load_table_model(model, backend, device)
    classes = trained.classes
    tally = Tally(trained.net, trained.targets)
    name = trained.target if target is None else target
    unseen, lost = dict[str, int](), 0
    with trained.open(data, options, name) as reader:
        for batch in reader.batches(rows=rows_of(trained)):
            table, label, there = labelled(batch, name)
            lost += len(there) - len(label)
            y = label.values if classes is None else _numbers(label, classes, unseen)
            tally.add(trained.columns(table), trained.expected(y))
    if tally.m == 0:
        empty = f"no rows with a {name!r}" if lost else "no rows of data"
        raise ValueError(f"{data}: {empty}")
    if lost:
        output.tell(f"{data}: {unlabelled(lost, name)}")
    found = {label: tally.unseen[i] for label, i in unseen.items()}
    if found:
        labels = listed([f"{label[:40]!r} ({count:,})" for label, count in found.items()])
        output.tell(
            f"warning: {data}: {sum(found.values()):,} of {tally.m:,} examples are of classes that "
            f"the model does not know, and count as wrong: {labels}"
        )
    figures = {"cost": tally.cost, **tally.figures()}
    confusion = tally.confusion
    if as_json:
        result: dict[str, Any] = {"model": str(model), "data": str(data), "examples": tally.m}
        result |= figures
        if classes is not None and confusion is not None:
            result |= {"classes": classes.tolist(), "confusion": confusion.tolist()}
            result |= {"unseen": found}
        output.put_json(result)
        return
    console = Console()
    console.print(results_table({"examples": f"{tally.m:,}", **as_text(figures)}))
    if classes is not None and confusion is not None:
        _print_confusion(console, list(map(str, classes)), confusion)
    console.check()


def _numbers(label: Column, classes: np.ndarray, unseen: dict[str, int]) -> np.ndarray:
    """The class numbers of labels; those that are none of the classes are numbered on."""
    y = class_numbers(label, classes)
    texts, codes = label.as_texts()
    for i in np.flatnonzero(y < 0):
        y[i] = unseen.setdefault(texts[codes[i]], len(classes) + len(unseen))
    return y


def _print_confusion(console: Console, names: list[str], confusion: np.ndarray) -> None:
    """Prints a table, or only the pairs confused most where the terminal is too narrow."""
    title = "true class (rows) and predicted (columns)"
    table = Table(box=box.SIMPLE, title=title, show_edge=False)
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for name, counts in zip(names, confusion, strict=True):
        table.add_row(name, *(f"{count:,}" for count in counts))
    room = console.width if console.is_terminal else 1000
    if Measurement.get(console, console.options.update(width=1000), table).maximum <= room:
        console.width = room
        console.print(table)
        return
    wrong = confusion - np.diag(np.diag(confusion))
    console.print_line("most often taken for another class:")
    for flat in np.argsort(-wrong, axis=None, kind="stable")[:10]:
        i, j = np.unravel_index(flat, wrong.shape)
        if wrong[i, j]:
            console.print_line(f"  {names[i]} for {names[j]}: {wrong[i, j]:,}")
