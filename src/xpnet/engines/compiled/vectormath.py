"""exp, expm1, log, log1p and tanh for compiled loops, in float32 and float64, without branches.

LLVM makes vectors of them, which it cannot of the C library's: a number takes a 30th to a third of
the time. They are at most 2 units in the last place off, tanh 3 (``test_vectormath.py``). NaN and
infinities give what they give in NumPy. What activations and losses do not need is left out:
``expm1`` is for x <= 0, ``log1p`` for 0 <= x <= 1, only ``tanh`` keeps the sign of a zero, and
``exp`` is 0 where e^x is below the least normal number, since subnormal numbers are slow.

Exponentials: x = n log 2 + r with an integer n and abs(r) <= log(2) / 2, so e^x = 2^n e^r.
Logarithms: x = 2^n (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), and
log(1 + f) = 2 artanh(s) = 2 (s + s^3 / 3 + ...) with s = f / (2 + f). The coefficients interpolate
the rest of both series at Chebyshev nodes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import overload

# Products are contracted, sums not reordered: the roundings are meant. Callers may do both, since
# such a licence belongs to the instructions of the function that was compiled with it.
OPTIONS = {"error_model": "numpy", "fastmath": {"contract"}}
compiled = njit(nogil=True, **OPTIONS)


def horner(coefficients: list[Any]) -> Any:
    """A polynomial in x; the coefficient of the highest power comes first."""
    *higher, last = coefficients
    if not higher:
        return compiled(lambda x: last)
    polynomial = horner(higher)
    return compiled(lambda x: polynomial(x) * x + last)


def functions(
    real: Any, limits: list[float], rest: float, e_series: list[float], artanh_series: list[float]
) -> dict[str, Any]:
    """The functions for a dtype.

    ``limits``: the least x where e^x is a normal number, and the largest where it is finite.
    ``rest``: log 2 without its first bits. Then the coefficients of (e^r - 1 - r) / r^2 in r, and
    of (2 artanh(s) / s - 2) / s^2 in s^2.
    """
    info = np.finfo(real)
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    infinity, nan = real(np.inf), real(np.nan)
    tiny, bits = info.tiny, info.nmant
    least, most = map(real, limits)
    round_ = real(1.5 * 2.0**bits)  # to add and subtract it rounds to an integer
    # log 2 in two parts: the product of the first with an exponent is exact
    exact = 2.0 ** (bits - info.nexp)
    high, low = real(math.floor(math.log(2) * exact) / exact), real(rest)
    per_log_2 = real(1 / math.log(2))
    border, grow, grown = real(math.sqrt(2) - 1), real(2.0**bits), real(bits)
    floor = real(-(bits + 2))  # e^x - 1 rounds to -1 well before
    power, artanh = horner([*map(real, e_series)]), horner([*map(real, artanh_series)])
    # the integers of the same bits; a sum of two has 64, and is cast back, which costs nothing
    word = np.dtype(f"i{info.dtype.itemsize}").type
    shift, root, of_0 = word(bits), real(math.sqrt(0.5)).view(word), round_.view(word)

    @compiled
    def times_power(x, t):  # type: ignore[no-untyped-def]
        """x 2^n, where the last bits of t are the integer n."""
        return word(real(x).view(word) + word(real(t).view(word) << shift)).view(real)

    @compiled
    def exponent(x):  # type: ignore[no-untyped-def]
        """The n that puts x 2^-n between sqrt(1/2) and sqrt(2)."""
        return word((word(real(x).view(word) - root) >> shift) + of_0).view(real) - round_

    @compiled
    def reduced(x):  # type: ignore[no-untyped-def]
        """e^r - 1, and a number whose last bits are n."""
        t = x * per_log_2 + round_
        n = t - round_
        r = (x - n * high) - n * low
        return r + (r * r) * power(r), t

    @compiled
    def exp(x):  # type: ignore[no-untyped-def]
        p, t = reduced(x)
        y = times_power(one + p, t)
        y = zero if x < least else y
        return y if x <= most else x + infinity  # NaN goes through

    @compiled
    def expm1(x):  # type: ignore[no-untyped-def]
        p, t = reduced(floor if x < floor else x)
        scale = times_power(one, t)
        return scale * p + (scale - one)

    @compiled
    def tanh(x):  # type: ignore[no-untyped-def]
        m = expm1(-two * abs(x))
        return math.copysign(m / (two + m), x)

    @compiled
    def log_of_parts(f, n):  # type: ignore[no-untyped-def]
        s, h = f / (two + f), half * f * f
        z = s * s
        tail = s * (h + z * artanh(z))  # log(1 + f) = f - h + tail
        return n * high - ((h - (tail + n * low)) - f)

    @compiled
    def log(x):  # type: ignore[no-untyped-def]
        subnormal = x < tiny
        y = x * (grow if subnormal else one)
        n = exponent(y)
        f = times_power(y, round_ - n) - one
        y = log_of_parts(f, n - (grown if subnormal else zero))
        y = y if x < infinity else x
        return y if x > zero else -infinity if x == zero else nan

    @compiled
    def log1p(x):  # type: ignore[no-untyped-def]
        above = x > border
        return log_of_parts(half * x - half if above else x, one if above else zero)

    return {"exp": exp, "expm1": expm1, "log": log, "log1p": log1p, "tanh": tanh}


FUNCTIONS = {
    types.float32: functions(
        np.float32,
        [-87.33654, 88.72283],
        1.4286068203094172e-6,
        [1.9880618e-4, 1.3926249e-3, 8.333323e-3, 4.1666552e-2, 1.6666667e-1, 0.5],
        [2.333104e-1, 2.85508e-1, 4.0000123e-1, 6.666667e-1],
    ),
    types.float64: functions(
        np.float64,
        [-708.3964185322641, 709.782712893384],
        2.8235290563031577e-13,
        [2.090850997050367e-9, 2.510047111368353e-8, 2.7557289551306855e-7]
        + [2.7557268279786557e-6, 2.4801587311927355e-5, 1.984126986316973e-4]
        + [1.3888888888888055e-3, 8.333333333330039e-3, 4.1666666666666664e-2]
        + [1.6666666666666669e-1, 0.5],
        [1.46171283998073e-1, 1.5331666676597175e-1, 1.818289077802613e-1]
        + [2.2222211112104948e-1, 2.857142862611452e-1, 3.99999999998992e-1, 6.66666666666667e-1],
    ),
}


def by_dtype(name: str) -> Any:
    """The function of a name, for compiled code; Numba takes the one of the argument's dtype."""

    def function(x: Any) -> Any:
        raise NotImplementedError("for compiled functions only")

    @overload(function, jit_options=OPTIONS)
    def choose(x):  # type: ignore[no-untyped-def]
        implementation = FUNCTIONS[x][name]
        return lambda x: implementation(x)

    return function


exp, expm1, log, log1p, tanh = map(by_dtype, ("exp", "expm1", "log", "log1p", "tanh"))
