"""The losses the estimators report, and Poisson's: every engine follows the reference."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from xpnet.backends.place import select
from xpnet.core.activations import tanh
from xpnet.core.leaves import Data
from xpnet.core.losses import as_reported, bernoulli, categorical, poisson, squared
from xpnet.core.network import Objective, step_table
from xpnet.core.optimizers import GradientDescent
from xpnet.engines import engine_for, use

LOSSES = (squared, bernoulli, categorical, poisson)
RNG = np.random.default_rng(8)
X = RNG.normal(size=(20, 4))
ROWS = {
    "squared": RNG.normal(size=(20, 3)),
    "bernoulli": RNG.integers(0, 2, (20, 3)).astype(float),
    "categorical": np.eye(3)[RNG.integers(0, 3, 20)],
    "poisson": RNG.poisson(2.0, (20, 3)).astype(float),
}
THETA = RNG.normal(size=4 * 5 + 5 * 3 + 5 + 3)


def objective(loss):
    return Objective((4, 5, 3), (tanh,), loss, penalized=True)


def steps(lib, engine, loss, scale):
    """Costs and parameters of five weighted steps."""
    place = select(**lib.options, dtype="float64")
    with use(engine), place.context():
        rows = (place.asarray(a) for a in (X, ROWS[loss.name], np.linspace(0.0, 1.0, 20)))
        rule, t = GradientDescent(0.01), np.arange(1.0, 6.0)
        program = engine_for(place, objective(loss)).program(
            rule, Data(*rows), None, place.asarray(scale * THETA), ()
        )
        costs = program.run(None, step_table(rule, t, np.full(5, 0.01), l2=0.1))
        return lib.to_numpy(costs), lib.to_numpy(program.theta)


@pytest.mark.parametrize("reported", [False, True], ids=["exact", "reported"])
@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_engines_follow_the_reference(lib, loss, reported):
    loss = as_reported(loss) if reported else loss
    scale = 1.0 if loss.name == "poisson" else 8.0  # far enough out that probabilities are clipped
    engine = lib.name if lib.name in ("numpy", "torch", "jax", "cupy") else "generic"
    for found, expected in zip(steps(lib, engine, loss, scale), steps(lib, "generic", loss, scale)):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
def test_only_the_report_differs(loss):
    Z, Y = 30.0 * RNG.normal(size=(3, 50)), np.repeat(ROWS[loss.name].T, 3, axis=1)[:, :50]
    # In between, scikit-learn's own 1 - p has lost its digits where p is close to 1.
    Z = Z / 20.0 if loss is poisson else np.where(np.abs(Z) < 12.0, Z, 5.0 * Z)
    reported = as_reported(loss)
    assert reported.predict is loss.predict
    assert reported.exact is loss.exact is loss
    assert pickle.loads(pickle.dumps(reported)) == reported
    found, exact = (each.value(Z, Y, xp=np) for each in (reported, loss))
    if loss is squared:
        np.testing.assert_allclose(found, exact / 3)
    elif loss is poisson:
        np.testing.assert_array_equal(found, exact)
    else:
        eps = np.finfo(float).eps
        P = np.clip(loss.predict(Z, xp=np), eps, 1 - eps)
        terms = Y * np.log(P) + (loss is bernoulli) * (1 - Y) * np.log(1 - P)
        np.testing.assert_allclose(found[0], -terms.sum(axis=0), rtol=1e-9, atol=1e-12)


def test_poisson_gradient_is_its_slope():
    engine = engine_for(select("numpy", dtype="float64"), objective(poisson))
    data = Data(X, ROWS["poisson"], None)
    gradient = engine.value_and_gradient(0.3 * THETA, data, 0.1)[1]
    for i, step in enumerate(1e-6 * np.eye(len(THETA))):
        ends = [float(engine.value(0.3 * THETA + sign * step, data, 0.1)) for sign in (1, -1)]
        assert gradient[i] == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-6, abs=1e-8)
