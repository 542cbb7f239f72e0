"""Minimises a `Problem`: L-BFGS (OWL-QN for l1) first, Newton's method near the optimum.

An L-BFGS iteration reads the data twice, but many are needed where features are nearly collinear or
the penalty is weak. A Newton step costs about ``N / 4`` such iterations, and ten steps usually end
at rounding. So L-BFGS may spend what Newton's method would before Newton's method takes over. Where
N is too large for a Hessian, L-BFGS goes on alone.

With l1, a Newton step goes to the minimiser of the quadratic model plus the penalty.

Sources: Andrew & Gao 2007, "Scalable training of L1-regularized log-linear models"; Nocedal &
Wright 2006, chapter 3; Friedman, Hastie & Tibshirani 2010, "Regularization paths for generalized
linear models via coordinate descent".
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.estimators.logistic_problem import Problem
from xpnet.estimators.quadratic_l1 import minimize_quadratic
from xpnet.optimize.lbfgs import lbfgs, pseudo_gradient

FTOL = 64 * 2.0**-52  # scikit-learn's: stop where the value has not moved by more
LARGEST_HESSIAN = 2048  # variables: 32 MB
ARMIJO = 1e-4
HALVINGS = 30  # of one Newton step
NOISE = 8.0  # rounding of the value, in units of its last digit

Report = Callable[[Array], object]


class Solution(NamedTuple):
    """Where the iterations ended: ``norm`` is the largest component of the (pseudo-)gradient."""

    u: Array  # (N,)
    norm: float
    iterations: int
    converged: bool  # to tol, or as far as rounding allows
    message: str


def minimize_problem(
    problem: Problem, u: Array, *, newton_first: bool, tol: float, max_iter: int, report: Report
) -> Solution:
    """Minimises ``problem`` plus its l1 penalty, starting at ``u`` (N,).

    Parameters
    ----------
    newton_first : bool
        Whether to skip L-BFGS where the Hessian is small enough.
    tol : float
        Largest component allowed of the gradient in the user's coefficients, of centred features.
    report : callable
        Called with u after each iteration.
    """
    tol = tol / problem.largest_scale
    small = problem.size <= LARGEST_HESSIAN
    state = Solution(u, math.inf, 0, False, "")
    if not (newton_first and small):
        budget = 30 + problem.size // 4 if small else max_iter
        state = _lbfgs(problem, state, tol, min(budget, max_iter), report)
    if small and state.norm > tol and state.iterations < max_iter:
        state = _newton(problem, state, tol, max_iter, report)
        if not state.converged and state.iterations < max_iter:
            state = _lbfgs(problem, state, tol, max_iter, report)
    return state


def _lbfgs(
    problem: Problem, state: Solution, tol: float, max_iter: int, report: Report
) -> Solution:
    found = lbfgs(
        problem.value_and_gradient,
        state.u,
        max_iter=max_iter - state.iterations,
        max_evaluations=50 * max(max_iter, 1),
        tol=tol,
        ftol=FTOL if problem.size <= LARGEST_HESSIAN else 0.0,  # else nothing follows it
        l1=0.0 if problem.strengths is None else problem.strengths,
        callback=lambda result: report(result.x) and False,
    )
    iterations = state.iterations + found.iterations
    done = found.converged or iterations < max_iter
    return Solution(found.x, found.gradient_norm, iterations, done, found.message)


class _Point(NamedTuple):
    u: Array  # (N,)
    value: float  # l1 included
    gradient: Array  # (N,), l1 not included
    norm: float  # largest component of the (pseudo-)gradient


def _newton(
    problem: Problem, state: Solution, tol: float, max_iter: int, report: Report
) -> Solution:
    """Damped Newton steps from ``state`` until tol, max_iter, or no step helps."""
    point, iterations = _evaluate(problem, state.u), state.iterations
    while point.norm > tol and iterations < max_iter:
        found = _step(problem, point)
        if found is None:
            # Where a full step changes less than rounding, the minimum has been reached.
            limit = math.sqrt(float(problem.xp.finfo(point.u.dtype).eps))
            message = "no Newton step lowers the value"
            return Solution(point.u, point.norm, iterations, point.norm <= limit, message)
        point, iterations = found, iterations + 1
        report(point.u)
    done = point.norm <= tol
    message = f"gradient {point.norm:.3g}" if done else f"max_iter {max_iter} reached"
    return Solution(point.u, point.norm, iterations, done, message)


def _evaluate(problem: Problem, u: Array) -> _Point:
    xp = problem.xp
    value, gradient = problem.value_and_gradient(u)
    with problem.place.context():
        p, strengths = gradient, problem.strengths
        if strengths is not None:
            value = value + xp.sum(strengths * xp.abs(u))
            p = pseudo_gradient(u, gradient, strengths, xp=xp)
        numbers = to_numpy(xp.stack([value, xp.max(xp.abs(p))]))
    return _Point(u, float(numbers[0]), gradient, float(numbers[1]))


def _step(problem: Problem, point: _Point) -> _Point | None:
    """Takes the full Newton step, or the first half of it, quarter, ... that lowers the value."""
    xp, (u, value, _, norm) = problem.xp, point
    eps = float(xp.finfo(u.dtype).eps)
    target, slope = _model_minimiser(problem, point, eps)
    for halving in range(HALVINGS):
        part = 0.5**halving
        with problem.place.context():
            x = target if halving == 0 else u + part * (target - u)
        found = _evaluate(problem, x)
        if abs(found.value - value) <= NOISE * eps * abs(value):  # the slopes decide
            return found if found.norm < norm else None
        if found.value <= value + ARMIJO * part * slope:
            return found
    return None


def _model_minimiser(problem: Problem, point: _Point, eps: float) -> tuple[Array, float]:
    """The minimiser (N,) of the quadratic model plus l1 at u, and the slope towards it.

    The model is solved on the host, in float64: N is small, and a device's own solver no faster.
    Lee, Sun & Saunders 2014, "Proximal Newton-type methods for minimizing composite functions".
    """
    place, u, gradient = problem.place, _host(point.u), _host(point.gradient)
    H = _host(problem.hessian(point.u))
    # Collinear features and nearly separated classes leave H without full rank.
    H[np.diag_indices_from(H)] += 16.0 * eps * np.abs(H).max()
    if problem.strengths is None:
        target, l1 = u - np.linalg.solve(H, gradient), np.zeros_like(u)
    else:
        l1 = _host(problem.strengths)
        target = minimize_quadratic(H, gradient - H @ u, l1, u)
    slope = gradient @ (target - u) + l1 @ (np.abs(target) - np.abs(u))
    return place.asarray(target, point.u.dtype), float(slope)


def _host(x: Array) -> np.ndarray:
    return np.array(to_numpy(x), np.float64)
