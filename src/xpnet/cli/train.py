"""``xpnet train``: from a file to a trained model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from xpnet import DeepNet, optimizers
from xpnet.cli.display import Console, results_table, watcher
from xpnet.cli.interrupt import Interrupt
from xpnet.cli.problem import Problem, UsageProblem, prepare
from xpnet.libraries import LIBRARIES
from xpnet.tables import Table, load_digits, read_table
from xpnet.training import History, Progress

# With learning rates that suit standardised data, for nets with and without hidden layers.
OPTIMIZERS: dict[str, tuple[Callable[[float], Any], float, float]] = {
    "gd": (optimizers.GradientDescent, 0.1, 0.1),
    "momentum": (optimizers.Momentum, 0.01, 0.01),
    "adam": (optimizers.Adam, 1e-3, 1e-2),
    "adamw": (optimizers.AdamW, 1e-3, 1e-2),
    "rmsprop": (optimizers.RMSProp, 1e-3, 1e-2),
}
HIDDEN: dict[str, tuple[int, ...]] = {
    "linear": (),
    "logistic": (),
    "shallow": (64,),
    "deep": (128, 64),
}
INTERRUPTED = 130  # what a shell reports for a program that Ctrl-C ended: 128 + SIGINT

EXAMPLES = """Examples:

\b
  xpnet train
  xpnet train --model shallow --hidden 32 --optimizer gd --epochs 200
  xpnet train iris.csv --target species --out iris.safetensors
  xpnet train prices.csv --target price --model linear
  xpnet train data.npz --backend torch --device cuda:0 --hidden 512,256

Data: a .npz file holds arrays X (m, n) and y (m,), examples in rows. In a .csv file every column
but the target holds numbers; columns go by their names, or from 0 if there is no header. Features
are standardised by the mean and standard deviation of the training part.

Models: linear and logistic have no hidden layer, shallow has one (64 units), deep has two or more
(128,64).

Tasks: linear means regression and logistic classification. Otherwise auto takes text for classes,
and whole numbers if there are few: 2 values, or up to 100 with 20 examples each on average. Two
classes get a sigmoid output, more a softmax.

Defaults: --lr is 0.1 for gd, 0.01 for momentum, else 0.001. Without hidden layers it is 0.01 for
adam, adamw and rmsprop. --l2 is 0.001 with hidden layers, else 0.

Exit codes: 0 done; 1 the data, the backend or the training failed; 2 wrong options; 130 stopped by
Ctrl-C, with the model of the last finished epoch saved."""


def train(
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA",
            help="A .npz or .csv file; the handwritten digits in the package if left out.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Label column of a .csv: name or index.")
    ] = None,
    task: Annotated[
        Literal["auto", "classification", "regression"],
        typer.Option(metavar="TASK", help="auto, classification or regression; see below."),
    ] = "auto",
    model: Annotated[
        Literal["linear", "logistic", "shallow", "deep"],
        typer.Option(metavar="MODEL", help="linear, logistic, shallow or deep; see below."),
    ] = "deep",
    hidden: Annotated[
        str | None,
        typer.Option(metavar="WIDTHS", help="Hidden units, for example 256,128."),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(metavar="NAME", help="auto (NumPy), best (a GPU if any), or as xpnet info."),
    ] = "auto",
    device: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="For example cpu or cuda:1."),
    ] = None,
    dtype: Annotated[
        Literal["float32", "float64"],
        typer.Option(metavar="TYPE", help="float32 or float64."),
    ] = "float32",
    epochs: Annotated[
        int, typer.Option(metavar="N", min=1, help="Passes over the training part.")
    ] = 50,
    batch_size: Annotated[
        str, typer.Option(metavar="M", help="Examples per update, or full.")
    ] = "32",
    optimizer: Annotated[
        Literal["gd", "momentum", "adam", "adamw", "rmsprop"],
        typer.Option(metavar="RULE", help="gd, momentum, adam, adamw or rmsprop."),
    ] = "adam",
    lr: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Learning rate; see below."),
    ] = None,
    l2: Annotated[
        float | None,
        typer.Option(metavar="L", help="Adds L/2 * sum(W**2) to the cost; see below."),
    ] = None,
    validation: Annotated[
        float, typer.Option(metavar="SHARE", help="Share of the examples set aside.")
    ] = 0.2,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="For parts, first weights and batches.")
    ] = 0,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the model goes.")] = Path(
        "model.safetensors"
    ),
) -> None:
    """Train a dense net and write it to a file.

    Without DATA it learns 1,797 handwritten digits (8 x 8 pixels; UCI Machine Learning
    Repository, CC BY 4.0).
    """
    widths = _widths(hidden, model)
    rule, *suited_rates = OPTIMIZERS[optimizer]
    rate = suited_rates[0 if widths else 1] if lr is None else lr
    penalty = (0.001 if widths else 0.0) if l2 is None else l2
    _require(rate > 0 and isfinite(rate), "--lr", f"{rate} is not a number above 0")
    _require(penalty >= 0 and isfinite(penalty), "--l2", f"{penalty} is not a number of at least 0")
    _require(0 <= validation < 1, "--validation", f"{validation} is not in [0, 1)")
    batch = _batch(batch_size)
    _check_backend(backend)
    _check_out(out)
    if dtype == "float64":
        # JAX reads this when it is first imported, and without it has no float64.
        os.environ.setdefault("JAX_ENABLE_X64", "1")

    table = _read(data, target)
    problem = prepare(table, task, model, validation, seed, dtype)
    net = DeepNet(
        [table.X.shape[1], *widths, problem.n_outputs],
        output=problem.output,
        backend=backend,
        device=device,
        dtype=dtype,
        seed=seed,
    )
    console = Console()
    console.line_of(_summary(data, problem))
    console.line_of(
        f"{model}: {'-'.join(map(str, net.sizes))}, {optimizer}, learning rate {rate:g}"
    )

    view = watcher(console, epochs, lambda progress: _figures(problem, progress))
    interrupt = Interrupt(view.stopping)
    callbacks: list[Any] = [view, interrupt]  # each has some of the methods of a Callback
    try:
        with interrupt:
            history = net.fit(
                problem.train.X,
                problem.train.Y,
                optimizer=rule(rate),
                epochs=epochs,
                batch_size=batch,
                l2=penalty,
                validation=None
                if problem.validation is None
                else (problem.validation.X, problem.validation.Y),
                callbacks=callbacks,
            )
    except KeyboardInterrupt:
        print("xpnet: stopped in the middle of an epoch; no model was written", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    finally:
        view.close()

    _save(out, net, table, problem, model)
    console.print(results_table(_results(net, problem, history)))
    console.line_of(f"model written to {out}")
    if interrupt.asked:
        done = len(history.cost)
        print(f"xpnet: stopped by Ctrl-C after epoch {done} of {epochs}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)


# -- options -----------------------------------------------------------------------------
def _require(condition: bool, option: str, message: str) -> None:
    if not condition:
        raise UsageProblem(option, message)


def _widths(text: str | None, model: str) -> tuple[int, ...]:
    """Hidden widths: as given, or the model's own."""
    if text is None:
        return HIDDEN[model]
    _require(bool(HIDDEN[model]), "--hidden", f"a {model} model has no hidden layer")
    fields = [field.strip() for field in text.split(",")]
    whole = all(field.isascii() and field.isdecimal() and int(field) > 0 for field in fields)
    _require(whole, "--hidden", f"{text!r} is no list of widths such as 256,128")
    one_too_many = model == "shallow" and len(fields) > 1
    _require(not one_too_many, "--hidden", "a shallow net has one hidden layer; use --model deep")
    return tuple(int(field) for field in fields)


def _batch(text: str) -> int | None:
    if text == "full":
        return None
    whole = text.isascii() and text.isdecimal() and int(text) > 0
    _require(whole, "--batch-size", f"{text!r} is neither a whole number above 0 nor full")
    return int(text)


def _check_backend(name: str) -> None:
    names = ["auto", "best", *LIBRARIES]
    _require(name in names, "--backend", f"{name!r} is not one of {', '.join(names)}")


def _check_out(path: Path) -> None:
    """Refuse now what could not be written after an hour of training."""
    special = path.exists() and not path.is_file()
    _require(not special, "--out", f"{path} is not a regular file")
    _require(path.parent.is_dir(), "--out", f"there is no folder {path.parent}")
    _require(os.access(path.parent, os.W_OK), "--out", f"cannot write in the folder {path.parent}")


# -- data and model ----------------------------------------------------------------------
def _read(path: Path | None, target: str | None) -> Table:
    if path is not None:
        return read_table(path, target)
    _require(target is None, "--target", "the digits have their labels; give DATA too")
    X, y = load_digits()
    return Table(X, y, tuple(f"pixel{i}" for i in range(X.shape[1])), "digit")


def _save(path: Path, net: DeepNet, table: Table, problem: Problem, model: str) -> None:
    """The net, and what turns a row of a table into its input and its output into an answer."""
    tensors = {"input_mean": problem.inputs.mean, "input_scale": problem.inputs.scale}
    if problem.targets is not None:
        tensors |= {"target_mean": problem.targets.mean, "target_scale": problem.targets.scale}
    data = {
        "task": problem.task,
        "model": model,
        "features": list(table.names),
        "target": table.target,
        "classes": None if problem.classes is None else problem.classes.tolist(),
    }
    net.save(path, data, tensors)


# -- what is shown -----------------------------------------------------------------------
def _summary(path: Path | None, problem: Problem) -> str:
    name = "handwritten digits" if path is None else path.name
    n_train, n_validation = len(problem.train), len(problem.validation or ())
    kind = "regression" if problem.classes is None else f"{len(problem.classes)} classes"
    parts = f"{n_train:,} to train on, {n_validation:,} to validate"
    return f"{name}: {problem.train.X.shape[0]:,} features, {kind}; {parts}"


def _figures(problem: Problem, progress: Progress) -> dict[str, float]:
    cost = {} if progress.cost is None else {"cost": progress.cost}
    return cost | problem.figures(progress.validation_cost, progress.validation_accuracy)


def _results(net: DeepNet, problem: Problem, history: History) -> dict[str, str]:
    place = net.backend
    rows = {
        "backend": place.name,
        "device": place.device_name,
        "dtype": place.dtype_name,
        "parameters": f"{net.n_parameters:,}",
        "epochs": str(len(history.cost)),
        "seconds": f"{history.seconds:.2f}",
        "cost": f"{history.cost[-1]:.4g}",
    }
    for name, part in (("training", problem.train), ("validation", problem.validation)):
        if part is not None:
            scores = problem.scores(net, part)
            rows |= {f"{name} {score}": text for score, text in scores.items()}
    return rows
