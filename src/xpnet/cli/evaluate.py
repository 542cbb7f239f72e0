"""``xpnet evaluate``: the scores of a model on examples whose answers are known."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from rich import box
from rich.measure import Measurement
from rich.table import Table

from xpnet.cli import output
from xpnet.cli.model import Applied
from xpnet.cli.options import Json, option
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


@dataclass(frozen=True)
class Evaluation(Applied):
    """Compare a model's answers with the true ones."""

    target: Annotated[str | None, option("COLUMN", "The column with the answers.")] = None
    as_json: Json = False

    def run(self) -> None:
        trained, data = self.load(), self.data
        classes = trained.classes
        tally = Tally(trained.net, trained.targets)
        name = trained.target if self.target is None else self.target
        unseen, lost = dict[str, int](), 0
        for batch in self.batches(trained, name):
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
                f"warning: {data}: {sum(found.values()):,} of {tally.m:,} examples are of classes "
                f"that the model does not know, and count as wrong: {labels}"
            )
        figures, confusion = {"cost": tally.cost, **tally.figures()}, tally.confusion
        if self.as_json:
            result: dict[str, Any] = {"model": str(self.model), "data": str(data)}
            result |= {"examples": tally.m} | figures
            if classes is not None and confusion is not None:
                result |= {"classes": classes.tolist(), "confusion": confusion.tolist()}
                result |= {"unseen": found}
            output.put_json(result)
            return
        console = output.Console()
        console.print_rows({"examples": f"{tally.m:,}", **as_text(figures)})
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


def _print_confusion(console: output.Console, names: list[str], confusion: np.ndarray) -> None:
    """Prints a table, or only the pairs confused most where the terminal is too narrow."""
    title = "true class (rows) and predicted (columns)"
    table = Table("", box=box.SIMPLE, title=title, show_edge=False)
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
    for i, j in zip(*np.unravel_index(np.argsort(-wrong, None, "stable")[:10], wrong.shape)):
        if wrong[i, j]:
            console.print_line(f"  {names[i]} for {names[j]}: {wrong[i, j]:,}")
