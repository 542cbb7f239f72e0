"""The compiled engine's program: steps as calls of one compiled function.

The state lies in a workspace while the program lives; ``theta`` and ``moments`` are read from it
when somebody asks. A step that would leave anything infinite or NaN is refused before anything is
written, so nobody has to keep copies to go back to.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.core.leaves import Data
from xpnet.core.losses import log_loss_range
from xpnet.core.network import PREFIX
from xpnet.core.optimizers import Moments
from xpnet.engines import generic
from xpnet.engines.compiled.choice import steps_at_once
from xpnet.engines.compiled.epoch import runner
from xpnet.engines.compiled.recorder import ADAM, RMSPROP, program_of, rule_of
from xpnet.engines.compiled.workspace import Workspace


class Program(generic.Program):
    """See ``generic.Program``; minibatches have at most ``batch_size`` examples."""

    name = "compiled"
    way_back, guard = False, True

    def start(self) -> None:
        theta, moments = self._given
        objective = self.engine.objective
        rule: Any = rule_of(self.optimizer)  # there is one: see ``choice.obstacle``
        self.dtype, self.rule = theta.dtype, rule
        self.m = self.batch_size or len(self.data.X)
        self.run_steps = runner(self.dtype)
        dropped = tuple(rate > 0 for rate in objective.dropout)
        self.space = Workspace(objective.layout, self.m, self.dtype, len(moments), dropped)
        self.restore((theta, moments))
        self.codes = program_of(objective, self.optimizer)
        self.settings = np.array([*rule.settings, 0.0], self.dtype)
        drawn = [n for n, drops in zip(objective.sizes[1:], dropped) if drops]
        self.bits = np.empty(-(-self.m * max(drawn, default=0) // 4), np.uint64)
        self.at_once = steps_at_once(objective.sizes, self.m)
        self.costs, self.count = np.empty(0, self.dtype), np.zeros(1, np.int64)
        self.load(self.data)

    def load(self, data: Data) -> None:
        self.data, (X, Y, w), none = data, data, np.empty(0, self.dtype)
        labels = np.asarray(Y, np.int64) if Y.ndim == 1 else np.empty(0, np.int64)
        targets = none.reshape(0, 0) if Y.ndim == 1 else np.ascontiguousarray(Y)
        self.arrays = X, targets, labels, none if w is None else np.ascontiguousarray(w)

    # -- state ---------------------------------------------------------------------------
    @property
    def theta(self) -> Array:
        """The parameters (n_parameters,), a copy."""
        return self.space.get(0)

    @theta.setter
    def theta(self, theta: Array) -> None:
        self._given = theta, ()

    @property
    def moments(self) -> Moments:
        """The moments, copies."""
        return tuple(self.space.get(1 + i) for i in range(self.space.n_moments))

    @moments.setter
    def moments(self, moments: Moments) -> None:
        self._given = self._given[0], moments

    def snapshot(self) -> tuple[Array, Moments]:
        return self.theta, self.moments

    def restore(self, state: tuple[Array, Moments]) -> None:
        self.space.put(*state)
        self._given = np.empty(0), ()

    def tidy(self) -> None:
        kind = np.finfo(self.dtype)
        for l in range(len(self.space.layers)):
            for i in range(1 + self.space.n_moments):
                least = kind.smallest_normal / (1.0 if i else kind.eps)
                for _, panel in self.space.parameters(l, i):
                    panel[np.abs(panel) < least] = 0.0
        self.space.spread()

    # -- steps ---------------------------------------------------------------------------
    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        rows = np.empty((1, 0), np.int64) if orders is None else np.ascontiguousarray(orders)
        scalars = table.astype(self.dtype)
        self.begin()
        self.costs = np.empty(len(scalars), self.dtype)
        low, high = log_loss_range(self.dtype, xp=np)
        tiny = np.finfo(self.dtype).smallest_normal
        space, n = self.space, len(scalars)
        for first in range(0, n, self.at_once):  # Ctrl-C waits for the end of a call
            last = min(first + self.at_once, n)
            limit, reach = self._limits(table[first:last]) if self.guard else (np.nan, np.nan)
            bounds = np.array([np.log(tiny) / 2, low, high, tiny, limit, reach], self.dtype)
            self.run_steps(
                *(space.w, space.layers, space.places, self.codes, self.arrays),
                *(rows.reshape(-1), rows.shape[1], self.m, first, scalars[first:last]),
                *(self.settings, bounds, self.bits, (self.costs, self.count)),
            )
            if self.count[0] < last:
                self.refused_cost = float(self.costs[self.count[0]])
                break
        return self.made()

    def begin(self) -> None:
        self.count[0] = 0

    def made(self) -> Array:
        return self.costs[: self.count[0]]

    def _limits(self, table: np.ndarray) -> tuple[float, float]:
        """Bounds within which steps of ``table`` cannot leave anything that is not finite.

        Returns
        -------
        limit : float
            Of the norm of a layer's gradient without penalties; -1: there is none.
        reach : float
            Of the norm of the parameters, and of a velocity, before the first of these steps.
        """
        largest, settings = float(np.finfo(self.dtype).max), self.rule.settings
        reach = sqrt(largest) / 1024
        moved = len(table) * float(np.max(np.abs(table[:, PREFIX])))  # per unit of a step
        if self.rule.number in (ADAM, RMSPROP):
            # The sum of squares is at most limit^2 / (1 - beta), and by Cauchy and Schwarz a mean
            # over its root at most 1 / sqrt(1 - beta1^2 / beta2).
            limit = sqrt((1.0 - settings[-1]) * largest) / 2
            if self.rule.number == ADAM:
                moved /= sqrt(1.0 - settings[0] ** 2 / settings[1])
            holds = moved <= reach
        else:
            share = 1.0 - settings[0] if settings else 1.0
            limit, holds = min(reach * share / (2.0 * moved or 1.0), reach), True
        if self.rule.decays:
            holds = holds and bool(np.all(np.abs(table[:, PREFIX + 2]) <= 1.0))
        penalties = np.max(table[:, :2], axis=0)
        limit -= float(penalties[0] * 2.0 * reach + penalties[1])
        return (limit if holds else -1.0), reach
