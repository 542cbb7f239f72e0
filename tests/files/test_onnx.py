"""ONNX models, held against the format's own checker and against ONNX Runtime."""

import json
import os
from functools import partial

import exchange_helpers
import numpy as np
import pytest

from xpnet import DeepNet
from xpnet.core.activations import ACTIVATIONS
from xpnet.data.column import Column
from xpnet.data.preprocessing import Preprocessor, PreprocessorSettings
from xpnet.data.standardizer import Standardizer
from xpnet.files import onnx as exporter
from xpnet.files.raw import TableModel

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

OUTPUTS = [("identity", 1), ("identity", 3), ("sigmoid", 1), ("sigmoid", 3), ("softmax", 4)]


random_net = partial(exchange_helpers.random_net, dtype="float32")


def examples(m, n=5):
    return (2 * np.random.default_rng(1).normal(size=(m, n))).astype(np.float32)


@pytest.fixture
def session(tmp_path):
    """net -> a session of ONNX Runtime, after the checker has seen the model."""

    def start(net, **options):
        path = tmp_path / "net.onnx"
        exporter.write(net, path, **options)
        onnx.checker.check_model(onnx.load(path), full_check=True)
        return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    return start


def run(session, X):
    values = session.run(None, {"X": X})
    return {output.name: value for output, value in zip(session.get_outputs(), values, strict=True)}


@pytest.mark.parametrize(("output", "n_y"), OUTPUTS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_it_computes_what_the_net_does(session, hidden, output, n_y):
    net = random_net([5, 8, 6, n_y], hidden, output)
    started = session(net)
    for m in (1, 2, 5000):
        X = examples(m)
        found = run(started, X)
        name = "Y" if output == "identity" else "probabilities"
        assert list(found) == ([name] if output == "identity" else [name, "label"])
        expected = net.predict_proba(X.T).T
        assert (found[name].dtype, found[name].shape) == (np.float32, (m, n_y))
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-5)
        if output != "identity":
            labels = net.predict(X.T)
            labels = labels if output == "softmax" else labels.T if n_y > 1 else labels[0]
            assert (found["label"].dtype, found["label"].shape) == (np.int64, labels.shape)
            near = np.abs(expected - 0.5) if output == "sigmoid" else -np.diff(np.sort(expected))
            sure = np.abs(near[:, -1] if output == "softmax" else near.min(axis=1)) > 1e-5
            np.testing.assert_array_equal(found["label"][sure], labels[sure])
            assert sure.mean() > 0.99


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_activation_per_layer_and_none(session, dtype):
    for sizes, hidden in (([5, 4, 4, 4, 2], ["relu", "identity", "elu"]), ([5, 2], "relu")):
        net = random_net(sizes, hidden, dtype=dtype)
        Y = run(session(net), examples(9))["Y"]
        np.testing.assert_allclose(Y, net.predict(examples(9).T).T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("output", "n_y"), OUTPUTS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_large_numbers_stay_finite(session, hidden, output, n_y):
    net = random_net([5, 8, n_y], hidden, output, scale=100.0)
    (A, *_) = run(session(net), examples(100)).values()
    np.testing.assert_allclose(A, net.predict_proba(examples(100).T).T, rtol=1e-4, atol=1e-5)
    assert np.all(np.isfinite(A))


def test_what_the_model_says_of_itself(session, tmp_path):
    net = random_net([5, 4, 3], output="softmax")
    net.data = {"target": "Größe", "classes": ["a", "b", "c"]}
    started = session(net)
    (X,) = started.get_inputs()
    assert (X.name, X.type, X.shape) == ("X", "tensor(float)", ["m", 5])
    assert [o.shape for o in started.get_outputs()] == [["m", 3], ["m"]]
    said = started.get_modelmeta().custom_metadata_map
    assert {key: json.loads(text) for key, text in said.items()} == net.data
    model = onnx.load(tmp_path / "net.onnx")
    versions = (model.ir_version, model.opset_import[0].version)
    assert (model.producer_name, *versions) == ("xpnet", 7, 13)
    # Nothing but what the package onnx would write: every field is a known one.
    assert model.SerializeToString() == (tmp_path / "net.onnx").read_bytes()


def test_a_net_of_any_library(session, lib):
    net = random_net([5, 8, 2], "elu", "softmax", **lib.options)
    Y = run(session(net), examples(50))["probabilities"]
    expected = net.predict_proba(lib.asarray(examples(50).T)).T
    np.testing.assert_allclose(Y, lib.to_numpy(expected), rtol=1e-5, atol=1e-5)


# -- raw features ------------------------------------------------------------------------
def raw_columns(m=400):
    """Seconds since 1970, a small one, one that is constant, and a large one."""
    rng = np.random.default_rng(2)
    columns = [rng.normal(1.7e9, 5e4, m), 1e-6 * rng.normal(size=m), np.full(m, 7.5),
               rng.normal(-3e7, 2e3, m)]  # fmt: skip
    return np.stack(columns, axis=1).astype(np.float32)


def standardizing(net, X):
    inputs = Standardizer.fit(X)
    net.tensors = {"input_mean": inputs.mean, "input_scale": inputs.scale}
    return inputs.apply(X, np.float32)


def test_raw_features_and_a_target_in_its_units(session):
    X = raw_columns()
    net = random_net([4, 8, 1], "relu")
    Z = standardizing(net, X)
    net.tensors |= {"target_mean": np.array([3e5]), "target_scale": np.array([0.25])}
    expected = net.predict(Z.T).T.astype(np.float64) * 0.25 + 3e5
    constant_no_more = X.copy()
    constant_no_more[:, 2] = 1e4
    started = session(net, raw=True)
    for seen in (X, constant_no_more):
        np.testing.assert_allclose(run(started, seen)["Y"], expected, atol=0.04)  # half a step
    # To rounding, where the target's mean does not hide the rest:
    net.tensors["target_mean"] = np.zeros(1)
    Y = run(session(net, raw=True), X)["Y"]
    np.testing.assert_allclose(Y, expected - 3e5, rtol=1e-5, atol=1e-5)
    # Without raw the model is the net alone.
    np.testing.assert_allclose(run(session(net), Z)["Y"], net.predict(Z.T).T, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "classes",
    [["Gänse", "", "c"], [3, 1, -(2**40)], [0.5, 2.5, 1e300], ["no", "yes"], [False, True], None],
    ids=str,
)
def test_raw_labels_are_the_classes(session, classes):
    X = raw_columns()
    two = classes is not None and len(classes) == 2
    net = random_net([4, 8, 1 if two else 3], "identity", "sigmoid" if two else "softmax")
    Z = standardizing(net, X)
    net.data = {"classes": classes}
    numbers = np.ravel(net.predict(Z.T))
    labels = run(session(net, raw=True), X)["label"]
    assert labels.tolist() == [n if classes is None else classes[n] for n in numbers.tolist()]
    assert len(set(numbers.tolist())) > 1
    # Without raw there are numbers.
    assert run(session(net), Z)["label"].tolist() == numbers.tolist()


# -- what cannot be written --------------------------------------------------------------
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input_mean": np.ones(2)}, r"input_mean and input_scale .* has \['input_mean'\]"),
        ({"input_mean": np.ones(2), "input_scale": np.ones((2, 1))}, "expected \\(2,\\)"),
        ({"input_mean": np.array([0, 1e300]), "input_scale": np.ones(2)}, "beyond float32"),
        ({"input_mean": np.ones(2), "input_scale": np.array([1, 1e-300])}, "1 / input_scale"),
        ({"input_mean": np.ones(2), "input_scale": np.ones(2), "target_scale": np.ones(1)},
         "target_mean and target_scale belong together"),
    ],
)  # fmt: skip
def test_raw_with_statistics_that_do_not_fit(tmp_path, changes, said):
    net = DeepNet([2, 3, 1], output="identity")
    net.tensors = changes
    with pytest.raises(ValueError, match=said):
        exporter.write(net, tmp_path / "m.onnx", raw=True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("classes", "said"), [(["a"], "1 classes for 2"), ([None, {}], "object")])
def test_raw_with_classes_that_do_not_fit(tmp_path, classes, said):
    net = DeepNet([1, 1])
    net.tensors = {"input_mean": np.ones(1), "input_scale": np.ones(1)}
    net.data = {"classes": classes}
    with pytest.raises(ValueError, match=said):
        exporter.write(net, tmp_path / "m.onnx", raw=True)


def test_numbers_beyond_float32(tmp_path):
    net = DeepNet([1, 1], dtype="float64")
    net.parameters = [(np.full((1, 1), 1e39), np.zeros((1, 1)))]
    with pytest.raises(ValueError, match="W of layer 1 holds a number beyond float32"):
        exporter.write(net, tmp_path / "m.onnx")


def test_too_large_a_model(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "_LIMIT", 500)
    (tmp_path / "m.onnx").write_bytes(b"old")
    with pytest.raises(ValueError, match="2 GiB"):
        exporter.write(DeepNet([10, 20, 1]), tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx").read_bytes() == b"old"


# -- raw columns -------------------------------------------------------------------------
def table_of_all_kinds(m=300):
    """Columns of all kinds, with missing cells, and names that the model has too."""
    rng = np.random.default_rng(5)

    def with_gaps(values, share=0.1):
        return Column(values, rng.random(m) < share)

    rows = np.arange(m)
    words = Column(rng.integers(0, 4, m).astype(np.int32), rng.random(m) < 0.1, tuple("äbcd"))
    codes = np.array([8001, 3012, 2**40 + 1])[rng.integers(0, 3, m)]
    start = np.datetime64("1999-12-31", "us")
    return {
        "seconds": with_gaps(rng.normal(1.7e9, 5e4, m).astype(np.float32).astype(np.float64)),
        "Y": with_gaps(rng.normal(size=m).astype(np.float32), 0),
        "label": words,
        "zip": Column(codes, np.zeros(m, bool)),
        "yes": with_gaps(rng.random(m) < 0.5),
        "sure": with_gaps(rng.random(m) < 0.5, 0),
        "day": with_gaps(start + rng.integers(0, 10**15, m).astype("m8[us]")),
        "gaps": with_gaps(np.ones(m)),
        "rare": Column(np.where((rows < 30) | (rows > 290), rows + 10, rows % 10).astype(np.int32),
                       np.zeros(m, bool), tuple(f"t{i}" for i in range(m + 10))),
    }  # fmt: skip


def fed(made, table):
    """What ONNX Runtime is given: by the documentation of ``files.onnx.write``."""
    values = {}
    E = dict(zip(made.names, made.encode(table).T, strict=True))
    for column in made.columns:
        cells, missing = table[column.name], table[column.name].absent
        if column.kind == "category":
            texts, at = cells.as_texts()
            strings = [("" if no else texts[i]) for i, no in zip(at, missing, strict=True)]
            values[column.name] = np.array(strings, object)
        elif column.kind == "date":
            for part in column.parts:
                name = f"{column.name} {part}"
                values[name] = np.where(missing, np.nan, E[name]).astype(np.float32)
        else:
            values[column.name] = np.where(missing, np.nan, cells.values).astype(np.float32)
    renamed = {"Y": "Y_", "label": "label_"}
    return {renamed.get(name, name): x[:, None] for name, x in values.items()}


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("output", ["identity", "softmax"])
def test_raw_columns_of_all_kinds(session, output, robust):
    table = table_of_all_kinds()
    settings = PreprocessorSettings(kinds={"zip": "category"}, robust=robust)
    train = {name: column[:240] for name, column in table.items()}
    made = Preprocessor.fit([train], settings)
    assert {"rare other", "label missing"} <= set(made.names)
    net = random_net([len(made.names), 8, 3 if output == "softmax" else 1], "relu", output)
    net.data = {"features": made.names, "columns": made.to_json(), "classes": ["u", "v", "w"]}
    if output == "identity":
        net.data["classes"] = None
    net.tensors = {"input_mean": made.standardizer.mean, "input_scale": made.standardizer.scale,
                   "input_fill": made.fill}  # fmt: skip
    texts = ("ä", "b", "unseen", "d")  # where training had c
    table["label"] = Column(table["label"].values, table["label"].missing, texts)
    started = session(net, raw=True)
    inputs = fed(made, table)
    assert {x.name: (x.type, x.shape) for x in started.get_inputs()} == {
        name: (f"tensor({'string' if x.dtype == object else 'float'})", ["m", 1])
        for name, x in inputs.items()
    }
    found = started.run(None, inputs)
    model = TableModel.of(net)
    if output == "identity":
        np.testing.assert_allclose(found[0], model.predict(table), rtol=1e-5, atol=1e-5)
    else:
        np.testing.assert_allclose(found[0], model.probabilities(table), rtol=1e-5, atol=1e-5)
        assert found[1].tolist() == model.predict(table).tolist()


def test_a_missing_number_in_a_table_of_numbers(session):
    X = raw_columns()
    made = Preprocessor.fit([{str(i): Column(x, np.isnan(x)) for i, x in enumerate(X.T)}])
    net = random_net([4, 1], "relu")
    net.data = {"features": made.names, "columns": made.to_json()}
    net.tensors = {"input_mean": made.standardizer.mean, "input_scale": made.standardizer.scale,
                   "input_fill": made.fill}  # fmt: skip
    X[::3, 0] = X[1::5, 3] = X[::7, 2] = np.nan  # that one is constant
    Y = run(session(net, raw=True), X)["Y"]
    np.testing.assert_allclose(Y, net.predict_raw(X.T.astype(np.float64)).T, rtol=1e-5, atol=1e-5)
