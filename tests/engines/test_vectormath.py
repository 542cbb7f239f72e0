"""The functions of compiled loops against NumPy's in a wider dtype, NaN and infinities included."""

import functools
import re

import numpy as np
import pytest

numba = pytest.importorskip("numba", reason="numba is not installed")
from xpnet.engines.compiled import vectormath

DTYPES = ("float32", "float64")
# The largest error in units of the last place, and where a function is defined.
LIMITS = {
    "exp": (2, lambda x: True),
    "expm1": (2, lambda x: x <= 0),
    "log": (2, lambda x: True),
    "log1p": (2, lambda x: (x >= 0) & (x <= 1)),
    "tanh": (3, lambda x: True),
}


@functools.cache
def compiled(name, dtype):
    """A function of arrays, compiled with the licences of the engine's loops."""
    function = getattr(vectormath, name)

    @numba.njit(error_model="numpy", fastmath={"reassoc", "contract"})
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    loop(np.ones(1, dtype), np.ones(1, dtype))
    return loop


def ours(name, x):
    y = np.empty_like(x)
    compiled(name, x.dtype.name)(x, y)
    return y


def check(name, x, wide):
    """NaN, infinity and exact values where NumPy has them, and the error elsewhere."""
    dtype, (limit, defined) = x.dtype, LIMITS[name]
    tiny = np.finfo(dtype).tiny
    with np.errstate(all="ignore"):
        x = x[defined(x) | np.isnan(x)]
        if not x.size:
            return
        exact = getattr(np, name)(x.astype(wide))
        if name == "exp":
            exact[exact < tiny] = 0
        y, rounded = ours(name, x), exact.astype(dtype)
        unit = np.spacing(np.maximum(np.abs(rounded), tiny)).astype(wide)
        same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
        off = np.where(same, 0, np.abs(y - exact) / unit)
        worst = np.argmax(np.where(np.isnan(off), np.inf, off))
        assert off[worst] <= limit, f"{name}({x[worst]!r}) is {y[worst]!r}, {off[worst]} units off"
        if name == "tanh":
            ends = np.abs(np.tanh(x)) == 1
            np.testing.assert_array_equal(y[ends], np.sign(x[ends]))


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("stride", [997, pytest.param(1, marks=pytest.mark.long)])
def test_every_float32(name, stride):
    for first in range(0, 2**32, 2**22):
        words = np.arange(first, first + 2**22, stride, np.uint32)
        check(name, words.view(np.float32), np.float64)


@pytest.mark.skipif(np.finfo(np.longdouble).nmant <= 52, reason="no type wider than float64")
@pytest.mark.parametrize("name", LIMITS)
def test_float64(name):
    words = np.arange(0, 2**64 - 2**45, 2**45 - 1, np.uint64)
    rng = np.random.default_rng(0)
    near = [rng.uniform(low, high, 50_000) for low, high in [(-800, 800), (-40, 2), (0, 2)]]
    check(name, np.concatenate([words.view(np.float64), *near]), np.longdouble)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_special_values(name, dtype):
    info = np.finfo(dtype)
    inf, small, tiny, most = np.inf, info.smallest_subnormal, info.tiny, info.max
    values = {
        "exp": (
            [np.nan, inf, -inf, 0, -0.0, small, most, -most],
            [np.nan, inf, 0, 1, 1, 1, inf, 0],
        ),
        "expm1": ([np.nan, -inf, -most, 0, -small, -tiny], [np.nan, -1, -1, 0, -small, -tiny]),
        "log": (
            [np.nan, inf, -inf, 0, -0.0, -small, 1],
            [np.nan, inf, np.nan, -inf, -inf, np.nan, 0],
        ),
        "log1p": ([np.nan, 0, small, tiny], [np.nan, 0, small, tiny]),
        "tanh": (
            [np.nan, inf, -inf, 0, -0.0, small, -tiny, most],
            [np.nan, 1, -1, 0, -0.0, small, -tiny, 1],
        ),
    }
    x, expected = (np.array(a, dtype) for a in values[name])
    y = ours(name, x)
    np.testing.assert_array_equal(y, expected)
    if name == "tanh":
        np.testing.assert_array_equal(np.signbit(y[1:]), np.signbit(expected[1:]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LIMITS)
def test_loops_are_vectorised_and_sums_not_reordered(name, dtype):
    """The functions keep their own licences where they are inlined into a loop with more."""
    (code,) = compiled(name, dtype).inspect_llvm().values()
    number = {"float32": "float", "float64": "double"}[dtype]
    assert re.search(rf"fmul contract <\d+ x {number}>", code)
