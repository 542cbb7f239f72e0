"""Every engine follows the reference: activation x output x optimiser x batching, 50 steps.

The reference is the generic engine on the same arrays. An engine is free in how it computes; after
50 steps in float64 its parameters are the reference's to 1e-10 of their norm, its costs likewise.
NumPy and PyTorch run the whole product; JAX compiles each configuration, and CuPy each kernel, so
these run a subset in which every value of every axis meets every optimiser or every output.
"""

from __future__ import annotations

import importlib
import itertools

import numpy as np
import pytest
from helpers import HIDDEN, OUTPUTS, draw_parameters, draw_targets

import xpnet

OPTIMIZERS = {
    "GradientDescent": xpnet.GradientDescent(0.1),
    "Momentum": xpnet.Momentum(0.02),
    "Nesterov": xpnet.Momentum(0.02, nesterov=True),
    "Adam": xpnet.Adam(0.01),
    "AdamW": xpnet.AdamW(0.01, weight_decay=0.1),
    # A larger rate makes full batches oscillate: there the reference itself, started 1e-15 away,
    # ends 1e-9 away, and no comparison to 1e-10 means anything.
    "RMSProp": xpnet.RMSProp(0.001),
}
M = 21
BATCHES = {"full": (None, 50), "mini": (8, 17)}  # 8 + 8 + 5, 17 epochs: 51 steps
EXTRAS = ("plain", "l2", "weighted", "weighted+l2")
PRODUCT = list(itertools.product(HIDDEN, OUTPUTS, OPTIMIZERS, BATCHES))


def covering():
    """Each activation with each output once, with each optimiser at least once; both batchings."""
    optimizers = list(OPTIMIZERS)
    cases = []
    for i, hidden in enumerate(HIDDEN):
        for j, output in enumerate(OUTPUTS):
            k = (i + 2 * j) % len(optimizers)
            cases.append((hidden, output, optimizers[k], list(BATCHES)[(i + j) % 2]))
    for k, name in enumerate(optimizers):
        cases.append(("tanh", OUTPUTS[k % 3], name, list(BATCHES)[k % 2]))
        cases.append(("relu", OUTPUTS[(k + 1) % 3], name, list(BATCHES)[(k + 1) % 2]))
    return sorted(set(cases))


def cases():
    for name in ("numpy", "torch", "jax", "cupy"):
        chosen = PRODUCT if name in ("numpy", "torch") else covering()
        for number, case in enumerate(chosen):
            extra = EXTRAS[(number + number // len(EXTRAS)) % len(EXTRAS)]
            label = "-".join((name, *case, extra))
            yield pytest.param(name, *case, extra, id=label)


def run(lib, engine, sizes, hidden, output, optimizer, batch, extra, seed=31, callbacks=()):
    """(parameters, costs) on the host after a fit with this engine; None: the library's own."""
    rng = np.random.default_rng(seed)
    parameters = draw_parameters(sizes, rng, scale=0.5)
    X, Y = rng.normal(size=(sizes[0], M)), draw_targets(output, sizes[-1], M, rng)
    w = rng.uniform(0.2, 2.0, size=M)
    net = xpnet.DeepNet(sizes, hidden=hidden, output=output, dtype="float64", seed=5, **lib.options)
    net.parameters = lib.pairs(parameters)
    batch_size, epochs = batch
    settings = {
        "optimizer": optimizer,
        "epochs": epochs,
        "batch_size": batch_size,
        "l2": 0.05 if "l2" in extra else 0.0,
        "sample_weight": lib.asarray(w) if "weighted" in extra else None,
        "callbacks": callbacks,
    }
    x, y = lib.asarray(X), lib.asarray(Y)
    if engine is None:
        history = net.fit(x, y, **settings)
    else:
        with xpnet.engines.use(engine):
            history = net.fit(x, y, **settings)
    return lib.host(net.parameters), np.array(history.cost)


def assert_same_run(found, expected, tolerance=1e-10):
    (parameters, costs), (reference, reference_costs) = found, expected
    assert costs.shape == reference_costs.shape
    np.testing.assert_allclose(costs, reference_costs, rtol=tolerance)
    for layer, (one, other) in enumerate(zip(parameters, reference, strict=True), start=1):
        for name, a, b in zip(("W", "b"), one, other, strict=True):
            assert np.all(np.isfinite(a))
            error = np.linalg.norm(a - b) / np.linalg.norm(b)
            assert error <= tolerance, f"layer {layer}, {name}: {error:.2e}"


@pytest.mark.parametrize(
    ("lib", "hidden", "output", "optimizer", "batching", "extra"), list(cases()), indirect=["lib"]
)
def test_engine_equals_reference(lib, hidden, output, optimizer, batching, extra):
    setting = (
        [3, 5, 4, 3],
        hidden,
        output,
        OPTIMIZERS[optimizer],
        BATCHES[batching],
        extra,
    )
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


ENGINES = pytest.mark.parametrize("lib", ["numpy", "torch", "jax", "cupy"], indirect=True)


@ENGINES
@pytest.mark.parametrize(
    ("sizes", "hidden"),
    [
        ([4, 3], "relu"),
        ([2, 4, 1], "tanh"),
        ([3, 70, 2], "relu"),
        ([5, 4, 3, 3, 2], ["relu", "tanh", "softplus"]),
        ([1, 1, 1], "sigmoid"),
    ],
    ids=["no-hidden", "shallow", "wide", "one-activation-per-layer", "one-unit"],
)
@pytest.mark.parametrize("batching", BATCHES)
def test_engine_equals_reference_for_other_shapes(lib, sizes, hidden, batching):
    output = "sigmoid" if sizes[-1] < 3 else "softmax"
    setting = (sizes, hidden, output, OPTIMIZERS["Adam"], BATCHES[batching], "weighted+l2")
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


OWN_BUFFERS = pytest.mark.parametrize("lib", ["numpy", "torch", "cupy"], indirect=True)


@OWN_BUFFERS
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("batching", BATCHES)
def test_engine_equals_reference_for_wide_layers(lib, output, batching):
    """Wide and narrow layers in turn, and more parameters than any cache-sized block."""
    sizes = [70, 64, 300, 65, 66]
    optimizer, (batch_size, _) = OPTIMIZERS["AdamW"], BATCHES[batching]
    setting = (sizes, "relu", output, optimizer, (batch_size, 4), "weighted+l2")
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@OWN_BUFFERS
@pytest.mark.parametrize("name", ["Adam", "Nesterov"])
def test_engine_equals_reference_after_many_steps(lib, name):
    """300 steps: what an engine does only now and then has been done several times."""
    setting = ([3, 4, 2], "tanh", "sigmoid", OPTIMIZERS[name], (8, 100), "weighted+l2")
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@ENGINES
@pytest.mark.parametrize("batch_size", [1, 20, 21, 1000], ids="batch={}".format)
def test_engine_equals_reference_for_odd_batches(lib, batch_size):
    """Single examples, a last batch of one, exactly one batch, and a batch larger than the data."""
    setting = ([3, 5, 3], "tanh", "softmax", OPTIMIZERS["Adam"], (batch_size, 3), "weighted+l2")
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


class ReadsCost:
    """A callback that fetches the cost after each epoch, as a progress bar does."""

    def on_epoch_end(self, net, progress):
        self.last = progress.cost


@ENGINES
def test_a_callback_changes_no_number(lib):
    setting = ([3, 5, 3], "tanh", "softmax", OPTIMIZERS["Adam"], BATCHES["mini"], "plain")
    found = run(lib, None, *setting, callbacks=(ReadsCost(),))
    assert_same_run(found, run(lib, None, *setting), tolerance=1e-13)
    assert_same_run(found, run(lib, "generic", *setting))


@ENGINES
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_engine_keeps_float32(lib, optimizer):
    rng = np.random.default_rng(32)
    X = lib.asarray(rng.normal(size=(3, 10)).astype("float32"))
    Y = lib.asarray(rng.integers(0, 2, size=(2, 10)).astype("float32"))
    net = xpnet.DeepNet([3, 4, 2], hidden="tanh", output="sigmoid", **lib.options)
    net.fit(X, Y, optimizer=OPTIMIZERS[optimizer], epochs=2, batch_size=4, l2=0.1)
    for pair in net.parameters:
        for array in pair:
            assert lib.owns(array)
            assert lib.dtype_of(array) == "float32"


@pytest.mark.parametrize("lib", xpnet.engines.ENGINES[1:], indirect=True)
def test_the_library_runs_its_own_engine(lib, monkeypatch):
    """Or every comparison above would be of the reference with itself."""
    program = importlib.import_module(f"xpnet.engines.{lib.name}").Program
    original, runs = program.run, []

    def watched(self, *args):
        runs.append(self)
        return original(self, *args)

    monkeypatch.setattr(program, "run", watched)
    setting = ([3, 4, 2], "tanh", "sigmoid", OPTIMIZERS["Adam"], (8, 1), "plain")
    run(lib, "generic", *setting)
    assert not runs
    run(lib, None, *setting)
    assert runs


@pytest.mark.parametrize("lib", ["numpy"], indirect=True)
def test_an_unknown_engine_names_the_known_ones(lib):
    with pytest.raises(ValueError, match="generic"), xpnet.engines.use("abacus"):
        pass
