"""Full-batch training of a perceptron by L-BFGS."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from xpnet._typing import Array
from xpnet.estimators.descent import say
from xpnet.estimators.net import Net, Rows
from xpnet.optimize.lbfgs import LbfgsResult, lbfgs


def minimize(estimator: Any, net: Net, theta: Array, rows: Rows, tasks: Any) -> Array:
    """Minimises the cost over all examples by L-BFGS; returns the new parameters."""
    strength = float(estimator.alpha / (len(rows) if rows.w is None else np.sum(rows.w)))
    l1 = strength * estimator.l1_ratio
    l2 = strength - l1
    each = 0.0  # the l1 penalty of each parameter: biases have none
    if l1 > 0:
        n = net.layout.n_weights
        each = net.place.asarray(np.where(np.arange(theta.shape[0]) < n, l1, 0.0), theta.dtype)

    def after_iteration(state: LbfgsResult) -> bool:
        if estimator.verbose:
            say(f"Iteration {state.iterations}, loss = {state.value:.8f}")
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
