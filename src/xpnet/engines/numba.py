"""Fused loops for the NumPy engine, compiled by Numba where it is installed (``xpnet[numba]``).

They serve what is not compiled as a whole (``compiled/choice.py``), wide nets above all. NumPy
passes over memory once per operation; here the optimiser is one pass over the parameters, bias and
ReLU one pass over a layer. Compiled code is kept on disk, so only the first run on a machine waits
for the compiler.

Buffers are walked as they lie in memory: ``by_feature`` says that a row of a buffer holds one
feature of all examples, otherwise all features of one example.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from xpnet._typing import Array
from xpnet.core.activations import Activation, relu
from xpnet.core.losses import Loss
from xpnet.core.optimizers import Adam, AdamW, GradientDescent, Moments, Momentum, RMSProp
from xpnet.engines import numpy_recorder


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

    def predict(self, loss: Loss, Z: Array) -> Array:
        self._add_bias(Z)
        return super().predict(loss, Z)

    def output(self, loss: Loss, Z: Array, Y: Array, s: Array) -> tuple[Array, Array]:
        self._add_bias(Z)
        return super().output(loss, Z, Y, s)

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        same = A.flags.c_contiguous == dA.flags.c_contiguous
        if activation != relu or not same:
            return super().slope(activation, dA, A)
        by_feature = A.flags.c_contiguous
        self.do(relu_slope, *((A, dA) if by_feature else (A.T, dA.T)))
        return dA

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
