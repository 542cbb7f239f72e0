"""The examples of a full-batch fit: their mean loss, and the moments of their features.

A dense X is used as it is. A sparse X is multiplied as it is where its own library computes; it is
made dense, a block of rows at a time, elsewhere and for computations that need dense rows.

Letters: m examples, n features, K outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend, magnitude, to_numpy
from xpnet.core.leaves import Data
from xpnet.core.losses import Loss
from xpnet.core.network import Objective
from xpnet.engines import engine_for
from xpnet.engines.generic import mean_over
from xpnet.estimators.arrays import dense_blocks, is_sparse, multiplies

SAMPLE = 4096  # examples that are enough to estimate a variance


def linear_response(place: Backend, X: Any, W: Any, b: Array) -> Array:
    """``X @ W.T + b`` (m, K) in ``place``: X (m, n) there or CSR, W (K, n), b (K,)."""
    with place.context():
        # of a pickle they are on the host
        W, b = (place.asarray(x) if isinstance(x, np.ndarray) else x for x in (W, b))
        if not is_sparse(X):
            return X @ W.T + b
        if not multiplies(X, place):
            return place.xp.concat([part @ W.T + b for _, part in dense_blocks(X, place)], axis=0)
        Z = X @ W.T
        return (Z.toarray() if is_sparse(Z) else Z) + b


class Rows(NamedTuple):
    """Consecutive examples, with dense X, and their share of the sum of all weights."""

    share: float
    data: Data


class Design:
    """Examples in rows, and the loss of a linear model on them.

    Parameters
    ----------
    X : array (m, n) of ``place``, or a SciPy or cupyx CSR matrix
    Y : array (m, K) of ``place``, or int32 class numbers (m,) of K classes
    w : ndarray (m,) or None
        Sample weights, on the host.

    Raises
    ------
    ValueError
        The weights do not add up to a positive number.
    """

    def __init__(
        self, place: Backend, X: Any, Y: Array, w: np.ndarray | None, loss: Loss, K: int = 0
    ) -> None:
        # Weights count in relation to each other: scaled, a cast or their sum loses none.
        self.w_unit = 1.0 if w is None else magnitude(w)
        w = None if w is None else w / np.float64(self.w_unit)
        self.place, self.X, self.loss, self.host_w = place, X, loss, w
        self.w = None if w is None else place.asarray(w, place.dtype)
        self.total = float(X.shape[0] if w is None else w.sum())
        if not self.total > 0:
            raise ValueError(f"sample_weight sums to {self.total}; it must be positive")
        self.K = K or Y.shape[1]
        self.engine = engine_for(place, Objective((X.shape[1], self.K), (), loss))
        self.Y = self.engine.ops.gatherable(Y, place.dtype)
        self.sparse = is_sparse(X)
        self.multiplies = multiplies(X, place)

    def blocks(self, elements: int | None = None) -> Iterator[Rows]:
        """All examples in their order; see ``dense_blocks``."""
        for part, X in dense_blocks(self.X, self.place, elements):
            w = None if self.w is None else self.w[part]
            weight = X.shape[0] if self.host_w is None else self.host_w[part].sum()
            yield Rows(float(weight) / self.total, Data(X, self.Y[part, ...], w))

    def shares(self, data: Data | None = None) -> Array:
        """The share (m,) of each of these examples, or of all, in the sum of all weights."""
        place, X, w = self.place, *((self.X, self.w) if data is None else (data.X, data.w))
        if w is not None:
            return w / self.total
        share = 1.0 / self.total
        return place.xp.full((X.shape[0],), share, dtype=place.dtype, device=place.device)

    def value_and_gradient(self, theta: Array) -> tuple[Array, ...]:
        """The weighted mean loss, 0-d, and its gradient, at ``theta`` (K n + K,): W, then b."""
        if self.multiplies:
            return self._sparse_value_and_gradient(theta)
        whole = Data(self.X, self.Y, self.w)
        parts = self.blocks() if self.sparse else [(1.0, whole)]
        return mean_over(parts, lambda data: self.engine.value_and_gradient(theta, data))

    def _sparse_value_and_gradient(self, theta: Array) -> tuple[Array, Array]:
        ops, xp = self.engine.ops, self.place.xp
        (W, b), *_ = ops.layers(theta)
        s = 1.0 / self.total if self.w is None else (self.w / self.total)[None, :]
        Z = (self.X @ W.T).T + b  # (K, m)
        value, dZ = ops.output(self.loss, Z, ops.target_rows(self.Y, theta.dtype).T, s)  # dZ (K, m)
        dW, db = self.X.T @ dZ.T, ops.bias_gradient(0, dZ)  # (n, K), (K, 1)
        return value, xp.concat([xp.reshape(dW.T, (-1,)), db[:, 0]])

    def predict(self, theta: Array, X: Array) -> Array:
        """The mean response (K, rows) of dense rows of X."""
        return self.place.asarray(self.engine.predict(theta, X.T))

    def moments(self, *, centred: bool) -> tuple[Array, Array, Any]:
        """Weighted mean and variance (n,) of each feature; not centred: 0 and the mean square.

        A constant feature has a variance of 0, not of rounding. Where there are many equally
        weighted examples the variance is that of a sample: a scale need not be exact. So that no
        square overflows, it is that of the feature over a third answer, a power of two from 1 on.
        """
        xp, eps = self.place.xp, float(self.place.xp.finfo(self.place.dtype).eps)
        mean = self.feature_means()
        mean = mean if centred else 0.0 * mean
        some = self._sample()
        unit = some._units()
        if self.multiplies:
            # Most of X is 0, so the difference of squares loses few digits.
            square = (self.X * (1.0 / unit)).power(2).T @ self.shares()
            variance, rounding = square - (mean / unit) ** 2, 8.0 * eps * square
        else:
            variance, rounding = 0.0 * mean, (8.0 * eps * mean / unit) ** 2
            for rows in some.blocks(None if self.place.is_accelerator else 1 << 16):  # in cache
                variance = variance + some.shares(rows.data) @ ((rows.data.X - mean) / unit) ** 2
        return mean, xp.where(variance > rounding, variance, 0.0 * mean), unit

    def _units(self) -> Any:
        """Powers of two near the largest number of each feature (n,), of a sparse X of all."""
        if self.sparse:
            return max(1.0, magnitude(self.X.data))
        xp = self.place.xp
        largest = to_numpy(xp.maximum(xp.max(self.X, axis=0), -xp.min(self.X, axis=0)))
        unit = np.ldexp(1.0, np.maximum(np.frexp(largest)[1] - 8, 0))
        return self.place.asarray(unit, self.place.dtype)

    def _sample(self) -> Design:
        step = self.X.shape[0] // SAMPLE
        if self.sparse or self.w is not None or step < 2:
            return self
        X, Y = self.X[::step, :], self.Y[::step, ...]
        return Design(self.place, X, Y, None, self.loss, self.K)

    def means(self) -> tuple[Array, Array]:
        """The weighted means of the features (n,) and of the targets (K,), to rounding.

        Sums of large numbers lose digits that the differences from a rough mean keep.
        """
        rough = self._sample()
        x, y = rough.feature_means(), rough.shares() @ rough.Y
        if not self.multiplies:
            x = x + sum(self.shares(rows.data) @ (rows.data.X - x) for rows in self.blocks())
        return x, y + self.shares() @ (self.Y - y)

    def feature_means(self) -> Array:
        """The weighted mean (n,) of each feature; of a sparse one from sums in float64."""
        if self.multiplies:
            shares = self.place.xp.astype(self.shares(), self.place.xp.float64)
            return self.place.asarray(self.X.T @ shares, self.place.dtype)
        if not self.sparse:
            return self.shares() @ self.X
        return sum(self.shares(rows.data) @ rows.data.X for rows in self.blocks())
