"""Solves models without hidden layers: L-BFGS on all examples at once, to the least cost."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
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


@dataclass
class Iterations:
    """What ``Progress`` tells of: an iteration counts as an epoch of one step."""

    epochs: int
    state: TrainingState
    seconds: float = 0.0
    position = epochs_before = 0
    steps_per_epoch, learning_rate = 1, None

    @property
    def epoch(self) -> int:
        return self.state.epoch

    step = epoch

    def fetch(self) -> History:
        return self.state.history


def solve(net: Any, X: np.ndarray, Y: np.ndarray, **asked: Any) -> None:
    """Give ``net`` the parameters of the least cost.

    The arguments are those of ``DeepNet.fit``; those of minibatches mean nothing here.
    """
    inputs, epochs, l1 = Inputs(net.placement, net.objective), asked["epochs"], asked["l1"]
    examples = X, Y, asked["sample_weight"]
    engine, given = cost_of(inputs, examples, asked["l2"], 0.0, prefetch=False)
    evaluate, place = evaluator(inputs, asked["validation"]), inputs.place.backend
    layout, began = net.objective.layout, perf_counter()
    listeners = Listeners(net, asked["callbacks"])
    weights = np.arange(layout.n_parameters) < layout.n_weights  # biases have no penalty
    zeros, strengths = (place.asarray(part * weights, place.dtype) for part in (0.0, l1))
    history = History(penalized=l1 + asked["l2"] > 0)
    state = TrainingState(GradientDescent(1.0), (), history=history)
    progress = Progress(run := Iterations(epochs, state))

    def show(theta: Any) -> None:
        net.parameters, net.training_state = layout.layers(theta, xp=place.xp), state

    def follow(found: LbfgsResult) -> bool:
        state.epoch = state.step = found.iterations
        run.seconds = history.seconds = perf_counter() - began
        history.cost.append(found.value)
        cost, accuracy = (None, None) if evaluate is None else evaluate(found.x)
        history.validation_cost += [] if cost is None else [float(cost)]
        history.validation_accuracy += [] if accuracy is None else [float(accuracy)]
        show(found.x)
        return listeners.tell("on_epoch_end", progress)

    def cost(theta: Any) -> Any:
        return engine.value_and_gradient(theta, *given)

    try:
        listeners.tell("on_fit_begin", progress)
        with place.context():
            found = lbfgs(cost, zeros, max_iter=epochs, tol=1e-6, ftol=0.0,
                          l1=strengths if l1 else 0.0, callback=follow)  # fmt: skip
            show(found.x)
        listeners.tell("on_fit_end", progress)
    finally:
        listeners.close()
    if found.iterations == epochs:
        output.tell(f"warning: not at the least cost yet: {found.message}")
