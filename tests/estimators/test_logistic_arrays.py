"""LogisticRegression on every array library, on sparse and labelled data, and when misused."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression
from sklearn.linear_model import LogisticRegression as Original
from sklearn.model_selection import GridSearchCV, cross_val_score

import xpnet

X, Y = load_iris(return_X_y=True)
BINARY = (Y > 0).astype(np.int64)
EXACT = {"tol": 1e-10, "max_iter": 500}
PENALTIES = {"l2": {}, "elastic net": {"l1_ratio": 0.5, "solver": "saga"}}


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("y", [BINARY, Y], ids=["binary", "multinomial"])
def test_a_fit_follows_its_arrays(lib, y, penalty):
    options = {"C": 0.1, **PENALTIES[penalty], **EXACT}
    w = np.random.default_rng(0).random(len(y))
    reference = xpnet.LogisticRegression(**options).fit(X, y, w)
    before = lib.asarray(X)
    net = xpnet.LogisticRegression(**options).fit(before, lib.asarray(y), lib.asarray(w))
    np.testing.assert_array_equal(lib.to_numpy(before), X)
    for name in ("coef_", "intercept_"):
        found = getattr(net, name)
        assert lib.owns(found)
        assert lib.dtype_of(found) == "float64"
        np.testing.assert_allclose(lib.to_numpy(found), getattr(reference, name), atol=1e-6)
    assert lib.owns(net.n_iter_)
    for method in ("decision_function", "predict", "predict_proba", "predict_log_proba"):
        found, expected = getattr(net, method)(lib.asarray(X)), getattr(reference, method)(X)
        assert lib.owns(found), method
        np.testing.assert_allclose(lib.to_numpy(found), expected, atol=1e-5)
    score = net.score(lib.asarray(X), lib.asarray(y))
    assert type(score) is float
    assert score == reference.score(X, y)


def test_float32_stays_float32(lib):
    net = xpnet.LogisticRegression(C=0.01).fit(lib.asarray(X.astype(np.float32)), Y)
    assert lib.dtype_of(net.coef_) == lib.dtype_of(net.intercept_) == "float32"
    assert lib.dtype_of(net.predict_proba(lib.asarray(X.astype(np.float32)))) == "float32"
    exact = xpnet.LogisticRegression(C=0.01, **EXACT).fit(X, Y)
    np.testing.assert_allclose(lib.to_numpy(net.coef_), exact.coef_, atol=1e-3)


@pytest.mark.parametrize("size", [1e20, 2e36, 4e37, 1e200])
@pytest.mark.parametrize("kind", ["dense", "sparse", "missing"])
@pytest.mark.parametrize("y", [BINARY, Y], ids=["binary", "multinomial"])
def test_features_whose_squares_no_float_holds(lib, y, kind, size):
    large, usual = X.astype("float32" if size < 1e38 else "float64"), X
    if kind == "missing":  # a fill value, as netCDF's, in a few rows of one feature
        usual = np.delete(X, 1, axis=1)
        large[::25, 1] = size
    else:
        large *= np.asarray(size, large.dtype)
    noisy = np.where(np.arange(len(y)) % 7 == 0, 0, y)
    given = sparse.csr_array(large) if kind == "sparse" else lib.asarray(large)
    options = {"C": np.inf, "tol": 1e-3}
    plain = xpnet.LogisticRegression(**options).fit(usual, noisy)
    if kind == "sparse":
        options |= {"backend": lib.name, "dtype": large.dtype.name}  # a GPU's would be float32
    net = xpnet.LogisticRegression(**options).fit(given, noisy)
    assert net.score(given, noisy) == pytest.approx(plain.score(usual, noisy), abs=0.03)


DISPATCHED = """
import numpy as np, sklearn, torch, xpnet
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import StackingClassifier
from sklearn.model_selection import cross_val_predict
rng = np.random.default_rng(0)
X = torch.asarray(rng.normal(size=(90, 3)))
sklearn.set_config(array_api_dispatch=True)
for y in (X[:, 0] > 0, torch.argmax(X, dim=1)):
    y = y.to(torch.int64)
    for net in (xpnet.LogisticRegression(), xpnet.MLPClassifier(max_iter=300, random_state=0)):
        assert type(net.fit(X, y).classes_) is torch.Tensor
        assert type(net.fit(X, y.numpy()).classes_) is np.ndarray
        P = cross_val_predict(net, X, y, cv=3, method="predict_proba")
        assert type(P) is torch.Tensor and (torch.argmax(P, dim=1) == y).double().mean() > 0.8
        for both in (
            StackingClassifier([("a", net), ("b", net)], net, cv=3),
            CalibratedClassifierCV(net, method="temperature", cv=3),
        ):
            assert both.fit(X, y).score(X, y) > 0.8
"""


def test_classes_are_dispatched_as_the_originals_are():
    pytest.importorskip("torch")
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}
    command = [sys.executable, "-W", "ignore", "-c", DISPATCHED]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_string_labels_stay_on_the_host(lib):
    names = np.array(["setosa", "versicolor", "virginica"])[Y]
    net = xpnet.LogisticRegression().fit(lib.asarray(X), names)
    predicted = net.predict(lib.asarray(X))
    assert isinstance(predicted, np.ndarray)
    assert (predicted == names).mean() > 0.95


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "sag", "saga", "liblinear"])
def test_sparse_is_the_same_as_dense(solver):
    Z = np.where(X > 2.5, X, 0.0)
    w = np.arange(len(Y)) % 3.0
    for container in (sparse.csr_array, sparse.csc_matrix):
        dense = xpnet.LogisticRegression(solver=solver, **EXACT).fit(Z, BINARY, w)
        found = xpnet.LogisticRegression(solver=solver, **EXACT).fit(container(Z), BINARY, w)
        np.testing.assert_allclose(found.coef_, dense.coef_, atol=1e-8)
        np.testing.assert_allclose(found.predict_proba(container(Z)), dense.predict_proba(Z))


def test_a_sparse_matrix_is_moved_by_blocks(lib, monkeypatch):
    if lib.name == "numpy":
        pytest.skip("NumPy multiplies SciPy's matrices as they are")
    monkeypatch.setattr("xpnet.estimators.arrays.BLOCK", 80)  # 20 rows
    found = xpnet.LogisticRegression(**lib.options, dtype="float64", C=0.1, **EXACT)
    found.fit(sparse.csr_array(X), Y)
    dense = xpnet.LogisticRegression(C=0.1, **EXACT).fit(X, Y)
    assert lib.owns(found.coef_)
    np.testing.assert_allclose(lib.to_numpy(found.coef_), dense.coef_, atol=1e-8)
    assert found.predict_proba(sparse.csr_array(X)).shape == (150, 3)


def test_a_large_sparse_matrix_is_never_dense():
    rng = np.random.default_rng(0)
    wide = sparse.random_array((2000, 50_000), density=1e-3, rng=rng, format="csr")  # 800 MB dense
    y = (wide.sum(axis=1) > wide.sum(axis=1).mean()).astype(int)
    net = xpnet.LogisticRegression().fit(wide, y)
    assert net.score(wide, y) > 0.9


def test_sparsify_and_densify():
    net = xpnet.LogisticRegression(l1_ratio=1, solver="saga", C=0.1).fit(X, Y)
    expected = net.decision_function(X)
    assert sparse.issparse(net.sparsify().coef_)
    for data in (X, sparse.csr_array(X)):
        np.testing.assert_allclose(net.decision_function(data), expected)
    assert isinstance(net.densify().coef_, np.ndarray)


def test_a_pickle_holds_host_arrays(lib):
    net = xpnet.LogisticRegression().fit(lib.asarray(X), lib.asarray(Y))
    loaded = pickle.loads(pickle.dumps(net))
    assert isinstance(loaded.coef_, np.ndarray)
    np.testing.assert_array_equal(loaded.predict(X), lib.to_numpy(net.predict(lib.asarray(X))))


def test_another_library_than_fit_saw_is_an_error(lib):
    if lib.name == "numpy":
        pytest.skip("X is NumPy's here")
    net = xpnet.LogisticRegression().fit(lib.asarray(X), lib.asarray(Y))
    for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
        with pytest.raises(ValueError, match=rf"{method}\(\) must use the same .*NumPy"):
            getattr(net, method)(X)


def test_host_data_and_a_chosen_backend(lib):
    net = xpnet.LogisticRegression(**lib.options, dtype="float64").fit(X, Y)
    assert lib.owns(net.coef_)
    assert isinstance(net.predict(X), np.ndarray)
    assert isinstance(net.predict_proba(X), np.ndarray)


def test_log_probabilities_never_overflow():
    net = xpnet.LogisticRegression().fit(X, BINARY)
    far = np.array([[1e6, 0.0, 1e6, 0.0], [-1e6, 0.0, -1e6, 0.0]])
    assert np.isfinite(net.predict_log_proba(far)).all()


def test_it_is_an_estimator():
    net = xpnet.LogisticRegression(C=2.0, backend="numpy")
    assert clone(net).get_params() == net.get_params()
    order = list(Original().get_params(deep=False))
    assert sorted(net.get_params()) == sorted([*order, "backend", "device", "dtype"])
    assert cross_val_score(net, X, Y).mean() > 0.9
    search = GridSearchCV(net, {"C": [0.1, 1.0]}).fit(X, Y)
    assert search.best_score_ > 0.9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"l1_ratio": 1}, "Solver lbfgs supports only 'l2' or None"),
        ({"l1_ratio": 0.5, "solver": "liblinear"}, "Only 'saga' solver supports elasticnet"),
        ({"dual": True}, "supports only dual=False"),
        ({"solver": "liblinear"}, "does not support multiclass"),
        ({"solver": "liblinear", "C": np.inf}, "not supported for the liblinear solver"),
        ({"solver": "lbgfs"}, "The 'solver' parameter"),
    ],
)
def test_settings_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        xpnet.LogisticRegression(**options).fit(X, Y)


def test_one_class_and_a_changed_warm_start():
    with pytest.raises(ValueError, match="at least 2 classes"):
        xpnet.LogisticRegression().fit(X, np.zeros(len(X)))
    net = xpnet.LogisticRegression(warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="Initialization coef is of shape"):
        net.fit(X, BINARY)


@pytest.mark.parametrize("scale", [1e-320, 1e-306, 1e-38, 1e38, 1e306])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("C", [None, np.inf, 1.0, 1e-25])
def test_factors_of_all_weights(lib, C, dtype, scale):
    """Weights count in relation to each other, and to C; None: least squares."""
    w = (np.random.default_rng(0).random(len(Y)) + 0.5) * scale
    y, given = np.where(np.arange(len(Y)) % 7 == 0, 0, BINARY), lib.asarray(X.astype(dtype))
    if C is None:
        expected, net = LinearRegression(), xpnet.LinearRegression()
    elif np.inf > C and not 0 < C / scale < np.inf:
        pytest.skip("no such C")
    else:
        expected = Original(C=C, **EXACT)
        net = xpnet.LogisticRegression(C=C / scale, tol=1e-6, max_iter=500)
    coef = expected.fit(X, y, w / scale).coef_
    rough = scale < 1e-308 or dtype == "float32"  # w itself has few digits
    found = lib.to_numpy(net.fit(given, y, w).coef_)
    np.testing.assert_allclose(found, coef, rtol=0, atol=2e-3 if rough else 1e-4)


@pytest.mark.parametrize("kind", [xpnet.LogisticRegression, xpnet.LinearRegression])
def test_jax_may_forbid_that_vectors_become_rows(kind):
    jax = pytest.importorskip("jax")
    given = jax.numpy.asarray(X.astype("float32"))
    with jax.numpy_rank_promotion("raise"):
        net = kind().fit(given, Y, 1.0 + Y)
        assert net.score(given, Y) > 0.9


@pytest.mark.parametrize("kind", [xpnet.LogisticRegression, xpnet.LinearRegression])
def test_weights_of_zero(kind):
    with pytest.raises(ValueError, match="at least one non-zero"):
        kind().fit(X, Y, np.zeros(len(Y)))
