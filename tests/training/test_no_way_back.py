"""The loop over a program without a way back: one that refuses steps, here without Numba."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from helpers import assert_pairs_equal

import xpnet
from xpnet.callbacks import EarlyStopping
from xpnet.engines import numpy as engine

RNG = np.random.default_rng(31)
X = RNG.normal(size=(3, 203))
Y = (X[:1] * X[1:2] > 0).astype(float)


class Watched(engine.Program):
    """The recorded program; it notes after how many steps it tidied up."""

    steps, tidied = 0, []  # of all programs

    def run(self, orders, table):
        Watched.steps += len(table)
        return super().run(orders, table)

    def tidy(self):
        Watched.tidied.append(Watched.steps)
        super().tidy()


class Refusing(Watched):
    """Steps one by one; ``ends`` says, by its number, at which step it stops once, and how."""

    name, way_back, ends = "refusing", False, {}

    def begin(self):
        self.costs = [np.empty(0, self.dtype)]

    def run(self, orders, table):
        self.begin()
        for index, row in zip(self.minibatches(orders), table, strict=False):
            end = Refusing.ends.pop(Watched.steps + 1, None)
            if end == "before":
                raise KeyboardInterrupt
            if end == "refused":
                self.refused_cost = 7.5
                break
            self.costs.append(super().run(None if index is None else index[None], row[None]))
            if end == "after":
                raise KeyboardInterrupt
        return self.made()

    def made(self):
        return np.concatenate(self.costs)

    def snapshot(self):
        raise AssertionError("the loop keeps nothing to go back to")


class Diary:
    """Remembers what it was told; where it looks into epochs, they run in parts."""

    def __init__(self, parts):
        self.told = []
        if parts:
            self.on_steps_end = lambda net, progress: False

    def on_epoch_end(self, net, progress):
        self.told.append([progress.total_epoch, progress.step, progress.cost])

    def state(self):
        return {"told": self.told}

    def restore(self, state):
        self.told = state["told"]


def make_net():
    return xpnet.DeepNet([3, 6, 4, 1], hidden="tanh", seed=1, dtype="float64", backend="numpy")


@pytest.fixture
def program(monkeypatch):
    """Has fits run by a class of programs."""

    def use(kind, ends=()):
        monkeypatch.setattr(engine.Engine, "program_type", kind)
        Watched.steps, Watched.tidied, Refusing.ends = 0, [], dict(ends)

    monkeypatch.setattr("xpnet.training.plan.Pace.took", lambda self, steps, seconds: None)
    monkeypatch.setattr("xpnet.training.loop.CHECK", (64, 64))
    with xpnet.engines.use("numpy"):
        yield use


DATA = {  # and options, steps in an epoch, epochs
    "full batch": ((X, Y), {"batch_size": None}, 1, 220),
    "minibatches": ((X, Y), {"batch_size": 5}, 41, 6),
    "stream": ((xpnet.stream(X.T.copy(), Y[0]),), {"batch_size": 20}, 11, 20),
    "dropout": ((X, Y), {"batch_size": 50, "dropout": 0.3}, 5, 45),
}


@pytest.mark.parametrize("parts", [None, False, True], ids=["together", "epochs", "parts"])
@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("steps", [(1, 5, 6), (12, 41, 42), (64, 100, 165)], ids=str)
@pytest.mark.parametrize("end", ["before", "after", "refused"])
def test_a_fit_goes_on_from_the_step_where_it_ended(program, tmp_path, parts, kind, steps, end):
    """Through a file, to the last bit, as if it had never ended there."""
    data, options, per_epoch, epochs = DATA[kind]
    options = {"optimizer": xpnet.Adam(0.01), "schedule": xpnet.schedules.Cosine(epochs)} | options
    whole, net, diaries = make_net(), make_net(), []

    def fit(net):
        state, more = net.training_state, {}
        if parts is not None:
            diaries.append(Diary(parts))
            more = {"callbacks": diaries[-1:], "validation": (X, Y)}
        left = epochs - (state.epoch if state else 0)
        net.fit(*data, epochs=left, resume=state is not None, **options, **more)

    program(Watched)
    fit(whole)
    tidied, costs = Watched.tidied, whole.history.cost
    program(Refusing, dict.fromkeys(steps, end))
    for step in steps:
        done = net.training_state.epoch if net.training_state else 0
        with pytest.raises((KeyboardInterrupt, xpnet.DivergedError)) as caught:
            fit(net)
        state, made = net.training_state, step - (end != "after")
        assert (state.step, state.epoch * per_epoch + state.position) == (made, made)
        assert state.history.cost == costs[: state.epoch]
        if end == "refused":
            error = caught.value
            assert (done + error.epoch, error.step) == (state.epoch + 1, state.position + 1)
            assert (error.cost, error.last_cost) == (7.5, (None, *costs)[state.epoch])
        net.save(tmp_path / "net.safetensors", training=True)
        net = xpnet.load(tmp_path / "net.safetensors", backend="numpy")
        assert net.training_state.history.engine == "refusing"
    fit(net)
    assert_pairs_equal(net.parameters, whole.parameters)
    ours, theirs = net.training_state, whole.training_state
    assert all(map(np.array_equal, ours.moments, theirs.moments))
    assert ours.history.cost == costs
    assert ours.history.validation_cost == theirs.history.validation_cost
    assert (ours.callbacks, Watched.tidied) == (theirs.callbacks, tidied)


@pytest.mark.parametrize("restore_best", [True, False])
def test_the_best_epoch_is_restored_after_a_few_steps_of_the_next(program, restore_best):
    """And callbacks are told the rate of the last step that was made."""
    options = {"optimizer": xpnet.Adam(0.01), "schedule": lambda epoch: 1.0 - epoch / 100}
    best, net, rates = make_net(), make_net(), []
    stopping = EarlyStopping(9, monitor="cost", restore_best=restore_best)
    watch = SimpleNamespace(
        on_epoch_end=lambda net, progress: None,
        on_divergence=lambda net, progress: rates.append(progress.learning_rate),
    )
    program(Watched)
    best.fit(X, Y, epochs=4, batch_size=5, **options)
    program(Refusing, {4 * 41 + 17: "refused"})
    with pytest.raises(xpnet.DivergedError, match=r"epoch 5 of 9, step 17 of 41: cost 7\.5"):
        net.fit(X, Y, epochs=9, batch_size=5, callbacks=[stopping, watch], **options)
    assert stopping.best_epoch == 4
    assert np.array_equal(net.theta, best.theta) == restore_best
    assert rates == [pytest.approx(0.01 * (1.0 - (4 + 15 / 41) / 100), rel=1e-12)]
