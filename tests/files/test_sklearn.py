"""Nets to and from scikit-learn: they predict the same, and share nothing."""

import pickle
import warnings

import numpy as np
import pytest
from exchange_helpers import OUTPUTS, examples, random_net

from xpnet import Activation, DeepNet
from xpnet.files.sklearn import from_sklearn, to_sklearn


# -- to scikit-learn ---------------------------------------------------------------------
@pytest.fixture
def sklearn():
    return pytest.importorskip("sklearn")


@pytest.mark.parametrize(("output", "n_y"), OUTPUTS)
@pytest.mark.parametrize("hidden", ["identity", "sigmoid", "tanh", "relu", None])
def test_scikit_learn_predicts_what_the_net_does(sklearn, hidden, output, n_y):
    net = random_net([5, n_y] if hidden is None else [5, 8, 6, n_y], hidden or "tanh", output)
    X = examples()
    model = pickle.loads(pickle.dumps(to_sklearn(net)))
    expected = net.predict_proba(X.T).T
    if output == "identity":
        predicted = model.predict(X)
        assert predicted.shape == ((200,) if n_y == 1 else (200, 3))
        np.testing.assert_allclose(predicted.reshape(200, -1), expected, rtol=1e-12, atol=1e-12)
        return
    if n_y == 1:
        expected = np.concatenate([1 - expected, expected], axis=1)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-7, atol=1e-12)
    labels = net.predict(X.T)
    labels = labels.T if output == "sigmoid" and n_y > 1 else labels.reshape(-1)
    np.testing.assert_array_equal(model.predict(X), labels)
    assert model.classes_.tolist() == list(range(max(n_y, 2)))
    assert model.score(X, labels) == 1.0


@pytest.mark.parametrize(
    ("output", "n_y", "classes"),
    [
        ("sigmoid", 1, ["no", "yes"]),
        ("sigmoid", 1, ["yes", "no"]),
        ("softmax", 2, [False, True]),
        ("softmax", 2, [7, -3]),
        ("softmax", 4, ["a", "b", "c", "d"]),
        ("softmax", 4, [3.0, 0.0, 9.0, 1.0]),
    ],
)
def test_classes_of_the_outputs(sklearn, output, n_y, classes):
    """scikit-learn has classes sorted; the net's outputs may have another order."""
    net = random_net([5, 8, n_y], output=output)
    X = examples()
    model = to_sklearn(net, classes)
    numbers = net.predict(X.T).reshape(-1)
    assert model.predict(X).tolist() == np.asarray(classes)[numbers].tolist()
    assert model.classes_.tolist() == sorted(classes)
    A = net.predict_proba(X.T)
    A = np.concatenate([1 - A, A]) if n_y == 1 else A
    expected = A.T[:, np.argsort(classes)]
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize(("output", "n_y"), OUTPUTS)
def test_a_scikit_learn_model_is_fitted_as_by_fit(sklearn, output, n_y):
    """What a fit of the same shape leaves behind is there, and training goes on from it."""
    net = random_net([5, 8, n_y], "relu", output)
    X = examples()
    y = net.predict(X.T)
    y = y.reshape(-1) if n_y == 1 or output == "softmax" else y.T
    model = to_sklearn(net)
    unfitted = sklearn.base.clone(model)
    assert not hasattr(unfitted, "coefs_")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
        fitted = unfitted.set_params(max_iter=1).fit(X, y)
    # What the first update, early stopping and callbacks are for is not.
    missing = set(vars(fitted)) - set(vars(model))
    assert missing <= {"_optimizer", "loss_", "_best_coefs", "_best_intercepts"}
    shapes = [[c.shape for c in m.coefs_ + m.intercepts_] for m in (fitted, model)]
    assert shapes[0] == shapes[1]
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(model, name) == getattr(fitted, name), name
    score = model.score(X, y)
    model.partial_fit(X, y)
    assert len(model.loss_curve_) == 1
    assert model.score(X, y) > score - 0.1


def test_a_scikit_learn_model_is_a_copy(sklearn):
    net = random_net([5, 8, 1])
    model = to_sklearn(net)
    for array in model.coefs_ + model.intercepts_:
        array[...] = 0.0
    assert all(np.any(x != 0) for layer in net.parameters for x in layer)
    assert to_sklearn(random_net([5, 8, 1], dtype="float32")).coefs_[0].dtype == "float32"


@pytest.mark.parametrize(
    ("net", "classes", "said"),
    [
        (DeepNet([2, 3, 1], "elu"), None, r"hidden layers with elu: .* has one of \['identity'"),
        (DeepNet([2, 3, 3, 1], ["relu", "tanh"]), None, "with relu and tanh"),
        (DeepNet([2, 1], output="identity"), [0, 1], "classes are for classifiers"),
        (DeepNet([2, 3]), [0, 1, 2], "3 labels per example, which have no classes"),
        (DeepNet([2, 3], output="softmax"), [0, 1], "expected 3 distinct labels"),
        (DeepNet([2, 3], output="softmax"), [0, 1, 0], "expected 3 distinct labels"),
        (DeepNet([2, 1]), ["yes"], "expected 2 distinct labels"),
    ],
)
def test_what_scikit_learn_cannot_be(sklearn, net, classes, said):
    with pytest.raises(ValueError, match=said):
        to_sklearn(net, classes)


# -- from scikit-learn -------------------------------------------------------------------
def problem(kind, m=120):
    """X (m, 5) and labels or targets that depend on it."""
    X = examples(m)
    Z = X @ np.random.default_rng(3).normal(size=(5, 3))
    y = {
        "binary": np.where(Z[:, 0] > 0, "yes", "no"),
        "multiclass": np.array(["a", "b", "c"])[np.argmax(Z, axis=1)],
        "multilabel": (Z > 0).astype(int),
        "regression": Z[:, 0],
        "several": Z,
    }[kind]
    return X, y


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "regression", "several"])
@pytest.mark.parametrize("home", ["sklearn", "xpnet"])
def test_a_net_predicts_what_the_estimator_does(sklearn, home, kind, activation):
    module = pytest.importorskip("sklearn.neural_network" if home == "sklearn" else "xpnet")
    X, y = problem(kind)
    name = "MLPRegressor" if kind in ("regression", "several") else "MLPClassifier"
    estimator = getattr(module, name)((7, 4), activation=activation, max_iter=20, random_state=0)
    if name == "MLPRegressor":
        estimator.set_params(hidden_layer_sizes=(7, 4), loss="squared_error")
    estimator.fit(X, y)
    net = from_sklearn(DeepNet, estimator)
    assert net.sizes == (5, 7, 4, 1 if y.ndim == 1 and kind != "multiclass" else 3)
    A = net.predict_proba(X.T).T
    if name == "MLPRegressor":
        assert net.data == {}
        np.testing.assert_allclose(A, estimator.predict(X).reshape(120, -1), rtol=1e-10, atol=1e-12)
        return
    expected = estimator.predict_proba(X)
    expected = expected[:, 1:] if kind == "binary" else expected
    np.testing.assert_allclose(A, expected, rtol=1e-7, atol=1e-12)
    if kind == "multilabel":
        assert net.data == {}
        np.testing.assert_array_equal(net.predict(X.T).T, estimator.predict(X))
    else:
        named = np.asarray(net.data["classes"])[net.predict(X.T).reshape(-1)]
        np.testing.assert_array_equal(named, estimator.predict(X))
    # And back.
    classes = net.data.get("classes")
    again = to_sklearn(net, classes)
    np.testing.assert_array_equal(again.predict(X), estimator.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_estimator_of_any_library(sklearn, lib):
    xpnet = pytest.importorskip("xpnet")
    X, y = problem("multiclass")
    own = Activation("square", value=lambda z, *, xp: z * z, slope=lambda a, *, xp: a)
    estimator = xpnet.MLPClassifier((7, 4), activation=["elu", own], max_iter=2, **lib.options)
    estimator.fit(lib.asarray(X.astype("float32")), y)
    net = from_sklearn(DeepNet, estimator)
    assert [a.name for a in net.hidden] == ["elu", "square"]
    seen = lib.asarray(X.T.astype("float32"))
    A = net.predict_proba(seen)
    assert lib.owns(A)
    expected = lib.to_numpy(estimator.predict_proba(lib.asarray(X.astype("float32"))))
    np.testing.assert_allclose(lib.to_numpy(A).T, expected, rtol=1e-5, atol=1e-6)
    placed = from_sklearn(DeepNet, estimator, lib.name, lib.device, "float64")
    assert (placed.backend.name, placed.backend.dtype_name) == (lib.name, "float64")


def test_a_net_from_an_estimator_is_a_copy(sklearn):
    X, y = problem("regression")
    from sklearn.neural_network import MLPRegressor

    estimator = MLPRegressor(max_iter=300, tol=1.0).fit(X.astype("float32"), y)
    net = from_sklearn(DeepNet, estimator)
    before = net.predict(X.T.astype("float32"))
    assert before.dtype == "float32"
    for array in estimator.coefs_:
        array[...] = 0.0
    np.testing.assert_array_equal(net.predict(X.T.astype("float32")), before)


def test_features_have_their_names(sklearn):
    pandas = pytest.importorskip("pandas")
    from sklearn.neural_network import MLPClassifier

    X, y = problem("binary")
    frame = pandas.DataFrame(X, columns=list("abcde"))
    net = from_sklearn(DeepNet, MLPClassifier(max_iter=300, tol=1.0).fit(frame, y))
    assert net.data == {"classes": ["no", "yes"], "features": list("abcde")}


@pytest.mark.parametrize("home", ["sklearn.linear_model", "xpnet"])
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression", "several"])
def test_a_net_of_a_linear_model(sklearn, home, kind):
    classifies = kind in ("binary", "multiclass")
    model = "LogisticRegression" if classifies else "LinearRegression"
    X, y = problem(kind)
    for intercept in (True, False):
        fitted = getattr(pytest.importorskip(home), model)(fit_intercept=intercept).fit(X, y)
        answers = from_sklearn(DeepNet, fitted).predict_proba(X.T).T
        expected = fitted.predict_proba(X) if classifies else fitted.predict(X)
        expected = expected[:, 1] if kind == "binary" else expected
        np.testing.assert_allclose(np.squeeze(answers), expected, rtol=1e-9)
    if classifies:
        fitted.sparsify()
        np.testing.assert_array_equal(from_sklearn(DeepNet, fitted).predict_proba(X.T).T, answers)


def test_what_is_no_fitted_model(sklearn):
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    with pytest.raises(TypeError, match="Ridge is no MLPClassifier"):
        from_sklearn(DeepNet, Ridge())
    for unfitted in (MLPClassifier(), LogisticRegression()):
        with pytest.raises(ValueError, match="not fitted yet"):
            from_sklearn(DeepNet, unfitted)
    X, y = problem("regression")
    poisson = MLPRegressor(loss="poisson", max_iter=300, tol=1e9).fit(X, y**2)
    with pytest.raises(ValueError, match="'exp'; a DeepNet has"):
        from_sklearn(DeepNet, poisson)
