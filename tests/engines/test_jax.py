"""The JAX engine: how often XLA compiles; arrays that are traced or sharded; transfer guards."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import assert_pairs_close

import xpnet

jax = pytest.importorskip("jax")
jnp = jax.numpy
COMPILED = []
jax.monitoring.register_event_duration_secs_listener(
    lambda name, seconds, **_: COMPILED.append(name) if "backend_compile" in name else None
)

RNG = np.random.default_rng(29)
X = RNG.normal(size=(6, 1200)).astype(np.float32)
LABELS = (X[0] > 0).astype(int) + (X[1] > 1)
SIZES = [1, 2, 7, 8, 9, 31, 33, 60, 129, 500, 513, 1000, 1199, *RNG.integers(1, 1200, 17).tolist()]


def make_net(**settings):
    return xpnet.DeepNet([6, 5, 3], "tanh", "softmax", seed=2, **settings)


def compilations(function, *args, **settings):
    COMPILED.clear()
    function(*args, **settings)
    return len(COMPILED)


# -- compilations ------------------------------------------------------------------------
@pytest.mark.parametrize("given", [np.asarray, jnp.asarray], ids=["host", "jax"])
def test_predictions_and_costs_of_any_size_compile_for_a_few(given):
    jax.clear_caches()
    net, few = make_net(backend="jax", dtype="float32"), 5  # 8, 32, 128, 512 and 2048 examples
    taken = [(given(X[:, :m]), given(LABELS[:m])) for m in SIZES]
    assert sum(compilations(net.predict_proba, x) for x, _ in taken) <= few + 3
    assert sum(compilations(net.predict, x) for x, _ in taken) == 0
    assert sum(compilations(net.cost, x, y) for x, y in taken) <= few + 3
    other = given(X[:, :777]), given(LABELS[:777])
    assert compilations(lambda: (net.predict(other[0]), net.cost(*other))) == 0


def test_neither_a_rate_nor_a_number_of_examples_compiles_anew():
    settings = {"epochs": 2, "batch_size": 32, "validation": (X[:, :300], LABELS[:300])}
    make_net(backend="jax").fit(X[:, :1000], LABELS[:1000], xpnet.Adam(1e-3), **settings)
    for m, rate in ((1000, 2e-3), (1019, 1e-3), (1007, 3e-3)):  # the last minibatch varies
        fit, optimizer = make_net(backend="jax").fit, xpnet.Adam(rate)
        settings["schedule"] = xpnet.schedules.Exponential(1.0 - rate)
        assert compilations(fit, X[:, :m], LABELS[:m], optimizer, **settings) == 0


def test_a_run_of_the_command_line_compiles_a_few_programs():
    """One loop over steps, and a prediction and a cost each of two sizes; the rest is small."""
    words = [sys.executable, "-m", "xpnet", "train", "--backend", "jax", "--epochs", "3"]
    environment = os.environ | {"JAX_LOG_COMPILES": "1"}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    large = [line for name in ("steps", "predict", "cost") for line in done.stderr.splitlines()
             if f"Compiling jit({name})" in line]  # fmt: skip
    assert 3 <= len(large) <= 5


def test_predictions_of_many_blocks_are_those_of_one_example_at_a_time():
    net = make_net(backend="jax", dtype="float32")
    many = RNG.normal(size=(6, 300_000)).astype(np.float32)
    found = net.predict_proba(many)
    host = make_net(backend="numpy", dtype="float32")
    np.testing.assert_allclose(found, host.predict_proba(many), atol=2e-6)


# -- arrays ------------------------------------------------------------------------------
@pytest.mark.parametrize("settings", [{}, {"backend": "jax"}], ids=["follows", "placed"])
def test_predictions_are_traced(settings):
    """Also the first one, which decides where the net lives."""
    x = jnp.asarray(X[:, :10])
    found = jax.jit(make_net(**settings).predict_proba)(x)
    net = make_net(**settings)
    np.testing.assert_array_equal(jax.jit(net.predict)(x), net.predict(x))
    assert isinstance(net.theta, jax.Array)
    assert not isinstance(net.theta, jax.core.Tracer)
    np.testing.assert_allclose(found, net.predict_proba(x), atol=1e-6)
    batch = jax.vmap(net.predict_proba)(jnp.stack([x, 2.0 * x]))
    np.testing.assert_allclose(batch[1], net.predict_proba(2.0 * x), atol=1e-6)

    def mean(x):
        return jnp.mean(net.predict_proba(x)[0])

    h = np.zeros((6, 10), np.float32)
    h[2, 3] = 0.01
    slope = (mean(x + h) - mean(x - h)) / 0.02
    assert jax.grad(mean)(x)[2, 3] == pytest.approx(float(slope), abs=1e-4)


READERS = {
    "fit": lambda x: make_net().fit(x, LABELS),
    "cost": lambda x: make_net().cost(x, LABELS),
    "gradients": lambda x: make_net().gradients(x, LABELS),
    "predict_raw": lambda x: make_net().predict_raw(x),
    "least_squares": lambda x: xpnet.least_squares(x, x),
    "lbfgs": lambda x: xpnet.lbfgs(lambda theta: (theta @ theta, theta), x[0]),
    "an estimator": lambda x: xpnet.LinearRegression().fit(X.T, X[0]).predict(x.T),
}


@pytest.mark.parametrize("reader", READERS)
def test_what_reads_values_says_that_it_cannot_be_traced(reader):
    with pytest.raises(TypeError, match=r"(X|x0) is traced by JAX .* predict_proba can be traced"):
        jax.jit(READERS[reader])(jnp.asarray(X))


SHARDED = """
import jax, numpy as np, xpnet
from jax.sharding import Mesh, NamedSharding, PartitionSpec
mesh = Mesh(np.array(jax.devices()), ("i",))
x = jax.device_put(np.ones((3, 10), "f4"), NamedSharding(mesh, PartitionSpec(None, "i")))
net = xpnet.DeepNet([3, 1])
for call in (net.predict, net.predict_raw, lambda x: net.fit(x, x[:1]), lambda x: net.cost(x, x)):
    try:
        call(x)
    except ValueError as error:
        assert "is sharded over 2 devices of JAX, and a net computes on one" in str(error), error
        continue
    raise AssertionError(call)
assert net.predict(jax.device_put(x, jax.devices()[1])).device == jax.devices()[1]
"""


def test_sharded_arrays_are_refused_in_a_sentence():
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    subprocess.run([sys.executable, "-c", SHARDED], env=environment, check=True)


GUARDED = """
import jax, numpy as np, xpnet
x = jax.device_put(np.ones((3, 5), "f4"))
with jax.transfer_guard("disallow"):
    xpnet.DeepNet([3, 1]).predict(x)
"""


def test_the_first_array_of_a_process_may_be_guarded():
    subprocess.run([sys.executable, "-c", GUARDED], check=True)


@pytest.mark.parametrize(
    "guard", [lambda: jax.transfer_guard("disallow"), lambda: jax.numpy_rank_promotion("raise")]
)
def test_guards_of_transfers_and_of_ranks_let_a_net_work_on_its_device(guard):
    x, y = jnp.asarray(X), jnp.asarray(LABELS)
    with guard():
        net = make_net()
        net.fit(x, y, epochs=2, batch_size=100, validation=(x, y), l2=0.1)
        assert net.predict(x).shape == (1200,)
        assert net.cost(x, y) < 2.0
        found = net.gradients(x, y)
    host = make_net(backend="numpy")
    host.parameters = [[np.asarray(a) for a in pair] for pair in net.parameters]
    assert_pairs_close(found, host.gradients(X, LABELS), 1e-4)
