"""`LinearRegression`: scikit-learn's ordinary least squares, on any array library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy.optimize import nnls
from scipy.sparse.linalg import LinearOperator, lsqr
from sklearn.base import _fit_context
from sklearn.linear_model import LinearRegression as Original

from xpnet._typing import Array
from xpnet.backends.place import magnitude, to_numpy
from xpnet.core.losses import squared
from xpnet.estimators import arrays
from xpnet.estimators.arrays import is_sparse, values_of
from xpnet.estimators.base import ArrayRegressor
from xpnet.estimators.design import Design, linear_response

WIDE = 2048  # more features of a SciPy matrix would make its R factor too large
ROWS = 8192  # float32 sums of more products lose digits where a CPU adds them one by one


@dataclass(kw_only=True, repr=False, eq=False)
class LinearRegression(ArrayRegressor):
    """Ordinary least squares with scikit-learn's parameters and attributes.

    Parameters
    ----------
    fit_intercept : bool
        Whether there is one.
    copy_X : bool
        Has no effect: X is never written to.
    tol : float
        Singular values below ``tol`` times the largest count as 0.
    n_jobs : int, optional
        Has no effect.
    positive : bool
        No negative coefficients (Lawson & Hanson 1974; SciPy's ``nnls`` on R, on the host).
    backend : str, module or array
        Where to compute: "auto" follows X. Otherwise host data is moved there.
    device : str or device object, optional
        Where to compute; left out, X decides.
    dtype : {"float32", "float64"}, optional
        In which dtype to compute; left out, X decides.

    Attributes
    ----------
    coef_ : array (n_features,) or (n_targets, n_features)
        In the library and on the device of X.
    intercept_ : array () or (n_targets,)
        There too; 0.0 if ``fit_intercept=False``.
    rank_ : int
        Of the centred X, weighted if there are weights. Not with ``positive``, and not where X is a
        SciPy matrix with more than 2048 features: its coefficients come from ``lsqr``, up to tol.
    singular_ : array (min(n_samples, n_features),)
        Its singular values, where there is a rank.

    Notes
    -----
    The examples are reduced to an R factor, a block of rows at a time, and R is solved by its
    singular value decomposition: of several minimisers the one with the smallest coefficients.

    References
    ----------
    Golub & Van Loan 2013, "Matrix computations", sections 5.2 and 5.5.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> model = xpnet.LinearRegression().fit(X, y)
    >>> model.coef_.round(6), float(model.intercept_.round(6))
    (array([2.]), 1.0)
    """

    _parameter_constraints: ClassVar[dict] = {
        **Original._parameter_constraints,
        **ArrayRegressor._parameter_constraints,
    }

    fit_intercept: bool = True
    copy_X: bool = True
    tol: float = 1e-6
    n_jobs: int | None = None
    positive: bool = False
    backend: Any = "auto"
    device: Any = None
    dtype: Any = None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LinearRegression:
        """Fit the model.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Of any library; the fit runs where it lives.
        y : array-like (n_samples,) or (n_samples, n_targets)
            Targets, of any library.
        sample_weight : array-like (n_samples,), optional
            How much each example counts; at least 0.

        Returns
        -------
        LinearRegression
            This estimator.

        Raises
        ------
        ValueError
            What scikit-learn's checks find; X of another library or device than asked for.
        TypeError
            X is sparse, and ``positive`` is on.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [9.0]]), np.array([1.0, 3.0, 5.0])
        >>> xpnet.LinearRegression().fit(X, y, sample_weight=[1, 1, 0]).coef_.round(6)
        array([2.])
        """
        if self.positive and is_sparse(X):
            raise TypeError("Sparse data was passed for X, but dense data is required.")
        checks = {"multi_output": True, "y_numeric": True, "ensure_non_negative": True}
        place, X, y, w = self._read(X, y, sample_weight, **checks)
        Y = place.asarray(y[:, None] if y.ndim == 1 else y, place.dtype)
        with place.context():
            design = Design(place, X, Y, w, squared)
            x_mean, y_mean = design.means()
            if not self.fit_intercept:
                x_mean, y_mean = 0.0 * x_mean, 0.0 * y_mean
            centred = Centred(design, x_mean, y_mean, magnitude(values_of(X)), magnitude(Y))
            if design.multiplies and X.shape[1] > WIDE:
                W = iterated(centred, self.tol)
            else:
                W = self._solve(*reduced(centred), centred)  # (K, n)
            W = W * (centred.y_unit / centred.x_unit)
            b = y_mean - W @ x_mean  # (K,)
        self.coef_, self.intercept_ = (W[0, :], b[0]) if y.ndim == 1 else (W, b)
        if not self.fit_intercept:
            self.intercept_ = 0.0
        return self

    def _solve(self, R_x: Array, R_y: Array, centred: Centred) -> Array:
        """The coefficients (K, n) of least ``|R_x @ W.T - R_y|``."""
        place, xp = centred.design.place, centred.design.place.xp
        if self.positive:
            host_x, host_y = to_numpy(R_x), to_numpy(R_y)
            found = np.stack([nnls(host_x, column)[0] for column in host_y.T])
            return place.asarray(found, place.dtype)
        U, sigma, Vh = on_host(partial(np.linalg.svd, full_matrices=False), R_x, centred.design)
        kept = sigma > self.tol * float(xp.max(sigma))
        self.rank_ = int(xp.sum(xp.astype(kept, xp.int32)))
        with np.errstate(over="ignore"):  # float32 may not hold them
            singular = np.asarray(to_numpy(sigma), np.float64) * centred.x_unit
            singular = singular * sqrt(centred.design.w_unit)
            self.singular_ = place.asarray(singular, place.dtype)
        inverse = xp.where(kept, 1.0 / xp.where(kept, sigma, 0.0 * sigma + 1.0), 0.0 * sigma)
        return (Vh.T @ (inverse[:, None] * (U.T @ R_y))).T

    def predict(self, X: Any) -> Array:
        """Predict targets.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array (n_samples,) or (n_samples, n_targets)
            In the library of X.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
        >>> xpnet.LinearRegression().fit(X, y).predict(np.array([[3.0]])).round(6)
        array([7.])
        """
        rows, place = self._read_X(X, "predict")
        single = self.coef_.ndim == 1
        W = self.coef_[None, :] if single else self.coef_
        Y = linear_response(place, rows, W, self.intercept_)
        return self._given_back(Y[:, 0] if single else Y, X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.positive
        tags.target_tags.multi_output = True
        return tags


Original.register(LinearRegression)  # RANSACRegressor asks for one in order to count its samples


# -- least squares as a small problem: |X W - Y| = |R_x W - R_y| + c -----------------------
class Centred(NamedTuple):
    """The examples of a fit: centred, over their units, and times the root of their weight."""

    design: Design
    x_mean: Array  # (n,)
    y_mean: Array  # (K,)
    x_unit: float
    y_unit: float

    def blocks(self) -> Iterator[tuple[Array, Array]]:
        """X (rows, n) and Y (rows, K), a block of rows at a time."""
        n, place = self.design.X.shape[1], self.design.place
        elements = arrays.BLOCK if place.is_accelerator else min(arrays.BLOCK, ROWS * n)
        for _, (X, Y, w) in self.design.blocks(elements):
            X, Y = X - self.x_mean, Y - self.y_mean
            if self.x_unit != 1.0:
                X = X / self.x_unit
            if w is not None:
                root = place.xp.sqrt(w)[:, None]
                X, Y = root * X, root * Y
            yield X, Y / self.y_unit


def reduced(centred: Centred) -> tuple[Array, Array]:
    """``R_x`` (r, n) and ``R_y`` (r, K) with an orthonormal Q: ``X = Q R_x``, ``R_y = Q^T Y``."""
    m, n = centred.design.X.shape
    found = _two_grams(centred) if m >= 4 * n else None
    if found is not None:
        return found
    # Golub & Van Loan 2013, section 5.2: Householder's reflections; for blocks, of [R, next rows].
    xp, blocks = centred.design.place.xp, centred.blocks()
    _, R = xp.linalg.qr(xp.concat(next(blocks), axis=1))
    for X, Y in blocks:
        _, R_block = xp.linalg.qr(xp.concat([X, Y], axis=1))  # below R, JAX loses its small rows
        _, R = xp.linalg.qr(xp.concat([R, R_block], axis=0))
    return R[:, :n], R[:, n:]


def _two_grams(centred: Centred) -> tuple[Array, Array] | None:
    """``reduced`` by matrix products, several times faster; None where X is too ill-conditioned.

    X^T X = V L V^T loses the square of the condition number. X whitened with it, X V L^-1/2, has
    nearly orthonormal columns, so a second such product loses nothing (CholeskyQR2: Yamamoto,
    Nakatsukasa, Yanagisawa & Fukaya 2015, with eigenvalues in place of Cholesky factors).
    """
    design, xp = centred.design, centred.design.place.xp
    n, eps = design.X.shape[1], float(xp.finfo(design.place.dtype).eps)
    gram = sum(X.T @ X for X, _ in centred.blocks())
    norms = xp.sqrt(xp.linalg.diagonal(gram))  # (n,) of the columns
    if not float(xp.min(norms)) > 0:
        return None
    L, V = on_host(np.linalg.eigh, gram / norms / norms[:, None], design)
    if not float(L[0] / L[n - 1]) > 64 * n * eps:
        return None
    root = xp.sqrt(L)
    whitening = (V / root) / norms[:, None]  # (n, n)
    gram, product = 0.0, 0.0
    for X, Y in centred.blocks():
        Q = X @ whitening
        gram, product = gram + Q.T @ Q, product + Q.T @ Y
    M, U = on_host(np.linalg.eigh, gram, design)  # M all near 1
    R_x = ((U * xp.sqrt(M)).T @ (root[:, None] * V.T)) * norms
    return R_x, (U / xp.sqrt(M)).T @ product


def on_host(function: Callable[..., Any], a: Array, design: Design) -> list[Array]:
    """Factorises a small matrix with a NumPy function, which no device does faster."""
    factors = function(np.asarray(to_numpy(a), np.float64))
    return [design.place.asarray(factor, design.place.dtype) for factor in factors]


def iterated(centred: Centred, tol: float) -> np.ndarray:
    """W (K, n) by LSQR (Paige & Saunders 1982) for a SciPy matrix that stays sparse."""
    design, mean, unit = centred.design, centred.x_mean, centred.x_unit
    X, root = design.X, np.ones(design.X.shape[0]) if design.w is None else np.sqrt(design.w)
    operator = LinearOperator(
        X.shape,
        matvec=lambda v: root * (X @ v - mean @ v) / unit,
        rmatvec=lambda v: (X.T @ (root * v) - mean * (root @ v)) / unit,
        dtype=X.dtype,
    )
    columns = ((design.Y - centred.y_mean) / centred.y_unit * root[:, None]).T
    return np.stack([lsqr(operator, column, atol=tol, btol=tol)[0] for column in columns])
