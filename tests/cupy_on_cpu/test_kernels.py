"""RawKernel, RawModule, ElementwiseKernel: the device language as the shim speaks it."""

from __future__ import annotations

import numpy as np
import pytest

REVERSE_BLOCK = r"""
extern "C" __global__ void reverse_block(const float* x, float* y) {
    __shared__ float tile[128];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    tile[threadIdx.x] = x[i];
    __syncthreads();
    y[i] = tile[blockDim.x - 1 - threadIdx.x];
}"""


def test_shared_memory_and_barriers(cp):
    x = cp.arange(512, dtype="f4")
    y = cp.empty_like(x)
    cp.RawKernel(REVERSE_BLOCK, "reverse_block")((4,), (128,), (x, y))
    np.testing.assert_array_equal(
        y.get(), np.arange(512, dtype="f4").reshape(4, 128)[:, ::-1].ravel()
    )


def test_a_tree_reduction_with_dynamic_shared_memory(cp):
    kernel = cp.RawKernel(
        r"""extern "C" __global__ void tree_sum(const double* x, double* total) {
            extern __shared__ double part[];
            int t = threadIdx.x;
            part[t] = x[t];
            __syncthreads();
            for (int width = blockDim.x / 2; width > 0; width /= 2) {
                if (t < width) part[t] += part[t + width];
                __syncthreads();
            }
            if (t == 0) *total = part[0];
        }""",
        "tree_sum",
    )
    total = cp.zeros(1)
    kernel((1,), (256,), (cp.arange(256.0), total), shared_mem=256 * 8)
    assert float(total[0]) == 255 * 128


@pytest.mark.parametrize(("mask", "lanes"), [("0xffffffffu", 32), ("0xffffffffffffffffull", 64)])
def test_warp_operations(cp, mask, lanes):
    """A mask of 32 bits means CUDA's warps, one of 64 bits HIP's wavefronts."""
    kernel = cp.RawKernel(
        rf"""extern "C" __global__ void warps(const int* x, int* down, int* crossed, int* first,
                                              unsigned long long* votes) {{
            int t = threadIdx.x, sum = x[t], all = x[t];
            for (int step = {lanes} / 2; step > 0; step /= 2) {{
                sum += __shfl_down_sync({mask}, sum, step);
                all += __shfl_xor_sync({mask}, all, step);
            }}
            down[t] = sum;
            crossed[t] = all;
            first[t] = __shfl_sync({mask}, x[t], 0);
            votes[t] = __ballot_sync({mask}, x[t] % 3 == 0);
        }}""",
        "warps",
    )
    x = np.arange(1, 129, dtype="i4")
    down, crossed, first = (cp.zeros(128, "i4") for _ in range(3))
    votes = cp.zeros(128, "u8")
    kernel((1,), (128,), (cp.asarray(x), down, crossed, first, votes))
    rows = x.reshape(-1, lanes)
    np.testing.assert_array_equal(down.get()[::lanes], rows.sum(axis=1))
    np.testing.assert_array_equal(crossed.get(), np.repeat(rows.sum(axis=1), lanes))
    np.testing.assert_array_equal(first.get(), np.repeat(rows[:, 0], lanes))
    expected = [
        sum(1 << i for i, value in enumerate(row) if value % 3 == 0) for row in rows.tolist()
    ]
    np.testing.assert_array_equal(votes.get(), np.repeat(np.array(expected, "u8"), lanes))


def test_a_lane_that_misses_a_warp_operation_is_reported(cp, capfd):
    kernel = cp.RawKernel(
        r"""extern "C" __global__ void absent_lane(int* x) {
            if (threadIdx.x < 8) x[threadIdx.x] = __shfl_down_sync(0xffffffffu, x[threadIdx.x], 1);
            __syncthreads();
        }""",
        "absent_lane",
    )
    kernel((1,), (32,), (cp.arange(32, dtype="i4"),))
    cp.cuda.Device().synchronize()
    assert "absent_lane: lane 8 is in the mask" in capfd.readouterr().err


def test_atomics(cp):
    kernel = cp.RawKernel(
        r"""extern "C" __global__ void histogram(const int* x, int* count, float* sum) {
            int i = blockIdx.x * blockDim.x + threadIdx.x;
            atomicAdd(&count[x[i]], 1);
            atomicAdd(sum, 0.5f);
        }""",
        "histogram",
    )
    x, count, total = cp.arange(300, dtype="i4") % 7, cp.zeros(7, "i4"), cp.zeros(1, "f4")
    kernel((3,), (100,), (x, count, total))
    np.testing.assert_array_equal(count.get(), np.bincount(np.arange(300) % 7))
    assert float(total[0]) == 150


def test_constant_memory_is_written_by_name(cp):
    module = cp.RawModule(
        code=r"""extern "C" { __constant__ float factors[4];
        __global__ void scale(float* x) { x[threadIdx.x] *= factors[threadIdx.x]; } }"""
    )
    factors = cp.ndarray(4, "f4", module.get_global("factors"))
    factors[...] = cp.asarray([1, 2, 3, 4], dtype="f4")
    x = cp.ones(4, "f4")
    module.get_function("scale")((1,), (4,), (x,))
    np.testing.assert_array_equal(x.get(), [1, 2, 3, 4])


def test_templates_by_name_expression(cp):
    code = "template <typename T, int n> __global__ void fill(T* x) { x[threadIdx.x] = T(n); }"
    module = cp.RawModule(code=code, name_expressions=["fill<float, 3>", "fill<int, 4>"])
    x, y = cp.zeros(5, "f4"), cp.zeros(5, "i4")
    module.get_function("fill<float, 3>")((1,), (5,), (x,))
    module.get_function("fill<int, 4>")((1,), (5,), (y,))
    assert x.get().tolist() == [3.0] * 5
    assert y.get().tolist() == [4] * 5


def test_elementwise_and_reduction_kernels(cp):
    bias_relu = cp.ElementwiseKernel(
        "T b", "T z", "T t = z + b; z = t > T(0) ? t : T(0)", "bias_relu_test"
    )
    squares = cp.ReductionKernel("T x", "T y", "x * x", "a + b", "y = a", "0", "squares_test")
    z, b = np.linspace(-2, 2, 12).reshape(3, 4), np.array([0.5, -0.5, 0.0, 1.0])
    on_device = cp.asarray(z)
    bias_relu(cp.asarray(b), on_device)
    np.testing.assert_allclose(on_device.get(), np.maximum(z + b, 0))
    np.testing.assert_allclose(squares(cp.asarray(z), axis=0).get(), (z * z).sum(axis=0))


@pytest.mark.parametrize("body", ["x[0] = zz", "x[0] = INFINITY", "x[0] = NAN", "return 1"])
def test_a_compile_error_names_the_trouble(cp, body):
    """INFINITY and NAN are errors because NVRTC has neither, though g++ does."""
    kernel = cp.RawKernel(f'extern "C" __global__ void broken(float* x) {{ {body}; }}', "broken")
    with pytest.raises(cp.cuda.compiler.CompileException, match=r"zz|INFINITY|NAN|return"):
        kernel.compile()


def test_a_kernel_without_c_linkage_is_not_found(cp, capfd):
    with pytest.raises(cp.cuda.driver.CUDADriverError, match="NotFound"):
        cp.RawKernel("__global__ void mangled(float* x) { x[0] = 1; }", "mangled").compile()
    assert "no kernel mangled" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("grid", "block", "shared"),
    [((1,), (1025,), 0), ((1,), (1,), 49 * 1024), ((1, 65536), (1,), 0)],
)
def test_an_illegal_launch_is_refused(cp, grid, block, shared):
    kernel = cp.RawKernel('extern "C" __global__ void nothing() {}', "nothing")
    with pytest.raises(cp.cuda.driver.CUDADriverError, match="InvalidValue"):
        kernel(grid, block, (), shared_mem=shared)


RACE = r"""
import cupy as cp
kernel = cp.RawKernel(r'''extern "C" __global__ void race(int* last, int* neighbour) {
    __shared__ int tile[64];
    tile[threadIdx.x] = -1;
    __syncthreads();
    tile[threadIdx.x] = threadIdx.x;   // a barrier is missing here
    neighbour[threadIdx.x] = tile[(threadIdx.x + 1) % 64];
    *last = blockIdx.x * 64 + threadIdx.x;
}''', "race")
last, neighbour = cp.zeros(1, "i4"), cp.zeros(64, "i4")
kernel((2,), (64,), (last, neighbour))
print(int(last[0]), int(neighbour[0]))
"""


def test_threads_in_reverse_order_show_races(run_script):
    assert run_script(RACE).stdout.split() == ["127", "-1"]
    assert run_script(RACE, FAKEHIP_REVERSE=1).stdout.split() == ["0", "1"]
