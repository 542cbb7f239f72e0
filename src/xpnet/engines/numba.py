"""Fused loops for the NumPy engine, compiled by Numba where it is installed (``xpnet[numba]``).

They serve what is not compiled as a whole (``compiled/choice.py``), wide nets above all. NumPy
passes over memory once per operation; here the optimiser is one pass over the parameters, bias and
ReLU one pass over a layer. Compiled code is kept on disk, so only the first run on a machine waits
for the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import numpy as np

from xpnet._typing import Array
from xpnet.core import masks, network
from xpnet.core.activations import Activation, relu
from xpnet.core.optimizers import Moments
from xpnet.engines import numpy_recorder
from xpnet.engines.compiled import operations
from xpnet.engines.compiled.recorder import rule_of


def kept_on_disk(*signature: Any, **options: Any) -> Callable[[Callable], Any]:
    """``numba.njit`` that keeps what it compiled, where there is a folder it may write to."""

    def decorate(function: Callable) -> Any:
        try:
            return numba.njit(*signature, cache=True, **options)(function)
        except RuntimeError:  # no such folder: compiled anew in each process
            return numba.njit(*signature, **options)(function)

    return decorate


@cache
def version() -> str:
    """A hash of what compiled code is made of: Numba only sees changes of a function's own file."""
    own = sorted(Path(operations.__file__).parent.glob("*.py"))
    sources = *map(str, own), masks.__file__, network.__file__
    return sha256(b"".join(Path(path).read_bytes() for path in sources)).hexdigest()


# Sums may be reordered and products contracted, as BLAS does; NaN and infinity stay what they are.
compiled = kept_on_disk(nogil=True, error_model="numpy", fastmath={"reassoc", "contract"})


@compiled
def add_bias_relu(Z, b, by_feature):  # type: ignore[no-untyped-def]
    """``by_feature``: a row of Z holds one feature of all examples, else all features of one."""
    rows, columns = Z.shape
    zero = Z.dtype.type(0)
    for i in range(rows):
        for j in range(columns):
            z = Z[i, j] + (b[i] if by_feature else b[j])
            Z[i, j] = zero if z < zero else z  # NaN is not below zero: it goes through


@compiled
def relu_slope(A, dA):  # type: ignore[no-untyped-def]
    zero = A.dtype.type(0)
    for i in range(A.size):
        dA[i] = dA[i] if A[i] > zero else dA[i] * zero


def of_version(version: str) -> Callable[..., None]:
    """A rule's pass over the parameters, found again on disk only for the same ``version``."""

    def move(rule, theta, g, first, second, rate, epsilon, settings):  # type: ignore[no-untyped-def]
        version  # noqa: B018  a variable of the closure is part of the key on disk
        operations.move(rule, theta, g, first, second, rate[()], epsilon[()], settings)

    return move


move = compiled(of_version(version()))


class Recorder(numpy_recorder.Recorder):
    """The NumPy engine's recorder with fused loops where they are faster."""

    def activate(self, activation: Activation, Z: Array) -> Array:
        last: Any = self.calls[-1]  # adds the bias
        product, b, _ = last.args
        super().activate(activation, Z)
        if activation == relu and product is Z and b.ndim:
            by_feature = Z.flags.c_contiguous
            rows = Z if by_feature else Z.T
            self.calls[-2:] = [partial(add_bias_relu, rows, b[:, 0], by_feature)]
        return Z

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        if activation != relu or A.flags.c_contiguous != dA.flags.c_contiguous:
            return super().slope(activation, dA, A)
        self.do(relu_slope, numpy_recorder.flat(A), numpy_recorder.flat(dA))
        return dA

    def update(
        self, optimizer: Any, theta: Array, moments: Moments, gradient: Array, scalars: Moments
    ) -> tuple[Array, Moments]:
        rule = rule_of(optimizer)
        if rule is None:
            return super().update(optimizer, theta, moments, gradient, scalars)
        if rule.decays:
            self.decay(theta, scalars[2])
        first, second = (*moments, theta, theta)[:2]  # those that there are not are not read
        rate, epsilon = (*scalars, scalars[0])[:2]
        settings = np.array(rule.settings, self.dtype)
        self.do(move, rule.number, theta, gradient, first, second, rate, epsilon, settings)
        return theta, moments
