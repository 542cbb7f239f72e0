"""The one check of numbers that a user sets."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import pytest

from xpnet.core.settings import POSITIVE, CheckedNumbers, Limits, check_count, check_number, number


@pytest.mark.parametrize(
    ("value", "limits", "error", "said"),
    [
        (-1, Limits(), ValueError, "rate=-1: must be finite and at least 0"),
        (float("nan"), Limits(), ValueError, "rate=nan: must be finite"),
        (float("inf"), Limits(), ValueError, "rate=inf: must be finite"),
        (0, POSITIVE, ValueError, "rate=0: must be finite and above 0"),
        (1, Limits(below=1), ValueError, r"rate=1: must lie in \[0, 1\)"),
        (0, Limits(above=True, below=2), ValueError, r"must lie in \(0, 2\)"),
        (True, Limits(whole=True), TypeError, "rate=True: expected a number"),
        (1.5, Limits(whole=True), ValueError, "must be a whole number, and be finite and at least"),
        ("much", Limits(), TypeError, "rate='much': expected a number"),
        (None, Limits(), TypeError, "rate=None: expected a number"),
    ],
)
def test_numbers_out_of_their_limits(value, limits, error, said):
    with pytest.raises(error, match=said):
        check_number(value, "rate", limits)


def test_numbers_become_python_floats():
    assert type(check_number(np.float32(0.5), "rate")) is float
    assert check_number(0, "rate") == 0.0


def test_counts():
    assert check_count(np.int64(3), "epochs", 1) == 3
    for none in (3.0, True, np.True_):
        with pytest.raises(TypeError, match=f"epochs={re.escape(repr(none))}: expected a whole"):
            check_count(none, "epochs", 1)
    with pytest.raises(ValueError, match="epochs=0: must be at least 1"):
        check_count(0, "epochs", 1)


@dataclass(frozen=True)
class Some(CheckedNumbers):
    rate: float
    share: float = number(0.5, below=1.0)
    steps: int = number(3, whole=True)
    length: float | None = number(None, above=True)
    name: str = "some"


def test_fields_are_checked_by_their_limits():
    some = Some(np.float64(2), steps=4.0)
    assert some == Some(2.0, 0.5, 4, None, "some")
    assert (type(some.rate), type(some.steps)) == (float, int)
    for wrong in ({"rate": -1}, {"share": 1.0}, {"steps": 0.5}, {"length": 0}):
        ((name, value),) = wrong.items()
        with pytest.raises(ValueError, match=rf"Some\({name}={value}\): must"):
            Some(**{"rate": 1.0} | wrong)
