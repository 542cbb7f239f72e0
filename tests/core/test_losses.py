"""Costs: the right number from logits, finite at any logit, with weights and penalties."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import OUTPUTS, draw_targets, reference_cost

import xpnet


def logit_net(n, output, lib=None, dtype="float64"):
    """A net without hidden layer whose logits are its input: W = I, b = 0."""
    options = lib.options if lib else {"backend": "numpy"}
    net = xpnet.DeepNet([n, n], output=output, dtype=dtype, **options)
    identity, zero = np.eye(n, dtype=dtype), np.zeros((n, 1), dtype=dtype)
    net.parameters = lib.pairs([(identity, zero)]) if lib else [(identity, zero)]
    return net


@pytest.mark.parametrize("output", OUTPUTS)
def test_cost_of_logits_on_every_library(lib, output):
    rng = np.random.default_rng(2)
    Z, Y = rng.normal(scale=3.0, size=(3, 8)), draw_targets(output, 3, 8, rng)
    net = logit_net(3, output, lib)
    parameters = lib.host(net.parameters)
    expected = reference_cost(parameters, Z, Y, "tanh", output)
    found = net.cost(lib.asarray(Z), lib.asarray(Y))
    assert float(found) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_no_log_of_zero(lib, output, dtype):
    """Logits of +-1e4: a sure and wrong answer costs its logit, a sure and right one nothing."""
    Z = lib.asarray(np.array([[1e4, -1e4], [-1e4, 1e4]], dtype=dtype))
    right = lib.asarray(np.array([[1.0, 0.0], [0.0, 1.0]], dtype=dtype))
    wrong = lib.asarray(np.array([[0.0, 1.0], [1.0, 0.0]], dtype=dtype))
    net = logit_net(2, output, lib, dtype)
    assert float(net.cost(Z, right)) == 0.0
    assert float(net.cost(Z, wrong)) == pytest.approx(2e4, rel=1e-6)
    for Y in (right, wrong):
        for dW, db in lib.host(net.gradients(Z, Y)):
            assert np.all(np.isfinite(dW))
            assert np.all(np.isfinite(db))
    history = net.fit(Z, wrong, optimizer=xpnet.GradientDescent(1e-12), batch_size=None, epochs=2)
    np.testing.assert_allclose(history.cost, [2e4, 2e4], rtol=1e-3)  # the engine's own loss
    for W, b in lib.host(net.parameters):
        assert np.all(np.isfinite(W))
        assert np.all(np.isfinite(b))
    net = logit_net(2, output, lib, dtype)
    P = lib.to_numpy(net.predict_proba(Z))
    np.testing.assert_array_equal(P, np.eye(2, dtype=dtype))


def test_labels_equal_their_columns(lib):
    rng = np.random.default_rng(5)
    Z, labels = rng.normal(size=(4, 7)), np.array([0, 3, 1, 2, 2, 0, 3])
    net = logit_net(4, "softmax", lib)
    by_label = float(net.cost(lib.asarray(Z), lib.asarray(labels)))
    by_column = float(net.cost(lib.asarray(Z), lib.asarray(np.eye(4)[:, labels])))
    assert by_label == by_column


def test_soft_columns_are_a_mixture_of_labels():
    rng = np.random.default_rng(6)
    Z = rng.normal(size=(3, 1))
    net = logit_net(3, "softmax")
    share = np.array([[0.2], [0.5], [0.3]])
    mixed = sum(share[k, 0] * float(net.cost(Z, np.array([k]))) for k in range(3))
    assert float(net.cost(Z, share)) == pytest.approx(mixed, rel=1e-13)


@pytest.mark.parametrize("labels", [[0, 1, 1, 0], [0.0, 1.0, 1.0, 0.0], [False, True, True, False]])
def test_one_sigmoid_takes_flat_labels(labels):
    Z = np.array([[0.3, -1.0, 2.0, 0.1]])
    net = logit_net(1, "sigmoid")
    column = np.array([[0.0, 1.0, 1.0, 0.0]])
    assert float(net.cost(Z, np.array(labels))) == float(net.cost(Z, column))


def test_sigmoid_takes_shares_between_0_and_1():
    Z, Y = np.array([[0.3, -1.0]]), np.array([[0.25, 0.9]])
    expected = np.mean(np.logaddexp(0.0, Z) - Y * Z)
    assert float(logit_net(1, "sigmoid").cost(Z, Y)) == pytest.approx(expected, rel=1e-14)


def test_probabilities_sum_to_one(lib):
    Z = np.random.default_rng(8).normal(scale=50.0, size=(5, 20))
    P = lib.to_numpy(logit_net(5, "softmax", lib).predict_proba(lib.asarray(Z)))
    np.testing.assert_allclose(P.sum(axis=0), 1.0, rtol=1e-14)


@pytest.mark.parametrize("output", OUTPUTS)
def test_sample_weight_is_the_weighted_mean(lib, output):
    rng = np.random.default_rng(9)
    Z, Y, w = rng.normal(size=(3, 8)), draw_targets(output, 3, 8, rng), rng.uniform(0, 2, size=8)
    w[3] = 0.0
    net = logit_net(3, output, lib)
    expected = reference_cost(lib.host(net.parameters), Z, Y, "tanh", output, sample_weight=w)
    x, y = lib.asarray(Z), lib.asarray(Y)
    found = float(net.cost(x, y, sample_weight=lib.asarray(w)))
    scaled = float(net.cost(x, y, sample_weight=lib.asarray(8.0 * w)))
    assert found == pytest.approx(expected, rel=1e-13)
    assert scaled == pytest.approx(expected, rel=1e-13)  # only their ratios count


@pytest.mark.parametrize("output", OUTPUTS)
def test_l2_penalises_weights_and_never_biases(output):
    rng = np.random.default_rng(10)
    X, Y = rng.normal(size=(3, 6)), draw_targets(output, 2, 6, rng)
    net = xpnet.DeepNet([3, 4, 2], hidden="tanh", output=output, backend="numpy", dtype="float64")
    W1, W2 = rng.normal(size=(4, 3)), rng.normal(size=(2, 4))
    net.parameters = [(W1, rng.normal(size=(4, 1))), (W2, 100.0 * rng.normal(size=(2, 1)))]
    extra = float(net.cost(X, Y, l2=0.3)) - float(net.cost(X, Y))
    assert extra == pytest.approx(0.15 * (np.sum(W1**2) + np.sum(W2**2)), rel=1e-9)
    plain, penalised = net.gradients(X, Y), net.gradients(X, Y, l2=0.3)
    for (dW, db), (dW_l2, db_l2), W in zip(plain, penalised, (W1, W2), strict=True):
        np.testing.assert_allclose(dW_l2 - dW, 0.3 * W, rtol=1e-9, atol=1e-12)
        np.testing.assert_array_equal(db_l2, db)
