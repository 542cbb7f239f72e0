"""CuPy's own kernels give NumPy's results."""

from __future__ import annotations

import numpy as np
import pytest

counting = pytest.importorskip("cupy_on_cpu.counting").counting

FLOATS = ("float32", "float64")


def tolerance(dtype: str) -> dict[str, float]:
    return {"rtol": 2e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-13}


def sample(shape: tuple[int, ...], dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "i":
        return rng.integers(-9, 10, shape).astype(dtype)
    return rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", ["exp", "tanh", "abs", "sqrt", "log1p", "floor", "isnan", "sign"])
def test_ufunc(cp, name, dtype):
    x = np.abs(sample((7, 5), dtype))
    np.testing.assert_allclose(
        getattr(cp, name)(cp.asarray(x)).get(), getattr(np, name)(x), **tolerance(dtype)
    )


def test_broadcasting_and_views(cp):
    x, row = sample((6, 4), "float64"), sample((4,), "float64")
    on_device = cp.asarray(x)
    np.testing.assert_array_equal(
        (on_device[::-2, 1:] + cp.asarray(row)[1:]).get(), x[::-2, 1:] + row[1:]
    )
    np.testing.assert_array_equal(cp.maximum(on_device.T, 0).get(), np.maximum(x.T, 0))


@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize("name", ["sum", "max", "min", "mean", "argmax", "prod", "std"])
def test_reduction(cp, name, axis):
    x = sample((70, 33), "float64") * 0.5
    np.testing.assert_allclose(
        getattr(cp.asarray(x), name)(axis=axis).get(), getattr(x, name)(axis=axis), rtol=1e-11
    )


def test_large_reduction_uses_several_rounds_of_barriers(cp):
    x = sample((3, 5000), "float64")
    np.testing.assert_allclose(cp.asarray(x).sum(axis=1).get(), x.sum(axis=1), rtol=1e-12)
    assert int(cp.asarray(np.arange(100_001)).sum()) == 100_000 * 100_001 // 2


@pytest.mark.parametrize("n", [1, 5, 64, 511, 512, 513, 5000])
@pytest.mark.parametrize("dtype", ["float64", "int64", "int32"])
def test_cumsum(cp, n, dtype):
    x = sample((n,), dtype)
    np.testing.assert_allclose(cp.cumsum(cp.asarray(x)).get(), np.cumsum(x), rtol=1e-12, atol=1e-11)
    x = sample((5, n), dtype)
    for axis in (0, 1):
        found = cp.cumsum(cp.asarray(x), axis=axis).get()
        np.testing.assert_allclose(found, np.cumsum(x, axis=axis), rtol=1e-12, atol=1e-12)


def test_data_dependent_shapes_need_the_scan(cp):
    x = sample((40, 30), "float64")
    on_device = cp.asarray(x)
    np.testing.assert_array_equal(on_device[on_device > 0].get(), x[x > 0])
    np.testing.assert_array_equal(cp.nonzero(on_device > 1)[0].get(), np.nonzero(x > 1)[0])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("m", "n", "k"),
    [(1, 1, 1), (3, 5, 2), (16, 6, 256), (17, 7, 257), (100, 130, 300), (2, 300, 1)],
)
def test_matmul_with_every_transposition(cp, dtype, m, n, k):
    a, b = sample((m, k), dtype), sample((k, n), dtype, seed=1)
    bound = {"rtol": 1e-4, "atol": 2e-4} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-12}
    for left in (cp.asarray(a), cp.asarray(np.ascontiguousarray(a.T)).T):
        for right in (cp.asarray(b), cp.asarray(np.ascontiguousarray(b.T)).T):
            np.testing.assert_allclose((left @ right).get(), a @ b, **bound)


def test_matmul_writes_into_out_and_never_reads_it(cp):
    a, b = sample((4, 3), "float32"), sample((3, 5), "float32")
    out = cp.full((4, 5), cp.nan, dtype="float32")
    assert cp.matmul(cp.asarray(a), cp.asarray(b), out=out) is out
    np.testing.assert_allclose(out.get(), a @ b, rtol=1e-5)


def test_gemm_with_alpha_and_beta(cp):
    from cupy import cublas

    a, b, c = sample((4, 3), "float64"), sample((3, 5), "float64", 1), sample((4, 5), "float64", 2)
    out = cp.asarray(c, order="F")
    cublas.gemm(
        "N", "N", cp.asarray(a, order="F"), cp.asarray(b, order="F"), out=out, alpha=0.5, beta=2.0
    )
    np.testing.assert_allclose(out.get(), 0.5 * a @ b + 2 * c, rtol=1e-12)


@pytest.mark.parametrize("dtype", [*FLOATS, "int64"])
def test_batched_matmul(cp, dtype):
    a, b = sample((3, 4, 5), dtype), sample((3, 5, 2), dtype, seed=1)
    np.testing.assert_allclose((cp.asarray(a) @ cp.asarray(b)).get(), a @ b, **tolerance("float32"))
    np.testing.assert_allclose(
        (cp.asarray(a) @ cp.asarray(b[0])).get(), a @ b[0], **tolerance("float32")
    )


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize(("m", "n", "k"), [(2, 3, 4), (130, 129, 7)])
def test_integer_matmul(cp, dtype, m, n, k):
    a, b = sample((m, k), dtype), sample((k, n), dtype, seed=1)
    result = cp.asarray(a) @ cp.asarray(b)
    assert result.dtype == dtype
    np.testing.assert_array_equal(result.get(), a @ b)


@pytest.mark.parametrize("dtype", FLOATS)
def test_vector_blas(cp, dtype):
    from cupy import cublas

    x, y = sample((50,), dtype), sample((50,), dtype, seed=1)
    a, b = cp.asarray(x), cp.asarray(y)
    np.testing.assert_allclose(float(cublas.dot(a, b)), x @ y, rtol=1e-4)
    np.testing.assert_allclose(float(cublas.nrm2(a)), np.linalg.norm(x), rtol=1e-5)
    np.testing.assert_allclose(float(cublas.asum(a)), np.abs(x).sum(), rtol=1e-5)
    cublas.axpy(2.0, a, b)
    np.testing.assert_allclose(b.get(), y + 2 * x, **tolerance(dtype))


def test_a_precompiled_amd_kernel_is_refused_by_name(cp, capfd):
    with pytest.raises(RuntimeError):
        cp.argsort(cp.ones(5))
    assert "precompiled for AMD" in capfd.readouterr().err


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(5, 7), (64, 33)])
def test_matrices_are_transposed_by_the_blas(cp, shape, dtype):
    x = sample(shape, dtype)
    with counting() as c:
        turned = cp.asfortranarray(cp.asarray(x))
    assert c.blas == 1
    assert turned.flags.f_contiguous
    np.testing.assert_array_equal(turned.get(), x)


def test_a_sum_of_matrices_and_their_transposes(cp):
    from cupy import cublas

    a, b = sample((5, 7), "float64", 1), sample((7, 5), "float64", 2)
    on_device = (cp.asfortranarray(cp.asarray(x)) for x in (a, b))
    found = cublas.geam("N", "T", 2.0, next(on_device), -3.0, next(on_device))
    np.testing.assert_allclose(found.get(), 2 * a - 3 * b.T, rtol=1e-15)
