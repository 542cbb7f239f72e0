"""A program may be given an epoch in parts, and other examples between two of them.

``DeepNet.fit`` runs parts of an epoch for callbacks that look in the middle, and loads examples
chunk by chunk from a stream. Either way the steps are those of one run over everything.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from contextlib import nullcontext
from unittest.mock import Mock

import numpy as np
import pytest

import xpnet
from xpnet.core.activations import tanh
from xpnet.core.leaves import Data
from xpnet.core.losses import categorical
from xpnet.core.network import Objective, step_table
from xpnet.engines import engine_for, use
from xpnet.training.source import Resident

SIZES = (3, 5, 4)
M, BATCH = 22, 4  # 5 full minibatches and one of 2
STEPS = 6
SETTINGS = {
    "plain": {},
    "weighted": {"weighted": True},
    "everything": {"weighted": True, "dropout": (0.4,), "clipped": True, "sparse": True},
}
# One library per engine: dpnp runs the generic one, which array-api-strict stands for.
ENGINES = ["numpy", "array_api_strict", "torch", "jax", "cupy"]
RULE = xpnet.Adam(0.05)
RNG = np.random.default_rng(8)
THETA = RNG.normal(size=Objective(SIZES, (tanh,), categorical).layout.n_parameters)
ORDERS = np.stack([RNG.permutation(M) for _ in range(2)])


def examples(setting, dtype="float64"):
    """Rows on the host."""
    rng = np.random.default_rng(9)
    Y = np.eye(SIZES[-1])[rng.integers(0, SIZES[-1], M)]
    w = rng.uniform(0.1, 2.0, M).astype(dtype) if "weighted" in SETTINGS[setting] else None
    return Data(rng.normal(size=(M, SIZES[0])).astype(dtype), Y.astype(dtype), w)


def rows_of(data, index):
    return Data(*(None if x is None else np.ascontiguousarray(x[index]) for x in data))


class Training:
    """A program of this library, and its table of two epochs."""

    def __init__(self, lib, setting, data, batch_size=BATCH, on_host=False, engine=None):
        extras = {k: v for k, v in SETTINGS[setting].items() if k != "weighted"}
        objective = Objective(SIZES, (tanh,), categorical, penalized=True, **extras)
        self.place = xpnet.select(**lib.options, dtype="float64")
        t = np.arange(1.0, 2 * STEPS + 1)
        rate = np.full(len(t), RULE.learning_rate)
        self.table = step_table(RULE, t, rate, l2=0.01, l1=0.01, clip_norm=0.5, seed=7)
        with self.place.context():
            moments = tuple(self.place.asarray(np.zeros_like(THETA)) for _ in range(2))
            if not on_host:
                data = Data(*(None if x is None else self.place.asarray(x) for x in data))
            theta = self.place.asarray(THETA)
            with use(engine) if engine else nullcontext():
                made = engine_for(self.place, objective)
            self.program = made.program(RULE, data, batch_size, theta, moments)
        self.done, self.costs = 0, []

    def run(self, orders, steps=None):
        """The next steps."""
        if steps is None:
            steps = len(orders) * -(-orders.shape[1] // BATCH)
        rows = self.table[self.done : self.done + steps]
        with self.place.context():
            costs = self.program.run(orders, rows)
        assert costs.shape == (steps,)
        self.costs.append(costs)  # fetched at the end: until then nobody waits for the device
        self.done += steps

    def load(self, data):
        with self.place.context():
            self.program.load(data)

    def result(self):
        """Costs of all steps, and theta after them, on the host."""
        costs = np.concatenate([xpnet.to_numpy(c) for c in self.costs])
        return costs, np.array(xpnet.to_numpy(self.program.theta))


def assert_same(found, expected, exactly):
    for one, other in zip(found, expected, strict=True):
        assert np.all(np.isfinite(one))
        if exactly:
            np.testing.assert_array_equal(one, other)
        else:
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)


def whole(lib, setting, orders=ORDERS):
    training = Training(lib, setting, examples(setting))
    training.run(orders)
    return training.result()


def lives_on_host(lib):
    """Whether a stream's program is made with host rows, as ``DeepNet`` does it."""
    return lib.name == "cupy"


@pytest.mark.parametrize("lib", ENGINES, indirect=True)
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("cuts", [(), (1,), (2, 4), (5,), (1, 2, 3, 4, 5)], ids=str)
def test_an_epoch_in_parts_is_the_same_epoch(lib, setting, cuts):
    for on_host in {False, lives_on_host(lib)}:
        training = Training(lib, setting, examples(setting), on_host=on_host)
        for order in ORDERS:
            for piece in np.split(order, [BATCH * cut for cut in cuts]):
                training.run(piece[None, :])
        assert_same(training.result(), whole(lib, setting), exactly=lib.name == "numpy")


@pytest.mark.parametrize("lib", ENGINES, indirect=True)
@pytest.mark.parametrize("engine", [None, "generic"], ids=["own", "generic"])
@pytest.mark.parametrize("setting", SETTINGS)
def test_chunks_that_are_loaded_train_the_same_net(lib, setting, engine):
    """Chunks of 8, 12, 2 and 22 examples, in that order: shorter and longer than those before."""
    data = examples(setting)
    first = rows_of(data, np.zeros(BATCH, int))  # of no interest
    on_host = lives_on_host(lib) and engine is None
    training = Training(lib, setting, first, on_host=on_host, engine=engine)
    rng = np.random.default_rng(10)
    for start, stop in ((0, 8), (8, 20), (20, 22)):
        shuffle = rng.permutation(stop - start)
        inverse = np.argsort(shuffle)  # chunk[shuffle] are the examples in their order
        training.load(rows_of(data, ORDERS[0, start:stop][inverse]))
        half = BATCH * ((stop - start) // (2 * BATCH))
        for piece in np.split(shuffle, [half] if half else []):  # a chunk in parts as well
            training.run(piece[None, :])
    training.load(data)
    training.run(ORDERS[1:])
    assert_same(training.result(), whole(lib, setting), exactly=False)


@pytest.mark.parametrize("lib", ENGINES, indirect=True)
@pytest.mark.parametrize("setting", SETTINGS)
def test_chunks_that_are_minibatches(lib, setting):
    """Without a batch size each order is one minibatch, of whatever length."""
    data = examples(setting)
    first = rows_of(data, [0])
    training = Training(lib, setting, first, batch_size=None, on_host=lives_on_host(lib))
    for order in ORDERS:
        for start in range(0, M, BATCH):
            index = order[start : start + BATCH]
            training.load(rows_of(data, index))
            training.run(np.arange(len(index))[None, :], 1)
    assert_same(training.result(), whole(lib, setting), exactly=False)


@pytest.mark.parametrize("lib", ENGINES, indirect=True)
def test_minibatches_of_many_lengths(lib):
    """More lengths than an engine keeps recordings for, growing, then falling."""
    data = examples("weighted")
    lengths = [2, 3, 2, 2, 9, 2, 3, 9]
    if lib.name != "jax":  # which compiles each length for a second, and keeps them all
        lengths += [*range(1, M + 1), *range(M, 0, -3)]
    results = []
    for engine in (None, "generic"):
        on_host = lives_on_host(lib) and engine is None
        training = Training(lib, "weighted", rows_of(data, [0]), None, on_host, engine)
        training.table = np.tile(training.table, (4, 1))
        for k, n in enumerate(lengths):
            training.load(rows_of(data, np.roll(ORDERS[0], k)[:n]))
            training.run(np.arange(n)[None, ::-1].copy(), 1)
        results.append(training.result())
    assert_same(*results, exactly=False)


@pytest.mark.parametrize("lib", ENGINES, indirect=True)
def test_loading_leaves_the_first_examples_as_they_were(lib):
    if lives_on_host(lib):
        pytest.skip("nothing of it is on the device")
    first, data = examples("weighted"), examples("weighted")
    training = Training(lib, "weighted", first, on_host=lib.name == "numpy")
    training.run(ORDERS[:1])
    training.load(rows_of(data, np.arange(M)[::-1]))
    training.run(ORDERS[1:])
    for mine, kept in zip(first, data, strict=True):
        np.testing.assert_array_equal(mine, kept)


@pytest.mark.parametrize("lib", ["jax"], indirect=True)
def test_a_short_last_chunk_compiles_nothing(lib):
    from xpnet.engines.jax import _compiled_steps

    data = examples("everything")
    _compiled_steps.cache_clear()
    training = Training(lib, "everything", rows_of(data, np.zeros(BATCH, int)))
    for epoch in range(2):
        for start, stop in ((0, 8), (8, 16), (16, 22)):
            training.load(rows_of(data, ORDERS[epoch, start:stop]))
            training.run(np.arange(stop - start)[None, :])
    assert training.program._steps._cache_size() == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("lib", ["numpy", "torch", "jax", "cupy"], indirect=True)
def test_keys_with_all_their_bits(lib, dtype):
    """Masks after more steps than 32 bits count, from a seed that needs its upper half."""
    t = 2.0**32 + np.array([-70000, -2, -1, 0, 1, 2, 3, 4, 5, 5, 9, 10])
    table = step_table(RULE, t, np.full(len(t), 0.05), seed=2**32 - 5)
    objective = Objective((3, 7, 6, 4), (tanh, tanh), categorical, dropout=(0.5, 0.25))
    theta = np.random.default_rng(3).normal(size=objective.layout.n_parameters)
    results = []
    for name, engine in ((lib.name, lib.name), ("numpy", "generic")):
        place = xpnet.select(name, dtype=dtype)
        with place.context():
            data = Data(*(place.asarray(x) for x in examples("plain", dtype)[:2]), None)
            with use(engine):
                made = engine_for(place, objective)
            start = place.asarray(theta.astype(dtype))
            program = made.program(RULE, data, BATCH, start, (0 * start, 0 * start))
            costs = program.run(ORDERS, table)
            results.append([xpnet.to_numpy(x) for x in (costs, program.theta)])
    for found, expected in zip(*results, strict=True):
        tolerance = 1e-4 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("lib", ["jax"], indirect=True)
def test_neither_steps_nor_seeds_nor_coefficients_compile_anew(lib):
    training = Training(lib, "everything", examples("everything"))
    training.run(ORDERS[:1])
    compiled = training.program._steps._cache_size()
    others = {"l2": 0.5, "l1": 0.1, "clip_norm": 2.0, "seed": 11}
    training.table = step_table(RULE, np.arange(100.0, 100 + 2 * STEPS), np.ones(12), **others)
    training.run(ORDERS[1:])
    assert training.program._steps._cache_size() == compiled


@pytest.mark.parametrize("stopped", [False, True])
def test_the_next_order_of_many_examples_is_made_in_a_thread(stopped, monkeypatch):
    monkeypatch.setattr("xpnet.training.source.MANY", M)
    makers, stop = {}, threading.Event()

    def order(epoch):
        makers[epoch] = threading.current_thread().name
        if stopped and epoch == 3:
            stop.wait()
        return np.random.default_rng(epoch).permutation(M)

    source = Resident(M, BATCH, order, repeatable=True, ahead=True)
    # a replay goes back, and a fit may be resumed elsewhere
    for epoch, n in ((0, 1), (1, 1), (0, 1), (1, 2), (7, 1), (8, 1)):
        expected = [np.random.default_rng(e).permutation(M) for e in range(epoch, epoch + n)]
        if not (stopped and epoch == 7):
            np.testing.assert_array_equal(source.whole(epoch, n).orders, expected)
            continue
        monkeypatch.setattr(Future, "result", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            source.whole(3, 1)
        break
    assert makers[0] == "MainThread"
    assert makers[2].startswith("xpnet-order")
    thread = next(t for t in threading.enumerate() if t.name.startswith("xpnet-order"))
    stop.set()
    del source
    thread.join(timeout=5)
    assert not thread.is_alive()
