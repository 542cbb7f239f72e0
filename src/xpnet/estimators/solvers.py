"""The two ways a perceptron is trained: minibatch descent, and L-BFGS on all examples."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet._typing import Array
from xpnet.estimators.net import Net, Rows, Trainer
from xpnet.estimators.validation import Validation
from xpnet.net.arguments import check_dropout
from xpnet.optimize.lbfgs import LbfgsResult, lbfgs
from xpnet.training.plan import WORK

STEPS = 256  # that are run together at most: each costs a call or more, however small


def descend(
    estimator: Any,
    net: Net,
    theta: Array,
    best: Array | None,
    rows: Rows,
    validation: Validation | None,
    tasks: Any,
    incremental: bool,
) -> Array:
    """Epochs of minibatches until nothing improves; the new parameters.

    Parameters
    ----------
    theta, best : array (n_parameters,)
        Parameters now, and those to fall back to if no validation score is a number. (A warm
        start has none: like scikit-learn's it then keeps the last.)
    """
    solver, n = estimator._optimizer, len(rows)
    order = np.arange(n)
    batch_size = _batch_size(estimator.batch_size, n)
    starts = np.arange(0, n, batch_size)
    sizes = np.diff(starts, append=n)
    penalties, l2_share = estimator.alpha / sizes, 1.0 - estimator.l1_ratio
    with net.place.context():
        dropout = check_dropout(estimator.dropout, len(net.hidden))
        trainer = Trainer(
            net,
            solver.rule,
            rows,
            batch_size,
            theta,
            solver.moments,
            penalized=l2_share * estimator.alpha > 0,
            sparse=estimator.l1_ratio * estimator.alpha > 0,
            dropout=dropout,
            clipped=estimator.clip_norm is not None,
        )
        seed = int(estimator._random_state.randint(2**31 - 1)) if dropout else None
        clip_norm = estimator.clip_norm or 0.0
        copied = partial(net.place.xp.asarray, copy=True)
        # Where somebody is told of each epoch, or it sets the rate of the next, they come singly.
        singly = validation is not None or tasks.active or incremental or rows.sparse
        singly = singly or solver.policy == "invscaling"
        cheap = min(WORK // (theta.shape[0] * batch_size), STEPS) // len(sizes)
        stopped = False
        try:
            estimator.n_iter_ = 0
            while not stopped and estimator.n_iter_ < estimator.max_iter:
                tasks.begin()
                epochs, orders = 1 if singly else _undecided(estimator, cheap), []
                for _ in range(epochs):
                    if estimator.shuffle:
                        order = order[estimator._random_state.permutation(n)]
                    orders.append(order)
                if rows.w is not None:
                    totals = np.add.reduceat(rows.w[np.stack(orders)], starts, axis=1)
                    penalties = estimator.alpha / np.where(totals > 0, totals, np.inf)
                each = np.broadcast_to(penalties, (epochs, len(sizes))).reshape(-1)
                table = solver.table(
                    len(each),
                    l2=l2_share * each,
                    l1=estimator.l1_ratio * each,
                    clip_norm=clip_norm,
                    seed=seed,
                )
                costs = trainer.epochs(orders, table)
                for loss in (costs.reshape(epochs, -1) @ sizes / n).tolist():
                    estimator.n_iter_ += 1
                    estimator.loss_ = loss
                    estimator.t_ += n
                    estimator.loss_curve_.append(estimator.loss_)
                    if estimator.verbose:
                        _say(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
                    if _improves(estimator, validation, trainer.theta):
                        best = copied(trainer.theta)
                    solver.epoch_ends(estimator.t_)
                told_to_stop = tasks.end(lambda: net.shown(copied(trainer.theta)))
                stopped = _stops(estimator) or told_to_stop or incremental
            if not stopped:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) "
                    "reached and the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=2)
    solver.moments = trainer.moments
    return best if estimator.early_stopping and best is not None else trainer.theta


def _undecided(estimator: Any, cheap: int) -> int:
    """How many epochs nobody has to look at before the last of them has ended.

    The count of epochs without improvement grows by one at most: before it can be too large,
    there is nothing to decide. ``cheap`` epochs take no time that a user would notice.
    """
    until_decision = estimator.n_iter_no_change - estimator._no_improvement_count + 1
    left = estimator.max_iter - estimator.n_iter_
    return int(max(1, min(until_decision, left, cheap)))


def _batch_size(asked: Any, n: int) -> int:
    if asked == "auto":
        return min(200, n)
    if asked > n:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped",
            stacklevel=2,
        )
    return min(int(asked), n)


def _improves(estimator: Any, validation: Validation | None, theta: Array) -> bool:
    """Counts the epochs without improvement; true at a new best validation score."""
    if validation is not None:
        if estimator.validation_loss_curve_ is None:
            estimator.validation_loss_curve_ = []
        estimator.validation_loss_curve_.append(validation.loss(theta))
    if not estimator.early_stopping or validation is None:
        loss, best = estimator.loss_, estimator.best_loss_
        estimator._no_improvement_count += 1
        if not loss > best - estimator.tol:
            estimator._no_improvement_count = 0
        estimator.best_loss_ = min(loss, best) if loss == loss else best
        return False
    score, best = validation.score(theta), estimator.best_validation_score_
    estimator.validation_scores_.append(score)
    if estimator.verbose:
        _say(f"Validation score: {score:f}")
    estimator._no_improvement_count += 1
    if not score < best + estimator.tol:
        estimator._no_improvement_count = 0
    if score > best:
        estimator.best_validation_score_ = score
        return True
    return False


def _stops(estimator: Any) -> bool:
    if not estimator._no_improvement_count > estimator.n_iter_no_change:
        return False
    what = "Validation score" if estimator.early_stopping else "Training loss"
    message = (
        f"{what} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change} consecutive epochs."
    )
    if estimator._optimizer.gives_up(message, estimator.verbose):
        return True
    estimator._no_improvement_count = 0
    return False


def minimize(estimator: Any, net: Net, theta: Array, rows: Rows, tasks: Any) -> Array:
    """L-BFGS over all examples at once; the new parameters."""
    strength = float(estimator.alpha / (len(rows) if rows.w is None else np.sum(rows.w)))
    l1 = strength * estimator.l1_ratio
    l2 = strength - l1
    each = 0.0  # of the parameters: biases are not penalised
    if l1 > 0:
        n = net.layout.n_weights
        each = net.place.asarray(np.where(np.arange(theta.shape[0]) < n, l1, 0.0), theta.dtype)

    def after_iteration(state: LbfgsResult) -> bool:
        if estimator.verbose:
            _say(f"Iteration {state.iterations}, loss = {state.value:.8f}")
        stop = tasks.end(lambda: net.shown(state.x))
        if state.iterations < estimator.max_iter and not stop:
            tasks.begin()
        return stop

    tasks.begin()
    result = lbfgs(
        lambda x: net.value_and_gradient(x, rows, l2),
        theta,
        max_iter=estimator.max_iter,
        max_evaluations=estimator.max_fun,
        tol=float(estimator.tol),
        l1=each,
        callback=after_iteration,
    )
    estimator.n_iter_ = result.iterations
    estimator.loss_ = net.value(result.x, rows, l2, l1)
    if not result.converged and "callback" not in result.message:
        warnings.warn(
            f"lbfgs failed to converge after {result.iterations} iteration(s): {result.message}. "
            "Increase the number of iterations (max_iter) or scale the data",
            ConvergenceWarning,
            stacklevel=2,
        )
    return result.x


def _say(line: str) -> None:
    print(line)  # noqa: T201 - scikit-learn's verbose output
