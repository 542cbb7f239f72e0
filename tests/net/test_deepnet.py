"""What `DeepNet` promises: histories, batches, seeds, resumed runs, copies, shapes, moves."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from helpers import (
    OPTIMIZERS,
    OUTPUTS,
    assert_pairs_close,
    assert_pairs_equal,
    draw_parameters,
    draw_targets,
    raises_on_purpose,
    reference_cost,
    reference_gradients,
)

import xpnet

SIZES = [3, 5, 2]
M = 13


def data(output="sigmoid", dtype="float64", seed=61, m=M, n_y=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3, m)).astype(dtype)
    return X, draw_targets(output, n_y, m, rng).astype(dtype)


def make_net(lib=None, output="sigmoid", dtype="float64", seed=1, sizes=SIZES):
    options = lib.options if lib else {"backend": "numpy"}
    return xpnet.DeepNet(sizes, hidden="tanh", output=output, dtype=dtype, seed=seed, **options)


MINI = {"optimizer": xpnet.Adam(0.01), "batch_size": 5}
GD = xpnet.GradientDescent(0.2)


# ---------------------------------------------------------------- history


def by_hand(parameters, X, Y, rate, orders, batch_size, sample_weight=None, l2=0.0):
    """Gradient descent in plain NumPy: (parameters, one cost per epoch), as the contract has it."""
    m, costs = X.shape[1], []
    w = np.ones(m) if sample_weight is None else sample_weight
    for order in orders:
        total = weight = 0.0
        for first in range(0, m, batch_size):
            i = order[first : first + batch_size]
            batch = (X[:, i], Y[:, i], "tanh", "sigmoid")
            cost = reference_cost(parameters, *batch, sample_weight=w[i], l2=l2)
            size = len(i) if sample_weight is None else w[i].sum()
            total, weight = total + size * cost, weight + size
            slopes = reference_gradients(parameters, *batch, sample_weight=w[i], l2=l2)
            pairs = zip(parameters, slopes, strict=True)
            parameters = [(W - rate * dW, b - rate * db) for (W, b), (dW, db) in pairs]
        costs.append(total / weight)
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
    history = net.fit(
        lib.asarray(X),
        lib.asarray(Y),
        optimizer=GD,
        epochs=4,
        batch_size=5,
        shuffle=lambda epoch: orders[epoch],
        sample_weight=lib.asarray(w) if weighted else None,
        l2=l2,
    )
    expected, costs = by_hand(start, X, Y, 0.2, orders, 5, w, l2)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-12)
    assert_pairs_close(lib.host(net.parameters), expected, 1e-11)


def test_first_cost_is_that_of_the_parameters_before_the_update():
    X, Y = data()
    net = make_net()
    before = float(net.cost(X, Y, l2=0.1))
    history = net.fit(X, Y, optimizer=GD, epochs=1, l2=0.1)
    assert history.cost == [pytest.approx(before, rel=1e-14)]
    assert float(net.cost(X, Y, l2=0.1)) < before


def test_history_is_of_its_own_fit_and_of_plain_floats():
    X, Y = data()
    net = make_net()
    first = net.fit(X, Y, epochs=3, **MINI)
    second = net.fit(X, Y, epochs=2, **MINI)
    assert (len(first.cost), len(second.cost)) == (3, 2)
    assert all(type(cost) is float for cost in [*first.cost, *second.cost])
    assert first.seconds >= 0.0


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


def test_a_full_batch_is_not_shuffled():
    X, Y = data()
    one, other = make_net(), make_net()
    one.fit(X, Y, optimizer=GD, epochs=3, shuffle=True)
    other.fit(X, Y, optimizer=GD, epochs=3, shuffle=False)
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


def test_resume_without_a_state_starts_afresh():
    X, Y = data()
    one, other = make_net(), make_net()
    one.fit(X, Y, epochs=3, **MINI)
    other.fit(X, Y, epochs=3, resume=True, **MINI)
    assert_pairs_equal(one.parameters, other.parameters)


def test_a_run_stopped_by_a_callback_resumes():
    class Stop:
        def on_epoch_end(self, net, progress):
            return True

    X, Y = data()
    long, parts = make_net(), make_net()
    long.fit(X, Y, epochs=4, **MINI)
    parts.fit(X, Y, epochs=9, callbacks=[Stop()], **MINI)
    parts.fit(X, Y, epochs=3, resume=True, **MINI)
    assert_pairs_equal(parts.parameters, long.parameters)


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


# ---------------------------------------------------------------- what an engine must not keep


def test_a_second_X_of_the_same_shape_is_trained_on(lib):
    """A program recorded for the first arrays must not be replayed on them for the second."""
    first, second = data(seed=62), data(seed=63)
    used = make_net(lib)
    used.fit(lib.asarray(first[0]), lib.asarray(first[1]), optimizer=GD, epochs=2)
    fresh = make_net(lib)
    fresh.parameters = used.parameters
    x, y = lib.asarray(second[0]), lib.asarray(second[1])
    used.fit(x, y, optimizer=GD, epochs=2)
    fresh.fit(x, y, optimizer=GD, epochs=2)
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
    used.fit(X, Y, optimizer=GD, epochs=2, l2=0.3)
    fresh = make_net()
    fresh.parameters = used.parameters
    used.fit(X, Y, optimizer=GD, epochs=2, sample_weight=w, l2=0.1)
    fresh.fit(X, Y, optimizer=GD, epochs=2, sample_weight=w, l2=0.1)
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
    net.fit(x, y, epochs=2, sample_weight=weights, optimizer=GD)
    net.fit(x, y, epochs=2, optimizer=xpnet.Momentum(0.1))
    net.gradients(x, y)
    net.predict(x)
    for array, before in zip(arrays, host, strict=True):
        np.testing.assert_array_equal(lib.to_numpy(array), before)


# ---------------------------------------------------------------- parameters


def test_parameters_read_are_copies(lib):
    X, Y = data()
    x, y = lib.asarray(X), lib.asarray(Y)
    net = make_net(lib)
    read = net.parameters
    before = lib.host(read)
    net.fit(x, y, epochs=2, **MINI)
    assert_pairs_equal(lib.host(read), before)  # training does not reach what was read
    if lib.name != "jax":  # its arrays cannot be written
        trained = lib.host(net.parameters)
        for W, b in net.parameters:
            W[...] = 7.0
            b[...] = 7.0
        assert_pairs_equal(lib.host(net.parameters), trained)


def test_parameters_assigned_are_copied_in(lib):
    X, Y = data()
    given = draw_parameters(SIZES, np.random.default_rng(0))
    arrays = lib.pairs(given)
    net = make_net(lib)
    net.parameters = arrays
    assert_pairs_equal(lib.host(net.parameters), given)
    net.fit(lib.asarray(X), lib.asarray(Y), epochs=2, **MINI)
    assert_pairs_equal(lib.host(arrays), given)  # training does not reach what was assigned
    if lib.name != "jax":
        trained = lib.host(net.parameters)
        for W, b in arrays:
            W[...] = 7.0
            b[...] = 7.0
        assert_pairs_equal(lib.host(net.parameters), trained)


def test_numpy_parameters_may_be_assigned_anywhere(lib):
    given = draw_parameters(SIZES, np.random.default_rng(0))
    net = make_net(lib)
    net.parameters = given
    assert lib.owns(net.parameters[0][0])
    assert_pairs_equal(lib.host(net.parameters), given)


def test_parameters_have_the_notes_shapes(lib):
    net = make_net(lib, sizes=[3, 20, 7, 1])
    shapes = [(tuple(W.shape), tuple(b.shape)) for W, b in net.parameters]
    assert shapes == [((20, 3), (20, 1)), ((7, 20), (7, 1)), ((1, 7), (1, 1))]
    assert all(lib.owns(array) for pair in net.parameters for array in pair)
    assert list(net.sizes) == [3, 20, 7, 1]
    assert net.n_parameters == 60 + 140 + 7 + 20 + 7 + 1


def test_initial_weights_differ_and_biases_are_finite():
    W, b = make_net(sizes=[30, 40, 2]).parameters[0]
    assert len(np.unique(W)) == W.size
    assert 0.05 < W.std() < 0.5
    assert np.all(np.isfinite(b))


# ---------------------------------------------------------------- predictions


@pytest.mark.parametrize("n_y", [1, 3])
def test_sigmoid_predicts_zeros_and_ones(lib, n_y):
    X, _ = data()
    net = make_net(lib, sizes=[3, 4, n_y])
    P = lib.to_numpy(net.predict_proba(lib.asarray(X)))
    labels = lib.to_numpy(net.predict(lib.asarray(X)))
    assert P.shape == labels.shape == (n_y, M)
    np.testing.assert_array_equal(labels, P > 0.5)
    assert set(np.unique(labels)) <= {0, 1}


def test_softmax_predicts_labels(lib):
    X, _ = data()
    net = make_net(lib, output="softmax", sizes=[3, 4, 5])
    P = lib.to_numpy(net.predict_proba(lib.asarray(X)))
    labels = lib.to_numpy(net.predict(lib.asarray(X)))
    assert P.shape == (5, M)
    assert labels.shape == (M,)
    assert labels.dtype.kind in "iu"
    np.testing.assert_array_equal(labels, P.argmax(axis=0))


def test_identity_predicts_numbers(lib):
    X, _ = data()
    net = make_net(lib, output="identity", sizes=[3, 4, 2])
    x = lib.asarray(X)
    assert tuple(net.predict(x).shape) == (2, M)
    np.testing.assert_array_equal(lib.to_numpy(net.predict(x)), lib.to_numpy(net.predict_proba(x)))


@pytest.mark.parametrize("output", OUTPUTS)
def test_output_follows_input(lib, output):
    """A net with an explicit backend, asked in NumPy, answers in NumPy; in its own, in its own."""
    X, _ = data()
    net = make_net(lib, output=output)
    own, host = net.predict_proba(lib.asarray(X)), net.predict_proba(X)
    assert lib.owns(own)
    assert type(host) is np.ndarray
    np.testing.assert_array_equal(lib.to_numpy(own), host)
    assert type(net.predict(X)) is np.ndarray
    assert lib.owns(net.predict(lib.asarray(X)))


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("m", [1023, 1024, 1025, 2500])
def test_many_examples_are_predicted_as_few_are(output, m):
    """An engine may predict in pieces: their seams do not show."""
    X, _ = data(m=m)
    net = make_net(output=output)
    P, label = net.predict_proba(X), net.predict(X)
    for first in range(0, m, 500):
        part = X[:, first : first + 500]
        np.testing.assert_allclose(P[:, first : first + 500], net.predict_proba(part), rtol=1e-13)
        np.testing.assert_allclose(label[..., first : first + 500], net.predict(part), rtol=1e-13)


def test_one_example_is_enough(lib):
    X, Y = data(m=1)
    net = make_net(lib)
    net.fit(lib.asarray(X), lib.asarray(Y), epochs=2, **MINI)
    assert tuple(net.predict(lib.asarray(X)).shape) == (2, 1)


# ---------------------------------------------------------------- forms of data


def layouts(X):
    wide = np.zeros((X.shape[0], 2 * X.shape[1]))
    wide[:, ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    return {
        "fortran": np.asfortranarray(X),
        "rows": np.ascontiguousarray(X.T).T,
        "strided": wide[:, ::2],
        "reversed": np.ascontiguousarray(X[:, ::-1])[:, ::-1],
        "read-only": frozen,
        "list": X.tolist(),
    }


@pytest.mark.parametrize("layout", ["fortran", "rows", "strided", "reversed", "read-only", "list"])
def test_layout_in_memory_does_not_matter(lib, layout):
    X, Y = data()
    net, same = make_net(lib), make_net(lib)
    net.fit(layouts(X)[layout], layouts(Y)[layout], epochs=2, **MINI)
    same.fit(X, Y, epochs=2, **MINI)
    assert_pairs_close(lib.host(net.parameters), lib.host(same.parameters), 1e-12)
    P = lib.to_numpy(net.predict_proba(lib.asarray(X)))
    moved = net.predict_proba(layouts(X)[layout])
    np.testing.assert_allclose(np.asarray(moved), P, rtol=1e-12)


def test_integer_data_become_float32(lib):
    X = lib.asarray(np.arange(12).reshape(3, 4) % 5)
    Y = lib.asarray(np.array([0, 1, 1, 0]))
    net = xpnet.DeepNet([3, 2, 1], hidden="tanh", output="sigmoid")
    net.fit(X, Y, optimizer=GD, epochs=1)
    assert {lib.dtype_of(array) for pair in net.parameters for array in pair} == {"float32"}
    assert lib.dtype_of(net.predict_proba(X)) == "float32"


def test_dtype_says_otherwise(lib):
    X = lib.asarray(np.arange(12).reshape(3, 4) % 5)
    Y = lib.asarray(np.array([0, 1, 1, 0]))
    net = xpnet.DeepNet([3, 2, 1], hidden="tanh", output="sigmoid", dtype="float64")
    net.fit(X, Y, optimizer=GD, epochs=1)
    assert {lib.dtype_of(array) for pair in net.parameters for array in pair} == {"float64"}


def test_flat_labels_train_as_columns(lib):
    X, _ = data()
    labels = np.random.default_rng(1).integers(0, 2, size=M)
    for output, column in (("sigmoid", labels[None, :]), ("softmax", np.eye(2)[:, labels])):
        n_y = column.shape[0]
        flat, wide = (make_net(lib, output=output, sizes=[3, 4, n_y]) for _ in range(2))
        flat.fit(lib.asarray(X), lib.asarray(labels), epochs=2, **MINI)
        wide.fit(lib.asarray(X), lib.asarray(column.astype(float)), epochs=2, **MINI)
        assert_pairs_close(lib.host(flat.parameters), lib.host(wide.parameters), 1e-13)


@pytest.mark.parametrize("times", [[1, 2, 3, 1], [0, 4, 1, 0, 2], [2] * 6], ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
def test_training_with_whole_weights_is_training_on_repeated_examples(output, times):
    X, Y = data(output, m=len(times))
    X_long, Y_long = np.repeat(X, times, axis=1), np.repeat(Y, times, axis=1)
    weighted, repeated = make_net(output=output), make_net(output=output)
    w = np.array(times, dtype=float)
    one = weighted.fit(X, Y, optimizer=GD, epochs=5, sample_weight=w, l2=0.1)
    other = repeated.fit(X_long, Y_long, optimizer=GD, epochs=5, l2=0.1)
    np.testing.assert_allclose(one.cost, other.cost, rtol=1e-11)
    assert_pairs_close(weighted.parameters, repeated.parameters, 1e-10)


# ---------------------------------------------------------------- moving, copying, storing


def test_to_numpy_and_back(lib):
    X, Y = data()
    net = make_net(lib)
    net.fit(lib.asarray(X), lib.asarray(Y), epochs=2, **MINI)
    trained = lib.host(net.parameters)
    moved = net.to("numpy")
    assert type(moved.parameters[0][0]) is np.ndarray
    assert moved.backend.name == "numpy"
    assert_pairs_equal(moved.parameters, trained)
    back = moved.to(lib.name, device=lib.device)
    assert lib.owns(back.parameters[0][0])
    assert_pairs_equal(lib.host(back.parameters), trained)
    back.fit(lib.asarray(X), lib.asarray(Y), epochs=1, **MINI)


def test_from_numpy_to_every_library(lib):
    X, Y = data()
    net = make_net()
    net.fit(X, Y, epochs=2, **MINI)
    trained = [(W.copy(), b.copy()) for W, b in net.parameters]
    P = net.predict_proba(X)
    moved = net.to(lib.name, device=lib.device)
    assert lib.dtype_of(moved.parameters[0][0]) == "float64"
    assert_pairs_equal(lib.host(moved.parameters), trained)
    found = lib.to_numpy(moved.predict_proba(lib.asarray(X)))
    np.testing.assert_allclose(found, P, rtol=1e-13)


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))],
    ids=["copy", "deepcopy", "pickle"],
)
def test_copies_of_a_trained_net(lib, duplicate):
    X, Y = data()
    x, y = lib.asarray(X), lib.asarray(Y)
    net = make_net(lib)
    net.fit(x, y, epochs=2, **MINI)
    other = duplicate(net)
    trained = lib.host(net.parameters)
    np.testing.assert_array_equal(
        lib.to_numpy(other.predict_proba(x)), lib.to_numpy(net.predict_proba(x))
    )
    assert lib.owns(other.parameters[0][0])
    assert_pairs_equal(lib.host(other.parameters), trained)
    other.fit(x, y, epochs=2, resume=True, **MINI)  # the optimiser's state came along
    assert_pairs_equal(lib.host(net.parameters), trained)  # and the original was not touched
    net.fit(x, y, epochs=2, resume=True, **MINI)
    assert_pairs_equal(lib.host(other.parameters), lib.host(net.parameters))


def test_a_pickle_is_host_arrays_and_follows_the_next_x(lib):
    """A net trained on a GPU loads on a laptop."""
    X, Y = data()
    net = make_net(lib)
    net.fit(lib.asarray(X), lib.asarray(Y), epochs=2, **MINI)
    on_host = pickle.loads(pickle.dumps(net))
    assert type(on_host.parameters[0][0]) is np.ndarray
    assert on_host.parameters[0][0].dtype == "float64"
    assert_pairs_equal(on_host.parameters, lib.host(net.parameters))
    found = on_host.predict_proba(X)
    assert type(found) is np.ndarray
    np.testing.assert_allclose(found, net.predict_proba(X), rtol=1e-13)


@pytest.mark.parametrize("lib", ["numpy", "torch", "jax"], indirect=True)
def test_no_pickle_holds_the_data_or_a_program(lib):
    """Its size is that of parameters and optimiser state, however much data the net has seen."""
    lengths = []
    for m in (10, 20_000):
        X, Y = data(m=m)
        net = make_net(lib)
        net.fit(lib.asarray(X), lib.asarray(Y), optimizer=xpnet.Adam(0.01), epochs=1)
        net.predict(lib.asarray(X))
        net.gradients(lib.asarray(X), lib.asarray(Y))
        lengths.append(len(pickle.dumps(net)))
    assert abs(lengths[1] - lengths[0]) < 200
    assert lengths[1] < 20_000


def test_a_net_can_be_copied_in_the_middle_of_a_run():
    kept = []

    class Keeps:
        def on_epoch_end(self, net, progress):
            kept.append((copy.deepcopy(net), pickle.dumps(net)))

    X, Y = data()
    make_net().fit(X, Y, epochs=2, callbacks=[Keeps()], **MINI)
    shorter = make_net()
    shorter.fit(X, Y, epochs=1, **MINI)
    assert_pairs_equal(kept[0][0].parameters, shorter.parameters)
    assert_pairs_equal(pickle.loads(kept[0][1]).parameters, shorter.parameters)


# ---------------------------------------------------------------- a diverging run


@pytest.mark.parametrize("batch_size", [None, 5], ids=["full", "mini"])
def test_a_diverging_run_stops_and_says_where(lib, batch_size):
    X, Y = data("identity")
    net = make_net(lib, output="identity", sizes=[3, 2])
    with raises_on_purpose(xpnet.DivergedError, r"epoch", r"cost") as info:
        net.fit(
            lib.asarray(X),
            lib.asarray(Y),
            optimizer=xpnet.GradientDescent(1e6),
            epochs=200,
            batch_size=batch_size,
        )
    error = info.value
    assert isinstance(error, ArithmeticError)
    assert not np.isfinite(error.cost)
    assert np.isfinite(error.last_cost)
    assert 0 <= error.epoch < 200
    message = str(error)
    assert str(error.epoch) in message
    assert "inf" in message or "nan" in message
    assert f"{error.last_cost:.3g}"[:3] in message
    for W, b in lib.host(net.parameters):
        assert np.all(np.isfinite(W))
        assert np.all(np.isfinite(b))


@pytest.mark.parametrize("sizes", [[3, 2], [3, 6, 6, 2]], ids=["ols", "deep"])
@pytest.mark.parametrize("batch_size", [None, 5], ids=["full", "mini"])
@pytest.mark.parametrize("engine", ["generic", "numpy"])
def test_no_number_of_epochs_leaves_infinite_parameters(engine, batch_size, sizes):
    """Also when the last update is the one that overflows, and no cost is computed after it.

    OLS creeps to infinity, a deep ReLU net gets there in a few steps: cost and parameters together.
    """
    X, Y = data("identity")
    rate, diverged = xpnet.GradientDescent(1e6), 0
    for epochs in range(1, 40):
        net = xpnet.DeepNet(sizes, "relu", "identity", backend="numpy", dtype="float64", seed=1)
        try:
            with xpnet.engines.use(engine):
                net.fit(X, Y, optimizer=rate, epochs=epochs, batch_size=batch_size)
        except xpnet.DivergedError as error:
            diverged += 1
            assert error.epoch <= epochs  # noqa: PT017
        for W, b in net.parameters:
            assert np.all(np.isfinite(W)), epochs
            assert np.all(np.isfinite(b)), epochs
    assert diverged


def test_the_parameters_left_are_those_before_the_epoch_that_broke():
    X, Y = data("identity")

    def make():
        return xpnet.DeepNet([3, 6, 6, 2], "relu", "identity", backend="numpy", seed=1)

    settings = {"optimizer": xpnet.GradientDescent(10.0), "batch_size": 5}
    broken, shorter = make(), make()
    with pytest.raises(xpnet.DivergedError) as info:
        broken.fit(X, Y, epochs=100, **settings)
    good = info.value.epoch - 1  # epochs are counted from 1
    assert good >= 1
    history = shorter.fit(X, Y, epochs=good, **settings)
    assert_pairs_equal(broken.parameters, shorter.parameters)
    assert info.value.last_cost == history.cost[-1]


def test_a_net_trains_again_after_it_diverged():
    X, Y = data("identity")
    net = make_net(output="identity", sizes=[3, 2])
    start = net.parameters
    with pytest.raises(xpnet.DivergedError):
        net.fit(X, Y, optimizer=xpnet.GradientDescent(1e6), epochs=200)
    net.parameters = start
    history = net.fit(X, Y, optimizer=xpnet.GradientDescent(0.1), epochs=20)
    assert history.cost[-1] < history.cost[0]


def test_a_large_finite_rate_that_does_not_diverge_is_no_error():
    """Stable costs stay finite: logistic regression at rate 1e6 is silly, not infinite."""
    X, Y = data(n_y=1)
    net = xpnet.logistic_regression(3)
    history = net.fit(X, Y, optimizer=xpnet.GradientDescent(1e6), epochs=20)
    assert np.all(np.isfinite(history.cost))


# ---------------------------------------------------------------- names


def test_the_signatures():
    made = inspect.signature(xpnet.DeepNet).parameters
    assert next(iter(made)) == "sizes"
    defaults = {name: made[name].default for name in ("backend", "device", "dtype", "seed")}
    assert defaults == {"backend": "auto", "device": None, "dtype": None, "seed": 0}
    fit = inspect.signature(xpnet.DeepNet.fit).parameters
    expected = {
        "batch_size": None,
        "shuffle": True,
        "sample_weight": None,
        "l2": 0.0,
        "validation": None,
        "callbacks": (),
        "resume": False,
    }
    assert {name: fit[name].default for name in expected} == expected
    assert "optimizer" in fit
    assert "epochs" in fit


def test_the_net_and_its_functions_are_documented():
    for name in xpnet.__all__:
        value = getattr(xpnet, name)
        if callable(value):
            assert (inspect.getdoc(value) or "").strip(), name


def test_repr_tells_sizes_and_backend():
    text = repr(make_net())
    assert "3, 5, 2" in text
    assert "NumPy" in text


def test_models_are_one_family():
    """logistic_regression(n) is a DeepNet without hidden layer; the others likewise."""
    X, _ = data()
    assert isinstance(xpnet.logistic_regression(3), xpnet.DeepNet)
    for net, other in (
        (xpnet.logistic_regression(3), xpnet.DeepNet([3, 1], output="sigmoid")),
        (xpnet.linear_regression(3), xpnet.DeepNet([3, 1], output="identity")),
        (xpnet.shallow_net(3, 4), xpnet.DeepNet([3, 4, 1], hidden="tanh", output="sigmoid")),
        (xpnet.deep_net([3, 4, 2, 1]), xpnet.DeepNet([3, 4, 2, 1], "relu", "sigmoid")),
    ):
        other.parameters = net.parameters
        np.testing.assert_array_equal(net.predict_proba(X), other.predict_proba(X))


def test_sizes_is_read_once():
    sizes = [3, 4, 1]
    net = xpnet.DeepNet(sizes, hidden="tanh", output="sigmoid")
    sizes[1] = 99
    assert list(net.sizes) == [3, 4, 1]
    with raises_on_purpose((ValueError, TypeError), "sizes"):
        xpnet.DeepNet("341")


# ---------------------------------------------------------------- corners


def small_net(**options):
    return xpnet.DeepNet([3, 4, 1], output="sigmoid", dtype="float64", **options)


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


def test_a_callback_that_raises_loses_no_epoch():
    class Breaks:
        def on_epoch_end(self, net, progress):
            if progress.epoch == 5:
                raise RuntimeError("five")

    X, Y = np.ones((3, 4)), np.ones((1, 4))
    broken, whole = small_net(), small_net()
    with pytest.raises(RuntimeError, match="five"):
        broken.fit(X, Y, epochs=50, callbacks=[Breaks()])
    whole.fit(X, Y, epochs=5)
    np.testing.assert_array_equal(broken.parameters[0].W, whole.parameters[0].W)


def test_large_finite_parameters_are_no_divergence():
    net = xpnet.DeepNet([2, 1], output="identity", dtype="float32")
    net.parameters = [(np.full((1, 2), 3e38), np.zeros((1, 1)))]
    net.fit(np.zeros((2, 3)), np.zeros((1, 3)), epochs=0)
    history = net.fit(np.zeros((2, 3)), np.zeros((1, 3)), xpnet.GradientDescent(0.0), epochs=1)
    assert history.cost == [0.0]
    np.testing.assert_array_equal(net.parameters[0].W, np.full((1, 2), 3e38, np.float32))


def test_what_a_file_held_is_copied_with_the_net():
    import copy

    net = small_net()
    twin = copy.deepcopy(net)
    twin.data["a"] = 1
    assert net.data == {}


def test_an_overflow_on_the_way_to_float32_is_an_error():
    net = xpnet.DeepNet([2, 1], dtype="float32")
    net.fit(np.ones((2, 3), np.float32), np.ones((1, 3)), epochs=1)
    with pytest.raises(ValueError, match="X holds NaN or infinity"):
        net.predict(np.full((2, 3), 1e300))


def test_targets_of_three_dimensions_are_refused():
    with pytest.raises(ValueError, match=r"Y has shape \(1, 4, 1\)"):
        xpnet.DeepNet([3, 2], output="softmax").fit(np.ones((3, 4)), np.ones((1, 4, 1)))
