"""Any library's arrays in, the same library's out; nothing leaves its device but labels."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import textwrap
import tracemalloc
import warnings
from contextlib import nullcontext

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from scipy import sparse
from sklearn import linear_model, neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

import xpnet
from xpnet.backends.place import to_numpy
from xpnet.core import leaves

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(3)
X = RNG.normal(size=(60, 5))
SCORES = X @ RNG.normal(size=(5, 3))
TARGETS = {
    "binary": (X[:, 0] > 0).astype(np.int64),
    "multiclass": SCORES.argmax(axis=1),
    "multilabel": (SCORES > 0).astype(np.int64),
    "one output": SCORES[:, 0],
    "three outputs": SCORES,
}
SMALL = {"hidden_layer_sizes": 4, "batch_size": 25, "max_iter": 4, "random_state": 0}


def make(task, **parameters):
    regression = "output" in task
    return (xpnet.MLPRegressor if regression else xpnet.MLPClassifier)(**SMALL | parameters)


@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
@pytest.mark.parametrize("task", TARGETS)
def test_a_fit_follows_its_arrays(lib, task, solver):
    y = TARGETS[task]
    reference = make(task, solver=solver).fit(X, y)
    found = make(task, solver=solver).fit(lib.asarray(X), lib.asarray(y))
    for a, b in zip(reference.coefs_ + reference.intercepts_, found.coefs_ + found.intercepts_):
        assert lib.owns(b)
        assert lib.dtype_of(b) == "float64"
        np.testing.assert_allclose(lib.to_numpy(b), a, atol=1e-6)
    methods = ["predict"] if "output" in task else ["predict", "predict_proba", "predict_log_proba"]
    for method in methods:
        a, b = getattr(reference, method)(X), getattr(found, method)(lib.asarray(X))
        assert lib.owns(b), method
        assert lib.dtype_of(b) == str(a.dtype)
        np.testing.assert_allclose(lib.to_numpy(b), a, atol=1e-5)
    score = found.score(lib.asarray(X), lib.asarray(y))
    assert type(score) is float
    assert score == pytest.approx(reference.score(X, y))


def test_float32_stays_float32(lib):
    X32 = lib.asarray(X.astype(np.float32))
    for task in ("multiclass", "three outputs"):
        net = make(task, early_stopping=True).fit(X32, lib.asarray(TARGETS[task]))
        assert {lib.dtype_of(c) for c in net.coefs_ + net.intercepts_} == {"float32"}
        assert {lib.dtype_of(m) for m in net._optimizer.moments} == {"float32"}
        output = net.predict(X32) if "output" in task else net.predict_proba(X32)
        assert lib.dtype_of(output) == "float32"
    net = make("binary", dtype="float32").fit(lib.asarray(X), TARGETS["binary"])
    assert lib.dtype_of(net.coefs_[0]) == "float32"


def test_labels_and_weights_may_live_elsewhere(lib):
    labels = np.array(["ham", "spam"])[TARGETS["binary"]]
    weights = RNG.random(60)
    reference = make("binary", early_stopping=True).fit(X, labels, weights)
    for w in (weights, lib.asarray(weights)):
        net = make("binary", early_stopping=True).fit(lib.asarray(X), labels, w)
        np.testing.assert_allclose(net.loss_curve_, reference.loss_curve_)
        predicted = net.predict(lib.asarray(X))
        assert isinstance(predicted, np.ndarray)  # strings live on the host
        np.testing.assert_array_equal(predicted, reference.predict(X))


@pytest.mark.parametrize(
    ("labels", "elsewhere"),
    [
        (np.array([10_000_000_000, 20_000_000_000]), ["jax"]),
        (np.array([123456789.0, 123456790.0]), []),
        (np.array([1, 60000], np.uint16), []),
        (np.array([1, 2**63 + 5], np.uint64), ["torch", "jax"]),
        (np.array([0.0, 2048.0], np.float16), []),
    ],
    ids=lambda x: str(x.dtype) if isinstance(x, np.ndarray) else "",
)
def test_labels_come_back_as_they_were(lib, labels, elsewhere):
    """Those that the library holds in no dtype come back on the host (JAX here without x64)."""
    y, rows = labels[TARGETS["binary"]], lib.asarray(X.astype(np.float32))
    for model in (make("binary"), xpnet.LogisticRegression()):
        with sys.modules["jax"].enable_x64(False) if lib.name == "jax" else nullcontext():
            predicted = model.fit(rows, y).predict(rows)
            assert isinstance(predicted, np.ndarray) or lib.owns(predicted)
            assert lib.name == "numpy" or lib.owns(predicted) != (lib.name in elsewhere)
            host = predicted if lib.name in elsewhere else lib.to_numpy(predicted)
            assert set(host.tolist()) <= set(labels.tolist())
            assert model.score(rows, y) > 0.4


def test_partial_fit_and_warm_start_stay_in_place(lib):
    y = lib.asarray(TARGETS["multiclass"])
    a, b = make("multiclass"), make("multiclass")
    for _ in range(3):
        a.partial_fit(X, TARGETS["multiclass"], classes=[0, 1, 2])
        b.partial_fit(lib.asarray(X), y, classes=lib.asarray(np.array([0, 1, 2])))
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_)
    assert lib.owns(b.coefs_[0])
    net = make("multiclass", warm_start=True)
    assert len(net.fit(lib.asarray(X), y).fit(lib.asarray(X), y).loss_curve_) == 8


def test_a_named_backend_moves_host_data(lib):
    net = make("multiclass", **lib.options).fit(X, TARGETS["multiclass"])
    assert lib.owns(net.coefs_[0])
    assert isinstance(net.predict(X), np.ndarray)  # output follows input
    assert lib.owns(net.predict(lib.asarray(X)))
    assert net.score(X, TARGETS["multiclass"]) == net.score(
        lib.asarray(X), lib.asarray(TARGETS["multiclass"])
    )


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_train_like_dense_ones(lib, solver, monkeypatch):
    monkeypatch.setattr("xpnet.estimators.arrays.BLOCK", 250)  # two minibatches at a time
    rows = sparse.random_array((60, 5), density=0.4, format="csr", random_state=1)
    whole = type(rows).toarray
    shapes = []  # of what is densified; labels are 3 wide
    monkeypatch.setattr(type(rows), "toarray", lambda x: shapes.append(x.shape) or whole(x))
    weights = RNG.random(60)
    for task in ("multiclass", "one output"):
        stops = solver == "adam"
        options = {"solver": solver, "early_stopping": stops, "alpha": 0.01, "dtype": "float64"}
        options |= lib.options
        a = make(task, **options).fit(whole(rows), TARGETS[task], weights)
        for form in (rows, rows.tocsc()):
            b = make(task, **options).fit(form, TARGETS[task], weights)
            np.testing.assert_allclose(b.loss_, a.loss_, rtol=1e-7)
            np.testing.assert_allclose(b.predict(form), a.predict(whole(rows)), atol=1e-6)
    densified = max((m for m, n in shapes if n == 5), default=0)
    assert densified == 0 if lib.name == "numpy" else 0 < densified <= 50


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.parametrize("layers", [(), 1, (300, 3)], ids=str)
@pytest.mark.parametrize("density", [0.002, 0.3], ids=["few", "many"])
def test_numpy_never_makes_sparse_rows_dense(solver, layers, density, monkeypatch):
    """Wide and narrow nets, one example left over, more rows than are predicted at a time."""
    rows = sparse.random_array((1301, 40), density=density, format="csr", random_state=1)
    dense, y, whole = rows.toarray(), np.arange(1301) % 3, type(rows).toarray

    def only_labels(matrix):
        assert matrix.shape[1] == 3
        return whole(matrix)

    a, b = (
        make("multiclass", solver=solver, hidden_layer_sizes=layers, batch_size=100, dtype=dtype)
        for dtype in ("float32", "float64")
    )
    for model in (a, b):
        expected = clone(model).fit(dense, y)
        with monkeypatch.context() as patch:
            patch.setattr(type(rows), "toarray", only_labels)
            found = model.fit(rows, y).predict_proba(rows)
        tolerance = 1e-4 if model is a else 1e-8
        np.testing.assert_allclose(found, expected.predict_proba(dense), atol=tolerance)
        np.testing.assert_allclose(model.loss_, expected.loss_, rtol=tolerance)


def test_wide_sparse_rows_take_the_memory_of_their_numbers():
    rows = sparse.random_array((2000, 200_000), density=2e-4, format="csr", rng=RNG)
    model, y = xpnet.MLPClassifier(5, max_iter=1), np.arange(2000) % 2
    model.fit(rows[:, :50], y)  # what is imported or compiled is not measured
    tracemalloc.start()
    model.fit(rows, y).predict(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 80e6  # ten vectors of all parameters; 64 MB for scikit-learn, 1 GB made dense


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", ["adam", "lbfgs", "LogisticRegression"])
def test_many_classes_are_numbers_until_a_part_is_computed(lib, name, kind, monkeypatch):
    """Rows of 0 and 1 for all labels at once, or part by part: the same fit."""
    options = {"solver": name, "batch_size": 20, "early_stopping": name == "adam", "alpha": 0.1}
    if name == "LogisticRegression":
        options = {"C": 0.1, "tol": 1e-8}
    elif kind is np.asarray and name == "adam":
        options["hidden_layer_sizes"] = 3
    given = lib.asarray(X) if kind is np.asarray else kind(X * (X > 0))
    w, y = 1.0 + np.arange(60) % 3, np.array(["a", "b", "c"])[TARGETS["multiclass"]]
    nets = []
    for room in (2**25, 2**8):
        monkeypatch.setattr(leaves, "ROWS", room)
        model = xpnet.LogisticRegression if "C" in options else xpnet.MLPClassifier
        options |= {} if "C" in options else {"random_state": 0, "max_iter": 4}
        nets.append(model(**lib.options, dtype="float64", **options).fit(given, y, w))
    found, expected = (to_numpy(net.predict_proba(given)) for net in reversed(nets))
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9)
    if name == "adam":
        assert nets[0].validation_scores_ == nets[1].validation_scores_


@pytest.mark.parametrize("name", ["adam", "lbfgs", "LogisticRegression", "gradients"])
def test_many_classes_take_the_memory_of_a_part(name, monkeypatch):
    monkeypatch.setattr(leaves, "ROWS", 2**22)
    x, y = np.zeros((6_000, 1), np.float32), np.arange(6_000) % 2_000  # 48 MB as rows, 96 as int64
    fits = {
        "LogisticRegression": lambda: xpnet.LogisticRegression(max_iter=1).fit(x, y),
        "gradients": lambda: xpnet.DeepNet([1, 2_000], output="softmax").gradients(x.T, y),
    }
    model = xpnet.MLPClassifier(1, max_iter=1, solver=name, batch_size=100)
    fits.get("gradients")()  # what is imported or compiled is not measured
    tracemalloc.start()
    fits.get(name, lambda: model.fit(x, y))()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6


MODELS = {
    "MLPClassifier": (neural_network, {"hidden_layer_sizes": (8, 4), "max_iter": 2}),
    "MLPRegressor": (neural_network, {"hidden_layer_sizes": (8, 4), "max_iter": 2}),
    "LogisticRegression": (linear_model, {}),
    "LinearRegression": (linear_model, {}),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_frame_in_fortran_order_is_predicted_without_a_copy(name):
    rows = np.asfortranarray(RNG.normal(size=(50_000, 20)))  # as a frame keeps its columns
    model = getattr(xpnet, name)(**MODELS[name][1]).fit(rows[:60], TARGETS["binary"])
    expected = model.predict(np.ascontiguousarray(rows))
    tracemalloc.start()
    predicted = model.predict(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(predicted, expected, rtol=1e-9, atol=1e-9)
    assert peak < 0.3 * rows.nbytes  # some vectors of 50,000 numbers, each 0.05 of the rows


@pytest.mark.parametrize("name", MODELS)
def test_one_row_is_predicted_in_no_more_calls_than_scikit_learns(name):
    """1.2 times as many are allowed; unlike times, calls do not depend on the machine."""
    module, settings = MODELS[name]
    counts = {}
    for library in (module, xpnet):
        model = getattr(library, name)(**settings).fit(X, TARGETS["multiclass"])
        for method in {"predict", "predict_proba"} & set(dir(model)):
            predict, calls = getattr(model, method), []
            predict(X[:1])
            sys.setprofile(lambda frame, event, arg, calls=calls: calls.append(event))
            predict(X[:1])
            sys.setprofile(None)
            made = sum(event in ("call", "c_call") for event in calls)
            assert made <= 1.2 * counts.setdefault(method, made)


def test_a_pickle_holds_host_arrays(lib):
    y = TARGETS["multiclass"]
    net = make("multiclass").fit(lib.asarray(X), lib.asarray(y))
    state = pickle.dumps(net)
    assert lib.name == "numpy" or lib.name.encode() not in state
    host = pickle.loads(state)
    np.testing.assert_array_equal(host.predict(X), lib.to_numpy(net.predict(lib.asarray(X))))
    again = pickle.loads(state).partial_fit(lib.asarray(X), lib.asarray(y))  # back on its device
    expected = net.partial_fit(lib.asarray(X), lib.asarray(y))
    assert lib.owns(again.coefs_[0])
    assert again.loss_curve_ == pytest.approx(expected.loss_curve_)


@pytest.mark.parametrize("unpickled", [False, True], ids=["fitted", "unpickled"])
@pytest.mark.parametrize(
    "name", ["MLPClassifier", "MLPRegressor", "LogisticRegression", "LinearRegression"]
)
def test_predictions_change_no_estimator(lib, name, unpickled):
    if name == "LinearRegression" and not lib.decomposes:
        pytest.skip("needs decompositions of matrices")
    y = TARGETS["multiclass"]
    short = {"max_iter": 3} if name.startswith("MLP") else {}
    model = getattr(xpnet, name)(**short).fit(lib.asarray(X), lib.asarray(y))
    model = pickle.loads(pickle.dumps(model)) if unpickled else model
    before = {key: id(value) for key, value in vars(model).items()}, pickle.dumps(model)
    for rows in [lib.asarray(X), X] if unpickled else [lib.asarray(X)]:
        for method in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            if hasattr(model, method):
                predicted = getattr(model, method)(rows)
                assert type(predicted) is type(rows)
        model.score(rows, y)
    assert ({key: id(value) for key, value in vars(model).items()}, pickle.dumps(model)) == before
    if unpickled:
        model.fit(X, y).predict(X)
        if lib.name != "numpy":
            with pytest.raises(ValueError, match="must use the same namespace"):
                model.predict(lib.asarray(X))


def test_copies_stay_in_place(lib):
    net = make("multiclass").fit(lib.asarray(X), lib.asarray(TARGETS["multiclass"]))
    for twin in (copy.copy(net), copy.deepcopy(net)):
        assert lib.owns(twin.predict_proba(lib.asarray(X)))
    assert not hasattr(clone(net), "coefs_")


def test_scikit_learn_moves_a_net(lib):
    from sklearn.utils._array_api import _estimator_with_converted_arrays

    net = make("multiclass").fit(X, TARGETS["multiclass"])
    moved = _estimator_with_converted_arrays(net, lib.asarray)
    assert lib.owns(moved.predict_proba(lib.asarray(X)))
    assert isinstance(net.predict_proba(X), np.ndarray)


def test_a_pickle_loads_where_the_library_is_missing(tmp_path):
    torch = pytest.importorskip("torch")
    net = make("multiclass").fit(torch.asarray(X), torch.asarray(TARGETS["multiclass"]))
    (tmp_path / "net.pkl").write_bytes(pickle.dumps(net))
    np.save(tmp_path / "X.npy", X)
    script = f"""
        import pickle, sys
        import numpy as np
        class Missing:
            def find_spec(self, name, path=None, target=None):
                if name.partition(".")[0] in ("torch", "cupy", "jax", "dpnp", "array_api_strict"):
                    raise ImportError(name)
        sys.meta_path.insert(0, Missing())
        net = pickle.loads(open(r"{tmp_path / "net.pkl"}", "rb").read())
        np.save(r"{tmp_path / "y.npy"}", net.predict_proba(np.load(r"{tmp_path / "X.npy"}")))
        net.partial_fit(np.load(r"{tmp_path / "X.npy"}"), np.arange(60) % 3)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "y.npy"), net.predict_proba(torch.asarray(X)))


def test_importing_xpnet_imports_no_scikit_learn():
    look = "print('sklearn' in sys.modules)"
    script = f"import sys, xpnet; {look}; xpnet.MLPClassifier; {look}"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.stdout.split() == ["False", "True"], run.stderr
    script = "import sys; sys.modules['sklearn'] = None; import xpnet; xpnet.MLPClassifier"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert run.returncode == 1
    assert 'pip install "scikit-learn>=1.9"' in run.stderr.splitlines()[-1]


def test_warnings_of_a_diverging_run_are_the_estimators_own():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.raises(ValueError, match="non-finite parameter weights"):
            make("one output", solver="sgd", learning_rate_init=1e9, activation="identity").fit(
                X, SCORES[:, 0]
            )


# -- bad input: one clear error that names both sides and the fix --------------------------
Y = TARGETS["multiclass"]


def test_a_prediction_elsewhere_names_both_sides_and_the_fix():
    torch = pytest.importorskip("torch")
    net = make("multiclass").fit(torch.asarray(X), Y)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(ValueError, match=rf"MLPClassifier\.{method}\(\) must use") as error:
            getattr(net, method)(X)
        for word in ("NumPy on cpu", "PyTorch on cpu", "Pass X as an array of torch"):
            assert word in str(error.value)
    with pytest.raises(ValueError, match=r"NumPy on cpu .*PyTorch on cpu"):
        net.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"PyTorch on cpu .*NumPy on cpu"):
        make("multiclass").fit(X, Y).predict(torch.asarray(X))
    with pytest.raises(ValueError, match=r"PyTorch on cpu but MLPClassifier .*backend='torch'"):
        make("multiclass", backend="numpy").fit(torch.asarray(X), Y)


def test_mixed_devices_name_both_sides():
    strict = pytest.importorskip("array_api_strict")
    there = strict.asarray(X, device=strict.Device("device1"))
    net = make("multiclass").fit(strict.asarray(X), Y)
    with pytest.raises(ValueError, match=r"array-api-strict on device1 .*on CPU_DEVICE"):
        net.predict(there)
    with pytest.raises(ValueError, match=r"on device1 but MLPClassifier .*on CPU_DEVICE"):
        make("multiclass", backend="array_api_strict").fit(there, Y)


class DeviceMatrix:
    """What a sparse matrix of another library looks like from here."""

    shape, ndim = (60, 5), 2

    def __init__(self, data):
        self.data = data

    def tocsr(self):
        return self


def test_a_sparse_matrix_on_a_device_stays_off_a_numpy_net():
    torch = pytest.importorskip("torch")
    matrix = DeviceMatrix(torch.ones(7))
    for call in (
        make("multiclass").fit(X, Y).predict,
        lambda m: make("multiclass", backend="numpy").fit(m, Y),
    ):
        with pytest.raises(ValueError, match=r"X lives in PyTorch on cpu .*in NumPy on cpu"):
            call(matrix)


def test_what_scikit_learn_checks_is_checked_of_any_array(lib):
    net = make("multiclass").fit(lib.asarray(X), lib.asarray(Y))
    broken = X.copy()
    broken[3, 1] = np.nan
    for bad, message in (
        (broken, "contains NaN"),
        (np.where(np.isnan(broken), np.inf, X), "contains infinity"),
        (X[:, 0], "Expected 2D array"),
        (X[:0], "0 sample"),
    ):
        with pytest.raises(ValueError, match=message):
            net.predict(lib.asarray(bad))
        with pytest.raises(ValueError, match=message):
            make("multiclass").fit(lib.asarray(bad), Y)
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 5"):
        net.predict(lib.asarray(X[:, :3]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        make("multiclass").fit(lib.asarray(X), Y[:-1])
    with pytest.raises(ValueError, match=r"sample_weight\.shape"):
        make("multiclass").fit(lib.asarray(X), Y, np.ones(5))


def test_unseen_labels_name_both_sides():
    net = make("multiclass").partial_fit(X, np.minimum(Y, 1), classes=[0, 1])
    with pytest.raises(ValueError, match=r"classes_` has \[0 1\]. 'y' has \[0 1 2\]"):
        net.partial_fit(X, Y)
