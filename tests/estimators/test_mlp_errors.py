"""Bad input: one clear error that names both sides and the fix."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", minversion="1.9")

import xpnet

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(11)
X = RNG.normal(size=(90, 4))
Y = (X @ RNG.normal(size=(4, 3))).argmax(axis=1)


def classifier(**parameters):
    small = {"hidden_layer_sizes": 6, "batch_size": 30, "max_iter": 2, "random_state": 1}
    return xpnet.MLPClassifier(**small | parameters)


def test_a_prediction_elsewhere_names_both_sides_and_the_fix():
    torch = pytest.importorskip("torch")
    net = classifier().fit(torch.asarray(X), Y)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        with pytest.raises(ValueError, match=rf"MLPClassifier\.{method}\(\) must use") as error:
            getattr(net, method)(X)
        for word in ("NumPy on cpu", "PyTorch on cpu", "Pass X as an array of torch"):
            assert word in str(error.value)
    with pytest.raises(ValueError, match=r"NumPy on cpu .*PyTorch on cpu"):
        net.partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"PyTorch on cpu .*NumPy on cpu"):
        classifier().fit(X, Y).predict(torch.asarray(X))
    with pytest.raises(ValueError, match=r"PyTorch on cpu but MLPClassifier .*backend='torch'"):
        classifier(backend="numpy").fit(torch.asarray(X), Y)


def test_mixed_devices_name_both_sides():
    strict = pytest.importorskip("array_api_strict")
    there = strict.asarray(X, device=strict.Device("device1"))
    net = classifier().fit(strict.asarray(X), Y)
    with pytest.raises(ValueError, match=r"array-api-strict on device1 .*on CPU_DEVICE"):
        net.predict(there)
    with pytest.raises(ValueError, match=r"on device1 but MLPClassifier .*on CPU_DEVICE"):
        classifier(backend="array_api_strict").fit(there, Y)


class DeviceMatrix:
    """What a sparse matrix of another library looks like from here."""

    shape, ndim = (90, 4), 2

    def __init__(self, data):
        self.data = data

    def tocsr(self):
        return self


def test_a_sparse_matrix_on_a_device_stays_off_a_numpy_net():
    torch = pytest.importorskip("torch")
    matrix = DeviceMatrix(torch.ones(7))
    for call in (classifier().fit(X, Y).predict, lambda m: classifier(backend="numpy").fit(m, Y)):
        with pytest.raises(ValueError, match=r"X lives in PyTorch on cpu .*in NumPy on cpu"):
            call(matrix)


def test_what_scikit_learn_checks_is_checked_of_any_array(lib):
    net = classifier().fit(lib.asarray(X), lib.asarray(Y))
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
            classifier().fit(lib.asarray(bad), Y)
    with pytest.raises(ValueError, match="X has 3 features, but MLPClassifier is expecting 4"):
        net.predict(lib.asarray(X[:, :3]))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        classifier().fit(lib.asarray(X), Y[:-1])
    with pytest.raises(ValueError, match=r"sample_weight\.shape"):
        classifier().fit(lib.asarray(X), Y, np.ones(5))


def test_unseen_labels_name_both_sides():
    net = classifier().partial_fit(X, np.minimum(Y, 1), classes=[0, 1])
    with pytest.raises(ValueError, match=r"classes_` has \[0 1\]. 'y' has \[0 1 2\]"):
        net.partial_fit(X, Y)
