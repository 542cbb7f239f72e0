"""Minimises a quadratic plus an l1 penalty exactly, on the host: the step of proximal Newton.

The algorithm is the feature-sign search of Lee, Battle, Raina & Ng 2007, "Efficient sparse coding
algorithms": guess which variables are not 0 and their signs, solve the linear system that remains,
move towards its solution as long as the value falls, and correct the guess. Nearly collinear
features make H so ill-conditioned that coordinate descent would need thousands of sweeps.
"""

from __future__ import annotations

import numpy as np

ROUNDING = 1e-12  # slopes below this part of the largest are 0


def minimize_quadratic(
    H: np.ndarray, c: np.ndarray, strengths: np.ndarray, y: np.ndarray, max_iter: int = 1000
) -> np.ndarray:
    """Finds the y (N,) that minimises ``y @ H @ y / 2 + c @ y + strengths @ |y|``.

    Parameters
    ----------
    H : ndarray (N, N)
        Symmetric and positive definite.
    c, strengths, y : ndarray (N,)
        Slope at 0, weights of the l1 penalty (0: not penalised), and where to start.

    Returns
    -------
    y : ndarray (N,)
        At ``max_iter``, the best so far: never worse than the start.
    """
    y, gradient = y.copy(), H @ y + c
    free = strengths == 0
    rounding = ROUNDING * max(np.abs(c).max(), strengths.max(), np.abs(gradient).max())
    settled, timid = False, False
    for _ in range(max_iter):
        moving, signs = (y != 0) | free, np.sign(y)
        slopes = np.where(moving, gradient + strengths * signs, 0.0)
        entering = settled or np.abs(slopes).max() <= rounding
        if entering:
            violation = np.where(moving, 0.0, np.abs(gradient) - strengths)
            largest = violation.max()
            if largest <= rounding:
                return y
            # Many at a time is faster, one at a time always helps: try many first.
            enter = violation >= (largest if timid else 0.3 * largest)
            moving, signs = moving | enter, np.where(enter, -np.sign(gradient), signs)
        a = np.flatnonzero(moving)
        target = np.zeros_like(y)
        target[a] = np.linalg.solve(H[np.ix_(a, a)], -(c + strengths * signs)[a])
        y, gradient, moved = _towards(H, gradient, strengths, y, target)
        if entering and not moved and timid:
            return y
        settled, timid = not moved, entering and not moved
    return y


def _towards(
    H: np.ndarray, gradient: np.ndarray, strengths: np.ndarray, y: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Moves to the lowest of ``target`` and the points before it where a component becomes 0.

    Returns the point, the gradient of the quadratic there, and whether the value fell.
    """
    d = target - y
    Hd = H @ d
    crosses = (y != 0) & (np.sign(target) != np.sign(y))
    at = -y[crosses] / d[crosses]
    steps = np.append(np.unique(at), 1.0)  # (k,)
    # |y + t d| is linear in t until y + t d changes its sign; ``more`` is the excess after that.
    # The linear part joins the slope, since near the minimum these two cancel.
    signs = np.where(y != 0, np.sign(y), np.sign(d))
    more = 2.0 * np.maximum(-signs * (y + steps[:, None] * d), 0.0) @ strengths
    slope = (gradient + strengths * signs) @ d
    values = steps * slope + 0.5 * steps**2 * (d @ Hd) + more
    best = int(np.argmin(values))
    if not values[best] < 0:
        return y, gradient, False
    new = y + steps[best] * d
    new[np.flatnonzero(crosses)[at == steps[best]]] = 0.0
    return new, gradient + steps[best] * Hd, True
