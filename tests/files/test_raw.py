"""``DeepNet.predict_raw``: features as a table has them, answers in its words and units."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import xpnet
from xpnet.data.column import Column
from xpnet.data.preprocessing import Preprocessor, PreprocessorSettings
from xpnet.data.standardizer import Standardizer
from xpnet.files.raw import TableModel

RNG = np.random.default_rng(61)
X = np.stack([RNG.normal(1.7e9, 5e4, 40), 1e-6 * RNG.normal(size=40), np.full(40, 7.5)])  # (3, 40)


def make_net(n_y, output, lib=None, **settings):
    options = {} if lib is None else lib.options
    net = xpnet.DeepNet([3, 8, n_y], output=output, dtype="float32", **options, **settings)
    net.parameters = [
        (3 * RNG.normal(size=W.shape), RNG.normal(size=b.shape)) for W, b in net.parameters
    ]
    found = Standardizer.fit(X.T)
    net.tensors = {"input_mean": found.mean, "input_scale": found.scale}
    return net, found.apply(X.T, np.float32).T


@pytest.mark.parametrize(
    "features", [X, X.astype(np.float32), X.astype(np.int64)], ids=["f8", "f4", "i8"]
)
def test_a_regression_answers_in_its_units(features):
    net, _ = make_net(2, "identity")
    mean, scale = net.tensors["input_mean"][:, None], net.tensors["input_scale"][:, None]
    Z = (features - mean) / np.where(scale == 0, 1, scale)
    Z[2] = 0.0
    plain = net.predict(Z.astype(np.float32))
    np.testing.assert_array_equal(net.predict_raw(features), plain)
    net.tensors |= {"target_mean": np.array([3e5, -1.0]), "target_scale": np.array([0.25, 0.0])}
    found = net.predict_raw(features)
    assert (found.dtype, found.shape) == (np.float64, (2, 40))  # float32 would round to 1/32
    np.testing.assert_allclose(found[0], plain[0] * np.float64(0.25) + 3e5, rtol=1e-13)
    np.testing.assert_array_equal(found[1], -1.0)


@pytest.mark.parametrize("k", [2, 3])
def test_classes_come_by_name(lib, k):
    net, Z = make_net(1 if k == 2 else 3, "sigmoid" if k == 2 else "softmax", lib)
    numbers = np.ravel(net.predict(Z))
    assert len(set(numbers.tolist())) > 1
    found = net.predict_raw(X)
    assert (type(found), found.shape) == (np.ndarray, (40,))
    np.testing.assert_array_equal(found, numbers)
    names = ["no", "yes", "Größe"][:k]
    net.data = {"classes": names}
    assert net.predict_raw(X).tolist() == [names[n] for n in numbers]
    net.data = {"classes": ["one"]}
    with pytest.raises(ValueError, match=f"1 classes for {k} of the net"):
        net.predict_raw(X)


def test_several_answers_per_example_stay_numbers():
    net, Z = make_net(3, "sigmoid")
    np.testing.assert_array_equal(net.predict_raw(X), net.predict(Z))


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        (X.T, ValueError, r"shape \(40, 3\).*pass X.T"),
        (X[:2], ValueError, r"takes \(3, m\)"),
        (X[0], ValueError, "examples in columns"),
        (X.astype(str), TypeError, "not numbers"),
        (np.where(X[0, 5] == X, np.nan, X), ValueError, r"row 0, example \(column\) 5"),
    ],
)
def test_what_is_no_table(wrong, error, said):
    net, _ = make_net(1, "sigmoid")
    with pytest.raises(error, match=said):
        net.predict_raw(wrong)


@pytest.mark.parametrize("output", ["identity", "sigmoid", "softmax"])
def test_without_statistics_features_are_used_as_they_are(output):
    net = xpnet.DeepNet([3, 4], output=output, dtype="float64")
    np.testing.assert_array_equal(net.predict_raw(X), net.predict(X))
    net.tensors = {"input_scale": np.ones(3)}
    with pytest.raises(ValueError, match=r"belong together, but net.tensors has \['input_scale'\]"):
        net.predict_raw(X)


def test_features_of_any_library(lib, tmp_path):
    """The net follows the library of its first X, and takes arrays of others too."""
    make_net(3, "softmax")[0].save(tmp_path / "m")
    net, own = xpnet.load(tmp_path / "m"), lib.asarray(X)
    expected = xpnet.load(tmp_path / "m").predict_raw(X)
    for seen in (own, X, X.tolist(), own):
        found = net.predict_raw(seen)
        assert type(found) is np.ndarray
        np.testing.assert_array_equal(found, expected)
    assert net.backend.name == lib.name
    assert lib.owns(net.predict(own))  # and predict goes on in that library


class Frame:
    """As much of pandas' ``df.T`` as nets look at."""

    loc = property(lambda self: self)

    def __init__(self, values, index):
        self.values, self.index, self.columns = values, index, range(values.shape[1])

    def __getitem__(self, names):
        return Frame(self.values[[self.index.index(name) for name in names]], names)

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


def test_features_of_a_frame_are_found_by_name(lib):
    """Wherever a net that knows their names is given a frame."""
    net, _ = make_net(3, "softmax", lib)
    y, net.data = RNG.integers(0, 3, 40), {"features": ["b", "a", "c"]}
    frames = (X[[2, 1, 0]], ["c", "a", "b"]), (X, ["b", "a", "c"]), (X, [0, 1, 2]), (X, list("012"))
    for frame in map(Frame, *zip(*frames)):
        np.testing.assert_array_equal(net.predict_raw(frame), net.predict_raw(X))
        np.testing.assert_array_equal(net.predict_proba(frame), net.predict_proba(X))
        assert net.cost(frame, y) == net.cost(X, y)
    for wrong in (["b", "a"], ["b", "a", "c", "d"], ["b", "A", "c"], ["b", "a", "a"]):
        frame = Frame(np.ones((len(wrong), 40)), wrong)
        for method in (net.predict_raw, net.predict, lambda x: net.fit(x, y)):
            with pytest.raises(ValueError, match=r"index of X .* features of this net are b, a, c"):
                method(frame)


def test_validation_data_has_the_names_of_the_training_data(tmp_path):
    y, (a, b) = RNG.integers(0, 2, 40), (Frame(X, list("abc")), Frame(X[::-1], list("cba")))
    costs = [
        xpnet.DeepNet([3, 1]).fit(a, y, epochs=1, validation=(held_out, y)).validation_cost
        for held_out in (a, b)
    ]
    assert costs[0] == costs[1]
    streams = []
    for header in ("a,b,y", "b,a,y"):
        (tmp_path / "t.csv").write_text(header + "\n1,2,0\n3,4,1\n")
        streams.append(xpnet.stream(tmp_path / "t.csv", target="y"))
    with pytest.raises(ValueError, match=r"in the order b, a, but .* in the order a, b"):
        xpnet.DeepNet([2, 1]).fit(streams[0], epochs=1, validation=streams[1])


@pytest.mark.parametrize("streamed", [False, True])
def test_a_net_remembers_the_names_that_it_was_fitted_on(lib, streamed, tmp_path):
    (tmp_path / "t.csv").write_text("b,a,y\n1,2,0\n3,4,1\n")
    net = xpnet.DeepNet([2, 1], **lib.options)
    twin = copy.copy(net)
    given = Frame(np.array([[1.0, 3.0], [2.0, 4.0]]), ["b", "a"])
    net.cost(given, np.ones(2))
    net.predict(given)
    assert net.data == {}  # only what it learns from has a say
    fit = (xpnet.stream(tmp_path / "t.csv", target="y"),) if streamed else (given, np.array([0, 1]))
    net.fit(*fit, epochs=1)
    assert (net.data, twin.data) == ({"features": ["b", "a"]}, {})
    net.save(tmp_path / "m")
    turned = Frame(given.values[::-1], ["a", "b"])
    for each in (net, xpnet.load(tmp_path / "m")):
        np.testing.assert_array_equal(each.predict_proba(turned), each.predict_proba(given))
        with pytest.raises(ValueError, match="the features of this net are b, a"):
            each.score(Frame(given.values, ["b", "c"]), np.ones(2))
    for names in ([0, 1], ["0", "1"]):
        other = xpnet.DeepNet([2, 1])
        other.fit(Frame(given.values, names), np.array([0, 1]), epochs=1)
        assert other.data == {}


def test_a_stream_with_names_in_another_order_is_refused(tmp_path):
    net, path = xpnet.DeepNet([2, 1]), tmp_path / "t.csv"
    net.data["features"] = ["a", "b"]
    for header, said in (("b,a,y", "in the order b, a"), ("a,c,y", "stream has the names a, c")):
        path.write_text(header + "\n1,2,0\n3,4,1\n")
        source = xpnet.stream(path, target="y")
        with pytest.raises(ValueError, match=said):
            net.fit(source, epochs=1)


# -- nets of tables ----------------------------------------------------------------------
def table_net(columns, output="softmax", settings=None):
    """A net of random weights on these columns; E, its features as they are encoded."""
    made = Preprocessor.fit([columns], settings)
    n_y = {"softmax": 3}.get(output, 1)
    net = xpnet.DeepNet([len(made.names), 8, n_y], output=output, dtype="float32", seed=1)
    net.data = {"features": made.names, "columns": made.to_json()}
    net.tensors = {"input_mean": made.standardizer.mean, "input_scale": made.standardizer.scale,
                   "input_fill": made.fill}  # fmt: skip
    return net, made


def numbers(values):
    values = np.array(values, np.float64)
    return Column(values, np.isnan(values))


def words(*cells):
    texts = tuple(dict.fromkeys(filter(None, cells)))
    codes = np.array([texts.index(cell) if cell else -1 for cell in cells], np.int32)
    return Column(codes, codes < 0, texts)


TABLE = {
    "age": numbers([3, np.nan, 5, 9, 4, 3]),
    "sex": words("m", "f", None, "m", "f", "m"),
    "yes": Column(np.array([True, False, True, True, False, True]), np.zeros(6, bool)),
}


@pytest.mark.parametrize("robust", [False, True])
def test_a_table_is_encoded_and_standardised(tmp_path, robust):
    net, made = table_net(TABLE, settings=PreprocessorSettings(robust=robust))
    Z = made.standardize(made.encode(TABLE), np.float32).T
    net.save(tmp_path / "m")
    model = TableModel.of(xpnet.load(tmp_path / "m"))
    assert model.sources == {"age": "number", "sex": "text", "yes": "bool"}
    np.testing.assert_array_equal(model.predict(TABLE), net.predict(Z))
    np.testing.assert_array_equal(model.probabilities(TABLE), net.predict_proba(Z).T)
    with pytest.raises(
        ValueError, match=r"columns age \(number\), sex \(text\), yes \(bool\): pass a data frame"
    ):
        net.predict_raw(np.ones((3, 6)))
    with pytest.raises(ValueError, match="encodes columns of the table"):
        model.without_statistics()


def test_missing_numbers_in_an_array():
    X = np.stack([TABLE["age"].values, np.arange(6.0)])
    net, made = table_net({"age": TABLE["age"], "x": numbers(X[1])}, "identity")
    Z = made.standardize(made.encode({"age": TABLE["age"], "x": numbers(X[1])}), np.float32)
    np.testing.assert_array_equal(net.predict_raw(X), net.predict(Z.T))
    with pytest.raises(
        ValueError, match=r"rows of shape \(1,\), but .* columns age \(number\), x \(number\)$"
    ):
        net.predict_raw(X[:1])
    plain, made = table_net({"x": numbers(X[1])}, "identity")  # the median without a flag
    X[1, 0] = np.nan
    assert plain.predict_raw(X[1:])[0, 0] == plain.predict_raw(np.array([[2.5]]))


@pytest.mark.parametrize(
    "change",
    [
        {"columns": None},
        {"columns": {}},
        {"columns": {"encodings": [], "robust": False}},
        {"features": ["a"]},
    ],
)
def test_damaged_columns(change, tmp_path):
    net, _ = table_net(TABLE)
    net.data |= change
    net.save(tmp_path / "m")
    with pytest.raises(ValueError, match=r"damaged|statistics of shape|1 features for 6"):
        TableModel.of(xpnet.load(tmp_path / "m"))
    del net.tensors["input_fill"]
    net.data.setdefault("columns", {})
    with pytest.raises(ValueError, match=r"columns without statistics|1 features"):
        TableModel.of(net)


# -- data frames -------------------------------------------------------------------------
CELLS = {
    "more": [[1], [2], [3], [4], [5], [6]],
    "yes": [True, False, True, True, False, True],
    "sex": ["m", "f", None, "m", "f", "m"],
    "age": [3, None, 5, 9, 4, 3],
    "two words": [1.5, 2.5, 0.5, 1.0, -1.0, 0.0],
}


@pytest.fixture(params=["polars", "pyarrow", "pandas"])
def frame(request):
    """Cells by column -> a data frame."""
    library = pytest.importorskip(request.param)
    return library.table if request.param == "pyarrow" else library.DataFrame


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
def test_a_frame_of_all_kinds(frame, output):
    columns = TABLE | {"two words": numbers(CELLS["two words"])}
    net, made = table_net(columns, output)
    expected = TableModel.of(net).predict(columns).T
    found = net.predict_raw(frame(CELLS))
    assert found.shape == ((1, 6) if output == "identity" else (6,))
    np.testing.assert_array_equal(found, expected)
    without = {name: cells for name, cells in CELLS.items() if name not in ("sex", "yes")}
    with pytest.raises(ValueError, match=r"no column 'sex' \(and 1 more are missing\)"):
        net.predict_raw(frame(without))
    with pytest.raises(ValueError, match="no rows"):
        net.predict_raw(frame(CELLS)[:0])
    with pytest.raises(ValueError, match=r"row 0 .*, column 'age': 'a' is not a number"):
        net.predict_raw(frame(CELLS | {"age": ["a"] * 6}))
    assert len(made.names) == net.sizes[0]


@pytest.mark.parametrize("kind", ["number", "all"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.lazy(), r"type LazyFrame: pass X.collect\(\)"),
        (lambda f: "t.csv", "type str: pass a data frame .*or an array"),
        (lambda f: f.to_dict(), "type dict: pass a data frame"),
        (lambda f: None, "type NoneType: pass"),
        (
            lambda f: f.to_pandas().set_axis(range(5), axis=1),
            "columns of X are named 0, 1, 2, 3, 4, which is no text; the model takes .* columns ",
        ),
        (
            lambda f: __import__("pandas").concat({"x": f.to_pandas()}, axis=1),
            r"columns of X are named \('x', 'more'\), .* the model takes ",
        ),
    ],
)
def test_predict_raw_says_what_it_takes(change, said, kind):
    polars = pytest.importorskip("polars")
    pytest.importorskip("pandas")
    net = table_net(TABLE, "softmax")[0] if kind == "all" else make_net(3, "softmax")[0]
    with pytest.raises(TypeError, match=said):
        net.predict_raw(change(polars.DataFrame(CELLS | {"more": [1.0] * 6})))


def test_a_frame_of_numbers(frame):
    net, _ = make_net(3, "softmax")
    net.data = {"features": ["b", "a", "c"]}
    rows = dict(zip("cba", X[[2, 0, 1]], strict=True))
    np.testing.assert_array_equal(net.predict_raw(frame(rows)), net.predict_raw(X))
    without = frame({"a": X[1], "b": X[0]})  # "c" was constant, and is not used
    np.testing.assert_array_equal(net.predict_raw(without), net.predict_raw(X))
    with pytest.raises(ValueError, match="no column 'a'; the model takes b, a, c; it has"):
        net.predict_raw(frame({"c": X[0], "b": X[1], "d": X[2]}))
