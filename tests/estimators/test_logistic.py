"""LogisticRegression reaches the minimiser, also where scikit-learn's solvers stop before it."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Original
from sklearn.preprocessing import scale

import xpnet
from xpnet.optimize import lbfgs as quasinewton

EXACT = {"tol": 1e-10, "max_iter": 5000}
LOAD = {"cancer": load_breast_cancer, "wine": load_wine, "iris": load_iris, "digits": load_digits}
CS = [1e-3, 1e-1, 1.0, 100.0, 1e4]


def problem(name, scaled=True):
    X, y = LOAD[name](return_X_y=True)
    return (scale(X) if scaled else X), y


def objective(net, X, y, *, C, l1_ratio=0.0, w=None):
    """Mean loss plus penalty / (C sum(w)), from coef_ and intercept_ alone."""
    w = np.ones(len(y)) if w is None else w
    W, b, k = net.coef_, net.intercept_, np.searchsorted(net.classes_, y)
    Z = X @ W.T + b
    if Z.shape[1] == 1:
        Z = np.hstack([np.zeros_like(Z), Z])
    losses = np.logaddexp.reduce(Z, axis=1) - Z[np.arange(len(y)), k]
    penalty = l1_ratio * np.abs(W).sum() + (1 - l1_ratio) / 2 * (W * W).sum()
    return (w @ losses + penalty / C) / w.sum()


def steepest(net, X, y, *, C, l1_ratio=0.0, w=None):
    """The largest one-sided slope of the objective in any coefficient or intercept."""
    w = np.ones(len(y)) if w is None else w
    W, classes = net.coef_, net.classes_
    P = net.predict_proba(X)
    Y = (np.asarray(y)[:, None] == classes).astype(float)
    D = ((P - Y) if len(W) > 1 else (P - Y)[:, 1:]) * (w / w.sum())[:, None]
    strength = 1.0 / (C * w.sum())
    G = D.T @ X + (1 - l1_ratio) * strength * W
    l1 = l1_ratio * strength
    slopes = np.where(W != 0, np.abs(G + l1 * np.sign(W)), np.maximum(np.abs(G) - l1, 0))
    return max(slopes.max(), np.abs(D.sum(axis=0)).max() if net.fit_intercept else 0.0)


# -- l2: scikit-learn's Newton solver is exact where it converges --------------------------
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", CS)
@pytest.mark.parametrize(
    ("name", "scaled"), [("cancer", False), ("cancer", True), ("wine", False), ("iris", False)]
)
def test_l2_reaches_the_exact_minimiser(name, scaled, C, fit_intercept):
    X, y = problem(name, scaled)
    options = {"C": C, "fit_intercept": fit_intercept}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of its last steps are below rounding
        exact = Original(**options, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y)
    net = xpnet.LogisticRegression(**options, **EXACT).fit(X, y)
    lowest = objective(exact, X, y, C=C)
    assert objective(net, X, y, C=C) <= lowest * (1 + 1e-10)
    assert steepest(net, X, y, C=C) <= 1e-10
    np.testing.assert_allclose(net.coef_, exact.coef_, atol=1e-4)
    centre = exact.intercept_.mean() if len(exact.intercept_) > 1 else 0.0
    np.testing.assert_allclose(net.intercept_, exact.intercept_ - centre, atol=1e-4)


@pytest.mark.parametrize("balanced", [None, "balanced"])
@pytest.mark.parametrize("name", ["cancer", "wine"])
def test_weights_of_classes_and_samples(name, balanced):
    X, y = problem(name)
    w = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    ours = xpnet.LogisticRegression(class_weight=balanced, **EXACT).fit(X, y, w)
    exact = Original(class_weight=balanced, solver="newton-cholesky", tol=1e-12).fit(X, y, w)
    np.testing.assert_allclose(ours.coef_, exact.coef_, atol=1e-8)
    np.testing.assert_allclose(ours.intercept_, exact.intercept_, atol=1e-8)
    if balanced is None:
        rows = np.repeat(np.arange(len(y)), w.astype(int))
        repeated = xpnet.LogisticRegression(**EXACT).fit(X[rows], y[rows])
        np.testing.assert_allclose(ours.coef_, repeated.coef_, atol=1e-8)


def test_more_unknowns_than_a_hessian_is_made_for():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 700)), rng.integers(0, 3, 80)
    net = xpnet.LogisticRegression(C=0.01, **EXACT).fit(X, y)
    assert steepest(net, X, y, C=0.01) <= 1e-10


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "saga"])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_no_penalty(solver, n_classes):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(300, 4)) * [1.0, 10.0, 0.1, 1.0] + 5.0
    y = np.argmax(0.1 * X[:, :n_classes] + rng.gumbel(size=(300, n_classes)), axis=1)
    net = xpnet.LogisticRegression(C=np.inf, solver=solver, **EXACT).fit(X, y)
    exact = Original(C=np.inf, solver="newton-cholesky", tol=1e-12).fit(X, y)
    assert objective(net, X, y, C=np.inf) <= objective(exact, X, y, C=np.inf) * (1 + 1e-12)
    np.testing.assert_allclose(net.coef_, exact.coef_, atol=1e-6)
    assert np.abs(net.coef_.sum(axis=0)).max() <= 1e-10 or n_classes == 2


# -- l1 and elastic net ------------------------------------------------------------------
# scikit-learn 1.9.1 with solver="saga", tol=1e-12, C < 50: 100,000, else 60,000 iterations at most.
# That takes minutes, and where C is large or 1e-3 it ends above the minimum.
SAGA = {
    ("cancer", 1.0, 0.001): 0.66362621029146,
    ("cancer", 1.0, 0.1): 0.20465732948676,
    ("cancer", 1.0, 1): 0.0809871453657895,
    ("cancer", 1.0, 100): 0.0294006362965264,
    ("cancer", 1.0, 10000): 0.0260640208225488,
    ("cancer", 0.5, 0.001): 0.66117566752102,
    ("cancer", 0.5, 0.1): 0.169925991472753,
    ("cancer", 0.5, 1): 0.0750623846189685,
    ("cancer", 0.5, 100): 0.0322757204773219,
    ("cancer", 0.5, 10000): 0.0261351526170051,
    ("wine", 1.0, 0.001): 1.08680341621144,
    ("wine", 1.0, 0.1): 0.495038391620654,
    ("wine", 1.0, 1): 0.112956272846124,
    ("wine", 1.0, 100): 0.00321106919523424,
    ("wine", 1.0, 10000): 6.65794027765649e-05,
    ("wine", 0.5, 0.001): 1.08640402308308,
    ("wine", 0.5, 0.1): 0.382201702242847,
    ("wine", 0.5, 1): 0.0942755920137243,
    ("wine", 0.5, 100): 0.00383017020740912,
    ("wine", 0.5, 10000): 9.73327297925111e-05,
}


@pytest.mark.parametrize("C", CS)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5])
@pytest.mark.parametrize("name", ["cancer", "wine"])
def test_l1_and_elastic_net(name, l1_ratio, C):
    X, y = problem(name)
    net = xpnet.LogisticRegression(C=C, l1_ratio=l1_ratio, solver="saga", **EXACT).fit(X, y)
    found = objective(net, X, y, C=C, l1_ratio=l1_ratio)
    assert found <= SAGA[name, l1_ratio, C] * (1 + 1e-8)
    assert steepest(net, X, y, C=C, l1_ratio=l1_ratio) <= 1e-9


@pytest.mark.parametrize("name", ["cancer", "iris"])
def test_unscaled_features_and_l1(name):
    X, y = problem(name, scaled=False)
    net = xpnet.LogisticRegression(C=10.0, l1_ratio=1, solver="saga", **EXACT).fit(X, y)
    assert steepest(net, X, y, C=10.0, l1_ratio=1.0) <= 1e-9
    assert (net.coef_ == 0).any()


def test_many_unknowns_and_l1():
    X, y = problem("digits", scaled=False)
    net = xpnet.LogisticRegression(C=1.0, l1_ratio=0.5, solver="saga", **EXACT).fit(X, y)
    assert steepest(net, X, y, C=1.0, l1_ratio=0.5) <= 1e-10


# -- the other solvers, and how a fit ends -----------------------------------------------
@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"])
@pytest.mark.parametrize("name", ["cancer", "wine"])
def test_every_solver_reaches_the_same_point(name, solver):
    X, y = problem(name)
    one = xpnet.LogisticRegression(**EXACT).fit(X, y)
    other = xpnet.LogisticRegression(solver=solver, **EXACT).fit(X, y)
    np.testing.assert_allclose(other.coef_, one.coef_, atol=1e-8)


@pytest.mark.parametrize("scaling", [1, 100.0])
@pytest.mark.parametrize("l1_ratio", [0, 1])
def test_liblinear_penalises_the_intercept(l1_ratio, scaling):
    X, y = problem("cancer")
    options = {"C": 0.3, "l1_ratio": l1_ratio, "intercept_scaling": scaling, "solver": "liblinear"}
    # its coordinates are drawn at random, and below 1e-10 not every order comes to an end
    exact = Original(**options, tol=1e-10, max_iter=100_000, random_state=0).fit(X, y)
    net = xpnet.LogisticRegression(**options, **EXACT).fit(X, y)
    np.testing.assert_allclose(net.coef_, exact.coef_, atol=1e-5)
    np.testing.assert_allclose(net.intercept_, exact.intercept_, atol=1e-4)


def test_warm_start_goes_on():
    X, y = problem("wine")
    net = xpnet.LogisticRegression(warm_start=True, solver="newton-cg", max_iter=1, tol=1e-10)
    for _ in range(3):
        with pytest.warns(ConvergenceWarning, match="newton-cg failed to converge"):
            net.fit(X, y)
    with pytest.warns(ConvergenceWarning):
        three = xpnet.LogisticRegression(solver="newton-cg", max_iter=3, tol=1e-10).fit(X, y)
    np.testing.assert_allclose(net.coef_, three.coef_, rtol=1e-9)
    assert net.n_iter_.tolist() == [1]


def test_unscaled_data_needs_no_warning_where_the_original_gives_up():
    X, y = problem("cancer", scaled=False)
    with pytest.warns(ConvergenceWarning):
        original = Original().fit(X, y)
    net = xpnet.LogisticRegression().fit(X, y)
    assert objective(net, X, y, C=1.0) < objective(original, X, y, C=1.0)


def test_separable_classes_without_a_penalty_end():
    X, y = problem("iris")
    net = xpnet.LogisticRegression(C=np.inf).fit(X, y == 0)
    assert np.isfinite(net.coef_).all()
    assert net.score(X, y == 0) == 1.0


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
@pytest.mark.parametrize("kind", ["LogisticRegression", "MLPClassifier"])
def test_an_interrupt_keeps_the_last_weights(kind, monkeypatch):
    X, y = problem("wine")
    options = {} if kind == "LogisticRegression" else {"solver": "lbfgs", "random_state": 0}
    three = getattr(xpnet, kind)(max_iter=3, **options).fit(X, y)
    iterate = quasinewton._Run.iterate

    def interrupted(self):
        if self.iterations == 3:
            raise KeyboardInterrupt
        return iterate(self)

    monkeypatch.setattr(quasinewton._Run, "iterate", interrupted)
    net = getattr(xpnet, kind)(**options)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    np.testing.assert_array_equal(net._home_array(), three._home_array())
    assert net.score(X, y) == three.score(X, y)
