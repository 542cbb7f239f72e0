"""Penalised logistic regression as a function of one flat vector ``u`` of standardised variables.

L-BFGS needs many steps where features have different scales or large means. So it searches not over
the user's coefficients ``W`` and intercepts ``b`` but over

    U = W * scale,    c = b + W @ mean,    u = [U, c],

with which every feature has mean 0 and a curvature near 1 at the start (Jacobi preconditioning).
X itself is never centred, scaled or copied: the change of variables acts on the parameters and on
the gradient, and the penalties are those of the user's W.

Letters: m examples, n features, K outputs (1 for two classes, else one for each class),
N = K (n + 1) variables, or K n without an intercept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from xpnet._typing import Array
from xpnet.estimators.arrays import BLOCK
from xpnet.estimators.design import Design


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
        self.n, self.K = design.X.shape[1], design.Y.shape[1]
        self.size = self.K * (self.n + fit_intercept)
        with self.place.context():
            # A penalised intercept is a variable like any other: centring would mix it with W.
            centred = fit_intercept and penalty.intercept is None
            self.mean, variance = design.moments(centred=centred)
            curvature = 0.25 if self.K == 1 else (self.K - 1) / self.K**2  # of the loss at u = 0
            square = variance + penalty.l2 / curvature
            self.scale = self.xp.sqrt(self.xp.where(square > 0, square, 0.0 * square + 1.0))
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
                P, q = design.predict(theta, rows.data.X), design.shares(rows)  # (K, m), (m,)
                A = (rows.data.X - self.mean) / self.scale  # (m, n)
                if self.fit_intercept:
                    A = xp.concat([A, 0.0 * A[:, :1] + 1.0], axis=1)
                for k, l in blocks:
                    d = q * P[k, :] * ((1.0 if k == l else 0.0) - P[l, :])
                    blocks[k, l] = blocks[k, l] + A.T @ (d[:, None] * A)
            pin = self._pin(width)
            H = [[blocks[max(k, l), min(k, l)] + pin for l in range(K)] for k in range(K)]
            order = self.place.asarray(self._order(width))
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

    def _order(self, width: int) -> list[int]:
        """The position of each variable of u among the variables sorted by class."""
        order = [k * width + j for k in range(self.K) for j in range(self.n)]
        return order + [k * width + self.n for k in range(self.K)] * self.fit_intercept
