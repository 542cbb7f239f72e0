"""The gradient is the derivative of the cost: the law of the library, never skipped on NumPy.

Central differences of `net.cost` in float64, at random weights and random biases (at b = 0 a
wrongly penalised bias would pass), over activation x output x L2 x sample weights, and with L1 and
dropout at a fixed key. Independent oracles: `torch.autograd` and `jax.grad` of forward passes in
these libraries' own functions.
"""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    FORMULAS,
    HIDDEN,
    OUTPUTS,
    assert_pairs_close,
    dropout_masks,
    hidden_inputs,
    per_layer,
    problem,
    reference_gradients,
)

import xpnet
from xpnet.core.activations import ACTIVATIONS
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.losses import LOSSES
from xpnet.core.network import (
    PREFIX,
    Objective,
    forward_with_dropout,
    step_table,
    value_and_gradient,
)
from xpnet.core.parameters import Layer

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


def torch_gradients(parameters, X, Y, hidden, output, weights, l2, l1=0.0, masks=None):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    activate = torch.nn.Identity() if hidden == "identity" else getattr(F, hidden)
    pairs = [[torch.tensor(array, requires_grad=True) for array in pair] for pair in parameters]
    A, y, w = torch.tensor(X), torch.tensor(Y), torch.tensor(weights)
    for layer, (W, b) in enumerate(pairs[:-1]):
        A = activate(torch.addmm(b, W, A))
        A = A if masks is None else A * torch.tensor(masks[layer])
    Z = pairs[-1][0] @ A + pairs[-1][1]
    if output == "sigmoid":
        losses = F.binary_cross_entropy_with_logits(Z, y, reduction="none").sum(dim=0)
    elif output == "softmax":
        losses = F.cross_entropy(Z.T, y.T, reduction="none")
    else:
        losses = 0.5 * F.mse_loss(Z, y, reduction="none").sum(dim=0)
    cost = (losses * w).sum() / w.sum() + 0.5 * l2 * sum((W**2).sum() for W, _ in pairs)
    cost = cost + l1 * sum(W.abs().sum() for W, _ in pairs)
    cost.backward()
    return float(cost.detach()), [tuple(array.grad.numpy() for array in pair) for pair in pairs]


def jax_gradients(parameters, X, Y, hidden, output, weights, l2, l1=0.0, masks=None):
    jax = pytest.importorskip("jax")
    jax.config.update("jax_enable_x64", True)
    jnp, nn = jax.numpy, jax.nn
    activate = getattr(nn, FORMULAS[hidden].jax or hidden)

    def cost(pairs):
        A = jnp.asarray(X)
        for layer, (W, b) in enumerate(pairs[:-1]):
            A = activate(W @ A + b)
            A = A if masks is None else A * masks[layer]
        Z = pairs[-1][0] @ A + pairs[-1][1]
        if output == "sigmoid":
            losses = -(Y * nn.log_sigmoid(Z) + (1 - Y) * nn.log_sigmoid(-Z)).sum(axis=0)
        elif output == "softmax":
            losses = -(Y * nn.log_softmax(Z, axis=0)).sum(axis=0)
        else:
            losses = 0.5 * ((Z - Y) ** 2).sum(axis=0)
        penalty = 0.5 * l2 * sum((W**2).sum() for W, _ in pairs)
        penalty += l1 * sum(jnp.abs(W).sum() for W, _ in pairs)
        return losses @ weights / weights.sum() + penalty

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


class Training:
    """Cost and gradient as a training step has them: with L1, and masks of a fixed key.

    A stand-in for a net: what ``central_differences`` needs of one.
    """

    def __init__(self, lib, sizes, hidden, output, *, rates=(), seed=8, step=0, l2=0.0, l1=0.0):
        name, device = (lib.name, lib.device) if lib else ("numpy", None)
        self.place = xpnet.select(name, device, "float64")
        names = per_layer(hidden, len(sizes) - 2)
        activations = tuple(ACTIVATIONS[name] for name in names)
        self.objective = Objective(
            tuple(sizes), activations, LOSSES[output], l2 > 0, l1 > 0, dropout=tuple(rates)
        )
        (self.row,) = step_table(
            xpnet.Adam(), np.array([step + 1.0]), np.ones(1), l2=l2, l1=l1, seed=seed
        ).tolist()
        self.ops = Leaves(self.place.xp, self.objective.layout)

    def __call__(self, X, Y):
        place = self.place
        with place.context():
            flat = self.objective.layout.flatten(self.parameters, xp=np)
            theta, *examples = (place.asarray(x, place.dtype) for x in (flat, X.T, Y.T))
            l2, l1, _, *key = self.row[:PREFIX]
            batch = Batch(Data(*examples, None), None)
            cost, gradient = value_and_gradient(self.ops, self.objective, theta, batch, l2, l1, key)
            layers = self.objective.layout.layers(xpnet.to_numpy(gradient), xp=np)
            return float(cost), layers


@pytest.mark.parametrize("extra", ["l1", "dropout", "l2+l1+dropout"])
@outputs
@hiddens
def test_gradient_with_l1_and_dropout_is_the_slope(hidden, output, extra):
    sizes = [3, 5, 4, 3]
    rates = (0.3, 0.5) if "dropout" in extra else ()
    training = Training(
        None, sizes, hidden, output, rates=rates, l2=0.3 * ("l2" in extra), l1=0.2 * ("l1" in extra)
    )
    parameters, X, Y = problem(sizes, hidden, output, M, 20)
    expected = central_differences(training, parameters, lambda: training(X, Y)[0])
    assert_pairs_close(training(X, Y)[1], expected, 1e-6)


def test_the_law_with_l1_and_dropout_on_every_library(lib):
    sizes, hidden = [2, 3, 2, 2], ["relu", "tanh"]
    training = Training(lib, sizes, hidden, "softmax", rates=(0.4, 0.2), l2=0.3, l1=0.2)
    parameters, X, Y = problem(sizes, hidden, "softmax", M, 21)
    expected = central_differences(training, parameters, lambda: training(X, Y)[0])
    assert_pairs_close(training(X, Y)[1], expected, 1e-6)


@pytest.mark.parametrize("oracle", ORACLES)
@outputs
@hiddens
def test_gradient_with_given_masks_equals_automatic_differentiation(hidden, output, oracle):
    """The masks come from the rule as the tests write it out, bit by bit."""
    sizes, rates, seed, step = [3, 5, 4, 3], (0.3, 0.6), 2**40 + 11, 70000
    training = Training(
        None, sizes, hidden, output, rates=rates, seed=seed, step=step, l2=0.3, l1=0.2
    )
    training.parameters, X, Y = problem(sizes, hidden, output, M, 22)
    masks = dropout_masks(sizes, M, rates, seed, step)
    cost, expected = ORACLES[oracle](
        training.parameters, X, Y, hidden, output, np.ones(M), 0.3, 0.2, masks
    )
    found, gradients = training(X, Y)
    assert found == pytest.approx(cost, rel=1e-12)
    assert_pairs_close(gradients, expected, 1e-9)


def test_a_weight_of_zero_has_no_slope_from_l1():
    training = Training(None, [2, 1], [], "identity", l1=5.0)
    training.parameters = [(np.array([[0.0, -1.0]]), np.array([[3.0]]))]
    (dW, db), *_ = training(np.zeros((2, 4)), np.full((1, 4), 3.0))[1]
    np.testing.assert_array_equal(dW, [[0.0, -5.0]])
    np.testing.assert_array_equal(db, [[0.0]])  # biases are not penalised


def test_dropout_leaves_the_mean_of_the_outputs_as_it_is():
    """Over many steps the outputs of a net of identities average to those without dropout."""
    parameters, X, _ = problem([3, 40, 2], "identity", "identity", 4, 23)
    training = Training(None, [3, 40, 2], "identity", "identity", rates=(0.3,))
    table = step_table(xpnet.Adam(), np.arange(1.0, 401.0), np.ones(400), seed=3)
    layers = [Layer(*pair) for pair in parameters]
    Z = np.array(
        [
            forward_with_dropout(training.ops, training.objective, layers, X, row[3:PREFIX])[1]
            for row in table
        ]
    )
    _, expected = hidden_inputs(parameters, X, "identity")
    error = Z.mean(axis=0) - expected
    assert np.max(np.abs(error) / (Z.std(axis=0) / np.sqrt(400))) < 4


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
