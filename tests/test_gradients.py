"""The law of the library: the gradient is the slope of the cost. Never skipped on NumPy.

Central differences of `net.cost` in float64, at random weights and random biases (at b = 0 a
wrongly penalised bias would pass), over activation x output x L2 x sample weights. Independent
oracles: `torch.autograd` and `jax.grad` of forward passes in these libraries' own functions.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers import HIDDEN, OUTPUTS, assert_pairs_close, problem, reference_gradients

import xpnet

M = 7
STEP = 1e-5  # truncation ~ h^2 = 1e-10, rounding ~ eps / h = 1e-11: both far under 1e-6
EXAMPLE_WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 3.0, 0.25, 1.5])

weights_or_not = pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
l2_or_not = pytest.mark.parametrize("l2", [0.0, 0.3], ids=["", "l2"])
outputs = pytest.mark.parametrize("output", OUTPUTS)
hiddens = pytest.mark.parametrize("hidden", HIDDEN)


def make(lib, sizes, hidden, output, seed):
    """A float64 net at random parameters (b too) away from kinks, and the host's copies."""
    options = lib.options if lib else {"backend": "numpy"}
    net = xpnet.DeepNet(sizes, hidden=hidden, output=output, dtype="float64", **options)
    parameters, X, Y = problem(sizes, hidden, output, M, seed)
    net.parameters = lib.pairs(parameters) if lib else parameters
    return net, parameters, X, Y


def central_differences(net, parameters, cost, place=lambda pairs: pairs):
    """d cost / d every entry of every W and b, one at a time."""
    slopes = []
    for pair in parameters:
        slopes.append(tuple(np.empty_like(array) for array in pair))
        for array, slope in zip(pair, slopes[-1], strict=True):
            for index in np.ndindex(array.shape):
                kept, sides = array[index], []
                for sign in (1, -1):
                    array[index] = kept + sign * STEP
                    net.parameters = place(parameters)
                    sides.append(float(cost()))
                array[index] = kept
                slope[index] = (sides[0] - sides[1]) / (2 * STEP)
    net.parameters = place(parameters)
    return slopes


@weights_or_not
@l2_or_not
@outputs
@hiddens
def test_gradient_is_the_slope_of_the_cost(hidden, output, l2, weighted):
    net, parameters, X, Y = make(None, [3, 5, 4, 3], hidden, output, seed=11)
    more = {"l2": l2, "sample_weight": EXAMPLE_WEIGHTS if weighted else None}
    expected = central_differences(net, parameters, lambda: net.cost(X, Y, **more))
    assert_pairs_close(net.gradients(X, Y, **more), expected, 1e-6)


@pytest.mark.parametrize("sizes", [[3, 2], [3, 4, 1], [2, 3, 3, 2, 2]], ids=str)
@outputs
def test_gradient_is_the_slope_at_any_depth(sizes, output):
    if output == "softmax" and sizes[-1] == 1:
        sizes = [*sizes[:-1], 2]
    net, parameters, X, Y = make(None, sizes, "tanh", output, seed=12)
    expected = central_differences(net, parameters, lambda: net.cost(X, Y, l2=0.1))
    assert_pairs_close(net.gradients(X, Y, l2=0.1), expected, 1e-6)


@outputs
def test_gradient_with_one_activation_per_layer(output):
    hidden = ["softplus", "relu", "elu"]
    net, parameters, X, Y = make(None, [3, 4, 4, 3, 2], hidden, output, seed=13)
    expected = central_differences(net, parameters, lambda: net.cost(X, Y))
    assert_pairs_close(net.gradients(X, Y), expected, 1e-6)


def test_the_law_on_every_library(lib):
    """The costliest combination on each library: L2, weights, two kinds of hidden layer."""
    net, parameters, X, Y = make(lib, [2, 3, 2, 2], ["relu", "tanh"], "softmax", seed=14)
    x, y, w = lib.asarray(X), lib.asarray(Y), lib.asarray(EXAMPLE_WEIGHTS)
    found = lib.host(net.gradients(x, y, l2=0.3, sample_weight=w))
    expected = central_differences(
        net, parameters, lambda: net.cost(x, y, l2=0.3, sample_weight=w), place=lib.pairs
    )
    assert_pairs_close(found, expected, 1e-6)


@outputs
@hiddens
def test_gradients_of_every_library_equal_plain_numpy(lib, hidden, output):
    net, parameters, X, Y = make(lib, [3, 5, 4, 3], hidden, output, seed=15)
    x, y, w = lib.asarray(X), lib.asarray(Y), lib.asarray(EXAMPLE_WEIGHTS)
    found = net.gradients(x, y, l2=0.3, sample_weight=w)
    for pair in found:
        for array in pair:
            assert lib.owns(array)
            assert lib.dtype_of(array) == "float64"
    expected = reference_gradients(
        parameters, X, Y, hidden, output, sample_weight=EXAMPLE_WEIGHTS, l2=0.3
    )
    assert_pairs_close(lib.host(found), expected, 1e-12)


def torch_gradients(parameters, X, Y, hidden, output, weights, l2):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    activate = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": F.relu,
        "leaky_relu": F.leaky_relu,
        "elu": F.elu,
        "softplus": F.softplus,
    }[hidden]
    pairs = [[torch.tensor(array, requires_grad=True) for array in pair] for pair in parameters]
    A, y, w = torch.tensor(X), torch.tensor(Y), torch.tensor(weights)
    for W, b in pairs[:-1]:
        A = activate(torch.addmm(b, W, A))
    Z = pairs[-1][0] @ A + pairs[-1][1]
    if output == "sigmoid":
        losses = F.binary_cross_entropy_with_logits(Z, y, reduction="none").sum(dim=0)
    elif output == "softmax":
        losses = F.cross_entropy(Z.T, y.T, reduction="none")
    else:
        losses = 0.5 * F.mse_loss(Z, y, reduction="none").sum(dim=0)
    cost = (losses * w).sum() / w.sum() + 0.5 * l2 * sum((W**2).sum() for W, _ in pairs)
    cost.backward()
    return float(cost.detach()), [tuple(array.grad.numpy() for array in pair) for pair in pairs]


def jax_gradients(parameters, X, Y, hidden, output, weights, l2):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp, nn = jax.numpy, jax.nn
    activate = {
        "identity": lambda z: z,
        "sigmoid": nn.sigmoid,
        "tanh": jnp.tanh,
        "relu": nn.relu,
        "leaky_relu": nn.leaky_relu,
        "elu": nn.elu,
        "softplus": nn.softplus,
    }[hidden]

    def cost(pairs):
        A = jnp.asarray(X)
        for W, b in pairs[:-1]:
            A = activate(W @ A + b)
        Z = pairs[-1][0] @ A + pairs[-1][1]
        if output == "sigmoid":
            losses = -(Y * nn.log_sigmoid(Z) + (1 - Y) * nn.log_sigmoid(-Z)).sum(axis=0)
        elif output == "softmax":
            losses = -(Y * nn.log_softmax(Z, axis=0)).sum(axis=0)
        else:
            losses = 0.5 * ((Z - Y) ** 2).sum(axis=0)
        return losses @ weights / weights.sum() + 0.5 * l2 * sum((W**2).sum() for W, _ in pairs)

    value, slopes = jax.value_and_grad(cost)([tuple(map(jnp.asarray, p)) for p in parameters])
    return float(value), [tuple(np.asarray(array) for array in pair) for pair in slopes]


ORACLES = {"torch.autograd": torch_gradients, "jax.grad": jax_gradients}


@pytest.mark.parametrize("oracle", ORACLES)
@weights_or_not
@l2_or_not
@outputs
@hiddens
def test_gradient_equals_automatic_differentiation(hidden, output, l2, weighted, oracle):
    net, parameters, X, Y = make(None, [3, 5, 4, 3], hidden, output, seed=16)
    weights = EXAMPLE_WEIGHTS if weighted else np.ones(M)
    cost, expected = ORACLES[oracle](parameters, X, Y, hidden, output, weights, l2)
    more = {"l2": l2, "sample_weight": weights if weighted else None}
    assert float(net.cost(X, Y, **more)) == pytest.approx(cost, rel=1e-12)
    assert_pairs_close(net.gradients(X, Y, **more), expected, 1e-9)


def test_gradients_leave_parameters_and_inputs_alone(lib):
    net, parameters, X, Y = make(lib, [3, 5, 4, 3], "elu", "softmax", seed=17)
    x, y = lib.asarray(X), lib.asarray(Y)
    net.gradients(x, y, l2=0.3)
    net.cost(x, y)
    net.predict_proba(x)
    net.predict(x)
    for (W, b), (W_before, b_before) in zip(lib.host(net.parameters), parameters, strict=True):
        np.testing.assert_array_equal(W, W_before)
        np.testing.assert_array_equal(b, b_before)
    np.testing.assert_array_equal(lib.to_numpy(x), X)
    np.testing.assert_array_equal(lib.to_numpy(y), Y)


def test_two_units_that_swap_places_change_nothing():
    """A symmetry of the net: permuting a hidden layer permutes its gradient and nothing else."""
    net, parameters, X, Y = make(None, [3, 5, 3], "tanh", "softmax", seed=18)
    (W1, b1), (W2, b2) = parameters
    before, cost = net.gradients(X, Y), float(net.cost(X, Y))
    order = np.array([3, 0, 4, 1, 2])
    net.parameters = [(W1[order], b1[order]), (W2[:, order], b2)]
    after = net.gradients(X, Y)
    assert float(net.cost(X, Y)) == pytest.approx(cost, rel=1e-14)
    expected = [(before[0][0][order], before[0][1][order]), (before[1][0][:, order], before[1][1])]
    assert_pairs_close(after, expected, 1e-12)


def test_the_order_of_the_examples_does_not_matter():
    net, _, X, Y = make(None, [3, 5, 3], "relu", "sigmoid", seed=19)
    order = np.random.default_rng(0).permutation(M)
    found = net.gradients(X[:, order], Y[:, order])
    assert_pairs_close(found, net.gradients(X, Y), 1e-12)
