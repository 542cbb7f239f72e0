"""``explain``: one training step of a net, told in the order in which it is computed.

Nothing is computed a second way. ``network.step`` itself runs, over the reference leaves, and a
``Recorder`` in between keeps what every leaf gave and the line that called it.
"""

from __future__ import annotations

import ast
import copy
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
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
from xpnet.teaching.report import Report
from xpnet.training.plan import Plan
from xpnet.training.source import Part
from xpnet.training.state import starting_state

PACKAGE = Path(__file__).parents[1]
# Of every leaf, its results in their order: symbol and formula. {l} is the layer, {k} the one
# below, {g} the name of the activation; a vector of all parameters is told layer by layer.
TOLD = {
    "gather": [
        ("A[0]", "X, the examples in columns"),
        ("Y", "the targets"),
        ("s", "share of an example in J: 1/m, or its weight over the sum"),
    ],
    "layers": [("W[{l}]", "weights before the step"), ("b[{l}]", "biases before the step")],
    "affine": [("Z[{l}]", "W[{l}] A[{k}] + b[{l}]")],
    "activate": [("A[{l}]", "{g}(Z[{l}])")],
    "output": [("A[{l}]", "{g}(Z[{l}])"), ("J", "sum(s * {J})"), ("dZ[{l}]", "s (A[{l}] - Y)")],
    "weight_gradient": [("dW[{l}]", "dZ[{l}] A[{k}]^T")],
    "bias_gradient": [("db[{l}]", "row sums of dZ[{l}]")],
    "propagate": [("dA[{k}]", "W[{l}]^T dZ[{l}]")],
    "slope": [("dZ[{l}]", "dA[{l}] * {g}'(Z[{l}]), from A[{l}]")],
    "penalize_cost": [("J", "J + l2/2 * sum of W^2")],
    "penalize_gradient": [("dW[{l}]", "dW[{l}] + l2 W[{l}]")],
    "sparsify_cost": [("J", "J + l1 * sum of |W|")],
    "sparsify_gradient": [("dW[{l}]", "dW[{l}] + l1 sign(W[{l}])")],
    "update": [
        ("W[{l}]", "{rule}, with theta = W[{l}]"),
        ("b[{l}]", "{rule}, with theta = b[{l}]"),
    ],
}
COSTS = {
    "identity": "(A[{l}] - Y)^2 / 2",
    "sigmoid": "-(Y log A[{l}] + (1 - Y) log(1 - A[{l}]))",
    "softmax": "-(sum of Y log A[{l}])",
}


@dataclass(frozen=True, eq=False)
class Step:
    """One result: ``symbol = formula``, a copy of it, and the lines of source that made it."""

    symbol: str
    formula: str
    value: np.ndarray
    source: tuple[str, ...]

    def cells(self) -> tuple[str, ...]:
        few = " ".join(f"{x:.4g}" for x in self.value.flat[:4])
        more = " ..." if self.value.size > 4 else ""
        shape = f"({', '.join(map(str, self.value.shape))})" if self.value.ndim else ""
        return self.symbol, shape, self.formula, few + more, ", ".join(filter(None, self.source))


class Recorder:
    """Passes each call on to the leaves ``ops`` and keeps in ``steps`` what they gave."""

    def __init__(self, ops: Leaves, objective: Objective, optimizer: Any = None) -> None:
        self.ops = ops
        self.objective = objective
        self.optimizer = optimizer
        self.steps: list[Step] = []
        self.l = 0

    def __getattr__(self, name: str) -> Any:
        operation = getattr(self.ops, name)
        if name not in TOLD:
            return operation

        def told(*args: Any) -> Any:
            line = sys._getframe(1).f_lineno  # in network.py: of the call
            result = operation(*args)
            self._keep(name, args, result, f"core/network.py:{line}")
            return result

        return told

    def _keep(self, name: str, args: tuple[Any, ...], result: Any, line: str) -> None:
        ops, last = self.ops, len(self.objective.hidden) + 1
        functions: list[Any] = []  # whose source says more than the leaf's own
        results = list(result) if isinstance(result, tuple) else [result]
        if name == "affine":
            self.l = self.l % last + 1
        elif name in ("weight_gradient", "bias_gradient"):
            self.l = args[0] + 1
        elif name == "slope":
            self.l -= 1
        elif name == "output":
            results.insert(0, ops.predict(self.objective.loss, args[1]))
            functions = [args[0].predict, args[0].value, getattr(type(ops), name)]
        if name in ("activate", "slope"):
            functions = [args[0].value if name == "activate" else args[0].slope]
        if name == "update":
            self._tell("scalars", f"the numbers of {self.optimizer}", args[-1], (line,))
            for i, moment in enumerate(result[1], 1):
                self._tell(f"moment {i}", "of weights, then biases", moment, (line,))
            functions, results = [type(self.optimizer).update], [result[0]]
        where = [line_of(f) for f in functions or [getattr(type(ops), name)]]
        layers: list[Any] = []
        if name == "layers":
            layers = result
        elif name in ("penalize_gradient", "sparsify_gradient", "update"):
            layers = ops.layout.layers(results[0], xp=ops.xp)
        for l, values in enumerate(layers, 1) if layers else [(self.l, results)]:
            for i, ((symbol, formula), value) in enumerate(zip(TOLD[name], values, strict=False)):
                names = self._names(l, last)
                formula = formula.format(J=COSTS.get(names["g"], "cost").format(**names), **names)
                self._tell(symbol.format(**names), formula, value, (line, where[i % len(where)]))

    def _names(self, l: int, last: int) -> dict[str, Any]:
        output = self.objective.loss.output
        g = output if l == last else self.objective.hidden[l - 1].name if l else ""
        rule = returned(type(self.optimizer).update) if self.optimizer else ""
        return {"l": l, "k": l - 1, "g": g, "rule": rule}

    def _tell(self, symbol: str, formula: str, value: Any, source: tuple[str, ...]) -> None:
        self.steps.append(Step(symbol, formula, np.array(to_numpy(value)), source))


def line_of(function: Any) -> str:
    """Where the last ``return`` of a function stands, or a lambda; "" if it has no source."""
    try:
        lines, first = inspect.getsourcelines(function)
    except (OSError, TypeError):
        return ""
    path = Path(inspect.getsourcefile(function) or "")
    name = path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else path.name
    returns = [i for i, line in enumerate(lines) if line.lstrip().startswith("return ")]
    return f"{name}:{max(first, 1) + (returns[-1] if returns else 0)}"


def returned(function: Callable[..., Any]) -> str:
    """The first value that a rule ``update`` returns, as its source has it."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        return "the optimiser's update"
    value = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)][-1]
    return ast.unparse(value.elts[0] if isinstance(value, ast.Tuple) else value)  # type: ignore


def told_steps(
    net: Any, data: Sequence[Any], optimizer: Optimizer, n: int, l2: float, l1: float
) -> Iterator[list[Step]]:
    """The first ``n`` steps of ``net.fit`` on all examples at once; the net stays as it is."""
    check_optimizer(optimizer)
    l2, l1 = check_number(l2, "l2"), check_number(l1, "l1")
    twin = copy.copy(net)
    with twin._settling() as inputs:
        rows = inputs.examples(*data)
    place, plan = twin.backend, Plan(optimizer, n, l2, l1)
    objective = plan.objective(net.objective)
    table = plan.table(0, np.ones(n), Part(None, np.ones(n)))
    with place.context():
        batch = Batch(Data(*(None if x is None else place.asarray(x) for x in rows)), None)
        theta: Array = place.xp.asarray(twin.theta, copy=True)
        moments = starting_state(None, optimizer, theta, place).moments
    for scalars in table.tolist():
        with place.context():
            ops: Any = Recorder(Leaves(place.xp, objective.layout), objective, optimizer)
            theta, moments, _ = step(ops, objective, optimizer, theta, moments, batch, scalars)
        yield ops.steps


@dataclass(eq=False, repr=False)
class Explanation(Report):
    """One training step in order.

    ``explanation["dW[1]"]`` is a quantity as the step leaves it, in NumPy.

    Attributes
    ----------
    steps : list of Step
        Each with ``symbol``, ``formula``, ``value`` and ``source``.
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
    """Tell the first step that ``net.fit`` would make on these examples, all in one batch.

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
    optimizer = GradientDescent() if optimizer is None else optimizer
    (steps,) = told_steps(net, (X, Y, sample_weight), optimizer, 1, l2, l1)
    head = ("symbol", "shape", "formula", "values", "source")
    title = f"one step of {repr(net).partition(' <')[0]} by {optimizer}"
    return Explanation(title, head, [step.cells() for step in steps], [], steps)
