"""Memory and devices: limits, protection, two devices in one process."""

from __future__ import annotations

import gc
import signal

import numpy as np
import pytest

cupy_on_cpu = pytest.importorskip("cupy_on_cpu.counting")
memory_limit = cupy_on_cpu.memory_limit


@pytest.fixture(autouse=True)
def empty_pools(cp):
    for number in range(cp.cuda.runtime.getDeviceCount()):
        with cp.cuda.Device(number):
            cp.get_default_memory_pool().free_all_blocks()


# ---- one device's memory


def test_fresh_memory_is_no_number(cp):
    pool = cp.cuda.MemoryPool()  # a block that nobody has used yet
    x = cp.ndarray(100, "f8", pool.malloc(800))
    assert np.isnan(x.get()).all()


def test_out_of_memory_and_recovery(cp):
    gc.collect()  # running out of memory would, and give back what earlier tests left behind
    cp.get_default_memory_pool().free_all_blocks()
    used = cupy_on_cpu.memory_used()
    with memory_limit(used + (1 << 20)):
        free, total = cp.cuda.Device().mem_info
        assert (free, total) == (1 << 20, used + (1 << 20))
        kept = cp.ones(1 << 16)  # half of it
        assert cp.cuda.Device().mem_info[0] == 1 << 19
        with pytest.raises(cp.cuda.memory.OutOfMemoryError, match="Out of memory allocating"):
            cp.ones((1 << 17) - 8)
        assert issubclass(cp.cuda.memory.OutOfMemoryError, MemoryError)
        other = cp.ones(1 << 16)  # what fits still comes
        assert float(kept[0]) == float(other[0]) == 1
        assert cp.cuda.Device().mem_info[0] == 0
        del kept, other
    assert float(cp.ones(1 << 17).sum()) == 1 << 17  # the old limit is back


def test_the_limit_belongs_to_one_device(cp):
    with memory_limit(cupy_on_cpu.memory_used(0), device=0):
        with pytest.raises(MemoryError):
            cp.empty(1 << 20)
        with cp.cuda.Device(1):
            assert cp.empty(1 << 20).device.id == 1


def test_the_pool_gives_memory_back(cp):
    before = cupy_on_cpu.memory_used()
    x = cp.empty(1 << 20, "u1")
    assert cupy_on_cpu.memory_used() == before + (1 << 20)
    del x
    cp.get_default_memory_pool().free_all_blocks()
    assert cupy_on_cpu.memory_used() == before


def test_memory_from_the_environment(run_script):
    code = "import cupy as cp; print(*cp.cuda.Device().mem_info, cp.cuda.runtime.getDeviceCount())"
    result = run_script(code, FAKEHIP_MEM=1 << 20, FAKEHIP_DEVICES=3)
    assert result.stdout.split() == [str(1 << 20), str(1 << 20), "3"]


HOST_READ = """
import ctypes, cupy as cp
x = cp.arange(16, dtype="f4")
y = (x @ x.reshape(16, 1) + x.sum()).get()   # device work, copies and GEMM go on as ever
print(y, flush=True)
ctypes.cast(x.data.ptr, ctypes.POINTER(ctypes.c_float))[3]
print("read")
"""


def test_protection_faults_when_the_host_reads_device_memory(run_script):
    unprotected = run_script(HOST_READ)
    assert unprotected.returncode == 0
    assert "read" in unprotected.stdout
    protected = run_script(HOST_READ, FAKEHIP_PROTECT=1)
    assert protected.returncode == -signal.SIGSEGV
    assert protected.stdout == unprotected.stdout.replace("read\n", "")


# ---- two devices


def test_arrays_live_where_they_were_made(cp):
    assert cp.cuda.runtime.getDeviceCount() >= 2
    with cp.cuda.Device(1):
        x = cp.arange(6.0).reshape(2, 3)
        y = x @ x.T + x.sum()
        assert cp.cuda.Device() == cp.cuda.Device(1)
    assert cp.cuda.Device().id == 0
    assert (x.device.id, y.device.id) == (1, 1)
    assert cp.cuda.runtime.pointerGetAttributes(x.data.ptr).device == 1
    host = np.arange(6.0).reshape(2, 3)
    np.testing.assert_allclose(y.get(), host @ host.T + host.sum())


def test_copies_between_devices(cp):
    x = cp.arange(100.0)
    with cp.cuda.Device(1):
        y = cp.asarray(x)
        assert y.device.id == 1
        assert y.data.ptr != x.data.ptr
        z = y * 2
    with cupy_on_cpu.counting() as c, cp.cuda.Device(1):
        z.data.copy_from_device_async(x.data, x.nbytes, cp.cuda.Stream.null)
    assert (c.d2d, c.d2d_bytes) == (1, 800)
    np.testing.assert_array_equal(z.get(), np.arange(100.0))


def test_each_thread_has_its_own_device(cp):
    import threading

    seen = []

    def other():
        seen.append(cp.cuda.Device().id)
        cp.cuda.Device(1).use()
        seen.append(cp.zeros(3).device.id)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [0, 1]
    assert cp.cuda.Device().id == 0


def test_no_third_device(cp):
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="InvalidDevice"):
        cp.cuda.Device(cp.cuda.runtime.getDeviceCount()).use()


def test_a_stream_of_another_device_is_refused(cp):
    with cp.cuda.Device(1):
        stream = cp.cuda.Stream(non_blocking=True)
    kernel = cp.RawKernel('extern "C" __global__ void noop() {}', "noop")
    with pytest.raises(cp.cuda.driver.CUDADriverError, match="InvalidHandle"):
        kernel((1,), (1,), (), stream=stream)
    event = cp.cuda.Event()
    with pytest.raises(cp.cuda.runtime.CUDARuntimeError, match="InvalidHandle"):
        event.record(stream)


MIXED_DEVICES = """
import warnings, cupy as cp
warnings.simplefilter("ignore")
x = cp.ones(4)
with cp.cuda.Device(1):
    y = cp.ones(4)
try:
    print((x + y).get().tolist())
except ValueError as error:
    print("ValueError", error)
"""


@pytest.mark.parametrize("protect", [0, 1])
def test_peer_access(run_script, protect):
    allowed = run_script(MIXED_DEVICES, FAKEHIP_PROTECT=protect)
    assert allowed.stdout.strip() == "[2.0, 2.0, 2.0, 2.0]"
    refused = run_script(MIXED_DEVICES, FAKEHIP_PROTECT=protect, FAKEHIP_PEER=0)
    assert refused.stdout.startswith("ValueError The device where the array resides (1)")


FOREIGN_POINTER = """
import cupy as cp
kernel = cp.RawKernel('extern "C" __global__ void touch(float* x) { x[0] = 1; }', "touch")
with cp.cuda.Device(1):
    y = cp.zeros(4, "f4")
kernel((1,), (1,), (y,))   # RawKernel checks nothing
print("alive")
"""


def test_protection_guards_the_other_device_too(run_script):
    assert "alive" in run_script(FOREIGN_POINTER).stdout
    assert run_script(FOREIGN_POINTER, FAKEHIP_PROTECT=1).returncode == -signal.SIGSEGV
