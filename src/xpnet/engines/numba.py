"""Fused loops for the NumPy engine, compiled by Numba where it is installed (``xpnet[numba]``).

NumPy passes over memory once per operation. Here the optimiser is one pass over the parameters,
bias and ReLU one pass over a layer, and what surrounds the exponentials of the output two. The
exponentials themselves stay NumPy's, whose vectorised loops are faster than scalar calls. Compiled
code is kept on disk, so only the first run on a machine waits for the compiler.

Buffers are walked as they lie in memory: ``by_feature`` says that a row of a buffer holds one
feature of all examples, otherwise all features of one example.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np

from xpnet._typing import Array
from xpnet.core.activations import Activation, relu
from xpnet.core.losses import Loss, categorical
from xpnet.core.masks import PARITY, scale, threshold
from xpnet.core.optimizers import Adam, AdamW, GradientDescent, Moments, Momentum, RMSProp
from xpnet.engines import numpy_recorder
from xpnet.engines.numpy_dropout import halves


def kept_on_disk(*signature: Any, **options: Any) -> Callable[[Callable], Any]:
    """``numba.njit`` that keeps what it compiled, where there is a folder it may write to."""

    def decorate(function: Callable) -> Any:
        try:
            return numba.njit(*signature, cache=True, **options)(function)
        except RuntimeError:  # no such folder: compiled anew in each process
            return numba.njit(*signature, **options)(function)

    return decorate


# Sums may be reordered and products contracted, as BLAS does; NaN and infinity stay what they are.
compiled = kept_on_disk(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


@compiled
def add_bias_relu(Z, b, by_feature):  # type: ignore[no-untyped-def]
    rows, columns = Z.shape
    zero = Z.dtype.type(0)
    for i in range(rows):
        for j in range(columns):
            z = Z[i, j] + (b[i] if by_feature else b[j])
            Z[i, j] = zero if z < zero else z  # NaN is not below zero: it goes through


@compiled
def relu_slope(A, dA):  # type: ignore[no-untyped-def]
    rows, columns = A.shape
    zero = A.dtype.type(0)
    for i in range(rows):
        for j in range(columns):
            dA[i, j] = dA[i, j] if A[i, j] > zero else dA[i, j] * zero


@compiled
def shift_by_largest(Z, Y, picked, least):  # type: ignore[no-untyped-def]
    """Z := Z - its largest entry per example; picked := sum(Y Z) per example. Features in rows.

    Then no entry of Z is let below ``least``: see ``_categorical`` in ``numpy_recorder.py``.
    """
    n, m = Z.shape
    for j in range(m):
        picked[j] = Z[0, j]
    for i in range(1, n):
        for j in range(m):
            z = Z[i, j]
            picked[j] = picked[j] if z <= picked[j] else z
    for i in range(n):
        for j in range(m):
            Z[i, j] -= picked[j]
    for j in range(m):
        picked[j] = 0
    for i in range(n):
        for j in range(m):
            picked[j] += Y[j, i] * Z[i, j]
            Z[i, j] = least if Z[i, j] < least else Z[i, j]


@compiled
def normalise(E, Y, s, picked, total, dZ, cost):  # type: ignore[no-untyped-def]
    """dZ := s (E / sum(E) - Y); cost := sum(s (log sum(E) - picked)). Features in rows."""
    n, m = E.shape
    for j in range(m):
        total[j] = 0
    for i in range(n):
        for j in range(m):
            total[j] += E[i, j]
    value = 0.0
    for j in range(m):
        share = s[j] if s.size > 1 else s[0]
        value += share * (np.log(total[j]) - picked[j])
        total[j] = share / total[j]
    cost[()] = value
    for i in range(n):
        for j in range(m):
            share = s[j] if s.size > 1 else s[0]
            dZ[i, j] = E[i, j] * total[j] - Y[j, i] * share


@compiled
def add_penalty(weights, g, l2):  # type: ignore[no-untyped-def]
    for i in range(weights.size):
        g[i] += l2[()] * weights[i]


@compiled
def add_l1(weights, g, l1):  # type: ignore[no-untyped-def]
    for i in range(weights.size):
        g[i] += l1[()] * np.sign(weights[i])


@compiled
def add_absolute(weights, l1, cost):  # type: ignore[no-untyped-def]
    total = weights.dtype.type(0)
    for i in range(weights.size):
        total += abs(weights[i])
    cost[()] += l1[()] * total


@compiled
def mark(labels, index, picked, rows):  # type: ignore[no-untyped-def]
    """Rows that are 1 in the column of their label, else 0; ``picked``: labels of the last call."""
    for i in range(index.size):
        rows[i, picked[i]] = 0
        picked[i] = labels[index[i]]
        rows[i, picked[i]] = 1


# Numba makes uint64 of a sum of two uint32: every result is cast back, which costs nothing.
u32, u64 = np.uint32, np.uint64
helper = numba.njit(inline="always")


@helper
def rotated(x, r):  # type: ignore[no-untyped-def]
    return u32((x << u32(r)) | (x >> u32(32 - r)))


@helper
def four_rounds(x0, x1, a, b, c, d):  # type: ignore[no-untyped-def]
    x0 = u32(x0 + x1)
    x1 = u32(rotated(x1, a) ^ x0)
    x0 = u32(x0 + x1)
    x1 = u32(rotated(x1, b) ^ x0)
    x0 = u32(x0 + x1)
    x1 = u32(rotated(x1, c) ^ x0)
    x0 = u32(x0 + x1)
    x1 = u32(rotated(x1, d) ^ x0)
    return x0, x1


@helper
def random_bits(k0, k1, x0, x1):  # type: ignore[no-untyped-def]
    """``masks.threefry2x32``, written out; both words in one, the first one in its lower half.

    Field f of a counter's four is bits 16 f to 16 f + 15.
    """
    k2 = u32(u32(k0 ^ k1) ^ u32(PARITY))
    x0, x1 = four_rounds(u32(x0 + k0), u32(x1 + k1), 13, 15, 26, 6)
    x0, x1 = four_rounds(u32(x0 + k1), u32(x1 + u32(k2 + u32(1))), 17, 29, 16, 24)
    x0, x1 = four_rounds(u32(x0 + k2), u32(x1 + u32(k0 + u32(2))), 13, 15, 26, 6)
    x0, x1 = four_rounds(u32(x0 + k0), u32(x1 + u32(k1 + u32(3))), 17, 29, 16, 24)
    x0, x1 = four_rounds(u32(x0 + k1), u32(x1 + u32(k2 + u32(4))), 13, 15, 26, 6)
    x0, x1 = u32(x0 + k2), u32(x1 + u32(k0 + u32(5)))
    return u64(x0) | (u64(x1) << u64(32))


@helper
def word(low, high):  # type: ignore[no-untyped-def]
    return u32(u32(low[()]) | u32(u32(high[()]) << u32(16)))


@compiled
def drop_fours(  # type: ignore[no-untyped-def]
    A, low0, high0, low1, high1, layer, least, scale, bits, D, dropped
):
    """dropped := A * D. Features in rows, a multiple of four: these share their counters."""
    n, m = A.shape
    k0, k1, zero = word(low0, high0), word(low1, high1), A.dtype.type(0)
    for four in range(n // 4):
        for i in range(m):
            bits[i] = random_bits(k0, k1, layer, u32(i * (n // 4) + four))
        for f in range(4):
            j = 4 * four + f
            for i in range(m):
                kept = ((bits[i] >> u64(16 * f)) & u64(0xFFFF)) >= least
                D[j, i] = scale if kept else zero
                dropped[j, i] = A[j, i] * D[j, i]


@compiled
def draw(low0, high0, low1, high1, layer, bits):  # type: ignore[no-untyped-def]
    k0, k1 = word(low0, high0), word(low1, high1)
    for q in range(bits.size):
        bits[q] = random_bits(k0, k1, layer, u32(q))


@compiled
def drop(A, fields, least, scale, D, dropped):  # type: ignore[no-untyped-def]
    """dropped := A * D, all walked in the same direction."""
    rows, columns = A.shape
    zero = A.dtype.type(0)
    for i in range(rows):
        for j in range(columns):
            D[i, j] = scale if fields[i, j] >= least else zero
            dropped[i, j] = A[i, j] * D[i, j]


@compiled
def descend(theta, g, rate):  # type: ignore[no-untyped-def]
    for i in range(theta.size):
        theta[i] -= rate[()] * g[i]


@compiled
def momentum(theta, g, velocity, rate, mu, nesterov):  # type: ignore[no-untyped-def]
    for i in range(theta.size):
        move = rate[()] * g[i]
        v = mu * velocity[i] - move
        velocity[i] = v
        theta[i] += mu * v - move if nesterov else v


@compiled
def rmsprop(theta, g, square, rate, epsilon, rho):  # type: ignore[no-untyped-def]
    for i in range(theta.size):
        s = rho * square[i] + g[i] * g[i]
        square[i] = s
        theta[i] -= rate[()] * g[i] / (np.sqrt(s) + epsilon[()])


@compiled
def adam(theta, g, first, second, rate, epsilon, beta1, beta2):  # type: ignore[no-untyped-def]
    for i in range(theta.size):
        m = beta1 * first[i] + g[i]
        v = beta2 * second[i] + g[i] * g[i]
        first[i] = m
        second[i] = v
        theta[i] -= rate[()] * m / (np.sqrt(v) + epsilon[()])


class Recorder(numpy_recorder.Recorder):
    """The NumPy engine's recorder with fused loops where they are faster."""

    def _rows_of_labels(self, labels: Array, index: Array) -> Array:
        rows = np.zeros((self.m, self.layout.sizes[-1]), self.dtype)
        self.do(mark, labels, index, np.zeros(self.m, labels.dtype), rows)
        return rows

    def add_bias(self, P: Array, b: Array, Z: Array) -> None:
        """Left to whatever reads ``Z`` next, where the product is there already."""
        self.bias = b if P is Z else None
        if P is not Z:
            super().add_bias(P, b, Z)

    def _add_bias(self, Z: Array) -> None:
        if self.bias is not None:
            super().add_bias(Z, self.bias, Z)

    def activate(self, activation: Activation, Z: Array) -> Array:
        if activation == relu and self.bias is not None:
            by_feature = Z.flags.c_contiguous
            rows = Z if by_feature else Z.T
            self.do(add_bias_relu, rows, self.bias[:, 0], by_feature)
            return Z
        self._add_bias(Z)
        return super().activate(activation, Z)

    def drop(self, layer: int, rate: float, A: Array, key: Sequence[Array]) -> tuple[Array, Array]:
        n, m = A.shape
        D, dropped = self.like(A), self.like(A)
        least, factor = threshold(rate), self.dtype.type(scale(rate))
        if A.flags.c_contiguous and n % 4 == 0:
            bits = np.empty(m, u64)
            numbers = *key, u32(layer), u64(least), factor, bits
            self.do(drop_fours, A, *numbers, D, dropped)
            return dropped, D
        bits = np.empty(-(-m * n // 4), u64)
        fields = halves(bits.view(u32).reshape(-1, 2)).reshape(-1)[: m * n].reshape(m, n)
        self.do(draw, *key, u32(layer), bits)
        if A.flags.c_contiguous:
            self.do(drop, A, fields.T, np.uint16(least), factor, D, dropped)
        else:
            self.do(drop, A.T, fields, np.uint16(least), factor, D.T, dropped.T)
        return dropped, D

    def predict(self, loss: Loss, Z: Array) -> Array:
        self._add_bias(Z)
        return super().predict(loss, Z)

    def output(self, loss: Loss, Z: Array, Y: Array, s: Array) -> tuple[Array, Array]:
        self._add_bias(Z)
        if loss != categorical or not Z.flags.c_contiguous:
            return super().output(loss, Z, Y, s)
        cost, dZ, m = self.scalar(0.0), self.like(Z), Z.shape[1]
        picked, total = np.empty(m, self.dtype), np.empty(m, self.dtype)
        rows, shares = Y.T, s.reshape(-1)
        least = self.dtype.type(np.log(np.finfo(self.dtype).smallest_normal) / 2)
        self.do(shift_by_largest, Z, rows, picked, least)
        self.do(np.exp, Z, Z)
        self.do(normalise, Z, rows, shares, picked, total, dZ, cost)
        return cost, dZ

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        same = A.flags.c_contiguous == dA.flags.c_contiguous
        if activation != relu or not same:
            return super().slope(activation, dA, A)
        by_feature = A.flags.c_contiguous
        self.do(relu_slope, *((A, dA) if by_feature else (A.T, dA.T)))
        return dA

    def penalize_gradient(self, l2: Array, theta: Array, gradient: Array) -> Array:
        n = self.layout.n_weights
        self.do(add_penalty, theta[:n], gradient[:n], l2)
        return gradient

    def sparsify_cost(self, l1: Array, theta: Array, cost: Array) -> Array:
        self.do(add_absolute, theta[: self.layout.n_weights], l1, cost)
        return cost

    def sparsify_gradient(self, l1: Array, theta: Array, gradient: Array) -> Array:
        n = self.layout.n_weights
        self.do(add_l1, theta[:n], gradient[:n], l1)
        return gradient

    def update(
        self, optimizer: Any, theta: Array, moments: Moments, gradient: Array, scalars: Moments
    ) -> tuple[Array, Moments]:
        rule: Any = type(optimizer).update
        real = self.dtype.type
        vectors = (theta, gradient, *moments)
        if rule is GradientDescent.update:
            self.do(descend, *vectors, *scalars)
        elif rule is Momentum.update:
            self.do(momentum, *vectors, *scalars, real(optimizer.momentum), optimizer.nesterov)
        elif rule is RMSProp.update:
            self.do(rmsprop, *vectors, *scalars, real(optimizer.rho))
        elif rule in (Adam.update, AdamW.update):
            if rule is AdamW.update:
                self.decay(theta, scalars[2])
            betas = real(optimizer.beta1), real(optimizer.beta2)
            self.do(adam, *vectors, *scalars[:2], *betas)
        else:
            return super().update(optimizer, theta, moments, gradient, scalars)
        return theta, moments
