"""The training loop: runs epochs, records them, calls callbacks, and checks for divergence.

``Run`` needs a program of an engine, a plan and a source of minibatches::

    run = Run(program, plan, source, callbacks=[...])
    history = run.train()   # the program moves theta and the moments
    run.theta, run.state()  # the result, also after an exception

The loop does not depend on a net. One that is shown to callbacks reads its parameters from
``run.theta`` during training, and hands those that a callback assigns to ``run.assign``. What a
caller can replace:

- The *plan* answers ``table(step, factor, part)``: the scalars of a part's steps, one row each
  (``network.step_table``).
- The *source* answers ``whole(epoch, n)``: the orders of ``n`` epochs from number ``epoch`` on, in
  sequence and, where nothing is checked, once each; see ``source.Source``.
- A *callback* decides after an epoch (``on_epoch_end``, true to stop). With ``epochs_together`` it
  says how many epochs may run before it must be asked; ``progress.history`` then has their costs.
- ``checked=False`` leaves divergence to the caller: costs and parameters that are not finite end
  nothing, and no state is kept to go back to. ``program.tidy`` is called all the same.

Costs stay on the device until they are read. Every 128 to 1024 steps (``CHECK``; more where a
step is cheap) they are fetched together with the sum of the parameters and moments, and the state
is kept if all of them are finite. Otherwise the loop goes back to the state it kept, and replays
epoch by epoch up to the one that diverged.

An epoch is one call of the engine; several are one call where no callback, evaluation or schedule
needs the epochs in between. An epoch is run in parts where the data is a stream, where a fit is
resumed in the middle, and where a callback has ``on_steps_end``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from sys import maxsize
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.optimizers import Moments
from xpnet.core.schedules import Constant, factors
from xpnet.data.checks import all_finite
from xpnet.distributed import ALONE, Ranks
from xpnet.engines import Program
from xpnet.exceptions import DivergedError
from xpnet.training.history import Callback, History, Progress, last
from xpnet.training.listeners import Listeners, copied, on_host
from xpnet.training.plan import WORK, Pace, Plan
from xpnet.training.source import Part, Source
from xpnet.training.state import TrainingState

# Steps between two checks that everything is finite, least and most; WORK decides between.
CHECK = 128, 1024
AHEAD = 2**22  # numbers in the orders of epochs that are run together


class _Kept(NamedTuple):
    """A state to go back to."""

    epoch: int
    step: int
    position: int
    pieces: list[tuple[Any, np.ndarray]]
    snapshot: tuple[Array, Moments] | None = None
    part: Part | None = None  # what comes next, where the program has no way back


class Run:
    """One fit while it runs.

    Parameters
    ----------
    program : Program
        The steps, and the parameters and moments that they move.
    plan : Plan
    source : Source
    net : object, optional
        Passed to callbacks.
    callbacks : iterable of Callback
    evaluate : callable (theta) -> (cost, accuracy or None), optional
        Called after each epoch: the figures of the validation data.
    start : TrainingState, optional
        What this fit goes on from; its moments are the program's already.
    checked : bool
        Whether figures that are not finite end the fit.
    ranks : Ranks
        The processes that run the same fit, where there are others. Callbacks are those of rank 0.

    Raises
    ------
    ValueError
        ``start`` is in the middle of an epoch that has another number of steps now.
    """

    def __init__(
        self,
        program: Program,
        plan: Plan,
        source: Source,
        net: Any = None,
        callbacks: Iterable[Callback] = (),
        evaluate: Callable[[Array], tuple[float | Array, float | Array | None]] | None = None,
        start: TrainingState | None = None,
        *,
        checked: bool = True,
        ranks: Ranks = ALONE,
    ) -> None:
        self.program = program
        self.ranks = ranks
        self._assigned = False  # a callback has assigned parameters
        self._xp = program.engine.backend.xp
        self.plan = plan
        self.source = source
        self.listeners = Listeners(net, () if ranks.rank else callbacks)
        self.evaluate = evaluate
        self.checked = program.guard = checked
        # the program has the moments: no second copy of a large net stays in memory
        self.start = replace(start or TrainingState(plan.optimizer, ()), moments=())
        self.history = History(penalized=plan.penalized, engine=program.name)
        self.epoch, self.epochs, self.epochs_before = 0, plan.epochs, self.start.epoch
        self.step, self.position = self.start.step, self.start.position
        before, now = self.start.steps_per_epoch, source.steps_per_epoch
        if None not in (before, now) and before != now and self.position not in (0, before):
            raise ValueError(
                f"the last fit was broken off after update {self.position} of {before} in an "
                f"epoch, which would have {now} now: resume with the same data and batch_size"
            )
        self._rate: float | None = None  # of the last update
        if now is None:  # a stream's first epoch: as many as last time, for the schedule
            source.steps_per_epoch = before
        # a schedule that does not adapt has no use for what an earlier one remembered
        self.schedule_state = dict(self.start.schedule) if plan.schedule.adapts else {}
        self._began = perf_counter()
        self._costs: list[tuple[Array, np.ndarray]] = []  # not fetched yet, with their weights
        # the same of the finished parts of an unfinished epoch
        self._pieces: list[tuple[Any, np.ndarray]] = []
        if self.position:
            self._pieces.append((self.start.costs, self.start.weights))
        self._validation: list[tuple[Any, Any]] = []
        self._stepping = False
        examples = source.examples_per_step * max(1, program.theta.shape[0])
        # an unchecked run only tidies at this interval, which is cheap: it takes the shortest
        self._check_every = min(max(WORK // examples, CHECK[0]), CHECK[1] if checked else CHECK[0])
        # what callbacks remembered after each update since the kept state at which they were told
        self._told: dict[int, list[tuple[str, Any]] | None] = {}
        self._remembered: list[tuple[str, Any]] | None = None  # of these, where the loop went back
        self.listeners.restore(self.start.callbacks)
        self._kept: _Kept | None = None

    @property
    def theta(self) -> Array:
        """The parameters (n_parameters,) as they are now."""
        return self.program.theta

    def assign(self, theta: Array) -> None:
        """Replaces the parameters by ``theta`` (n_parameters,); the moments stay."""
        self.program.restore((theta, self.program.moments))
        self._assigned = True
        self._keep()

    @property
    def _all_made(self) -> bool:
        """Whether this epoch's last step was the last of the fit before, however many it had."""
        return self.step == self.start.step and self.position == self.start.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int | None:
        return self.source.steps_per_epoch

    @property
    def seconds(self) -> float:
        return perf_counter() - self._began

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update of this fit; before the first, that of the first."""
        if self._rate is None:
            return self.plan.rate * float(self._factors(1)[0])
        return self._rate

    # -- the loop ------------------------------------------------------------------------
    @np.errstate(all="ignore")  # host numbers of a step, too, may underflow
    def train(self) -> History:
        """Runs the plan.

        Raises
        ------
        DivergedError
            A cost, parameter or moment became infinite or NaN. The program then holds the state at
            the start of the epoch in which that happened; without a way back, that before the step.
        """
        try:
            self._pace = Pace(self.ranks.decide(self.listeners.look_into_epochs))
            self._keep()
            stop = self._tell("on_fit_begin")
            while self.epoch < self.plan.epochs and not stop:
                stop = self._advance()
            self._check()
            self._tell("on_fit_end")
        except DivergedError:
            self.listeners.tell("on_divergence", Progress(self))
            raise
        except BaseException:
            if self._stepping and self._kept:  # the interrupted step may be half written
                self._break_off(self._kept)
            raise
        finally:
            self.listeners.close()
        self.history.seconds = self.seconds
        return self.fetch()

    def _advance(self) -> bool:
        """Runs the next epoch, or several in one call; true if a callback asks to stop."""
        begun = self.step - self.position
        if self.source.streams or self._pace.measured or self.position:
            if self._epoch_in_parts(self._between_parts):
                return True
        else:
            n = self._epochs_together()
            part = self.source.whole(self.start.epoch + self.epoch, n)
            self._costs.append((self._run(part), part.weights.reshape(n, -1)))
            self.epoch += n
            self._stepping = False
        ended, adapts, every = self._costs[-1], self.plan.schedule.adapts, self._check_every
        if self.source.streams or adapts or self.step // every > begun // every:
            self._check()
            self.program.tidy()
            self._keep()
        if self.evaluate is not None:
            try:
                self._validation.append(self.evaluate(self.program.theta))
            except BaseException:  # the end of this epoch is still to come
                self.fetch()
                self.epoch, self.position = self.epoch - 1, ended[1].size
                self._pieces = [(ended[0], ended[1].ravel())]
                self._forget_figures()
                raise
        if adapts:
            history = self.fetch()
            cost = self.ranks.decide((history.validation_cost or history.cost)[-1])
            self.schedule_state = self.plan.schedule.after_epoch(cost, self.schedule_state)
        return self._tell("on_epoch_end")

    def _epochs_together(self) -> int:
        if self.evaluate is not None or self.plan.schedule.adapts:
            return 1
        asked = self.ranks.decide(self.listeners.epochs_together(Progress(self)))
        if asked == 1:
            return 1
        per_epoch, every = self.source.steps_per_epoch, self._check_every
        assert per_epoch is not None
        until_check = -(-(every - self.step % every) // per_epoch)
        orders = max(1, AHEAD // self.source.n_examples)
        return min(until_check, orders, asked, self.plan.epochs - self.epoch)

    def _epoch_in_parts(self, asks: Callable[[], bool] = lambda: False) -> bool:
        """Runs the rest of this epoch in parts; true if ``asks`` stopped it before its end."""
        began = perf_counter()
        total = self.start.epoch + self.epoch
        steps = self.source.parts(total, self.position, self._pace.steps)
        if self.ranks.size > 1 and self.source.streams and self.source.batch_size is None:
            steps = self.ranks.in_step(steps)
        for part in () if self._all_made else steps:
            if self._pieces:  # waits for the costs of the part before, so that its time is known
                costs, weights = self._pieces[-1]
                self._pieces[-1] = to_numpy(costs), weights
                if self.ranks.size == 1:  # parts end at the same steps on every rank
                    self._pace.took(len(weights), perf_counter() - began)
                began = perf_counter()
            if part.data is not None:
                self.program.load(part.data)
                part = part._replace(data=None)  # one chunk less in memory
            costs = self._run(part)
            self._pieces.append((costs, part.weights))
            self.position += len(part.weights)
            self._stepping = False
            finished = self.position == self.source.steps_per_epoch
            if not finished and asks():
                return True
        if len(self._pieces) == 1:  # in one part: its costs stay on the device
            ((costs, weights),) = self._pieces
        else:
            costs, weights = self._fetched_pieces()
        self._costs.append((costs, weights[None, :]))
        self._pieces.clear()
        self.epoch, self.position = self.epoch + 1, 0
        return False

    def _run(self, part: Part) -> Array:
        """Runs the steps of a part; their costs (steps,)."""
        factor = self._factors(len(part.weights))
        table = self.plan.table(self.step, factor, part)
        if not self.program.way_back:
            self._kept = self._now(part)
        self.program.begin()
        self._stepping = True  # until these steps are recorded, too
        costs = self.program.run(part.orders, table)
        made = costs.shape[0]
        if made:
            self._rate = self.plan.rate * float(factor[made - 1])
        if made < len(factor):
            assert self._kept is not None
            self._break_off(self._kept)
            raise self.ranks.together(self._diverged(self.program.refused_cost, self.position + 1))
        self.step += made
        return costs

    def _factors(self, n: int) -> np.ndarray:
        """What the learning rate is multiplied by in the next ``n`` updates, (n,)."""
        if isinstance(self.plan.schedule, Constant):
            return np.ones(n)
        per_epoch = self.source.steps_per_epoch or maxsize
        ahead, into = np.divmod(self.position + np.arange(n), per_epoch)
        # whole epochs first: the sum then has the same rounding however many are run together
        epochs = (self.start.epoch + self.epoch + ahead) + into / per_epoch
        return factors(self.plan.schedule, epochs, self.schedule_state)

    # -- callbacks -----------------------------------------------------------------------
    def _tell(self, event: str) -> bool:
        """Calls every callback, also after one has asked to stop; true if one has."""
        if not self.listeners and self.ranks.size == 1:
            return False
        stop = self.listeners.tell(event, Progress(self))
        self.program.join()
        looked = event == "on_epoch_end" and len(self._told) >= 8 and not self._costs
        stop, looked = self._decided(stop, looked)
        if looked:
            # One has read the figures, so the device is waited for anyhow; and one that remembers
            # parameters by them should not fill the memory with what `_told` keeps of it.
            self._check()
            self._keep()
        if event != "on_fit_end" and self.program.way_back:
            self._told[self.step] = self.listeners.states_here()
        return stop

    def _decided(self, *flags: bool) -> tuple[bool, ...]:
        """The flags of rank 0, with which every rank goes on, and its parameters if it set them."""
        if self.ranks.size == 1:
            return flags
        interrupted, assigned, flags = self.ranks.decide(
            (self.ranks.interrupted, self._assigned, flags)
        )
        if assigned:
            theta = self.ranks.decide(None if self.ranks.rank else to_numpy(self.program.theta))
            self.assign(self.program.engine.backend.asarray(theta, self.program.theta.dtype))
        self._assigned = False
        if interrupted:
            raise self.ranks.together(KeyboardInterrupt())
        return flags

    def _between_parts(self) -> bool:
        """Checks for divergence when it is due; true if a callback asks to stop."""
        if self._kept is not None and self.step - self._kept.step >= self._check_every:
            self._check()
        return self._pace.measured and self._tell("on_steps_end")

    # -- state ---------------------------------------------------------------------------
    def state(self, with_callbacks: bool = True) -> TrainingState:
        """The state that another fit can be resumed from."""
        costs, weights = self._fetched_pieces()
        self.history.seconds = self.seconds
        return TrainingState(
            optimizer=self.plan.optimizer,
            moments=self.program.moments,
            epoch=self.start.epoch + self.epoch,
            step=self.step,
            position=self.position,
            steps_per_epoch=self.position if self._all_made else self.source.steps_per_epoch,
            costs=costs,
            weights=weights,
            history=self.start.history + self.fetch(),
            schedule=self.schedule_state,
            callbacks=self.callback_states() if with_callbacks else [],
        )

    def callback_states(self) -> list[tuple[str, Any]]:
        """The states of the callbacks, on the host."""
        if self._remembered is not None:  # their own states include steps that were undone
            return copied(self._remembered, on_host)
        return self.listeners.states(on_host)

    def fetch(self) -> History:
        """The history with every figure up to now on the host."""
        # waits for the device before anything is written: Ctrl-C loses and doubles no figure
        validation = [[float(x) for x in pair if x is not None] for pair in self._validation]
        if self._costs:
            costs, weights = zip(*self._costs, strict=True)
            arrays = [c for c in costs if not isinstance(c, np.ndarray)]
            if len(arrays) == len(costs) > 1:  # one transfer
                costs = (self._xp.concat(list(costs)),)
            together = np.concatenate([to_numpy(c) for c in costs])
            for pieces in weights:
                size = pieces.size
                self.history.cost += _epoch_costs(together[:size], pieces)
                together = together[size:]
        for cost, *accuracy in validation:
            self.history.validation_cost.append(cost)
            self.history.validation_accuracy += accuracy
        self._costs.clear()
        self._validation.clear()
        return self.history

    def _fetched_pieces(self) -> tuple[np.ndarray, np.ndarray]:
        """Costs and weights (position,) of the steps of the epoch on its way, on the host."""
        if not self._pieces:
            return np.empty(0), np.empty(0)
        self._pieces = [(to_numpy(costs), weights) for costs, weights in self._pieces]
        costs, weights = (np.concatenate(x) for x in zip(*self._pieces, strict=True))
        return costs.astype(np.float64), weights.astype(np.float64)

    # -- divergence ----------------------------------------------------------------------
    def _keep(self) -> None:
        self.source.forget()
        self._told.clear()
        if not (self.checked and self.program.way_back):
            return
        if self._kept is not None:  # its memory goes before new memory is taken
            self._kept = self._kept._replace(snapshot=None)
        self._kept = self._now()

    def _now(self, part: Part | None = None) -> _Kept:
        snapshot = self.program.snapshot() if self.program.way_back else None
        here = self.epoch, self.step, self.position, list(self._pieces)
        return _Kept(*here, snapshot, part)

    def _break_off(self, kept: _Kept) -> None:
        """Goes back to ``kept``, and from there over the steps that cannot be taken back."""
        self._go_back(kept)
        self.fetch()
        self._forget_figures()
        self._stepping = False
        if kept.part is None:
            return
        costs = self.program.made()
        self.step += len(costs)
        self._pieces.append((costs, kept.part.weights[: len(costs)]))
        all_made = len(costs) == len(kept.part.weights)
        costs, weights = self._fetched_pieces()
        per_epoch = self.source.steps_per_epoch or maxsize
        finished, self.position = divmod(len(costs), per_epoch)
        if all_made and finished and not self.position:
            # what follows its last step is still to come: figures, callbacks, ``tidy``
            finished, self.position = finished - 1, per_epoch
        end = len(costs) - self.position
        self._pieces = [(costs[end:], weights[end:])] if self.position else []
        if finished:
            self._costs.append((costs[:end], weights[:end].reshape(finished, per_epoch)))
        self.epoch += finished

    def _go_back(self, kept: _Kept) -> None:
        self.epoch, self.step, self.position = kept[:3]
        self._pieces = list(kept.pieces)
        self._remembered = self._told.get(kept.step, self._remembered)
        if kept.snapshot is not None:
            self.program.restore(kept.snapshot)

    def _forget_figures(self) -> None:
        """Drops the figures of epochs that the loop went back over."""
        del self.history.cost[self.epoch :], self.history.validation_cost[self.epoch :]
        del self.history.validation_accuracy[self.epoch :]

    def finite(self) -> bool:
        """Whether the last epoch's cost, the parameters and the moments are finite."""
        cost = last(self.fetch().cost)
        return (cost is None or bool(np.isfinite(cost))) and self._state_is_finite()

    def _state_is_finite(self) -> bool:
        # Moments too: after one overflows, updates are 0 and everything else stays finite.
        return all_finite(*self.program.vectors(), xp=self._xp)

    def _check(self) -> None:
        """Raises DivergedError if a figure since the kept state is not finite."""
        kept = self._kept
        if kept is None or kept.step == self.step or not self.program.way_back:
            return
        costs = self.fetch().cost[kept.epoch :]
        if self._pieces:
            costs = costs + _epoch_costs(*self._fetched_pieces())
        if np.all(np.isfinite(costs)) and self._state_is_finite():
            return
        epochs = self.epoch + bool(self._pieces)
        self._go_back(kept)
        before, cost = kept, costs[0]
        if epochs - kept.epoch > 1:  # find the epoch that diverged
            for _ in range(kept.epoch, epochs):
                before = self._now()
                self._epoch_in_parts()
                cost = _epoch_costs(*self._costs.pop())[0]
                if not (np.isfinite(cost) and self._state_is_finite()):
                    break
            self._go_back(before)
        self._forget_figures()
        raise self.ranks.together(self._diverged(cost))

    def _diverged(self, cost: float, step: int | None = None) -> DivergedError:
        """The error for the epoch on its way, or for a step of it that was refused."""
        epoch, where = self.epoch + 1, ""
        if step is not None and self.source.steps_per_epoch not in (None, 1):
            where = f", step {step} of {self.source.steps_per_epoch}"
        so_far = last(self.fetch().cost) if self.epoch else last(self.start.history.cost)
        unseen = " (a parameter, or a moment of the optimiser, is not finite)"
        return DivergedError(
            f"training diverged in epoch {epoch} of {self.plan.epochs}{where}: cost {cost:.6g}"
            f"{unseen if np.isfinite(cost) else ''}, "
            f"last finite cost {'none' if so_far is None else format(so_far, '.6g')}. "
            f"The net keeps finite parameters, of which some may have grown too large to train on. "
            f"Lower the learning rate ({self.plan.optimizer.learning_rate:g}) or scale the "
            "features, and begin with a new net or a checkpoint",
            epoch=epoch,
            cost=cost,
            last_cost=so_far,
            step=step,
        )


def _epoch_costs(costs: np.ndarray, weights: np.ndarray) -> list[float]:
    """Weighted mean of the costs (steps,) of each epoch's steps; weights (epochs, n) or (n,)."""
    weights = np.atleast_2d(weights).astype(np.float64)
    costs = to_numpy(costs).astype(np.float64).reshape(weights.shape)
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", over="ignore"):
        return ((costs * weights).sum(axis=1) / total).tolist()
