"""The array operations of the notes: library by library, over the number of hidden units."""

import pytest

import xpnet

INPUTS = 64  # n_x of the bundled digits
ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "elu", "softplus")


def test_affine(stopwatch, normal, units, examples):
    """``Z = W @ A + b`` with W (units, 64)."""
    W, A, b = normal(units, INPUTS), normal(INPUTS, examples), normal(units, 1)
    stopwatch(xpnet.affine, W, A, b, flops=units * examples * (2 * INPUTS + 1))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(stopwatch, normal, units, examples, name):
    """``A = g(Z)`` with Z (units, m)."""
    stopwatch(getattr(xpnet, name), normal(units, examples), flops=units * examples)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope(stopwatch, normal, units, examples, name):
    """``g'(Z)`` from ``A = g(Z)`` (units, m)."""
    A = getattr(xpnet, name)(normal(units, examples))
    stopwatch(getattr(xpnet, f"{name}_slope"), A, flops=units * examples)


def test_layer_forward(stopwatch, normal, units, examples):
    """The notes' ``linear_activation_forward`` of one ReLU layer."""
    A, W, b = normal(INPUTS, examples), normal(units, INPUTS), normal(units, 1)
    stopwatch(
        lambda: xpnet.linear_activation_forward(A, W, b, "relu")[0],
        flops=units * examples * (2 * INPUTS + 2),
    )


def test_layer_backward(stopwatch, normal, units, examples):
    """The notes' ``linear_activation_backward`` of one ReLU layer."""
    A, W, b = normal(INPUTS, examples), normal(units, INPUTS), normal(units, 1)
    _, cache = xpnet.linear_activation_forward(A, W, b, "relu")
    stopwatch(
        lambda dA: xpnet.linear_activation_backward(dA, cache, "relu"),
        normal(units, examples),
        flops=units * examples * (4 * INPUTS + 3),
    )
