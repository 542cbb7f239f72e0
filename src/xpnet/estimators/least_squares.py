"""Reduces least squares to a small problem: ``|X W - Y|^2 = |R_x W - R_y|^2 + constant``.

X and Y are read a block of rows at a time, centred and multiplied by the roots of their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, lsqr

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.estimators.design import Design


def reduced(design: Design, x_mean: Array, y_mean: Array) -> tuple[Array, Array]:
    """``R_x`` (r, n) and ``R_y`` (r, K) with an orthonormal Q: ``X = Q R_x``, ``R_y = Q^T Y``."""
    n = design.X.shape[1]
    found = _two_grams(design, x_mean, y_mean) if design.X.shape[0] >= 4 * n else None
    if found is not None:
        return found
    # Golub & Van Loan 2013, section 5.2: Householder's reflections; for blocks, of [R, next rows].
    xp, blocks = design.place.xp, _centred(design, x_mean, y_mean)
    _, R = xp.linalg.qr(xp.concat(next(blocks), axis=1))
    for X, Y in blocks:
        _, R = xp.linalg.qr(xp.concat([R, xp.concat([X, Y], axis=1)], axis=0))
    return R[:, :n], R[:, n:]


def _centred(design: Design, x_mean: Array, y_mean: Array) -> Iterator[tuple[Array, Array]]:
    for _, (X, Y, w) in design.blocks():
        X, Y = X - x_mean, Y - y_mean
        if w is not None:
            root = design.place.xp.sqrt(w)[:, None]
            X, Y = root * X, root * Y
        yield X, Y


def _two_grams(design: Design, x_mean: Array, y_mean: Array) -> tuple[Array, Array] | None:
    """``reduced`` by matrix products, several times faster; None where X is too ill-conditioned.

    X^T X = V L V^T loses the square of the condition number. X whitened with it, X V L^-1/2, has
    nearly orthonormal columns, so a second such product loses nothing (CholeskyQR2: Yamamoto,
    Nakatsukasa, Yanagisawa & Fukaya 2015, with eigenvalues in place of Cholesky factors).
    """
    xp, n, K = design.place.xp, design.X.shape[1], design.Y.shape[1]
    options = {"dtype": design.place.dtype, "device": design.place.device}
    gram = xp.zeros((n, n), **options)
    for X, _ in _centred(design, x_mean, y_mean):
        gram = gram + X.T @ X
    norms = xp.sqrt(xp.linalg.diagonal(gram))  # (n,) of the columns
    if not float(xp.min(norms)) > 0:
        return None
    L, V = on_host(np.linalg.eigh, gram / norms / norms[:, None], design)
    if not float(L[0] / L[n - 1]) > 64 * n * float(xp.finfo(options["dtype"]).eps):
        return None
    root = xp.sqrt(L)
    whitening = (V / root) / norms[:, None]  # (n, n)
    gram, product = xp.zeros((n, n), **options), xp.zeros((n, K), **options)
    for X, Y in _centred(design, x_mean, y_mean):
        Q = X @ whitening
        gram, product = gram + Q.T @ Q, product + Q.T @ Y
    M, U = on_host(np.linalg.eigh, gram, design)  # M all near 1
    R_x = ((U * xp.sqrt(M)).T @ (root[:, None] * V.T)) * norms
    return R_x, (U / xp.sqrt(M)).T @ product


def on_host(function: Callable[..., Any], a: Array, design: Design) -> list[Array]:
    """Factorises a small matrix with a NumPy function, which no device does faster."""
    factors = function(np.asarray(to_numpy(a), np.float64))
    return [design.place.asarray(factor, design.place.dtype) for factor in factors]


def iterated(design: Design, x_mean: Array, y_mean: Array, tol: float) -> np.ndarray:
    """W (K, n) by LSQR (Paige & Saunders 1982) for a SciPy matrix that stays sparse."""
    X, root = design.X, np.sqrt(design.w) if design.w is not None else np.ones(design.X.shape[0])
    centred = LinearOperator(
        X.shape,
        matvec=lambda v: root * (X @ v - x_mean @ v),
        rmatvec=lambda v: X.T @ (root * v) - x_mean * (root @ v),
        dtype=X.dtype,
    )
    columns = ((design.Y - y_mean) * root[:, None]).T
    return np.stack([lsqr(centred, column, atol=tol, btol=tol)[0] for column in columns])
