"""Reading a model file, and the table that ``xpnet predict`` and ``evaluate`` apply it to."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated

import typer

import xpnet
from xpnet.cli.options import Backend, Device, ModelFile, Reading, check_backend
from xpnet.data.column import Column
from xpnet.files.raw import TableModel

CELLS = 2**18  # in a batch of rows: 2 MB of float64, enough to make calls cheap


def rows_at_a_time(columns: int) -> int:
    """The number of rows of a table to read at a time."""
    return max(64, CELLS // columns)  # a batch of many columns takes time by itself


@dataclass(frozen=True)
class Applied(Reading):
    """The arguments and options of a command that applies a model to a table."""

    model: ModelFile
    data: Annotated[Path, typer.Argument(metavar="DATA", help="The examples.")]
    _: KW_ONLY
    backend: Backend = "auto"
    device: Device = None

    def run(self) -> None:
        raise NotImplementedError

    def load(self) -> TableModel:
        """Read the model; the options are checked first."""
        assert self.reading
        return load_table_model(self.model, self.backend, self.device)

    def batches(
        self, trained: TableModel, target: str | None = None
    ) -> Iterator[dict[str, Column]]:
        """Read the model's columns of the table, and that of the answers if it is named."""
        with trained.open(self.data, self.reading, target) as reader:
            yield from reader.batches(rows=rows_at_a_time(len(trained.sources)))


def load_table_model(path: Path, backend: str = "numpy", device: str | None = None) -> TableModel:
    """The net in a model file or a checkpoint, with its statistics, columns and classes.

    Raises
    ------
    UsageProblem, ModelFileError, OSError
        As ``xpnet.load``; or the columns, classes or statistics do not fit the net.
    """
    check_backend(backend)
    net = xpnet.load(path, backend=backend, device=device)
    n_y = net.sizes[-1]
    if net.output != "softmax" and n_y > 1:
        raise xpnet.ModelFileError(
            f"{path}: a net with {n_y} answers per example; use xpnet.load in Python"
        )
    try:
        model = TableModel.of(net)
        assert model.features  # raises if they do not fit the net
    except (ValueError, TypeError) as error:
        raise xpnet.ModelFileError(
            f"{path}: its columns, classes or statistics are damaged: {error}"
        ) from None
    return model
