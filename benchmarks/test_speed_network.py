"""A shallow net 64-units-10 on every library: forward pass, gradients, and whole steps."""

import numpy as np
import pytest

import xpnet

N_X, N_Y = 64, 10  # the bundled digits


@pytest.fixture
def net(place, units):
    return xpnet.DeepNet([N_X, units, N_Y], hidden="tanh", output="softmax", backend=place)


@pytest.fixture
def labels(place, examples):
    return place.asarray(np.arange(examples) % N_Y)


def multiply_adds(units, examples):
    """Operations of the two products of a forward pass."""
    return 2 * examples * units * (N_X + N_Y)


def test_forward(stopwatch, net, normal, units, examples):
    stopwatch(net.predict_proba, normal(N_X, examples), flops=multiply_adds(units, examples))


def test_backward(stopwatch, net, normal, labels, units, examples):
    """Forward pass and gradients: there is no backward pass without the first."""
    # dW of both layers, and dA of the hidden one
    backward = multiply_adds(units, examples) + 2 * examples * units * N_Y
    stopwatch(
        net.gradients,
        normal(N_X, examples),
        labels,
        flops=multiply_adds(units, examples) + backward,
    )


def test_epoch(stopwatch, net, normal, labels, units, examples, smoke):
    """An epoch of minibatches of 64 in the order given, with what a `fit` sets up before it."""
    one = 2 * multiply_adds(units, examples) + 2 * examples * units * N_Y

    def fit(X, Y):
        net.fit(X, Y, optimizer=xpnet.Adam(1e-3), epochs=1, batch_size=64, shuffle=False)
        return net.parameters

    stopwatch(fit, normal(N_X, examples), labels, flops=one, rounds=1 if smoke else 10)


def test_steps(stopwatch, net, normal, labels, units, examples, smoke):
    """Whole Adam steps on the full batch, many to a `fit`, which sets up once for all of them."""
    epochs = 2 if smoke else 20
    one = 2 * multiply_adds(units, examples) + 2 * examples * units * N_Y
    stopwatch.benchmark.extra_info["steps"] = epochs

    def fit(X, Y):
        net.fit(X, Y, optimizer=xpnet.Adam(1e-3), batch_size=None, epochs=epochs)
        return net.parameters

    X = normal(N_X, examples)
    stopwatch(fit, X, labels, flops=epochs * one, rounds=5)
