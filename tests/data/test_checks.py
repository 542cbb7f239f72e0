"""Bad input is refused by xpnet on purpose: the right kind of error, naming the thing and the fix.

`raises_on_purpose` checks that the raise statement stands in xpnet's own source: an error that some
array library met in the depths would have the wrong place, even with the right type.
"""

from __future__ import annotations

import io

import numpy as np
import pytest
from helpers import OUTPUTS, assert_pairs_close, assert_pairs_equal, raises_on_purpose

import xpnet
from xpnet.backends.place import beyond_float32

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


def called(net, name, x, y, **weights):
    """What a method of the net makes of these data."""
    if name == "fit":
        return fit(net, x, y, **weights)
    return getattr(net, name)(x, *([] if name.startswith("predict") else [y]), **weights)


def changed(array, value, index=(1, 2)):
    array = np.array(array)
    array[index] = value
    return array


# ---------------------------------------------------------------- X


@pytest.mark.parametrize("call", ["fit", "predict", "predict_proba", "cost", "gradients"])
@pytest.mark.parametrize(
    ("x", "y", "named"),
    [
        (X.T, Y, [r"\(6, 3\)", r"\b3\b", r"X\.T|[Tt]ranspose"]),
        (np.zeros((4, M)), Y, [r"\(4, 6\)", r"\b3\b"]),
        (X[:, :0], Y[:, :0], [r"(?i)empty|no examples|at least one"]),
        (np.ones(()), Y, [r"\(\)", r"\(3, m\)"]),
        (np.ones(3), Y, [r"\(3,\)", r"\(3, m\)"]),
        (np.ones((3, M, 1)), Y, [r"\(3, 6, 1\)", r"\(3, m\)"]),
    ],
    ids=["rows", "features", "empty", "scalar", "flat", "3 dimensions"],
)
def test_x_of_another_shape_names_both_shapes_and_the_fix(lib, call, x, y, named):
    with raises_on_purpose(ValueError, r"\bX\b", *named):
        called(make_net(lib), call, lib.asarray(x), lib.asarray(y))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
def test_nan_and_infinity_in_x(lib, value):
    x, y = lib.asarray(changed(X, value)), lib.asarray(Y)
    with raises_on_purpose(ValueError, r"\bX\b", r"(?i)nan|inf|finite"):
        fit(make_net(lib), x, y)


def test_large_finite_x_whose_sum_overflows_is_not_infinite():
    """A check by summing would call these infinite."""
    assert make_net().predict(np.full((3, M), 1.5e308)).shape == (1, M)


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
        called(make_net(), call, bad, Y)


@pytest.mark.parametrize(
    "bad",
    [None, "X", 3.0, {"X": 1}, object(), [[1.0, 2.0], [1.0], [0.0, 1.0]]],
    ids=["None", "str", "3.0", "dict", "object", "ragged"],
)
@pytest.mark.parametrize("net", [make_net(), xpnet.DeepNet([3, 4, 1], output="sigmoid")])
def test_x_that_is_no_array(net, bad):
    with raises_on_purpose(BOTH, r"\bX\b"):
        fit(net, bad, Y)


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
    half, kinds = torch.tensor(X, dtype=torch.bfloat16), "bfloat16.* float32 and float64"
    for use in (
        lambda: net.fit(xpnet.stream([(half.T, Y[0])]), epochs=1),
        lambda: net.save(io.BytesIO(), tensors={"a": half}),
        lambda: net.save(io.BytesIO(), data={"a": half}),
        lambda: xpnet.least_squares(half, half),
    ):
        with pytest.raises(TypeError, match=kinds):
            use()


def test_an_input_that_wants_a_gradient_does_not_stop_training():
    """A tensor from someone's autograd graph is data; training does not extend the graph."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(X, requires_grad=True)
    net = xpnet.DeepNet([3, 4, 1], hidden="tanh", output="sigmoid", backend="torch")
    fit(net, x, torch.tensor(Y))
    assert not net.parameters[0][0].requires_grad
    assert x.grad is None


MASKED = np.ma.array(X, mask=changed(np.zeros((3, M), bool), True))  # row 1, example 2
CLASSES = np.ma.array([0, 1, 1, 0, 1, 0], mask=[0, 0, 1, 0, 0, 0])


@pytest.mark.parametrize("call", ["fit", "predict", "predict_raw", "cost"])
@pytest.mark.parametrize("x", [MASKED, list(MASKED), (10 * MASKED).astype(int)], ids=type)
def test_a_masked_value_in_x_is_refused_as_nan(call, x):
    with raises_on_purpose(ValueError, r"\bX\b", "row 1, example .*2", "masked"):
        called(make_net(), call, x, Y)


@pytest.mark.parametrize(("output", "n_y"), [("sigmoid", 1), ("softmax", 2), ("identity", 1)])
@pytest.mark.parametrize("given", ["Y", "sample_weight", "validation Y"])
def test_a_masked_value_beside_x_is_refused_as_nan(output, n_y, given):
    data = {"Y": CLASSES.data, "sample_weight": None, "validation Y": CLASSES.data}
    data[given] = CLASSES if given != "sample_weight" else CLASSES + 0.5
    net, validation = make_net(None, output, n_y), (X, data["validation Y"])
    with raises_on_purpose(ValueError, given, "(?i)nan"):
        fit(net, X, data["Y"], sample_weight=data["sample_weight"], validation=validation)


@pytest.mark.parametrize("function", [xpnet.sigmoid, xpnet.relu_slope])
def test_a_function_keeps_no_mask_and_says_so(function):
    with pytest.raises(ValueError, match="is masked in places"):
        function(np.ma.masked_equal([1.0, 2.0], 2.0))


def test_a_masked_array_without_masked_values_is_data():
    y = np.ma.array(Y)
    assert called(make_net(), "cost", np.ma.array(X), y) == called(make_net(), "cost", X, Y)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        ("csr", "sparse csr.*dense"),
        ("torch coo", "sparse Tensor.*dense"),
        ("torch csr", "sparse Tensor.*dense"),
        ("meta", "meta tensor.*no values"),
    ],
)
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("call", ["fit", "predict"])
def test_what_is_sparse_or_has_no_values_is_refused_in_a_sentence(x, said, call):
    if x == "csr":
        bad = pytest.importorskip("scipy.sparse").csr_array(X)
    else:
        tensor = pytest.importorskip("torch").tensor(X)
        bad = {"torch coo": tensor.to_sparse, "torch csr": tensor.to_sparse_csr,
               "meta": lambda: tensor.to("meta")}[x]()  # fmt: skip
    with raises_on_purpose(TypeError, r"\bX\b", said):
        called(make_net(), call, bad, Y)
    if x != "csr":
        with raises_on_purpose(TypeError, r"\bX\b", said):
            xpnet.LogisticRegression().fit(bad, Y[0] > 0)


class NAType:
    """What pandas puts where a value is missing: nothing compares with it."""

    def __eq__(self, other):
        return self

    __hash__ = None

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


class Frame:
    """A frame whose columns have several dtypes, or nullable ones: an array of objects."""

    def __init__(self, values):
        self.values = np.array(values, dtype=object)
        self.shape = self.values.shape

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __getitem__(self, rows):
        return Frame(self.values[rows])


def test_frames_of_several_dtypes():
    rows = [[0.5, True, 2], [1.5, False, -1], [2.5, True, 0], [0.0, True, 3]]
    plain, frame = np.array(rows, dtype=float), Frame(rows)
    net = make_net()
    assert net.predict_proba(Frame(frame.values.T)).tolist() == net.predict_proba(plain.T).tolist()
    with xpnet.stream(frame, Frame([0, 1, 1, 0])).chunks(0, 4, shuffle=False) as chunks:
        (chunk,) = chunks
    assert chunk.X.tolist() == plain.tolist()
    assert chunk.Y.tolist() == [0, 1, 1, 0]
    polars = pytest.importorskip("polars")
    columns = polars.DataFrame({"a": [0.5, 1.5], "b": [True, False], "c": [2, -1]})
    with xpnet.stream([(columns, [0, 1])]).chunks(0, None) as chunks:
        assert next(chunks).X.tolist() == plain[:2].tolist()


@pytest.mark.parametrize("missing", [None, NAType(), np.nan])
def test_a_missing_value_in_a_frame_is_refused_as_nan(missing):
    rows = [[0.5, True, 2], [1.5, missing, -1]]
    with raises_on_purpose(ValueError, r"\bX\b", "(?i)nan", "row 1, example .*1"):
        make_net().predict(Frame(np.array(rows, dtype=object).T))
    with pytest.raises(ValueError, match=r"row 1 .*column '1'.*nan"):
        xpnet.stream(Frame(rows), np.array([0, 1])).statistics()


def test_text_in_a_frame_is_refused_as_text():
    with raises_on_purpose(TypeError, r"\bX\b", "not numbers"):
        make_net().predict(Frame([[1.0], [True], ["2"]]))


# ---------------------------------------------------------------- Y


@pytest.mark.parametrize("call", ["fit", "cost", "gradients"])
def test_another_number_of_examples(lib, call):
    x, y = lib.asarray(X), lib.asarray(Y[:, :4])
    with raises_on_purpose(ValueError, r"\bX\b", r"\bY\b", r"\b6\b", r"\b4\b"):
        called(make_net(lib), call, x, y)


THREE = np.array([0, 1, 2, 0, 1, 2])
TWO, ONE_HOT = np.vstack([Y, 1 - Y]), np.eye(3)[:, THREE]


@pytest.mark.parametrize(
    ("output", "n_y", "y", "named"),
    [
        *((output, 2, changed(TWO, value), [r"(?i)nan|inf|finite|between|0.*1"])
          for output in OUTPUTS for value in (np.nan, np.inf)),
        *((output, 3, TWO, [r"\(2, 6\)", r"\b3\b"]) for output in OUTPUTS),
        ("softmax", 3, [0, 1, 2, 0], [r"\bX\b", r"\b6\b", r"\b4\b"]),
        *(("softmax", 3, [0, 1, 2, label, 0, 1], [str(label), r"\b0\b", r"\b[23]\b"])
          for label in (3, -1, 2**31)),
        ("softmax", 3, [0.0, 1.0, 2.0, 1.5, 0.0, 1.0], [r"integer|whole"]),
        ("softmax", 3, changed(ONE_HOT, 0.5), [r"sum", r"\b1\b|one"]),
        ("softmax", 3, changed(ONE_HOT, [2.0, -1.0, 0.0], np.s_[:, 0]), []),  # the sum is one
        ("softmax", 3, ONE_HOT.T, [r"\(6, 3\)", r"\(3, 6\)|Y\.T|[Tt]ranspose"]),
        *(("sigmoid", 1, [0, 1, 1, label, 0, 1], [r"\b0\b", r"\b1\b"]) for label in (2, -1, 0.5)),
        *(("sigmoid", 1, changed(Y, y, (0, 2)), [r"\b0\b", r"\b1\b"]) for y in (1.5, -0.1)),
        ("sigmoid", 1, Y.T, [r"\(6, 1\)"]),  # scikit-learn users pass (m, 1)
        *((output, 3, given, [r"\(3, m\).* 0 \.\.\. 2 are for output=\"softmax\""])
          for output in ("sigmoid", "identity") for given in (THREE, THREE[None])),
        ("sigmoid", 1, THREE, [r"holds 2\.0; more classes than two are for output=\"softmax\""]),
        ("sigmoid", 1, 1.0, []),
        ("sigmoid", 1, np.ones((1, M, 1)), []),
        ("softmax", 3, np.ones((1, M, 1)), [r"Y has shape \(1, 6, 1\)"]),
    ],
)  # fmt: skip
def test_targets_of_another_shape_or_range(lib, output, n_y, y, named):
    with raises_on_purpose(ValueError, r"\bY\b", *named):
        fit(make_net(lib, output, n_y), lib.asarray(X), lib.asarray(np.array(y)))


@pytest.mark.parametrize("bad", [None, "Y", np.array(["a", "b", "a", "b", "a", "b"]), Y + 0j])
def test_y_of_a_type_that_is_no_number(bad):
    with raises_on_purpose(BOTH, r"\bY\b"):
        fit(make_net(), X, bad)


# ---------------------------------------------------------------- large integers

SECONDS = 1_700_000_000 + np.arange(6)


@pytest.mark.parametrize("given", ["X", "Y"])
def test_integers_that_float32_would_round_make_the_net_float64(lib, given):
    x, y = (SECONDS[None], Y[0]) if given == "X" else (X[:1].astype("float32"), SECONDS)
    net = xpnet.DeepNet([1, 1], output="identity", **lib.options)
    net.fit(lib.asarray(x), lib.asarray(y), xpnet.GradientDescent(1e-30), epochs=1)
    assert net.backend.dtype_name == "float64"
    if given == "X":
        assert len(np.unique(lib.to_numpy(net.predict(lib.asarray(x))))) == 6


@pytest.mark.parametrize("call", ["fit", "cost", "predict", "predict_raw"])
def test_integers_that_float32_would_round_are_refused_by_a_float32_net(lib, call):
    x = np.stack([np.arange(6), -SECONDS])
    net = xpnet.DeepNet([2, 1], output="identity", dtype="float32", **lib.options)
    with raises_on_purpose(ValueError, r"float32", r"\bX\b", "-1,700,000,005", "row 1", "float64"):
        called(net, call, lib.asarray(x), lib.asarray(Y))
    if not call.startswith("predict"):
        y = lib.asarray(SECONDS)
        with raises_on_purpose(ValueError, r"\bY\b", "1,700,000,005", "float64"):
            called(net, call, lib.asarray(x[:, :6] % 2), y)


def test_integers_that_float32_holds_are_float32():
    net = xpnet.DeepNet([1, 1])
    fit(net, np.array([[2**24, -(2**24), 2**30, 3 << 40, 0, 1]]), Y[0])
    assert net.backend.dtype_name == "float32"


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64"])
def test_which_integers_float32_rounds(dtype):
    most = np.iinfo(dtype).max
    values = [2**24, 2**24 + 1, 2**24 + 2, most, most - 127, 2**30]
    expected = [int(np.float32(x)) != x for x in values]
    assert beyond_float32(np.array(values, dtype)).tolist() == expected
    assert beyond_float32(np.array(values[:1], dtype)) is None
    torch = pytest.importorskip("torch")
    tensor = torch.from_numpy(np.array(values, dtype))
    assert beyond_float32(tensor).tolist() == expected


@pytest.mark.parametrize("call", ["fit", "cost", "predict"])
def test_numbers_beyond_float32(lib, call):
    x = changed(X, -3e300)
    net = xpnet.DeepNet([3, 1], output="identity", dtype="float32", **lib.options)
    with raises_on_purpose(ValueError, "float32 cannot hold", r"\bX\b", "-3e\\+300", "row 1"):
        called(net, call, lib.asarray(x), lib.asarray(Y))
    if call != "predict":
        with raises_on_purpose(ValueError, r"\bY\b, such as 1e\+300 in row 0: use .*float64"):
            called(net, call, lib.asarray(X), lib.asarray(np.where(Y > 0, 1e300, 0.0)))
        free = xpnet.DeepNet([3, 1], output="identity", **lib.options)  # float64 is free to choose
        called(free, call, lib.asarray(X.astype("float32")), lib.asarray(1e100 * Y))
        assert free.backend.dtype_name == "float64"
    with raises_on_purpose(ValueError, "X holds NaN or infinity"):
        called(net, call, lib.asarray(changed(x, np.nan, (0, 0))), lib.asarray(Y))


# ---------------------------------------------------------------- sample weights and validation


@pytest.mark.parametrize(
    ("weights", "named"),
    [
        ([1.0, 1.0, -0.5, 1.0, 1.0, 1.0], r"negative|>= 0|-0\.5"),
        ([1.0, 1.0, np.nan, 1.0, 1.0, 1.0], r"(?i)nan|finite"),
        ([1.0, 1.0, np.inf, 1.0, 1.0, 1.0], r"(?i)inf|finite"),
        ([0.0] * M, r"(?i)zero|sum|positive|\b0\b"),
        ([1.0] * 4, r"\b4\b"),
        (np.ones((2, M)), ""),
    ],
    ids=["negative", "nan", "inf", "all-zero", "too-few", "two rows"],
)
@pytest.mark.parametrize("call", ["fit", "cost", "gradients"])
def test_sample_weights(lib, weights, named, call):
    x, y, w = lib.asarray(X), lib.asarray(Y), lib.asarray(np.array(weights))
    with raises_on_purpose(ValueError, "sample_weight", named):
        called(make_net(lib), call, x, y, sample_weight=w)


def test_a_batch_whose_weights_are_all_zero_is_no_nan():
    """Legal weights; the batch that has none of them is a step of cost 0."""
    w, options = np.array([0.0, 0.0, 1.0, 2.0, 1.0, 1.0]), {"batch_size": 2, "shuffle": False}
    net, rest = make_net(), make_net()
    cost = fit(net, X, Y, sample_weight=w, optimizer=xpnet.GradientDescent(0.1), **options).cost
    options |= {"sample_weight": w[2:], "optimizer": xpnet.GradientDescent(0.15)}  # mean w: 2/3
    assert cost == pytest.approx(fit(rest, X[:, 2:], Y[:, 2:], **options).cost, rel=1e-12)
    assert_pairs_close(net.parameters, rest.parameters, 1e-12)


@pytest.mark.parametrize(
    "validation", [X, (X,), (X, Y, -Y), (X, Y, Y, Y), (X.T, Y), (X, Y[:, :4]), ("X", "Y")],
    ids=["X", "(X,)", "negative", "four", "rows", "mismatch", "strings"],
)  # fmt: skip
def test_validation(validation):
    with raises_on_purpose(BOTH, r"validation"):
        fit(make_net(), X, Y, validation=validation)


# ---------------------------------------------------------------- settings of a fit


@pytest.mark.parametrize(
    ("settings", "named", "kind"),
    [
        ({"batch_size": 0}, "batch_size.*0", ValueError),
        ({"batch_size": -3}, "batch_size.*-3", ValueError),
        ({"batch_size": 2.5}, "batch_size.*2.5", TypeError),
        ({"batch_size": True}, "batch_size=True: expected a whole number", TypeError),
        ({"batch_size": "all"}, "batch_size='all': .*'auto' or None for all", TypeError),
        ({"epochs": -1}, "epochs.*-1", ValueError),
        ({"epochs": 1.5}, "epochs.*1.5", TypeError),
        ({"epochs": None}, "epochs", TypeError),
        ({"l2": -0.1}, "l2.*-0.1", ValueError),
        ({"l2": float("nan")}, "l2.*nan", ValueError),
        ({"l2": float("inf")}, "l2.*inf", ValueError),
        ({"l2": "strong"}, "l2", TypeError),
        ({"optimizer": "adam"}, "optimizer.*(adam|str)", TypeError),
        ({"optimizer": xpnet.Adam}, "optimizer", TypeError),
        ({"callbacks": 3}, "callbacks?", TypeError),
        ({"batch_size": 2, "shuffle": lambda epoch: [0, 1, 2]}, "shuffle", ValueError),
        ({"batch_size": 2, "shuffle": lambda epoch: [0] * M}, "shuffle", ValueError),
        ({"batch_size": 2, "shuffle": lambda epoch: range(1, M + 1)}, "shuffle", ValueError),
        ({"batch_size": 2, "shuffle": lambda epoch: np.linspace(0, 5, M)}, "shuffle", ValueError),
        ({"batch_size": 2, "shuffle": "yes"}, "shuffle", TypeError),
        ({"l1": -1.0}, "l1=-1.0", ValueError),
        ({"clip_norm": 0}, "clip_norm=0: must be finite and above 0", ValueError),
        ({"dropout": "a half"}, "dropout='a half': expected a number", TypeError),
        ({"dropout": [0.1, 0.1]}, "2 rates for 1 hidden layer", ValueError),
        ({"dropout": 1.0}, r"must lie in \[0, 1\)", ValueError),
        ({"schedule": 0.5}, "expected a schedule", TypeError),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_settings_of_fit(settings, named, kind):
    net = make_net()
    start = net.parameters
    with raises_on_purpose(kind, named):
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


def test_resume_with_another_kind_of_optimiser_names_both():
    net = make_net()
    fit(net, X, Y)
    with raises_on_purpose(ValueError, "Adam.*GradientDescent|GradientDescent.*Adam"):
        fit(net, X, Y, resume=True, optimizer=xpnet.GradientDescent(0.1))


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


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"hidden": "swish"}, ["swish", "relu", "tanh", "softplus"]),
        ({"hidden": ["relu", "swish"]}, ["swish", "relu"]),
        ({"output": "probit"}, ["probit", "sigmoid", "softmax", "identity"]),
        ({"output": "softmax"}, ["softmax", r"sigmoid|two|2"]),  # of one output it is constant
        ({"hidden": ["relu"]}, ["hidden", r"\b1\b", r"\b2\b"]),
        ({"hidden": ["relu"] * 3}, ["hidden", r"\b3\b", r"\b2\b"]),
        ({"hidden": []}, ["hidden", r"\b0\b", r"\b2\b"]),
    ],
    ids=str,
)
def test_activations_that_fit_no_net(settings, named):
    with raises_on_purpose(ValueError, *named):
        xpnet.DeepNet([3, 4, 4, 1], **settings)


def test_the_notes_functions_name_an_unknown_activation():
    A, W, b = np.ones((2, 3)), np.ones((4, 2)), np.ones((4, 1))
    with raises_on_purpose(ValueError, "swish", "relu"):
        xpnet.linear_activation_forward(A, W, b, "swish")
    _, cache = xpnet.linear_activation_forward(A, W, b, "relu")
    with raises_on_purpose(ValueError, "swish", "relu"):
        xpnet.linear_activation_backward(np.ones((4, 3)), cache, "swish")


@pytest.mark.parametrize(
    "hidden", [3, None, [None, "relu"], np.tanh], ids=["3", "None", "list", "f"]
)
def test_hidden_of_another_type(hidden):
    with raises_on_purpose(BOTH, "hidden|activation"):
        xpnet.DeepNet([3, 4, 4, 1], hidden=hidden)


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
        ([(W + 1j, b) for W, b in GOOD], "complex"),
    ],
    ids=["too-few", "W.T", "flat-b", "row-b", "nan", "no-pairs", "None", "5", "complex"],
)
def test_parameters(parameters, named):
    net = make_net()
    start = net.parameters
    with raises_on_purpose(BOTH, named):
        net.parameters = parameters
    assert_pairs_equal(net.parameters, start)  # nothing half assigned


# ---------------------------------------------------------------- several libraries at once


def other_library(lib):
    """A library that is not `lib` and not NumPy."""
    if lib.name == "array_api_strict":
        return pytest.importorskip("torch").asarray
    return pytest.importorskip("array_api_strict").asarray


@pytest.mark.parametrize("call", ["fit", "predict", "cost"])
def test_x_of_another_library_names_both(lib, call):
    foreign = other_library(lib)(X)
    kind = type(foreign).__module__.partition(".")[0]
    with raises_on_purpose(BOTH, r"\bX\b", kind, rf"(?i){lib.name}"):
        called(make_net(lib), call, foreign, lib.asarray(Y))


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
