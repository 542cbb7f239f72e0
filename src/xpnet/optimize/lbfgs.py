"""L-BFGS, and OWL-QN for an l1 penalty, whose vectors never leave the device.

The textbook's two-loop recursion asks the device for 4k inner products, one after the other.
Here the host keeps the small matrix of inner products of the stored vectors (Chen, Wang & Zhou
2014, "Large-scale L-BFGS using MapReduce") and runs the recursion on *weights* of these vectors.
What a new point adds to that matrix comes from two matrix products and is fetched together with
the value of the function: one small transfer to the host per evaluation. The 2k weights of the
next direction go the other way, once per iteration.

Letters: n variables; k stored pairs (s, y), a step and the change of the gradient along it; p the
gradient or, with an l1 penalty, the pseudo-gradient.

Sources: Nocedal & Wright 2006, chapter 7; Andrew & Gao 2007, "Scalable training of L1-regularized
log-linear models"; those of the line searches stand in ``linesearch.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet._typing import Array, Namespace
from xpnet.backends.place import Backend, dtype_name, place_of, plain, refuse_traced, to_numpy
from xpnet.core.settings import check_count, check_number
from xpnet.optimize.linesearch import Point, backtrack, strong_wolfe

TRIALS = 20  # evaluations in one line search
NOISE = 8  # rounding of the value, in units of its last digit
PATIENCE = 30  # iterations without a visible decrease of the value or of the gradient


@dataclass(frozen=True)
class LbfgsResult:
    """The point where ``lbfgs`` stopped; its callback is given one after each iteration.

    Parameters
    ----------
    x : array (n,)
        The point, in the library of ``x0``.
    value : float
        The function there, the l1 penalty included.
    gradient : array (n,)
        That of the function alone, in the library of ``x0``.
    gradient_norm : float
        The largest absolute component of the gradient (with an l1 penalty, of the pseudo-gradient).
    iterations : int
        Line searches that found a better point.
    evaluations : int
        Calls of the function.
    converged : bool
        Whether ``tol`` or ``ftol`` is met.
    message : str
        Why it stopped, with the figures.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> result = xpnet.lbfgs(lambda x: (x @ x, 2 * x), np.array([3.0, -4.0]))
    >>> result.converged, round(result.value, 6), result.iterations
    (True, 0.0, 2)
    """

    x: Array
    value: float
    gradient: Array
    gradient_norm: float
    iterations: int
    evaluations: int
    converged: bool
    message: str


def lbfgs(
    fun: Callable[[Array], tuple[Array | float, Array]],
    x0: Array,
    *,
    memory: int = 10,
    max_iter: int = 15_000,
    tol: float = 1e-5,
    ftol: float = 2.2e-9,
    l1: float | Array = 0.0,
    max_evaluations: int = 15_000,
    callback: Callable[[LbfgsResult], object] | None = None,
) -> LbfgsResult:
    """Minimise ``fun(x) + sum(l1 * |x|)`` by L-BFGS, or by OWL-QN where ``l1`` is not 0.

    The defaults are those of SciPy's L-BFGS-B.

    Parameters
    ----------
    fun : callable
        ``fun(x) -> (value, gradient)``: a 0-d array of the library of x, or a float, and an array
        like x, whose memory it may use again. It must not write into x. Where the answer is not
        finite the step is shortened.
    x0 : array (n,)
        float32 or float64, of any library that follows the Array API standard.
    memory : int
        How many pairs are kept, each of a step and the change of the gradient along it.
    max_iter : int
        Limit of the iterations. 0 evaluates x0 and no other point.
    tol : float
        Converged when no component of the gradient (with an l1 penalty, of the pseudo-gradient)
        exceeds it in absolute value (SciPy's ``gtol``).
    ftol : float
        Converged when an iteration lowers the value by ``ftol * max(|old|, |new|, 1)`` or less.
        0 switches this test off.
    l1 : float or array (n,)
        Strength of the l1 penalty on each component; components with 0 are not penalised.
    max_evaluations : int
        Limit of the calls of ``fun``.
    callback : callable, optional
        Called with an ``LbfgsResult`` after each iteration. A true answer stops the run.

    Returns
    -------
    LbfgsResult
        ``converged`` is False at a limit, after a stop by the callback, and where rounding allows
        no further progress before ``tol`` is met; ``message`` says which.

    Raises
    ------
    TypeError, ValueError
        For an argument, or an answer of ``fun``, of the wrong library, dtype, shape or sign, and
        for a value or gradient that is not finite at x0.

    References
    ----------
    Nocedal & Wright 2006, "Numerical optimization", chapter 7; Andrew & Gao 2007, "Scalable
    training of L1-regularized log-linear models"; Chen, Wang & Zhou 2014, "Large-scale L-BFGS using
    MapReduce".

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> target = np.array([3.0, 0.5])
    >>> def fun(x):
    ...     return 0.5 * np.sum((x - target) ** 2), x - target
    >>> xpnet.lbfgs(fun, np.zeros(2)).x
    array([3. , 0.5])
    >>> xpnet.lbfgs(fun, np.zeros(2), l1=1.0).x
    array([2., 0.])
    """
    x0, place = plain(x0), _place(x0)
    memory, max_iter = check_count(memory, "memory", 1), check_count(max_iter, "max_iter", 0)
    max_evaluations = check_count(max_evaluations, "max_evaluations", 1)
    tol, ftol = check_number(tol, "tol"), check_number(ftol, "ftol")
    problem = _Problem(fun, _strengths(l1, x0, place), place)
    start = problem.evaluate(x0)
    if problem.rescaled(start.norm):
        start = problem.measured(x0)
    if not start.finite:
        raise ValueError(
            f"fun is not finite at x0: its value is {start.value}, the largest component of its "
            f"gradient {start.norm}; start from another x0"
        )
    run = _Run(problem, memory, max_iter, max_evaluations, tol, ftol, point=start, best=start)
    while (end := run.end()) is None:
        if run.iterate() and callback is not None:
            run.stopped = bool(callback(run.result("running")))
    return run.result(*end)


class _Memory(NamedTuple):
    """The last k pairs on the device, their inner products on the host."""

    pairs: Array | None = None  # (2k, n): s, y, s, y, ... oldest first
    gram: np.ndarray = np.zeros((0, 0))  # (2k, 2k), pairs @ pairs.T
    along: np.ndarray = np.zeros(0)  # (2k,), pairs @ p
    scale: float = 1.0  # H0 = scale * I


class _Problem:
    """``fun`` plus the l1 penalty, over a unit. Makes all vectors, fetches their numbers.

    The unit is a power of two, and 1 but where products of gradients would leave the floats.
    """

    def __init__(self, fun: Callable[..., Any], strengths: Array | None, place: Backend) -> None:
        self.fun, self.strengths, self.place, self.xp = fun, strengths, place, place.xp
        self.evaluations, self.unit = 0, 1.0

    def rescaled(self, norm: float) -> bool:
        """Whether there is a new unit: for a gradient whose largest component is ``norm``."""
        if not 0 < norm < math.inf or 1e-9 < norm < 1e9:
            return False
        self.unit = 2.0 ** (math.frexp(norm)[1] - (30 if norm > 1 else -30))
        if self.strengths is not None:
            self.strengths = self.strengths / self.unit
        return True

    def evaluate(self, x: Array, start: Point | None = None, pairs: Array | None = None) -> Point:
        """The point x, reached from start."""
        self.evaluations, self.answer = self.evaluations + 1, _checked(self.fun(x), x, self.place)
        return self.measured(x, start, pairs)

    def measured(self, x: Array, start: Point | None = None, pairs: Array | None = None) -> Point:
        """The point x with the last answer of fun; its numbers come to the host in one transfer."""
        xp, (value, gradient) = self.xp, self.answer
        with self.place.context():
            if self.unit != 1.0:
                value, gradient = value / self.unit, gradient / self.unit
            p = gradient
            if self.strengths is not None:
                gradient = xp.asarray(gradient, copy=True)  # fun may use its memory again
                p = pseudo_gradient(x, gradient, self.strengths, xp=xp)
            rows = [p, p, p] if start is None else [x - start.x, gradient - start.gradient, p]
            before = p if start is None else start.p
            rows = xp.stack(rows)  # (3, n)
            gradient = rows[2, :] if self.strengths is None else gradient  # not fun's own memory
            columns = xp.matrix_transpose(rows)  # (n, 3)
            numbers = [xp.max(xp.abs(p)), xp.sum(rows[0, :] * before), rows @ columns]
            if pairs is not None:
                numbers.append(pairs @ columns)  # (2k, 3)
            end = sum(math.prod(part.shape) for part in numbers)
            # What follows adds up to the value.
            if self.strengths is not None:
                numbers.append(xp.sum(self.strengths * xp.abs(x)))
            if not isinstance(value, float):
                numbers.append(value)
                value = 0.0
            fetched = _fetch(numbers, xp=xp)
        norm, before, inner = fetched[0], fetched[1], fetched[2:11].reshape(3, 3)
        value += fetched[end:].sum()
        products = fetched[11:end].reshape(-1, 3)
        return Point(x, gradient, rows, float(value), float(norm), float(before), inner, products)

    def move(self, start: Point, direction: Array, pairs: Array | None, step: float) -> Point:
        """The point ``step`` times the direction away; with l1, in the orthant of start."""
        xp = self.xp
        with self.place.context():
            x = start.x + step * direction
            if self.strengths is not None:
                # Andrew & Gao 2007, eq. 6: a penalised component does not change its sign.
                inside = _same_sign(x, xp.where(start.x == 0, -start.p, start.x))
                x = xp.where(inside | (self.strengths == 0), x, xp.zeros_like(x))
        return self.evaluate(x, start, pairs)

    def direction(self, point: Point, history: _Memory) -> Array:
        """-H p (n,), H the inverse Hessian that the pairs describe."""
        xp, p = self.xp, point.p
        with self.place.context():
            if history.pairs is None:
                return -p
            weights, own = _two_loop(history, float(point.inner[2, 2]))
            d = self.place.asarray(weights, dtype=p.dtype) @ history.pairs + own * p
            if self.strengths is not None:
                # A component at 0 may only leave it downhill. Andrew & Gao 2007, eq. 5, ask this of
                # all; elsewhere the function is smooth and the full direction converges faster.
                smooth = (point.x != 0) | (self.strengths == 0)
                d = xp.where(smooth | _same_sign(d, -p), d, xp.zeros_like(d))
            return d


@dataclass
class _Run:
    """A minimisation: its limits, and how far it has come."""

    problem: _Problem
    memory: int
    max_iter: int
    max_evaluations: int
    tol: float
    ftol: float
    point: Point
    best: Point  # of the points since the value or the gradient last fell visibly
    history: _Memory = field(default_factory=_Memory)
    iterations: int = 0
    fall: float = math.inf  # of the value in the last iteration, relative
    idle: int = 0  # iterations since ``best``
    stopped: bool = False  # by the callback

    def iterate(self) -> bool:
        """One line search from ``point``; whether it found a better point."""
        problem, point, history = self.problem, self.point, self.history
        digit = float(problem.xp.finfo(point.x.dtype).eps) * abs(point.value)  # the value's last
        move = partial(problem.move, point, problem.direction(point, history), history.pairs)
        # While no curvature is known the first trial has length 1, as in SciPy.
        first = 1.0 / math.sqrt(point.inner[2, 2]) if history.pairs is None else 1.0
        trials = min(TRIALS, self.max_evaluations - problem.evaluations)
        search = strong_wolfe if problem.strengths is None else backtrack
        found = search(move, point.value, NOISE * digit, first, trials)
        if found is not None:
            self.history = _remember(history, found, self.memory, xp=problem.xp)
            fall = point.value - found.value
            self.fall = fall / max(abs(point.value), abs(found.value), 1.0 / problem.unit)
            progress = fall > digit or found.norm < self.best.norm
            self.best, self.idle = (found, 0) if progress else (self.best, self.idle + 1)
            self.point, self.iterations = found, self.iterations + 1
        elif history.pairs is not None:
            self.history = _Memory()  # the pairs mislead (an ascent direction, say): forget them
        elif problem.evaluations < self.max_evaluations:
            self.idle = PATIENCE
        return found is not None

    def end(self) -> tuple[str, bool] | None:
        """Why the run ends here, and whether it has converged; None where it goes on."""
        unit = self.problem.unit
        norm, tol = unit * self.point.norm, self.tol
        if norm <= tol:
            return f"largest gradient component {norm:.3g} <= tol {tol:.3g}", True
        if self.idle >= PATIENCE:
            self.point = self.best
            return (
                f"no step lowers the value {unit * self.best.value:.9g}: rounding of "
                f"{dtype_name(self.best.x.dtype)}, or value and gradient disagree; largest "
                f"gradient component {unit * self.best.norm:.3g} > tol {tol:.3g}"
            ), False
        if self.ftol > 0 and self.fall <= self.ftol:
            return f"relative decrease of the value {self.fall:.3g} <= ftol {self.ftol:.3g}", True
        if self.stopped:
            return "stopped by the callback", False
        if self.iterations >= self.max_iter:
            return f"max_iter {self.max_iter} reached", False
        if self.problem.evaluations >= self.max_evaluations:
            return f"max_evaluations {self.max_evaluations} reached", False
        return None

    def result(self, message: str, converged: bool = False) -> LbfgsResult:
        x, gradient, _, value, norm, *_ = self.point
        counts, unit = (self.iterations, self.problem.evaluations), self.problem.unit
        if unit != 1.0:
            value, gradient, norm = unit * value, unit * gradient, unit * norm
        return LbfgsResult(x, value, gradient, norm, *counts, converged, message)


def pseudo_gradient(x: Array, gradient: Array, strengths: Array, *, xp: Namespace) -> Array:
    """The steepest one-sided slope of ``fun(x) + sum(strengths * |x|)``, componentwise.

    ``gradient`` is that of ``fun`` (Andrew & Gao 2007, eq. 4).
    """
    right, left = gradient + strengths, gradient - strengths
    at_zero = xp.where(right < 0, right, xp.where(left > 0, left, xp.zeros_like(x)))
    return xp.where(x > 0, right, xp.where(x < 0, left, at_zero))


def _same_sign(a: Array, b: Array) -> Array:
    # Not by sign(), which may write NaN through a mask and so wait for a GPU.
    return ((a > 0) & (b > 0)) | ((a < 0) & (b < 0))


def _two_loop(history: _Memory, pp: float) -> tuple[np.ndarray, float]:
    """Weights of the pairs (2k,) and of p in -H p (Nocedal & Wright, Algorithm 7.4).

    The q and r of the book are sums of s, y, ..., p with weights w; the inner product of the i-th
    of these vectors with such a sum is row i of their matrix of inner products, times w.
    """
    along = history.along[:, None]
    inner = np.block([[history.gram, along], [along.T, np.full((1, 1), pp)]])  # (2k + 1, 2k + 1)
    w = np.zeros(len(inner))
    w[-1] = -1.0  # q = -p
    pairs = range(0, len(along), 2)  # the row of s; that of its y is the next
    alpha = {}
    for s in reversed(pairs):
        alpha[s] = inner[s] @ w / inner[s, s + 1]
        w[s + 1] -= alpha[s]
    w *= history.scale
    for s in pairs:
        w[s] += alpha[s] - inner[s + 1] @ w / inner[s, s + 1]
    return w[:-1], float(w[-1])


def _remember(history: _Memory, point: Point, most: int, *, xp: Namespace) -> _Memory:
    """The memory at ``point``: the pair that led there joins it if its curvature is positive."""
    new, along, own = point.products[:, :2], point.products[:, 2], point.inner[:2, :2]
    if not own[0, 1] > xp.finfo(point.x.dtype).eps * abs(point.before):  # as in SciPy
        return history._replace(along=along)
    rows, kept = point.rows[:2, :], slice(-2 * most, None)
    if history.pairs is not None:
        rows = xp.concat([history.pairs[max(0, len(along) + 2 - 2 * most) :, :], rows])
    gram = np.block([[history.gram, new], [new.T, own]])[kept, kept]
    along = np.append(along, point.inner[:2, 2])[kept]
    return _Memory(rows, gram, along, scale=own[0, 1] / own[1, 1])  # Nocedal & Wright, eq. 7.20


def _fetch(numbers: list[Array], *, xp: Namespace) -> np.ndarray:
    """All numbers in one transfer, as float64. Nothing else here reads from the device."""
    dtype = xp.result_type(*numbers)
    flat = [xp.astype(xp.reshape(part, (-1,)), dtype) for part in numbers]
    return np.asarray(to_numpy(xp.concat(flat)), dtype=np.float64)


def _place(x0: Array) -> Backend:
    if not is_array_api_obj(x0):
        raise TypeError(f"x0 is a {type(x0).__name__}; lbfgs needs an array of an array library")
    if x0.ndim != 1 or x0.shape[0] == 0:
        raise ValueError(f"x0 has shape {tuple(x0.shape)}; lbfgs needs a vector, shape (n,)")
    if dtype_name(x0.dtype) not in ("float32", "float64"):
        raise TypeError(f"x0 has dtype {x0.dtype}; lbfgs needs float32 or float64")
    refuse_traced(x0, "x0")
    return place_of(x0)


def _strengths(l1: float | Array, x0: Array, place: Backend) -> Array | None:
    """The l1 strengths (n,) beside x0; None where all are 0."""
    host = np.asarray(to_numpy(l1), dtype=np.float64)
    if host.shape not in ((), tuple(x0.shape)):
        raise ValueError(
            f"l1 has shape {host.shape} but x0 has shape {tuple(x0.shape)}; give one strength, or "
            "one for each component"
        )
    if not (np.isfinite(host) & (host >= 0)).all():
        raise ValueError(f"l1 lies in [{host.min()}, {host.max()}]; it must be finite and >= 0")
    if not host.any():
        return None
    return place.asarray(np.broadcast_to(host, x0.shape).copy(), dtype=x0.dtype)


def _checked(answer: Any, x: Array, place: Backend) -> tuple[Array | float, Array]:
    """The answer of fun: the value, 0-d of x's library or a float, and the gradient (n,)."""
    if not (isinstance(answer, (tuple, list)) and len(answer) == 2):
        raise TypeError(f"fun returned a {type(answer).__name__}; it must return (value, gradient)")
    value, gradient = map(plain, answer)
    if not place.holds(gradient):
        where = place_of(gradient) if is_array_api_obj(gradient) else type(gradient).__name__
        raise TypeError(f"the gradient that fun returned is of {where} but x is of {place}")
    if gradient.shape != x.shape:
        raise ValueError(
            f"fun returned a gradient of shape {tuple(gradient.shape)} for x of shape "
            f"{tuple(x.shape)}; they must be equal"
        )
    if gradient.dtype != x.dtype:
        raise TypeError(f"fun returned a {gradient.dtype} gradient for {x.dtype} x; cast one")
    if math.prod(getattr(value, "shape", ())) != 1:
        raise ValueError(f"fun returned a value of shape {tuple(value.shape)}; it must be a scalar")
    if not place.holds(value):
        return float(value), gradient
    floating = dtype_name(value.dtype) in ("float32", "float64")
    return value if floating else place.xp.astype(value, x.dtype), gradient
