"""Counters are exact for sequences whose cost is known."""

from __future__ import annotations

import numpy as np
import pytest

cupy_on_cpu = pytest.importorskip("cupy_on_cpu.counting")
counting = cupy_on_cpu.counting


@pytest.fixture
def arrays(cp):
    """A few arrays, with the pool warm and their kernels compiled."""
    x, w = cp.ones((8, 4), "f4"), cp.ones((4, 3), "f4")
    for _ in range(2):
        _ = (x + 1, x @ w, x.sum(), float(x[0, 0]), x.copy(), cp.zeros(4), cp.zeros((8, 3), "f4"))
    return x, w


def test_an_empty_block_counts_nothing(cp):
    with counting() as c:
        pass
    assert c.nonzero() == {}


def test_launches_and_their_names(arrays):
    x, _ = arrays
    with counting() as c:
        _ = (x + 1).sum()
        assert c.launches == 2  # readable inside the block
        assert len(c.kernels) == 2
    assert c.nonzero() == {"launches": 2}
    assert "add" in c.kernels[0]
    assert "sum" in c.kernels[1]


def test_a_block_keeps_its_count_when_it_is_over(arrays):
    x, _ = arrays
    with counting() as c:
        _ = x + 1
    _ = x + 1
    assert (c.launches, len(c.kernels)) == (1, 1)


def test_matrix_products(cp, arrays):
    x, w = arrays
    out = cp.empty((8, 3), "f4")
    with counting() as c:
        cp.matmul(x, w, out=out)
        cp.matmul(out.T, x)  # a transposed view costs no copy
    assert c.nonzero() == {"gemms": 2, "blas": 2}


def test_a_column_slice_is_copied_before_its_product(arrays):
    x, _ = arrays
    _ = x[:, 1:3].T @ x
    with counting() as c:
        _ = x[:, 1:3].T @ x
    assert c.nonzero() == {"launches": 1, "gemms": 1, "blas": 1}


def test_a_batched_product_counts_once(cp):
    a = cp.ones((5, 4, 4))
    _ = a @ a
    with counting() as c:
        _ = a @ a
    assert (c.gemms, c.launches) == (1, 0)


def test_transfers_and_their_bytes(arrays):
    x, _ = arrays
    host = np.ones((8, 4), "f4")
    pointer = host.ctypes.data
    for transfer, expected in (
        (lambda: x.set(host), {"h2d": 1, "h2d_bytes": 128}),
        (lambda: x.get(), {"d2h": 1, "d2h_bytes": 128, "syncs": 1}),
        (lambda: float(x[0, 0]), {"d2h": 1, "d2h_bytes": 4, "syncs": 1}),
        (lambda: x.data.copy_from_device(x.data, 128), {"d2d": 1, "d2d_bytes": 128}),
        # A copy that blocks is a synchronisation.
        (lambda: x.data.copy_from_host(pointer, 128), {"h2d": 1, "h2d_bytes": 128, "syncs": 1}),
        (lambda: x.data.copy_to_host(pointer, 128), {"d2h": 1, "d2h_bytes": 128, "syncs": 1}),
    ):
        with counting() as c:
            transfer()
        assert c.nonzero() == expected


def test_hidden_synchronisation_is_seen(arrays):
    x, _ = arrays
    _ = x[x > 0]
    with counting() as c:
        _ = x[x > 0]
    assert c.syncs == 1


def test_allocations_and_streams(cp):
    cp.get_default_memory_pool().free_all_blocks()
    with counting() as c:
        block = cp.empty(1 << 20, "u1")
        del block
        cp.empty(1 << 20, "u1")  # from the pool
        cp.cuda.Stream(non_blocking=True).synchronize()
    assert (c.mallocs, c.malloc_bytes, c.streams, c.syncs) == (1, 1 << 20, 1, 1)


def test_an_unknown_counter_is_an_error(cp):
    with counting() as c, pytest.raises(AttributeError, match="launches, graph_launches, gemms"):
        _ = c.lunches


def test_no_execution(run_script):
    code = """
import cupy as cp
from cupy_on_cpu.counting import counting
x = cp.zeros(4)
with counting() as c:
    y = x + 1
    x += 1
print(c.launches, x.get().tolist())
"""
    assert run_script(code, FAKEHIP_NOEXEC=1).stdout.strip() == "2 [0.0, 0.0, 0.0, 0.0]"
