"""The digits of the package, and the split of examples in two parts."""

import numpy as np
import pytest

from xpnet.data import table as tables
from xpnet.data.table import load_digits, train_test_split


# -- the digits --------------------------------------------------------------------------
def test_digits():
    X, y = load_digits()
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((1797, 64), np.float32, (1797,), np.int64)
    assert X.min() == 0
    assert X.max() == 16
    # The counts that the source states for its test set.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    X, y = load_digits()
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_digits_come_with_source_and_licence():
    text = (tables.resources.files("xpnet.data") / "digits.txt").read_text(encoding="utf-8")
    for needed in ("Alpaydin", "UCI", "CC BY 4.0", "10.24432/C50P49"):
        assert needed in text


# -- the split --------------------------------------------------------------------------
def test_split_is_a_partition_and_repeatable():
    y = np.arange(10)
    parts = train_test_split(y, 0.3, seed=1)
    assert [len(part) for part in parts] == [7, 3]
    assert sorted(np.concatenate(parts).tolist()) == list(range(10))
    for a, b in zip(parts, train_test_split(y, 0.3, seed=1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(parts[0], train_test_split(y, 0.3, seed=2)[0])


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.5])
def test_stratified_split_keeps_shares(fraction):
    y = np.repeat([0, 1, 2], [100, 50, 13])
    train, test = train_test_split(y, fraction, seed=3, stratify=True)
    assert len(test) == round(fraction * len(y))
    assert sorted([*train, *test]) == list(range(len(y)))
    for k, count in enumerate([100, 50, 13]):
        assert abs((y[test] == k).sum() - fraction * count) < 1


def test_every_class_stays_in_the_training_part():
    y = np.array([0, 1, 2, 3, 4, 4, 4, 4])
    train, test = train_test_split(y, 0.5, seed=0, stratify=True)
    assert set(y[train]) == {0, 1, 2, 3, 4}
    assert set(y[test]) == {4}
    with pytest.raises(ValueError, match="one example only"):
        train_test_split(y[:4], 0.5, stratify=True)


def test_split_of_nothing_and_of_too_few():
    y = np.arange(4)
    assert len(train_test_split(y, 0.0)[1]) == 0
    assert len(train_test_split(y, 0.01)[1]) == 1
    with pytest.raises(ValueError, match="too few"):
        train_test_split(y, 0.99)
