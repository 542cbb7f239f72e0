"""The leaf operations of a training step, in pure Array API functions.

``network.py`` writes the chain rule over these. This version is the reference: no ``out=``, no
in-place writes, no library names, nothing newer than the 2024.12 standard, so it runs on any
namespace. Tests compare the fast leaves of every engine with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from array_api_compat import device

from xpnet._typing import Array, Namespace
from xpnet.core import masks
from xpnet.core.activations import ACTIVATIONS, Activation
from xpnet.core.losses import Loss
from xpnet.core.optimizers import Moments, Optimizer
from xpnet.core.parameters import Layer, Layout

ROWS = 2**25  # bytes of rows of 0 and 1 that labels may become at once


class Data(NamedTuple):
    """Examples as contiguous *rows*: a minibatch is a row gather, and its transpose is a view."""

    X: Array  # (m, n_x)
    Y: Array  # (m, n_y), or class numbers (m,), of which each step makes its rows of 0 and 1
    w: Array | None  # (m,) sample weights, of mean 1 over all examples; None: all are 1


class Batch(NamedTuple):
    """The examples that a step reads."""

    data: Data
    rows: Array | None  # (m_batch,) numbers of the examples; None: all examples


class Share(NamedTuple):
    """What one of several processes has to do of each step: see ``xpnet.distributed``."""

    rank: int  # its examples are number rank, rank + size, ... of a minibatch
    size: int
    n: int  # its examples in an epoch
    add_up: Callable[[Array], Array]  # the sum of a vector over all processes


class Leaves:
    """Reference leaf operations on namespace ``xp`` for nets laid out as ``layout``."""

    ranks: Share | None = None  # where several processes share each minibatch

    def __init__(self, xp: Namespace, layout: Layout) -> None:
        self.xp = xp
        self.layout = layout

    # -- reading -------------------------------------------------------------------------
    def gather(
        self, batch: Batch, share: Array | float | None = None
    ) -> tuple[Array, Array, Array | float]:
        """``X`` (n_x, m), ``Y`` (n_y, m) and the share ``s`` of each example, (1, m) or scalar.

        ``1 / m``, or with sample weights ``w * share``; None: ``w`` over its sum. Where all weights
        are zero the shares are zero, and so are the cost and its gradient.
        """
        (X, Y, w), rows = batch
        if rows is not None:
            X, Y = (self.xp.take(a, rows, axis=0) for a in (X, Y))
            w = None if w is None else self.xp.take(w, rows, axis=0)
        Y = self.target_rows(Y, X.dtype)
        if w is None:
            return X.T, Y.T, 1.0 / X.shape[0]
        if share is None:
            total = self.xp.maximum(self.xp.sum(w), float(self.xp.finfo(w.dtype).smallest_normal))
            return X.T, Y.T, (w / total)[None, :]
        return X.T, Y.T, (w * share)[None, :]

    @property
    def labels_at_once(self) -> int:
        """How many labels may become rows of 0 and 1 at once; of more, each step makes its own."""
        return ROWS // (4 * self.layout.sizes[-1])

    def gatherable(self, Y: Array, dtype: Any) -> Array:
        """``Y`` as steps gather it sooner: few class numbers as rows, many as they are."""
        return self.target_rows(Y, dtype) if Y.shape[0] <= self.labels_at_once else Y

    def target_rows(self, Y: Array, dtype: Any) -> Array:
        """``Y`` (m, n_y); of class numbers (m,) rows that are 1 in their column, else 0."""
        if Y.ndim == 2:
            return Y
        numbers = self.xp.arange(self.layout.sizes[-1], dtype=Y.dtype, device=device(Y))
        return self.xp.astype(Y[:, None] == numbers[None, :], dtype)

    def layers(self, theta: Array) -> list[Layer]:
        return self.layout.layers(theta, xp=self.xp)

    # -- forward -------------------------------------------------------------------------
    def affine(self, W: Array, A: Array, b: Array) -> Array:
        return W @ A + b  # (n_out, m)

    def activate(self, activation: Activation, Z: Array) -> Array:
        A = activation.value(Z, xp=self.xp)  # (n, m)
        if activation != ACTIVATIONS.get(activation.name):  # its author may use its memory again
            A = self.xp.asarray(A, copy=True)
        return A

    def drop(
        self, layer: int, rate: float, A: Array, key: Sequence[Array | float]
    ) -> tuple[Array, Any]:
        """``A * D`` (n, m) and ``D``, which only ``undrop`` reads: an engine chooses its form.

        ``D`` is 0 with probability ``rate``, else ``1 / (1 - rate)`` (Srivastava et al. 2014,
        inverted dropout). ``layer`` is the number of the hidden layer, from 0. ``slope`` is later
        given ``A`` without dropout.
        """
        n, m = A.shape
        end, mine = self.places(m)
        fields = masks.fields(layer, end, n, key, xp=self.xp, device=device(A))[mine, ...]
        kept = self.xp.astype(fields >= masks.threshold(rate), A.dtype)
        D = masks.scale(rate) * kept.T  # (n, m)
        return A * D, D

    def places(self, m: int) -> tuple[int, slice]:
        """Where the ``m`` examples stand in the minibatch of all ranks: up to where, and which."""
        rank, size = (0, 1) if self.ranks is None else self.ranks[:2]
        return rank + (m - 1) * size + 1, slice(rank, None, size)

    def predict(self, loss: Loss, Z: Array) -> Array:
        return loss.predict(Z, xp=self.xp)  # (n_y, m)

    def output(self, loss: Loss, Z: Array, Y: Array, s: Array | float) -> tuple[Array, Array]:
        """The cost, 0-d, and ``dZ`` (n_y, m): with a canonical link ``s * (A - Y)``."""
        cost = self.xp.sum(s * loss.value(Z, Y, xp=self.xp))
        return cost, s * (loss.predict(Z, xp=self.xp) - Y)

    # -- backward ------------------------------------------------------------------------
    def weight_gradient(self, layer: int, dZ: Array, A_prev: Array) -> Array:
        return dZ @ A_prev.T  # (n_out, n_in)

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        return self.xp.sum(dZ, axis=1, keepdims=True)  # (n_out, 1)

    def propagate(self, W: Array, dZ: Array) -> Array:
        return W.T @ dZ  # (n_in, m)

    def undrop(self, dA: Array, D: Any) -> Array:
        return dA * D  # (n, m)

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        """``dZ = dA * g'(A)``; an engine may overwrite ``dA`` and ``A``."""
        return dA * activation.slope(A, xp=self.xp)  # (n, m)

    def flatten(self, gradients: list[Layer]) -> Array:
        return self.layout.flatten(gradients, xp=self.xp)  # (n_parameters,)

    def allreduce(self, cost: Array, gradient: Array) -> tuple[Array, Array]:
        """The cost and the gradient of the minibatch of all ranks, whose parts are added up."""
        if self.ranks is None:
            return cost, gradient
        total = self.ranks.add_up(self.xp.concat([gradient, self.xp.reshape(cost, (1,))]))
        return total[-1], total[:-1]

    def penalize_cost(self, l2: Array | float, theta: Array, cost: Array) -> Array:
        """The cost plus ``l2/2 * sum(W**2)``; biases are not penalised."""
        weights = theta[: self.layout.n_weights]
        return cost + 0.5 * l2 * self.xp.sum(weights * weights)

    def penalize_gradient(self, l2: Array | float, theta: Array, gradient: Array) -> Array:
        n = self.layout.n_weights
        return self.xp.concat([gradient[:n] + l2 * theta[:n], gradient[n:]])

    def sparsify_cost(self, l1: Array | float, theta: Array, cost: Array) -> Array:
        """The cost plus ``l1 * sum(abs(W))``; biases are not penalised."""
        return cost + l1 * self.xp.sum(self.xp.abs(theta[: self.layout.n_weights]))

    def sparsify_gradient(self, l1: Array | float, theta: Array, gradient: Array) -> Array:
        n = self.layout.n_weights
        return self.xp.concat([gradient[:n] + l1 * self.xp.sign(theta[:n]), gradient[n:]])

    def clip(self, clip_norm: Array | float, gradient: Array) -> Array:
        """The gradient times ``min(1, clip_norm / norm)`` (Pascanu et al. 2013, Algorithm 1)."""
        norm = self.xp.sqrt(self.xp.sum(gradient * gradient))
        bound = self.xp.zeros_like(norm) + clip_norm
        # bound / max(norm, bound) is 1 for a norm up to the bound, also for 0. With an infinite
        # norm (the squares may overflow) it would be 0 and hide the overflow: inf - inf makes the
        # gradient NaN instead.
        return gradient * (bound / self.xp.maximum(norm, bound) + (norm - norm))

    # -- update --------------------------------------------------------------------------
    def update(
        self,
        optimizer: Optimizer,
        theta: Array,
        moments: Moments,
        gradient: Array,
        scalars: tuple[Array, ...],
    ) -> tuple[Array, Moments]:
        return optimizer.update(
            theta, moments, gradient, scalars, n_weights=self.layout.n_weights, xp=self.xp
        )
