"""Why the notes vectorise: one product against loops over units and over examples.

NumPy only. The loops cost a call per unit or per example on any library; the arithmetic in them is
the same.
"""

import numpy as np
import pytest

import xpnet

N_X, M = 64, 100


def product(W, X, b):
    """``Z = W X + b``: the four stacked units of the notes, and all examples, at once."""
    return xpnet.affine(W, X, b)


def loop_over_units(W, X, b):
    """A row of W at a time: ``z_i = w_i^T X + b_i``."""
    Z = np.empty((W.shape[0], X.shape[1]), dtype=X.dtype)
    for i in range(W.shape[0]):
        Z[i] = W[i] @ X + b[i]
    return Z


def loop_over_examples(W, X, b):
    """A column of X at a time: ``z = W x_j + b``."""
    Z = np.empty((W.shape[0], X.shape[1]), dtype=X.dtype)
    for j in range(X.shape[1]):
        Z[:, j] = W @ X[:, j] + b[:, 0]
    return Z


def loop_over_both(W, X, b):
    """One unit and one example at a time: ``z_ij = w_i^T x_j + b_i``."""
    Z = np.empty((W.shape[0], X.shape[1]), dtype=X.dtype)
    for i in range(W.shape[0]):
        for j in range(X.shape[1]):
            Z[i, j] = W[i] @ X[:, j] + b[i, 0]
    return Z


@pytest.mark.parametrize("place", ["numpy"], indirect=True)
@pytest.mark.parametrize("form", [product, loop_over_units, loop_over_examples, loop_over_both])
def test_form(stopwatch, normal, units, form):
    W, X, b = normal(units, N_X), normal(N_X, M), normal(units, 1)
    Z = stopwatch(form, W, X, b, flops=units * M * (2 * N_X + 1))
    np.testing.assert_allclose(Z, W @ X + b, rtol=1e-4, atol=1e-4)
