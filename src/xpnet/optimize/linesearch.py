"""Line searches: strong Wolfe steps for smooth functions, backtracking for an l1 penalty.

They read of a point on the line a few numbers; its vectors stay on their device.

Sources: Moré & Thuente 1994, "Line search algorithms with guaranteed sufficient decrease"; Nocedal
& Wright 2006, chapter 3; Hager & Zhang 2005, "A new conjugate gradient method", for steps so short
that the value changes by less than its rounding; Andrew & Gao 2007, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet._typing import Array

DECREASE = 1e-3  # sufficient decrease asked of a strong Wolfe step (c1 in Nocedal & Wright, 3.7)
CURVATURE = 0.9  # part of the slope that may remain (c2)
ARMIJO = 1e-4  # sufficient decrease asked of a backtracking step
NARROW = 0.1  # a bracket this narrow, relative to its upper end, is not searched further


class Point(NamedTuple):
    """An evaluated point: its vectors on the device, and the numbers of it that the host needs.

    The searches read ``value``, ``before``, ``after`` and ``finite`` alone.
    """

    x: Array  # (n,)
    gradient: Array  # (n,)
    rows: Array  # (3, n): s, y, p
    value: float
    norm: float  # max |p|
    before: float  # s.p with the p where the step began: the step times the slope there
    inner: np.ndarray  # (3, 3), rows @ rows.T
    products: np.ndarray  # (2k, 3), pairs @ rows.T

    @property
    def p(self) -> Array:
        return self.rows[2, :]

    @property
    def after(self) -> float:
        """s.p, the step times the slope at its end."""
        return float(self.inner[0, 2])

    @property
    def finite(self) -> bool:
        """Whether its numbers are: a finite gradient may have squares that overflow."""
        return all(map(math.isfinite, (self.value, self.norm, self.inner.trace())))


class _End(NamedTuple):
    """A point of the line: the step from its start, value and slope."""

    step: float
    value: float
    slope: float


class _Bracket:
    """The interval that is searched: its ends, and the limits of the next step.

    ``low`` is the best point so far, ``high`` the other end. They hold a minimiser between them
    once ``bracketed``.
    """

    def __init__(self, start: _End, step: float) -> None:
        self.low = self.high = start
        self.bracketed = False
        self.lower, self.upper = 0.0, 5.0 * step
        self._widths = math.inf, math.inf

    def shorten(self, step: float) -> float:
        """The next step after one to a point that is not finite."""
        self.high, self.bracketed, self.upper = _End(step, math.inf, math.inf), True, step
        return self.low.step + 0.1 * (step - self.low.step)

    def narrow(self, here: _End, tilt: float) -> float:
        """Makes ``here`` an end; the next step. ``tilt`` is taken off all slopes."""
        a, b, c = (
            _End(e.step, e.value - tilt * e.step, e.slope - tilt)
            for e in (self.low, self.high, here)
        )
        step = _next_step(a, b, c, self.bracketed, self.lower, self.upper)
        if c.value > a.value:
            self.high, self.bracketed = here, True
        else:
            if c.slope * a.slope < 0:
                self.high, self.bracketed = self.low, True
            self.low = here
        if not self.bracketed:
            self.lower, self.upper = (step + f * (step - here.step) for f in (1.1, 4.0))
            return step
        self.lower, self.upper = sorted((self.low.step, self.high.step))
        width = self.upper - self.lower
        if width >= 0.66 * self._widths[0] or math.isnan(step):  # two steps took off under a third
            step = (self.lower + self.upper) / 2
        self._widths = (self._widths[1], width)
        return step

    def exhausted(self, step: float) -> bool:
        """Whether the interval is too narrow to search, or does not contain ``step``."""
        tight = self.upper - self.lower <= NARROW * self.upper
        return self.bracketed and (tight or not self.lower < step < self.upper)


def strong_wolfe(
    move: Callable[[float], Point], value0: float, noise: float, step: float, trials: int
) -> Point | None:
    """A point that satisfies the strong Wolfe conditions (Moré & Thuente 1994).

    If trials or precision are exhausted, the best point so far; None where no step lowers the
    value.
    """
    point = move(step)
    slope0 = point.before / step
    if not slope0 < 0:
        return None
    best, tilted, bracket = None, True, _Bracket(_End(0.0, value0, slope0), step)
    for trial in range(trials):
        point = move(step) if trial else point
        if point.before == 0:  # the step is lost in rounding
            break
        if not point.finite:
            step = bracket.shorten(step)
            continue
        here = _End(step, point.value, point.after / step)
        enough = here.value <= value0 + DECREASE * step * slope0
        # Within the rounding of the value the slopes alone decide (Hager & Zhang 2005, eq. 4.1).
        flat = abs(here.value - value0) <= noise
        if (enough or flat) and abs(here.slope) <= -CURVATURE * slope0:
            return point

        # Until a point has enough decrease and a rising slope, the search is for a minimiser of
        # the value minus the decrease asked for (psi of their section 2).
        tilted = tilted and not (enough and here.slope >= 0)
        lower = here.value <= bracket.low.value
        tilt = DECREASE * slope0 if tilted and not enough and lower else 0.0
        step = bracket.narrow(here, tilt)
        if bracket.low is here:
            best = point
        if bracket.exhausted(step):
            break
    return best if best is not None and best.value < value0 else None


def _next_step(
    low: _End, high: _End, here: _End, bracketed: bool, lower: float, upper: float
) -> float:
    """The next trial step, by the four cases of Moré & Thuente 1994, section 4."""
    way = here.step - low.step
    if here.value > low.value:  # 1: higher, a minimiser lies between
        cubic = _cubic(low, here)
        mean = (here.value - low.value) / way
        quadratic = low.step + way * low.slope / (low.slope - mean) / 2
        nearer = abs(cubic - low.step) < abs(quadratic - low.step)
        return cubic if nearer else (cubic + quadratic) / 2
    turned = here.slope * low.slope < 0
    ahead = upper if way > 0 else lower
    if not turned and abs(here.slope) >= abs(low.slope):  # 4: lower, and no less steep
        return _cubic(here, high) if bracketed else ahead
    cubic = _cubic(here, low)
    secant = here.step - way * here.slope / (here.slope - low.slope)
    if not turned and not (cubic - here.step) * way > 0:  # no minimiser ahead
        cubic = ahead
    near, far = sorted((cubic, secant), key=lambda step: abs(step - here.step))
    if turned:  # 2: lower, a minimiser lies between
        return far
    if not bracketed:  # 3: lower, and levelling off
        return min(max(far, lower), upper)
    limit = here.step + 0.66 * (high.step - here.step)
    return min(near, limit) if way > 0 else max(near, limit)


def _cubic(a: _End, b: _End) -> float:
    """The minimiser of the cubic through both ends (Nocedal & Wright, 3.59); NaN without one."""
    theta = 3.0 * (a.value - b.value) / (b.step - a.step) + a.slope + b.slope
    scale = max(abs(theta), abs(a.slope), abs(b.slope))
    radicand = (theta / scale) ** 2 - (a.slope / scale) * (b.slope / scale)
    if not radicand > 0:
        return math.nan
    gamma = math.copysign(scale * math.sqrt(radicand), b.step - a.step)
    part = (gamma - a.slope + theta) / (2.0 * gamma - a.slope + b.slope)
    return a.step + part * (b.step - a.step)


def backtrack(
    move: Callable[[float], Point], value0: float, noise: float, step: float, trials: int
) -> Point | None:
    """The first of step, step/2, step/4, ... that lowers the value enough, or None.

    Andrew & Gao 2007, section 3.2.
    """
    for trial in range(trials):
        point = move(step * 0.5**trial)
        if point.before == 0:  # the step is lost in rounding
            break
        enough = point.before < 0 and point.value <= value0 + ARMIJO * point.before
        if point.finite and (enough or abs(point.value - value0) <= noise):
            return point
    return None
