"""``precision="tf32"`` changes the library's setting, and nothing else does."""

import subprocess
import sys

import pytest

import xpnet


def test_exact_is_the_default_and_other_words_are_refused():
    xpnet.DeepNet([2, 1], precision="exact")
    with pytest.raises(ValueError, match=r"precision='fast': choose 'exact' or 'tf32'"):
        xpnet.DeepNet([2, 1], precision="fast")


def test_a_library_without_tf32_says_so():
    with pytest.raises(ValueError, match="for CuPy, PyTorch and JAX, not for NumPy"):
        xpnet.DeepNet([2, 1], precision="tf32", backend="numpy")


def test_torch_is_told():
    torch = pytest.importorskip("torch")
    before = torch.get_float32_matmul_precision()
    try:
        xpnet.DeepNet([2, 1], backend="torch")
        assert torch.get_float32_matmul_precision() == before
        xpnet.DeepNet([2, 1], backend="torch", precision="tf32")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_jax_computes_float32_exactly_unless_told():
    """JAX by itself would choose TF32 on a GPU."""
    jax = pytest.importorskip("jax")
    place = xpnet.DeepNet([2, 1], backend="jax").backend
    with place.context():
        assert jax.config.jax_default_matmul_precision == "highest"
    assert jax.config.jax_default_matmul_precision is None
    try:
        place.allow_tf32()
        with place.context():
            assert jax.config.jax_default_matmul_precision == "tensorfloat32"
    finally:
        jax.config.update("jax_default_matmul_precision", None)


def run(code):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.strip(), done.stderr


CUPY = """
import cupy, numpy as np, xpnet
from cupy._core import _routines_linalg as linalg
{before}
xpnet.DeepNet([2, 1], backend="cupy", precision="tf32")
print(linalg.get_compute_type("f") == linalg.COMPUTE_TYPE_TF32)
"""


def test_cupy_is_told_before_its_first_product():
    pytest.importorskip("cupy")
    assert run(CUPY.format(before=""))[:2] == (0, "True")


def test_cupy_warns_when_told_after_its_first_product():
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no usable device")
    product = "x = cupy.ones((4, 4), np.float32); x @ x; linalg.get_compute_type('f')"
    code, _, errors = run(CUPY.format(before=product))
    assert code == 1
    assert "came after CuPy's first product" in errors
