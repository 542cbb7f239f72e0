"""``explain``: one training step of a net, told in the order in which it is computed.

Nothing is computed a second way. ``network.step`` itself runs, over the reference leaves, and a
``Recorder`` in between keeps what every leaf gave and the line that called it.
"""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.network import Objective, step
from xpnet.core.optimizers import GradientDescent, Optimizer
from xpnet.core.settings import check_number
from xpnet.net.arguments import check_optimizer
from xpnet.net.deepnet import DeepNet
from xpnet.teaching.report import Report
from xpnet.training.plan import Plan
from xpnet.training.source import Part
from xpnet.training.state import starting_state

PACKAGE = Path(__file__).parents[1]
# Of every leaf, its results in their order: symbol and formula. {l} is the layer, {k} the one
# below, {g} the name of the activation; what is a vector of all parameters is told layer by layer.
TOLD = {
    "gather": [("A[0]", "X"), ("Y", "the targets"), ("s", "1/m, or each weight over their sum")],
    "layers": [("W[{l}]", "weights before the step"), ("b[{l}]", "biases before the step")],
    "affine": [("Z[{l}]", "W[{l}] A[{k}] + b[{l}]")],
    "activate": [("A[{l}]", "{g}(Z[{l}])")],
    "output": [("A[{l}]", "{g}(Z[{l}])"), ("J", "sum(s * {cost})"), ("dZ[{l}]", "s (A[{l}] - Y)")],
    "weight_gradient": [("dW[{l}]", "dZ[{l}] A[{k}]^T")],
    "bias_gradient": [("db[{l}]", "row sums of dZ[{l}]")],
    "propagate": [("dA[{k}]", "W[{l}]^T dZ[{l}]")],
    "slope": [("dZ[{l}]", "dA[{l}] * {g}'(Z[{l}]), from A[{l}]")],
    "penalize_cost": [("J", "J + l2/2 * sum of W^2")],
    "penalize_gradient": [("dW[{l}]", "dW[{l}] + l2 W[{l}]")],
    "sparsify_cost": [("J", "J + l1 * sum of |W|")],
    "sparsify_gradient": [("dW[{l}]", "dW[{l}] + l1 sign(W[{l}])")],
    "update": [("W[{l}]", "theta, moments := {rule}"), ("b[{l}]", "of the same theta")],
}
IN_LAYERS = ("penalize_gradient", "sparsify_gradient", "update")
FUNCTIONS = {"activate": ["value"], "slope": ["slope"], "output": ["predict", "value"]}
COSTS = {
    "identity": "(A - Y)^2 / 2",
    "sigmoid": "-(Y log A + (1 - Y) log(1 - A))",
    "softmax": "-(sum of Y log A)",
}


@dataclass(frozen=True, eq=False)
class Step:
    """One result: ``symbol = formula``, a copy of it, and the lines of source that made it."""

    symbol: str
    formula: str
    value: np.ndarray
    source: tuple[str, ...]

    def cells(self) -> tuple[str, ...]:
        few = [f"{x:.4g}" for x in self.value.flat[:3]] + ["..."] * (self.value.size > 3)
        shape = f"({', '.join(map(str, self.value.shape))})" if self.value.ndim else ""
        return self.symbol, shape, self.formula, " ".join(few), ", ".join(filter(None, self.source))


class Recorder:
    """Passes each call on to the leaves ``ops`` and keeps in ``steps`` what they gave."""

    def __init__(self, ops: Leaves, objective: Objective, optimizer: Any) -> None:
        self.ops, self.optimizer = ops, optimizer
        self.names = [*(g.name for g in objective.hidden), objective.loss.output]
        self.steps: list[Step] = []
        self.l = 0

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.ops, name)

        def told(*args: Any) -> Any:
            line = sys._getframe(1).f_lineno  # in network.py: of the call
            result = operation(*args)
            self._keep(name, args, result, f"core/network.py:{line}")
            return result

        return told if name in TOLD else operation

    def _keep(self, name: str, args: tuple[Any, ...], result: Any, line: str) -> None:
        ops, functions = self.ops, [getattr(args[0], f) for f in FUNCTIONS.get(name, [])]
        self.l += {"affine": 1, "slope": -1}.get(name, 0)
        if name == "output":
            result = (ops.predict(args[0], args[1]), *result)
        if name == "update":
            self._tell("scalars", "the optimiser's numbers of this step", args[-1], (line,))
            result, moments = result
            for i, moment in enumerate(moments, 1):
                self._tell(f"moment {i}", "of all weights, then all biases", moment, (line,))
            functions = 2 * [type(self.optimizer).update]
        layers = ops.layout.layers(result, xp=ops.xp) if name in IN_LAYERS else result
        results = enumerate(layers, 1) if name in ("layers", *IN_LAYERS) else [(self.l, result)]
        where = [source_of(function) for function in [*functions, getattr(type(ops), name)]]
        for l, values in results:
            g, values = self.names[l - 1], values if isinstance(values, tuple) else (values,)
            words = {"l": l, "k": l - 1, "g": g, "rule": where[0][1], "cost": COSTS.get(g, "cost")}
            told = zip(TOLD[name], values, (*where, *2 * where[-1:]), strict=False)
            for (symbol, formula), value, (place, _) in told:
                self._tell(symbol.format(**words), formula.format(**words), value, (line, place))

    def _tell(self, symbol: str, formula: str, value: Any, source: tuple[str, ...]) -> None:
        self.steps.append(Step(symbol, formula, np.array(to_numpy(value)), source))


def source_of(function: Any) -> tuple[str, str]:
    """The line of a function's only return, else of its start, and what it returns.

    Two empty texts where its source cannot be read.
    """
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return "", ""
    path = Path(inspect.getsourcefile(function) or "")
    name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
    found = {i: line.strip()[7:] for i, line in enumerate(lines) if line.strip()[:7] == "return "}
    return f"{name}:{first + (min(found) if len(found) == 1 else 0)}", ", or ".join(found.values())


def twin_of(net: Any) -> DeepNet:
    """A copy of a net: the data of a call decide where the copy computes, and not the net."""
    if not isinstance(net, DeepNet):
        name = type(net).__name__
        raise TypeError(f"{name} is no DeepNet; of an estimator take DeepNet.from_sklearn")
    return copy.copy(net)


def told_steps(
    net: Any, data: Sequence[Any], optimizer: Optimizer, n: int, l2: float = 0.0, l1: float = 0.0
) -> Iterator[list[Step]]:
    """The first ``n`` steps of ``net.fit`` on all examples at once; ``net`` is settled by them."""
    check_optimizer(optimizer)
    plan = Plan(optimizer, n, check_number(l2, "l2"), check_number(l1, "l1"))
    with net._settling() as inputs:
        rows = inputs.examples(*data)
    place, objective = net.backend, plan.objective(net.objective)
    with place.context():
        batch = Batch(Data(*(None if x is None else place.asarray(x) for x in rows)), None)
        theta: Array = place.xp.asarray(net.theta, copy=True)
        moments = starting_state(None, optimizer, theta, place).moments
    for scalars in plan.table(0, np.ones(n), Part(None, np.ones(n))).tolist():
        with place.context():
            ops: Any = Recorder(Leaves(place.xp, objective.layout), objective, optimizer)
            theta, moments, _ = step(ops, objective, optimizer, theta, moments, batch, scalars)
        yield ops.steps


@dataclass(eq=False, repr=False)
class Explanation(Report):
    """One training step: its ``steps`` in order, each with symbol, formula, value and source.

    ``explanation["dW[1]"]`` is a quantity as the step leaves it, in NumPy.
    """

    steps: list[Step]

    def __getitem__(self, symbol: str) -> np.ndarray:
        found = {step.symbol: step.value for step in self.steps}
        if symbol not in found:
            raise KeyError(f"{symbol!r}: this step has {', '.join(found)}")
        return found[symbol]


def explain(
    net: Any,
    X: Any,
    Y: Any,
    optimizer: Optimizer | None = None,
    *,
    sample_weight: Any = None,
    l2: float = 0.0,
    l1: float = 0.0,
) -> Explanation:
    """Tell one training step on these examples, all in one batch, as ``net.fit`` would make it.

    Parameters
    ----------
    net : DeepNet
        It is not changed.
    X : array (n_x, m)
        Examples in columns.
    Y : array (1, m), (n_y, m), or labels (m,)
        Targets.
    optimizer : Optimizer, optional
        ``GradientDescent()`` if left out.
    sample_weight : array (m,) or (1, m), optional
    l2, l1 : float
        As ``net.cost`` takes them.

    Returns
    -------
    explanation : Explanation
        Every symbol with its formula, shape, first values, and the lines of xpnet's source that
        compute it. The later of two values of one symbol replaces the earlier, as in the source.

    Raises
    ------
    ValueError, TypeError
        As ``net.fit``.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> net = xpnet.DeepNet([2, 3, 1], hidden="tanh", dtype="float64")
    >>> X, Y = np.array([[0.0, 1.0], [1.0, 1.0]]), np.array([[0, 1]])
    >>> told = xpnet.explain(net, X, Y)
    >>> [step.symbol for step in told.steps if step.symbol.startswith("d")]
    ['dZ[2]', 'dW[2]', 'db[2]', 'dA[1]', 'dZ[1]', 'dW[1]', 'db[1]']
    >>> bool(np.allclose(told["dW[1]"], net.gradients(X, Y)[0].W))
    True
    """
    optimizer, net = GradientDescent() if optimizer is None else optimizer, twin_of(net)
    (steps,) = told_steps(net, (X, Y, sample_weight), optimizer, 1, l2, l1)
    head = ("symbol", "shape", "formula", "values", "source")
    rows = [step.cells() for step in steps]
    return Explanation(f"one step of {net} by {optimizer}", head, rows, [], steps)
