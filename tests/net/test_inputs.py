"""``DeepNet`` on streams: what it learns, in which order, resumed, weighted, validated, moved."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from helpers import assert_pairs_equal

import xpnet
from xpnet.schedules import Step

RNG = np.random.default_rng(33)
ROWS = RNG.normal(size=(230, 4))
LABELS = np.argmax(ROWS[:, :3], axis=1)
OPTIONS = {"optimizer": xpnet.Adam(0.01), "batch_size": 8}


def make_net(lib=None, **settings):
    options = {"backend": "numpy"} if lib is None else lib.options
    options = {"dtype": "float64", "seed": 2} | options | settings
    return xpnet.DeepNet([4, 6, 3], hidden="tanh", output="softmax", **options)


def small(*args, **settings):
    """A stream whose memory holds a few minibatches only."""
    return xpnet.stream(*args, **{"memory": 12_000} | settings)


def seen(stream, epoch, net):
    """The rows of an epoch in the order in which `net` is shown them."""
    order = []
    with stream.chunks(epoch, 8, seed=net.seed, shuffle=True, dtype=np.float64) as chunks:
        for chunk in chunks:
            order += [chunk.row(i) for i in chunk.order]
    return np.array(order)


def test_a_stream_is_the_fit_of_its_rows_in_their_order(lib):
    """Chunk by chunk, in several chunks, and yet the same updates."""
    net, expected = make_net(lib), make_net()
    source = small(ROWS, LABELS)
    orders = [seen(source, epoch, net) for epoch in range(3)]
    assert not np.array_equal(orders[0], orders[1])
    assert all(np.array_equal(np.sort(order), np.arange(230)) for order in orders)
    history = net.fit(source, epochs=3, l2=1e-3, schedule=Step(1, 0.5), **OPTIONS)
    plain = expected.fit(
        ROWS.T, LABELS, epochs=3, l2=1e-3, schedule=Step(1, 0.5),
        shuffle=lambda epoch: orders[epoch], **OPTIONS,
    )  # fmt: skip
    assert history.data == "streamed"
    assert history.cost == pytest.approx(plain.cost, rel=1e-9)
    for found, wanted in zip(lib.host(net.parameters), expected.parameters):
        for one, other in zip(found, wanted):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)


def test_weights_come_along():
    w = RNG.uniform(0.0, 2.0, 230)
    net, expected, source = make_net(), make_net(), small(ROWS, LABELS, w)
    orders = [seen(source, epoch, net) for epoch in range(2)]
    cost = net.fit(source, epochs=2, **OPTIONS).cost
    plain = expected.fit(
        ROWS.T, LABELS, epochs=2, sample_weight=w, shuffle=lambda e: orders[e], **OPTIONS
    )
    assert cost == pytest.approx(plain.cost, rel=1e-12)
    assert_pairs_equal(net.parameters, expected.parameters)


@pytest.mark.parametrize("scale", [1.0, 1e38, 1e-40, 1e306, 1e-306])
@pytest.mark.parametrize("kind", ["memory", "stream", "split", "batches", "validation"])
def test_the_cost_of_an_epoch_is_that_of_all_examples(lib, kind, scale):
    """A weight counts relative to the mean of all, in any dtype, however large or small it is."""
    w = np.where(LABELS == 1, 9.0, 1.0) * scale
    source, cuts = small(ROWS, LABELS, w), pairwise([0, 8, 9, 150, 230])
    batches = xpnet.stream([(ROWS[a:b], LABELS[a:b], w[a:b]) for a, b in cuts])
    given = {
        "memory": {"X": lib.asarray(ROWS.T), "Y": LABELS, "sample_weight": w, "batch_size": 8},
        "stream": {"X": source, "batch_size": 8},
        "split": {"X": source.split(0.3)[0], "batch_size": 8},
        "batches": {"X": batches},
        "validation": {"X": small(ROWS, LABELS), "validation": source, "batch_size": 8},
    }[kind]
    rows = np.arange(230)
    if kind == "split":
        rows = np.concatenate([np.arange(*r) for c in given["X"].blocks() for r in c.rows])
    net = make_net(lib, dtype="float32")
    history = net.fit(optimizer=xpnet.GradientDescent(1e-30), epochs=1, **given)
    (found,) = history.validation_cost or history.cost
    X, y = lib.asarray(ROWS[rows].T), LABELS[rows]
    expected = make_net(lib).cost(X, y, np.where(y == 1, 9.0, 1.0))
    assert found == pytest.approx(expected, rel=2e-6)
    assert net.cost(X, y, w[rows]) == pytest.approx(expected, rel=2e-6)


def test_weights_of_a_stream_must_be_known_and_not_all_zero():
    one = [(ROWS, LABELS, np.ones(230))]
    with pytest.raises(ValueError, match="read once: pass a function"):
        make_net().fit(xpnet.stream(iter(one)))
    for none in (small(ROWS, LABELS, np.zeros(230)), xpnet.stream([(ROWS, LABELS, np.zeros(230))])):
        with pytest.raises(ValueError, match="zero for every example"):
            make_net().fit(none, batch_size=8 if none.n_examples else None)
        with pytest.raises(ValueError, match="zero for every example"):
            make_net().fit(ROWS.T, LABELS, validation=none)


@pytest.mark.parametrize("steps", [1, 3, 17, 29, 40])
def test_a_stream_stopped_in_the_middle_goes_on_to_the_last_bit(steps, tmp_path):
    class Stop:
        def on_steps_end(self, net, progress):
            return progress.step >= steps

    long, parts = make_net(), make_net()
    long.fit(small(ROWS, LABELS), epochs=3, **OPTIONS)
    parts.fit(small(ROWS, LABELS), epochs=3, callbacks=[Stop()], **OPTIONS)
    parts.save(tmp_path / "net.safetensors", training=True)
    loaded = xpnet.load(tmp_path / "net.safetensors")
    rest = 3 - loaded.training_state.epoch
    loaded.fit(small(ROWS, LABELS), epochs=rest, resume=True, **OPTIONS)
    assert_pairs_equal(loaded.parameters, long.parameters)
    assert loaded.history.cost == pytest.approx(long.history.cost, rel=1e-12)


def test_batches_of_any_size(lib):
    """Each is an update, as a loop of one-step fits would make it."""
    sizes = [5, 9, 1, 9, 30]
    edges = np.cumsum([0, *sizes])
    batches = [(ROWS[a:b], LABELS[a:b]) for a, b in pairwise(edges)]
    net, expected = make_net(lib), make_net()
    cost = net.fit(xpnet.stream(batches), optimizer=xpnet.Adam(0.01), epochs=2).cost
    for k in range(10):
        X, y = batches[k % 5]
        expected.fit(X.T, y, xpnet.Adam(0.01), batch_size=None, epochs=1, resume=k > 0)
    for found, wanted in zip(lib.host(net.parameters), expected.parameters):
        for one, other in zip(found, wanted):
            np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)
    assert len(cost) == 2


def test_validation_and_evaluation_on_streams(lib):
    net = make_net(lib)
    train, held = small(ROWS[:200], LABELS[:200]), small(ROWS[200:], LABELS[200:])
    history = net.fit(train, epochs=2, validation=held, **OPTIONS)
    X, y = lib.asarray(ROWS[200:].T), lib.asarray(LABELS[200:])
    assert history.validation_cost[-1] == pytest.approx(net.cost(X, y), rel=1e-9)
    accuracy = np.mean(lib.to_numpy(net.predict(X)) == LABELS[200:])
    assert history.validation_accuracy[-1] == pytest.approx(accuracy, rel=1e-6)


def test_a_memory_map_is_streamed(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    mapped, streamed = make_net(), make_net()
    assert mapped.fit(rows.T, LABELS, epochs=2, **OPTIONS).data == "streamed"
    streamed.fit(xpnet.stream(rows, LABELS), epochs=2, **OPTIONS)
    assert_pairs_equal(mapped.parameters, streamed.parameters)
    whole = make_net().fit(rows.T, LABELS, batch_size=None, epochs=2)
    assert whole.data == "device"  # all in one batch


def test_without_a_batch_size_a_stream_comes_in_minibatches_of_128(lib):
    auto, named = make_net(lib), make_net(lib)
    auto.fit(xpnet.stream(ROWS, LABELS), epochs=2)
    named.fit(xpnet.stream(ROWS, LABELS), epochs=2, batch_size=128)
    assert auto.training_state.step == 2 * 2
    assert_pairs_equal(lib.host(auto.parameters), lib.host(named.parameters))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_memory_map_decides_on_the_dtype_like_any_array(tmp_path, dtype):
    np.save(tmp_path / "x.npy", ROWS.astype(dtype))
    net = make_net(dtype=None)
    history = net.fit(np.load(tmp_path / "x.npy", mmap_mode="r").T, LABELS, epochs=1, batch_size=8)
    assert history.data == "streamed"
    assert net.backend.dtype_name == dtype


@pytest.mark.parametrize("mapped", [True, False])
def test_weights_may_be_a_row(tmp_path, mapped):
    np.save(tmp_path / "rows.npy", ROWS)
    X = np.load(tmp_path / "rows.npy", mmap_mode="r" if mapped else None).T
    w, net, expected = RNG.uniform(size=(1, 230)), make_net(), make_net()
    net.fit(X, LABELS, epochs=2, sample_weight=w, **OPTIONS)
    expected.fit(X, LABELS, epochs=2, sample_weight=w[0], **OPTIONS)
    assert_pairs_equal(net.parameters, expected.parameters)
    with pytest.raises(ValueError, match=r"sample_weight has shape \(230, 1\); expected \(230,\)"):
        net.fit(X, LABELS, sample_weight=w.T, **OPTIONS)


def test_what_a_stream_cannot_be_told():
    net, source = make_net(), small(ROWS, LABELS)
    for wrong, message in (
        ({"batch_size": None}, "needs a batch_size"),
        ({"Y": LABELS}, "own targets"),
        ({"shuffle": lambda e: np.arange(230)}, "shuffles by itself"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            net.fit(source, **OPTIONS | wrong)
    with pytest.raises(ValueError, match="4 features but this net takes 3"):
        xpnet.DeepNet([3, 2]).fit(source, **OPTIONS)
    with pytest.raises(TypeError, match="targets Y"):
        net.fit(ROWS.T)
    with pytest.raises(ValueError, match="no targets"):
        net.fit(small(ROWS), **OPTIONS)
    with pytest.raises(ValueError, match="batches: leave batch_size out"):
        net.fit(xpnet.stream([(ROWS, LABELS)]), **OPTIONS)


def test_labels_of_text_say_what_numbers_them():
    names = np.array(["setosa", "versicolor", "virginica"])[LABELS]
    source, net, expected = xpnet.stream(ROWS, names), make_net(), make_net()
    said = r"such as 'versicolor'.*stream\.prepared\(classes=stream\.statistics\(\)\.classes\)"
    texts = xpnet.stream(ROWS[LABELS == 1], names[LABELS == 1])
    for wrong in ({"X": texts}, {"X": small(ROWS, LABELS), "validation": texts}):
        with pytest.raises(TypeError, match=said):
            make_net().fit(**wrong, **OPTIONS)
    net.fit(source.prepared(classes=source.statistics().classes), epochs=1, **OPTIONS)
    expected.fit(xpnet.stream(ROWS, LABELS), epochs=1, **OPTIONS)
    assert_pairs_equal(net.parameters, expected.parameters)


def test_a_nan_names_its_row_and_loses_nothing():
    """The updates before it stay, and a repaired stream goes on from there."""
    broken = ROWS.copy()
    broken[77, 2] = np.nan
    net, whole = make_net(), make_net()
    options = OPTIONS | {"shuffle": False}
    with pytest.raises(ValueError, match=r"row 77\b"):
        net.fit(small(broken, LABELS), epochs=2, **options)
    state = net.training_state
    assert 0 < state.position * 8 <= 77
    net.fit(small(ROWS, LABELS), epochs=2, resume=True, **options)
    whole.fit(small(ROWS, LABELS), epochs=2, **options)
    assert_pairs_equal(net.parameters, whole.parameters)
