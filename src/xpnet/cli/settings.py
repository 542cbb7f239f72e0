"""The options of ``xpnet train``, declared once.

The command line, configuration files and the record in a run folder all follow from the fields of
``Settings``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from xpnet.cli.options import Backend, Device, Dtype, Force, Reading, UsageProblem, option, require
from xpnet.core.optimizers import OPTIMIZERS
from xpnet.data.column import KINDS
from xpnet.data.readers import ReadOptions
from xpnet.data.task import EXAMPLES_PER_CLASS, MOST_CLASSES

RULES = {rule.option: rule for rule in OPTIMIZERS.values()}
SOLVER = "lbfgs"

# Where results go and how they are shown. The parameters do not depend on it, so a run folder does
# not record it.
ABOUT_THE_OUTPUT = frozenset({"out", "run_dir", "checkpoint_dir", "resume", "log", "plot", "config",
                              "force", "as_json", "keep_encoded"})  # fmt: skip
_RATES = ", ".join(f"{name} {rule.rate:g} / {rule.linear_rate:g}" for name, rule in RULES.items())

EXAMPLES = f"""Examples:

\b
  xpnet train
  xpnet train --model shallow --hidden 32 --optimizer gd --epochs 200
  xpnet train iris.csv --target species --out iris.safetensors
  xpnet train prices.csv --target price --model linear
  xpnet train data.npz --backend torch --device cuda:0 --hidden 512,256
  xpnet train big.parquet --target y --validation test.parquet
  xpnet train german.csv --target preis --sep ";" --decimal , --column plz=category
  xpnet train --epochs 200 --schedule warmup:5+cosine --early-stopping 20
  xpnet train --run-dir runs/1 --epochs 100
  xpnet train --run-dir runs/1 --resume
  xpnet train --config runs/1/config.toml --seed 1 --run-dir runs/2

Data: .csv and other text, also packed; Parquet, Feather, JSON lines; .npz with arrays X (m, n) and
y (m,), examples in rows; .npy; - for standard input. Columns go by their names, or from 0 if there
is no header. Numbers are standardised by the training part, categories and dates encoded, gaps
filled; what is made of each column is told. A table too large for memory is encoded once to .npy
files beside the model, which go at the end.

Models: linear and logistic have no hidden layer, shallow has one (64 units), deep has two or more
(128,64). Those without hidden layers are solved by L-BFGS, on all examples at once: --optimizer
lbfgs. They are trained by minibatches like the others where one of these is given: --optimizer,
--lr, --epochs, --batch-size, --schedule, --clip-norm, --early-stopping, --checkpoint-dir; and where
DATA is streamed.

Tasks: linear means regression and logistic classification. Otherwise auto takes text for classes,
and whole numbers (1.0 is one, in every kind of file) if there are few: 2 values, or up to
{MOST_CLASSES} with {EXAMPLES_PER_CLASS} examples each on average. Two classes get a sigmoid
output, more a softmax.

Defaults: --optimizer adam, --epochs 50, --batch-size 32, --schedule constant. --l2 is 0.001 with
hidden layers, 1 over the number of examples where L-BFGS solves, else 0. --lr with / without hidden
layers: {_RATES}.

Costs: that of training includes the penalties (shown as cost+l2), that of validation does not.

Schedules: constant, cosine[:EPOCHS], step:EVERY[:FACTOR], exponential:FACTOR, inverse[:POWER],
plateau[:FACTOR[:PATIENCE]], warmup:EPOCHS[+SCHEDULE]. They multiply the learning rate.

Configuration: a TOML file with the long names of options, such as batch-size = 64. Options on the
command line win.

Run folder: config.toml (all that the result depends on), log.csv, checkpoints, curve.svg if
matplotlib is there, and model.safetensors. Training with its config.toml gives the same parameters
to the last bit, and so does a run that was broken off and resumed.

Files that are there: a model, a log or a picture may be replaced, what the command reads never;
any other file needs --force.

Exit codes: 0 done; 1 the data, the backend or the training failed; 2 wrong options; 130 stopped by
Ctrl-C, 143 by SIGTERM, 129 by SIGHUP, with the model (and checkpoint) as it was after the last
step saved. A second Ctrl-C stops at once."""


@dataclass(frozen=True)
class Settings(Reading):
    """One value for every option and argument of ``xpnet train``."""

    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="A table: .csv, .parquet, .npz, .npy and others; the handwritten digits in the "
            "package if left out.",
            show_default=False,
        ),
    ] = None
    target: Annotated[str | None, option("COLUMN", "Label column: name or index.")] = None
    column: Annotated[
        list[str] | None,
        option("NAME=KIND", "number, bool, category or date in place of what a column seems to be; "
               "may be given several times."),
    ] = None  # fmt: skip
    ignore: Annotated[
        list[str] | None, option("NAME", "A column to leave out; may be given several times.")
    ] = None
    robust: Annotated[
        bool, typer.Option("--robust", help="Scale numbers by quartiles, and squash outliers.")
    ] = False
    task: Annotated[
        Literal["auto", "classification", "regression"],
        option("TASK", "auto, classification or regression; see below."),
    ] = "auto"
    model: Annotated[
        Literal["linear", "logistic", "shallow", "deep"],
        option("MODEL", "linear, logistic, shallow or deep; see below."),
    ] = "deep"
    hidden: Annotated[str | None, option("WIDTHS", "Hidden units, for example 256,128.")] = None
    backend: Backend = "auto"
    device: Device = None
    dtype: Dtype = "float32"
    class_weight: Annotated[
        Literal["balanced"] | None,
        option("balanced", "Examples weigh so that every class does the same in the cost."),
    ] = None
    epochs: Annotated[
        int | None, option("N", "Passes over the training part; all of them, with --resume.", min=1)
    ] = None
    batch_size: Annotated[str | None, option("M", "Examples per minibatch, or full.")] = None
    optimizer: Annotated[str | None, option("RULE", f"{', '.join([*RULES, SOLVER])}.")] = None
    lr: Annotated[float | None, option("RATE", "Learning rate; see below.")] = None
    schedule: Annotated[str | None, option("NAME", "Of the learning rate; see below.")] = None
    l2: Annotated[float | None, option("L", "Adds L/2 * sum(W**2) to the cost; see below.")] = None
    l1: Annotated[float, option("L", "Adds L * sum|W| to the cost.")] = 0.0
    dropout: Annotated[
        str, option("P", "Probability of dropping a hidden unit, or one per layer: 0.2,0.3.")
    ] = "0"
    clip_norm: Annotated[float | None, option("C", "Scales longer gradients to this norm.")] = None
    validation: Annotated[
        str, option("SHARE|FILE", "Share of the examples set aside, or a file.")
    ] = "0.2"
    early_stopping: Annotated[
        int | None,
        option("N", "Stop after N epochs without a better validation cost, and keep the best.",
                min=1),
    ] = None  # fmt: skip
    seed: Annotated[int, option("N", "Of the split, the first weights and the minibatches.",
                                 min=0)] = 0  # fmt: skip
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Keep the rows on disk; else if too many."),
    ] = None
    keep_encoded: Annotated[
        bool, typer.Option("--keep-encoded", help="Leave the rows of a stream on disk at the end.")
    ] = False
    out: Annotated[
        Path | None, option("FILE", "Where the model goes.  [default: model.safetensors]")
    ] = None
    run_dir: Annotated[Path | None, option("DIR", "A folder for all of a run; see below.")] = None
    checkpoint_dir: Annotated[
        Path | None, option("DIR", "Where checkpoints go: the last 3 are kept.")
    ] = None
    checkpoint_every: Annotated[
        int, option("N", "Epochs from one checkpoint to the next.", min=1)
    ] = 1
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, if there is one.")
    ] = False
    config: Annotated[Path | None, option("FILE", "Options from a .toml file; see below.")] = None
    log: Annotated[Path | None, option("FILE", "A line per epoch: .csv or .jsonl.")] = None
    plot: Annotated[Path | None, option("FILE", "The learning curve: .svg, .png or .pdf.")] = None
    force: Force = False
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Results as one JSON object on stdout, all else on stderr."),
    ] = False

    @property
    def piped(self) -> bool:
        """Whether DATA is standard input or a pipe, which can be read once only."""
        data = self.data
        there = data is not None and (data.is_fifo() or data.is_char_device())
        return there or str(data) == "-"

    @property
    def reading(self) -> ReadOptions:
        """How the table is read, and what its columns are."""
        pairs = tuple(map(_parted, self.column or ()))
        found = replace(super().reading, column=pairs, ignore=tuple(self.ignore or ()),
                        dtype=self.dtype)  # fmt: skip
        try:
            found.chosen  # noqa: B018 - a mistake in them is one in the options
        except ValueError as error:
            raise UsageProblem("--column", str(error)) from None
        return found

    @property
    def kinds(self) -> dict[str, str]:
        """The kinds that ``--column`` gives columns."""
        return {name: kind for name, kind in self.reading.chosen.items() if kind != "ignore"}


def _parted(text: str) -> tuple[str, str]:
    name, equals, kind = text.rpartition("=")
    known = f"{text!r} is no NAME=KIND, with a kind of {', '.join(KINDS)}"
    require(bool(equals) and kind in KINDS, "--column", known)
    return name, kind
