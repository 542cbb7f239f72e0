"""What `DeepNet` promises: parameters, predictions, forms of data, copies, names."""

from __future__ import annotations

import copy
import inspect
import pickle
import tracemalloc

import numpy as np
import pytest
from helpers import (
    OUTPUTS,
    assert_pairs_close,
    assert_pairs_equal,
    draw_parameters,
    raises_on_purpose,
)
from net_helpers import GD, MINI, SIZES, M, data, make_net, small_net

import xpnet
from xpnet.engines.numpy_recorder import Recorder

# ---------------------------------------------------------------- parameters


def test_memory_of_the_state(lib):
    X, Y = data()
    net = make_net(lib)
    net.fit(lib.asarray(X), lib.asarray(Y), epochs=1, **MINI)
    expected = 3 * net.n_parameters * 8  # with two moments
    assert net.memory()["state"] == expected
    assert lib.name == "cupy" or net.memory() == {"state": expected}


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


@pytest.mark.parametrize(
    ("output", "n_y", "label"),
    [
        ("sigmoid", 1, lambda P: P > 0.5),
        ("sigmoid", 3, lambda P: P > 0.5),
        ("softmax", 5, lambda P: P.argmax(axis=0)),
        ("identity", 2, lambda P: P),
    ],
)
def test_what_a_net_predicts(lib, output, n_y, label):
    """A sigmoid zeros and ones, a softmax labels, the identity numbers."""
    X, _ = data()
    net = make_net(lib, output=output, sizes=[3, 4, n_y])
    P = lib.to_numpy(net.predict_proba(lib.asarray(X)))
    labels = lib.to_numpy(net.predict(lib.asarray(X)))
    assert P.shape == (n_y, M)
    assert labels.shape == label(P).shape
    np.testing.assert_array_equal(labels, label(P))
    assert labels.dtype.kind in "iu" or output != "softmax"


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


class Units(np.ndarray):
    """As a Quantity of astropy's: other units, no arithmetic."""

    def __array_ufunc__(self, *args, **kwargs):
        raise TypeError("units differ")

    def __array_function__(self, *args, **kwargs):
        raise TypeError("units differ")


def layouts(X):
    wide = np.zeros((*X.shape[:-1], 2 * X.shape[-1]))
    wide[..., ::2] = X
    frozen = X.copy()
    frozen.flags.writeable = False
    return {
        "fortran": np.asfortranarray(X),
        "rows": np.ascontiguousarray(X.T).T,
        "strided": wide[..., ::2],
        "reversed": np.ascontiguousarray(X[..., ::-1])[..., ::-1],
        "read-only": frozen,
        "list": X.tolist(),
        "big-endian": X.astype(X.dtype.newbyteorder(">")),
        "units": X.view(Units),
    }


LAYOUTS = list(layouts(np.zeros((1, 1))))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout_in_memory_does_not_matter(lib, layout):
    X, Y = data()
    net, same = make_net(lib), make_net(lib)
    net.fit(layouts(X)[layout], layouts(Y)[layout], epochs=2, **MINI)
    same.fit(X, Y, epochs=2, **MINI)
    assert_pairs_close(lib.host(net.parameters), lib.host(same.parameters), 1e-12)
    P = lib.to_numpy(net.predict_proba(lib.asarray(X)))
    moved = net.predict_proba(layouts(X)[layout])
    np.testing.assert_allclose(np.asarray(moved), P, rtol=1e-12)
    same.parameters = [tuple(layouts(np.asarray(p))[layout] for p in pair)
                       for pair in lib.host(net.parameters)]  # fmt: skip
    np.testing.assert_allclose(lib.to_numpy(same.predict_proba(lib.asarray(X))), P, rtol=1e-12)
    w = np.linspace(0.5, 1.5, X.shape[1])
    for method in (net.cost, net.score):
        there = method(*(layouts(x)[layout] for x in (X, Y)), layouts(w[None, :])[layout])
        assert there == pytest.approx(method(X, Y, w), rel=1e-12)


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "list"])
def test_layout_does_not_matter_to_functions(layout):
    X, W, b = data()[0], np.arange(6.0).reshape(2, 3) - 2.5, np.ones((2, 1))

    def quadratic(x):
        return np.sum(x * x), layouts(np.asarray(2.0 * x))[layout]

    for call, *given in (
        (lambda *a: xpnet.affine(*a), W, X, b),
        (lambda *a: xpnet.linear_activation_forward(*a, "tanh")[0], X, W, b),
        (lambda *a: xpnet.sigmoid(*a), X),
        (lambda *a: xpnet.relu_slope(*a), X),
        (lambda *a: xpnet.least_squares(*a).W, X, X[:1]),
        (lambda x: xpnet.lbfgs(quadratic, x[0, :]).x, X),
    ):
        found = call(*(layouts(x)[layout] for x in given))
        np.testing.assert_allclose(found, call(*given), rtol=1e-9, atol=1e-12)
        assert found.dtype.isnative
        assert type(found) is np.ndarray


@pytest.mark.parametrize("kind", ["MLPRegressor", "LogisticRegression", "LinearRegression"])
def test_byte_order_does_not_matter_to_estimators(lib, kind):
    pytest.importorskip("sklearn")
    X, w = np.ascontiguousarray(data(m=40)[0].T), np.linspace(0.5, 1.5, 40)
    y = X @ [1.0, -1.0, 0.5]
    y = (y > 0).astype(np.int32) if kind == "LogisticRegression" else y
    options = {"tol": 10.0, "random_state": 0} if kind == "MLPRegressor" else {}
    model = getattr(xpnet, kind)(**lib.options, **options)
    expected = np.asarray(model.fit(X, y, w).predict(X))
    turned = [layouts(x)["big-endian"] for x in (X, y, w)]
    found = np.asarray(model.fit(*turned).predict(turned[0]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [None, "float64"])
def test_integer_data_become_float32_unless_dtype_says_otherwise(lib, dtype):
    X = lib.asarray(np.arange(12).reshape(3, 4) % 5)
    Y = lib.asarray(np.array([0, 1, 1, 0]))
    net = xpnet.DeepNet([3, 2, 1], hidden="tanh", output="sigmoid", dtype=dtype)
    net.fit(X, Y, optimizer=GD, batch_size=None, epochs=1)
    arrays = [net.predict_proba(X), *(array for pair in net.parameters for array in pair)]
    assert {lib.dtype_of(array) for array in arrays} == {dtype or "float32"}


@pytest.mark.parametrize("batch_size", [None, 5])
@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_flat_labels_train_as_columns(lib, output, batch_size, monkeypatch):
    monkeypatch.setattr("xpnet.core.leaves.ROWS", 0)
    if lib.name == "numpy" and batch_size:  # full batches with Numba's loops, where it is there
        monkeypatch.setattr("xpnet.engines.numpy.best_recorder", lambda: Recorder)
    X, _ = data()
    labels = np.random.default_rng(1).integers(0, 3 if output == "softmax" else 2, size=M)
    columns = (np.eye(3)[:, labels] if output == "softmax" else labels[None]).astype(float)
    found = []
    for Y in (labels, columns):
        net = make_net(lib, output=output, sizes=[3, 4, len(columns)])
        given = lib.asarray(X), lib.asarray(Y)
        w = lib.asarray(np.linspace(0.5, 2.0, M))
        history = net.fit(
            *given, sample_weight=w, epochs=3, batch_size=batch_size, validation=given
        )
        streamed = make_net(lib, output=output, sizes=[3, 4, len(columns)])
        rows = xpnet.stream(X.T, Y if Y.ndim == 1 else Y.T)
        curve = streamed.fit(rows, epochs=3, batch_size=4, validation=rows).validation_cost
        costs = [history.cost, history.validation_cost, history.validation_accuracy, curve]
        pairs = [*net.parameters, *net.gradients(*given, w), *streamed.parameters]
        found.append((costs, net.cost(*given), lib.host(pairs)))
    (costs, cost, pairs), (wide_costs, wide_cost, wide_pairs) = found
    np.testing.assert_allclose(costs, wide_costs, rtol=1e-13)
    assert cost == pytest.approx(wide_cost, rel=1e-13)
    assert_pairs_close(pairs, wide_pairs, 1e-13)


@pytest.mark.parametrize("streamed", [False, True])
def test_labels_of_many_classes_take_the_memory_of_a_minibatch(streamed):
    X, labels = np.zeros((1, 20_000), "float32"), np.arange(20_000) % 5_000  # 381 MB as rows
    data = (xpnet.stream(X.T, labels),) if streamed else (X, labels)
    net = xpnet.DeepNet([1, 5_000], output="softmax", dtype="float32")
    tracemalloc.start()
    try:
        net.fit(*data, optimizer=GD, epochs=1, batch_size=100, validation=(X, labels))
        net.cost(X, labels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 250e6


@pytest.mark.parametrize("times", [[1, 2, 3, 1], [0, 4, 1, 0, 2], [2] * 6], ids=str)
@pytest.mark.parametrize("output", OUTPUTS)
def test_training_with_whole_weights_is_training_on_repeated_examples(output, times):
    X, Y = data(output, m=len(times))
    X_long, Y_long = np.repeat(X, times, axis=1), np.repeat(Y, times, axis=1)
    weighted, repeated = make_net(output=output), make_net(output=output)
    w = np.array(times, dtype=float)
    one = weighted.fit(X, Y, optimizer=GD, batch_size=None, epochs=5, sample_weight=w, l2=0.1)
    other = repeated.fit(X_long, Y_long, optimizer=GD, batch_size=None, epochs=5, l2=0.1)
    np.testing.assert_allclose(one.cost, other.cost, rtol=1e-11)
    assert_pairs_close(weighted.parameters, repeated.parameters, 1e-10)


# ---------------------------------------------------------------- moving, copying, storing


def test_from_numpy_to_every_library_and_back(lib):
    X, Y = data()
    x, y = lib.asarray(X), lib.asarray(Y)
    net = make_net()
    net.fit(X, Y, epochs=2, **MINI)
    trained, P = net.parameters, net.predict_proba(X)
    moved = net.to(lib.name, device=lib.device)
    assert lib.owns(moved.parameters[0][0])
    assert lib.dtype_of(moved.parameters[0][0]) == "float64"
    assert_pairs_equal(lib.host(moved.parameters), trained)
    found = lib.to_numpy(moved.predict_proba(x))
    np.testing.assert_allclose(found, P, rtol=1e-13)
    moved.fit(x, y, epochs=1, **MINI)
    trained = lib.host(moved.parameters)
    back = moved.to("numpy")
    assert type(back.parameters[0][0]) is np.ndarray
    assert back.backend.name == "numpy"
    assert_pairs_equal(back.parameters, trained)


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


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    ("output", "n_y"),
    [("sigmoid", 1), ("sigmoid", 2), ("softmax", 3), ("identity", 1), ("identity", 2)],
)
@pytest.mark.parametrize("rows", [0, 2**25], ids=["numbers", "rows"])
def test_score_is_scikit_learns(lib, output, n_y, weighted, rows, monkeypatch):
    metrics = pytest.importorskip("sklearn.metrics")
    monkeypatch.setattr("xpnet.core.leaves.ROWS", rows)  # labels of many classes stay numbers
    X, Y = data(output, m=40, n_y=n_y)
    x, w = lib.asarray(X), np.linspace(0.0, 2.0, 40) if weighted else None
    net = make_net(lib, output, sizes=[3, 5, n_y])
    labels = np.argmax(Y, axis=0) if output == "softmax" else Y[0] if n_y == 1 else Y
    metric = metrics.r2_score if output == "identity" else metrics.accuracy_score
    expected = metric(labels.T, np.squeeze(lib.to_numpy(net.predict(x))).T, sample_weight=w)
    for targets in (Y, labels):
        weights = None if w is None else lib.asarray(w)
        found = net.score(x, lib.asarray(targets), sample_weight=weights)
        assert found == pytest.approx(expected, rel=1e-9)


def test_the_defaults_of_fit_learn_digits():
    X, y = xpnet.load_digits()
    net = xpnet.DeepNet([64, 128, 10], output="softmax")
    net.fit(X.T / 16, y)
    assert net.score(X.T / 16, y) > 0.95  # 0.58 with an update per epoch


def test_score_of_targets_that_are_all_the_same():
    """As scikit-learn's: 1 where the answers are right, else 0."""
    net = xpnet.linear_regression(3)
    net.parameters = [(np.zeros((1, 3)), np.full((1, 1), 2.0))]
    assert net.score(np.ones((3, 4)), np.full(4, 2.0)) == 1.0
    assert net.score(np.ones((3, 4)), np.full(4, 5.0)) == 0.0


def test_the_signatures():
    made = inspect.signature(xpnet.DeepNet).parameters
    assert next(iter(made)) == "sizes"
    defaults = {name: made[name].default for name in ("backend", "device", "dtype", "seed")}
    assert defaults == {"backend": "auto", "device": None, "dtype": None, "seed": 0}
    fit = inspect.signature(xpnet.DeepNet.fit).parameters
    expected = {"batch_size": "auto", "shuffle": True, "sample_weight": None, "l2": 0.0}
    expected |= {"validation": None, "callbacks": (), "resume": False}
    assert {name: fit[name].default for name in expected} == expected
    assert {"optimizer", "epochs"} <= set(fit)


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


def test_what_a_file_held_is_copied_with_the_net():
    net = small_net()
    twin = copy.deepcopy(net)
    twin.data["a"] = 1
    assert net.data == {}
