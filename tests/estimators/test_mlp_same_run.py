"""scikit-learn is the oracle: the same random_state makes the same run, in float64."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from sklearn import neural_network as theirs
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning

import xpnet

RNG = np.random.default_rng(5)
X = RNG.normal(size=(130, 6))
SCORES = X @ RNG.normal(size=(6, 3)) + RNG.normal(size=(130, 3))
WEIGHTS = RNG.random(130) * 3.0
BINARY = np.where(SCORES[:, 0] > 0, "yes", "no")
MULTICLASS = np.array([3, 5, 9])[SCORES.argmax(axis=1)]
_, MULTILABEL = make_multilabel_classification(130, n_classes=4, random_state=0)
COUNTS = RNG.poisson(np.exp(SCORES[:, 0] / 3))
TASKS = {
    "binary": ("MLPClassifier", BINARY, {}),
    "multiclass": ("MLPClassifier", MULTICLASS, {}),
    "multilabel": ("MLPClassifier", MULTILABEL, {}),
    "one output": ("MLPRegressor", SCORES[:, 0], {}),
    "three outputs": ("MLPRegressor", SCORES, {}),
    "poisson": ("MLPRegressor", COUNTS, {"loss": "poisson"}),
    "poisson, two outputs": ("MLPRegressor", np.abs(SCORES[:, :2]), {"loss": "poisson"}),
}
SGD = {
    "plain": {"momentum": 0.0},
    "momentum": {"momentum": 0.9, "nesterovs_momentum": False},
    "nesterov": {"momentum": 0.9},
    "momentum 1": {"momentum": 1.0, "learning_rate_init": 1e-4},
}
POLICIES = ("constant", "invscaling", "adaptive")
SHORT_LAST_BATCH = {"batch_size": 32, "max_iter": 50, "random_state": 7, "tol": 1e-4}


def pair(name, **parameters):
    """scikit-learn's estimator and ours."""
    return getattr(theirs, name)(**parameters), getattr(xpnet, name)(**parameters)


def fitted(estimator, *data, method="fit", times=1, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for _ in range(times):
            getattr(estimator, method)(*data, **kwargs)
    return estimator


def assert_same_run(a, b, rtol=1e-8, atol=1e-6):
    """Loss curve, coefficients, counters, scores, best values, and the solver's rate."""
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=rtol, atol=1e-12)
    for name in ("coefs_", "intercepts_"):
        for p, q in zip(getattr(a, name), getattr(b, name), strict=True):
            np.testing.assert_allclose(q, p, rtol=0, atol=atol)
    for name in ("n_iter_", "t_", "_no_improvement_count", "n_layers_", "n_outputs_"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.out_activation_ == b.out_activation_
    for name in ("validation_scores_", "best_validation_score_", "best_loss_", "loss_"):
        expected, found = getattr(a, name), getattr(b, name)
        assert (expected is None) == (found is None), name
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12, err_msg=name)
            assert type(found) is type(expected), name
    np.testing.assert_allclose(b._optimizer.learning_rate, a._optimizer.learning_rate, rtol=1e-12)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rule", SGD)
@pytest.mark.parametrize("task", TASKS)
def test_sgd_makes_the_same_run(task, rule, policy):
    name, y, extra = TASKS[task]
    parameters = {"solver": "sgd", "learning_rate": policy, "learning_rate_init": 0.02}
    parameters |= SHORT_LAST_BATCH | extra | SGD[rule]
    a, b = (fitted(e, X, y) for e in pair(name, **parameters))
    assert_same_run(a, b)


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("stops", [False, True], ids=["all", "early_stopping"])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("task", TASKS)
def test_weights_and_early_stopping_make_the_same_run(task, solver, stops, weighted):
    name, y, extra = TASKS[task]
    parameters = {"solver": solver, "early_stopping": stops, "learning_rate_init": 0.01}
    parameters |= SHORT_LAST_BATCH | extra
    weights = {"sample_weight": WEIGHTS} if weighted else {}
    a, b = (fitted(e, X, y, **weights) for e in pair(name, **parameters))
    assert_same_run(a, b)
    np.testing.assert_allclose(b.score(X, y), a.score(X, y), rtol=1e-9)
    np.testing.assert_allclose(
        np.asarray(
            b.predict(X) == a.predict(X) if "Class" in name else b.predict(X) - a.predict(X)
        ),
        1 if "Class" in name else 0,
        atol=1e-6,
    )


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("layers", [(), 5, (8, 4), [4, 4, 4]], ids=str)
def test_every_activation_and_depth_makes_the_same_run(activation, layers):
    parameters = {"activation": activation, "hidden_layer_sizes": layers, "alpha": 0.1}
    for name, y in (("MLPClassifier", MULTICLASS), ("MLPRegressor", SCORES)):
        a, b = (fitted(e, X, y) for e in pair(name, **parameters, **SHORT_LAST_BATCH))
        assert_same_run(a, b)


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", ["auto", 1, 130, 57])
def test_batch_sizes_make_the_same_run(batch_size, shuffle):
    parameters = {"batch_size": batch_size, "shuffle": shuffle, "max_iter": 5, "random_state": 3}
    a, b = (fitted(e, X, BINARY) for e in pair("MLPClassifier", **parameters))
    assert_same_run(a, b)


@pytest.mark.parametrize(("solver", "stops"), list(product(["sgd", "adam"], [False, True])))
def test_warm_starts_make_the_same_run(solver, stops):
    for name, y in (("MLPClassifier", MULTICLASS), ("MLPRegressor", SCORES[:, 0])):
        parameters = {"solver": solver, "early_stopping": stops, "warm_start": True}
        parameters |= {"learning_rate": "invscaling"} | SHORT_LAST_BATCH | {"max_iter": 8}
        a, b = (fitted(e, X, y, times=3) for e in pair(name, **parameters))
        assert_same_run(a, b)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fits_make_the_same_run(solver):
    parameters = {"solver": solver, "random_state": 2, "batch_size": 30}
    for name, y in (("MLPClassifier", BINARY), ("MLPRegressor", SCORES)):
        extra = {"classes": ["no", "yes", "maybe"]} if name == "MLPClassifier" else {}
        a, b = pair(name, **parameters)
        for start in (0, 40, 80, 20):
            part = slice(start, start + 50)
            for e in (a, b):
                fitted(e, X[part], y[part], method="partial_fit", times=2, **extra)
            extra = {}
        assert_same_run(a, b)
        for e in (a, b):  # fit and partial_fit in turns
            e.set_params(max_iter=3)
            fitted(fitted(e, X, y), X[:50], y[:50], method="partial_fit")
        assert_same_run(a, b)


def test_a_random_state_object_is_drawn_from_alike():
    states = [np.random.RandomState(1) for _ in range(2)]
    for _ in range(2):
        a, b = (
            fitted(cls(early_stopping=True, max_iter=5, random_state=state), X, MULTICLASS)
            for cls, state in zip((theirs.MLPClassifier, xpnet.MLPClassifier), states, strict=True)
        )
        assert_same_run(a, b)
    np.testing.assert_array_equal(states[0].get_state()[1], states[1].get_state()[1])


@pytest.mark.parametrize("task", TASKS)
def test_lbfgs_reaches_no_worse_a_minimum(task):
    name, y, extra = TASKS[task]
    parameters = {"solver": "lbfgs", "hidden_layer_sizes": (), "alpha": 1.0, "tol": 1e-7}
    parameters |= {"max_iter": 2000, "random_state": 0} | extra  # convex: one minimum
    a, b = (fitted(e, X, y, sample_weight=WEIGHTS) for e in pair(name, **parameters))
    assert type(b.loss_) is type(a.loss_)
    if task != "three outputs":  # where scikit-learn's loss is not what its gradient belongs to
        assert b.loss_ <= a.loss_ * (1 + 1e-7)
        for p, q in zip(a.coefs_, b.coefs_, strict=True):
            np.testing.assert_allclose(q, p, atol=2e-3)


def test_diverging_losses_are_reported_alike():
    parameters = {"activation": "identity", "solver": "sgd", "learning_rate_init": 1.0}
    parameters |= {"max_iter": 20, "early_stopping": True, "random_state": 0}
    with np.errstate(all="ignore"):
        a, b = (fitted(e, 9 * X, SCORES[:, 0]) for e in pair("MLPRegressor", **parameters))
    assert np.isnan(b.validation_scores_[-1])
    assert len(a.validation_scores_) == len(b.validation_scores_)
    np.testing.assert_allclose(b.coefs_[0], a.coefs_[0])  # the first weights: none was better
