"""L-BFGS and OWL-QN against SciPy and scikit-learn, on every library, with one transfer a time."""

from __future__ import annotations

import math

import numpy as np
import pytest
from array_api_compat import array_namespace
from helpers import Reused

from xpnet.optimize import lbfgs as quasinewton
from xpnet.optimize import linesearch
from xpnet.optimize.lbfgs import LbfgsResult, lbfgs


def namespace(lib):
    return array_namespace(lib.asarray(np.zeros(1)))


def rosenbrock(lib):
    """sum(100 (x[i+1] - x[i]^2)^2 + (1 - x[i])^2) and its gradient, in the library's functions."""
    xp = namespace(lib)

    def fun(x):
        head, tail = x[:-1], x[1:]
        a, b = tail - head * head, 1.0 - head
        zero = xp.zeros_like(x[:1])
        low = xp.concat([-400.0 * head * a - 2.0 * b, zero])
        return xp.sum(100.0 * a * a + b * b), low + xp.concat([zero, 200.0 * a])

    return fun


def logistic(lib, X, Y, l2):
    """Mean cross-entropy of X (m, d) @ W (d, k) with Y (m, k) one-hot, plus l2/2 |W|^2."""
    xp, shape, X, Y = namespace(lib), (X.shape[1], Y.shape[1]), lib.asarray(X), lib.asarray(Y)
    m = X.shape[0]

    def fun(w):
        W = xp.reshape(w, shape)
        Z = X @ W
        Z = Z - xp.max(Z, axis=1, keepdims=True)
        E = xp.exp(Z)
        S = xp.sum(E, axis=1, keepdims=True)
        value = xp.sum(xp.log(S)) / m - xp.sum(Y * Z) / m + 0.5 * l2 * xp.sum(w * w)
        return value, xp.reshape(xp.matrix_transpose(X) @ (E / S - Y) / m, (-1,)) + l2 * w

    return fun


def drawn(m=200, d=12, k=3, spread=0.0, seed=0, dtype="float64"):
    """X (m, d) whose columns' scales run from 1 to 10**spread, labels one-hot (m, k)."""
    rng = np.random.default_rng(seed)
    scales = np.logspace(0, spread, d)
    X = rng.normal(size=(m, d))
    labels = np.argmax(X @ rng.normal(size=(d, k)) + rng.gumbel(size=(m, k)), axis=1)
    return (X * scales).astype(dtype), np.eye(k, dtype=dtype)[labels]


def quadratic(lib, curvatures):
    """x.D x/2 with D diagonal."""
    xp, D = namespace(lib), lib.asarray(curvatures)
    return lambda x: (0.5 * xp.sum(D * x * x), D * x)


class Numpy:
    """NumPy, for the tests that compare with SciPy, which takes no other arrays."""

    xp = np
    asarray = staticmethod(np.asarray)


def starts(n):
    return np.resize([-1.2, 1.0], n)


# -- against SciPy -------------------------------------------------------------------------
PROBLEMS = {
    **{f"rosenbrock-{n}": (rosenbrock(Numpy), starts(n)) for n in (2, 10, 30, 100)},
    "rosenbrock-random": (rosenbrock(Numpy), np.random.default_rng(3).normal(size=40)),
    **{
        f"logistic-{k}-classes-spread-{spread}-l2-{l2}": (
            logistic(Numpy, *drawn(k=k, spread=spread, seed=k), l2),
            np.zeros(12 * k),
        )
        for k in (2, 4)
        for spread in (0.0, 1.0)
        for l2 in (1e-2, 1e-4)
    },
}


def scipy_minimize(fun, x0, *, tol, ftol, max_iter=15_000):
    optimize = pytest.importorskip("scipy.optimize")
    options = {"gtol": tol, "ftol": ftol, "maxcor": 10, "maxfun": 15_000, "maxiter": max_iter}
    return optimize.minimize(fun, x0, jac=True, method="L-BFGS-B", options=options)


@pytest.mark.parametrize(("tol", "ftol"), [(1e-5, 2.2e-9), (1e-7, 0.0)])
@pytest.mark.parametrize("name", PROBLEMS)
def test_takes_no_more_evaluations_than_scipy(name, tol, ftol):
    fun, x0 = PROBLEMS[name]
    theirs = scipy_minimize(fun, x0, tol=tol, ftol=ftol)
    ours = lbfgs(fun, x0, tol=tol, ftol=ftol)
    assert ours.converged, ours.message
    assert ours.evaluations <= max(1.2 * theirs.nfev, theirs.nfev + 2)
    assert ours.value <= theirs.fun + max(10 * ftol, 1e-12)


@pytest.mark.parametrize("name", PROBLEMS)
def test_begins_with_the_iterations_of_scipy(name):
    fun, x0 = PROBLEMS[name]
    theirs = scipy_minimize(fun, x0, tol=0.0, ftol=0.0, max_iter=8)
    ours = lbfgs(fun, x0, tol=0.0, ftol=0.0, max_iter=8)
    assert (ours.iterations, ours.evaluations) == (theirs.nit, theirs.nfev)
    np.testing.assert_allclose(ours.x, theirs.x, rtol=1e-7, atol=1e-9)


def test_ill_scaled_problem_on_average_over_starts():
    # At a condition number of 1e6 one run's count is chance: rounding moves it by +- 30 %.
    fun = logistic(Numpy, *drawn(spread=2.0), 1e-4)
    ours, theirs, worse = 0, 0, []
    for seed in range(6):
        x0 = 1e-3 * np.random.default_rng(seed).normal(size=36)
        a, b = lbfgs(fun, x0), scipy_minimize(fun, x0, tol=1e-5, ftol=2.2e-9)
        ours, theirs = ours + a.evaluations, theirs + b.nfev
        worse.append(a.value - b.fun)
    assert ours <= 1.2 * theirs
    assert np.mean(worse) <= 1e-6


def test_reaches_tolerances_below_the_rounding_of_the_value():
    # Near the minimum the value changes by less than its last digit; the slopes still tell.
    fun = logistic(Numpy, *drawn(spread=1.0), 1e-3)
    found = lbfgs(fun, np.zeros(36), tol=1e-11, ftol=0.0)
    assert found.converged, found.message
    assert found.gradient_norm <= 1e-11


# -- every library ----------------------------------------------------------------------------
def test_same_trajectory_on_every_library(lib):
    X, Y = drawn()
    paths = []
    for each in (lib, Numpy):
        path, x0 = [], each.asarray(np.zeros(36))
        lbfgs(
            logistic(each, X, Y, 1e-2),
            x0,
            max_iter=12,
            memory=3,
            callback=lambda r, path=path: path.append((r.value, r.evaluations, r.gradient_norm)),
        )
        paths.append(np.asarray(path))
    np.testing.assert_allclose(*paths, rtol=1e-8)


@pytest.mark.parametrize("l1", [0.0, 1e-2])
def test_l1_and_l2_reach_the_same_minimum_on_every_library(lib, l1):
    X, Y = drawn()
    at = {}
    for each in (lib, Numpy):
        x0 = each.asarray(np.zeros(36))
        at[each] = lbfgs(logistic(each, X, Y, 1e-2), x0, tol=1e-10, ftol=0.0, l1=l1, memory=4)
        assert at[each].converged
    found = lib.to_numpy(at[lib].x)
    np.testing.assert_allclose(found, at[Numpy].x, atol=1e-8)
    np.testing.assert_array_equal(found == 0, at[Numpy].x == 0)
    assert np.any(found == 0) == (l1 > 0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("l1", [0.0, 1e-2])
def test_keeps_library_device_dtype_and_inputs(lib, dtype, l1):
    X, Y = drawn(dtype=dtype)
    host = np.full(36, 0.1, dtype=dtype)
    x0 = lib.asarray(host)
    seen = []
    found = lbfgs(logistic(lib, X, Y, 1e-2), x0, l1=l1, tol=1e-4, memory=3, callback=seen.append)
    assert found.converged, found.message
    for result in (*seen, found):
        for array in (result.x, result.gradient):
            assert lib.owns(array)
            assert lib.dtype_of(array) == dtype
            assert array.shape == (36,)
        numbers = (result.value, result.gradient_norm, result.iterations, result.evaluations)
        assert [type(number) for number in numbers] == [float, float, int, int]
    np.testing.assert_array_equal(lib.to_numpy(x0), host)


@pytest.mark.parametrize("l1", [0.0, 1e-3])
def test_fun_may_use_the_memory_of_its_gradient_again(lib, l1):
    fun, kept, x0 = rosenbrock(lib), Reused(), lib.asarray(np.zeros(50))
    expected = lbfgs(fun, x0, l1=l1, memory=5)
    found = lbfgs(lambda x: (fun(x)[0], kept(fun(x)[1])), x0, l1=l1, memory=5)
    assert found.converged
    assert found.evaluations == expected.evaluations < 500
    np.testing.assert_array_equal(lib.to_numpy(found.gradient), lib.to_numpy(expected.gradient))


@pytest.mark.parametrize("l1", [0.0, 1e-3])
def test_one_small_transfer_for_each_evaluation(lib, l1, monkeypatch):
    sizes = []

    def counting(x):
        sizes.append(math.prod(np.shape(x)))
        return to_numpy(x)

    to_numpy = quasinewton.to_numpy
    fun = logistic(lib, *drawn(spread=0.5), 1e-4)
    x0 = lib.asarray(np.zeros(36))
    monkeypatch.setattr(quasinewton, "to_numpy", counting)
    found = lbfgs(fun, x0, l1=l1, memory=5)
    assert found.iterations > 20
    assert sizes.pop(0) == 1  # l1, which is on the host
    assert len(sizes) == found.evaluations
    assert max(sizes) <= 13 + 6 * 5


def test_nothing_else_reads_the_device(monkeypatch):
    """float(), bool() and int() of an array wait for a GPU too; here each is counted."""
    strict = pytest.importorskip("array_api_strict")
    read = []
    kind = type(strict.zeros(1))
    for name in ("__float__", "__bool__", "__int__", "__index__", "__complex__"):
        monkeypatch.setattr(kind, name, lambda self, name=name: read.append(name))

    class Strict:
        xp = strict
        asarray = staticmethod(strict.asarray)

    fun = logistic(Strict, *drawn(), 1e-3)
    for l1 in (0.0, 1e-2):
        assert lbfgs(fun, strict.zeros(36), l1=l1).iterations > 5
    assert read == []


# -- OWL-QN ------------------------------------------------------------------------------------
def violation(x, gradient, l1):
    """The largest violation of the optimality conditions of fun + sum(l1 |x|)."""
    nonzero = np.abs(gradient + l1 * np.sign(x))
    return np.max(np.where(x != 0, nonzero, np.maximum(np.abs(gradient) - l1, 0.0)))


@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("strength", [1e-1, 3e-2, 3e-3])
def test_owlqn_satisfies_the_optimality_conditions(spread, strength):
    fun = logistic(Numpy, *drawn(spread=spread), 1e-3)
    l1 = np.full(36, strength)
    l1[:4] = 0.0  # not penalised
    found = lbfgs(fun, np.random.default_rng(0).normal(size=36), l1=l1, tol=1e-9, ftol=0.0)
    value, gradient = fun(found.x)
    assert found.converged, found.message
    assert violation(found.x, gradient, l1) <= 1e-9
    assert found.gradient_norm == pytest.approx(violation(found.x, gradient, l1), abs=1e-12)
    assert found.value == pytest.approx(value + l1 @ np.abs(found.x), rel=1e-14)
    np.testing.assert_array_equal(found.gradient, gradient)
    assert np.all(found.x[:4] != 0)
    assert np.any(found.x[4:] == 0)
    assert found.evaluations < 1000
    start = lbfgs(fun, np.zeros(36), l1=l1, max_iter=0)  # slopes to one side of 0, of either sign
    assert start.gradient_norm == pytest.approx(violation(start.x, start.gradient, l1), rel=1e-14)


def test_owlqn_against_the_same_problem_with_bounds():
    # x = u - v with u, v >= 0 makes the penalty linear, which SciPy's bounded solver takes.
    optimize = pytest.importorskip("scipy.optimize")
    fun, l1, n = logistic(Numpy, *drawn(), 0.0), 1e-2, 36

    def split(uv):
        value, g = fun(uv[:n] - uv[n:])
        return value + l1 * np.sum(uv), np.concatenate([g + l1, l1 - g])

    options = {"gtol": 1e-10, "ftol": 0.0, "maxfun": 15_000, "maxiter": 15_000}
    theirs = optimize.minimize(
        split, np.zeros(2 * n), jac=True, bounds=[(0, None)] * (2 * n), options=options
    )
    ours = lbfgs(fun, np.zeros(n), l1=l1, tol=1e-10, ftol=0.0)
    assert ours.value == pytest.approx(theirs.fun, rel=1e-12)
    assert ours.evaluations <= 2 * theirs.nfev


def test_strong_l1_leaves_zeros_where_it_starts(lib):
    found = lbfgs(logistic(lib, *drawn(), 0.0), lib.asarray(np.zeros(36)), l1=10.0)
    assert (found.converged, found.evaluations, found.gradient_norm) == (True, 1, 0.0)
    assert not np.any(lib.to_numpy(found.x))


def test_zero_l1_is_plain_lbfgs():
    fun, x0 = PROBLEMS["rosenbrock-10"]
    plain, zeros = lbfgs(fun, x0), lbfgs(fun, x0, l1=np.zeros(10))
    assert plain.evaluations == zeros.evaluations
    np.testing.assert_array_equal(plain.x, zeros.x)


# -- edges --------------------------------------------------------------------------------------


def test_starts_at_the_minimum(lib):
    x0 = lib.asarray(np.zeros(3))
    found = lbfgs(quadratic(lib, np.ones(3)), x0)
    assert (found.converged, found.iterations, found.evaluations) == (True, 0, 1)
    assert found.value == found.gradient_norm == 0.0


def test_value_may_be_any_number_of_one_element(lib):
    fun = quadratic(lib, np.array([1.0, 9.0]))
    x0 = lib.asarray(np.array([1.0, 2.0]))
    one = lbfgs(fun, x0)
    for kind in (float, lambda value: lib.xp.reshape(value, (1,))):
        other = lbfgs(lambda x, kind=kind: (kind(fun(x)[0]), fun(x)[1]), x0)
        assert one.evaluations == other.evaluations
        assert one.value == pytest.approx(other.value)
    found = lbfgs(lambda x: (np.asarray(7), np.zeros_like(x)), np.ones(2))
    assert (found.converged, found.value) == (True, 7.0)


def test_max_iter_zero_evaluates_x0_only():
    fun, x0 = PROBLEMS["rosenbrock-10"]
    found = lbfgs(fun, x0, max_iter=0)
    assert (found.converged, found.iterations, found.evaluations) == (False, 0, 1)
    assert "max_iter 0" in found.message
    np.testing.assert_array_equal(found.x, x0)


@pytest.mark.parametrize("limit", [1, 2, 7, 20])
def test_max_evaluations_is_never_exceeded(limit):
    fun, x0 = PROBLEMS["rosenbrock-10"]
    calls = []
    found = lbfgs(lambda x: calls.append(x) or fun(x), x0, max_evaluations=limit)
    assert found.evaluations == len(calls) == limit
    assert not found.converged
    assert f"max_evaluations {limit}" in found.message
    assert found.value <= fun(x0)[0]


def test_callback_sees_every_iteration_and_stops_the_run():
    fun, x0 = PROBLEMS["rosenbrock-10"]
    seen = []

    def callback(result):
        seen.append(result)
        return len(seen) == 5

    found = lbfgs(fun, x0, callback=callback)
    assert [result.iterations for result in seen] == [1, 2, 3, 4, 5]
    assert all(isinstance(result, LbfgsResult) for result in seen)
    assert not found.converged
    assert "callback" in found.message
    values = [result.value for result in seen]
    assert values == sorted(values, reverse=True)
    assert found.value == values[-1]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("l1", [0.0, 1e-3])
def test_a_value_that_is_not_finite_shortens_the_step(lib, bad, l1):
    # x - log(x) in one variable, "not finite" right of 1.2: the first step of length 1 lands there.
    def fun(x):
        inside = (x > 0) & (x < 1.2)
        safe = lib.xp.where(inside, x, lib.xp.ones_like(x))
        value = lib.xp.where(inside, safe - lib.xp.log(safe), lib.xp.full_like(x, bad))
        return lib.xp.sum(value), 1.0 - 1.0 / safe

    found = lbfgs(fun, lib.asarray([0.3]), l1=l1)
    assert found.converged, found.message
    assert abs(lib.to_numpy(found.x)[0] - 1.0 / (1.0 + l1)) < 1e-3


def test_a_gradient_that_is_not_finite_shortens_the_step():
    def fun(x):
        bad = np.full_like(x, np.nan)
        return 0.5 * np.sum((x - 1.0) ** 2), x - 1.0 if x[0] < 1.5 else bad

    assert lbfgs(fun, np.array([-30.0, 3.0])).converged


@pytest.mark.parametrize("size", [1e-200, 1e20, 1e34, 1e200])
@pytest.mark.parametrize("l1", [0.0, 1.0])
def test_gradients_whose_squares_no_float_holds(lib, size, l1):
    dtype = "float32" if 1 < size < 1e38 else "float64"
    fun, x0 = rosenbrock(lib), lib.asarray(starts(6).astype(dtype))
    options = {"tol": 1e-3 * size, "ftol": 0.0, "l1": l1 * size}
    large = lbfgs(lambda x: tuple(size * a for a in fun(x)), x0, **options)
    plain = lbfgs(fun, x0, tol=1e-3, ftol=0.0, l1=l1)
    assert large.converged, large.message
    np.testing.assert_allclose(lib.to_numpy(large.x), lib.to_numpy(plain.x), atol=1e-3)
    assert large.value / size == pytest.approx(plain.value, abs=1e-5)
    assert large.gradient_norm <= 1e-3 * size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tolerance_that_rounding_forbids_ends_with_a_message(lib, dtype):
    X, Y = drawn(dtype=dtype, spread=1.0)
    fun = logistic(lib, X, Y, 1e-3)
    found = lbfgs(fun, lib.asarray(np.zeros(36, dtype)), tol=1e-30, ftol=0.0)
    assert not found.converged
    assert "no step lowers the value" in found.message
    assert dtype in found.message
    assert found.evaluations < 1000
    assert found.gradient_norm < (2e-5 if dtype == "float32" else 1e-13)


@pytest.mark.parametrize("l1", [0.0, 1e-3])
def test_a_gradient_of_the_wrong_sign_ends_with_a_message(l1):
    found = lbfgs(lambda x: (float(x @ x), -2.0 * x), np.ones(3), l1=l1)
    assert not found.converged
    assert found.evaluations <= 1 + quasinewton.TRIALS
    assert "value and gradient disagree" in found.message
    np.testing.assert_array_equal(found.x, np.ones(3))


def test_pairs_of_negative_curvature_are_skipped():
    # cos is concave around 0, and backtracking stops at the first step that goes down: s.y < 0.
    # A direction from such a pair goes up, which a whole line search would find out.
    found = lbfgs(lambda x: (float(np.sum(np.cos(x))), -np.sin(x)), np.array([0.3, 0.4]), l1=0.1)
    assert found.converged
    assert found.evaluations < quasinewton.TRIALS
    np.testing.assert_allclose(np.sin(found.x), 0.1, atol=1e-5)


def test_directions_equal_the_textbook_two_loop_recursion():
    """Nocedal & Wright, Algorithm 7.4, on vectors, from the points that the callback saw."""
    fun, x0 = PROBLEMS["rosenbrock-30"]
    seen = [lbfgs(fun, x0, max_iter=0)]
    lbfgs(fun, x0, max_iter=25, memory=4, callback=seen.append)
    for i in range(6, 25):
        window = range(max(0, i - 4), i)
        s = [seen[j + 1].x - seen[j].x for j in window]
        y = [seen[j + 1].gradient - seen[j].gradient for j in window]
        q, alpha = seen[i].gradient.copy(), []
        for a, b in zip(reversed(s), reversed(y), strict=True):
            alpha.append(a @ q / (a @ b))
            q -= alpha[-1] * b
        r = q * (s[-1] @ y[-1]) / (y[-1] @ y[-1])
        for a, b, c in zip(s, y, reversed(alpha), strict=True):
            r += a * (c - b @ r / (a @ b))
        step = seen[i + 1].x - seen[i].x
        np.testing.assert_allclose(
            step / np.linalg.norm(step), -r / np.linalg.norm(r), atol=1e-7, err_msg=str(i)
        )


@pytest.mark.parametrize("slope", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("step", [1e-6, 1e-2, 1.0, 1e2, 1e6])
def test_line_search_satisfies_the_strong_wolfe_conditions(slope, step):
    """Lines with one minimiser, some steps far too short and some far too long."""
    lines = (
        lambda t: (-slope * t / (t * t + 2.0), slope * (t * t - 2.0) / (t * t + 2.0) ** 2),
        lambda t: (slope * (0.5 * t * t - t), slope * (t - 1.0)),
        lambda t: (slope * ((t - 1.0) ** 4), 4.0 * slope * (t - 1.0) ** 3),
    )
    for line in lines:
        value0, slope0 = line(0.0)

        def move(t, line=line, slope0=slope0):
            value, slope = line(t)
            inner = np.zeros((3, 3))
            inner[0, 2] = t * slope
            return linesearch.Point(
                None, None, None, value, 1.0, before=t * slope0, inner=inner, products=None
            )

        found = linesearch.strong_wolfe(move, value0, 0.0, step, 20)
        t = found.before / slope0
        assert line(t)[0] <= value0 + linesearch.DECREASE * t * slope0
        assert abs(line(t)[1]) <= -linesearch.CURVATURE * slope0


# -- bad input ----------------------------------------------------------------------------------
def good(x):
    return float(x @ x), 2.0 * x


@pytest.mark.parametrize(
    ("fun", "x0", "options", "error", "patterns"),
    [
        (good, [1.0, 2.0], {}, TypeError, ("x0", "list")),
        (good, np.ones((2, 2)), {}, ValueError, (r"\(2, 2\)",)),
        (good, np.ones(()), {}, ValueError, (r"\(\)",)),
        (good, np.ones(0), {}, ValueError, (r"\(0,\)",)),
        (good, np.arange(3), {}, TypeError, ("int64", "float32 or float64")),
        (good, np.ones(3, np.float16), {}, TypeError, ("float16",)),
        (good, np.ones(3), {"memory": 0}, ValueError, ("memory", "0")),
        (good, np.ones(3), {"memory": 2.5}, TypeError, ("memory", "2.5", "whole number")),
        (good, np.ones(3), {"max_iter": -1}, ValueError, ("max_iter", "-1")),
        (good, np.ones(3), {"max_evaluations": 0}, ValueError, ("max_evaluations",)),
        (good, np.ones(3), {"tol": -1.0}, ValueError, ("tol", "-1")),
        (good, np.ones(3), {"tol": math.nan}, ValueError, ("tol", "nan")),
        (good, np.ones(3), {"ftol": -1.0}, ValueError, ("ftol",)),
        (good, np.ones(3), {"l1": -0.1}, ValueError, ("l1", "-0.1")),
        (good, np.ones(3), {"l1": [1.0, -2.0, 0.0]}, ValueError, ("l1", "-2")),
        (good, np.ones(3), {"l1": math.inf}, ValueError, ("l1", "finite")),
        (good, np.ones(3), {"l1": np.ones(2)}, ValueError, (r"\(2,\)", r"\(3,\)")),
        (lambda x: x @ x, np.ones(3), {}, TypeError, ("value, gradient",)),
        (lambda x: (0.0, x[:2]), np.ones(3), {}, ValueError, (r"\(2,\)", r"\(3,\)")),
        (lambda x: (0.0, [1.0] * 3), np.ones(3), {}, TypeError, ("list", "NumPy")),
        (lambda x: (0.0, x.astype("f4")), np.ones(3), {}, TypeError, ("float32", "float64")),
        (lambda x: (x, x), np.ones(3), {}, ValueError, ("value", r"\(3,\)")),
        (lambda x: (math.nan, x), np.ones(3), {}, ValueError, ("not finite at x0", "nan")),
        (lambda x: (0.0, x / 0.5 * np.inf), np.ones(3), {}, ValueError, ("not finite at x0",)),
    ],
)
def test_bad_input(fun, x0, options, error, patterns):
    with pytest.raises(error) as caught:
        lbfgs(fun, x0, **options)
    for pattern in patterns:
        assert caught.match(pattern)


def test_gradient_of_another_library_or_device():
    strict = pytest.importorskip("array_api_strict")
    x0 = strict.ones(3, dtype=strict.float64)
    with pytest.raises(TypeError, match="NumPy on cpu but x is of array-api-strict"):
        lbfgs(lambda x: (0.0, np.ones(3)), x0)
    other = strict.ones(3, dtype=strict.float64, device=strict.Device("device1"))
    with pytest.raises(TypeError, match=r"on device1 but x is of .* on CPU_DEVICE"):
        lbfgs(lambda x: (0.0, other), x0)
