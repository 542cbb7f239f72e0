"""The training loop: epochs, what is recorded of them, callbacks, and the check for divergence.

The loop asks the device for numbers as rarely as it can. Costs stay where they were computed
until somebody reads them; every ``CHECK`` steps they are fetched together with the sum of the
parameters, and the state is kept if all is finite. If it is not, the loop goes back to the state
it kept, and replays epoch by epoch up to the one that broke.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from xpnet._typing import Array
from xpnet.backend import to_numpy
from xpnet.data import all_finite
from xpnet.engines import Program
from xpnet.exceptions import DivergedError
from xpnet.optimizers import Moments, Optimizer

CHECK = 128  # steps between two looks at whether everything is finite


@dataclass
class History:
    """What happened during one ``fit``, one entry per epoch.

    Attributes
    ----------
    cost : list of float
        Mean cost of the forward passes before each update, minibatches weighted by size (by
        their sum of sample weights where there are any).
    validation_cost : list of float
        Cost of the validation data after each epoch, without penalty; empty without such data.
    validation_accuracy : list of float
        Share of validation labels met, for sigmoid and softmax outputs.
    seconds : float
        Wall time of the fit.
    data : {"device", "prefetched"}
        Whether the data lay where the net computes, or was copied there batch by batch.
    """

    cost: list[float] = field(default_factory=list)
    validation_cost: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0
    data: str = "device"


class Callback(Protocol):
    """An object with any of these methods; a true return from ``on_epoch_end`` ends the fit."""

    def on_fit_begin(self, net: Any, progress: Progress) -> None: ...
    def on_epoch_end(self, net: Any, progress: Progress) -> bool | None: ...
    def on_fit_end(self, net: Any, progress: Progress) -> None: ...


class Progress:
    """What a callback sees. Reading a cost or validation figure fetches it from the device."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @property
    def epoch(self) -> int:
        """Epochs finished in this fit."""
        return self._run.epoch

    @property
    def epochs(self) -> int:
        """Epochs this fit was asked for."""
        return self._run.plan.epochs

    @property
    def seconds(self) -> float:
        """Wall time since the fit began."""
        return perf_counter() - self._run.began

    @property
    def cost(self) -> float | None:
        """The last epoch's cost, None before the first."""
        return _last(self._run.fetch().cost)

    @property
    def validation_cost(self) -> float | None:
        """The validation data's cost after the last epoch, None without such data."""
        return _last(self._run.fetch().validation_cost)

    @property
    def validation_accuracy(self) -> float | None:
        """Their share of labels met, None without such data or for an identity output."""
        return _last(self._run.fetch().validation_accuracy)


def _last(values: list[float]) -> float | None:
    return values[-1] if values else None


@dataclass(frozen=True)
class Plan:
    """What a fit was asked to do."""

    optimizer: Optimizer
    epochs: int
    n_examples: int
    batch_size: int | None
    order: Callable[[int], np.ndarray | None]  # epoch -> order of the examples
    l2: float = 0.0
    sample_weight: np.ndarray | None = None  # on the host
    first_epoch: int = 0  # epochs and steps of the fits that this one goes on from
    first_step: int = 0

    @property
    def steps_per_epoch(self) -> int:
        return 1 if self.batch_size is None else -(-self.n_examples // self.batch_size)

    def table(self, epoch: int, n_epochs: int) -> np.ndarray:
        """Scalars of each step of ``n_epochs`` epochs, (steps, n_scalars): see ``Program.run``."""
        n = n_epochs * self.steps_per_epoch
        t = self.first_step + epoch * self.steps_per_epoch + np.arange(1.0, n + 1.0)
        rate = np.full(n, self.optimizer.learning_rate)
        return np.stack([np.full(n, self.l2), *self.optimizer.scalars(t, rate)], axis=1)

    def batch_weights(self, orders: np.ndarray | None, n_epochs: int) -> np.ndarray:
        """What each step counts for in its epoch's cost, (n_epochs, steps_per_epoch)."""
        if orders is None or self.batch_size is None:
            return np.ones((n_epochs, 1))
        starts = np.arange(0, self.n_examples, self.batch_size)
        if self.sample_weight is None:
            sizes = np.diff(np.append(starts, self.n_examples))
            return np.broadcast_to(sizes, (n_epochs, len(sizes)))
        return np.add.reduceat(self.sample_weight[orders], starts, axis=1)


class Run:
    """One fit on its way."""

    def __init__(
        self,
        net: Any,
        program: Program,
        plan: Plan,
        callbacks: Iterable[Callback] = (),
        evaluate: Callable[[Array], tuple[Array, Array | None]] | None = None,
    ) -> None:
        self.net = net
        self.program = program
        self._xp = program.engine.backend.xp
        self.plan = plan
        self.callbacks = tuple(callbacks)
        self.evaluate = evaluate
        self.history = History()
        self.epoch = 0
        self.began = perf_counter()
        self._costs: list[tuple[Array, np.ndarray]] = []  # not fetched yet, with their weights
        self._validation: list[tuple[Array, Array | None]] = []
        self._orders: dict[int, np.ndarray] = {}
        self._stepping = False
        self._keep()

    # -- the loop ------------------------------------------------------------------------
    def train(self) -> History:
        """Runs the plan.

        Raises
        ------
        DivergedError
            A cost or parameter became infinite or NaN. The program then holds the state at the
            start of the epoch in which that happened.
        """
        try:
            self._tell("on_fit_begin")
            stop = False
            while self.epoch < self.plan.epochs and not stop:
                stop = self._advance()
            self._check()
            self._tell("on_fit_end")
        except DivergedError:
            raise
        except BaseException:
            if self._stepping:  # the step that was interrupted may be half written
                self.epoch = self._kept[0]
                self.program.restore(self._kept[1])
            raise
        self.history.seconds = perf_counter() - self.began
        return self.fetch()

    def _advance(self) -> bool:
        """The next epochs, as many as nobody needs to look in between; true if told to stop."""
        plan = self.plan
        watched = bool(self.callbacks) or self.evaluate is not None
        step = plan.first_step + self.epoch * plan.steps_per_epoch
        until_check = -(-(CHECK - step % CHECK) // plan.steps_per_epoch)
        n = 1 if watched else min(until_check, plan.epochs - self.epoch)
        self._costs.append(self._epochs(self.epoch, n))
        self.epoch += n
        if n == until_check:
            self._check()
            self.program.tidy()
            self._keep()
        if self.evaluate is not None:
            self._validation.append(self.evaluate(self.program.theta))
        return self._tell("on_epoch_end")

    def _epochs(self, epoch: int, n: int) -> tuple[Array, np.ndarray]:
        orders = None
        if self.plan.batch_size is not None:
            orders = np.stack([self._order(e) for e in range(epoch, epoch + n)])
        self._stepping = True
        costs = self.program.run(orders, self.plan.table(epoch, n))
        self._stepping = False
        return costs, self.plan.batch_weights(orders, n)

    def _order(self, epoch: int) -> np.ndarray:
        # Kept until the next check: a replay must see the order of the first time.
        if epoch not in self._orders:
            order = self.plan.order(self.plan.first_epoch + epoch)
            self._orders[epoch] = np.arange(self.plan.n_examples) if order is None else order
        return self._orders[epoch]

    def _tell(self, event: str) -> bool:
        """Calls every callback, also after one has asked to stop; they see the net as it is."""
        if not self.callbacks:
            return False
        self.net._theta = self.program.theta
        answers = [
            getattr(callback, event)(self.net, Progress(self))
            for callback in self.callbacks
            if hasattr(callback, event)
        ]
        if self.net._theta is not self.program.theta:  # one of them assigned parameters
            self.program.restore((self.net._theta, self.program.moments))
            self._keep()
        return any(answers)

    # -- reading the device --------------------------------------------------------------
    def fetch(self) -> History:
        """The history with every figure up to now on the host."""
        if self._costs:
            costs, weights = zip(*self._costs, strict=True)
            together = costs[0] if len(costs) == 1 else self._xp.concat(costs)
            self.history.cost += _epoch_costs(to_numpy(together), np.concatenate(weights))
        for cost, accuracy in self._validation:
            self.history.validation_cost.append(float(cost))
            if accuracy is not None:
                self.history.validation_accuracy.append(float(accuracy))
        self._costs.clear()
        self._validation.clear()
        return self.history

    # -- divergence ----------------------------------------------------------------------
    def _keep(self) -> None:
        self._kept = self.epoch, self.program.snapshot()
        self._orders.clear()

    def _finite(self) -> bool:
        return all_finite(self.program.theta, xp=self._xp)

    def _check(self) -> None:
        first = self._kept[0]
        if first == self.epoch:
            return
        costs = self.fetch().cost[first:]
        if np.all(np.isfinite(costs)) and self._finite():
            return
        self.program.restore(self._kept[1])
        for epoch in range(first, self.epoch):
            before = self.program.snapshot()
            (cost,) = _epoch_costs(*map(to_numpy, self._epochs(epoch, 1)))
            if not (np.isfinite(cost) and self._finite()):
                break
        self.epoch = epoch
        self.program.restore(before)
        del self.history.cost[epoch:]
        last = _last(self.history.cost)
        raise DivergedError(
            f"training diverged in epoch {epoch + 1} of {self.plan.epochs}: cost {cost:.6g}, "
            f"last finite cost {'none' if last is None else format(last, '.6g')}. "
            f"The net keeps the last finite parameters. Lower the learning rate "
            f"({self.plan.optimizer.learning_rate:g}) or scale the features",
            epoch=epoch + 1,
            cost=cost,
            last_cost=last,
        )


def _epoch_costs(costs: np.ndarray, weights: np.ndarray) -> list[float]:
    """Weighted mean of the costs of each epoch's steps."""
    costs = costs.astype(np.float64).reshape(weights.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        return (np.sum(costs * weights, axis=1) / np.sum(weights, axis=1)).tolist()


@dataclass
class TrainingState:
    """What ``fit(resume=True)`` goes on from."""

    optimizer: Optimizer
    moments: Moments
    epoch: int
    step: int
