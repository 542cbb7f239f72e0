"""The predictions of a linear classifier, for dense and sparse ``X`` and ``coef_``."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model._base import LinearClassifierMixin
from sklearn.utils.validation import check_is_fitted

from xpnet._typing import Array
from xpnet.backends.place import Backend, to_numpy
from xpnet.core.losses import bernoulli, categorical
from xpnet.estimators.arrays import is_foreign
from xpnet.estimators.base import ArrayClassifier
from xpnet.estimators.design import linear_response


class LinearClassifier(ArrayClassifier, LinearClassifierMixin):
    """The methods of a fitted linear classifier; ``classes_`` is a host array."""

    classes_: np.ndarray
    coef_: Any  # (K, n), or (n,) as scikit-learn's cross-validation sets it; sparse after sparsify
    intercept_: Any

    def _home_array(self) -> Array:
        return self.coef_.data if sparse.issparse(self.coef_) else self.coef_

    def _scores(self, X: Any, method: str) -> tuple[Array, Backend]:
        """The logits (K, m), K = 1 for two classes, and where they are."""
        rows, place = self._read_X(X, method)
        W = self.coef_ if self.coef_.ndim == 2 else self.coef_[None, :]
        return linear_response(place, rows, W, self.intercept_).T, place

    def decision_function(self, X: Any) -> Array:
        """The logits: (m,), positive for ``classes_[1]``, with two classes, else (m, n_classes)."""
        Z, _ = self._scores(X, "decision_function")
        return self._given_back(Z[0, :] if Z.shape[0] == 1 else Z.T, X)

    def predict(self, X: Any) -> Array:
        """Labels (m,), in the library of X unless they are strings or objects."""
        Z, place = self._scores(X, "predict")
        xp, K = place.xp, Z.shape[0]
        with place.context():
            index = xp.astype(Z[0, :] > 0, xp.int32) if K == 1 else xp.argmax(Z, axis=0)
            if is_foreign(X) and self.classes_.dtype.kind in "biuf":
                return xp.take(place.asarray(self.classes_), index)
        return self.classes_[to_numpy(index)]

    def predict_proba(self, X: Any) -> Array:
        """Probabilities (m, n_classes)."""
        Z, place = self._scores(X, "predict_proba")
        xp = place.xp
        with place.context():
            if Z.shape[0] > 1:
                return self._given_back(categorical.predict(Z, xp=xp).T, X)
            p = bernoulli.predict(Z[0, :], xp=xp)
            return self._given_back(xp.stack([1.0 - p, p], axis=1), X)

    def predict_log_proba(self, X: Any) -> Array:
        """Logarithms of the probabilities (m, n_classes), from the logits: never ``log(0)``."""
        Z, place = self._scores(X, "predict_log_proba")
        xp = place.xp
        with place.context():
            Z = xp.concat([0.0 * Z, Z], axis=0) if Z.shape[0] == 1 else Z
            shifted = Z - xp.max(Z, axis=0, keepdims=True)
            total = xp.sum(xp.exp(shifted), axis=0, keepdims=True)
            return self._given_back((shifted - xp.log(total)).T, X)

    def sparsify(self) -> Any:
        """Turns ``coef_`` into a SciPy CSR array, which is smaller where l1 leaves many zeros.

        Raises
        ------
        TypeError
            Fitted on another library than NumPy.
        """
        check_is_fitted(self, msg="Estimator, %(name)s, must be fitted before sparsifying.")
        if is_foreign(self.coef_):
            raise TypeError(
                "sparsify() makes a SciPy matrix of coef_, but this estimator was fitted on "
                f"{type(self.coef_).__module__} arrays; move it to NumPy first"
            )
        self.coef_ = sparse.csr_array(self.coef_)
        return self

    def densify(self) -> Any:
        """Turns ``coef_`` into a dense array again."""
        check_is_fitted(self, msg="Estimator, %(name)s, must be fitted before densifying.")
        if sparse.issparse(self.coef_):
            self.coef_ = self.coef_.toarray()
        return self
