"""l1, dropout, clipped gradients and xpnet's own optimisers in the perceptrons."""

from __future__ import annotations

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

import xpnet
from xpnet.backends.place import to_numpy

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(17)
X = RNG.normal(size=(60, 4))
Y = (X @ RNG.normal(size=(4, 3))).argmax(axis=1)
SMALL = {"hidden_layer_sizes": (7, 5), "activation": "tanh", "batch_size": 16, "random_state": 1}


def fitted(lib=None, X=X, Y=Y, **parameters):
    x = X if lib is None else lib.asarray(X)
    return xpnet.MLPClassifier(**SMALL | {"max_iter": 5} | parameters).fit(x, Y)


def net_of(model):
    """The `DeepNet` with a model's parameters."""
    net = xpnet.DeepNet([4, 7, 5, 3], hidden="tanh", output="softmax", dtype="float64")
    net.parameters = [(W.T, b[:, None]) for W, b in zip(model.coefs_, model.intercepts_)]
    return net


def test_the_first_reported_loss_has_both_penalties():
    options = {"batch_size": 60, "max_iter": 1, "alpha": 2.0, "shuffle": False}
    start = fitted(learning_rate_init=1e-12, alpha=0.0, batch_size=60, max_iter=1, shuffle=False)
    for ratio in (0.0, 0.3, 1.0):
        found = fitted(l1_ratio=ratio, **options).loss_
        l2, l1 = (1 - ratio) * 2.0 / 60, ratio * 2.0 / 60
        assert found == pytest.approx(net_of(start).cost(X.T, Y, l2=l2, l1=l1), rel=1e-9)


def test_lbfgs_with_l1_and_no_hidden_layer_is_scikit_learns_elastic_net():
    alpha, ratio = 6.0, 0.7
    theirs = LogisticRegression(
        C=1 / alpha, l1_ratio=ratio, solver="saga", tol=1e-9, max_iter=20000, random_state=0
    ).fit(X, Y)
    ours = fitted(
        hidden_layer_sizes=[], solver="lbfgs", alpha=alpha, l1_ratio=ratio, max_iter=5000, tol=1e-9
    )
    coef = ours.coefs_[0].T
    assert np.array_equal(coef == 0, theirs.coef_ == 0)
    assert 0 < np.sum(coef == 0) < coef.size
    np.testing.assert_allclose(coef, theirs.coef_, atol=2e-4)  # a value that stands still ends it


def test_one_run_on_every_library(lib):
    options = {"l1_ratio": 0.5, "alpha": 0.1, "dropout": (0.3, 0.1), "clip_norm": 0.05}
    options |= {"optimizer": xpnet.AdamW(0.01)}
    found, expected = fitted(lib, **options), fitted(**options)
    for one, other in zip(found.coefs_ + found.intercepts_, expected.coefs_ + expected.intercepts_):
        np.testing.assert_allclose(lib.to_numpy(one), other, rtol=1e-9, atol=1e-11)
    assert found.loss_curve_ == pytest.approx(expected.loss_curve_, rel=1e-9)


def test_an_optimizer_makes_the_run_of_the_net():
    rule = xpnet.RMSProp(0.01)
    start = fitted(learning_rate_init=1e-12, alpha=0.0, max_iter=1)
    model = fitted(optimizer=rule, alpha=0.6, shuffle=False, batch_size=60, max_iter=4)
    net = net_of(start)
    net.fit(X.T, Y, rule, epochs=4, l2=0.6 / 60)
    for (W, b), coef, intercept in zip(net.parameters, model.coefs_, model.intercepts_):
        np.testing.assert_allclose(coef.T, W, rtol=1e-8)
        np.testing.assert_allclose(intercept, b[:, 0], rtol=1e-8)


def test_dropout_belongs_to_training_alone_and_zero_changes_nothing():
    plain = fitted()
    assert fitted(dropout=0.0).loss_curve_ == plain.loss_curve_
    dropped = fitted(dropout=0.4)
    assert dropped.loss_curve_ != plain.loss_curve_
    assert dropped.loss_curve_ == fitted(dropout=0.4).loss_curve_
    expected = np.asarray(net_of(dropped).predict_proba(X.T)).T
    np.testing.assert_allclose(dropped.predict_proba(X), expected, rtol=1e-12)


def test_partial_fits_draw_new_masks():
    """A seed per call, and the count of updates goes on."""
    model = xpnet.MLPClassifier(**SMALL | {"learning_rate_init": 1e-9}, dropout=0.5)
    for _ in range(3):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    assert len(set(model.loss_curve_)) == 3


def test_clipped_gradients_bound_the_step():
    options = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "alpha": 0.0}
    options |= {"batch_size": 60, "max_iter": 1}
    start, end = (
        fitted(**options | {"learning_rate_init": 1e-12}),
        fitted(clip_norm=1e-3, **options),
    )
    moved = [a - b for a, b in zip(end.coefs_ + end.intercepts_, start.coefs_ + start.intercepts_)]
    norm = np.sqrt(sum(np.sum(to_numpy(d) ** 2) for d in moved))
    assert norm == pytest.approx(1e-3, rel=1e-6)


def test_parameters_are_kept_cloned_and_checked():
    model = xpnet.MLPRegressor(
        l1_ratio=0.2, dropout=[0.1], clip_norm=1.0, optimizer=xpnet.Adam(0.1)
    )
    twin = clone(model)
    for name in ("l1_ratio", "dropout", "clip_norm", "optimizer"):
        assert getattr(twin, name) == getattr(model, name)
    for wrong in ({"l1_ratio": 1.5}, {"dropout": 1.0}, {"clip_norm": 0.0}, {"optimizer": "adam"}):
        with pytest.raises(ValueError, match=f"The '{next(iter(wrong))}' parameter"):
            fitted(**wrong)
    with pytest.raises(TypeError, match="expected one such as"):
        fitted(optimizer=xpnet.Adam)
    with pytest.raises(ValueError, match="dropout names 1 rates for 2 hidden layers"):
        fitted(dropout=[0.1])
    for own in ({"dropout": 0.1}, {"clip_norm": 1.0}, {"optimizer": xpnet.Adam()}):
        with pytest.raises(ValueError, match=f"{next(iter(own))} is for the solvers"):
            fitted(solver="lbfgs", **own)
