"""Going on from a checkpoint: which one, and whether it belongs to this run.

Each checkpoint records, beside the net, what its run was made of: the data and every option that
the parameters depend on. Only the device, the library and the number of epochs may change.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import xpnet
from xpnet.cli import output
from xpnet.cli.problem import Problem, UsageProblem
from xpnet.cli.recipe import Recipe, schedule_text
from xpnet.cli.settings import Settings
from xpnet.core import schedules
from xpnet.files.checkpoint import check_architecture
from xpnet.files.checkpoint_folder import latest

KEY = "run"  # in net.data of a checkpoint


def made_of(settings: Settings, recipe: Recipe, problem: Problem) -> dict[str, Any]:
    """What the parameters of a run depend on, as JSON can hold it.

    "data" is described by ``Problem.fingerprint``; the others are options by their long names.
    """
    schedule = schedules.prepared(recipe.schedule, settings.epochs)
    share = recipe.held_out if isinstance(recipe.held_out, float) else "a file"
    return {
        "data": problem.fingerprint,
        "options": {
            "task": problem.task,
            "dtype": settings.dtype,
            "seed": settings.seed,
            "validation": share,
            "stream": problem.streamed,
            "optimizer": settings.optimizer,
            "lr": recipe.optimizer.learning_rate,
            "batch-size": recipe.batch_size or "full",
            "schedule": schedule_text(schedule),
            "l2": recipe.l2,
            "l1": recipe.l1,
            "dropout": list(recipe.dropout),
            "clip-norm": recipe.clip_norm,
            "early-stopping": settings.early_stopping,
        },
    }


def find(folder: Path) -> Path | None:
    """The latest checkpoint; what was passed over on the way is told on stderr."""
    with warnings.catch_warnings(record=True) as passed:
        warnings.simplefilter("always")
        found = latest(folder)
    for warning in passed:
        output.tell(str(warning.message))
    return found


def begin(folder: Path, fresh: Any, made: dict[str, Any], settings: Settings) -> tuple[Any, str]:
    """The net of the last checkpoint, or ``fresh`` where there is none yet; and which, in words.

    Raises as ``go_on``.
    """
    found = find(folder)
    if found is None:
        return fresh, f"no checkpoint in {folder} yet: starting afresh"
    return go_on(found, fresh, made, settings), f"going on from {found}"


def go_on(path: Path, fresh: Any, made: dict[str, Any], settings: Settings) -> Any:
    """The net of a checkpoint, where ``fresh`` would begin anew.

    Raises
    ------
    ModelFileError
        It is of other data, another net, or other options; the message names both.
    UsageProblem
        It has been trained for more epochs than this run is to have.
    """
    net = xpnet.load(path, backend=settings.backend, device=settings.device)
    then = net.data.pop(KEY, None)
    if not isinstance(then, dict) or net.training_state is None:
        raise xpnet.ModelFileError(f"{path} is no checkpoint of xpnet train")
    _check_data(path, then.get("data"), made["data"])
    check_architecture(path, net, fresh)
    _check_options(path, then.get("options") or {}, made["options"])
    done = net.training_state.epoch
    if done > settings.epochs:
        raise UsageProblem(
            "--epochs", f"{path} has {done} epochs behind it; --epochs counts them too"
        )  # fmt: skip
    return net


def _check_data(path: Path, then: Any, now: dict[str, Any]) -> None:
    if not isinstance(then, dict) or any(then.get(k) != now[k] for k in now if k != "name"):
        raise xpnet.ModelFileError(
            f"{path} is a checkpoint of other data: {described(then)}, but this run has "
            f"{described(now)}"
        )


def described(said: Any) -> str:
    """The fingerprint of data, in words."""
    if not isinstance(said, dict):
        return "unknown"
    keys = ("rows", "features", "checksum")
    rest = ", ".join(f"{key} {said[key]}" for key in keys if key in said)
    return f"{said.get('name')} ({rest})"


def _check_options(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    for name, value in now.items():
        if then.get(name) != value:
            raise xpnet.ModelFileError(
                f"{path} was made with --{name} {_value(then.get(name))}, but this run has "
                f"--{name} {_value(value)}: go on with the former, or start afresh in another "
                "folder"
            )


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value)) or "0"
    return "none" if value is None else str(value)
