"""Streams, events, pinned memory, graphs; and FAKEHIP_LAZY, under which a missing order shows."""

from __future__ import annotations

import json

import numpy as np
import pytest

# ---- at once (the default)


def test_events_and_elapsed_time(cp):
    stream = cp.cuda.Stream(non_blocking=True)
    start, end = cp.cuda.Event(), cp.cuda.Event()
    assert start.done  # never recorded: nothing to wait for
    with stream:
        start.record()
        _ = cp.arange(10_000.0).sum()
        end.record()
    end.synchronize()
    assert (start.done, end.done, stream.done) == (True, True, True)
    assert cp.cuda.get_elapsed_time(start, end) >= 0


def test_untimed_events_have_no_elapsed_time(cp):
    start, end = cp.cuda.Event(disable_timing=True), cp.cuda.Event(disable_timing=True)
    start.record(), end.record()
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="InvalidHandle"):
        cp.cuda.get_elapsed_time(start, end)


def test_pinned_memory(cp):
    import cupyx

    pinned = cupyx.empty_pinned((3, 4), "f4")
    pinned[:] = 7
    stream = cp.cuda.Stream(non_blocking=True)
    x = cp.empty((3, 4), "f4")
    x.set(pinned, stream=stream)
    stream.synchronize()
    np.testing.assert_array_equal(x.get(), pinned)
    back = cupyx.empty_pinned((3, 4), "f4")
    (x + 1).get(out=back)
    np.testing.assert_array_equal(back, pinned + 1)


def test_host_functions_run_in_order(cp):
    seen = []
    stream = cp.cuda.Stream()
    stream.launch_host_func(seen.append, 1)
    stream.launch_host_func(seen.append, 2)
    stream.synchronize()
    assert seen == [1, 2]


def test_a_graph_repeats_what_was_captured(cp):
    kernel = cp.ElementwiseKernel("", "T x", "x = 2 * x + 1", "double_plus_one")
    x = cp.ones(4)
    kernel(x)
    stream = cp.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        kernel(x)
        kernel(x)
        graph = stream.end_capture()
    assert x.get().tolist() == [3.0] * 4  # capturing runs nothing
    graph.launch(stream)
    graph.launch(stream)
    stream.synchronize()
    assert x.get().tolist() == [63.0] * 4


def test_capture_follows_events_into_another_stream(cp):
    kernel = cp.ElementwiseKernel("", "T x", "x = x + 1", "plus_one")
    x = cp.zeros(4)
    kernel(x)
    main, side = cp.cuda.Stream(non_blocking=True), cp.cuda.Stream(non_blocking=True)
    fork, join = cp.cuda.Event(disable_timing=True), cp.cuda.Event(disable_timing=True)
    main.begin_capture()
    fork.record(main)
    side.wait_event(fork)
    with side:
        kernel(x)
    join.record(side)
    main.wait_event(join)
    graph = main.end_capture()
    assert float(x[0]) == 1
    assert not side.is_capturing()
    graph.launch(main)
    main.synchronize()
    assert float(x[0]) == 2


def test_what_a_capture_forbids(cp):
    stream = cp.cuda.Stream(non_blocking=True)
    a, out = cp.ones((3, 3)), cp.empty((3, 3))
    with stream:
        stream.begin_capture()
        with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="CaptureUnsupported"):
            stream.synchronize()
        with pytest.raises(Exception, match="NOT_SUPPORTED"):
            cp.matmul(a, a, out=out)  # on CUDA, CuPy itself raises NotImplementedError
        with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="CaptureUnsupported"):
            cp.cuda.runtime.malloc(1024)
        stream.end_capture()


# ---- FAKEHIP_LAZY: prefetching through two pinned buffers, with one guard after the other left out

PREFETCH = """
import json, sys
import cupy as cp, cupyx, numpy as np
leave_out, compute_stream, copy_stream = sys.argv[1:]
compute = cp.cuda.Stream.null if compute_stream == "null" else cp.cuda.Stream(non_blocking=True)
copier = cp.cuda.Stream(non_blocking=copy_stream == "non_blocking")
pinned = [cupyx.empty_pinned(16, "f4") for _ in range(2)]
device = [cp.empty(16, "f4") for _ in range(2)]
copied = [cp.cuda.Event(disable_timing=True) for _ in range(2)]
used = [cp.cuda.Event(disable_timing=True) for _ in range(2)]
out = cp.empty((6, 16), "f4")
for i in range(6):
    s = i % 2
    if leave_out != "host waits for the copy":
        copied[s].synchronize()
    pinned[s][:] = i
    if leave_out != "copy waits for the use":
        copier.wait_event(used[s])
    device[s].set(pinned[s], stream=copier)
    copied[s].record(copier)
    if leave_out != "use waits for the copy":
        compute.wait_event(copied[s])
    with compute:
        cp.multiply(device[s], 2, out=out[i])
    used[s].record(compute)
with compute:
    print(json.dumps([float(value) for value in out[:, 0].get()]))
"""
RIGHT = [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
GUARDS = ["host waits for the copy", "copy waits for the use", "use waits for the copy"]


def prefetch(run_script, leave_out, compute="non_blocking", copier="non_blocking", **modes):
    result = run_script(PREFETCH, leave_out, compute, copier, **modes)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.replace("NaN", "null"))


@pytest.mark.parametrize("lazy", [0, 1, 2])
@pytest.mark.parametrize("compute", ["null", "non_blocking"])
def test_with_every_guard_the_result_is_right(run_script, compute, lazy):
    assert prefetch(run_script, "nothing", compute, FAKEHIP_LAZY=lazy) == RIGHT


@pytest.mark.parametrize("compute", ["null", "non_blocking"])
@pytest.mark.parametrize("guard", GUARDS)
def test_without_any_one_guard_lazy_streams_show_wrong_data(run_script, guard, compute):
    assert prefetch(run_script, guard, compute, FAKEHIP_LAZY=1) != RIGHT


@pytest.mark.parametrize("guard", GUARDS)
def test_eager_streams_show_nothing(run_script, guard):
    """Why the mode is needed: at once, every one of these programs looks right."""
    assert prefetch(run_script, guard) == RIGHT


def test_the_null_stream_orders_blocking_streams_without_events(run_script):
    """With a blocking copy stream, two of the guards are only belt and braces."""
    for guard in ("copy waits for the use", "use waits for the copy"):
        assert prefetch(run_script, guard, "null", "blocking", FAKEHIP_LAZY=1) == RIGHT


LAZY_RULES = """
import cupy as cp, cupyx, numpy as np
s, t = cp.cuda.Stream(non_blocking=True), cp.cuda.Stream(non_blocking=True)
x, y = cp.zeros(4), cp.zeros(4)
cp.cuda.Device().synchronize()

pageable, pinned = np.ones(4), cupyx.empty_pinned(4)
pinned[:] = 1
x.set(pageable, stream=s); y.set(pinned, stream=s)
pageable[:] = 9; pinned[:] = 9
s.synchronize()
print("staged", x[0].get(), "late", y[0].get())

with s:
    before, after = cp.cuda.Event(), cp.cuda.Event()
    before.record(); x += 1; after.record()
print("pending", after.done, s.done)
try:
    cp.cuda.get_elapsed_time(before, after)
except cp.cuda.runtime.CUDARuntimeError as error:
    print("NotReady" in str(error))
polls = 0
while not after.done:      # polling alone must come to an end
    polls += 1
print("polled", 0 < polls < 100, cp.cuda.get_elapsed_time(before, after) >= 0)

with s:
    x += 1
    first = cp.cuda.Event(disable_timing=True); first.record()
    x += 1
    first_again = first; t.wait_event(first)
    first.record()         # a second record does not move the wait that was already asked for
with t:
    out = x.copy()
t.synchronize()
print("waited for the first record only", float(out.get(stream=t)[0]))
del s                      # a destroyed stream still finishes its work
cp.cuda.Device().synchronize()
print("all", x[0].get())
"""


@pytest.mark.parametrize("late", [0, 1])
def test_rules_of_lazy_streams(run_script, late):
    result = run_script(LAZY_RULES, FAKEHIP_LAZY=1, FAKEHIP_LATE_PAGEABLE=late)
    assert result.stdout.splitlines() == [
        f"staged {9.0 if late else 1.0} late 9.0",
        "pending False False",
        "True",
        "polled True True",
        f"waited for the first record only {11.0 if late else 3.0}",
        f"all {12.0 if late else 4.0}",
    ], result.stderr


PER_THREAD = """
import threading
import cupy as cp
import numpy as np

def work(k, found):
    x = cp.full(1000, float(k))
    found[k] = cp.cuda.get_current_stream().ptr, float((x @ x).get())

found = {}
threads = [threading.Thread(target=work, args=(k, found)) for k in (1, 2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert found == {1: (2, 1000.0), 2: (2, 4000.0)}, found
first, second = cp.cuda.Stream(non_blocking=True), cp.zeros(1)
x = cp.zeros(1)
x += 1  # on this thread's stream, late
with cp.cuda.Stream.null:
    x *= 5  # the legacy stream comes after
with first:  # no order with it, so before
    second += x
first.synchronize()
assert second.get() == 0 and x.get() == 5, (second, x)
"""


def test_the_default_streams_of_threads(run_script):
    modes = {"CUPY_CUDA_PER_THREAD_DEFAULT_STREAM": 1, "FAKEHIP_LAZY": 1}
    done = run_script(PER_THREAD, **modes)
    assert done.returncode == 0, done.stderr
