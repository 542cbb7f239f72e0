"""Solves models without hidden layers: L-BFGS on all examples at once, to the least cost."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np

from xpnet.cli import output
from xpnet.core.optimizers import GradientDescent
from xpnet.net.evaluation import cost_of, evaluator
from xpnet.net.inputs import Inputs
from xpnet.optimize.lbfgs import LbfgsResult, lbfgs
from xpnet.training.history import History, Progress
from xpnet.training.listeners import Listeners
from xpnet.training.state import TrainingState


def solve(
    net: Any,
    X: np.ndarray,
    Y: np.ndarray,
    *,
    sample_weight: np.ndarray | None,
    epochs: int,
    l2: float,
    l1: float,
    validation: Any,
    callbacks: Sequence[Any],
    **_: Any,
) -> None:
    """Give ``net`` the parameters of the least cost. An iteration counts as an epoch of one step.

    The arguments are those of ``DeepNet.fit``; those of minibatches mean nothing here.
    """
    inputs = Inputs(net.placement, net.objective)
    engine, given = cost_of(inputs, (X, Y, sample_weight), l2, 0.0, prefetch=False)
    evaluate, place = evaluator(inputs, validation), inputs.place.backend
    layout, began, listeners = net.objective.layout, perf_counter(), Listeners(net, callbacks)
    start = place.asarray(np.zeros(layout.n_parameters), place.dtype)
    strengths = np.where(np.arange(layout.n_parameters) < layout.n_weights, l1, 0.0)

    state = TrainingState(GradientDescent(1.0), (), history=History(penalized=l2 + l1 > 0))
    run = SimpleNamespace(  # what a Progress asks for
        plan=SimpleNamespace(epochs=epochs), source=SimpleNamespace(steps_per_epoch=1),
        start=TrainingState(GradientDescent(1.0), ()), fetch=lambda: state.history,
        epoch=0, step=0, position=0, seconds=0.0, learning_rate=None,
    )  # fmt: skip

    def follow(found: LbfgsResult) -> bool:
        history, state.epoch, state.step = state.history, found.iterations, found.iterations
        run.epoch, run.step, history.seconds = state.epoch, state.step, perf_counter() - began
        run.seconds = history.seconds
        history.cost.append(found.value)
        cost, accuracy = (None, None) if evaluate is None else evaluate(found.x)
        history.validation_cost += [] if cost is None else [float(cost)]
        history.validation_accuracy += [] if accuracy is None else [float(accuracy)]
        return listeners.tell("on_epoch_end", Progress(run))

    try:
        listeners.tell("on_fit_begin", Progress(run))
        with place.context():
            found = lbfgs(
                lambda theta: engine.value_and_gradient(theta, *given),
                start,
                max_iter=epochs,
                tol=1e-6,
                ftol=0.0,
                l1=place.asarray(strengths, place.dtype) if l1 else 0.0,
                callback=follow,
            )
            net.parameters = layout.layers(found.x, xp=place.xp)
        net.training_state = state
        listeners.tell("on_fit_end", Progress(run))
    finally:
        listeners.close()
    if found.iterations == epochs:
        output.tell(f"warning: not at the least cost yet: {found.message}")
