"""Training of a perceptron: the training loop with scikit-learn's rules, and L-BFGS.

``training.loop.Run`` makes the epochs. This file has what it is given: minibatches in the order
that scikit-learn draws, penalties divided by each minibatch's sum of sample weights, and
scikit-learn's bookkeeping after an epoch, which decides when to stop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet._typing import Array
from xpnet.engines import Program, engine_for
from xpnet.estimators.callbacks import FitTasks, NoTasks
from xpnet.estimators.net import Net, Rows
from xpnet.estimators.solvers import StochasticSolver
from xpnet.estimators.validation import Validation
from xpnet.exceptions import warn
from xpnet.net.arguments import check_dropout
from xpnet.optimize.lbfgs import LbfgsResult, lbfgs
from xpnet.training.history import Progress
from xpnet.training.loop import Run
from xpnet.training.plan import WORK, Plan
from xpnet.training.source import Part, Resident
from xpnet.training.state import TrainingState


class ShuffledRows(Resident):
    """Examples in memory, in scikit-learn's order: each epoch shuffles that of the one before."""

    def __init__(self, n: int, batch_size: int, shuffle: bool, random_state: Any) -> None:
        super().__init__(n, batch_size if batch_size < n else None, self._next)
        self._last, self._shuffle, self._random_state = np.arange(n), shuffle, random_state

    def _next(self, epoch: int) -> np.ndarray:
        if self._shuffle:
            self._last = self._last[self._random_state.permutation(self.n_examples)]
        return self._last

    def whole(self, epoch: int, n: int) -> Part:
        if self.batch_size is not None:
            return super().whole(epoch, n)
        for e in range(n):  # the order changes nothing, but is drawn all the same
            self._next(e)
        return Part(None, np.full(n, self.n_examples))


@dataclass(frozen=True, kw_only=True)
class PerceptronPlan(Plan):
    """As in scikit-learn, losses and ``alpha`` are divided by the minibatch's sum of weights.

    ``l2`` and ``l1`` share ``alpha``.
    """

    solver: StochasticSolver  # has its own policies for the learning rate
    alpha: float
    size: int  # of a minibatch
    rows: Rows

    @property
    def rate(self) -> float:
        return self.solver.rate

    def table(
        self, step: int, factor: np.ndarray, part: Part, each: Any = 1.0, share: Any = None
    ) -> np.ndarray:
        totals, w = part.weights, self.rows.w
        if w is not None:
            w = w / self.rows.scale
            weights = w[None, :] if part.orders is None else w[part.orders]  # (epochs or 1, m)
            totals = np.add.reduceat(weights, np.arange(0, len(w), self.size), axis=1).reshape(-1)
            totals = np.where(totals > 0, totals, np.inf)
        each = self.alpha / self.rows.scale / totals  # (steps,), or (1,)
        return super().table(step, factor, part, each, 1.0 / totals)


@dataclass
class Bookkeeping:
    """A callback of the loop: scikit-learn's attributes and decisions at the end of an epoch.

    Attributes
    ----------
    best : array (n_parameters,) or None
        The parameters with the best validation score so far.
    stopped : bool
        Whether training ended for another reason than ``max_iter``.
    """

    estimator: Any
    net: Net
    program: Program
    source: ShuffledRows
    tasks: FitTasks
    validation: Validation | None
    best: Array | None
    stopped: bool = False

    def epochs_together(self, progress: Progress) -> int:
        """How many epochs may run before there is something to decide.

        The count of epochs without improvement grows by at most one per epoch. Epochs that take
        noticeable time run one by one.
        """
        estimator, source = self.estimator, self.source
        watched = self.validation is not None or self.tasks.active or estimator.verbose
        if watched or estimator._optimizer.policy == "invscaling":
            return 1
        until_decision = estimator.n_iter_no_change - estimator._no_improvement_count + 1
        work = self.program.theta.shape[0] * source.examples_per_step * source.steps_per_epoch
        return int(min(until_decision, WORK // work))

    def on_fit_begin(self, net: Any, progress: Progress) -> None:
        self.tasks.begin()

    def on_epoch_end(self, net: Any, progress: Progress) -> bool:
        estimator = self.estimator
        improves = self._score_improves if estimator.early_stopping else self._loss_improves
        for loss in map(np.float64, progress.history.cost[estimator.n_iter_ :]):
            estimator.n_iter_ += 1
            estimator.t_ += self.source.n_examples
            estimator.loss_curve_.append(loss)
            if estimator.verbose:
                say(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
            if self.validation is not None:
                self._validate(self.validation)
            estimator._no_improvement_count += 1
            if improves(loss):
                estimator._no_improvement_count = 0
        estimator.loss_ = loss
        estimator._optimizer.epoch_ends(progress.step, estimator.t_)
        told_to_stop = self.tasks.end(lambda: self.net.shown(self._copy()))
        self.stopped = self._gives_up() or told_to_stop
        if not self.stopped and estimator.n_iter_ < estimator.max_iter:
            self.tasks.begin()
        return self.stopped

    def _copy(self) -> Array:
        """The parameters now, in memory that later steps leave alone."""
        return self.net.place.xp.asarray(self.program.theta, copy=True)

    def _loss_improves(self, loss: float) -> bool:
        best = self.estimator.best_loss_
        if loss < best:
            self.estimator.best_loss_ = loss
        return not loss > best - self.estimator.tol

    def _validate(self, validation: Validation) -> None:
        estimator, theta = self.estimator, self.program.theta
        if estimator.validation_loss_curve_ is None:
            estimator.validation_loss_curve_ = []
        estimator.validation_loss_curve_.append(validation.loss(theta))
        if estimator.early_stopping:
            estimator.validation_scores_.append(validation.score(theta))
            if estimator.verbose:
                say(f"Validation score: {estimator.validation_scores_[-1]:f}")

    def _score_improves(self, loss: float) -> bool:
        score, best = self.estimator.validation_scores_[-1], self.estimator.best_validation_score_
        if score > best:
            self.estimator.best_validation_score_, self.best = score, self._copy()
        return not score < best + self.estimator.tol

    def _gives_up(self) -> bool:
        """Whether to stop where nothing improves; "adaptive" lowers the learning rate instead."""
        estimator = self.estimator
        if not estimator._no_improvement_count > estimator.n_iter_no_change:
            return False
        stops, consequence = estimator._optimizer.slows_down_or_stops()
        if estimator.verbose:
            what = "Validation score" if estimator.early_stopping else "Training loss"
            say(
                f"{what} did not improve more than tol={estimator.tol:f} for "
                f"{estimator.n_iter_no_change} consecutive epochs. {consequence}"
            )
        if not stops:
            estimator._no_improvement_count = 0
        return stops


def descend(
    estimator: Any,
    net: Net,
    theta: Array,
    rows: Rows,
    validation: Validation | None,
    best: Array | None,
    tasks: FitTasks | None,
) -> Array:
    """Trains by minibatches until nothing improves; returns the new parameters.

    Parameters
    ----------
    theta : array (n_parameters,)
        The parameters now.
    best : array (n_parameters,) or None
        Those to return where no validation score is a number; None: the last ones, as scikit-learn
        does after a warm start.
    tasks : FitTasks or None
        None: a ``partial_fit`` of one epoch.
    """
    solver, n = estimator._optimizer, len(rows)
    penalized = estimator.alpha > 0
    with net.place.context():
        dropout = check_dropout(estimator.dropout, len(net.objective.hidden))
        batch_size = _batch_size(estimator.batch_size, n)
        source = ShuffledRows(n, batch_size, estimator.shuffle, estimator._random_state)
        plan = PerceptronPlan(
            solver.rule,
            epochs=1 if tasks is None else estimator.max_iter,
            l2=(1.0 - estimator.l1_ratio) * penalized,
            l1=estimator.l1_ratio * penalized,
            clip_norm=estimator.clip_norm or 0.0,
            dropout=dropout,
            seed=int(estimator._random_state.randint(2**31 - 1)) if dropout else 0,
            solver=solver,
            alpha=estimator.alpha,
            size=batch_size,
            rows=rows,
        )
        engine = engine_for(net.place, plan.objective(net.objective))
        program = rows.program(engine, solver.rule, source.batch_size, theta, solver.moments)
        bookkeeping = Bookkeeping(
            estimator, net, program, source, tasks or NoTasks(), validation, best
        )
        start = TrainingState(solver.rule, (), step=solver.steps)
        callbacks: list[Any] = [bookkeeping]
        run = Run(program, plan, source, callbacks=callbacks, start=start, checked=False)
        estimator.n_iter_ = 0
        try:
            run.train()
            if not bookkeeping.stopped and tasks is not None:
                warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                )
        except KeyboardInterrupt:
            warn("Training interrupted by user.")
    solver.moments, solver.steps = program.moments, run.step
    best = bookkeeping.best
    return best if estimator.early_stopping and best is not None else run.theta


def minimize(estimator: Any, net: Net, theta: Array, rows: Rows, tasks: FitTasks) -> Array:
    """Minimises the cost over all examples by L-BFGS; returns the new parameters."""
    total = len(rows) if rows.w is None else np.sum(rows.w / rows.scale)
    strength = float(estimator.alpha / rows.scale / total)
    l1 = strength * estimator.l1_ratio
    l2 = strength - l1
    each = 0.0  # the l1 penalty of each parameter: biases have none
    if l1 > 0:
        n = net.layout.n_weights
        each = net.place.asarray(np.where(np.arange(theta.shape[0]) < n, l1, 0.0), theta.dtype)

    latest = [theta]

    def after_iteration(state: LbfgsResult) -> bool:
        latest[0] = state.x
        if estimator.verbose:
            say(f"Iteration {state.iterations}, loss = {state.value:.8f}")
        stop = tasks.end(lambda: net.shown(state.x))
        if state.iterations < estimator.max_iter and not stop:
            tasks.begin()
        return stop

    tasks.begin()
    try:
        result = lbfgs(
            net.cost(rows, l2),
            theta,
            max_iter=estimator.max_iter,
            max_evaluations=estimator.max_fun,
            tol=float(estimator.tol),
            l1=each,
            callback=after_iteration,
        )
    except KeyboardInterrupt:  # the weights stay, and the fit ends, as in scikit-learn
        estimator.__dict__ |= net.shown(latest[0])
        raise
    estimator.n_iter_ = result.iterations
    estimator.loss_ = np.float64(net.value(result.x, rows, l2, l1))
    if not result.converged and "callback" not in result.message:
        warn(
            f"lbfgs failed to converge after {result.iterations} iteration(s): {result.message}. "
            "Increase the number of iterations (max_iter) or scale the data",
            ConvergenceWarning,
        )
    return result.x


def _batch_size(asked: Any, n: int) -> int:
    if asked == "auto":
        return min(200, n)
    if asked > n:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(int(asked), n)


def say(line: str) -> None:
    print(line)  # noqa: T201 - scikit-learn's verbose output
