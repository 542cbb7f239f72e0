"""What ``xpnet train`` says of its data, its progress and its result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xpnet.cli import output
from xpnet.cli.output import Console
from xpnet.cli.problem import Problem
from xpnet.cli.recipe import Recipe
from xpnet.cli.scores import as_text
from xpnet.cli.settings import Settings
from xpnet.files.atomic import open_atomically
from xpnet.training.history import History, Progress

_WIDE = 10  # features per example from which a table may have been meant the other way round
_PENALTIES = ("l2", "l1")  # fields of Recipe


def announce(
    console: Console, settings: Settings, recipe: Recipe, problem: Problem, net: Any
) -> None:
    """What is about to be trained, on what; a warning of the data goes to stderr."""
    console.line_of(summary(problem))
    if settings.task == "auto" and settings.model not in ("linear", "logistic"):
        console.line_of(why_this_task(problem))
    warning = warning_of_shape(problem, settings.data)
    if warning is not None:
        output.tell(warning)
    console.line_of(
        f"{settings.model}: {'-'.join(map(str, net.sizes))}, {settings.optimizer}, "
        f"learning rate {recipe.optimizer.learning_rate:g}{penalties(recipe)}"
    )


def summary(problem: Problem) -> str:
    """The data in one line."""
    n_train, n_validation = len(problem.train), len(problem.validation or ())
    kind = "regression" if problem.classes is None else f"{len(problem.classes)} classes"
    parts = f"{n_train:,} to train on, {n_validation:,} to validate"
    how = ", streamed" if problem.streamed else ""
    name = problem.fingerprint["name"]
    return f"{name}: {len(problem.names):,} features, {kind}; {parts}{how}"


def why_this_task(problem: Problem) -> str:
    """The task and what in the labels decided it, in one line."""
    other = "regression" if problem.task == "classification" else "classification"
    instead = f" (or --task {other})" if problem.labels.either else ""
    return f"task: {problem.task}, as {problem.target!r} holds {problem.labels.described}{instead}"


def warning_of_shape(problem: Problem, path: Path | None) -> str | None:
    """A table so wide that its examples may be its columns."""
    m, n = problem.fingerprint["rows"], problem.fingerprint["features"]
    if path is None or n < _WIDE * m:
        return None
    width = n + (path.suffix.lower() != ".npz")  # its labels are an array of their own
    return (
        f"warning: {path}: shape ({m}, {width}) is {m:,} examples of {n:,} features, for examples "
        "are rows; if they are columns here, save the transpose (in NumPy: array.T)"
    )


def cost_name(recipe: Recipe) -> str:
    """What the training cost is called: its penalties, which no other figure has, are named."""
    return "+".join(["cost", *(name for name in _PENALTIES if getattr(recipe, name))])


def penalties(recipe: Recipe) -> str:
    """The end of a line: those that are there, with their coefficients."""
    return "".join(f", {n} {getattr(recipe, n):g}" for n in _PENALTIES if getattr(recipe, n))


def figures(
    problem: Problem, progress: Progress, name: str, watched: bool = False
) -> dict[str, float]:
    """What is shown after an epoch: the cost by its ``name``, the validation cost if watched."""
    cost, validation = progress.cost, progress.validation_cost
    shown = {} if cost is None else {name: cost}
    if watched and validation is not None:
        shown["validation cost"] = validation
    return shown | problem.figures(validation, progress.validation_accuracy)


def results(net: Any, problem: Problem) -> dict[str, Any]:
    """Where and how long it was trained, and how well it does on each part."""
    history = net.history
    found: dict[str, Any] = {
        "backend": net.backend.name,
        "device": net.backend.device_name,
        "dtype": net.backend.dtype_name,
        "parameters": net.n_parameters,
        "epochs": len(history.cost),
        "seconds": history.seconds,
        "cost": history.cost[-1] if history.cost else None,
    }
    for name, part in (("training", problem.train), ("validation", problem.validation)):
        if part is not None:
            found[name] = problem.scores(net, part)
    return found


def as_rows(found: dict[str, Any], cost_name: str) -> dict[str, str]:
    """The results as names and text."""
    rows = {name: str(found[name]) for name in ("backend", "device", "dtype")}
    rows |= {
        "parameters": f"{found['parameters']:,}",
        "epochs": str(found["epochs"]),
        "seconds": f"{found['seconds']:.2f}",
    }
    if found["cost"] is not None:
        rows[cost_name] = f"{found['cost']:.4g}"
    for name in ("training", "validation"):
        scores = as_text(found.get(name, {}))
        rows |= {f"{name} {score}": text for score, text in scores.items()}
    return rows


def as_json(
    found: dict[str, Any], net: Any, problem: Problem, model: Path, more: dict[str, Any]
) -> dict[str, Any]:
    """The results for scripts; R² is r2, RMSE is rmse."""
    result: dict[str, Any] = {
        "model": str(model),
        "data": problem.fingerprint,
        "task": problem.task,
        "sizes": list(net.sizes),
        **found,
        **more,
    }
    for name in ("training", "validation"):
        scores = found.get(name)
        result[name] = scores and {k.replace("R²", "r2").lower(): v for k, v in scores.items()}
    history = net.history
    result["history"] = {
        "cost": history.cost,
        "validation_cost": history.validation_cost,
        "validation_accuracy": history.validation_accuracy,
    }
    return result


def draw_curve(history: History, path: Path) -> None:
    """Draw costs and accuracy over the epochs, as .svg, .png or .pdf; nothing without epochs.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    if not history.cost:
        return
    from matplotlib import rc_context
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    from xpnet.plotting import LearningCurveDisplay

    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    LearningCurveDisplay.from_history(history, ax=figure.subplots())
    kind = path.suffix.lower().removeprefix(".")
    # No date and no random names, so that the same run gives the same picture.
    dateless = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    with open_atomically(path) as file, rc_context({"svg.hashsalt": "xpnet"}):
        figure.savefig(file, format=kind, metadata=dateless.get(kind))
