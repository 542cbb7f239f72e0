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
    strengths = np.where(np.arange(layout.n_parameters) < layout.n_weights, l1, 0.0)
    history = History(penalized=l2 + l1 > 0)
    state = TrainingState(GradientDescent(1.0), (), history=history)
    progress = Progress(run := SimpleNamespace(
        epoch=0, step=0, position=0, seconds=0.0, learning_rate=None, fetch=lambda: history,
        plan=SimpleNamespace(epochs=epochs), source=SimpleNamespace(steps_per_epoch=1),
        start=TrainingState(GradientDescent(1.0), ()),
    ))  # fmt: skip

    def show(theta: Any) -> None:
        net.parameters, net.training_state = layout.layers(theta, xp=place.xp), state

    def follow(found: LbfgsResult) -> bool:
        run.epoch = run.step = state.epoch = state.step = found.iterations
        run.seconds = history.seconds = perf_counter() - began
        history.cost.append(found.value)
        cost, accuracy = (None, None) if evaluate is None else evaluate(found.x)
        history.validation_cost += [] if cost is None else [float(cost)]
        history.validation_accuracy += [] if accuracy is None else [float(accuracy)]
        show(found.x)
        return listeners.tell("on_epoch_end", progress)

    try:
        listeners.tell("on_fit_begin", progress)
        with place.context():
            found = lbfgs(
                lambda theta: engine.value_and_gradient(theta, *given),
                place.asarray(np.zeros(layout.n_parameters), place.dtype),
                max_iter=epochs,
                tol=1e-6,
                ftol=0.0,
                l1=place.asarray(strengths, place.dtype) if l1 else 0.0,
                callback=follow,
            )
            show(found.x)
        listeners.tell("on_fit_end", progress)
    finally:
        listeners.close()
    if found.iterations == epochs:
        output.tell(f"warning: not at the least cost yet: {found.message}")
