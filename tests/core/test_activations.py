"""Activations and their slopes: right values on every library, no overflow, slopes from outputs."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from helpers import FORMULAS, HIDDEN

import xpnet
from xpnet.core.activations import ACTIVATIONS

GRID = np.concatenate([np.linspace(-6.0, 6.0, 41), [0.0, -30.0, 30.0, 1e-9, -1e-9]]).reshape(2, 23)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", HIDDEN)
def test_value_and_slope_on_every_library(lib, name, dtype):
    z = GRID.astype(dtype)
    Z = lib.asarray(z)
    A = getattr(xpnet, name)(Z)
    slope = getattr(xpnet, f"{name}_slope")(A)
    for found in (A, slope):
        assert lib.owns(found)
        assert lib.dtype_of(found) == dtype
        assert tuple(found.shape) == z.shape
    tolerance = 1e-14 if dtype == "float64" else 1e-6
    np.testing.assert_allclose(
        lib.to_numpy(A), FORMULAS[name].value(z.astype(float)), rtol=10 * tolerance, atol=tolerance
    )
    smooth = (np.abs(z) > 1e-6) | (FORMULAS[name].kink != 1)  # no derivative at a kink
    np.testing.assert_allclose(
        lib.to_numpy(slope)[smooth],
        FORMULAS[name].slope(z.astype(float))[smooth],
        rtol=10 * tolerance,
        atol=tolerance,
    )
    np.testing.assert_array_equal(lib.to_numpy(Z), z)  # the input is as it was


@pytest.mark.parametrize("name", HIDDEN)
def test_slope_is_the_derivative_of_the_value(name):
    z = np.linspace(-4.0, 4.0, 32)  # an even count: no point at the kink
    h = 1e-6
    value, slope = getattr(xpnet, name), getattr(xpnet, f"{name}_slope")
    numeric = (value(z + h) - value(z - h)) / (2 * h)
    np.testing.assert_allclose(slope(value(z)), numeric, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", HIDDEN)
def test_extremes_neither_overflow_nor_warn(lib, name, dtype):
    z = np.array([[-1e4, -745.0, -100.0, 0.0, 100.0, 745.0, 1e4]], dtype=dtype)
    A = getattr(xpnet, name)(lib.asarray(z))
    slope = getattr(xpnet, f"{name}_slope")(A)
    assert np.all(np.isfinite(lib.to_numpy(A)))
    assert np.all(np.isfinite(lib.to_numpy(slope)))
    found = lib.to_numpy(A)[0, [0, -1]]
    np.testing.assert_allclose(found, FORMULAS[name].ends, rtol=1e-6, atol=1e-30)


def test_affine_on_every_library(lib):
    rng = np.random.default_rng(0)
    W, A, b = rng.normal(size=(4, 3)), rng.normal(size=(3, 5)), rng.normal(size=(4, 1))
    Z = xpnet.affine(lib.asarray(W), lib.asarray(A), lib.asarray(b))
    assert lib.owns(Z)
    assert lib.dtype_of(Z) == "float64"
    np.testing.assert_allclose(lib.to_numpy(Z), W @ A + b, rtol=1e-13, atol=1e-13)


def test_the_table_names_every_activation():
    assert set(HIDDEN) == set(ACTIVATIONS)
    for name, activation in ACTIVATIONS.items():
        assert activation.name == name
        assert callable(activation.value)
        assert callable(activation.slope)
        assert {name, f"{name}_slope"} <= set(xpnet.__all__)


def test_a_public_function_has_its_own_name():
    for name in ("relu", "relu_slope"):
        function = getattr(xpnet, name)
        assert (function.__module__, function.__name__) == ("xpnet", name)
        assert pickle.loads(pickle.dumps(function)) is function


def test_an_activation_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ACTIVATIONS["tanh"].name = "sinh"


# Any logit one may meet, small and large, of both signs.
LOGITS = np.concatenate(
    [
        np.linspace(-700.0, 700.0, 1001),
        np.geomspace(1e-300, 700.0, 200),
        -np.geomspace(1e-9, 40, 99),
    ]
)


def test_sigmoid_is_symmetric():
    up, down = xpnet.sigmoid(LOGITS), xpnet.sigmoid(-LOGITS)
    assert np.all((up >= 0.0) & (up <= 1.0))
    np.testing.assert_allclose(up + down, 1.0, rtol=0.0, atol=1e-15)


def test_sigmoid_keeps_relative_precision_in_its_tail():
    """The probability of a rare event keeps its digits, down to the smallest floats."""
    z = -np.abs(LOGITS)
    np.testing.assert_allclose(xpnet.sigmoid(z), np.exp(z) / (1.0 + np.exp(z)), rtol=1e-13)


def test_softplus_minus_its_mirror_is_identity():
    difference = xpnet.softplus(LOGITS) - xpnet.softplus(-LOGITS)
    np.testing.assert_allclose(difference, LOGITS, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", HIDDEN)
def test_activations_never_decrease(name):
    assert np.all(np.diff(getattr(xpnet, name)(np.sort(LOGITS))) >= -1e-15)
