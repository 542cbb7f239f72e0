"""Checks of numbers that a user sets; a message names the setting, its value and its limits."""

from __future__ import annotations

from dataclasses import MISSING, field, fields
from math import inf
from operator import index
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """Numbers from ``least`` on, or above it if ``above``, that lie below ``below``."""

    least: float = 0.0
    below: float = inf
    above: bool = False
    whole: bool = False

    def __contains__(self, number: object) -> bool:
        assert isinstance(number, float)
        enough = number > self.least if self.above else number >= self.least
        return enough and number < self.below and not (self.whole and number != int(number))

    def __str__(self) -> str:
        whole = "be a whole number, and " if self.whole else ""
        if self.below < inf:
            return f"{whole}lie in {'(' if self.above else '['}{self.least:g}, {self.below:g})"
        return f"{whole}be finite and {'above' if self.above else 'at least'} {self.least:g}"


NOT_NEGATIVE = Limits()
POSITIVE = Limits(above=True)
PROBABILITY = Limits(below=1.0)  # of dropout, for one: 1 would leave nothing


def check_count(value: Any, name: str, least: int) -> int:
    try:
        count = index(value if not isinstance(value, bool) else None)  # type: ignore[arg-type]
    except TypeError as error:
        raise TypeError(f"{name}={value!r}: expected a whole number") from error
    if count < least:
        raise ValueError(f"{name}={count}: must be at least {least}")
    return count


def check_number(value: Any, name: str, limits: Limits = NOT_NEGATIVE, *, owner: str = "") -> float:
    """A Python float: a NumPy scalar would promote a float32 net on a GPU to float64."""
    said = f"{owner}({name}={value!r})" if owner else f"{name}={value!r}"
    try:
        number = float("" if limits.whole and isinstance(value, bool) else value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{said}: expected a number") from error
    if number not in limits:
        raise ValueError(f"{said}: must {limits}")
    return number


class CheckedNumbers:
    """Base of frozen dataclasses: their floats, and the fields made by ``number``, are checked.

    A float without limits of its own must be finite and at least 0.
    """

    def __post_init__(self) -> None:
        for f in fields(self):  # type: ignore[arg-type]
            limits = f.metadata.get("limits") or NOT_NEGATIVE
            value = getattr(self, f.name)
            wanted = f.metadata or f.type in ("float", float)
            if not wanted or (value is None and f.default is None):
                continue
            checked = check_number(value, f.name, limits, owner=type(self).__name__)
            object.__setattr__(self, f.name, int(checked) if limits.whole else checked)


def number(default: Any = MISSING, **limits: Any) -> Any:
    """A field of a ``CheckedNumbers`` with these ``Limits``."""
    return field(default=default, metadata={"limits": Limits(**limits)})
