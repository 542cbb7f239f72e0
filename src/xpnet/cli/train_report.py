"""Reports data, progress and results of ``xpnet train``: as text, as JSON and as a picture."""

from __future__ import annotations

from math import nan
from pathlib import Path
from typing import Any

from xpnet.cli import output
from xpnet.cli.problem import Problem
from xpnet.cli.recipe import Recipe
from xpnet.cli.scores import as_text
from xpnet.cli.settings import Settings
from xpnet.files.atomic import open_atomically
from xpnet.training.history import CURVES, History, Progress

_WIDE = 10  # features per example: from here on a table was probably transposed
_PENALTIES = ("l2", "l1")  # arguments of fit


def announce(
    console: output.Console, settings: Settings, recipe: Recipe, problem: Problem, net: Any
) -> None:
    """Tell what is about to be trained, on what; a warning of a wide table goes to stderr."""
    for note in problem.notes:
        console.print_line(note)
    kind = "regression" if problem.classes is None else f"{len(problem.classes)} classes"
    n_train, n_validation = len(problem.train), len(problem.validation or ())
    how = ", streamed" if problem.streamed else ""
    console.print_line(
        f"{problem.name}: {len(problem.names):,} features, {kind}; {n_train:,} to train on, "
        f"{n_validation:,} to validate{how}"
    )
    if settings.task == "auto" and settings.model not in ("linear", "logistic"):
        other = "regression" if problem.task == "classification" else "classification"
        instead = f" (or --task {other})" if problem.labels.either else ""
        why = f"{problem.target!r} holds {problem.labels.described}"
        console.print_line(f"task: {problem.task}, as {why}{instead}")
    m, n, path = problem.labels.m, len(problem.columns.sources), settings.data
    if path is not None and n >= _WIDE * m:
        width = n + (path.suffix.lower() != ".npz")  # its labels are an array of their own
        output.tell(
            f"warning: {path}: shape ({m}, {width}) is {m:,} examples of {n:,} features, for "
            "examples are rows; if they are columns here, save the transpose (in NumPy: array.T)"
        )
    penalties = [f", {n} {recipe.fit[n]:g}" for n in _PENALTIES if recipe.fit[n]]
    rate = f", learning rate {recipe.fit['optimizer'].learning_rate:g}"
    console.print_line(
        f"{recipe.model}: {'-'.join(map(str, net.sizes))}, {recipe.optimizer}"
        f"{'' if recipe.solved else rate}{''.join(penalties)}"
    )


def cost_name(recipe: Recipe) -> str:
    """The name of the training cost, with the penalties that it includes."""
    return "+".join(["cost", *(name for name in _PENALTIES if recipe.fit[name])])


def figures(problem: Problem, progress: Progress, name: str, watched: bool) -> dict[str, float]:
    """Figures after an epoch: the cost by its ``name``, the validation cost if ``watched``."""
    cost, accuracy, r2 = progress.validation_cost, progress.validation_accuracy, None
    if problem.targets is not None and problem.validation is not None and cost is not None:
        # The cost is half the mean squared error of the standardised target.
        variance = problem.validation.variance
        r2 = 1.0 - 2 * cost / variance if variance > 0 else nan
    shown = {name: progress.cost, "validation cost": cost if watched else None}
    shown |= {"accuracy": accuracy, "R²": r2}
    return {name: value for name, value in shown.items() if value is not None}


def results(net: Any, problem: Problem, model: Path) -> dict[str, Any]:
    """What was trained, where and how long, and its scores on each part."""
    history, place = net.history, net.backend
    found: dict[str, Any] = {"model": str(model), "data": problem.fingerprint}
    found |= {"task": problem.task, "sizes": list(net.sizes), "backend": place.name}
    found |= {"device": place.device_name, "dtype": place.dtype_name}
    found |= {"parameters": net.n_parameters, "epochs": len(history.cost)}
    found |= {"seconds": history.seconds, "cost": history.cost[-1] if history.cost else None}
    for name, part in (("training", problem.train), ("validation", problem.validation)):
        found[name] = None if part is None else problem.scores(net, part)
    return found | {"history": {name: getattr(history, name) for name in CURVES}}


def as_rows(found: dict[str, Any], cost_name: str) -> dict[str, str]:
    """The results as names and text."""
    rows = {name: str(found[name]) for name in ("backend", "device", "dtype")}
    rows |= {"parameters": f"{found['parameters']:,}", "epochs": str(found["epochs"])}
    rows |= {"seconds": f"{found['seconds']:.2f}"}
    if found["cost"] is not None:
        rows[cost_name] = f"{found['cost']:.4g}"
    for name in ("training", "validation"):
        scores = list(as_text(found[name] or {}).items())
        shown = scores[:1] if found["validation"] and name == "training" else scores
        rows |= {f"{name} {score}": text for score, text in shown}
    return rows


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
