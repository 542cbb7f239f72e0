"""Standardised columns, and means and standard deviations in one pass."""

import numpy as np
import pytest

from xpnet.data.standardizer import Standardizer


def test_standardizer():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)) * [1e-5, 1.0, 1e6] + [1.0, -3.0, 1e7]
    fitted = Standardizer.fit(X)
    np.testing.assert_allclose(fitted.mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.scale, X.std(axis=0), rtol=1e-9)
    Z = fitted.apply(X)
    np.testing.assert_allclose(Z.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(Z.std(axis=0), 1, rtol=1e-9)
    np.testing.assert_allclose(fitted.undo(Z), X, rtol=1e-12)
    assert fitted.apply(X.astype(np.float32)).dtype == np.float32
    assert fitted.apply(X, np.dtype("float32")).dtype == np.float32


def test_constant_columns_stay_zero():
    X = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 3.0]])
    fitted = Standardizer.fit(X)
    assert fitted.scale[0] == 0
    assert (fitted.apply(X)[:, 0] == 0).all()
    assert (fitted.apply(X + 5)[:, 0] == 0).all()
    assert fitted.undo(fitted.apply(X))[:, 0] == pytest.approx(0.1)


def test_huge_columns_do_not_overflow():
    X = np.array([[1e308], [-1e308], [0.0]])
    fitted = Standardizer.fit(X)
    assert np.isfinite(fitted.mean).all()
    np.testing.assert_allclose(fitted.scale, 1e308 * np.sqrt(2 / 3))


def test_the_identity_leaves_every_number_as_it_is():
    X = np.random.default_rng(0).normal(size=(9, 2))
    same = Standardizer.identity(2)
    np.testing.assert_array_equal(same.apply(X), X)
    np.testing.assert_array_equal(same.undo(X), X)
