"""The notes as written, in plain NumPy float64, against the library: the same numbers.

Each `notes_*` function is the notes' own lines, naive logarithms included; nothing of it is shared
with xpnet or with the other tests.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import xpnet


def sigma(z):
    return 1.0 / (1.0 + np.exp(-z))


def cross_entropy(A, Y):
    return -np.sum(Y * np.log(A) + (1 - Y) * np.log(1 - A)) / Y.shape[1]


def notes_logistic_regression(X, Y, w, b, alpha, iterations):
    """Section 5. w is (n_x, 1), b a scalar."""
    m, costs = X.shape[1], []
    for _ in range(iterations):
        Z = w.T @ X + b
        A = sigma(Z)
        costs.append(cross_entropy(A, Y))
        dw = X @ (A - Y).T / m
        db = np.sum(A - Y) / m
        w = w - alpha * dw
        b = b - alpha * db
    return w, b, costs


def notes_shallow(X, Y, W1, b1, W2, b2, alpha, iterations):
    """Section 6: tanh, then sigma."""
    m, costs = X.shape[1], []
    for _ in range(iterations):
        Z1 = W1 @ X + b1
        A1 = np.tanh(Z1)
        Z2 = W2 @ A1 + b2
        A2 = sigma(Z2)
        costs.append(cross_entropy(A2, Y))
        dZ2 = A2 - Y
        dW2 = dZ2 @ A1.T / m
        db2 = np.sum(dZ2, axis=1, keepdims=True) / m
        dZ1 = (W2.T @ dZ2) * (1 - A1**2)
        dW1 = dZ1 @ X.T / m
        db1 = np.sum(dZ1, axis=1, keepdims=True) / m
        W1, b1, W2, b2 = W1 - alpha * dW1, b1 - alpha * db1, W2 - alpha * dW2, b2 - alpha * db2
    return [(W1, b1), (W2, b2)], costs


def notes_deep(X, Y, parameters, alpha, iterations):
    """Section 7: ReLU in every hidden layer, sigma at the end, dAL written as a quotient."""
    m, L, costs = X.shape[1], len(parameters), []
    W = {i + 1: pair[0].copy() for i, pair in enumerate(parameters)}
    b = {i + 1: pair[1].copy() for i, pair in enumerate(parameters)}
    for _ in range(iterations):
        A, Z = {0: X}, {}
        for k in range(1, L + 1):
            Z[k] = W[k] @ A[k - 1] + b[k]
            A[k] = np.maximum(0, Z[k]) if k < L else sigma(Z[k])
        costs.append(cross_entropy(A[L], Y))
        dA = -(Y / A[L] - (1 - Y) / (1 - A[L]))
        dW, db = {}, {}
        for k in range(L, 0, -1):
            dZ = dA * A[k] * (1 - A[k]) if k == L else dA * (Z[k] > 0)
            dW[k] = dZ @ A[k - 1].T / m
            db[k] = np.sum(dZ, axis=1, keepdims=True) / m
            dA = W[k].T @ dZ
        for k in range(1, L + 1):
            W[k] = W[k] - alpha * dW[k]
            b[k] = b[k] - alpha * db[k]
    return [(W[k], b[k]) for k in range(1, L + 1)], costs


def two_classes(n_x, m, seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_x, m))
    Y = (np.sum(X, axis=0, keepdims=True) + 0.5 * rng.normal(size=(1, m)) > 0).astype(float)
    return rng, X, Y


def train_as_the_notes(lib, net, parameters, X, Y, alpha):
    net.parameters = parameters
    x, y, rule = lib.asarray(X), lib.asarray(Y), xpnet.GradientDescent(alpha)
    history = net.fit(x, y, rule, batch_size=None, epochs=100)
    return lib.host(net.parameters), history


def assert_same(found, expected, history, costs):
    assert all(type(cost) is float for cost in history.cost)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-12, atol=1e-12)
    assert costs[-1] < 0.9 * costs[0]  # the learning rate converges
    for (W, b), (W_notes, b_notes) in zip(found, expected, strict=True):
        np.testing.assert_allclose(W, W_notes, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(b, b_notes, rtol=1e-12, atol=1e-12)


def test_logistic_regression(lib):
    rng, X, Y = two_classes(3, 40, seed=1)
    w, b = rng.normal(size=(3, 1)), 0.3
    net = xpnet.logistic_regression(3)
    found, history = train_as_the_notes(lib, net, [(w.T, np.array([[b]]))], X, Y, alpha=0.5)
    w_notes, b_notes, costs = notes_logistic_regression(X, Y, w, b, 0.5, 100)
    assert_same(found, [(w_notes.T, np.array([[b_notes]]))], history, costs)
    predicted = lib.to_numpy(net.predict(lib.asarray(X)))
    np.testing.assert_array_equal(predicted, sigma(w_notes.T @ X + b_notes) > 0.5)


def test_shallow_net(lib):
    rng, X, Y = two_classes(2, 40, seed=2)
    start = [
        (rng.normal(size=(4, 2)), rng.normal(size=(4, 1))),
        (rng.normal(size=(1, 4)), rng.normal(size=(1, 1))),
    ]
    net = xpnet.shallow_net(2, 4)
    found, history = train_as_the_notes(lib, net, start, X, Y, alpha=0.5)
    expected, costs = notes_shallow(X, Y, *start[0], *start[1], 0.5, 100)
    assert_same(found, expected, history, costs)
    (W1, b1), (W2, b2) = expected
    predicted = lib.to_numpy(net.predict(lib.asarray(X)))
    np.testing.assert_array_equal(predicted, sigma(W2 @ np.tanh(W1 @ X + b1) + b2) > 0.5)


def test_deep_net(lib):
    rng, X, Y = two_classes(5, 40, seed=3)
    sizes = [5, 8, 4, 1]
    start = [
        (rng.normal(scale=n_in**-0.5, size=(n_out, n_in)), 0.1 * rng.normal(size=(n_out, 1)))
        for n_in, n_out in pairwise(sizes)
    ]
    net = xpnet.deep_net(sizes)
    found, history = train_as_the_notes(lib, net, start, X, Y, alpha=0.3)
    expected, costs = notes_deep(X, Y, start, 0.3, 100)
    assert_same(found, expected, history, costs)


def test_the_models_have_the_notes_shapes():
    def shapes(net):
        return [(tuple(W.shape), tuple(b.shape)) for W, b in net.parameters]

    assert shapes(xpnet.logistic_regression(3)) == [((1, 3), (1, 1))]
    assert shapes(xpnet.linear_regression(3)) == [((1, 3), (1, 1))]
    assert shapes(xpnet.shallow_net(2, 4)) == [((4, 2), (4, 1)), ((1, 4), (1, 1))]
    assert shapes(xpnet.deep_net([5, 8, 4, 1])) == [
        ((8, 5), (8, 1)),
        ((4, 8), (4, 1)),
        ((1, 4), (1, 1)),
    ]


def test_the_two_functions_chained_by_hand_equal_the_gradients(lib):
    """Section 7's loops, over xpnet's functions of the same names, on every library."""
    rng, X, Y = two_classes(4, 12, seed=4)
    sizes, m = [4, 6, 3, 1], 12
    net = xpnet.DeepNet(sizes, hidden="relu", output="sigmoid", dtype="float64", **lib.options)
    start = [
        (rng.normal(size=(n_out, n_in)), rng.normal(size=(n_out, 1)))
        for n_in, n_out in pairwise(sizes)
    ]
    net.parameters = lib.pairs(start)
    x, y = lib.asarray(X), lib.asarray(Y)
    A, caches, names = x, [], ["relu", "relu", "sigmoid"]
    for (W, b), name in zip(net.parameters, names, strict=True):
        A, cache = xpnet.linear_activation_forward(A, W, b, name)
        assert lib.owns(A)
        caches.append(cache)
    np.testing.assert_allclose(lib.to_numpy(A), lib.to_numpy(net.predict_proba(x)), rtol=1e-13)
    dA = -(y / A - (1 - y) / (1 - A))
    by_hand = []
    for cache, name in zip(reversed(caches), reversed(names), strict=True):
        dA, dW, db = xpnet.linear_activation_backward(dA, cache, name)
        assert lib.owns(dA)
        assert lib.dtype_of(dW) == "float64"
        by_hand.insert(0, (dW, db))
    assert tuple(dA.shape) == (4, m)
    for one, other in zip(lib.host(by_hand), lib.host(net.gradients(x, y)), strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(one[1], other[1], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["tanh", "softplus", "identity"])
def test_backward_gives_the_derivative_with_respect_to_the_input(name):
    rng = np.random.default_rng(5)
    W, b, A_prev = rng.normal(size=(3, 2)), rng.normal(size=(3, 1)), rng.normal(size=(2, 4))
    dA = rng.normal(size=(3, 4))
    _, cache = xpnet.linear_activation_forward(A_prev, W, b, name)
    dA_prev, dW, db = xpnet.linear_activation_backward(dA, cache, name)
    h = 1e-6
    for found, array, scale in ((dA_prev, A_prev, 1.0), (dW, W, 4.0), (db, b, 4.0)):
        numeric = np.empty_like(array)
        for index in np.ndindex(array.shape):
            sums = []
            for sign in (1, -1):
                kept = array[index]
                array[index] = kept + sign * h
                sums.append(np.sum(dA * xpnet.linear_activation_forward(A_prev, W, b, name)[0]))
                array[index] = kept
            numeric[index] = (sums[0] - sums[1]) / (2 * h)
        np.testing.assert_allclose(scale * found, numeric, rtol=1e-7, atol=1e-8)


def test_least_squares_is_what_gradient_descent_finds(lib):
    """OLS: the closed form and the net agree to 1e-6."""
    if not lib.decomposes:
        pytest.skip("CuPy on a CPU has no matrix decompositions")
    rng = np.random.default_rng(6)
    X = rng.normal(size=(3, 60))
    Y = np.array([[1.5, -2.0, 0.5]]) @ X + 0.7 + 0.1 * rng.normal(size=(1, 60))
    x, y = lib.asarray(X), lib.asarray(Y)
    W, b = xpnet.least_squares(x, y)
    assert lib.owns(W)
    assert tuple(W.shape) == (1, 3)
    assert tuple(b.shape) == (1, 1)
    design = np.vstack([X, np.ones((1, 60))])
    expected = np.linalg.lstsq(design.T, Y.T, rcond=None)[0].T
    np.testing.assert_allclose(lib.to_numpy(W), expected[:, :3], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(lib.to_numpy(b), expected[:, 3:], rtol=1e-9, atol=1e-10)
    net = xpnet.linear_regression(3)
    net.fit(x, y, optimizer=xpnet.GradientDescent(0.3), batch_size=None, epochs=300)
    ((W_net, b_net),) = lib.host(net.parameters)
    np.testing.assert_allclose(W_net, lib.to_numpy(W), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(b_net, lib.to_numpy(b), rtol=1e-6, atol=1e-6)


def test_least_squares_with_several_targets_leaves_no_gradient():
    rng = np.random.default_rng(7)
    X, Y = rng.normal(size=(4, 30)), rng.normal(size=(2, 30))
    net = xpnet.DeepNet([4, 2], output="identity", backend="numpy", dtype="float64")
    net.parameters = [xpnet.least_squares(X, Y)]
    ((dW, db),) = net.gradients(X, Y)
    assert np.max(np.abs(dW)) < 1e-12
    assert np.max(np.abs(db)) < 1e-12
