"""Shared by the tests: an independent NumPy net, small problems, and ways to compare.

The formulas are written out again on purpose, as plain as the notes have them, so that a mistake in
the library cannot hide behind the same mistake in its tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import xpnet

STRICT = ("array_api_strict", "array_api_strict:device1")
LIBRARIES = ("numpy", *STRICT, "torch", "jax", "dpnp", "cupy")
OUTPUTS = ("sigmoid", "softmax", "identity")


class Formula(NamedTuple):
    """An activation, with its slope in terms of z, which is not the library's form."""

    value: Callable
    slope: Callable
    ends: tuple[float, float]  # the values at z = -1e4 and 1e4
    kink: int = 0  # order of the first derivative that jumps at z = 0; 0: all are continuous
    jax: str | None = None  # its name in jax.nn, where that is another one


FORMULAS = {
    "identity": Formula(lambda z: z, np.ones_like, (-1e4, 1e4)),
    "sigmoid": Formula(
        lambda z: 1.0 / (1.0 + np.exp(-z)), lambda z: np.exp(-z) / (1.0 + np.exp(-z)) ** 2, (0, 1)
    ),
    "tanh": Formula(np.tanh, lambda z: 1.0 / np.cosh(z) ** 2, (-1, 1)),
    "relu": Formula(
        lambda z: np.where(z > 0, z, 0.0), lambda z: np.where(z > 0, 1.0, 0.0), (0, 1e4), kink=1
    ),
    "leaky_relu": Formula(
        lambda z: np.where(z > 0, z, 0.01 * z),
        lambda z: np.where(z > 0, 1.0, 0.01),
        (-1e2, 1e4),
        kink=1,
    ),
    "elu": Formula(
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0.0))),
        lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0.0))),
        (-1, 1e4),
        kink=2,
    ),
    "softplus": Formula(
        lambda z: np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0.0),
        lambda z: 1.0 / (1.0 + np.exp(-z)),
        (0, 1e4),
    ),
}
HIDDEN = tuple(FORMULAS)


# Each optimiser's rule for one array as its paper has it: the new array and new moments, from the
# settings, the number of the step from 1, the array, its gradient, the moments (zeros at first),
# and whether the array holds weights.
def gradient_descent(o, t, theta, g, moments, is_weights):
    return theta - o.learning_rate * g, ()


def momentum(o, t, theta, g, moments, is_weights):
    v = o.momentum * moments[0] - o.learning_rate * g
    ahead = o.momentum * v - o.learning_rate * g
    return theta + (ahead if o.nesterov else v), (v,)


def rmsprop(o, t, theta, g, moments, is_weights):
    s = o.rho * moments[0] + (1 - o.rho) * g**2
    return theta - o.learning_rate * g / (np.sqrt(s) + o.epsilon), (s,)


def adam(o, t, theta, g, moments, is_weights):
    m = o.beta1 * moments[0] + (1 - o.beta1) * g
    v = o.beta2 * moments[1] + (1 - o.beta2) * g**2
    m_hat, v_hat = m / (1 - o.beta1**t), v / (1 - o.beta2**t)
    return theta - o.learning_rate * m_hat / (np.sqrt(v_hat) + o.epsilon), (m, v)


def adamw(o, t, theta, g, moments, is_weights):
    decay = o.learning_rate * o.weight_decay * theta if is_weights else 0.0
    new, moments = adam(o, t, theta, g, moments, is_weights)
    return new - decay, moments


OPTIMIZERS = {
    "GradientDescent": (xpnet.GradientDescent(0.1), gradient_descent),
    "Momentum": (xpnet.Momentum(0.02), momentum),
    "Nesterov": (xpnet.Momentum(0.02, nesterov=True), momentum),
    "Adam": (xpnet.Adam(0.01), adam),
    "AdamW": (xpnet.AdamW(0.01, weight_decay=0.1), adamw),
    # A larger rate makes full batches oscillate: there the reference itself, started 1e-15 away,
    # ends 1e-9 away, and no comparison of engines to 1e-10 means anything.
    "RMSProp": (xpnet.RMSProp(0.001), rmsprop),
}


def per_layer(hidden, n_hidden):
    """One activation name for each hidden layer, from one name or a list of them."""
    return [hidden] * n_hidden if isinstance(hidden, str) else list(hidden)


def draw_parameters(sizes, rng, scale=0.7):
    """[(W, b), ...] in float64 with random W and random b, never b = 0."""
    return [
        (rng.normal(scale=scale, size=(n_out, n_in)), rng.normal(scale=0.5, size=(n_out, 1)))
        for n_in, n_out in pairwise(sizes)
    ]


def draw_targets(output, n_y, m, rng):
    """Y (n_y, m) in float64: 0/1, one-hot columns, or real numbers."""
    if output == "sigmoid":
        return rng.integers(0, 2, size=(n_y, m)).astype(float)
    if output == "softmax":
        return np.eye(n_y)[:, rng.integers(0, n_y, size=m)]
    return rng.normal(size=(n_y, m))


def hidden_inputs(parameters, X, hidden):
    """The pre-activations Z of every hidden layer, and the logits."""
    names = per_layer(hidden, len(parameters) - 1)
    A, found = X, []
    for layer, (W, b) in enumerate(parameters):
        Z = W @ A + b
        found.append(Z)
        if layer < len(names):
            A = FORMULAS[names[layer]].value(Z)
    return found[:-1], found[-1]


def problem(sizes, hidden, output, m, seed):
    """(parameters, X, Y) in float64 whose hidden units all stay 1e-3 away from a kink."""
    rng = np.random.default_rng(seed)
    while True:
        parameters = draw_parameters(sizes, rng)
        X = rng.normal(size=(sizes[0], m))
        names = per_layer(hidden, len(sizes) - 2)
        inputs, _ = hidden_inputs(parameters, X, hidden)
        pairs = zip(names, inputs, strict=True)
        if all(np.min(np.abs(Z)) > 1e-3 for name, Z in pairs if FORMULAS[name].kink):
            return parameters, X, draw_targets(output, sizes[-1], m, rng)


def reference_losses(Z, Y, output):
    """One loss per example, (m,), from logits."""
    if output == "sigmoid":
        return np.sum(np.logaddexp(0.0, Z) - Y * Z, axis=0)
    if output == "softmax":
        top = np.max(Z, axis=0)
        return top + np.log(np.sum(np.exp(Z - top), axis=0)) - np.sum(Y * Z, axis=0)
    return 0.5 * np.sum((Z - Y) ** 2, axis=0)


def reference_cost(parameters, X, Y, hidden, output, sample_weight=None, l2=0.0):
    """The weighted mean of the losses, plus l2/2 times the squared weights (no biases)."""
    _, Z = hidden_inputs(parameters, X, hidden)
    losses = reference_losses(Z, Y, output)
    penalty = 0.5 * l2 * sum(float(np.sum(W * W)) for W, _ in parameters)
    return float(np.average(losses, weights=sample_weight)) + penalty


def reference_gradients(parameters, X, Y, hidden, output, sample_weight=None, l2=0.0):
    """Back-propagation in plain NumPy, with slopes written in terms of Z."""
    names = per_layer(hidden, len(parameters) - 1)
    inputs, Z = hidden_inputs(parameters, X, hidden)
    A = [X] + [FORMULAS[name].value(z) for name, z in zip(names, inputs, strict=True)]
    s = np.ones(X.shape[1]) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    if output == "sigmoid":
        P = 1.0 / (1.0 + np.exp(-Z))
    elif output == "softmax":
        E = np.exp(Z - np.max(Z, axis=0))
        P = E / np.sum(E, axis=0)
    else:
        P = Z
    dZ = (P - Y) * (s / np.sum(s))
    gradients = []
    for layer in reversed(range(len(parameters))):
        W, _ = parameters[layer]
        gradients.insert(0, (dZ @ A[layer].T + l2 * W, np.sum(dZ, axis=1, keepdims=True)))
        if layer:
            dZ = (W.T @ dZ) * FORMULAS[names[layer - 1]].slope(inputs[layer - 1])
    return gradients


def plain_threefry(key, counter):
    """Threefry-2x32-20 in Python's integers: two words of 32 bits from two and two."""
    k = [*key, key[0] ^ key[1] ^ 0x1BD11BDA]
    x, y = (counter[0] + k[0]) % 2**32, (counter[1] + k[1]) % 2**32
    for i in range(20):
        r = (13, 15, 26, 6, 17, 29, 16, 24)[i % 8]
        x = (x + y) % 2**32
        y = ((y << r) % 2**32 | y >> (32 - r)) ^ x
        if i % 4 == 3:
            j = i // 4 + 1
            x, y = (x + k[j % 3]) % 2**32, (y + k[(j + 1) % 3] + j) % 2**32
    return x, y


def plain_fields(layer, m, n, seed, step):
    """The 16 bits (m, n) that decide which units of a hidden layer are dropped, one by one."""
    found = np.empty((m, n), np.int64)
    for i, j in np.ndindex(m, n):
        e = i * n + j
        word = plain_threefry((seed % 2**32, step % 2**32), (layer, e // 4))[e % 4 // 2]
        found[i, j] = word >> 16 if e % 2 else word & 0xFFFF
    return found


def dropout_masks(sizes, m, rates, seed, step):
    """What the activations (n, m) of each hidden layer are multiplied by in a step."""
    masks = []
    for layer, (n, rate) in enumerate(zip(sizes[1:-1], rates, strict=True)):
        least = round(rate * 65536)
        fields = plain_fields(layer, m, n, seed, step).T
        masks.append((fields >= least) * (65536 / (65536 - least)))
    return masks


def relative(found, expected):
    """The largest error over the largest expected entry: the infinity norm, relative."""
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    largest = np.max(np.abs(expected))
    error = np.max(np.abs(found - expected))
    return float(error / largest) if largest > 0 else float(error)


def assert_pairs_close(found, expected, tolerance, what="layer"):
    """Every array of [(W, b), ...] within `tolerance` in the relative infinity norm."""
    assert len(found) == len(expected)
    for layer, (f, e) in enumerate(zip(found, expected, strict=True), start=1):
        for name, one, other in zip(("W", "b"), f, e, strict=True):
            error = relative(one, other)
            assert error <= tolerance, f"{what} {layer}, {name}: {error:.2e} > {tolerance:.0e}"


def assert_pairs_equal(found, expected):
    """Every array of [(W, b), ...] equal to the last bit."""
    assert len(found) == len(expected)
    for f, e in zip(found, expected, strict=True):
        for one, other in zip(f, e, strict=True):
            np.testing.assert_array_equal(one, other)


@contextmanager
def raises_on_purpose(kinds, *patterns):
    """`pytest.raises` with several patterns, and the raise stands in xpnet's source, not deeper."""
    with pytest.raises(kinds) as info:
        yield info
    last = str(info.traceback[-1].path)
    assert last.startswith(str(Path(xpnet.__file__).parent)), f"raised in {last}: {info.value!r}"
    for pattern in patterns:
        assert re.search(pattern, str(info.value)), f"no {pattern!r} in: {info.value}"


class Reused:
    """Gives each array back in memory that it uses again for the next one of that shape."""

    def __init__(self):
        self.memory = {}

    def __call__(self, x):
        memory = self.memory.setdefault(tuple(x.shape), x)
        try:
            memory[...] = x
        except TypeError:  # JAX writes into no array
            return x
        return memory
