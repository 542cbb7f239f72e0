"""Settings of the libraries: ``precision="tf32"`` changes one, and other modes change no number."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from helpers import HIDDEN

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


# -- modes that others have switched on --------------------------------------------------
Z = np.array([[-1e3, -90.0, -1.0, -1e-30, 0.0, 1e-30, 1.0, 90.0, 1e3, 2e-38]])  # (1, 10)


def results_of(convert, options):
    """What nets and the notes' functions compute; for NumPy and PyTorch estimators, too."""
    rng = np.random.default_rng(7)
    X, W = (rng.normal(size=shape).astype(np.float32) for shape in ((60, 4), (3, 4)))
    y = (X[:, 0] > 0).astype(np.int64)
    x, w, labels, rows = convert(X.T.copy()), convert(W), convert(y), convert(X)
    large = convert(np.tile(Z.astype(np.float32), (4, 1)))
    found = [xpnet.affine(w, x, w[:, :1]), *xpnet.least_squares(x, x[:1, :])]
    for name in HIDDEN:
        found.append(getattr(xpnet, name)(large))
        found.append(getattr(xpnet, f"{name}_slope")(found[-1]))
        A, cache = xpnet.linear_activation_forward(large, w, w[:, :1], name)
        found += xpnet.linear_activation_backward(A, cache, name)
    for output in ("sigmoid", "softmax", "identity"):
        for hidden in HIDDEN:
            net = xpnet.DeepNet([4, 5, 3], hidden, output, seed=1, **options)
            Y = convert(np.eye(3, dtype=np.float32)[y].T.copy())
            net.fit(x, Y, epochs=2, batch_size=16, dropout=0.1, clip_norm=1.0, validation=(x, Y))
            net.parameters = [(30.0 * W, b) for W, b in net.parameters]
            net.fit(x, Y, xpnet.Adam(1e-3), epochs=1)
            found += [net.predict_proba(large), net.predict(large), net.history.cost]
            found += [net.cost(x, Y, l2=0.1), *(p for layer in net.gradients(x, Y) for p in layer)]
    if type(x).__module__.partition(".")[0] in ("numpy", "torch"):
        for model in (
            xpnet.MLPClassifier(tol=10.0, random_state=0),
            xpnet.LogisticRegression(),
            xpnet.LinearRegression(),
        ):
            found += [model.fit(rows, labels).predict(1e3 * rows), model.score(rows, labels)]
    return found


@pytest.mark.parametrize("mode", ["autocast", "inference_mode", "default_dtype", "default_device"])
def test_modes_of_torch_change_no_number(mode):
    """Mixed precision is for PyTorch's own modules."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    modes = {
        "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
        "inference_mode": torch.inference_mode,
        "default_device": lambda: torch.device("meta"),
    }

    def convert(x):
        return torch.tensor(x, device="cpu")

    expected = results_of(convert, {})
    try:
        if mode == "default_dtype":
            torch.set_default_dtype(torch.float16)
            found = results_of(convert, {})
        else:
            with modes[mode]():
                found = results_of(convert, {})
    finally:
        torch.set_default_dtype(torch.float32)
    for one, other in zip(found, expected, strict=True):
        assert getattr(one, "dtype", None) == getattr(other, "dtype", None)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("strict", ["seterr", "warnings"])
def test_what_is_meant_to_underflow_or_overflow_is_no_error(lib, strict):
    if lib.name == "jax":
        pytest.skip("slow: each shape is compiled; what JAX leaves to NumPy is tested with PyTorch")
    if not lib.decomposes:
        pytest.skip("CuPy on a CPU has no matrix decompositions")
    with warnings.catch_warnings(), np.errstate(all="raise" if strict == "seterr" else "warn"):
        warnings.simplefilter("error")
        results_of(lib.asarray, lib.options)
        net = xpnet.DeepNet([4, 1], dtype="float32", **lib.options)
        net.tensors = {"input_mean": np.zeros(4), "input_scale": np.full(4, 1e-30)}
        with pytest.raises(ValueError, match="NaN or infinity"):
            net.predict_raw(lib.asarray(np.full((4, 2), 1e30)))
        halves = np.full((8, 4), 6e4, np.float16)  # their sum is beyond float16
        net.fit(xpnet.stream([(halves, np.ones(8))]), epochs=1)
        net = xpnet.DeepNet([4, 2], output="softmax", **lib.options)
        with pytest.raises(ValueError, match="labels are whole numbers"):
            net.fit(halves.T.astype(np.float32), np.full(8, 1e300))
