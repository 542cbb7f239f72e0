"""What the options of ``xpnet train`` mean: widths, update rule, penalties, schedule."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from xpnet.cli.options import UsageProblem, check_backend, require
from xpnet.cli.settings import RULES, Settings
from xpnet.core import schedules

HIDDEN: dict[str, tuple[int, ...]] = {
    "linear": (),
    "logistic": (),
    "shallow": (64,),
    "deep": (128, 64),
}
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
    held_out : float or Path
        A share of the examples, or a file with others.
    """

    widths: tuple[int, ...]
    optimizer: Any
    batch_size: int | None
    l2: float
    l1: float
    dropout: tuple[float, ...]
    clip_norm: float | None
    schedule: schedules.Schedule
    held_out: float | Path

    @classmethod
    def of(cls, settings: Settings) -> Recipe:
        """Raises UsageProblem for what cannot be meant."""
        widths = _widths(settings.hidden, settings.model)
        named = f"{settings.optimizer!r} is not one of {', '.join(RULES)}"
        require(settings.optimizer in RULES, "--optimizer", named)
        rule = RULES[settings.optimizer]
        suited_rate = rule.rate if widths else rule.linear_rate
        rate = suited_rate if settings.lr is None else settings.lr
        require(rate > 0 and isfinite(rate), "--lr", f"{rate} is not a number above 0")
        l2 = (0.001 if widths else 0.0) if settings.l2 is None else settings.l2
        for option, value in (("--l2", l2), ("--l1", settings.l1)):
            fits = value >= 0 and isfinite(value)
            require(fits, option, f"{value} is not a number of at least 0")
        clip = settings.clip_norm
        fits = clip is None or (clip > 0 and isfinite(clip))
        require(fits, "--clip-norm", f"{clip} is not a number above 0")
        held_out = _held_out(settings.validation)
        require(
            settings.early_stopping is None or held_out != 0,
            "--early-stopping",
            "there is no validation part to watch; see --validation",
        )
        check_backend(settings.backend)
        return cls(
            widths,
            rule.kind(rate),
            _batch(settings.batch_size),
            l2,
            settings.l1,
            _dropout(settings.dropout, len(widths)),
            clip,
            _schedule(settings.schedule),
            held_out,
        )

    def fit_options(self) -> dict[str, Any]:
        """For ``DeepNet.fit``."""
        return {
            "optimizer": self.optimizer,
            "batch_size": self.batch_size,
            "l2": self.l2,
            "l1": self.l1,
            "dropout": self.dropout or 0.0,
            "clip_norm": self.clip_norm,
            "schedule": self.schedule,
        }


def _widths(text: str | None, model: str) -> tuple[int, ...]:
    """Hidden widths: as given, or the model's own."""
    if text is None:
        return HIDDEN[model]
    require(bool(HIDDEN[model]), "--hidden", f"a {model} model has no hidden layer")
    fields = [field.strip() for field in text.split(",")]
    whole = all(field.isascii() and field.isdecimal() and int(field) > 0 for field in fields)
    require(whole, "--hidden", f"{text!r} is no list of widths such as 256,128")
    one_too_many = model == "shallow" and len(fields) > 1
    require(not one_too_many, "--hidden", "a shallow net has one hidden layer; use --model deep")
    return tuple(int(field) for field in fields)


def _batch(text: str) -> int | None:
    if text == "full":
        return None
    whole = text.isascii() and text.isdecimal() and int(text) > 0
    require(whole, "--batch-size", f"{text!r} is neither a whole number above 0 nor full")
    return int(text)


def _dropout(text: str, n_hidden: int) -> tuple[float, ...]:
    """A rate for every hidden layer; () for none."""
    try:
        rates = [float(field) for field in text.split(",")]
    except ValueError:
        rates = [-1.0]
    fits = all(0 <= rate < 1 for rate in rates)
    require(fits, "--dropout", f"{text!r} is no share in [0, 1), nor a list of them")
    if not any(rates):
        return ()
    require(n_hidden > 0, "--dropout", "this model has no hidden layer")
    fits = len(rates) in (1, n_hidden)
    require(fits, "--dropout", f"{len(rates)} rates for {n_hidden} hidden layers")
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
    """``name:argument:argument``, for warm-up with ``+`` and what follows."""
    first, plus, rest = text.partition("+")
    name, *words = first.strip().split(":")
    names = ", ".join(SCHEDULES)
    require(name in SCHEDULES, "--schedule", f"{name!r} is none of {names}")
    kind, least, most = SCHEDULES[name]
    require(not plus or name == "warmup", "--schedule", "only warmup:EPOCHS takes a + SCHEDULE")
    fits = least <= len(words) <= most
    wanted = str(least) if least == most else f"{least} to {most}"
    require(
        fits, "--schedule", f"{first!r} has {len(words)} numbers after it; {name} takes {wanted}"
    )
    try:
        numbers: list[Any] = [float(word) for word in words]
        if plus:
            numbers.append(_schedule(rest))
        return kind(*numbers)
    except (ValueError, TypeError) as error:
        raise UsageProblem("--schedule", f"{text!r}: {error}") from None
