"""Interprets the options of ``xpnet train``: widths, optimiser, penalties, dropout, schedule."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf
from pathlib import Path
from typing import Any

from xpnet.cli.options import UsageProblem, check_backend, is_count, require, widths_of
from xpnet.cli.settings import RULES, SOLVER, Settings
from xpnet.core import schedules

HIDDEN: dict[str, tuple[int, ...]] = {
    "linear": (),
    "logistic": (),
    "shallow": (64,),
    "deep": (128, 64),
}
# Only training by minibatches has them: whoever gives one of them asks for it.
OF_MINIBATCHES = ("optimizer", "lr", "epochs", "batch_size", "schedule", "clip_norm",
                  "early_stopping", "checkpoint_dir")  # fmt: skip
# The least and the greatest number of arguments of each schedule.
SCHEDULES: dict[str, tuple[type[schedules.Schedule], int, int]] = {
    "constant": (schedules.Constant, 0, 0),
    "cosine": (schedules.Cosine, 0, 2),
    "step": (schedules.Step, 1, 2),
    "exponential": (schedules.Exponential, 1, 1),
    "inverse": (schedules.InverseScaling, 0, 1),
    "plateau": (schedules.Plateau, 0, 2),
    "warmup": (schedules.WarmUp, 1, 1),
}


@dataclass(frozen=True)
class Recipe:
    """The options, checked and understood.

    Attributes
    ----------
    model : str
        What the net is: linear, logistic, shallow or, from two hidden layers on, deep.
    widths : tuple of int
        Of the hidden layers.
    held_out : float or Path
        A share of the examples, or a file with others.
    optimizer : str
        As ``--optimizer`` names it.
    epochs : int
        Or the most iterations of L-BFGS.
    fit : dict
        What ``DeepNet.fit`` takes: optimizer, batch_size, schedule, l2, l1, dropout, clip_norm.
    """

    model: str
    widths: tuple[int, ...]
    held_out: float | Path
    optimizer: str
    epochs: int
    fit: dict[str, Any]

    @property
    def solved(self) -> bool:
        """Whether L-BFGS finds the least cost, in place of epochs of minibatches."""
        return self.optimizer == SOLVER

    @classmethod
    def of(cls, settings: Settings, streamed: bool = False, m: float = inf) -> Recipe:
        """For ``m`` examples, where the default of ``l2`` needs to know; ``streamed`` or not.

        Raises UsageProblem for what cannot be meant.
        """
        widths = _widths(settings.hidden, settings.model)
        optimizer = _optimizer(settings, streamed or bool(settings.stream))
        rule = RULES["adam" if optimizer == SOLVER else optimizer]
        suited_rate = rule.rate if widths else rule.linear_rate
        rate = suited_rate if settings.lr is None else settings.lr
        suited_l2 = 0.001 if widths else 1 / m if optimizer == SOLVER else 0.0
        l2 = suited_l2 if settings.l2 is None else settings.l2
        for option, value in (("--lr", rate), ("--clip-norm", settings.clip_norm)):
            require(value is None or 0 < value < inf, option, f"{value} is not a number above 0")
        for option, value in (("--l2", l2), ("--l1", settings.l1)):
            require(0 <= value < inf, option, f"{value} is not a number of at least 0")
        held_out = _held_out(settings.validation)
        require(settings.early_stopping is None or held_out != 0, "--early-stopping",
                "there is no validation part to watch; see --validation")  # fmt: skip
        check_backend(settings.backend)
        batch = settings.batch_size or "32"
        wrong = f"{batch!r} is neither a whole number above 0 nor full"
        require(batch == "full" or is_count(batch), "--batch-size", wrong)
        fit = {
            "optimizer": rule.kind(rate),
            "batch_size": None if batch == "full" else int(batch),
            "schedule": _schedule(settings.schedule or "constant"),
            "l2": l2,
            "l1": settings.l1,
            "dropout": _dropout(settings.dropout, len(widths)) or 0.0,
            "clip_norm": settings.clip_norm,
        }
        epochs = 5000 if optimizer == SOLVER else settings.epochs or 50
        model = ("shallow" if len(widths) == 1 else "deep") if widths else settings.model
        return cls(model, widths, held_out, optimizer, epochs, fit)


def _optimizer(settings: Settings, streamed: bool) -> str:
    """The one asked for; else L-BFGS for what it can solve, unless minibatches are asked for."""
    linear, known = not HIDDEN[settings.model], [*RULES, SOLVER]
    asked = [name for name in OF_MINIBATCHES if getattr(settings, name) is not None]
    solvable = linear and not streamed
    chosen = settings.optimizer or (SOLVER if solvable and not asked else "adam")
    require(chosen in known, "--optimizer", f"{chosen!r} is not one of {', '.join(known)}")
    if chosen == SOLVER:
        require(solvable, "--optimizer", f"{SOLVER} is for linear and logistic models in memory")
        for name in asked[settings.optimizer is not None :]:
            raise UsageProblem(f"--{name.replace('_', '-')}", f"--optimizer {SOLVER} has none")
        require(not settings.resume, "--resume", f"a {settings.model} model is solved in one go, "
                "without checkpoints: leave --resume out, or name an --optimizer")  # fmt: skip
    return chosen


def _widths(text: str | None, model: str) -> tuple[int, ...]:
    """Hidden widths: as given, or the model's own."""
    if text is None:
        return HIDDEN[model]
    require(bool(HIDDEN[model]), "--hidden", f"a {model} model has no hidden layer")
    widths = widths_of(text)
    one_too_many = model == "shallow" and len(widths) > 1
    require(not one_too_many, "--hidden", "a shallow net has one hidden layer; use --model deep")
    return widths


def _dropout(text: str, n_hidden: int) -> tuple[float, ...]:
    """A probability for every hidden layer; () for none."""
    try:
        rates = [float(field) for field in text.split(",")]
    except ValueError:
        rates = [-1.0]
    wrong = f"{text!r} is no probability in [0, 1), nor a list of them"
    require(all(0 <= rate < 1 for rate in rates), "--dropout", wrong)
    if not any(rates):
        return ()
    require(n_hidden > 0, "--dropout", "this model has no hidden layer")
    wrong = f"{len(rates)} probabilities for {n_hidden} hidden layers"
    require(len(rates) in (1, n_hidden), "--dropout", wrong)
    return tuple(rates * n_hidden if len(rates) == 1 else rates)


def _held_out(text: str) -> float | Path:
    """A share in [0, 1), or the name of a file."""
    try:
        share = float(text)
    except ValueError:
        path = Path(text)
        require(path.suffix != "" or path.exists(), "--validation",
                f"{text!r} is neither a share in [0, 1) nor a file")  # fmt: skip
        return path
    require(0 <= share < 1, "--validation", f"{share} is not in [0, 1)")
    return share


def schedule_text(schedule: Any) -> str:
    """The text that ``--schedule`` would take for it, with every number."""
    name = next(name for name, (kind, _, _) in SCHEDULES.items() if type(schedule) is kind)
    most = SCHEDULES[name][2]
    numbers = [getattr(schedule, field.name) for field in fields(schedule)[:most]]
    then = getattr(schedule, "then", None)
    text = ":".join([name, *(str(n).removesuffix(".0") for n in numbers if n is not None)])
    return text if then in (None, schedules.Constant()) else f"{text}+{schedule_text(then)}"


def _schedule(text: str) -> schedules.Schedule:
    """Read ``name:number:number``, for warm-up with ``+`` and the schedule that follows."""
    first, plus, rest = text.partition("+")
    name, *words = first.strip().split(":")
    known = f"{name!r} is none of {', '.join(SCHEDULES)}"
    require(name in SCHEDULES, "--schedule", known)
    kind, least, most = SCHEDULES[name]
    require(not plus or name == "warmup", "--schedule", "only warmup:EPOCHS takes a + SCHEDULE")
    wanted = str(least) if least == most else f"{least} to {most}"
    wrong = f"{first!r} has {len(words)} numbers after it; {name} takes {wanted}"
    require(least <= len(words) <= most, "--schedule", wrong)
    try:
        return kind(*map(float, words), *([_schedule(rest)] if plus else []))
    except (ValueError, TypeError) as error:
        raise UsageProblem("--schedule", f"{text!r}: {error}") from None
