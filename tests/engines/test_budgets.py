"""Budgets of a warm step of the NumPy engine: calls of NumPy, and bytes of new arrays.

Counts do not depend on the machine. The nets are those of ``benchmarks/peers``. A test fails where
a step costs more than its budget; where it costs less, lower the budget.
"""

from __future__ import annotations

import tracemalloc
from types import MethodType

import numpy as np
import pytest

import xpnet
from xpnet.core.losses import categorical
from xpnet.core.parameters import Layout
from xpnet.engines import numpy as engine
from xpnet.engines.numpy_dropout import Fields

# sizes, hidden, examples in a batch, whether the batch is all examples, calls of a warm step
NETS = {
    "2-4-1": ([2, 4, 1], "tanh", 400, True, 28),
    "30-32-1": ([30, 32, 1], "relu", 32, False, 38),
    "64-64-10": ([64, 64, 10], "relu", 64, False, 37),
    "784-256-128-10": ([784, 256, 128, 10], "relu", 128, False, 45 + 7 * 10),
    "784-256-10": ([784, 256, 10], "relu", 128, False, 37 + 6 * 10),
    "784-1024-10": ([784, 1024, 10], "relu", 128, False, 37 + 24 * 10),
    "12288-20-7-5-1": ([12288, 20, 7, 5, 1], "relu", 209, True, 43 + 7 * 2),
}

# What these settings may add to a warm step. The wide net has eight blocks of weights.
SETTINGS = {
    "dropout": (["784-256-128-10", {"dropout": 0.5}], 1 + 2 * 4),
    "dropout, one layer": (["784-256-128-10", {"dropout": (0.0, 0.5)}], 1 + 4),
    "dropout, small net": (["64-64-10", {"dropout": 0.5}], 1 + 4),
    "dropout, all examples": (["2-4-1", {"dropout": 0.5}], 1 + 4),
    "l2": (["64-64-10", {"l2": 0.1}], 4 + 2),
    "l1": (["64-64-10", {"l1": 0.1}], 4 + 3),
    "l1, wide": (["784-256-128-10", {"l1": 0.1}], 8 * (4 + 3)),
    "clip_norm": (["784-256-128-10", {"clip_norm": 1.0}], 7),
}
DRAW = 120  # calls that draw the random numbers of up to 64 steps


class Counted:
    """The calls of a recording, each counted when it is made."""

    def __init__(self, calls):
        self.calls = calls
        self.made = 0

    def __iter__(self):
        for call in self.calls:
            self.made += 1
            yield call


def warm_program(sizes, hidden, m, full, monkeypatch, **settings):
    """A program that has run, and the orders and table of four more steps."""
    monkeypatch.setattr(engine, "best_recorder", lambda: engine.Recorder)  # not Numba's
    programs = []
    original = engine.Program.run

    def run(self, orders, table):
        programs.append((self, orders, table))
        return original(self, orders, table)

    monkeypatch.setattr(engine.Program, "run", run)
    generator = np.random.default_rng(0)
    n = m if full else 4 * m
    X = generator.standard_normal((sizes[0], n), dtype=np.float32)
    Y = generator.integers(0, max(2, sizes[-1]), n)
    net = xpnet.DeepNet(sizes, hidden, "sigmoid" if sizes[-1] == 1 else "softmax", "numpy")
    optimizer = xpnet.GradientDescent(0.01) if full else xpnet.Adam(1e-3)
    batch_size = None if full else m
    with xpnet.engines.use("numpy"):
        net.fit(X, Y, optimizer, epochs=4 if full else 1, batch_size=batch_size, **settings)
    (program, orders, table), *_ = programs
    monkeypatch.undo()
    return program, orders, table


@pytest.mark.parametrize("name", NETS)
def test_numpy_calls_of_a_warm_step(name, monkeypatch):
    *net, budget = NETS[name]
    program, orders, table = warm_program(*net, monkeypatch)
    (length, (buffer, calls, cost)), *others = program.recordings.items()
    assert not others  # one batch length, one recording
    counted = Counted(calls)
    program.recordings[length] = buffer, counted, cost
    program.run(orders, table)
    assert 0 < counted.made <= len(table) * budget


@pytest.mark.parametrize("setting", SETTINGS)
def test_numpy_calls_that_a_setting_adds(setting, monkeypatch):
    (name, settings), more = SETTINGS[setting]
    *net, budget = NETS[name]
    program, *_ = warm_program(*net, monkeypatch, **settings)
    ((_, calls, _),) = program.recordings.values()
    assert 0 < len(calls) <= budget + more


def test_numpy_calls_of_a_draw(monkeypatch):
    fields = Fields({0: 64}, 64, [np.zeros((), np.float32)] * 4)
    fields.advance()
    (calls,) = fields._calls.values()
    assert 0 < len(calls) <= DRAW


@pytest.mark.parametrize("name", [*NETS, *SETTINGS])
def test_a_warm_step_makes_no_array(name, monkeypatch):
    """Every result of a step is written into an array that existed before."""
    (net, settings), _ = SETTINGS.get(name, ((name, {}), None))
    program, *_ = warm_program(*NETS[net][:-1], monkeypatch, **settings)
    ((_, calls, _),) = program.recordings.values()
    if "dropout" in settings:  # as in most steps of a wide net, and some of a small one
        (fields,) = {call.__self__ for call in calls if isinstance(call, MethodType)}
        calls = [lambda: fields._draw(*fields._drawn), *calls]
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    tracemalloc.start()
    try:
        before = tracemalloc.take_snapshot().filter_traces([arrays])
        results = [call() for call in calls]
        after = tracemalloc.take_snapshot().filter_traces([arrays])
        tracemalloc.reset_peak()
        live = tracemalloc.get_traced_memory()[0]
        for call in calls:
            call()
        peak = tracemalloc.get_traced_memory()[1] - live
    finally:
        tracemalloc.stop()
    assert sum(s.size_diff for s in after.compare_to(before, "filename")) == 0
    assert len(results) == len(calls)
    # What NumPy takes within one call to broadcast or to cast: its buffer of 8192 elements.
    assert peak <= 8192 * 4 + 4096


@pytest.mark.parametrize("name", NETS)
def test_memory_of_a_run_does_not_grow_with_its_steps(name, monkeypatch):
    program, orders, table = warm_program(*NETS[name][:-1], monkeypatch)

    def peak(steps):
        tracemalloc.start()
        try:
            program.run(orders, steps)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(table)
    returned = 4 * (1 + table.shape[1])  # its cost, and its scalars in float32
    assert peak(table) - peak(table[:2]) <= (len(table) - 2) * returned + 512


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("sizes", "m", "looks"), [([30, 32, 1], 2048, 2), ([784, 256, 10], 4096, 16)], ids=str
)
def test_how_often_a_fit_looks_at_its_state(sizes, m, looks, monkeypatch):
    """Of 2048 steps: every 1024 where they are cheap, every 128 where they are not."""
    kept = []
    monkeypatch.setattr(engine.Program, "snapshot", lambda self: kept.append(self))
    monkeypatch.setattr(engine.Program, "run", lambda self, orders, table: np.ones(len(table)))
    X, y = np.zeros((sizes[0], m), np.float32), np.arange(m) % 2
    net = xpnet.DeepNet(sizes, output="sigmoid" if sizes[-1] == 1 else "softmax")
    net.fit(X, y, epochs=2048 * 32 // m, batch_size=32)
    assert len(kept) == 1 + looks


@pytest.mark.parametrize("gap", [60.0, 90.0, 95.0, 100.0])
def test_a_confident_softmax_makes_no_subnormal_number(gap):
    """Products of such numbers take 40 times as long, so a net would slow down as it learns."""
    layout = Layout((2, 3))
    ops = engine.Recorder(np, layout, np.dtype("float32"), 4)
    Z = np.array([[0.0], [-gap], [-gap / 2]], np.float32) + np.zeros((1, 4), np.float32)
    Y = np.array([[1.0, 0.0, 0.0, 1.0]] + [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]], np.float32)
    expected = categorical.value(Z.astype(np.float64), Y, xp=np).mean()
    ops.all_examples = False
    cost, dZ = ops.output(categorical, Z, Y, ops.scalar(0.25))
    assert float(cost) == pytest.approx(expected, rel=1e-6)
    assert not np.any((dZ != 0) & (np.abs(dZ) < np.finfo(np.float32).smallest_normal))


def vectors_of_a_fit(sizes, monkeypatch, **settings):
    """Bytes of all arrays a fit holds between two calls of the program, in vectors of parameters.

    Batches of 2 and 1 examples: what else there is, activations and examples, is next to nothing.
    """
    arrays, held = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain), []
    original = engine.Program.run

    def run(self, orders, table):
        costs = original(self, orders, table)
        traces = tracemalloc.take_snapshot().filter_traces([arrays]).traces
        held.append(sum(trace.size for trace in traces))
        return costs

    monkeypatch.setattr(engine.Program, "run", run)
    net = xpnet.DeepNet(sizes, output="softmax")
    X, y = np.ones((sizes[0], 5), np.float32), np.arange(5)
    tracemalloc.start()
    try:
        net.fit(X, y, xpnet.Adam(1e-3), epochs=1, batch_size=2, **settings)
    finally:
        tracemalloc.stop()
    return max(held) / (4 * Layout(tuple(sizes)).n_parameters)


@pytest.mark.parametrize("recorder", ["numpy", "numba"])
@pytest.mark.parametrize(
    ("settings", "most"), [({}, 6.6), ({"l2": 0.1}, 6.6), ({"clip_norm": 1.0}, 7.05)], ids=str
)
def test_vectors_of_parameters_that_a_wide_fit_holds(recorder, settings, most, monkeypatch):
    module = pytest.importorskip(f"xpnet.engines.{recorder}")
    monkeypatch.setattr(engine, "best_recorder", lambda: module.Recorder)
    assert vectors_of_a_fit([784, 1024, 1024, 10], monkeypatch, **settings) <= most


RULES = [
    xpnet.GradientDescent(0.1),
    xpnet.Momentum(0.1, nesterov=True),
    xpnet.RMSProp(1e-3),
    xpnet.Adam(1e-3),
    xpnet.AdamW(1e-3, weight_decay=0.1),
]


@pytest.mark.parametrize("recorder", ["numpy", "numba"])
@pytest.mark.parametrize("optimizer", RULES, ids=lambda rule: type(rule).__name__)
def test_a_gradient_of_one_layer_at_a_time_changes_no_bit(recorder, optimizer, monkeypatch):
    module = pytest.importorskip(f"xpnet.engines.{recorder}")
    monkeypatch.setattr(engine, "best_recorder", lambda: module.Recorder)
    generator = np.random.default_rng(0)
    X, y = generator.standard_normal((190, 7), dtype=np.float32), np.arange(7) % 5
    found = []
    for wide in (2**60, 0):
        monkeypatch.setattr("xpnet.engines.numpy_recorder.WIDE", wide)
        net = xpnet.DeepNet([190, 191, 187, 5], output="softmax", seed=0)
        penalties = {"l2": 0.1, "l1": 0.01, "dropout": 0.2, "batch_size": 3, "epochs": 3}
        history = net.fit(X, y, optimizer, **penalties)
        found.append([history.cost, *(p for layer in net.parameters for p in layer)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
