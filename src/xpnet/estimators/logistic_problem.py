"""Penalised logistic regression as a function of one flat vector ``u`` of standardised variables.

L-BFGS needs many steps where features have different scales or large means. So it searches not over
the user's coefficients ``W`` and intercepts ``b`` but over

    U = W * scale,    c = b + W @ mean,    u = [U, c],

with which every feature has mean 0 and a curvature near 1 at the start (Jacobi preconditioning).
X itself is never centred, scaled or copied: the change of variables acts on the parameters and on
the gradient, and the penalties are those of the user's W.

Letters: m examples, n features, K outputs (1 for two classes, else one for each class),
N = K (n + 1) variables, or K n without an intercept.

`minimize_problem` takes L-BFGS (OWL-QN for l1) first, and Newton's method near the optimum.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.estimators.arrays import BLOCK
from xpnet.estimators.design import Design
from xpnet.estimators.quadratic_l1 import minimize_quadratic
from xpnet.optimize.lbfgs import lbfgs, pseudo_gradient

FTOL = 64 * 2.0**-52  # scikit-learn's: stop where the value has not moved by more
LARGEST_HESSIAN = 2048  # variables: 32 MB
ARMIJO = 1e-4
HALVINGS = 30  # of one Newton step
NOISE = 8.0  # rounding of the value, in units of its last digit

Report = Callable[[Array], object]


@dataclass(frozen=True)
class Penalty:
    """``l2/2 * sum(W**2) + l1 * sum(|W|)`` on top of the weighted mean loss.

    ``intercept`` is None where the intercept is free; otherwise it is penalised as
    ``b / intercept`` would be (liblinear's ``intercept_scaling``).
    """

    l2: float = 0.0
    l1: float = 0.0
    intercept: float | None = None


class Problem:
    """Value, gradient and Hessian of the smooth part at ``u`` (N,); l1 is left to the solver.

    Attributes
    ----------
    size : int
        N.
    strengths : array (N,) or None
        The l1 penalty of each variable; None where there is none.
    largest_scale : float
        A gradient in u below ``t`` is one in W, of centred features, and b below
        ``t * largest_scale``.
    """

    def __init__(self, design: Design, penalty: Penalty, *, fit_intercept: bool) -> None:
        self.design, self.penalty, self.fit_intercept = design, penalty, fit_intercept
        self.place, self.xp = design.place, design.place.xp
        self.n, self.K = design.X.shape[1], design.K
        self.size = self.K * (self.n + fit_intercept)
        with self.place.context():
            # A penalised intercept is a variable like any other: centring would mix it with W.
            centred = fit_intercept and penalty.intercept is None
            self.mean, variance, unit = design.moments(centred=centred)
            curvature = 0.25 if self.K == 1 else (self.K - 1) / self.K**2  # of the loss at u = 0
            square = variance + penalty.l2 / curvature / unit / unit
            scale = unit * self.xp.sqrt(square)
            self.scale = self.xp.where(square > 0, scale, 0.0 * square + 1.0)
            self.largest_scale = max(1.0, float(self.xp.max(self.scale)))
            self.ridge = self._on_variables(penalty.l2, 2)
            self.strengths = self._on_variables(penalty.l1, 1) if penalty.l1 else None

    # -- variables -----------------------------------------------------------------------
    def _on_variables(self, strength: float, power: int) -> Array:
        """The penalty ``strength * W**power`` as strengths of the variables (N,)."""
        intercept = self.penalty.intercept
        bias = 0.0 if intercept is None else strength / intercept**power
        return self._join([strength / self.scale**power] * self.K, self._zeros(self.K) + bias)

    def _zeros(self, *shape: int) -> Array:
        return self.xp.zeros(shape, dtype=self.place.dtype, device=self.place.device)

    def _eye(self, n: int) -> Array:
        return self.xp.eye(n, dtype=self.place.dtype, device=self.place.device)

    def _join(self, weights: Sequence[Array], biases: Array) -> Array:
        return self.xp.concat([*weights, biases] if self.fit_intercept else weights)

    def encode(self, W: Array, b: Array) -> Array:
        """``u`` (N,) of coefficients (K, n) and intercepts (K,)."""
        with self.place.context():
            return self._join([self.xp.reshape(W * self.scale, (-1,))], b + W @ self.mean)

    def decode(self, u: Array) -> tuple[Array, Array]:
        """Coefficients (K, n) and intercepts (K,) of ``u`` (N,)."""
        split = self.K * self.n
        with self.place.context():
            W = self.xp.reshape(u[:split], (self.K, self.n)) / self.scale
            return W, u[split:] - W @ self.mean if self.fit_intercept else self._zeros(self.K)

    # -- value and derivatives -----------------------------------------------------------
    def value_and_gradient(self, u: Array) -> tuple[Array, Array]:
        """The weighted mean loss plus the l2 penalty, 0-d, and its gradient (N,)."""
        xp, K, n = self.xp, self.K, self.n
        with self.place.context():
            value, gradient = self.design.value_and_gradient(self._theta(u))
            dW, db = xp.reshape(gradient[: K * n], (K, n)), gradient[K * n :]  # (K, n), (K,)
            dU = (dW - db[:, None] * self.mean) / self.scale
            value = value + 0.5 * xp.sum(self.ridge * u * u)
            return value, self._join([xp.reshape(dU, (-1,))], db) + self.ridge * u

    def _theta(self, u: Array) -> Array:
        W, b = self.decode(u)
        return self.xp.concat([self.xp.reshape(W, (-1,)), b])

    def hessian(self, u: Array) -> Array:
        """(N, N). Its blocks are ``A^T diag(p_k (1[k = l] - p_l)) A``, A the standardised rows.

        Where a shift of all classes changes nothing it gets a curvature of its own, so the matrix
        can be solved with; the gradient has no component along such a shift.
        """
        xp, K, design = self.xp, self.K, self.design
        with self.place.context():
            theta, width = self._theta(u), self.n + self.fit_intercept
            blocks = {(k, l): self._zeros(width, width) for k in range(K) for l in range(k + 1)}
            for rows in design.blocks(BLOCK // 4):
                P, q = design.predict(theta, rows.data.X), design.shares(rows.data)  # (K, m), (m,)
                A = (rows.data.X - self.mean) / self.scale  # (m, n)
                if self.fit_intercept:
                    A = xp.concat([A, 0.0 * A[:, :1] + 1.0], axis=1)
                for k, l in blocks:
                    d = q * P[k, :] * ((1.0 if k == l else 0.0) - P[l, :])
                    blocks[k, l] = blocks[k, l] + A.T @ (d[:, None] * A)
            pin = self._pin(width)
            H = [[blocks[max(k, l), min(k, l)] + pin for l in range(K)] for k in range(K)]
            by_class = np.arange(K * width).reshape(K, width)  # u has all weights first
            order = np.append(by_class[:, : self.n], by_class[:, self.n :])
            order = self.place.asarray(order)
            stacked = xp.concat([xp.concat(row, axis=1) for row in H], axis=0)
            sorted_ = xp.take(xp.take(stacked, order, axis=0), order, axis=1)
            return sorted_ + self._eye(self.size) * self.ridge

    def _pin(self, width: int) -> Array:
        """A curvature for shifts of all classes, for each block where no penalty bounds them."""
        if self.K == 1:
            return self._zeros(width, width)
        free_weights = not (self.penalty.l2 or self.penalty.l1)
        pins = [float(free_weights)] * self.n
        pins += [float(self.penalty.intercept is None)] * self.fit_intercept
        return self._eye(width) * self.place.asarray(pins, self.place.dtype) / self.K


# -- the minimiser ---------------------------------------------------------------------------
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
