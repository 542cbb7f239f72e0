"""What `DeepNet.fit` promises: histories, minibatches, seeds, resumed runs."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import (
    OPTIMIZERS,
    assert_pairs_close,
    assert_pairs_equal,
    reference_cost,
    reference_gradients,
)
from net_helpers import GD, MINI, M, data, make_net, small_net

import xpnet

# ---------------------------------------------------------------- history


def by_hand(parameters, X, Y, rate, orders, batch_size, sample_weight=None, l2=0.0):
    """Gradient descent in plain NumPy: (parameters, one cost per epoch), as the contract has it."""
    m, costs = X.shape[1], []
    w = np.ones(m) if sample_weight is None else sample_weight
    for order in orders:
        total = 0.0
        for first in range(0, m, batch_size):
            i = order[first : first + batch_size]
            batch = (X[:, i], Y[:, i], "tanh", "sigmoid")
            share = w[i].mean() / w.mean()  # of the mean loss; the penalty is the same in all
            more = {"sample_weight": w[i], "l2": l2 / share}
            cost = share * reference_cost(parameters, *batch, **more)
            total += len(i) * cost
            pairs = zip(parameters, reference_gradients(parameters, *batch, **more), strict=True)
            step = share * rate
            parameters = [(W - step * dW, b - step * db) for (W, b), (dW, db) in pairs]
        costs.append(total / m)
    return parameters, costs


@pytest.mark.parametrize("l2", [0.0, 0.1], ids=["", "l2"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_history_is_the_cost_before_each_update_weighted_by_batch(lib, weighted, l2):
    """13 examples in batches of 5: 5 + 5 + 3, the short last one used and counted by its size."""
    X, Y = data()
    w = np.random.default_rng(0).uniform(0.1, 3.0, size=M) if weighted else None
    orders = [np.random.default_rng([9, e]).permutation(M) for e in range(4)]
    net = make_net(lib)
    start = lib.host(net.parameters)
    settings = {"batch_size": 5, "shuffle": lambda epoch: orders[epoch], "l2": l2}
    settings["sample_weight"] = lib.asarray(w) if weighted else None
    history = net.fit(lib.asarray(X), lib.asarray(Y), GD, epochs=4, **settings)
    expected, costs = by_hand(start, X, Y, 0.2, orders, 5, w, l2)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-12)
    assert_pairs_close(lib.host(net.parameters), expected, 1e-11)


@pytest.mark.parametrize("batch_size", [None, 64, 2, 1])
def test_minibatches_of_weighted_examples_are_not_biased(batch_size):
    """A bias alone learns the weighted mean of its targets, however small the minibatches are."""
    y = (np.arange(400) < 183).astype(float)[None, :]
    w = np.where(y[0] == 1, 9.0, 1.0)
    net = xpnet.DeepNet([1, 1], output="identity", dtype="float64")
    options = {"batch_size": batch_size, "sample_weight": w, "schedule": lambda e: 1 / (1 + e)}
    for rate, epochs in ((0.3, 10), (0.02, 30)) if batch_size else ((1.0, 2),):
        net.fit(np.zeros((1, 400)), y, xpnet.GradientDescent(rate), epochs=epochs, **options)
    assert np.average(y[0], weights=w) == pytest.approx(0.8836, abs=1e-4)
    assert net.parameters[0].b.item() == pytest.approx(0.8836, abs=0.004)


def test_no_epochs_change_nothing():
    X, Y = data()
    net = make_net()
    start = net.parameters
    assert net.fit(X, Y, epochs=0, **MINI).cost == []
    assert_pairs_equal(net.parameters, start)


# ---------------------------------------------------------------- shuffling and seeds


def test_shuffle_true_is_the_documented_permutation(lib):
    """numpy.random.default_rng([seed, epoch]).permutation(m): the same run on every library."""
    X, Y = data()
    x, y = lib.asarray(X), lib.asarray(Y)
    net, called = make_net(lib, seed=7), make_net(lib, seed=7)
    net.fit(x, y, epochs=3, shuffle=True, **MINI)
    called.fit(
        x, y, epochs=3, shuffle=lambda e: np.random.default_rng([7, e]).permutation(M), **MINI
    )
    assert_pairs_equal(lib.host(net.parameters), lib.host(called.parameters))


def test_shuffle_false_takes_the_examples_in_order():
    X, Y = data()
    net, called = make_net(), make_net()
    net.fit(X, Y, epochs=3, shuffle=False, **MINI)
    called.fit(X, Y, epochs=3, shuffle=lambda e: np.arange(M), **MINI)
    assert_pairs_equal(net.parameters, called.parameters)


def test_shuffle_is_asked_for_each_epoch_in_turn():
    X, Y = data()
    asked = []

    def order(epoch):
        asked.append(epoch)
        return np.arange(M)[::-1].copy()

    net = make_net()
    net.fit(X, Y, epochs=3, shuffle=order, **MINI)
    assert asked == [0, 1, 2]
    net.fit(X, Y, epochs=2, shuffle=order, resume=True, **MINI)
    assert asked == [0, 1, 2, 3, 4]
    net.fit(X, Y, epochs=2, shuffle=order, **MINI)
    assert asked[5:] == [0, 1]


@pytest.mark.parametrize(("m", "steps"), [(13, 1), (128, 1), (300, 3)])
def test_without_a_batch_size_minibatches_have_128_examples_at_most(lib, m, steps):
    x, y = (lib.asarray(array) for array in data(m=m))
    auto, named = make_net(lib), make_net(lib)
    auto.fit(x, y, epochs=2)
    named.fit(x, y, epochs=2, batch_size=min(m, 128))
    assert auto.training_state.step == 2 * steps
    assert_pairs_equal(lib.host(auto.parameters), lib.host(named.parameters))


def test_a_full_batch_is_not_shuffled():
    X, Y = data()
    one, other = make_net(), make_net()
    one.fit(X, Y, optimizer=GD, batch_size=None, epochs=3, shuffle=True)
    other.fit(X, Y, optimizer=GD, batch_size=None, epochs=3, shuffle=False)
    assert_pairs_equal(one.parameters, other.parameters)


def test_the_same_seed_gives_the_same_run_and_another_another(lib):
    X, Y = data()
    x, y = lib.asarray(X), lib.asarray(Y)
    runs = []
    for seed in (1, 1, 2):
        net = make_net(lib, seed=seed)
        net.fit(x, y, epochs=2, **MINI)
        runs.append(lib.host(net.parameters))
    assert_pairs_equal(runs[0], runs[1])
    assert np.max(np.abs(runs[0][0][0] - runs[2][0][0])) > 0.01


def test_the_global_random_state_is_left_alone():
    X, Y = data()
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    make_net().fit(X, Y, epochs=2, **MINI)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_resumed_run_is_one_long_run_to_the_last_bit(lib, dtype):
    X, Y = data(dtype=dtype)
    x, y = lib.asarray(X), lib.asarray(Y)
    long, parts = make_net(lib, dtype=dtype), make_net(lib, dtype=dtype)
    costs = long.fit(x, y, epochs=6, **MINI).cost
    joined = parts.fit(x, y, epochs=2, **MINI).cost
    joined += parts.fit(x, y, epochs=3, resume=True, **MINI).cost
    joined += parts.fit(x, y, epochs=1, resume=True, **MINI).cost
    assert joined == costs
    assert_pairs_equal(lib.host(parts.parameters), lib.host(long.parameters))


@pytest.mark.parametrize("lib", ["numpy", "torch", "jax", "cupy"], indirect=True)
@pytest.mark.parametrize("first", [1, 42, 43, 60])
def test_a_long_run_resumes_wherever_it_was_cut(lib, first):
    """Whatever is done only every so many steps must not depend on where a fit ended."""
    X, Y = data(dtype="float32")
    x, y = lib.asarray(X), lib.asarray(Y)
    long, parts = make_net(lib, dtype="float32"), make_net(lib, dtype="float32")
    costs = long.fit(x, y, epochs=100, **MINI).cost
    joined = parts.fit(x, y, epochs=first, **MINI).cost
    joined += parts.fit(x, y, epochs=100 - first, resume=True, **MINI).cost
    assert joined == costs
    assert_pairs_equal(lib.host(parts.parameters), lib.host(long.parameters))


@pytest.mark.parametrize("batch_size", [None, 5], ids=["full", "mini"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_resumes(name, batch_size):
    X, Y = data()
    long, parts = make_net(), make_net()
    options = {"optimizer": OPTIMIZERS[name][0], "batch_size": batch_size, "l2": 0.01}
    costs = long.fit(X, Y, epochs=5, **options).cost
    joined = parts.fit(X, Y, epochs=2, **options).cost
    joined += parts.fit(X, Y, epochs=3, resume=True, **options).cost
    assert joined == costs
    assert_pairs_equal(parts.parameters, long.parameters)


def test_a_resumed_run_keeps_its_optimiser():
    X, Y = data("sigmoid")
    nets = [make_net(), make_net()]
    for net, more in zip(nets, ({}, {"optimizer": xpnet.Momentum(0.05)}), strict=True):
        net.fit(X, Y, xpnet.Momentum(0.05), epochs=2, batch_size=5)
        net.fit(X, Y, epochs=2, batch_size=5, resume=True, **more)
    assert_pairs_equal(*(net.parameters for net in nets))


def test_resume_without_a_state_starts_afresh():
    X, Y = data()
    one, other = make_net(), make_net()
    one.fit(X, Y, epochs=3, **MINI)
    other.fit(X, Y, epochs=3, resume=True, **MINI)
    assert_pairs_equal(one.parameters, other.parameters)


@pytest.mark.parametrize("name", ["Adam", "Momentum"])
def test_a_second_fit_trains_on_with_a_fresh_optimiser(lib, name):
    X, Y = data()
    x, y = lib.asarray(X), lib.asarray(Y)
    options = {"optimizer": OPTIMIZERS[name][0], "batch_size": 5}
    net = make_net(lib)
    net.fit(x, y, epochs=3, **options)
    half_way = net.parameters
    net.fit(x, y, epochs=3, **options)
    fresh = make_net(lib)
    fresh.parameters = half_way
    fresh.fit(x, y, epochs=3, **options)
    assert_pairs_equal(lib.host(net.parameters), lib.host(fresh.parameters))
    assert np.max(np.abs(lib.host(net.parameters)[0][0] - lib.host(half_way)[0][0])) > 1e-3


def test_a_shuffle_may_use_its_array_again():
    X, Y = np.arange(36.0).reshape(3, 12) / 36, np.arange(12)[None, :] % 2
    nets = []
    for copied in (False, True):
        rng, order = np.random.default_rng(0), np.arange(12)

        def shuffle(epoch, rng=rng, order=order, copied=copied):
            rng.shuffle(order)
            return order.copy() if copied else order

        net = small_net()
        net.fit(X, Y, xpnet.Adam(0.1), epochs=6, batch_size=4, shuffle=shuffle)
        nets.append(net.parameters[0].W)
    np.testing.assert_array_equal(*nets)


# ---------------------------------------------------------------- what an engine must not keep


def test_a_second_X_of_the_same_shape_is_trained_on(lib):
    """A program recorded for the first arrays must not be replayed on them for the second."""
    first, second = data(seed=62), data(seed=63)
    used = make_net(lib)
    used.fit(lib.asarray(first[0]), lib.asarray(first[1]), optimizer=GD, batch_size=None, epochs=2)
    fresh = make_net(lib)
    fresh.parameters = used.parameters
    x, y = lib.asarray(second[0]), lib.asarray(second[1])
    used.fit(x, y, optimizer=GD, batch_size=None, epochs=2)
    fresh.fit(x, y, optimizer=GD, batch_size=None, epochs=2)
    assert_pairs_equal(lib.host(used.parameters), lib.host(fresh.parameters))


@pytest.mark.parametrize("resume", [False, True], ids=["again", "resume"])
def test_an_X_changed_in_place_between_fits_is_read_anew(resume):
    (X, Y), (X_new, Y_new) = data(seed=62), data(seed=63)
    used, fresh = make_net(), make_net()
    used.fit(X, Y, epochs=2, **MINI)
    fresh.fit(X.copy(), Y.copy(), epochs=2, **MINI)
    X[...], Y[...] = X_new, Y_new
    used.fit(X, Y, epochs=2, resume=resume, **MINI)
    fresh.fit(X_new, Y_new, epochs=2, resume=resume, **MINI)
    assert_pairs_equal(used.parameters, fresh.parameters)


def test_new_weights_and_new_penalty_are_seen():
    X, Y = data()
    w = np.linspace(0.1, 2.0, M)
    used = make_net()
    used.fit(X, Y, optimizer=GD, batch_size=None, epochs=2, l2=0.3)
    fresh = make_net()
    fresh.parameters = used.parameters
    used.fit(X, Y, optimizer=GD, batch_size=None, epochs=2, sample_weight=w, l2=0.1)
    fresh.fit(X, Y, optimizer=GD, batch_size=None, epochs=2, sample_weight=w, l2=0.1)
    assert_pairs_equal(used.parameters, fresh.parameters)


def test_two_nets_trained_in_turn_do_not_share_buffers():
    X, Y = data()
    one, other, alone = make_net(seed=1), make_net(seed=2), make_net(seed=1)
    for _ in range(3):
        one.fit(X, Y, epochs=1, resume=True, **MINI)
        other.fit(X, Y, epochs=1, resume=True, **MINI)
    alone.fit(X, Y, epochs=3, **MINI)
    assert_pairs_equal(one.parameters, alone.parameters)


def test_predictions_handed_out_stay_as_they_were(lib):
    """A result is the caller's: no later call writes into it."""
    X, Y = data()
    x, y = lib.asarray(X), lib.asarray(Y)
    net = make_net(lib)
    P = net.predict_proba(x)
    gradients = net.gradients(x, y)
    kept, kept_gradients = lib.to_numpy(P), lib.host(gradients)
    net.fit(x, y, epochs=2, **MINI)
    net.predict_proba(lib.asarray(-X))
    net.gradients(lib.asarray(-X), y)
    np.testing.assert_array_equal(lib.to_numpy(P), kept)
    assert_pairs_equal(lib.host(gradients), kept_gradients)


@pytest.mark.parametrize("memory", ["by-feature", "by-example"])
def test_fit_leaves_its_inputs_alone(lib, memory):
    """In either order in memory: one of them is the library's own, and need not be copied."""
    X, Y = data()
    w = np.linspace(0.1, 2.0, M)
    X_valid, Y_valid = data(seed=64)
    host = [X, Y, w, X_valid, Y_valid]
    if memory == "by-example":
        arrays = [lib.asarray(array.T).T if array.ndim == 2 else lib.asarray(w) for array in host]
    else:
        arrays = [lib.asarray(array) for array in host]
    x, y, weights, x_valid, y_valid = arrays
    net = make_net(lib)
    net.fit(x, y, epochs=2, sample_weight=weights, validation=(x_valid, y_valid), l2=0.1, **MINI)
    net.fit(x, y, batch_size=None, epochs=2, sample_weight=weights, optimizer=GD)
    net.fit(x, y, batch_size=None, epochs=2, optimizer=xpnet.Momentum(0.1))
    net.gradients(x, y)
    net.predict(x)
    for array, before in zip(arrays, host, strict=True):
        np.testing.assert_array_equal(lib.to_numpy(array), before)


def test_a_first_fit_that_is_refused_leaves_the_net_to_be_placed():
    net = xpnet.DeepNet([2, 1], output="identity")
    X, Y = np.ones((2, 3)), np.ones((1, 3))
    with pytest.raises(ValueError, match="NaN"):
        net.fit(X, Y * np.nan)
    assert not net.placement.bound
    assert "not placed yet" in repr(net)
    net.fit(X.astype(np.float32), Y.astype(np.float32))  # decided by this X
    assert net.backend.dtype_name == "float32"


@pytest.mark.parametrize("lib", ["numpy", "torch"], indirect=True)
def test_weights_that_a_penalty_shrinks_do_not_become_subnormal(lib):
    """Those of an input that is always 0: products of subnormal numbers are many times slower."""
    x = np.stack([np.zeros(8), np.linspace(-1.0, 1.0, 8)]).astype(np.float32)
    net = xpnet.DeepNet([2, 1], output="identity", dtype="float32", seed=1, **lib.options)
    rule = xpnet.GradientDescent(0.5)
    net.fit(lib.asarray(x), lib.asarray(x[1:]), rule, epochs=1100, batch_size=None, l2=0.4)
    ((W, _),) = lib.host(net.parameters)
    assert W[0, 0] == 0
    assert W[0, 1] > 0.1


@pytest.mark.parametrize("lib", ["numpy", "torch"], indirect=True)
def test_nor_do_those_of_a_perceptron(lib):
    pytest.importorskip("sklearn")
    x = np.stack([np.zeros(8), np.linspace(-1.0, 1.0, 8)]).astype(np.float32).T
    settings = {"solver": "sgd", "alpha": 3.2, "learning_rate_init": 0.5, "momentum": 0.0}
    settings |= {"hidden_layer_sizes": (), "max_iter": 512, "n_iter_no_change": 1000}
    model = xpnet.MLPRegressor(random_state=0, **settings)
    with pytest.warns(UserWarning, match="converged"):
        model.fit(lib.asarray(x), lib.asarray(x[:, 1]))
    W = xpnet.to_numpy(model.coefs_[0])
    assert W[0, 0] == 0
    assert W[1, 0] > 0.1
