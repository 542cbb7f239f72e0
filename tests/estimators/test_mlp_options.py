"""Signatures, what is added to scikit-learn's estimators, and how they fit into its tools."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpnet
from xpnet.backends.place import to_numpy
from xpnet.engines import numpy as numpy_engine
from xpnet.training.loop import Run

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(11)
X = RNG.normal(size=(90, 4))
Y = (X @ RNG.normal(size=(4, 3))).argmax(axis=1)
TARGET = X[:, 0] - X[:, 1] ** 2
SMALL = {"hidden_layer_sizes": 6, "batch_size": 30, "max_iter": 6, "random_state": 1}


def classifier(**parameters):
    return xpnet.MLPClassifier(**SMALL | parameters)


def regressor(**parameters):
    return xpnet.MLPRegressor(**SMALL | parameters)


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_scikit_learns_signature_comes_first(name):
    ours, original = (inspect.signature(getattr(m, name)).parameters for m in (xpnet, theirs))
    assert list(ours)[: len(original)] == list(original)
    for key, parameter in original.items():
        assert (ours[key].default, ours[key].kind) == (parameter.default, parameter.kind)
    added = list(ours.values())[len(original) :]
    assert {"scoring", "backend", "device", "dtype"} <= {p.name for p in added}
    assert all(p.kind is p.KEYWORD_ONLY for p in added)


@pytest.mark.parametrize(
    "model", [classifier(), regressor(), xpnet.LogisticRegression(), xpnet.LinearRegression()]
)
@pytest.mark.parametrize("given", ["X", "y", "w", "X of predict"])
def test_a_masked_value_is_refused_as_nan(model, given):
    data = {"X": X, "y": Y.astype(float), "w": np.ones(len(X)), "X of predict": X}
    data[given] = np.ma.array(data[given], mask=np.arange(data[given].size) == 0)
    with pytest.raises(ValueError, match="NaN"):
        model.fit(data["X"], data["y"], sample_weight=data["w"]).predict(data["X of predict"])


# -- activations, class weights, validation -------------------------------------------------
def test_activations_by_layer():
    same = [
        classifier(hidden_layer_sizes=(5, 4), activation=a).fit(X, Y).loss_curve_
        for a in ("tanh", ["tanh", "tanh"], ("tanh", xpnet.Activation("own", np_tanh, slope)))
    ]
    assert same[0] == same[1] == pytest.approx(same[2])
    assert classifier(hidden_layer_sizes=(5, 4), activation=["logistic", "relu"]).fit(X, Y).loss_
    with pytest.raises(ValueError, match="activation names 1 activations for 2"):
        classifier(hidden_layer_sizes=(5, 4), activation=["tanh"]).fit(X, Y)
    a, b = (classifier(activation=name).fit(X, Y).loss_curve_ for name in ("sigmoid", "logistic"))
    assert a == b


def np_tanh(z, *, xp):
    return xp.tanh(z)


def slope(a, *, xp):
    return 1.0 - a * a


def test_class_weights_are_sample_weights():
    weights = {0: 2.0, 1: 0.5, 2: 1.0}
    by_class = np.array([weights[label] for label in Y])
    for given in (None, RNG.random(90)):
        a = classifier(class_weight=weights).fit(X, Y, given)
        b = classifier().fit(X, Y, by_class if given is None else by_class * given)
        assert a.loss_curve_ == b.loss_curve_
    assert classifier(class_weight="balanced").fit(X, Y).loss_curve_ != a.loss_curve_
    with pytest.raises(ValueError, match="balanced"):
        classifier(class_weight="balanced").partial_fit(X, Y, classes=[0, 1, 2])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("scale", [1e38, 1e-40, 1e306])
def test_equal_factors_of_all_weights_change_nothing(solver, scale):
    w, options = RNG.random(90), {"solver": solver, "alpha": 0.0, "max_iter": 5}
    expected = classifier(**options).fit(X.astype("float32"), Y, w)
    found = classifier(**options).fit(X.astype("float32"), Y, w * scale)
    np.testing.assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-4, atol=1e-6)


def test_own_validation_data():
    train, rest = slice(0, 60), (X[60:], Y[60:])
    watched = classifier().fit(X[train], Y[train], validation_data=rest)
    alone = classifier().fit(X[train], Y[train])
    assert watched.loss_curve_ == alone.loss_curve_
    assert alone.validation_loss_curve_ is None
    expected = log_loss(rest[1], watched.predict_proba(rest[0]))
    assert watched.validation_loss_curve_[-1] == pytest.approx(expected)
    stops = classifier(early_stopping=True, max_iter=300, n_iter_no_change=2)
    stops.fit(X[train], Y[train], validation_data=rest)
    assert len(stops.validation_scores_) == stops.n_iter_ < 300
    assert stops.score(*rest) == stops.best_validation_score_ == max(stops.validation_scores_)
    with pytest.raises(ValueError, match="classes not in"):
        classifier().fit(X, np.minimum(Y, 1), validation_data=rest)
    with pytest.raises(ValueError, match="lbfgs"):
        classifier(solver="lbfgs").fit(X, Y, validation_data=rest)


ROWS = np.eye(3, dtype=int)[Y]
TWO = np.stack([TARGET, -TARGET], axis=1)


@pytest.mark.parametrize(
    ("make", "y", "given", "message"),
    [
        (regressor, TARGET, (X, TWO), "the y of validation_data has 2 .* the net has 1"),
        (regressor, TWO, (X, TARGET), "the y of validation_data has 1 .* the net has 2"),
        (regressor, TARGET, (X, TARGET[:5]), "inconsistent numbers of samples"),
        (regressor, TARGET, (X, TARGET, np.ones(5)), r"sample_weight\.shape"),
        (regressor, TARGET, (X, TARGET, -TARGET), "Negative values in data passed to `sample_w"),
        (regressor, TARGET, (X, TARGET, TARGET * np.inf), "sample_weight contains"),
        (regressor, TARGET, (X, TARGET, None, None), "validation_data: expected"),
        (regressor, TARGET, X, "validation_data: expected"),
        (classifier, ROWS, (X, Y), "fitted to a row of 0 and 1 per example, but `y` has one label"),
        (classifier, ROWS, (X, ROWS[:, :2]), "the y of validation_data has 2 .* the net has 3"),
        (classifier, Y, (X, ROWS), "fitted to one label per example, but `y` has a row"),
    ],
)
def test_validation_data_is_checked_as_training_data_is(make, y, given, message):
    with pytest.raises(ValueError, match=message):
        make().fit(X, y, validation_data=given)
    if len(given) == 2:  # so is what a fit goes on with
        with pytest.raises(ValueError, match=message.replace("the y of validation_data", "y")):
            make().fit(X, y).partial_fit(*given)


def test_validation_data_may_be_weighted_and_in_a_column():
    w = RNG.random(90)
    twice = np.concatenate([np.arange(90), np.arange(90)[w > 0.5]])
    nets = [
        classifier(early_stopping=True).fit(X, Y, validation_data=given)
        for given in ((X, Y, 1.0 + (w > 0.5)), (X[twice], Y[twice]))
    ]
    for curve in ("validation_loss_curve_", "validation_scores_"):
        np.testing.assert_allclose(*(getattr(net, curve) for net in nets))
    with pytest.warns(sklearn.exceptions.DataConversionWarning):
        column = regressor().fit(X, TARGET, validation_data=(X, TARGET[:, None]))
    expected = regressor().fit(X, TARGET, validation_data=(X, TARGET)).validation_loss_curve_
    assert column.validation_loss_curve_ == expected


def test_validation_data_of_any_library(lib):
    expected = regressor(dtype="float32").fit(X, TARGET, validation_data=(X[:9], TARGET[:9]))
    rest = lib.asarray(X[:9]), lib.asarray(TARGET[:9])
    net = regressor(dtype="float32", warm_start=True)
    net.fit(lib.asarray(X), lib.asarray(TARGET), validation_data=rest)
    np.testing.assert_allclose(
        net.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-5
    )
    net = classifier(warm_start=True)  # a class may be missing there
    for _ in range(2):
        net.fit(lib.asarray(X), Y, validation_data=(lib.asarray(X[Y > 0]), Y[Y > 0]))


def test_early_stopping_by_a_score_of_choice(lib):
    net = classifier(early_stopping=True, scoring="neg_log_loss", validation_fraction=0.3)
    net.fit(lib.asarray(X), lib.asarray(Y))
    np.testing.assert_allclose(net.validation_scores_, -np.array(net.validation_loss_curve_))
    calls = []

    def score(estimator, X, y):
        calls.append(type(X))
        return accuracy_score(y, estimator.predict(X))

    a = classifier(early_stopping=True, scoring=score).fit(lib.asarray(X), lib.asarray(Y))
    b = classifier(early_stopping=True).fit(lib.asarray(X), lib.asarray(Y))
    assert a.validation_scores_ == b.validation_scores_
    assert set(calls) == {np.ndarray}
    # weights go to a scorer that takes them
    weighted = classifier(early_stopping=True, scoring=score).fit(lib.asarray(X), Y, RNG.random(90))
    assert len(weighted.validation_scores_) == weighted.n_iter_


@pytest.mark.parametrize("scoring", ["accuracy", "roc_auc", None])
def test_sparse_rows_of_labels_are_scored_as_dense_ones(scoring):
    a, b = (
        classifier(early_stopping=True, scoring=scoring).fit(X, rows).validation_scores_
        for rows in (ROWS, sparse.csr_array(ROWS))
    )
    assert a == b


# -- scikit-learn's tools -------------------------------------------------------------------
def test_pipelines_searches_and_cross_validation():
    pipe = make_pipeline(StandardScaler(), classifier(max_iter=50, learning_rate_init=0.05))
    assert pipe.fit(X, Y).score(X, Y) > 0.6
    search = GridSearchCV(
        classifier(), {"alpha": [1e-4, 1.0], "activation": ["tanh", "relu"]}, cv=2
    )
    assert search.fit(X, Y).best_params_["alpha"] in (1e-4, 1.0)
    expected = cross_val_score(theirs.MLPClassifier(**SMALL), X, Y, cv=3)
    np.testing.assert_allclose(cross_val_score(classifier(), X, Y, cv=3), expected)
    np.testing.assert_allclose(cross_val_score(classifier(), X, Y, cv=3, n_jobs=2), expected)


def test_cross_validation_and_search_on_torch():
    torch = pytest.importorskip("torch")
    Xt, Yt = torch.asarray(X), torch.asarray(Y)
    expected = cross_val_score(classifier(), X, Y, cv=3)
    np.testing.assert_allclose(cross_val_score(classifier(), Xt, Yt, cv=3), expected)
    search = GridSearchCV(classifier(), {"alpha": [1e-4, 1.0]}, cv=2).fit(Xt, Yt)
    assert isinstance(search.best_estimator_.coefs_[0], torch.Tensor)


def test_clone_parameters_and_html():
    net = classifier(activation=["tanh"], backend="numpy")
    assert clone(net).get_params() == net.get_params()
    assert "MLPClassifier" in net._repr_html_()
    assert repr(net).startswith("MLPClassifier(")
    assert repr(xpnet.MLPRegressor()) == "MLPRegressor()"


@pytest.mark.parametrize("frames", ["pandas", "polars"])
def test_data_frames(frames):
    library = pytest.importorskip(frames)
    names = ["a", "b", "c", "d"]
    frame = library.DataFrame(dict(zip(names, X.T, strict=True)))
    labels = library.Series(["xyz"[label] for label in Y])
    net = classifier(early_stopping=True).fit(frame, labels)
    assert list(net.feature_names_in_) == names
    plain = classifier(early_stopping=True).fit(X, np.array(["xyz"[label] for label in Y]))
    assert net.loss_curve_ == plain.loss_curve_
    np.testing.assert_array_equal(net.predict(frame), plain.predict(X))
    with pytest.raises(ValueError, match="feature names"):
        net.predict(
            frame.rename(columns={"a": "z"}) if frames == "pandas" else frame.rename({"a": "z"})
        )


def test_lists_and_single_columns():
    a, b = classifier().fit(X.tolist(), Y.tolist()), classifier().fit(X, Y)
    assert a.loss_curve_ == b.loss_curve_
    with pytest.warns(sklearn.exceptions.DataConversionWarning):
        classifier().fit(X, Y[:, None])


# -- callbacks ------------------------------------------------------------------------------
@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_scikit_learns_callbacks(lib, solver, capsys):
    monitor = ScoringMonitor(scoring={"score": lambda net, X, y: net.score(X, y)})
    net = classifier(solver=solver).set_callbacks(monitor, ProgressBar())
    net.fit(lib.asarray(X), lib.asarray(Y))
    logged = [row["score"] for row in monitor.get_logs().data if "iter" in row["task_name"]]
    assert len(logged) == net.n_iter_
    assert logged[-1] == pytest.approx(net.score(lib.asarray(X), lib.asarray(Y)))


class Recorder:
    def __init__(self, stop_after=None):
        self.events, self.stop_after = [], stop_after

    def setup(self, estimator, context):
        self.events.append("setup")

    def teardown(self, estimator, context):
        self.events.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.events.append("begin " + context.task_name)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
        self.events.append("end " + context.task_name)
        self.fitted = fitted_estimator
        return self.stop_after is not None and self.events.count("end sgd-iter") == self.stop_after


def test_a_callback_sees_every_epoch_and_may_stop():
    recorder = Recorder()
    net = classifier(solver="sgd", max_iter=2).set_callbacks(recorder).fit(X, Y)
    epochs = ["begin sgd-iter", "end sgd-iter"] * 2
    assert recorder.events == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    recorder = Recorder(stop_after=3)
    net = regressor(solver="sgd", max_iter=50).set_callbacks(recorder).fit(X, TARGET)
    assert net.n_iter_ == 3
    np.testing.assert_array_equal(recorder.fitted.predict(X), net.predict(X))


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("batch_size", [None, 40], ids=["all examples", "minibatches"])
def test_epochs_with_nothing_to_decide_run_together(batch_size, monkeypatch):
    """11 at a time: sooner 10 epochs without improvement cannot have come together."""
    runs, run = [], numpy_engine.Program.run

    def counted(self, orders, table):
        runs.append(len(table))
        return run(self, orders, table)

    monkeypatch.setattr(numpy_engine.Program, "run", counted)
    X = np.random.default_rng(0).normal(size=(120, 4))
    y = X[:, 0] > X[:, 1]
    settings = {"batch_size": batch_size or 120, "max_iter": 22, "n_iter_no_change": 10}
    with pytest.warns(UserWarning, match="converged"):
        model = xpnet.MLPClassifier((5,), random_state=0, **settings).fit(X, y)
    steps = 1 if batch_size is None else 3
    assert runs == [11 * steps, 11 * steps]
    assert len(model.loss_curve_) == model.n_iter_ == 22


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array])
def test_an_interrupt_keeps_what_was_learned(kind, monkeypatch):
    run = Run._run

    def interrupted(self, part):
        if self.epoch == 3:
            raise KeyboardInterrupt
        return run(self, part)

    monkeypatch.setattr(Run, "_run", interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        stopped = classifier(max_iter=50, n_iter_no_change=2).fit(kind(X), Y)
    monkeypatch.undo()
    whole = classifier(max_iter=3, n_iter_no_change=2).fit(kind(X), Y)
    assert stopped.n_iter_ == 3
    assert stopped.loss_curve_ == whole.loss_curve_
    np.testing.assert_array_equal(stopped.coefs_[0], whole.coefs_[0])
    assert len(stopped.partial_fit(kind(X), Y).loss_curve_) == 4


# -- l1, dropout, clipped gradients and xpnet's own optimisers ------------------------------
DEEPER = {"hidden_layer_sizes": (7, 5), "activation": "tanh", "batch_size": 16, "random_state": 1}


def fitted(lib=None, X=X, Y=Y, **parameters):
    x = X if lib is None else lib.asarray(X)
    return xpnet.MLPClassifier(**DEEPER | {"max_iter": 5} | parameters).fit(x, Y)


def net_of(model):
    """The `DeepNet` with a model's parameters."""
    net = xpnet.DeepNet([4, 7, 5, 3], hidden="tanh", output="softmax", dtype="float64")
    net.parameters = [(W.T, b[:, None]) for W, b in zip(model.coefs_, model.intercepts_)]
    return net


def test_the_first_reported_loss_has_both_penalties():
    options = {"batch_size": 90, "max_iter": 1, "alpha": 2.0, "shuffle": False}
    start = fitted(learning_rate_init=1e-12, alpha=0.0, batch_size=90, max_iter=1, shuffle=False)
    for ratio in (0.0, 0.3, 1.0):
        found = fitted(l1_ratio=ratio, **options).loss_
        l2, l1 = (1 - ratio) * 2.0 / 90, ratio * 2.0 / 90
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
    model = fitted(optimizer=rule, alpha=0.6, shuffle=False, batch_size=90, max_iter=4)
    net = net_of(start)
    net.fit(X.T, Y, rule, batch_size=None, epochs=4, l2=0.6 / 90)
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
    model = xpnet.MLPClassifier(**DEEPER | {"learning_rate_init": 1e-9}, dropout=0.5)
    for _ in range(3):
        model.partial_fit(X, Y, classes=[0, 1, 2])
    assert len(set(model.loss_curve_)) == 3


def test_clipped_gradients_bound_the_step():
    options = {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 1.0, "alpha": 0.0}
    options |= {"batch_size": 90, "max_iter": 1}
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
