"""Every engine follows the reference: activation x output x optimiser x batching, 50 steps.

In turn they have sample weights, L2, L1, dropout, clipping of the gradient, and all at once. The
reference is the generic engine on the same arrays. An engine is free in how it computes; after
50 steps in float64 its parameters are the reference's to 1e-10 of their norm, its costs likewise.
NumPy (plain, with Numba's fused loops, and compiled) and PyTorch run the whole product; JAX
compiles each configuration, and CuPy each kernel, so these run a subset in which every value of
every axis meets every optimiser or every output.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib
import itertools
from typing import ClassVar

import numpy as np
import pytest
from helpers import (
    HIDDEN,
    OPTIMIZERS,
    OUTPUTS,
    Reused,
    assert_pairs_equal,
    draw_parameters,
    draw_targets,
)

import xpnet

RATES = (0.2, 0.5, 0.0, 0.9)  # of the hidden layers, as many as there are
M = 21
BATCHES = {"full": (None, 50), "mini": (8, 17)}  # 8 + 8 + 5, 17 epochs: 51 steps
EVERYTHING = "weighted+l2+l1+dropout+clip"
EXTRAS = (
    *("plain", "l2", "l1", "l2+l1", "dropout", "l2+dropout", "l1+dropout+clip"),
    *("weighted", "clip", "weighted+l2+clip", "weighted+dropout", EVERYTHING),
)
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
    for name in ("plain", "fused", "compiled", "torch", "jax", "cupy"):
        chosen = covering() if name in ("jax", "cupy") else PRODUCT
        lib, recorder = (name, None) if name in ("torch", "jax", "cupy") else ("numpy", name)
        for case, extra in with_extras(chosen):
            if name == "compiled":  # which does not clip
                extra = "+".join(e for e in extra.split("+") if e != "clip") or "plain"
            yield pytest.param(lib, recorder, *case, extra, id="-".join((lib, name, *case, extra)))


def with_extras(chosen):
    """Each case with one of the extras: those of the product meet every value of every axis."""
    for number, case in enumerate(chosen):
        yield case, EXTRAS[(number + number // len(EXTRAS)) % len(EXTRAS)]


def test_extras_meet_every_value_of_every_axis():
    found = list(with_extras(PRODUCT))
    for axis, values in enumerate((HIDDEN, OUTPUTS, OPTIMIZERS, BATCHES)):
        met = {(case[axis], extra) for case, extra in found}
        assert met == set(itertools.product(values, EXTRAS))


def run(lib, engine, sizes, hidden, output, optimizer, batch, extra, seed=31, **more):
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
        "l1": 0.02 if "l1" in extra else 0.0,
        "dropout": RATES[: len(sizes) - 2] if "dropout" in extra else 0.0,
        "clip_norm": 0.5 if "clip" in extra else None,
        "sample_weight": lib.asarray(w) if "weighted" in extra else None,
        **more,
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


@pytest.fixture
def recorder(request, monkeypatch):
    """What nets on NumPy run on: "fused" loops of Numba, "plain" NumPy, or "compiled"."""
    if request.param in ("fused", "plain"):
        name = {"fused": "xpnet.engines.numba", "plain": "xpnet.engines.numpy"}[request.param]
        chosen = pytest.importorskip(name).Recorder
        engine = importlib.import_module("xpnet.engines.numpy")
        monkeypatch.setattr(engine, "best_recorder", lambda: chosen)
    elif request.param:
        pytest.importorskip("numba")
    engine = "numpy" if request.param in ("fused", "plain") else request.param
    with xpnet.engines.use(engine) if engine else contextlib.nullcontext():
        yield


RECORDERS = pytest.mark.parametrize("recorder", ["plain", "fused"], indirect=True)


@pytest.mark.parametrize(
    ("lib", "recorder", "hidden", "output", "optimizer", "batching", "extra"),
    list(cases()),
    indirect=["lib", "recorder"],
)
def test_engine_equals_reference(lib, recorder, hidden, output, optimizer, batching, extra):
    setting = (
        [3, 5, 4, 3],
        hidden,
        output,
        OPTIMIZERS[optimizer][0],
        BATCHES[batching],
        extra,
    )
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@pytest.mark.long  # `xpnet.gpu_check` runs it on a GPU
@pytest.mark.parametrize("lib", ["cupy"], indirect=True)
@pytest.mark.parametrize(
    ("case", "extra"), list(with_extras(PRODUCT)), ids=lambda x: "-".join(x) if x in PRODUCT else x
)
def test_cupy_equals_numpy(lib, case, extra):
    """The whole product, against the reference on NumPy."""
    hidden, output, optimizer, batching = case
    setting = [3, 5, 4, 3], hidden, output, OPTIMIZERS[optimizer][0], BATCHES[batching], extra
    host = type(lib)("numpy")
    assert_same_run(run(lib, None, *setting), run(host, "generic", *setting), 1e-9)


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
    setting = (sizes, hidden, output, OPTIMIZERS["Adam"][0], BATCHES[batching], EVERYTHING)
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


OWN_BUFFERS = pytest.mark.parametrize("lib", ["numpy", "torch", "cupy"], indirect=True)


@OWN_BUFFERS
@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("batching", BATCHES)
def test_engine_equals_reference_for_wide_layers(lib, output, batching):
    """Wide and narrow layers in turn, and more parameters than any cache-sized block."""
    sizes = [70, 64, 300, 65, 66]
    optimizer, (batch_size, _) = OPTIMIZERS["AdamW"][0], BATCHES[batching]
    setting = (sizes, "relu", output, optimizer, (batch_size, 4), EVERYTHING)
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@OWN_BUFFERS
@pytest.mark.parametrize("name", ["Adam", "Nesterov"])
def test_engine_equals_reference_after_many_steps(lib, name):
    """In 300 steps an engine has done several times what it does only now and then."""
    setting = ([3, 4, 2], "tanh", "sigmoid", OPTIMIZERS[name][0], (8, 100), EVERYTHING)
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@ENGINES
@pytest.mark.parametrize("batch_size", [1, 20, 21, 1000], ids="batch={}".format)
def test_engine_equals_reference_for_odd_batches(lib, batch_size):
    """Single examples, a last batch of one, exactly one batch, and a batch larger than the data."""
    setting = ([3, 5, 3], "tanh", "softmax", OPTIMIZERS["Adam"][0], (batch_size, 3), EVERYTHING)
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@pytest.mark.parametrize("lib", ["numpy"], indirect=True)
@pytest.mark.parametrize("hidden", ["relu", "tanh", "elu"])
@RECORDERS
@pytest.mark.parametrize("by_example", [False, True], ids=["by-unit", "by-example"])
def test_recorders_of_the_numpy_engine(lib, hidden, recorder, by_example, monkeypatch):
    """Dropout and products by unit and by example, with units that do and do not come in fours."""
    plain = importlib.import_module("xpnet.engines.numpy_recorder")
    monkeypatch.setattr(plain, "faster_by_example", lambda W, A: by_example)
    sizes = [6, 8, 301, 7, 260, 3]
    setting = (sizes, hidden, "softmax", OPTIMIZERS["Momentum"][0], (8, 4), EVERYTHING)
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@pytest.mark.parametrize("lib", ["numpy"], indirect=True)
@pytest.mark.parametrize("batch_size", [1, 10])
@RECORDERS
def test_recorders_for_single_examples_and_wide_layers(lib, recorder, batch_size):
    setting = ([7, 65, 130, 3], "relu", "softmax", OPTIMIZERS["Adam"][0], (batch_size, 4))
    for extra in ("weighted", "l2"):
        assert_same_run(run(lib, None, *setting, extra), run(lib, "generic", *setting, extra))


@RECORDERS
def test_nan_goes_through_relu(recorder):
    rng = np.random.default_rng(5)
    X, labels = rng.standard_normal((7, 33)), rng.integers(0, 3, 33)
    net = xpnet.DeepNet([7, 6, 3], "relu", "softmax")
    with pytest.raises(xpnet.DivergedError):
        net.fit(X * 1e150, labels, xpnet.GradientDescent(1e160), batch_size=None, epochs=50)
    assert all(np.all(np.isfinite(x)) for layer in net.parameters for x in layer)


def test_numba_can_be_left_out(monkeypatch):
    engine = importlib.import_module("xpnet.engines.numpy")
    monkeypatch.setenv("XPNET_NUMBA", "0")
    engine.with_numba.cache_clear()
    try:
        assert engine.best_recorder() is engine.Recorder
        assert engine.with_numba("compiled.choice") is None
    finally:
        engine.with_numba.cache_clear()


def absent(*args, **settings):
    raise AttributeError("_fused_adam_")


def in_other_units(theta, *others, **settings):
    theta[0].sub_(settings["lr"])


@pytest.mark.parametrize("lib", ["torch"], indirect=True)
@pytest.mark.parametrize("kernel", [None, absent, in_other_units])
@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_adam_with_and_without_the_kernel_of_pytorch(lib, kernel, name, monkeypatch):
    """A private kernel: where it is not what it was, steps are made of public operations."""
    engine = importlib.import_module("xpnet.engines.torch")
    if kernel:
        monkeypatch.setattr(engine.torch, "_fused_adam_", kernel)
    engine.one_pass_is_as_known.cache_clear()
    try:
        assert engine.one_pass_is_as_known() is (kernel is None)
        setting = ([3, 5, 4, 3], "tanh", "softmax", OPTIMIZERS[name][0], (8, 17), "l2+l1")
        assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))
    finally:
        engine.one_pass_is_as_known.cache_clear()


@pytest.mark.parametrize("lib", ["numpy"], indirect=True)
@pytest.mark.parametrize("m", [1, 1024, 2100])
def test_narrow_products_are_computed_by_example(lib, m):
    """One chunk, several, and a last chunk that is too short for it."""
    rng = np.random.default_rng(2)
    net = xpnet.DeepNet([130, 10, 3], dtype="float32", output="softmax", **lib.options)
    X = rng.standard_normal((m, 130)).astype(np.float32).T
    (W1, b1), (W2, b2) = (map(np.float64, pair) for pair in net.parameters)
    Z = W2 @ np.maximum(W1 @ X + b1, 0) + b2
    expected = np.exp(Z) / np.exp(Z).sum(axis=0)
    np.testing.assert_allclose(net.predict_proba(X), expected, rtol=0, atol=1e-6)


@ENGINES
@pytest.mark.parametrize("engine", [None, "generic"], ids=["own", "reference"])
def test_each_extra_changes_the_run(lib, engine):
    """The comparisons above would hold even if an engine ignored a setting: here each one acts."""
    setting = ([3, 5, 4, 3], "tanh", "softmax", OPTIMIZERS["GradientDescent"][0], (8, 2))
    plain = run(lib, engine, *setting, "plain")
    for extra in ("l2", "l1", "dropout", "clip", "weighted"):
        (W, _), *_ = run(lib, engine, *setting, extra)[0]
        assert np.max(np.abs(W - plain[0][0][0])) > 1e-3, extra


@ENGINES
def test_a_bound_above_the_norm_changes_nothing(lib):
    setting = ([3, 5, 3], "tanh", "softmax", OPTIMIZERS["GradientDescent"][0], (8, 2), "dropout")
    assert_same_run(run(lib, None, *setting, clip_norm=1e6), run(lib, None, *setting), 1e-14)


@ENGINES
@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_a_clipped_step_has_the_length_of_the_bound(lib, rate):
    """Gradient descent moves all parameters by rate * clip_norm, in the gradient's direction."""
    sizes, batch = [3, 5, 3], (None, 1)
    optimizer = xpnet.GradientDescent(rate)
    start, _ = run(lib, None, sizes, "tanh", "softmax", optimizer, (None, 0), "l2+l1")
    free, _ = run(lib, None, sizes, "tanh", "softmax", optimizer, batch, "l2+l1")
    bound, _ = run(lib, None, sizes, "tanh", "softmax", optimizer, batch, "l2+l1+clip")
    origin, free, bound = (
        np.concatenate([x.ravel() for pair in p for x in pair]) for p in (start, free, bound)
    )
    moved, wanted = bound - origin, free - origin
    assert np.linalg.norm(wanted) > 0.5 * rate
    assert np.linalg.norm(moved) == pytest.approx(0.5 * rate, rel=1e-9)
    np.testing.assert_allclose(
        moved / np.linalg.norm(moved), wanted / np.linalg.norm(wanted), atol=1e-9
    )


ROOT = {dtype: float(np.sqrt(np.finfo(dtype).max)) for dtype in ("float32", "float64")}


@pytest.mark.parametrize("dtype", ROOT)
@pytest.mark.parametrize("gradient", ["nan", "infinite", "norm overflows"])
def test_clipping_hides_nothing_infinite(lib, gradient, dtype):
    """Even where every entry of the gradient is finite and only the sum of squares is not."""
    x, W = 2.0 * ROOT[dtype], {"nan": [[1.0, -1.0]], "infinite": [[1.0, 1.0]]}.get(gradient)
    if W is None:  # Z = 2 x, dW = Z x = 8 root(largest number)
        x, W = 2.0 * np.sqrt(ROOT[dtype]), [[1.0, 1.0]]
    else:
        W = np.array(W) * ROOT[dtype]
    X, Y = np.full((2, 4), x, dtype), np.zeros((1, 4), dtype)
    net = xpnet.DeepNet([2, 1], output="identity", dtype=dtype, **lib.options)
    net.parameters = lib.pairs([(np.array(W, dtype), np.zeros((1, 1), dtype))])
    arrays, rule = (lib.asarray(X), lib.asarray(Y)), xpnet.GradientDescent(1e-3)
    fit = functools.partial(net.fit, *arrays, rule, batch_size=None)
    with pytest.raises(xpnet.DivergedError):
        fit(epochs=1, clip_norm=1.0)
    if gradient == "norm overflows":  # what the clipping is to blame for
        fit(epochs=1)


class ReadsCost:
    """A callback that fetches the cost after each epoch, as a progress bar does."""

    def on_epoch_end(self, net, progress):
        self.net, self.last = net, progress.cost


@ENGINES
def test_a_callback_changes_no_number(lib):
    setting = ([3, 5, 3], "tanh", "softmax", OPTIMIZERS["Adam"][0], BATCHES["mini"], "plain")
    found = run(lib, None, *setting, callbacks=(ReadsCost(),))
    assert_same_run(found, run(lib, None, *setting), tolerance=1e-13)
    assert_same_run(found, run(lib, "generic", *setting))


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("lib", ["numpy", "cupy", "torch", "jax"], indirect=True)
def test_the_library_runs_its_own_engine(lib, monkeypatch):
    """The comparisons above would hold even if every library ran the reference: none does."""
    program = importlib.import_module(f"xpnet.engines.{lib.name}").Engine.program_type
    original, runs = program.run, []

    def watched(self, *args):
        runs.append(self)
        return original(self, *args)

    monkeypatch.setattr(program, "run", watched)
    setting = ([3, 4, 2], "tanh", "sigmoid", OPTIMIZERS["Adam"][0], (8, 1), "plain")
    run(lib, "generic", *setting)
    assert not runs
    run(lib, None, *setting)
    assert runs


@pytest.mark.parametrize("lib", ["numpy"], indirect=True)
def test_an_unknown_engine_names_the_known_ones(lib):
    with pytest.raises(ValueError, match="generic"), xpnet.engines.use("abacus"):
        pass


@pytest.mark.parametrize("lib", ["numpy", "torch", "array_api_strict"], indirect=True)
@pytest.mark.parametrize("name", ["numpy", "compiled", "torch", "jax", "cupy"])
def test_an_engine_of_another_library_is_refused(lib, name):
    if lib.name == {"compiled": "numpy"}.get(name, name):
        pytest.skip("it is the net's own")
    net = xpnet.DeepNet([2, 1], **lib.options)
    told = pytest.raises(ValueError, match=rf"use\('{name}'\): this net computes on .* 'generic'")
    with told, xpnet.engines.use(name):
        net.fit(np.zeros((2, 3)), np.zeros((1, 3)))


class HeavyBall(xpnet.GradientDescent):
    """A rule whose moment is the parameters before the last step."""

    n_moments = 1

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        (before,) = moments
        return theta - scalars[0] * gradient + 0.5 * (theta - before), (theta,)


@ENGINES
def test_a_rule_may_keep_the_old_parameters(lib):
    setting = ([3, 5, 3], "tanh", "softmax", HeavyBall(0.05), (8, 3), "plain")
    assert_same_run(run(lib, None, *setting), run(lib, "generic", *setting))


@pytest.mark.parametrize("engine", [None, "generic"], ids=["own", "reference"])
def test_users_functions_may_use_their_memory_again(lib, engine):
    """An activation and a rule; the run diverges, and goes back to parameters that it kept."""

    def end(activated, updated):
        slope = lambda a, *, xp: activated[1](1.0 - a * a)  # noqa: E731
        tanh = xpnet.Activation("mine", lambda z, *, xp: activated[0](xp.tanh(z)), slope)

        class Rule(xpnet.GradientDescent):
            def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
                return updated(theta - scalars[0] * gradient), moments

        def schedule(epoch):
            return 1.0 if epoch < 300 else 1e200

        setting = ([3, 4, 4, 4, 2], tanh, "identity", Rule(0.01), (None, 310), "plain")
        reads = ReadsCost()
        with pytest.raises(xpnet.DivergedError, match="epoch 302"):
            run(lib, engine, *setting, schedule=schedule, callbacks=[reads])
        return lib.host(reads.net.parameters)

    plain = end([lambda x: x] * 2, lambda x: x)
    assert_pairs_equal(end([Reused(), Reused()], Reused()), plain)


@dataclasses.dataclass  # not frozen: no hash
class Heavy:
    """Momentum, whose settings may change between two fits."""

    learning_rate: float
    mu: float
    n_moments: ClassVar[int] = 1

    def scalars(self, t, rate):
        return [rate]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        velocity = self.mu * moments[0] - scalars[0] * gradient
        return theta + velocity, (velocity,)


def test_a_fit_uses_the_settings_of_today(lib):
    """Those of an optimiser, and what an activation closes over; a prediction too."""
    scale = {"of": 1.0}
    mine = xpnet.Activation(
        "mine", lambda z, *, xp: scale["of"] * xp.tanh(z), lambda a, *, xp: scale["of"] - a * a
    )

    def end(rule):
        return run(lib, None, [3, 4, 2], mine, "identity", rule, (8, 3), "plain")[0]

    rule = Heavy(0.1, 0.5)
    end(rule)
    rule.mu = 0.9
    assert_pairs_equal(end(rule), end(Heavy(0.1, 0.9)))
    before = end(rule)

    class Lightens:
        def on_epoch_end(self, net, progress):
            rule.mu = 0.3

    def of_two_rules(engine):
        rule.mu, lightens = 0.9, {"callbacks": [Lightens()]}
        return run(lib, engine, [3, 4, 2], "tanh", "identity", rule, (8, 3), "plain", **lightens)

    assert_same_run(of_two_rules(None), of_two_rules("generic"))
    rule.mu = 0.9
    net = xpnet.DeepNet([3, 4, 2], mine, "identity", dtype="float64", **lib.options)
    x = lib.asarray(np.ones((3, 5)))
    one = lib.to_numpy(net.predict(x))
    scale["of"] = 2.0
    assert np.max(np.abs(lib.to_numpy(net.predict(x)) - 2.0 * one)) < 1e-12
    assert np.max(np.abs(end(rule)[0][0] - before[0][0])) > 1e-3
