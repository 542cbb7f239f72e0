"""Settings of the libraries: ``precision`` is a net's own, and other modes change no number."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from helpers import HIDDEN

import xpnet


def test_exact_is_the_default_and_other_words_are_refused():
    assert xpnet.DeepNet([2, 1]).backend.precision == "exact"
    with pytest.raises(ValueError, match=r"precision='fast': choose 'exact', 'tf32' or 'bf16'"):
        xpnet.DeepNet([2, 1], precision="fast")


def test_a_library_without_such_products_says_so():
    with pytest.raises(ValueError, match="'tf32' is for CuPy, PyTorch, JAX, not for NumPy on cpu"):
        xpnet.DeepNet([2, 1], precision="tf32", backend="numpy")
    pytest.importorskip("torch")
    with pytest.raises(ValueError, match="'bf16' is for CuPy, not for PyTorch"):
        xpnet.DeepNet([2, 1], precision="bf16", backend="torch")


SWITCHES = {
    "torch": (lambda torch: torch.get_float32_matmul_precision(), "highest", "high"),
    "jax": (lambda jax: jax.config.jax_default_matmul_precision, "highest", "tensorfloat32"),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_the_librarys_switch_is_on_while_such_a_net_computes(name):
    """JAX by itself would choose TF32 on a GPU."""
    library = pytest.importorskip(name)
    read, exact, rounded = SWITCHES[name]
    before, seen = read(library), []

    class Look:
        def on_epoch_end(self, net, progress):
            seen.append(read(library))

    for precision in ("exact", "tf32", "exact"):
        net = xpnet.DeepNet([4, 1], backend=name, precision=precision)
        net.fit(np.ones((4, 3), np.float32), np.ones(3), epochs=1, callbacks=[Look()])
        assert read(library) == before
    assert seen == [exact, rounded, exact]


def test_a_place_carries_its_precision():
    torch = pytest.importorskip("torch")
    place = xpnet.DeepNet([4, 1], backend="torch", precision="tf32").backend
    for other in (place.with_dtype("float64"), xpnet.select(place, device="cpu")):
        assert other.precision == "tf32"
    net = xpnet.DeepNet([4, 1], backend=place)
    net.predict_proba(torch.ones((4, 2)))
    assert (net.backend.precision, net.backend.dtype_name) == ("tf32", "float32")
    assert copy.deepcopy(net).backend.precision == "tf32"
    assert pickle.loads(pickle.dumps(net)).backend.precision == "exact"


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
