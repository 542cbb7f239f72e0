"""The same seed gives the same net on every library; library and dtype follow the data."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import OPTIMIZERS, OUTPUTS, assert_pairs_close, draw_targets

import xpnet
from xpnet.data import table as tables


@pytest.fixture(scope="module")
def digits():
    """X (64, 1797) in [0, 1] in float64, and the digits shown (1797,)."""
    X, y = tables.load_digits()
    assert X.shape == (1797, 64)
    return np.array(X, dtype=np.float64).T / 16.0, np.asarray(y)


def hundred_steps(X, y, options, to=np.asarray, dtype="float64"):
    net = xpnet.DeepNet(
        [64, 16, 10], hidden="relu", output="softmax", dtype=dtype, seed=3, **options
    )
    history = net.fit(
        to(X), to(y), optimizer=xpnet.Adam(1e-3), epochs=10, batch_size=180, shuffle=True
    )
    return net, history


@pytest.fixture(scope="module")
def on_numpy(digits):
    net, history = hundred_steps(*digits, {"backend": "numpy"})
    return net.parameters, history.cost


def test_a_hundred_adam_steps_on_digits(lib, digits, on_numpy):
    net, history = hundred_steps(*digits, lib.options, to=lib.asarray)
    parameters, costs = on_numpy
    assert_pairs_close(lib.host(net.parameters), parameters, 1e-9)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-9)
    assert costs[-1] < 0.8 * costs[0]
    for pair in net.parameters:
        for array in pair:
            assert lib.owns(array)
            assert lib.dtype_of(array) == "float64"


def test_a_hundred_adam_steps_in_float32_stay_near(lib, digits, on_numpy):
    X, y = digits
    to = lib.asarray
    net, _ = hundred_steps(X.astype(np.float32), y, lib.options, to, dtype="float32")
    for found, exact in zip(lib.host(net.parameters), on_numpy[0], strict=True):
        for one, other in zip(found, exact, strict=True):
            assert np.max(np.abs(one - other)) <= 1e-3 * np.max(np.abs(other))


def test_dpnp_does_without_the_functions_that_can_hang():
    vm = pytest.importorskip("dpnp.backend.extensions.vm._vm_impl")
    try:
        place = xpnet.select("dpnp")
    except xpnet.BackendUnavailable as error:
        pytest.skip(str(error))
    with place.context():
        assert vm._is_available() == (not place.device.sycl_device.is_cpu)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kinds_follow_the_data(lib, dtype, output):
    """Library, device, dtype and shape of everything that comes back, after real steps."""
    rng = np.random.default_rng(41)
    X = lib.asarray(rng.normal(size=(4, 9)).astype(dtype))
    Y = lib.asarray(draw_targets(output, 3, 9, rng).astype(dtype))
    w = lib.asarray(rng.uniform(0.5, 2.0, size=9).astype(dtype))
    net = xpnet.DeepNet([4, 5, 3], hidden="tanh", output=output)
    history = net.fit(
        X, Y, optimizer=xpnet.Adam(0.01), epochs=2, batch_size=4, sample_weight=w, l2=0.01
    )
    assert all(type(cost) is float for cost in history.cost)
    assert net.backend.name == lib.name
    pairs = [*net.parameters, *net.gradients(X, Y, l2=0.01, sample_weight=w)]
    for array in [array for pair in pairs for array in pair]:
        assert lib.owns(array)
        assert lib.dtype_of(array) == dtype
    P, label = net.predict_proba(X), net.predict(X)
    assert lib.owns(P)
    assert lib.owns(label)
    assert lib.dtype_of(P) == dtype
    assert tuple(P.shape) == (3, 9)
    assert tuple(label.shape) == ((9,) if output == "softmax" else (3, 9))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32_with_every_optimiser(lib, name):
    rng = np.random.default_rng(42)
    X = lib.asarray(rng.normal(size=(3, 8)).astype("float32"))
    Y = lib.asarray(rng.normal(size=(1, 8)).astype("float32"))
    net = xpnet.DeepNet([3, 4, 1], hidden="tanh", output="identity", **lib.options)
    for resume in (False, True):
        net.fit(X, Y, optimizer=OPTIMIZERS[name][0], epochs=2, batch_size=3, resume=resume)
        for pair in net.parameters:
            for array in pair:
                assert lib.owns(array)
                assert lib.dtype_of(array) == "float32"


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_agrees_with_numpy(lib, name):
    rng = np.random.default_rng(43)
    X, Y = rng.normal(size=(3, 10)), rng.normal(size=(2, 10))

    def train(options, to):
        net = xpnet.DeepNet(
            [3, 5, 2], hidden="softplus", output="identity", dtype="float64", **options
        )
        net.fit(to(X), to(Y), optimizer=OPTIMIZERS[name][0], epochs=5, batch_size=4, l2=0.1)
        return net

    found = lib.host(train(lib.options, lib.asarray).parameters)
    assert_pairs_close(found, train({"backend": "numpy"}, np.asarray).parameters, 1e-11)
