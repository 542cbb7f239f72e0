"""Steps as CUDA graphs: the same bits as steps one by one, in a few calls of the host."""

import ctypes
import logging

import device_counts as counts
import numpy as np
import pytest
from device_counts import cupy

import xpnet
from xpnet.engines.cupy import cublas, graphs

counts.need_cublas()

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 150))
LABELS = RNG.integers(0, 3, 150)
EVERYTHING = {"l2": 1e-3, "l1": 1e-4, "dropout": 0.3, "clip_norm": 0.1}


@pytest.fixture
def captured(monkeypatch):
    """The lengths of the steps of each graph that is captured; they are few, for short tests."""
    monkeypatch.setattr(graphs, "STEPS", (8, 8))
    seen, capture = [], graphs.Graphs._capture

    def noted(self, part):
        graph = capture(self, part)
        seen.append(part)
        return graph

    monkeypatch.setattr(graphs.Graphs, "_capture", noted)
    return seen


def fit(epochs=8, batch_size=50, optimizer=None, hidden="relu", net=None, **settings):
    if net is None:
        net = xpnet.DeepNet([6, 5, 4, 3], hidden, "softmax", "cupy", dtype="float32", seed=1)
    optimizer = optimizer or xpnet.Adam(1e-2)
    history = net.fit(X, LABELS, optimizer, epochs=epochs, batch_size=batch_size, **settings)
    return net, history


def bits(net, history=None):
    arrays = [x.get().ravel() for layer in net.parameters for x in layer]
    arrays += [m.get() for m in net._held.state.moments]
    return np.concatenate(arrays + ([] if history is None else [history.cost]))


@pytest.mark.parametrize("batch_size", [50, 40, None], ids=str)
@pytest.mark.parametrize(
    "settings",
    [{}, EVERYTHING, {"sample_weight": np.arange(150.0)}, {"optimizer": xpnet.Momentum(0.05)}],
    ids=["plain", "everything", "weights", "momentum"],
)
def test_graphs_have_the_bits_of_steps_one_by_one(batch_size, settings, captured, monkeypatch):
    epochs = 25 if batch_size is None else 8
    found = bits(*fit(epochs, batch_size, **settings))
    assert captured
    assert {n for part in captured for n in part} <= {50, 40, 30, 150}
    captured.clear()
    monkeypatch.setattr(graphs.Graphs, "wanted", False)
    np.testing.assert_array_equal(found, bits(*fit(epochs, batch_size, **settings)))
    assert not captured


def test_a_long_fit_and_two_short_ones_have_the_same_bits(captured):
    long, _ = fit(12, dropout=0.3, l2=1e-3)
    for epochs in ((1, 11), (7, 5)):
        net = None
        for n in epochs:
            net, _ = fit(n, net=net, resume=net is not None, dropout=0.3, l2=1e-3)
        np.testing.assert_array_equal(bits(net), bits(long))
    assert captured


def test_a_callback_may_look_and_assign(captured, monkeypatch):
    class Halve:
        def on_epoch_end(self, net, progress):
            net.predict(X)
            net.parameters = [(0.5 * W, b) for W, b in net.parameters]

    found = bits(fit(14, callbacks=[Halve()])[0])
    assert captured
    monkeypatch.setattr(graphs.Graphs, "wanted", False)
    np.testing.assert_array_equal(found, bits(fit(14, callbacks=[Halve()])[0]))


def test_a_short_fit_pays_for_no_capture(captured):
    fit(2)
    assert not captured


class Own(xpnet.RMSProp):
    def update(self, *args, **kwargs):
        return super().update(*args, **kwargs)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "hidden": xpnet.Activation(
                "own", lambda z, *, xp: xp.tanh(z), lambda a, *, xp: 1 - a * a
            )
        },
        {"optimizer": Own(1e-2)},
        {"prefetch": True},
    ],
    ids=["activation", "optimiser", "prefetch"],
)
def test_what_cannot_be_captured_runs_step_by_step(settings, captured):
    twin = {"optimizer": xpnet.RMSProp(1e-2)} if "optimizer" in settings else {}
    expected, _ = fit(14, hidden="tanh", **twin)
    captured.clear()
    found, _ = fit(14, **{"hidden": "tanh"} | settings)
    assert not captured
    np.testing.assert_allclose(bits(found), bits(expected), rtol=1e-3, atol=1e-5)


def test_where_capture_is_refused_it_is_said_once(monkeypatch, caplog):
    """A product without a workspace would have to allocate one, which a capture forbids."""
    expected, enter = bits(*fit(14)), cublas.Products.enter

    def refused(self, stream):
        enter(self, stream)
        if stream is not cupy.cuda.Stream.null:
            self._cublas.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream.ptr))

    graphs._say.cache_clear()
    monkeypatch.setattr(cublas.Products, "enter", refused)
    with caplog.at_level(logging.INFO, logger="xpnet"):
        for _ in range(2):
            np.testing.assert_array_equal(bits(*fit(14)), expected)
    (said,) = [r for r in caplog.records if "no CUDA graph" in r.message]
    assert said.levelno == logging.INFO
    assert "cuBLAS refused a matrix product: INTERNAL_ERROR" in said.message


@pytest.mark.parametrize(
    ("n_layers", "steps"), [(1, 64), (2, 64), (3, 64), (6, 64), (7, 32), (13, 16), (100, 8)]
)
def test_steps_in_a_graph(n_layers, steps):
    assert graphs.steps_together(n_layers) == steps


NETS = {  # widths, batch, examples, epochs that fill a run of the engine
    "2-4-1": ([2, 4, 1], None, 40, 128),
    "30-32-1": ([30, 32, 1], 32, 512, 8),
    "64-64-10": ([64, 64, 10], 16, 449, 4),
    "784-256-128-10": ([784, 256, 128, 10], 32, 512, 8),
}


@pytest.mark.skipif(not counts.ON_STAND_IN, reason="the stand-in counts every call")
@pytest.mark.parametrize("name", NETS)
def test_calls_of_the_host(name, capsys):
    """Of one more run, from the public fit: launches, products, graphs, copies and fills."""
    sizes, batch_size, m, epochs = NETS[name]
    x = RNG.standard_normal((sizes[0], m)).astype(np.float32)
    y = RNG.integers(0, max(2, sizes[-1]), m)
    output = "softmax" if sizes[-1] > 1 else "sigmoid"
    found = []
    for runs in (2, 3):
        net = xpnet.DeepNet(sizes, "relu", output, "cupy", dtype="float32")
        with counts.stand_in.counting() as c:
            net.fit(x, y, epochs=runs * epochs, batch_size=batch_size)
        names = ("launches", "gemms", "graph_launches", "h2d", "d2h", "d2d", "memsets")
        found.append({n: getattr(c, n) for n in names})
    steps = epochs * (1 if batch_size is None else -(-m // batch_size))
    calls = {n: (found[1][n] - found[0][n]) / steps for n in found[0]}
    with capsys.disabled():
        print(f"\n{name}, a step:", calls)
    assert calls["gemms"] == 0
    assert sum(calls.values()) <= 0.1
