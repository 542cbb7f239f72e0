"""The compiled engine: which fits it takes, what it refuses, what it holds, and how it is kept.

That it follows the reference is in ``test_engines.py``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from helpers import assert_pairs_equal

import xpnet
from xpnet.core.leaves import Data
from xpnet.engines import engine_for, use

pytest.importorskip("numba")
choice = pytest.importorskip("xpnet.engines.compiled.choice")
program = pytest.importorskip("xpnet.engines.compiled.program")
tiles = pytest.importorskip("xpnet.engines.compiled.tiles")

RNG = np.random.default_rng(3)
X, LABELS = RNG.standard_normal((6, 203)), RNG.integers(0, 3, 203)


def make(dtype="float64", **options):
    return xpnet.DeepNet([6, 17, 9, 3], "tanh", "softmax", dtype=dtype, seed=2, **options)


def fit(net, **settings):
    return net.fit(X, LABELS, **{"epochs": 3, "batch_size": 20} | settings)


# -- the path follows from the net, its options and its examples -------------------------
class Mine(xpnet.Adam):
    def update(self, *args, **kwargs):
        return super().update(*args, **kwargs)


OWN = xpnet.Activation("own", lambda z, *, xp: xp.tanh(z), lambda a, *, xp: 1.0 - a * a)


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({}, "compiled"),
        ({"epochs": 1}, "compiled"),
        ({"batch_size": None}, "compiled"),
        ({"l2": 0.1, "l1": 0.1, "dropout": 0.5, "sample_weight": np.ones(203)}, "compiled"),
        ({"clip_norm": 1.0}, "numpy"),
        ({"optimizer": Mine()}, "numpy"),
        ({"optimizer": xpnet.Adam(epsilon=0.0)}, "numpy"),
        ({"optimizer": xpnet.Adam(beta1=0.9, beta2=0.5)}, "numpy"),
    ],
    ids=str,
)
def test_which_fits_are_compiled(settings, engine):
    assert fit(make(), **settings).engine == engine


def test_nets_with_functions_of_a_user_and_streams_of_batches_are_recorded():
    net = xpnet.DeepNet([6, 5, 3], OWN, "softmax")
    assert net.fit(X, LABELS, epochs=1).engine == "numpy"
    chunks = xpnet.stream(lambda epoch: [(X.T[:7], LABELS[:7]), (X.T[7:20], LABELS[7:20])])
    assert make().fit(chunks, epochs=1, batch_size=None).engine == "numpy"
    rows = xpnet.stream(X.T.copy(), LABELS)
    assert make().fit(rows, epochs=1, batch_size=20).engine == "compiled"


def test_an_engine_can_be_pinned():
    with use("numpy"):
        assert fit(make()).engine == "numpy"
    with use("compiled"):
        assert fit(make()).engine == "compiled"
        with pytest.raises(ValueError, match="clip_norm"):
            fit(make(), clip_norm=1.0)
    with use("generic"):
        assert fit(make()).engine == "generic"


@pytest.mark.parametrize(
    ("sizes", "m", "pays"),
    [
        ((30, 32, 1), 32, True),
        ((784, 4096, 10), 128, True),
        ((784, 512, 512, 10), 128, True),
        ((784, 1024, 512, 10), 128, True),
        ((784, 1024, 1024, 10), 256, False),
        ((784, 600, 300, 600, 600, 10), 128, False),
        ((784, 256, 10), 1_000_000, False),  # one step takes seconds, which Ctrl-C would wait for
    ],
    ids=str,
)
def test_the_cost_model(sizes, m, pays):
    assert choice.pays(sizes, m) is pays
    assert choice.steps_at_once(sizes, m) == 1 or (
        choice.steps_at_once(sizes, m) * choice.work(sizes, m) <= choice.CALL
    )


def test_a_call_of_compiled_code_is_short():
    """At most a quarter of a second by the cost model; here a small and a wide net's calls."""
    for sizes, m in (((2, 4, 1), 1), ((64, 64, 10), 64), ((784, 256, 10), 128)):
        work = choice.work(sizes, m) * choice.steps_at_once(sizes, m)
        net = xpnet.DeepNet(list(sizes), output="softmax" if sizes[-1] > 1 else "sigmoid")
        x, y = np.ones((sizes[0], 4 * m), np.float32), np.arange(4 * m) % 2
        made = net.fit(x, y, epochs=2, batch_size=m)
        began = time.process_time()
        steps = 4 * len(net.fit(x, y, epochs=50, batch_size=m).cost)
        seconds = (time.process_time() - began) / steps
        assert made.engine == "compiled"
        assert seconds * work / choice.work(sizes, m) < 4 * 0.25  # of a busy machine


# -- to the last bit ---------------------------------------------------------------------
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch_size", [None, 20])
def test_one_long_fit_is_two_short_ones(dtype, batch_size, tmp_path):
    options = {"batch_size": batch_size, "dropout": 0.2, "l2": 0.01, "optimizer": xpnet.AdamW()}
    whole, parts = make(dtype), make(dtype)
    cost = fit(whole, epochs=40, **options).cost
    found = fit(parts, epochs=13, **options).cost
    parts.save(tmp_path / "net.safetensors", training=True)
    for net in (parts, xpnet.load(tmp_path / "net.safetensors")):
        later = fit(net, epochs=27, resume=True, **options)
        assert found + later.cost == cost
        assert later.engine == "compiled"
        assert_pairs_equal(net.parameters, whole.parameters)


def test_cuts_into_calls_change_nothing(monkeypatch):
    whole, cut = make(), make()
    fit(whole)
    monkeypatch.setattr(program, "steps_at_once", lambda sizes, m: 3)
    fit(cut)
    assert_pairs_equal(cut.parameters, whole.parameters)


# -- what would not be finite is refused -------------------------------------------------
RULES = [xpnet.GradientDescent, xpnet.Momentum, xpnet.RMSProp, xpnet.Adam, xpnet.AdamW]


def diverging(dtype, at, rule, **more):
    """Arguments of a fit whose step ``at`` (from 1) meets an example that breaks it."""
    largest = float(np.finfo(dtype).max)
    x = np.tile(X[:, :200], 1).astype(dtype)
    x[0, 20 * (at - 1) + 3] = largest**0.9
    y = np.zeros((2, 200), dtype)
    y[1, :] = 1.0
    return (x, y, rule), {"batch_size": 20, "shuffle": False} | more


def deep(dtype):
    return xpnet.DeepNet([6, 5, 2], "relu", "identity", dtype=dtype, seed=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("at", [1, 4, 10])
def test_a_step_that_breaks_is_named_and_not_made(rule, at, dtype):
    net, before = deep(dtype), deep(dtype)
    data, options = diverging(dtype, at, rule(1e-3))
    with pytest.raises(xpnet.DivergedError, match=rf"epoch 1 of 3, step {at} of 10") as caught:
        net.fit(*data, epochs=3, **options)
    assert (caught.value.epoch, caught.value.step) == (1, at)
    x, y, _ = data
    n = 20 * (at - 1)
    if n:
        before.fit(x[:, :n], y[:, :n], rule(1e-3), epochs=1, **options)
    assert_pairs_equal(net.parameters, before.parameters)
    state = net.training_state
    assert (state.epoch, state.step, state.position) == (0, at - 1, at - 1)
    x[:, 20 * (at - 1) + 3] = 0.0  # the data mended, the fit goes on from that very step
    history = net.fit(x, y, rule(1e-3), epochs=1, resume=True, **options)
    whole = deep(dtype)
    assert whole.fit(x, y, rule(1e-3), epochs=1, **options).cost == history.cost
    assert_pairs_equal(net.parameters, whole.parameters)


@pytest.mark.parametrize("batch_size", [None, 20])
def test_a_later_epoch_that_breaks_keeps_the_earlier_ones(batch_size):
    """Also where many epochs are one call."""
    schedule = lambda epoch: 1.0 if epoch < 7 else 1e200  # noqa: E731
    net, expected = deep("float64"), deep("float64")
    x, y = X, X[:2]
    options = {"optimizer": xpnet.GradientDescent(0.01), "batch_size": batch_size}
    with pytest.raises(xpnet.DivergedError, match=r"epoch (8|9) of 20") as caught:
        net.fit(x, y, epochs=20, schedule=schedule, **options)
    good = caught.value.epoch - 1
    assert net.history.cost[:7] == expected.fit(x, y, epochs=7, **options).cost
    assert len(net.history.cost) == net.training_state.epoch == good
    assert caught.value.last_cost == net.history.cost[-1]
    assert all(np.all(np.isfinite(p)) for layer in net.parameters for p in layer)


def test_a_finite_cost_with_moments_that_overflow_is_refused():
    net = xpnet.DeepNet([6, 1], output="identity", dtype="float32")
    before, x = net.parameters, (1e10 * X).astype("float32")
    with pytest.raises(xpnet.DivergedError, match=r"step 1 of 11: cost .* a moment of the"):
        net.fit(x, np.full((1, 203), 1e12, "float32"), xpnet.Adam(), batch_size=20)
    assert_pairs_equal(net.parameters, before)


def test_an_infinite_cost_of_finite_updates_is_refused():
    """The squares of such errors overflow, their sums times the rate do not."""
    net = xpnet.DeepNet([6, 1], output="identity", dtype="float32")
    before = net.parameters
    far = np.full((1, 203), 1e25, "float32")
    with pytest.raises(xpnet.DivergedError, match="step 1 of 11: cost inf"):
        net.fit(X.astype("float32"), far, xpnet.GradientDescent(1e-30), batch_size=20)
    assert_pairs_equal(net.parameters, before)


@pytest.mark.parametrize("rule", [xpnet.GradientDescent(0.0), xpnet.Momentum(1e-30), xpnet.Adam()])
def test_large_numbers_that_stay_finite_are_no_divergence(rule):
    """The cheap bound does not hold there, and every update is tried first."""
    net = xpnet.DeepNet([2, 1], output="identity", dtype="float32")
    net.parameters = [(np.full((1, 2), 3e38), np.zeros((1, 1)))]
    assert net.fit(np.zeros((2, 3)), np.zeros((1, 3)), rule, epochs=4).cost == [0.0] * 4
    assert np.max(net.parameters[0].W) == np.float32(3e38)


@pytest.mark.parametrize(("dtype", "large"), [("float32", 1e25), ("float64", 1e200)])
@pytest.mark.parametrize("n_x", [1, 2, 3, 9])
def test_examples_without_weight_are_no_divergence(dtype, large, n_x):
    """However large: they may stand beside others in memory, where pads of a gradient are."""
    x, weight = np.ones((n_x, 12), dtype), np.ones(12)
    x[:, 1::2], weight[1::2] = large, 0.0
    costs = []
    for engine in ("generic", "compiled"):
        net = xpnet.DeepNet([n_x, 1], output="sigmoid", dtype=dtype)
        options = {"epochs": 2, "batch_size": 4, "shuffle": False, "sample_weight": weight}
        with use(engine):
            costs.append(net.fit(x, np.arange(12) // 2 % 2, xpnet.Adam(), **options).cost)
    np.testing.assert_allclose(*costs, rtol=1e-5 if dtype == "float32" else 1e-12)


def test_trying_first_changes_no_bit(monkeypatch):
    plain, tried = make(), make()
    fit(plain, l2=0.1, optimizer=xpnet.AdamW())
    monkeypatch.setattr(program.Program, "_limits", lambda self, table: (-1.0, 0.0))
    fit(tried, l2=0.1, optimizer=xpnet.AdamW())
    assert_pairs_equal(tried.parameters, plain.parameters)


# -- interrupts --------------------------------------------------------------------------
@pytest.mark.parametrize("call", [1, 2, 5, 14])
@pytest.mark.parametrize("batch_size", [None, 20])
@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after it"])
def test_an_interrupted_fit_loses_no_step(call, batch_size, after, monkeypatch):
    """Ctrl-C between two calls of compiled code: what was made counts, and the fit goes on."""
    monkeypatch.setattr(program, "steps_at_once", lambda sizes, m: 3)
    options = {"batch_size": batch_size, "dropout": 0.2, "epochs": 60}
    whole, net, calls = make(), make(), []
    cost = fit(whole, **options).cost
    runner = program.runner

    def breaking(dtype):
        steps = runner(dtype)

        def run(*args):
            calls.append(1)
            if len(calls) == call and not after:
                raise KeyboardInterrupt
            steps(*args)
            if len(calls) == call and after:
                raise KeyboardInterrupt

        return run

    with monkeypatch.context() as patched:
        patched.setattr(program, "runner", breaking)
        with pytest.raises(KeyboardInterrupt):
            fit(net, **options)
    state = net.training_state
    made = 3 * (call if after else call - 1)
    assert state.step == made if batch_size is None else made - 2 <= state.step <= made
    rest = fit(net, **options | {"epochs": 60 - state.epoch}, resume=True)
    assert rest.engine == "compiled"
    assert_pairs_equal(net.parameters, whole.parameters)
    assert net.training_state.history.cost == cost


@pytest.mark.parametrize("call", [2, 3, 6])
@pytest.mark.parametrize(
    ("data", "batch_size"),
    [((X, LABELS), None), ((X, LABELS), 20), ((xpnet.stream(X.T.copy(), LABELS),), 20)],
    ids=["full batch", "minibatches", "stream"],
)
def test_an_epoch_interrupted_at_its_end_is_still_evaluated(call, data, batch_size, monkeypatch):
    """Ctrl-C waits for compiled code, so it comes there: then callbacks and schedule come, too."""
    runner, calls = program.runner, []

    def fit(net, epochs=6, **more):
        told = []
        seen = type("Seen", (), {"on_epoch_end": lambda self, net, now: told.append(now.epoch)})
        options = {"validation": (X[:, ::2], LABELS[::2]), "callbacks": [seen()]} | more
        plateau = xpnet.schedules.Plateau(factor=0.5, patience=0)
        options |= {"epochs": epochs, "batch_size": batch_size, "schedule": plateau}
        with contextlib.suppress(KeyboardInterrupt):
            net.fit(*data, optimizer=xpnet.Adam(0.5), **options)
        return len(told)

    def breaking(dtype):
        def run(*args):
            runner(dtype)(*args)
            calls.append(1)
            if len(calls) == call:
                raise KeyboardInterrupt

        return run

    whole, net = make(), make()
    assert fit(whole) == 6
    with monkeypatch.context() as patched:
        patched.setattr(program, "runner", breaking)
        before = fit(net)
    assert before == net.training_state.epoch == call - 1
    assert before + fit(net, 6 - before, resume=True) == 6
    assert_pairs_equal(net.parameters, whole.parameters)
    ours, theirs = net.training_state.history, whole.training_state.history
    assert (ours.cost, ours.validation_cost) == (theirs.cost, theirs.validation_cost)


def test_a_call_that_is_interrupted_as_it_begins_makes_no_step(monkeypatch):
    net, runs, run = make(), [], program.Program.run

    def breaking(self, *args):
        runs.append(1)
        if len(runs) == 2:
            raise KeyboardInterrupt
        return run(self, *args)

    monkeypatch.setattr(program.Program, "run", breaking)
    callback = type("Each", (), {"on_epoch_end": lambda self, net, progress: False})()
    with pytest.raises(KeyboardInterrupt):
        fit(net, callbacks=[callback])
    assert net.training_state.step == 11
    assert len(net.history.cost) == 1


@pytest.mark.parametrize("vector", [0, 1, 2])
def test_an_interrupt_while_the_net_takes_over_its_result(vector, monkeypatch):
    """Parameters and moments are of the same step."""
    whole, net, get, asked = make(), make(), program.Workspace.get, []
    fit(whole, epochs=5)

    def breaking(self, i):
        asked.append(i)
        if asked.count(vector) == 1 + (vector == 0) and i == vector:
            raise KeyboardInterrupt
        return get(self, i)

    with monkeypatch.context() as patched:
        patched.setattr(program.Workspace, "get", breaking)
        with pytest.raises(KeyboardInterrupt):
            fit(net)
    assert net.training_state.epoch == 3
    fit(net, epochs=2, resume=True)
    assert_pairs_equal(net.parameters, whole.parameters)


# -- what it holds, and how fast it stays ------------------------------------------------
def test_vectors_held_by_a_fit():
    """Parameters, two moments and the inner weights a second time; no gradient and no copies."""
    held, arrays = [], tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)

    class Looks:
        def on_epoch_end(self, net, progress):
            traced = tracemalloc.take_snapshot().filter_traces([arrays]).statistics("filename")
            held.append(sum(found.size for found in traced))

    x, labels = np.zeros((784, 10), np.float32), np.zeros(10, int)
    tracemalloc.start()
    try:
        net = xpnet.DeepNet([784, 1024, 1024, 10], "relu", "softmax", dtype="float32")
        with use("compiled"):
            net.fit(x, labels, batch_size=4, epochs=2, callbacks=[Looks()])
    finally:
        tracemalloc.stop()
    assert max(held) <= 3.75 * 4 * net.objective.layout.n_parameters


def test_a_warm_step_allocates_nothing():
    net = make("float32")
    place = xpnet.select("numpy", dtype="float32")
    data = Data(X.T.astype("float32").copy(), LABELS, None)
    rule = xpnet.Adam()
    theta = np.concatenate([np.ravel(p) for pair in net.parameters for p in pair])
    run = engine_for(place, net.objective).program(
        rule, data, 20, theta.astype("float32"), (np.zeros_like(theta),) * 2
    )
    from xpnet.core.network import step_table

    def peak(epochs):
        orders = np.tile(np.arange(203), (epochs, 1))
        table = step_table(rule, np.arange(1.0, 11 * epochs + 1), np.full(11 * epochs, 1e-3))
        tracemalloc.start()
        try:
            run.run(orders, table)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)
    # its cost, its scalars in float32, and their sizes
    returned = 4 * (1 + step_table(rule, np.ones(1), np.ones(1)).shape[1]) + 8
    assert peak(40) - peak(4) <= 36 * 11 * returned + 2048


def test_numbers_too_small_to_matter_are_set_to_zero():
    """Wherever the workspace holds them."""
    net, place = make("float32"), xpnet.select("numpy", dtype="float32")
    data, tiny = Data(X.T.astype("float32").copy(), LABELS, None), np.finfo("float32").tiny
    theta = np.full(net.objective.layout.n_parameters, tiny, "float32")
    run = engine_for(place, net.objective).program(
        xpnet.Adam(), data, 20, theta, (theta / 2, theta / 4)
    )
    assert run.name == "compiled"
    run.tidy()
    assert not np.any(run.space.w)


@pytest.mark.long
def test_subnormal_numbers_cost_nothing():
    """Weights of inputs that are always 0 shrink for ever; after 20,000 steps a step is as fast."""
    x = np.zeros((30, 320), np.float32)
    x[:2] = RNG.standard_normal((2, 320))
    y = (x[0] > 0).astype(int)
    net = xpnet.DeepNet([30, 32, 1], output="sigmoid")
    seconds = []
    for _ in range(20):
        began = time.process_time()
        net.fit(x, y, xpnet.Adam(1e-2), epochs=100, l2=10.0, resume=True)
        seconds.append(time.process_time() - began)
    assert min(seconds[-4:]) < 1.5 * min(seconds[1:5])


def test_compiled_code_holds_no_lock():
    """While one thread is in compiled code, another runs Python."""
    steps, ticks = program.runner(np.dtype("float32")), []
    net = xpnet.DeepNet([64, 64, 10], output="softmax")
    x, y = np.ones((64, 6400), np.float32), np.zeros(6400, int)
    inside = threading.Event()

    def entered(*args):
        inside.set()
        steps(*args)
        inside.clear()

    made = program.runner
    try:
        program.runner = lambda dtype: entered
        thread = threading.Thread(target=net.fit, args=(x, y), kwargs={"epochs": 20})
        thread.start()
        while thread.is_alive():
            if inside.is_set():
                ticks.append(time.perf_counter())
    finally:
        thread.join()
        program.runner = made
    assert len(ticks) > 100


# -- compiling and keeping ---------------------------------------------------------------
SCRIPT = """
import logging, numpy as np, xpnet
logging.basicConfig(level="INFO")
x = np.ones((2, 8), np.float32)
print(xpnet.DeepNet([2, 3, 1], output="sigmoid").fit(x, np.arange(8) % 2, epochs=1).engine)
"""


@pytest.mark.long
def test_compiled_code_is_kept_on_disk(tmp_path):
    """The first process compiles and says so, the second does not."""

    def run():
        env = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "compiled"
        return "compiling the training step" in done.stderr

    assert run()
    assert not run()


@pytest.mark.parametrize(
    ("before", "switch"), [("import sys; sys.modules['numba'] = None", ""), ("", "0")]
)
def test_fits_are_recorded_without_numba(before, switch):
    env = os.environ | {"XPNET_NUMBA": switch}
    run = [sys.executable, "-c", before + SCRIPT]
    done = subprocess.run(run, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "numpy"


def test_code_is_compiled_where_nothing_can_be_kept(monkeypatch):
    import numba

    from xpnet.engines.numba import kept_on_disk

    def njit(*signature, cache=False, **options):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return original(*signature, **options)

    original = numba.njit
    monkeypatch.setattr(numba, "njit", njit)
    assert kept_on_disk(nogil=True)(lambda x: x + 1)(1) == 2


@pytest.mark.parametrize("vector", [16, 32, 64])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tiles_of_every_width_of_vectors(vector, dtype):
    import numba

    tile = tiles.tile(2 * vector, 4, vector)

    @numba.njit
    def product(w, a, b, c, n, depth):
        tile(w, a, 7, 1, b, n, c, n, depth)

    n, depth = 2 * vector // np.dtype(dtype).itemsize, 7
    w = RNG.standard_normal(4096).astype(dtype)
    a, b, c = w[:28].reshape(4, 7), w[64 : 64 + 7 * n].reshape(7, n), w[2048 : 2048 + 4 * n]
    expected = a.astype(float) @ b
    product(w, 0, 64, 2048, n, depth)
    np.testing.assert_allclose(c.reshape(4, n), expected, rtol=0, atol=1e-5)


def test_vectors_are_as_wide_as_the_processors():
    """LLVM may split them: the sums of a tile are in registers of the width that was chosen."""
    if tiles.BYTES < 32:
        pytest.skip("no AVX2")
    import numba

    tile = tiles.tile(tiles.WIDE, tiles.WIDE_ROWS)

    @numba.njit
    def product(w, depth):
        tile(w, 0, 7, 1, 64, 32, 2048, 32, depth)

    product(np.zeros(4096, np.float32), 7)
    (code,) = product.inspect_asm().values()
    wide = "zmm" if tiles.BYTES == 64 else "ymm"
    products = [line for line in code.splitlines() if "fmadd" in line]
    assert len(products) >= 2 * tiles.WIDE_ROWS
    assert all(wide in line for line in products)


def test_the_notice_is_a_log_of_level_info(caplog):
    from xpnet.engines.compiled.epoch import Notice

    with caplog.at_level(logging.INFO, "xpnet"):
        notice = Notice(np.dtype("float32"))
        notice.on_start(None)
        notice.on_start(None)
    (record,) = caplog.records
    assert record.levelno == logging.INFO
    assert "float32" in record.getMessage()


def test_an_objective_that_cannot_be_compiled_says_why():
    objective, data = make().objective, Data(X.T.copy(), LABELS, None)
    assert choice.obstacle(objective, xpnet.Adam(), data, 20) is None
    clipped = replace(objective, clipped=True)
    assert "clip_norm" in choice.obstacle(clipped, xpnet.Adam(), data, 20)
    assert "sparse" in choice.obstacle(objective, xpnet.Adam(), data._replace(X=X.T[:, ::2]), 20)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_squares_overflow_where_those_of_a_recorded_step_do(dtype):
    """The square of one error is beyond the dtype, its share in the mean is not."""
    errors = np.zeros((1, 16), dtype)
    errors[0, 3] = 2.0 * np.sqrt(np.finfo(dtype).max)
    costs = []
    for engine in ("compiled", "numpy"):
        net = xpnet.DeepNet([1, 1], output="identity", dtype=dtype, backend="numpy")
        with xpnet.engines.use(engine):
            net.fit(0.0 * errors, errors, xpnet.GradientDescent(1e-9), epochs=1, batch_size=None)
        costs += net.history.cost
    assert costs[0] == pytest.approx(np.finfo(dtype).max / 8, rel=1e-6)
    assert costs[0] == pytest.approx(costs[1], rel=1e-6)
