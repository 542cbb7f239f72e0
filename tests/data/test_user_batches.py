"""Streams of batches that a function or an iterator gives."""

from __future__ import annotations

import time

import numpy as np
import pytest
from stream_helpers import NUMBERS, ROWS, epoch_of, some_batches

import xpnet
from xpnet.backends.place import place_of
from xpnet.data.open_stream import stream


def labels_of(source, epoch, first=0):
    with source.chunks(epoch, None, first=first) as chunks:
        found = list(chunks)
    assert all(chunk.order is None and (epoch == chunk.X).all() for chunk in found)
    return [(int(chunk.Y[0]), len(chunk.X)) for chunk in found]


def test_batches_of_a_function():
    source = stream(some_batches)
    assert (source.n_features, source.n_examples, source.weighted) == (3, None, True)
    assert labels_of(source, 0) == [(0, 4), (1, 9), (2, 1)]
    assert labels_of(source, 1, first=1) == [(1, 9), (2, 1)]
    assert labels_of(source, 0) == [(0, 4), (1, 9), (2, 1)]
    assert source.statistics().n == 14
    assert stream(list(some_batches())).statistics().n == 14


def test_batches_of_tensors_that_require_grad():
    torch = pytest.importorskip("torch")
    X = torch.arange(6.0).reshape(3, 2).requires_grad_()
    source = stream([(X, X.sum(1) > 5, X.sum(1))])
    with source.chunks(0, None) as chunks:
        chunk = next(chunks)
    assert (chunk.X.tolist(), chunk.w.tolist()) == ([[0, 1], [2, 3], [4, 5]], [1, 5, 9])
    assert chunk.Y.tolist() == [False, False, True]


@pytest.mark.parametrize("bound", [False, True])
def test_batches_that_live_where_the_net_does_are_taken_as_in_memory(lib, bound):
    X, Y = lib.asarray(ROWS[:8, :3].astype("float32")), lib.asarray(NUMBERS[:8] % 2)
    nets = [xpnet.DeepNet([3, 2], output="softmax", seed=1, dtype="float32") for _ in range(2)]
    if bound:
        [net.predict(X.T) for net in nets]
    nets[0].fit(X.T, Y, epochs=3)
    nets[1].fit(stream([(X, Y)]), epochs=3)
    assert str(nets[0].backend) == str(nets[1].backend) == str(place_of(X))
    for ours, theirs in zip(nets[1].parameters[0], nets[0].parameters[0]):
        np.testing.assert_allclose(lib.to_numpy(ours), lib.to_numpy(theirs), rtol=1e-6)


def test_a_function_is_called_once_an_epoch():
    called = []

    def batches(epoch):
        called.append(epoch)
        return some_batches(epoch)

    source = stream(batches)
    labels_of(source, 0), labels_of(source, 1)
    assert called == [0, 1]


def test_batches_may_reuse_their_arrays():
    def reusing(epoch):
        X, y = np.zeros((4, 2)), np.zeros(4)
        for k in range(5):
            X[:], y[:] = k, k
            yield X, y

    with stream(reusing).chunks(0, None) as chunks:
        for k, chunk in enumerate(chunks):
            time.sleep(0.01)  # the next batch is made now
            assert (k == chunk.X).all()
            assert (k == chunk.Y).all()


def test_an_iterator_lasts_one_epoch():
    source = stream(some_batches(0))
    assert len(labels_of(source, 0)) == 3
    with pytest.raises(ValueError, match="used up by one epoch: pass a function epoch"):
        labels_of(source, 1)
    made = some_batches(0)
    source = stream(lambda epoch: made)
    assert len(labels_of(source, 0)) == 3
    with pytest.raises(ValueError, match=r"epoch 1 .* brought no batches: pass a function"):
        labels_of(source, 1)


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "is empty"),
        ([5], "batch 0 .* is of type int"),
        ([(ROWS,)], "batch 0 .* is of type tuple"),
        ([(ROWS[0], NUMBERS)], r"batch 0 .*X has shape \(5,\)"),
        ([(ROWS, NUMBERS[:4])], r"X has 1,003 rows but Y has shape \(4,\)"),
        ([(ROWS, NUMBERS), (ROWS[:, :4], NUMBERS)], "batch 1 .* has 4 features.* had 5"),
        ([(ROWS, NUMBERS), (ROWS, NUMBERS, NUMBERS)], "batch 1 .* has some sample weights.*none"),
        ([(ROWS, NUMBERS, NUMBERS), (ROWS, NUMBERS)], "batch 1 .* has no sample weights.*some"),
        ([(ROWS, NUMBERS), (ROWS * np.nan, NUMBERS)], "batch 1 .* epoch 0, row 0 .* nan"),
        ([(ROWS, NUMBERS), (np.array([["a"] * 5]), [1])], "batch 1 .*: X holds <U1"),
        ([(ROWS, NUMBERS, NUMBERS[:3])], r"w has shape \(3,\)"),
    ],
)
def test_bad_batches(batches, said):
    with pytest.raises((ValueError, TypeError), match=said):
        epoch_of(stream(lambda epoch: iter(batches)), batch_size=None)
