"""Data on their way to CuPy: how much of the host they take, and in what order streams read them.

On the stand-in for a GPU. What is about streams can fail only where they hold work back:
FAKEHIP_LAZY=1 and 2, FAKEHIP_LATE_PAGEABLE=1; ``nox -s cupy_on_cpu`` runs it so.
"""

import copy
import gc
import logging
import os
import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

import xpnet
from xpnet.net.inputs import Inputs

if os.environ.get("XPNET_CUPY_ON_CPU") != "1":
    pytest.skip("counts need CuPy on the stand-in: nox -s cupy_on_cpu", allow_module_level=True)

cupy = pytest.importorskip("cupy")
counts = pytest.importorskip("cupy_on_cpu.counting")
upload = pytest.importorskip("xpnet.backends.upload")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 512))
Y = RNG.integers(0, 3, 512)


def make(backend="cupy", dtype="float64"):
    return xpnet.DeepNet([6, 16, 3], "relu", "softmax", backend=backend, dtype=dtype, seed=1)


def fit(net, **settings):
    net.fit(X, Y, **{"epochs": 4, "batch_size": 32, **settings})
    return net


@pytest.fixture(scope="module")
def expected():
    return fit(make("numpy")).parameters[0].W


def check(net, expected):
    np.testing.assert_allclose(xpnet.to_numpy(net.parameters[0].W), expected, atol=1e-12)


# -- memory of the host ------------------------------------------------------------------
@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(upload, "BLOCK", 1 << 15)
    monkeypatch.setattr(upload, "SMALL", (2, 0))
    cupy.get_default_pinned_memory_pool().free_all_blocks()


class HostMemory:
    """Most bytes of NumPy's at a time, and those that were pinned, in a with block."""

    def __enter__(self):
        self.counting = counts.counting()
        self.counts = self.counting.__enter__()
        tracemalloc.start()
        return self

    def __exit__(self, *raised):
        self.numpy = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        self.counting.__exit__(*raised)
        self.pinned = self.counts.pinned_malloc_bytes


@pytest.mark.parametrize(
    ("dtype", "layout"),
    [("float64", "C"), ("float64", "F"), ("float32", "C"), ("int16", "every other"), ("bool", "C")],
)
def test_data_reach_the_gpu_through_two_buffers(dtype, layout, small_blocks):
    m = 10_000
    x = RNG.integers(0, 2, (40, m)).astype(dtype)
    x = x[::-2] if layout == "every other" else np.array(x, order=layout)
    y = RNG.integers(0, 3, m)
    net = xpnet.DeepNet([len(x), 3], output="softmax", backend="cupy", dtype="float32")
    net.fit(x[:, :3], np.arange(3), epochs=0)
    net.predict(x[:, :1])
    with HostMemory() as used:
        rows = Inputs(net.placement, net.objective).examples(x, y).X
    np.testing.assert_array_equal(rows.get(), x.T)
    assert rows.flags.c_contiguous
    assert rows.dtype == np.float32
    assert used.pinned <= 2 * upload.BLOCK
    assert used.numpy <= 30 * m < rows.nbytes / 2  # of the labels

    with HostMemory() as used:
        P = net.predict_proba(x)
    np.testing.assert_allclose(P, net.predict_proba(cupy.asarray(x, np.float32)).get(), atol=1e-6)
    assert used.pinned <= 2 * upload.BLOCK
    assert used.numpy <= 30 * m


def test_a_row_may_be_longer_than_a_buffer(small_blocks):
    x = RNG.standard_normal((2, 50_000, 2))
    for given in (x, x[0], x[0].T, x[0, :, 0], x[0, 0, 0], x[:0], x[1].astype(">f8")):
        there = xpnet.select("cupy").asarray(given, np.float32)
        np.testing.assert_array_equal(there.get(), np.asarray(given).astype(np.float32))
    with pytest.raises(ValueError, match="dtype"):
        xpnet.select("cupy").asarray(np.array(["a"]))


def test_data_that_do_not_fit_on_the_gpu_name_the_bytes_that_they_take_there():
    net, free = make(dtype="float32"), 50_000
    gc.collect()
    cupy.get_default_memory_pool().free_all_blocks()
    with (
        counts.memory_limit(counts.memory_used() + free),
        pytest.raises(MemoryError, match=r"X needs 122,880 bytes"),
    ):
        net.fit(np.tile(X, 10), np.tile(Y, 10), epochs=1, prefetch=False)


@pytest.mark.parametrize("prefetch", [False, True])
def test_where_nothing_can_be_pinned_a_fit_goes_on_as_pageable(prefetch, expected, caplog):
    cupy.get_default_pinned_memory_pool().free_all_blocks()
    upload._tell_pageable.cache_clear()
    with (
        counts.pinned_limit(1),
        warnings.catch_warnings(),
        caplog.at_level(logging.INFO, "xpnet"),
    ):
        warnings.simplefilter("error")  # CuPy's, of the same
        for _ in range(2):
            check(fit(make(), prefetch=prefetch), expected)
    told = [record for record in caplog.records if "pinned" in record.message]
    assert [record.levelname for record in told] == ["INFO"]


# -- streams -----------------------------------------------------------------------------
def streams(n):
    return [cupy.cuda.Stream(non_blocking=True) for _ in range(n)]


@pytest.fixture
def default_stream():
    yield
    cupy.cuda.Stream.null.use()
    cupy.cuda.Device().synchronize()


@pytest.mark.parametrize("prefetch", [False, True])
def test_a_net_is_ordered_against_another_stream(prefetch, expected, default_stream):
    made_here, elsewhere = make(), streams(3)
    with elsewhere[0]:
        fit(made_here, prefetch=prefetch)
        made_there = make()
    fit(made_there, prefetch=prefetch)
    with elsewhere[0]:
        twin = copy.deepcopy(made_there)
    with elsewhere[1]:
        check(twin, expected)
        twin.parameters = [(W.get(), b.get()) for W, b in made_here.parameters]
        untrained = fit(make(), epochs=0)
    with elsewhere[2]:
        check(twin, expected)
        check(untrained, make("numpy").parameters[0].W)
    check(made_here, expected)
    check(made_there, expected)


class Elsewhere:
    """Changes the current stream after every epoch, as a library may that a callback calls."""

    def __init__(self, n):
        self.streams = streams(n)

    def on_epoch_end(self, net, progress):
        self.streams[progress.epoch % len(self.streams)].use()
        return False


@pytest.mark.parametrize("prefetch", [False, True])
@pytest.mark.parametrize("n", [1, 3])
def test_a_callback_may_change_the_stream(prefetch, n, small_blocks, default_stream):
    net, reference = make(), make("numpy")
    settings = {"epochs": 9, "validation": (X, Y)}
    fit(net, prefetch=prefetch, callbacks=[Elsewhere(n)], **settings)
    check(net, fit(reference, **settings).parameters[0].W)
    for curve in ("cost", "validation_cost"):
        mine, theirs = (np.array(getattr(n.history, curve)) for n in (net, reference))
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)


@pytest.mark.parametrize("batch_size", [32, None])
def test_what_a_stream_reads_late_is_still_there(batch_size):
    class Littered:
        def on_epoch_end(self, net, progress):
            return any(np.full(n, 7**9)[0] == 0 for n in range(1, 600))

    nets = [make(backend) for backend in ("numpy", "cupy")]
    for net in nets:
        fit(net, batch_size=batch_size, epochs=40, callbacks=[Littered()])
    check(nets[1], nets[0].parameters[0].W)


def test_an_interrupt_between_a_prefetch_and_its_wait(monkeypatch, expected):
    """The copy must not land in the memory of who comes next."""
    from xpnet.engines.cupy.feed import Slot

    waits, left = Slot.compute_waits_for_copy, iter(range(4, -1, -1))

    def interrupted(slot):
        if next(left) == 0:
            raise KeyboardInterrupt
        waits(slot)

    net = make()
    with monkeypatch.context() as patched:
        patched.setattr(Slot, "compute_waits_for_copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(net, prefetch=True)
    mine = [cupy.zeros(32 * (6 + 3)) for _ in range(6)]
    cupy.cuda.get_current_stream().synchronize()
    cupy.cuda.Device().synchronize()  # whatever else is on its way
    assert not any(x.any() for x in mine)


# -- profilers ---------------------------------------------------------------------------
@pytest.mark.parametrize("on", [False, True])
def test_ranges_for_profilers(on, monkeypatch):
    from xpnet.engines.cupy import program

    opened, seen = [], []
    nvtx = SimpleNamespace(
        available=True,
        RangePush=lambda name, *_: (opened.append(name), seen.append("/".join(opened))),
        RangePushC=lambda name, *_: (opened.append(name), seen.append("/".join(opened))),
        RangePop=lambda: opened.pop(),
    )
    monkeypatch.setattr(cupy.cuda, "nvtx", nvtx)
    monkeypatch.setattr(program, "NVTX", on)
    fit(make(), batch_size=200, epochs=2)
    run = "xpnet fit/xpnet run of 6 steps"
    records = [f"{run}/xpnet record {m} examples" for m in (200, 112)]
    assert seen == (["xpnet fit", run, *records] if on else [])
    assert not opened
