"""LinearRegression is scikit-learn's least squares, to rounding, on every array library."""

from __future__ import annotations

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LinearRegression as Original
from sklearn.linear_model import RANSACRegressor

import xpnet
from xpnet.estimators import arrays, design, linear

RNG = np.random.default_rng(0)
SHAPES = {"tall": (200, 6), "square": (12, 10), "wide": (8, 20)}


def problem(shape, n_y=None, seed=0):
    rng = np.random.default_rng(seed)
    m, n = SHAPES[shape]
    X = rng.normal(size=(m, n)) * 10.0 ** rng.uniform(-3, 3, n) + rng.normal(size=n) * 10
    return X, rng.normal(size=(m,) if n_y is None else (m, n_y)) + 3.0, rng.random(m) + 0.1


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("n_y", [None, 1, 3])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_original_to_rounding(shape, n_y, fit_intercept, weighted):
    X, y, w = problem(shape, n_y)
    options = {"fit_intercept": fit_intercept, "tol": 1e-12}
    theirs = Original(**options).fit(X, y, w if weighted else None)
    ours = xpnet.LinearRegression(**options).fit(X, y, w if weighted else None)
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-8, atol=1e-9)
    assert ours.rank_ == theirs.rank_
    np.testing.assert_allclose(ours.singular_, theirs.singular_, rtol=1e-7, atol=1e-7)
    assert ours.score(X, y) == pytest.approx(theirs.score(X, y))


@pytest.mark.parametrize("n_y", [None, 3])
def test_any_library(lib, n_y):
    X, y, w = problem("tall", n_y)
    reference = xpnet.LinearRegression().fit(X, y, w)
    given = lib.asarray(X)
    net = xpnet.LinearRegression(copy_X=False).fit(given, lib.asarray(y), lib.asarray(w))
    np.testing.assert_array_equal(lib.to_numpy(given), X)
    for name in ("coef_", "intercept_", "singular_"):
        found = getattr(net, name)
        assert lib.owns(found) or isinstance(found, np.float64)  # NumPy's 0-d intercept
        found = lib.to_numpy(found)
        np.testing.assert_allclose(found, getattr(reference, name), rtol=1e-8)
    predicted = net.predict(given)
    assert lib.owns(predicted)
    np.testing.assert_allclose(lib.to_numpy(predicted), reference.predict(X))
    assert type(net.score(given, lib.asarray(y))) is float
    half = xpnet.LinearRegression().fit(lib.asarray(X.astype(np.float32)), y)
    assert lib.dtype_of(half.coef_) == "float32"


@pytest.mark.parametrize("elements", [1 << 22, 60])
def test_blocks_of_rows_change_nothing(elements, monkeypatch):
    X, y, w = problem("tall", 2)
    expected = xpnet.LinearRegression().fit(X, y, w)
    monkeypatch.setattr(arrays, "BLOCK", elements)
    # Collinear features: products alone would lose too many digits, reflections take over.
    for data in (X, np.hstack([X, X[:, :1] + 1e-7 * X[:, 1:2]])):
        for kind in (np.asarray, sparse.csr_array):
            found = xpnet.LinearRegression().fit(kind(data), y, w)
            np.testing.assert_allclose(found.predict(data), expected.predict(X), atol=1e-4)
    found = xpnet.LinearRegression().fit(sparse.csr_array(X), y, w)
    np.testing.assert_allclose(found.coef_, expected.coef_, rtol=1e-9)


def test_ill_conditioned_features_take_reflections():
    X, y, _ = problem("tall")
    X[:, 1] = X[:, 0] * (1 + 1e-9 * RNG.normal(size=len(X)))
    theirs = Original(tol=1e-14).fit(X, y)
    ours = xpnet.LinearRegression(tol=1e-14).fit(X, y)
    assert ours.rank_ == theirs.rank_ == 6
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-6)


def test_dropped_directions_give_the_smallest_coefficients():
    X, y, _ = problem("tall")
    twice = np.hstack([X, X])
    net, theirs = xpnet.LinearRegression().fit(twice, y), Original().fit(twice, y)
    assert net.rank_ == theirs.rank_
    np.testing.assert_allclose(net.coef_, theirs.coef_, atol=1e-9)


def test_constant_features():
    X, y, _ = problem("tall")
    X[:, 2] = 7.0
    net, theirs = xpnet.LinearRegression().fit(X, y), Original().fit(X, y)
    np.testing.assert_allclose(net.predict(X), theirs.predict(X))


@pytest.mark.parametrize("n_y", [None, 2])
def test_positive(lib, n_y):
    X, y, w = problem("tall", n_y)
    theirs = Original(positive=True).fit(X, y, w)
    ours = xpnet.LinearRegression(positive=True).fit(lib.asarray(X), lib.asarray(y), w)
    assert lib.owns(ours.coef_)
    assert bool((lib.to_numpy(ours.coef_) >= 0).all())
    np.testing.assert_allclose(lib.to_numpy(ours.coef_), theirs.coef_, atol=1e-9)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        xpnet.LinearRegression(positive=True).fit(sparse.csr_array(X), y)


def test_a_wide_sparse_matrix_is_never_dense():
    rng = np.random.default_rng(0)
    X = sparse.random_array((300, 60_000), density=1e-3, rng=rng, format="csr")
    y, w = rng.normal(size=300), rng.random(300)
    theirs = Original().fit(X, y, w)
    ours = xpnet.LinearRegression().fit(X, y, w)
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), atol=1e-4)


def test_two_products_are_as_good_as_reflections():
    X, y, w = problem("tall", 2)
    place = xpnet.select("numpy", dtype="float64")
    examples = design.Design(place, X, y, w, xpnet.core.losses.squared)
    means = examples.means()
    R_x, R_y = linear._two_grams(linear.Centred(examples, *means, 1.0, 1.0))
    centred = np.sqrt(w)[:, None] * (X - means[0])
    np.testing.assert_allclose(R_x.T @ R_x, centred.T @ centred, rtol=1e-10)
    Q = np.linalg.solve(R_x.T, centred.T).T
    np.testing.assert_allclose(Q.T @ Q, np.eye(6), atol=1e-12)
    np.testing.assert_allclose(Q.T @ (np.sqrt(w)[:, None] * (y - means[1])), R_y, atol=1e-11)


@pytest.mark.parametrize("kind", ["dense", "sparse", "wide sparse", "least_squares"])
@pytest.mark.parametrize("weighted", [False, True])
def test_float32_features_far_from_0(lib, kind, weighted, monkeypatch):
    rng = np.random.default_rng(0)
    X = (rng.normal(size=(100_000, 2)) + [1000, 5000]).astype(np.float32)
    y, w = 2 * X[:, 0] - X[:, 1], rng.random(len(X)) if weighted else None
    if kind == "least_squares":
        if not lib.decomposes:
            pytest.skip("the stand-in has no decompositions")
        W, _ = xpnet.least_squares(lib.asarray(X.T), lib.asarray(y))
        np.testing.assert_allclose(lib.to_numpy(W), [[2.0, -1.0]], atol=1e-5)
        return
    theirs = [Original().fit(given, y, w) for given in (X, sparse.csr_array(X))]
    off = min(np.abs(net.coef_ - [2.0, -1.0]).max() for net in theirs)
    if kind == "wide sparse":
        monkeypatch.setattr(linear, "WIDE", 1)
    given = lib.asarray(X) if kind == "dense" else sparse.csr_array(X)
    net = xpnet.LinearRegression(backend="auto" if kind == "dense" else lib.name)
    net.fit(given, lib.asarray(y), w)
    np.testing.assert_allclose(lib.to_numpy(net.coef_), [2.0, -1.0], atol=max(off, 3e-6))
    assert net.score(given, lib.asarray(y)) > 1 - 1e-7
    if (
        kind == "dense" and lib.decomposes
    ):  # X is now far from orthogonal: several blocks of rows are reduced
        net = xpnet.LinearRegression(fit_intercept=False).fit(given, lib.asarray(y), w)
        np.testing.assert_allclose(lib.to_numpy(net.coef_), [2.0, -1.0], atol=1e-4)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [1e-200, 1e-20, 1e20, 3e37, 8e37, 1e200])
@pytest.mark.parametrize("kind", ["X", "y"])
def test_squares_that_no_float_holds(lib, size, kind):
    dtype = "float32" if 1e-30 < size < 1e40 else "float64"
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = X @ [2.0, -1.0] + 3.0
    X, y = (X * size, y) if kind == "X" else (X, y * size)
    if np.abs(y).max() > np.finfo(dtype).max:
        pytest.skip("no float holds y itself")
    X, y = X.astype(dtype), y.astype(dtype)
    net = xpnet.LinearRegression().fit(lib.asarray(X), y)
    layers = [xpnet.least_squares(lib.asarray(X.T), lib.asarray(y))] if lib.decomposes else []
    unit = size if kind == "y" else 1 / size
    for W, b in ((net.coef_, net.intercept_), *layers):
        W, b = (np.ravel(lib.to_numpy(found)).astype(np.float64) for found in (W, b))
        np.testing.assert_allclose(W / unit, [2.0, -1.0], rtol=1e-5)
        np.testing.assert_allclose(b / (size if kind == "y" else 1.0), 3.0, rtol=1e-5)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", ["LinearRegression", "LogisticRegression", "MLPRegressor"])
def test_numbers_beyond_float32(lib, name):
    options, kind = {"max_iter": 3} if name == "MLPRegressor" else {}, getattr(xpnet, name)
    X = RNG.normal(size=(40, 2))
    large, y = np.where(X > 2, 1e300, X), (X[:, 0] > 0) * 1.0
    large[7, 1] = 1e300
    small = kind(dtype="float32", **options).fit(lib.asarray(X), y)
    for call in (small.fit, small.predict):
        for given, line in ((lib.asarray(large), "column"), (sparse.csr_array(large), "entry")):
            with pytest.raises(ValueError, match=rf"cannot hold .*X, such as 1e.300 in {line}"):
                call(given, *[y][: call == small.fit])
    if name != "LogisticRegression":
        with pytest.raises(ValueError, match=r"y, such as 1e.300 in entry .*float64"):
            kind(dtype="float32", **options).fit(lib.asarray(X), y * 1e300)
        net = kind(**options).fit(lib.asarray(X.astype("float32")), y * 1e100)
        assert lib.dtype_of(net._home_array()) == "float64"


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("name", ["LinearRegression", "LogisticRegression", "MLPRegressor"])
def test_integers_that_float32_would_round(lib, name):
    X = 1_700_000_000 + np.arange(100)[:, None]
    y = X[:, 0] % 2 if name == "LogisticRegression" else X[:, 0]
    options, kind = {"max_iter": 1} if name == "MLPRegressor" else {}, getattr(xpnet, name)
    for given in (X, np.arange(100.0, dtype=np.float32)[:, None])[: 1 + (y[0] > 1)]:
        net = kind(**options).fit(lib.asarray(given), lib.asarray(y))
        assert lib.dtype_of(net._home_array()) == "float64"
    if name == "LinearRegression":
        assert abs(float(net.coef_[0]) - 1.0) < 1e-9
    with pytest.raises(ValueError, match=r"X, such as 1,700,000,099 in column 0: use .*float64"):
        kind(dtype="float32", **options).fit(lib.asarray(X), y)
    small = kind(dtype="float32", **options).fit(lib.asarray(np.arange(100)[:, None]), y % 2)
    with pytest.raises(ValueError, match="X, such as 1,700,000,099"):
        small.predict(lib.asarray(X))
    with pytest.raises(ValueError, match="X, such as 1,700,000,099 in entry 99"):
        kind(dtype="float32", **options).fit(sparse.csr_array(X), y)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("what", ["X", "y", "w"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("name", ["LinearRegression", "LogisticRegression", "MLPClassifier"])
def test_halves_are_computed_with_in_float32(lib, name, dtype, what):
    if not hasattr(lib.xp, dtype) or lib.name == "numpy":
        pytest.skip(f"{lib.name} has no {dtype}, or takes it as the original does")
    options = {"max_iter": 3, "random_state": 0} if name == "MLPClassifier" else {}
    X = np.round(RNG.normal(size=(40, 3)) * 8).astype(np.float32) / 8
    data = {
        "X": lib.asarray(X),
        "y": lib.asarray(np.sign(X[:, 0])),
        "w": lib.asarray(0 * X[:, 0] + 1),
    }
    net = getattr(xpnet, name)(**options).fit(*data.values())
    half = getattr(lib.xp, dtype)
    data[what] = data[what].to(half) if lib.name == "torch" else data[what].astype(half)
    found = getattr(xpnet, name)(**options).fit(*data.values())
    assert lib.dtype_of(found._home_array()) == "float32"
    np.testing.assert_array_equal(*(lib.to_numpy(each._home_array()) for each in (net, found)))
    assert found.score(data["X"], data["y"]) == net.score(data["X"], data["y"])


def test_consensus_and_callbacks(lib):
    X = np.random.default_rng(0).normal(size=(200, 3))
    y = np.where(np.arange(200) < 40, 100.0, X @ [1.0, 2.0, 3.0])
    if not lib.decomposes:
        pytest.skip("the stand-in has no decompositions")
    net = RANSACRegressor(xpnet.LinearRegression(backend=lib.name), random_state=0).fit(X, y)
    found = lib.to_numpy(net.estimator_.coef_)
    np.testing.assert_allclose(found, [1.0, 2.0, 3.0], atol=1e-6)
    assert not hasattr(net.estimator_, "set_callbacks")  # there is nothing to call them from


def test_a_dtype_is_a_name_or_a_librarys_own(lib):
    X, y, _ = problem("tall")
    for dtype in ("float32", np.float32, np.dtype("float32"), lib.xp.float32):
        net = clone(xpnet.LinearRegression(dtype=dtype)).fit(lib.asarray(X), y)
        assert lib.dtype_of(net.coef_) == "float32"
    with pytest.raises(ValueError, match="xpnet computes in 'float32' or 'float64'"):
        xpnet.LinearRegression(dtype="int8").fit(lib.asarray(X), y)


def test_bad_weights():
    X, y, w = problem("tall")
    with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
        xpnet.LinearRegression().fit(X, y, -w)
