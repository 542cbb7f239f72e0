"""`LinearRegression`: scikit-learn's ordinary least squares, on any array library."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from scipy.optimize import nnls
from sklearn.base import _fit_context
from sklearn.linear_model import LinearRegression as Original

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.losses import squared
from xpnet.estimators.arrays import is_sparse
from xpnet.estimators.base import ArrayRegressor
from xpnet.estimators.design import Design, linear_response
from xpnet.estimators.least_squares import iterated, on_host, reduced

WIDE = 2048  # more features of a SciPy matrix would make its R factor too large


@dataclass(kw_only=True, repr=False, eq=False)
class LinearRegression(ArrayRegressor):
    """Ordinary least squares with scikit-learn's parameters and attributes.

    The examples are reduced to an R factor, a block of rows at a time, and R is solved by its
    singular value decomposition (Golub & Van Loan 2013, section 5.5): of several minimisers the one
    with the smallest coefficients.

    Parameters
    ----------
    tol : float, default=1e-6
        Singular values below ``tol`` times the largest count as 0.
    positive : bool, default=False
        No negative coefficients (Lawson & Hanson 1974; SciPy's ``nnls`` on R, on the host).
    copy_X, n_jobs
        Have no effect: X is never written to.
    backend : str, module or array, default="auto"
        Where to compute: "auto" follows X. Otherwise host data is moved there.
    device, dtype : optional
        Device and float dtype to compute in; left out, X decides.

    Attributes
    ----------
    coef_ : array (n_features,) or (n_targets, n_features)
    intercept_ : array () or (n_targets,); 0.0 if ``fit_intercept=False``
    rank_ : int, and singular_ : array (min(n_samples, n_features),)
        Of the centred X, weighted if there are weights. Not with ``positive``, and not where X is a
        SciPy matrix with more than 2048 features: its coefficients come from ``lsqr``, up to tol.
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
        """Fit to X (m, n_features), targets y (m,) or (m, n_targets), and weights (m,) if given."""
        if self.positive and is_sparse(X):
            raise TypeError("Sparse data was passed for X, but dense data is required.")
        place, X, y, w = self._read(X, y, sample_weight, multi_output=True, y_numeric=True)
        if w is not None and (w < 0).any():
            raise ValueError("Negative values in data passed to `sample_weight`")
        Y = place.asarray(y[:, None] if y.ndim == 1 else y, place.dtype)
        with place.context():
            design = Design(place, X, Y, w, squared)
            x_mean, y_mean = design.feature_means(), design.target_means()
            if not self.fit_intercept:
                x_mean, y_mean = 0.0 * x_mean, 0.0 * y_mean
            if design.multiplies and X.shape[1] > WIDE and place.name == "numpy":
                W = iterated(design, x_mean, y_mean, self.tol)
            else:
                W = self._solve(*reduced(design, x_mean, y_mean), design)  # (K, n)
            b = y_mean - W @ x_mean  # (K,)
        self.coef_, self.intercept_ = (W[0, :], b[0]) if y.ndim == 1 else (W, b)
        if not self.fit_intercept:
            self.intercept_ = 0.0
        return self

    def _solve(self, R_x: Array, R_y: Array, design: Design) -> Array:
        """The coefficients (K, n) of least ``|R_x @ W.T - R_y|``."""
        place, xp = design.place, design.place.xp
        if self.positive:
            host_x, host_y = to_numpy(R_x), to_numpy(R_y)
            found = np.stack([nnls(host_x, column)[0] for column in host_y.T])
            return place.asarray(found, place.dtype)
        U, sigma, Vh = on_host(partial(np.linalg.svd, full_matrices=False), R_x, design)
        kept = sigma > self.tol * float(xp.max(sigma))
        self.rank_, self.singular_ = int(xp.sum(xp.astype(kept, xp.int32))), sigma
        inverse = xp.where(kept, 1.0 / xp.where(kept, sigma, 0.0 * sigma + 1.0), 0.0 * sigma)
        return (Vh.T @ (inverse[:, None] * (U.T @ R_y))).T

    def predict(self, X: Any) -> Array:
        """Predictions (m,) or (m, n_targets), in the library of X."""
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
