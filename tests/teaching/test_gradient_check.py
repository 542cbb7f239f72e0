"""``check_gradients`` calls right gradients right and wrong ones wrong, and says where."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers import HIDDEN, OUTPUTS, draw_parameters, draw_targets

import xpnet
from xpnet.core.losses import Loss, squared


def problem(sizes=(3, 4, 3, 2), hidden="tanh", output="sigmoid", m=9, **options):
    rng = np.random.default_rng(2)
    net = xpnet.DeepNet(sizes, hidden, output, **{"dtype": "float64"} | options)
    net.parameters = draw_parameters(sizes, rng)
    return net, rng.normal(size=(sizes[0], m)), draw_targets(output, sizes[-1], m, rng)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_ours_are_right(hidden, output):
    net, X, Y = problem(hidden=hidden, output=output)
    w = np.linspace(0.5, 1.5, 9)
    report = xpnet.check_gradients(net, X, Y, sample_weight=w, l2=0.1, l1=0.05)
    assert report.ok
    assert report.error < 1e-9
    assert report.method == "complex step"
    assert [(c.layer, c.parameter) for c in report.parameters] == [
        (l, name) for l in (1, 2, 3) for name in "Wb"
    ]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_on_every_library(lib, dtype):
    net, X, Y = problem(hidden=["tanh", "relu"], dtype=dtype, **lib.options)
    before = lib.host(net.parameters)
    report = xpnet.check_gradients(net, lib.asarray(X.astype(dtype)), lib.asarray(Y), l2=0.1)
    assert report.ok, report
    assert report.error < 1e-8
    assert ("copy in float64" in str(report)) is (dtype == "float32")
    assert lib.dtype_of(net.theta) == dtype
    for old, now in zip(before, lib.host(net.parameters), strict=True):
        np.testing.assert_array_equal(old[0], now[0])


def own(slope, value=lambda z, *, xp: xp.tanh(z)):
    return xpnet.Activation("own", value, slope)


def test_a_slope_that_is_off_by_a_percent_is_found(lib):
    wrong = own(lambda a, *, xp: 1.01 * (1.0 - a * a))
    net, X, Y = problem(hidden=["tanh", wrong], **lib.options)
    report = xpnet.check_gradients(net, lib.asarray(X), lib.asarray(Y))
    assert not report.ok
    errors = {(c.layer, c.parameter): c.error for c in report.parameters}
    assert max(errors[3, "W"], errors[3, "b"]) < 1e-8
    assert min(errors[l, name] for l in (1, 2) for name in "Wb") > 1e-3
    assert "look at the slope of 'own', layer 2" in str(report)


def test_the_worst_entry_is_named():
    net, X, Y = problem(hidden=own(lambda a, *, xp: 1.01 * (1.0 - a * a)))
    checked = xpnet.check_gradients(net, X, Y).parameters[0]
    assert checked.gradient == net.gradients(X, Y)[0].W[checked.entry]
    relative = abs(checked.gradient - checked.reference) / abs(checked.gradient)
    assert relative == pytest.approx(checked.error)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (lambda z, *, xp: xp.tanh(np.asarray(z, dtype=np.float64)), "ComplexWarning"),
        (lambda z, *, xp: xp.tanh(xp.real(z) if np.iscomplexobj(z) else z), "not analytic"),
    ],
)
@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_functions_of_real_numbers_alone_are_checked_by_differences(value, why, factor):
    net, X, Y = problem(hidden=own(lambda a, *, xp: factor * (1.0 - a * a), value))
    report = xpnet.check_gradients(net, X, Y)
    assert (report.ok, report.method) == (factor == 1.0, "central differences")
    assert why in str(report)


@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_a_cost_of_ones_own(factor):
    def value(Z, Y, *, xp):
        return xp.sum(xp.exp(Z) - Y * Z, axis=0, keepdims=True)

    net, X, Y = problem(output="identity")
    cost = Loss("counts", "identity", lambda Z, *, xp: factor * xp.exp(Z), value)
    net.objective = replace(net.objective, loss=cost)
    report = xpnet.check_gradients(net, X, np.abs(Y))
    assert report.ok is (factor == 1.0)
    assert ("look at the derivative of the output" in str(report)) is (factor != 1.0)
    assert squared.value is not value


@pytest.mark.parametrize("off", [0.0, 1e-6])
@pytest.mark.parametrize("kink", [0.0, 1.0])
@pytest.mark.parametrize("factor", [1.0, 1.01])
def test_a_kink_is_told_apart(factor, kink, off):
    def value(z, *, xp):
        return xp.maximum(z, kink + 0.0 * z)

    relu = own(lambda a, *, xp: factor * xp.astype(a > kink, a.dtype), value)
    net, X, Y = problem((2, 3, 1), relu, "identity")
    (W, b), last = net.parameters
    b[0] = kink + off - (W[0] @ X[:, 0])  # the first unit is at its kink for the first example
    net.parameters = [(W, b), last]
    report = xpnet.check_gradients(net, X, Y)
    assert report.ok is (factor == 1.0)
    if off == 0.0:
        assert [c.kinks for c in report.parameters[:2]] == [2, 1]
        assert "as that of ReLU at 0, not compared: 3" in str(report)


@pytest.mark.parametrize(("factor", "seed"), [(1.0, 0), (1.0, 1), (1.01, 0)])
def test_kinks_on_both_sides_and_at_every_distance(factor, seed):
    slope = own(lambda a, *, xp: factor * xp.astype(a > 0, a.dtype), lambda z, *, xp: z * (z > 0))
    X, Y = np.random.default_rng(0).normal(size=(3, 10)), np.arange(10)[None] % 2
    ours = "relu" if factor == 1.0 else slope
    net = xpnet.DeepNet([3, *[10] * 30, 1], hidden=ours, dtype="float64", seed=seed)
    assert xpnet.check_gradients(net, X, Y, entries=10).ok is (factor == 1.0)


def test_where_nothing_can_be_compared_nothing_is_right(monkeypatch):
    def all_kinks(cost, at, tolerance, notes):
        return "central differences", cost.gradient[at], 1e-8, np.ones(at.size, bool)

    monkeypatch.setattr("xpnet.teaching.gradient_check._reference", all_kinks)
    report = xpnet.check_gradients(*problem())
    assert not report.ok
    assert "not checked" in str(report)


def test_a_cost_that_is_not_finite_is_told():
    broken = own(lambda a, *, xp: a * 0 + 1, lambda z, *, xp: z * np.nan)
    assert "the cost is nan" in str(xpnet.check_gradients(*problem(hidden=broken)))


def test_the_kink_of_a_penalty_is_told_apart():
    net, X, Y = problem((2, 3, 1))
    (W, b), last = net.parameters
    W[1, 0] = 0.0
    net.parameters = [(W, b), last]
    report = xpnet.check_gradients(net, X, Y, l1=0.1)
    assert (report.ok, report.method) == (True, "complex step")
    assert [c.kinks for c in report.parameters] == [1, 0, 0, 0]


def test_a_curve_is_no_kink():
    """Near its optimum a net has small slopes and large curvatures."""
    net, X, Y = problem((1, 1, 1), own(lambda a, *, xp: 1.01 * (1 - a * a)), "identity", m=5)
    net.fit(X, Y, xpnet.Momentum(0.1), epochs=20_000, batch_size=None)
    report = xpnet.check_gradients(net, X, Y)
    assert abs(report.parameters[0].gradient) < 1e-4
    assert [c.kinks for c in report.parameters] == [0] * 4
    assert not report.ok


def test_vanishing_gradients_are_checked_too():
    net, X, Y = problem((2, *[3] * 7, 1), own(lambda a, *, xp: 1.01 * (1.0 - a * a)))
    net.parameters = [(0.15 * W, b) for W, b in net.parameters]
    report = xpnet.check_gradients(net, X, Y)
    assert abs(report.parameters[0].gradient) < 1e-7
    assert report.parameters[0].error > 1e-3


def test_a_sample_of_the_entries_of_a_large_net():
    net, X, Y = problem((30, 20, 1))
    counts = [(c.checked, c.size) for c in xpnet.check_gradients(net, X, Y, entries=7).parameters]
    assert counts == [(7, 600), (7, 20), (7, 20), (1, 1)]


def test_a_converged_net_is_right():
    rng = np.random.default_rng(0)
    X = 100 * rng.normal(size=(3, 50))
    net = xpnet.linear_regression(3, dtype="float64")
    net.parameters = [(np.ones((1, 3)), np.ones((1, 1)))]
    assert xpnet.check_gradients(net, X, np.sum(X, axis=0, keepdims=True) + 1).ok


def test_jax_without_float64_is_checked_on_numpy(monkeypatch):
    jax = pytest.importorskip("jax")
    net, X, Y = problem(dtype="float32", backend="jax")
    enabled = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", False)
    try:
        report = xpnet.check_gradients(net, X.astype(np.float32), Y)
    finally:
        jax.config.update("jax_enable_x64", enabled)
    assert report.ok
    assert "on NumPy, as JAX" in str(report)


@pytest.mark.parametrize("tool", [xpnet.check_gradients, xpnet.explain, xpnet.compare])
def test_an_estimator_is_pointed_to_its_net(tool):
    pytest.importorskip("sklearn")
    with pytest.raises(TypeError, match=r"MLPClassifier is no DeepNet; .* DeepNet.from_sklearn"):
        tool(xpnet.MLPClassifier(), np.eye(2), np.zeros((1, 2)))


def test_what_is_not_finite_is_wrong():
    net, X, Y = problem(hidden=own(lambda a, *, xp: a, lambda z, *, xp: z * np.nan))
    report = xpnet.check_gradients(net, X, Y)
    assert (report.ok, report.error) == (False, np.inf)


@pytest.mark.parametrize("bad", [{"entries": 0}, {"tolerance": 0.0}, {"l2": -1.0}, {"seed": -1}])
def test_bad_settings(bad):
    net, X, Y = problem()
    with pytest.raises(ValueError, match=f"{next(iter(bad))}="):
        xpnet.check_gradients(net, X, Y, **bad)
