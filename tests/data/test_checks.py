"""Bad input is refused by xpnet on purpose: the right kind of error, naming the thing and the fix.

`raises_on_purpose` checks that the raise statement stands in xpnet's own source: an error that some
array library met in the depths would have the wrong place, even with the right type.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import assert_pairs_equal, raises_on_purpose

import xpnet

RNG = np.random.default_rng(71)
M = 6
X = RNG.normal(size=(3, M))
Y = (X[:1] > 0).astype(float)
BOTH = (TypeError, ValueError)


def make_net(lib=None, output="sigmoid", n_y=1):
    options = lib.options if lib else {"backend": "numpy"}
    return xpnet.DeepNet(
        [3, 4, n_y], hidden="tanh", output=output, dtype="float64", seed=1, **options
    )


def fit(net, x, y, **settings):
    return net.fit(x, y, **({"optimizer": xpnet.Adam(0.01), "epochs": 2} | settings))


def changed(array, value, index=(1, 2)):
    array = np.array(array)
    array[index] = value
    return array


# ---------------------------------------------------------------- X


@pytest.mark.parametrize("call", ["fit", "predict", "predict_proba", "cost", "gradients"])
def test_wrong_orientation_names_both_shapes_and_the_fix(lib, call):
    net = make_net(lib)
    x, y = lib.asarray(X.T), lib.asarray(Y)
    with raises_on_purpose(ValueError, r"\bX\b", r"\(6, 3\)", r"\b3\b", r"X\.T|[Tt]ranspose"):
        if call == "fit":
            fit(net, x, y)
        elif call in ("cost", "gradients"):
            getattr(net, call)(x, y)
        else:
            getattr(net, call)(x)


@pytest.mark.parametrize("call", ["fit", "predict", "cost"])
def test_another_number_of_features(lib, call):
    net, x, y = make_net(lib), lib.asarray(np.zeros((4, M))), lib.asarray(Y)
    with raises_on_purpose(ValueError, r"\bX\b", r"\(4, 6\)", r"\b3\b"):
        fit(net, x, y) if call == "fit" else net.predict(x) if call == "predict" else net.cost(x, y)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_nan_and_infinity_in_x(lib, value):
    x, y = lib.asarray(changed(X, value)), lib.asarray(Y)
    with raises_on_purpose(ValueError, r"\bX\b", r"(?i)nan|inf|finite"):
        fit(make_net(lib), x, y)


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
def test_nan_and_infinity_in_y(lib, output, value):
    y = np.vstack([Y, 1 - Y])
    net = make_net(lib, output, n_y=2)
    with raises_on_purpose(ValueError, r"\bY\b", r"(?i)nan|inf|finite|between|0.*1"):
        fit(net, lib.asarray(X), lib.asarray(changed(y, value)))


def test_large_finite_x_whose_sum_overflows_is_not_infinite():
    """A check by summing would call these infinite."""
    big = np.full((3, M), 1.5e308)
    make_net().predict_proba(big * 1e-308)
    P = make_net().predict(big)
    assert P.shape == (1, M)


@pytest.mark.parametrize("call", ["fit", "predict", "cost"])
def test_an_empty_batch(lib, call):
    net, x, y = make_net(lib), lib.asarray(X[:, :0]), lib.asarray(Y[:, :0])
    with raises_on_purpose(ValueError, r"\bX\b", r"(?i)empty|no examples|at least one"):
        fit(net, x, y) if call == "fit" else net.predict(x) if call == "predict" else net.cost(x, y)


@pytest.mark.parametrize("shape", [(), (3,), (3, M, 1)], ids=str)
def test_x_not_in_two_dimensions(lib, shape):
    x = lib.asarray(np.ones(shape))
    with raises_on_purpose(ValueError, r"\bX\b", re.escape(str(shape)), r"\(3, m\)"):
        fit(make_net(lib), x, lib.asarray(Y))
    with raises_on_purpose(ValueError, r"\bX\b"):
        make_net(lib).predict(x)


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (X + 1j, "complex"),
        (X.astype("float16"), "float16"),
        (X.astype(str), r"<U|str"),
        (X.astype(object), "object"),
        (np.full((3, M), "2020-01-01", dtype="datetime64[D]"), "datetime64"),
    ],
    ids=["complex", "float16", "string", "object", "datetime"],
)
@pytest.mark.parametrize("call", ["fit", "predict"])
def test_x_of_a_type_that_is_no_number(bad, named, call):
    with raises_on_purpose(BOTH, r"\bX\b", named, r"float32|float64|not numbers"):
        fit(make_net(), bad, Y) if call == "fit" else make_net().predict(bad)


@pytest.mark.parametrize(
    "bad", [None, "X", 3.0, {"X": 1}, object()], ids=["None", "str", "3.0", "dict", "object"]
)
def test_x_that_is_no_array(bad):
    with raises_on_purpose(BOTH, r"\bX\b"):
        fit(make_net(), bad, Y)
    with raises_on_purpose(BOTH, r"\bX\b"):
        fit(xpnet.DeepNet([3, 4, 1], output="sigmoid"), bad, Y)


def test_a_ragged_list():
    with raises_on_purpose(ValueError, r"\bX\b"):
        fit(make_net(), [[1.0, 2.0], [1.0], [0.0, 1.0]], [[0, 1]])


@pytest.mark.parametrize("dtype", ["float16", "complex128", "complex64"])
def test_x_of_a_type_no_library_trains_in(lib, dtype):
    if dtype == "float16" and not hasattr(lib.xp, "float16"):
        pytest.skip(f"{lib.name} has no float16")
    with raises_on_purpose(BOTH, r"\bX\b", dtype, r"float32|float64"):
        fit(make_net(lib), lib.asarray(X.astype(dtype)), lib.asarray(Y))


def test_bfloat16_is_refused_by_name():
    torch = pytest.importorskip("torch")
    net = xpnet.DeepNet([3, 4, 1], hidden="tanh", output="sigmoid")
    with raises_on_purpose(BOTH, r"\bX\b", "bfloat16", r"float32|float64"):
        fit(net, torch.tensor(X, dtype=torch.bfloat16), torch.tensor(Y))


def test_an_input_that_wants_a_gradient_does_not_stop_training():
    """A tensor from someone's autograd graph is data; training does not extend the graph."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, requires_grad=True)
    net = xpnet.DeepNet([3, 4, 1], hidden="tanh", output="sigmoid", backend="torch")
    fit(net, x, torch.tensor(Y))
    assert not net.parameters[0][0].requires_grad
    assert x.grad is None


# ---------------------------------------------------------------- Y


@pytest.mark.parametrize("call", ["fit", "cost", "gradients"])
def test_another_number_of_examples(lib, call):
    net, x, y = make_net(lib), lib.asarray(X), lib.asarray(Y[:, :4])
    with raises_on_purpose(ValueError, r"\bX\b", r"\bY\b", r"\b6\b", r"\b4\b"):
        fit(net, x, y) if call == "fit" else getattr(net, call)(x, y)


def test_another_number_of_flat_labels(lib):
    net = make_net(lib, "softmax", n_y=3)
    with raises_on_purpose(ValueError, r"\bX\b", r"\bY\b", r"\b6\b", r"\b4\b"):
        fit(net, lib.asarray(X), lib.asarray(np.array([0, 1, 2, 0])))


@pytest.mark.parametrize("label", [3, -1, 2**31])
def test_labels_out_of_range(lib, label):
    labels = np.array([0, 1, 2, label, 0, 1])
    net = make_net(lib, "softmax", n_y=3)
    with raises_on_purpose(ValueError, r"\bY\b", rf"{label}", r"\b0\b", r"\b[23]\b"):
        fit(net, lib.asarray(X), lib.asarray(labels))


def test_labels_that_are_no_integers(lib):
    net = make_net(lib, "softmax", n_y=3)
    labels = np.array([0.0, 1.0, 2.0, 1.5, 0.0, 1.0])
    with raises_on_purpose(BOTH, r"\bY\b", r"integer|whole"):
        fit(net, lib.asarray(X), lib.asarray(labels))


@pytest.mark.parametrize("label", [2, -1, 0.5])
def test_flat_labels_of_a_sigmoid_are_0_and_1(lib, label):
    labels = np.array([0, 1, 1, label, 0, 1])
    with raises_on_purpose(ValueError, r"\bY\b", r"\b0\b", r"\b1\b"):
        fit(make_net(lib), lib.asarray(X), lib.asarray(labels))


@pytest.mark.parametrize("value", [1.5, -0.1])
def test_columns_of_a_sigmoid_lie_between_0_and_1(lib, value):
    with raises_on_purpose(ValueError, r"\bY\b", r"\b0\b", r"\b1\b"):
        fit(make_net(lib), lib.asarray(X), lib.asarray(changed(Y, value, (0, 2))))


def test_columns_of_a_softmax_sum_to_one(lib):
    y = np.eye(3)[:, [0, 1, 2, 0, 1, 2]]
    net = make_net(lib, "softmax", n_y=3)
    with raises_on_purpose(ValueError, r"\bY\b", r"sum", r"\b1\b|one"):
        fit(net, lib.asarray(X), lib.asarray(changed(y, 0.5)))


def test_columns_of_a_softmax_are_not_negative():
    y = np.eye(3)[:, [0, 1, 2, 0, 1, 2]]
    y[:, 0] = [2.0, -1.0, 0.0]  # sums to one all the same
    with raises_on_purpose(ValueError, r"\bY\b"):
        fit(make_net(None, "softmax", n_y=3), X, y)


@pytest.mark.parametrize("output", ["sigmoid", "softmax", "identity"])
def test_another_number_of_outputs(lib, output):
    net = make_net(lib, output, n_y=3)
    y = np.vstack([Y, 1 - Y])
    with raises_on_purpose(ValueError, r"\bY\b", r"\(2, 6\)", r"\b3\b"):
        fit(net, lib.asarray(X), lib.asarray(y))


def test_targets_as_rows_name_the_fix():
    y = np.eye(3)[[0, 1, 2, 0, 1, 2]]  # (6, 3): examples are rows
    with raises_on_purpose(ValueError, r"\bY\b", r"\(6, 3\)", r"\(3, 6\)|Y\.T|[Tt]ranspose"):
        fit(make_net(None, "softmax", n_y=3), X, y)


def test_a_column_of_labels_names_the_fix():
    """scikit-learn users pass (m, 1)."""
    with raises_on_purpose(ValueError, r"\bY\b", r"\(6, 1\)"):
        fit(make_net(), X, Y.T)


def test_flat_targets_for_several_outputs():
    with raises_on_purpose(ValueError, r"\bY\b", r"\b2\b"):
        fit(make_net(None, "sigmoid", n_y=2), X, Y[0])
    with raises_on_purpose(ValueError, r"\bY\b", r"\b2\b"):
        fit(make_net(None, "identity", n_y=2), X, Y[0])


@pytest.mark.parametrize("bad", [None, "Y", np.array(["a", "b", "a", "b", "a", "b"]), Y + 0j])
def test_y_of_a_type_that_is_no_number(bad):
    with raises_on_purpose(BOTH, r"\bY\b"):
        fit(make_net(), X, bad)


@pytest.mark.parametrize("shape", [(), (1, M, 1)], ids=str)
def test_y_of_other_dimensions(shape):
    with raises_on_purpose(ValueError, r"\bY\b"):
        fit(make_net(), X, np.ones(shape))


# ---------------------------------------------------------------- sample weights and validation


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ([1.0, 1.0, -0.5, 1.0, 1.0, 1.0], r"negative|>= 0|-0\.5"),
        ([1.0, 1.0, np.nan, 1.0, 1.0, 1.0], r"(?i)nan|finite"),
        ([1.0, 1.0, np.inf, 1.0, 1.0, 1.0], r"(?i)inf|finite"),
        ([0.0] * M, r"(?i)zero|sum|positive|\b0\b"),
        ([1.0] * 4, r"\b4\b"),
    ],
    ids=["negative", "nan", "inf", "all-zero", "too-few"],
)
@pytest.mark.parametrize("call", ["fit", "cost", "gradients"])
def test_sample_weights(lib, weights, named, call):
    net, x, y, w = make_net(lib), lib.asarray(X), lib.asarray(Y), lib.asarray(np.array(weights))
    with raises_on_purpose(ValueError, "sample_weight", named):
        if call == "fit":
            fit(net, x, y, sample_weight=w)
        else:
            getattr(net, call)(x, y, sample_weight=w)


def test_sample_weights_in_two_dimensions():
    with raises_on_purpose(ValueError, "sample_weight"):
        fit(make_net(), X, Y, sample_weight=np.ones((2, M)))


def test_a_batch_whose_weights_are_all_zero_is_no_nan():
    """Legal weights; the batch that has none of them must not divide 0 by 0 into the parameters."""
    w = np.array([1.0, 2.0, 0.0, 0.0, 1.0, 1.0])
    net = make_net()
    history = fit(net, X, Y, sample_weight=w, batch_size=2, shuffle=False)
    assert np.all(np.isfinite(history.cost))
    assert all(np.all(np.isfinite(array)) for pair in net.parameters for array in pair)


@pytest.mark.parametrize(
    "validation", [X, (X,), (X, Y, Y), (X.T, Y), (X, Y[:, :4]), ("X", "Y")],
    ids=["X", "(X,)", "three", "rows", "mismatch", "strings"],
)  # fmt: skip
def test_validation(validation):
    with raises_on_purpose(BOTH, r"validation"):
        fit(make_net(), X, Y, validation=validation)


# ---------------------------------------------------------------- settings of a fit


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"batch_size": 0}, "batch_size.*0"),
        ({"batch_size": -3}, "batch_size.*-3"),
        ({"batch_size": 2.5}, "batch_size.*2.5"),
        ({"batch_size": "all"}, "batch_size"),
        ({"epochs": -1}, "epochs.*-1"),
        ({"epochs": 1.5}, "epochs.*1.5"),
        ({"epochs": None}, "epochs"),
        ({"l2": -0.1}, "l2.*-0.1"),
        ({"l2": float("nan")}, "l2.*nan"),
        ({"l2": float("inf")}, "l2.*inf"),
        ({"l2": "strong"}, "l2"),
        ({"optimizer": "adam"}, "optimizer.*(adam|str)"),
        ({"optimizer": xpnet.Adam}, "optimizer"),
        ({"callbacks": 3}, "callbacks?"),
        ({"batch_size": 2, "shuffle": lambda epoch: [0, 1, 2]}, "shuffle"),
        ({"batch_size": 2, "shuffle": lambda epoch: [0] * M}, "shuffle"),
        ({"batch_size": 2, "shuffle": lambda epoch: range(1, M + 1)}, "shuffle"),
        ({"batch_size": 2, "shuffle": lambda epoch: np.linspace(0, 5, M)}, "shuffle"),
        ({"batch_size": 2, "shuffle": "yes"}, "shuffle"),
    ],
    ids=lambda value: "" if isinstance(value, str) else "-".join(value),
)
def test_settings_of_fit(settings, named):
    net = make_net()
    start = net.parameters
    with raises_on_purpose(BOTH, named):
        fit(net, X, Y, **settings)
    assert_pairs_equal(net.parameters, start)


def test_numpy_integers_are_integers():
    net, plain = make_net(), make_net()
    fit(net, X, Y, batch_size=np.int64(4), epochs=np.int32(2))
    fit(plain, X, Y, batch_size=4, epochs=2)
    assert_pairs_equal(net.parameters, plain.parameters)
    assert xpnet.DeepNet(np.array([3, 4, 1])).sizes == xpnet.DeepNet([3, 4, 1]).sizes


def test_a_refused_fit_changes_nothing():
    net = make_net()
    fit(net, X, Y)
    start, resumed = net.parameters, make_net()
    fit(resumed, X, Y)
    for bad in ({"batch_size": 0}, {"sample_weight": -np.ones(M)}):
        with pytest.raises(ValueError, match=r"batch_size|sample_weight"):
            fit(net, X, Y, **bad)
    assert_pairs_equal(net.parameters, start)
    fit(net, X, Y, resume=True)
    fit(resumed, X, Y, resume=True)
    assert_pairs_equal(net.parameters, resumed.parameters)


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"optimizer": xpnet.GradientDescent(0.1)}, "Adam.*GradientDescent|GradientDescent.*Adam")],
    ids=["optimizer"],
)
def test_resume_with_another_kind_of_optimiser_names_both(settings, named):
    net = make_net()
    fit(net, X, Y)
    with raises_on_purpose(ValueError, named):
        fit(net, X, Y, resume=True, **settings)


# ---------------------------------------------------------------- the net


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ([], r"sizes"),
        ([3], r"sizes.*\[?3"),
        ([3, 0, 1], r"sizes.*\b0\b|width"),
        ([0, 1], r"sizes.*\b0\b|width"),
        ([3, -2, 1], r"sizes.*-2"),
        ([3, 2.5, 1], r"sizes.*2\.5"),
        ([3, "4", 1], r"sizes.*4"),
        (3, r"sizes"),
        (None, r"sizes"),
    ],
    ids=str,
)
def test_sizes(sizes, named):
    with raises_on_purpose(BOTH, named):
        xpnet.DeepNet(sizes)


def test_an_unknown_activation_names_the_known_ones():
    with raises_on_purpose(ValueError, "swish", "relu", "tanh", "softplus"):
        xpnet.DeepNet([3, 4, 1], hidden="swish")
    with raises_on_purpose(ValueError, "swish", "relu"):
        xpnet.DeepNet([3, 4, 4, 1], hidden=["relu", "swish"])


def test_an_unknown_output_names_the_known_ones():
    with raises_on_purpose(ValueError, "probit", "sigmoid", "softmax", "identity"):
        xpnet.DeepNet([3, 4, 1], output="probit")


def test_the_notes_functions_name_an_unknown_activation():
    A, W, b = np.ones((2, 3)), np.ones((4, 2)), np.ones((4, 1))
    with raises_on_purpose(ValueError, "swish", "relu"):
        xpnet.linear_activation_forward(A, W, b, "swish")
    _, cache = xpnet.linear_activation_forward(A, W, b, "relu")
    with raises_on_purpose(ValueError, "swish", "relu"):
        xpnet.linear_activation_backward(np.ones((4, 3)), cache, "swish")


@pytest.mark.parametrize("hidden", [["relu"], ["relu"] * 3, []], ids=["1", "3", "0"])
def test_one_activation_per_hidden_layer(hidden):
    with raises_on_purpose(ValueError, "hidden", rf"\b{len(hidden)}\b", r"\b2\b"):
        xpnet.DeepNet([3, 4, 4, 1], hidden=hidden)


@pytest.mark.parametrize(
    "hidden", [3, None, [None, "relu"], np.tanh], ids=["3", "None", "list", "f"]
)
def test_hidden_of_another_type(hidden):
    with raises_on_purpose(BOTH, "hidden|activation"):
        xpnet.DeepNet([3, 4, 4, 1], hidden=hidden)


def test_a_softmax_of_one_output_is_constant_and_refused():
    with raises_on_purpose(ValueError, "softmax", r"sigmoid|two|2"):
        xpnet.DeepNet([3, 4, 1], output="softmax")


@pytest.mark.parametrize("dtype", ["float16", "int32", "complex128", "double-double", 64], ids=str)
def test_dtype(dtype):
    with raises_on_purpose(BOTH, "dtype", f"{dtype}", "float32"):
        xpnet.DeepNet([3, 4, 1], dtype=dtype)


@pytest.mark.parametrize("seed", [-1, 1.5, "0"], ids=repr)
def test_seed(seed):
    with raises_on_purpose(BOTH, "seed"):
        xpnet.DeepNet([3, 4, 1], seed=seed)


GOOD = [(np.ones((4, 3)), np.ones((4, 1))), (np.ones((1, 4)), np.ones((1, 1)))]


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        (GOOD[:1], r"\b1\b.*\b2\b|\b2\b.*\b1\b"),
        ([(GOOD[0][0].T, GOOD[0][1]), GOOD[1]], r"\(3, 4\).*\(4, 3\)|\(4, 3\).*\(3, 4\)"),
        ([(GOOD[0][0], np.ones(4)), GOOD[1]], r"\(4,\).*\(4, 1\)|\(4, 1\).*\(4,\)"),
        ([(GOOD[0][0], np.ones((1, 4))), GOOD[1]], r"\(1, 4\).*\(4, 1\)|\(4, 1\).*\(1, 4\)"),
        ([(changed(GOOD[0][0], np.nan), GOOD[0][1]), GOOD[1]], r"(?i)nan|finite"),
        ([GOOD[0][0], GOOD[1][0]], r"pair|\(W, b\)"),
        (None, r"parameters"),
        (5, r"parameters"),
    ],
    ids=["too-few", "W.T", "flat-b", "row-b", "nan", "no-pairs", "None", "5"],
)
def test_parameters(parameters, named):
    net = make_net()
    start = net.parameters
    with raises_on_purpose(BOTH, named):
        net.parameters = parameters
    assert_pairs_equal(net.parameters, start)  # nothing half assigned


def test_complex_parameters():
    with raises_on_purpose(BOTH, "complex"):
        make_net().parameters = [(W + 1j, b) for W, b in GOOD]


# ---------------------------------------------------------------- several libraries at once


def other_library(lib):
    """A library that is not `lib` and not NumPy."""
    if lib.name == "array_api_strict":
        return pytest.importorskip("torch").asarray
    return pytest.importorskip("array_api_strict").asarray


@pytest.mark.parametrize("call", ["fit", "predict", "cost"])
def test_x_of_another_library_names_both(lib, call):
    net, foreign = make_net(lib), other_library(lib)(X)
    kind = type(foreign).__module__.partition(".")[0]
    with raises_on_purpose(BOTH, r"\bX\b", kind, rf"(?i){lib.name}"):
        if call == "fit":
            fit(net, foreign, lib.asarray(Y))
        elif call == "predict":
            net.predict(foreign)
        else:
            net.cost(foreign, lib.asarray(Y))


@pytest.mark.parametrize("what", ["Y", "sample_weight"])
def test_y_of_another_library_names_both(lib, what):
    net, foreign = make_net(lib), other_library(lib)
    y = foreign(Y) if what == "Y" else lib.asarray(Y)
    w = foreign(np.ones(M)) if what == "sample_weight" else None
    kind = type(foreign(Y)).__module__.partition(".")[0]
    with raises_on_purpose(BOTH, what, kind, rf"(?i){lib.name}"):
        fit(net, lib.asarray(X), y, sample_weight=w)


def test_parameters_of_another_library_name_both(lib):
    foreign = other_library(lib)
    kind = type(foreign(X)).__module__.partition(".")[0]
    with raises_on_purpose(BOTH, kind, rf"(?i){lib.name}"):
        make_net(lib).parameters = [(foreign(W), foreign(b)) for W, b in GOOD]


def test_the_public_functions_refuse_mixed_libraries():
    torch = pytest.importorskip("torch")
    with raises_on_purpose(BOTH, "torch", "(?i)numpy"):
        xpnet.affine(torch.ones((4, 2)), np.ones((2, 3)), np.ones((4, 1)))


@pytest.mark.parametrize("name", ["affine", "sigmoid", "relu_slope"])
def test_the_public_functions_refuse_what_is_no_array(name):
    arguments = ("W", "A", "b") if name == "affine" else ("Z",)
    with raises_on_purpose(BOTH, "array"):
        getattr(xpnet, name)(*arguments)


# ---------------------------------------------------------------- least squares


@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        (X, Y[:, :4], r"\b6\b.*\b4\b|\b4\b.*\b6\b"),
        (X[:, :0], Y[:, :0], r"(?i)empty|no examples|at least one"),
        (changed(X, np.nan), Y, r"(?i)nan|finite"),
        (X[0], Y, r"\bX\b"),
    ],
    ids=["mismatch", "empty", "nan", "flat"],
)
def test_least_squares(x, y, named):
    with raises_on_purpose(BOTH, named):
        xpnet.least_squares(x, y)
