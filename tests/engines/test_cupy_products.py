"""Products by cuBLAS's own functions: layouts, rounding, errors, streams and threads."""

import threading
from functools import partial

import device_counts as counts
import numpy as np
import pytest
from device_counts import cupy

import xpnet
from xpnet.core.leaves import Data, Leaves
from xpnet.core.network import step_table
from xpnet.engines import generic
from xpnet.engines.cupy import cublas

counts.need_cublas()

RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 96))
LABELS = RNG.integers(0, 3, 96)


def rounded(x, precision):
    """The nearest float32 with 10 bits of fraction (ties away from 0), or 7 (ties to even)."""
    significand, exponent = np.frexp(x.astype(np.float64))
    if precision == "bf16":
        n = np.rint(significand * 2.0**8)
    else:
        n = np.sign(significand) * np.floor(np.abs(significand) * 2.0**11 + 0.5)
    return np.ldexp(n, exponent - (8 if precision == "bf16" else 11)).astype(np.float32)


def test_the_rounding_that_is_expected():
    third, tie = np.float32(1 / 3), np.float32(1 + 2.0**-8)
    assert rounded(np.array([third, tie, -tie]), "bf16").tolist() == [0.333984375, 1.0, -1.0]
    tie = np.float32(1 + 2.0**-11)
    assert rounded(np.array([tie, -tie]), "tf32").tolist() == [1 + 2.0**-10, -1 - 2.0**-10]


def lying(x, how):
    if how == "odd":  # neither by rows nor by columns
        return cupy.asarray(np.repeat(x, 2, axis=1))[:, ::2]
    wide = cupy.asarray(np.pad(x, ((0, 0), (0, 3))))
    return {"rows": cupy.asarray(x), "part": wide[:, : x.shape[1]]}.get(how, cupy.asarray(x.T).T)


@pytest.mark.parametrize("precision", ["exact", "tf32", "bf16"])
@pytest.mark.parametrize("how", ["rows", "columns", "part", "odd"])
def test_a_product_of_any_layout(how, precision):
    for m, k, n in [
        (5, 7, 3),
        (1, 1, 1),
        (1, 4, 1),
        (4, 1, 6),
        (1, 5, 4),
        (6, 3, 1),
        (300, 70, 30),
    ]:
        A, B = (RNG.standard_normal(s).astype(np.float32) for s in ((m, k), (k, n)))
        expected = rounded(A, precision) @ rounded(B, precision) if precision != "exact" else A @ B
        for left, right in ((A, lying(B, how)), (lying(A, how), B)):
            found = cupy.full((m, n), np.nan, np.float32)
            products = cublas.products()
            products.use(cupy.cuda.get_current_stream())
            operands = cupy.asarray(left), cupy.asarray(right)
            function, *args = products.product(*operands, found, precision)
            function(*args)
            np.testing.assert_allclose(found.get(), expected, rtol=1e-5, atol=1e-5)


class Rounding(Leaves):
    """The reference with the factors of each product rounded."""

    precision = "tf32"

    def of(self, A, B):
        return rounded(A, self.precision) @ rounded(B, self.precision)

    def affine(self, W, A, b):
        return self.of(W, A) + b

    def weight_gradient(self, layer, dZ, A_prev):
        return self.of(dZ, A_prev.T)

    def propagate(self, W, dZ):
        return self.of(W.T, dZ)


def trajectory(leaves, precision, steps=100):
    """The costs of Adam steps over all examples, by the generic engine."""
    net = xpnet.DeepNet([6, 16, 8, 3], "tanh", "softmax", dtype="float32", seed=1)
    engine = generic.Engine(xpnet.select("numpy", dtype="float32"), net.objective)
    engine.ops = leaves(engine.backend.xp, net.objective.layout)
    engine.ops.precision = precision
    rule = xpnet.Adam(1e-2)
    data = Data(np.ascontiguousarray(X.T, np.float32), LABELS, None)
    theta = np.concatenate(
        [x.ravel() for x in (*(W for W, _ in net.parameters), *(b for _, b in net.parameters))]
    )
    program = engine.program(rule, data, None, theta, (np.zeros_like(theta),) * 2)
    table = step_table(rule, np.arange(1.0, steps + 1), np.full(steps, 1e-2))
    return program.run(None, table)


@pytest.mark.parametrize(("precision", "unit"), [("tf32", 2.0**-11), ("bf16", 2.0**-8)])
def test_a_trajectory_follows_the_emulated_rounding(precision, unit):
    """Closely at first; later a sum's last bit may decide which way a factor is rounded."""
    emulated, exact = trajectory(Rounding, precision), trajectory(Leaves, "exact")
    net = xpnet.DeepNet(
        [6, 16, 8, 3], "tanh", "softmax", "cupy", dtype="float32", seed=1, precision=precision
    )
    found = net.fit(X, LABELS, xpnet.Adam(1e-2), epochs=100, batch_size=None).cost
    error, rounding = np.abs(found / emulated - 1.0), np.abs(emulated / exact - 1.0)
    assert error[:5].max() <= 1e-6 < rounding[:5].max() / 10
    assert error.max() <= unit


def fit(precision="exact", dtype="float32", **settings):
    net = xpnet.DeepNet(
        [6, 16, 3], "tanh", "softmax", "cupy", dtype=dtype, seed=1, precision=precision
    )
    net.fit(X, LABELS, epochs=3, batch_size=32, **settings)
    return np.concatenate([W.get().ravel() for W, _ in net.parameters])


def test_precision_is_of_one_net():
    exact, rough = fit(), fit("bf16")
    assert np.abs(exact - rough).max() > 1e-5
    seen = []

    class Others:
        def on_epoch_end(self, net, progress):
            seen.append((fit(), fit("bf16")))

    np.testing.assert_array_equal(fit("tf32", callbacks=[Others()]), fit("tf32"))
    for found in seen:
        np.testing.assert_array_equal(found[0], exact)
        np.testing.assert_array_equal(found[1], rough)


def test_float64_never_rounds():
    np.testing.assert_array_equal(fit("bf16", "float64"), fit("exact", "float64"))


def test_a_batch_of_one_with_one_output_is_a_product_too(monkeypatch):
    monkeypatch.setattr("xpnet.engines.cupy.graphs.Graphs.wanted", False)

    def gemms(epochs):
        net = xpnet.DeepNet([6, 4, 1], backend="cupy", dtype="float32")
        with counts.counting() as c:
            net.fit(X[:, :4], LABELS[:4] > 0, epochs=epochs, batch_size=1)
        return c.gemms

    assert gemms(3) - gemms(2) == 4 * 5


def test_without_cublas_products_are_cupys(monkeypatch):
    expected = fit()
    monkeypatch.setattr(cublas, "library", lambda: (None, "no such name"))
    np.testing.assert_allclose(fit(), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match=r"'tf32' needs functions of cuBLAS.*no such name"):
        fit("tf32")


def test_a_status_becomes_an_error():
    products, x = cublas.products(), cupy.ones((2, 2), np.float32)
    function, *args = products.product(x, x, x, "exact")
    args[3] = type(args[3])(-1)
    with pytest.raises(RuntimeError, match=r"cuBLAS refused a matrix product: INVALID_VALUE \(7\)"):
        function(*args)
    for status in (1, 3):
        with pytest.raises(MemoryError, match="no memory on the GPU"):
            cublas._check(status)


def test_streams_and_threads_have_products_of_their_own():
    expected, results = fit(), {}

    def work(number):
        streams = [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
        for turn in range(4):  # in turn, in one thread
            with streams[turn % 2]:
                results[number, turn] = fit()

    threads = [threading.Thread(target=partial(work, n)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    for found in results.values():
        np.testing.assert_array_equal(found, expected)
