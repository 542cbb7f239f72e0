"""Learning-rate schedules: closed forms, PyTorch's schedulers as oracles, and what a fit makes."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
from helpers import assert_pairs_equal, raises_on_purpose

import xpnet
from xpnet.core.schedules import (
    Constant,
    Cosine,
    Exponential,
    InverseScaling,
    Plateau,
    Step,
    WarmUp,
    factors,
    prepared,
)

EPOCHS = np.linspace(0.0, 30.0, 121)
ALL = [
    Constant(),
    Step(7, 0.5),
    Step(2.5),
    Exponential(0.9),
    InverseScaling(),
    InverseScaling(1.0),
    Cosine(20),
    Cosine(30, final=0.1),
    WarmUp(5),
    WarmUp(2.5, Cosine(12), start=0.1),
    WarmUp(3, WarmUp(2, Step(4))),
    Plateau(),
    Plateau(0.5, 3, 1e-3, least=0.01),
]


# -- closed forms ------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("schedule", "epoch", "expected"),
    [
        (Constant(), 9.5, 1.0),
        (Step(10), 9.999, 1.0),
        (Step(10), 10.0, 0.1),
        (Step(0.2), 0.6, 0.001),
        (Step(10, 0.5), 39.0, 0.125),
        (Exponential(0.5), 2.0, 0.25),
        (Exponential(0.5), 0.5, math.sqrt(0.5)),
        (InverseScaling(), 3.0, 0.5),
        (InverseScaling(1.0), 3.0, 0.25),
        (Cosine(8), 0.0, 1.0),
        (Cosine(8), 4.0, 0.5),
        (Cosine(8), 2.0, 0.5 + 0.25 * math.sqrt(2.0)),
        (Cosine(8), 8.0, 0.0),
        (Cosine(8, final=0.2), 4.0, 0.6),
        (Cosine(8, final=0.2), 80.0, 0.2),
        (WarmUp(4), 0.0, 0.0),
        (WarmUp(4), 1.0, 0.25),
        (WarmUp(4, start=0.5), 2.0, 0.75),
        (WarmUp(4), 4.0, 1.0),
        (WarmUp(4, Exponential(0.5)), 6.0, 0.25),
        (WarmUp(4, Cosine(8)), 8.0, 0.5),
        (WarmUp(4, lambda epoch: 1.0 / (1.0 + epoch)), 7.0, 0.25),
        (Plateau(), 100.0, 1.0),
    ],
    ids=lambda value: str(value).partition(" at 0x")[0],
)
def test_values(schedule, epoch, expected):
    assert schedule(epoch) == pytest.approx(expected, rel=1e-14, abs=1e-16)


@pytest.mark.parametrize("every", ["0.1", "0.2", "0.3", "0.5", "0.7", "1", "2.5", "3"])
@pytest.mark.parametrize("warm", ["0", "0.1", "0.3", "0.7", "1.5", "2"])
def test_a_jump_comes_at_its_update(every, warm):
    """Epochs and settings are rounded fractions; the rule is that of the exact ones."""
    step = Step(float(every), 0.5)
    schedule = WarmUp(float(warm), step, start=7.0) if float(warm) else step
    for n in (1, 3, 5, 7, 10, 12, 30, 47):  # updates per epoch
        exact = [Fraction(i, n) - Fraction(warm) for i in range(6 * n)]
        epochs = [i // n + (i % n) / n for i in range(6 * n)]
        after = np.array([epoch >= 0 for epoch in exact])
        expected = [0.5 ** (epoch // Fraction(every)) for epoch in exact if epoch >= 0]
        np.testing.assert_array_equal(schedule(np.array(epochs))[after], expected)
        assert np.all(schedule(np.array(epochs))[~after] > 1.0)


@pytest.mark.parametrize("schedule", ALL, ids=str)
def test_floats_and_arrays_agree(schedule):
    found = schedule(EPOCHS)
    assert (found.shape, found.dtype) == (EPOCHS.shape, np.float64)
    one_by_one = [schedule(float(epoch)) for epoch in EPOCHS]
    assert all(isinstance(value, float) for value in one_by_one)
    np.testing.assert_array_equal(found, one_by_one)
    np.testing.assert_array_equal(factors(schedule, EPOCHS), found)
    assert np.all((found >= 0.0) & (found <= 1.0))
    for n in (1, 2, 3, 5, 8, 31):  # in pieces of any length, from any place
        pieces = [schedule(EPOCHS[i : i + n]) for i in range(0, len(EPOCHS), n)]
        np.testing.assert_array_equal(found, np.concatenate(pieces))


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Step(3).every = 4


def test_cosine_learns_where_the_fit_ends():
    assert prepared(Cosine(), 40) == Cosine(40)
    assert prepared(Cosine(10), 40) == Cosine(10)
    assert prepared(WarmUp(5, Cosine()), 40) == WarmUp(5, Cosine(35))
    assert prepared(Cosine(), 0)(0.0) == 1.0
    assert prepared(WarmUp(5, Cosine()), 3)(2.5) == 0.5
    with raises_on_purpose(ValueError, "give epochs"):
        Cosine()(1.0)


# -- PyTorch as an oracle ----------------------------------------------------------------
@pytest.mark.parametrize(
    ("schedule", "name", "settings"),
    [
        (Step(7, 0.5), "StepLR", {"step_size": 7, "gamma": 0.5}),
        (Exponential(0.93), "ExponentialLR", {"gamma": 0.93}),
        (Cosine(30), "CosineAnnealingLR", {"T_max": 30}),
        (Cosine(30, final=0.25), "CosineAnnealingLR", {"T_max": 30, "eta_min": 0.025}),
        (WarmUp(8, start=0.25), "LinearLR", {"start_factor": 0.25, "total_iters": 8}),
    ],
    ids=str,
)
def test_pytorch_has_the_same_rates(schedule, name, settings):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=0.1)
    oracle = getattr(torch.optim.lr_scheduler, name)(optimizer, **settings)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(31):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            oracle.step()
    np.testing.assert_allclose(0.1 * schedule(np.arange(31.0)), found, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    "plateau",
    [Plateau(0.5, 2, 1e-2), Plateau(0.1, 0), Plateau(0.3, 4, 0.0), Plateau(0.5, 1, 0.1, least=0.1)],
    ids=str,
)
def test_pytorch_has_the_same_plateaus(plateau):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=1.0)
    oracle = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer,
        factor=plateau.factor,
        patience=plateau.patience,
        threshold=plateau.threshold,
        min_lr=plateau.least,
        eps=0.0,
    )
    rng = np.random.default_rng(1)
    costs = np.maximum(0.2, np.exp(-0.1 * np.arange(60))) + 0.02 * rng.normal(size=60)
    costs[20], costs[30] = np.nan, np.inf
    state, found, expected = {}, [], []
    for cost in costs.tolist():
        state = plateau.after_epoch(cost, state)
        oracle.step(cost)
        found.append(float(factors(plateau, np.array([3.0]), state)[0]))
        expected.append(optimizer.param_groups[0]["lr"])
    assert len(set(expected)) > 2
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert json.loads(json.dumps(state)) == state


def test_a_plateau_after_a_warm_up():
    schedule = prepared(WarmUp(2, Plateau(0.5, patience=0)), 10)
    assert schedule.adapts
    assert not prepared(WarmUp(2, Cosine()), 10).adapts
    state = schedule.after_epoch(1.0, schedule.after_epoch(1.0, {}))
    np.testing.assert_array_equal(factors(schedule, np.array([1.0, 3.0]), state), [0.25, 0.5])


# -- bad input ---------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: Step(0), ValueError, r"Step\(every=0\)"),
        (lambda: Step("a"), TypeError, r"Step\(every='a'\): expected a number"),
        (lambda: Step(3, -0.1), ValueError, r"factor=-0.1"),
        (lambda: Step(float("nan")), ValueError, r"every=nan"),
        (lambda: Exponential(0.0), ValueError, r"factor=0.0"),
        (lambda: InverseScaling(float("inf")), ValueError, "power=inf"),
        (lambda: Cosine(-1), ValueError, "epochs=-1"),
        (lambda: Plateau(1.0), ValueError, "factor=1.0"),
        (lambda: Plateau(patience=1.5), ValueError, "a whole number"),
        (lambda: Plateau(patience=-1), ValueError, "patience=-1"),
        (lambda: WarmUp(0), ValueError, "epochs=0"),
        (lambda: WarmUp(2, Cosine), TypeError, r"pass an instance, Cosine\(...\)"),
        (lambda: WarmUp(2, 0.5), TypeError, "then=0.5"),
        (lambda: prepared(Cosine, 3), TypeError, "pass an instance"),
        (lambda: prepared(0.5, 3), TypeError, "schedule=0.5"),
    ],
)
def test_bad_settings(make, error, said):
    with pytest.raises(error, match=said):
        make()


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (-1.0, ValueError, "gave -1 at epoch 1.5"),
        (float("nan"), ValueError, "gave nan at epoch 1.5"),
        (float("inf"), ValueError, "gave inf at epoch 1.5"),
        (None, TypeError, "gave None at epoch 1.5"),
        ("much", TypeError, "gave 'much' at epoch 1.5"),
    ],
)
def test_a_function_whose_factors_are_none(value, error, said):
    def mine(epoch):
        return value if epoch == 1.5 else 1.0

    with raises_on_purpose(error, said, "mine"):
        factors(prepared(mine, 3), np.arange(0.0, 3.0, 0.5))
    with raises_on_purpose(ValueError, "WarmUp.*gave -1 at epoch 3"):
        factors(WarmUp(2, lambda epoch: -epoch), np.arange(4.0))
    with raises_on_purpose(ValueError, "Exponential", "inf at epoch 400"):
        factors(Exponential(10.0), np.array([0.0, 400.0]))


# -- in a fit ----------------------------------------------------------------------------
RNG = np.random.default_rng(3)
X = RNG.normal(size=(3, 20))
Y = (X[:1] > 0).astype(float)


def make_net(lib=None):
    options = lib.options if lib else {"backend": "numpy"}
    return xpnet.DeepNet([3, 4, 1], hidden="tanh", dtype="float64", seed=1, **options)


def test_a_fit_asks_for_every_step():
    asked = []

    def mine(epoch):
        asked.append(epoch)
        return 1.0

    net = make_net()
    net.fit(X, Y, epochs=2, batch_size=8, schedule=mine)
    assert asked == [e + i / 3 for e in range(2) for i in range(3)]
    assert all(type(epoch) is float for epoch in asked)
    net.fit(X, Y, epochs=1, batch_size=8, schedule=mine, resume=True)
    assert asked[6:] == [2 + i / 3 for i in range(3)]


def test_the_rates_of_a_fit(lib):
    """Gradient descent, a step an epoch, by hand."""
    rates = 0.5 * Cosine(6, final=0.1)(np.arange(6.0))
    x, y = lib.asarray(X), lib.asarray(Y)
    one, other = make_net(lib), make_net(lib)
    one.fit(x, y, xpnet.GradientDescent(0.5), batch_size=None, epochs=6, schedule=Cosine(final=0.1))
    for rate in rates.tolist():
        other.fit(x, y, xpnet.GradientDescent(rate), batch_size=None, epochs=1)
    assert_pairs_equal(lib.host(one.parameters), lib.host(other.parameters))


def test_a_fit_in_pieces_has_the_same_rates():
    schedule = WarmUp(1.5, Cosine())
    whole, parts = make_net(), make_net()
    whole.fit(X, Y, epochs=7, batch_size=8, schedule=schedule)
    parts.fit(X, Y, epochs=3, batch_size=8, schedule=WarmUp(1.5, Cosine(5.5)))
    parts.fit(X, Y, epochs=4, batch_size=8, schedule=schedule, resume=True)
    assert_pairs_equal(whole.parameters, parts.parameters)
    options = {"batch_size": 8, "schedule": Plateau(0.5, patience=1, threshold=0.05)}
    whole, parts = make_net(), make_net()
    whole.fit(X, Y, xpnet.Momentum(0.1), epochs=12, **options)
    for epochs in (5, 1, 6):
        parts.fit(X, Y, xpnet.Momentum(0.1), epochs=epochs, resume=True, **options)
    assert_pairs_equal(whole.parameters, parts.parameters)


@pytest.mark.parametrize("batch_size", range(1, 20))
def test_epochs_run_together_have_the_same_rates(batch_size):
    """Several epochs are one call where no callback looks at each."""
    options = {"batch_size": batch_size, "schedule": Exponential(0.7)}
    together, apart = make_net(), make_net()
    together.fit(X, Y, xpnet.GradientDescent(0.5), epochs=7, **options)
    for _ in range(7):
        apart.fit(X, Y, xpnet.GradientDescent(0.5), epochs=1, resume=True, **options)
    assert_pairs_equal(together.parameters, apart.parameters)


class Rates:
    def __init__(self):
        self.found, self.costs = [], []

    def on_epoch_end(self, net, progress):
        self.found.append(progress.learning_rate)
        self.costs.append(
            progress.cost if progress.validation_cost is None else progress.validation_cost
        )


@pytest.mark.parametrize("validation", [None, (X[:, :9], 1.0 - Y[:, :9])], ids=["cost", "valid"])
def test_a_plateau_reads_the_cost_of_each_epoch(lib, validation):
    plateau, rates = Plateau(0.5, patience=1, threshold=0.3), Rates()
    if validation is not None:
        validation = tuple(lib.asarray(x) for x in validation)
    make_net(lib).fit(
        lib.asarray(X),
        lib.asarray(Y),
        xpnet.Momentum(0.1),
        epochs=12,
        batch_size=8,
        schedule=plateau,
        validation=validation,
        callbacks=[rates],
    )
    state, expected = {}, []
    for cost in rates.costs:
        expected.append(0.1 * state.get("factor", 1.0))
        state = plateau.after_epoch(cost, state)
    assert rates.found == expected
    assert len(set(expected)) > 1
