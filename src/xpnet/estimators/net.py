"""The net that a perceptron trains, and its examples: dense or sparse rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend, magnitude, to_numpy
from xpnet.core.leaves import Data, Leaves
from xpnet.core.network import Objective, forward
from xpnet.core.optimizers import Optimizer
from xpnet.core.parameters import Layer, Layout
from xpnet.engines import Engine, Program, engine_for
from xpnet.engines.generic import mean_over
from xpnet.estimators import arrays
from xpnet.estimators.arrays import dense, dense_blocks, is_sparse, taken

FEW = 16  # rows that are predicted sooner by plain operations than by an engine's


class Rows:
    """Examples in rows, with targets and weights. X is dense where the net is, or sparse.

    Attributes
    ----------
    X : array (m, n_x) or CSR matrix
    Y : ndarray (m, n_y), or class numbers (m,)
        On the host.
    w : ndarray (m,) or None
        On the host.
    """

    def __init__(self, net: Net, X: Any, Y: np.ndarray, w: np.ndarray | None = None) -> None:
        self.net, self.X, self.Y, self.w = net, X, Y, w
        self.whole = net.taken(X)
        # weights are divided by it before a cast could lose them: a power of 2, which rounds none
        self.scale = 1.0 if w is None else magnitude(w)

    def __len__(self) -> int:
        return self.Y.shape[0]

    @cached_property
    def everything(self) -> Data:
        return self.data()

    def data(self, index: np.ndarray | None = None) -> Data:
        """These examples, made dense if X is sparse, or all as the engine takes them."""
        place, X, Y, w = self.net.place, self.whole, self.Y, self.w
        if index is not None:
            X, Y, w = None, Y[index], None if w is None else w[index]
        with place.context():
            scaled = None if w is None else w / self.scale
            there = None if scaled is None else place.asarray(scaled, place.dtype)
            Y = place.asarray(Y, None if Y.ndim == 1 else place.dtype)
            Y = Leaves(place.xp, self.net.layout).gatherable(Y, place.dtype)
            return Data(dense(self.X, index, place) if X is None else X, Y, there)

    def take(self, index: np.ndarray) -> Rows:
        """A copy of these examples."""
        w = None if self.w is None else self.w[index]
        return Rows(self.net, taken(self.X, index, self.net.place), self.Y[index], w)

    def program(self, engine: Engine, rule: Optimizer, *more: Any) -> Program:
        """Training steps over these examples; ``more`` are the further fields of ``Program``."""
        first, *others = self.blocks(np.arange(len(self)), more[0] or len(self))
        if not others:
            return engine.program(rule, self.everything, *more)
        kind = type("SparseProgram", (InBlocks, engine.program_type), {})
        program = kind(engine, rule, self.data(first), *more)
        program.rows = self
        return program

    def blocks(self, index: np.ndarray, multiple_of: int = 1) -> list[np.ndarray]:
        """Cuts ``index`` into pieces whose rows can be made dense; one piece if none must be."""
        if self.whole is not None:
            return [index]
        size = max(1, arrays.BLOCK // (self.X.shape[1] * multiple_of)) * multiple_of
        return [index[i : i + size] for i in range(0, len(index), size)]

    def parts(self) -> Iterator[tuple[float, Data]]:
        """Pieces of the examples, each with its share of the sum of weights."""
        pieces = self.blocks(np.arange(len(self)))
        if len(pieces) == 1:
            yield 1.0, self.everything
            return
        weights = np.ones(len(self)) if self.w is None else self.w / self.scale
        for index in pieces:
            if np.any(weights[index]):
                yield float(np.sum(weights[index]) / np.sum(weights)), self.data(index)


@dataclass(frozen=True)
class Net:
    """The layers of a perceptron; its parameters are one flat vector ``theta``.

    The loss of ``objective`` is the one that scikit-learn reports (``core.losses.as_reported``).
    """

    place: Backend
    objective: Objective

    @property
    def layout(self) -> Layout:
        return self.objective.layout

    # -- parameters as scikit-learn shows them -----------------------------------------------
    def flat(self, coefs: Sequence[Array], intercepts: Sequence[Array]) -> Array:
        """``theta`` of ``coefs[l]`` (n_in, n_out) and ``intercepts[l]`` (n_out,)."""
        place, xp = self.place, self.place.xp
        with place.context():
            layers = []
            for pair in zip(coefs, intercepts, strict=True):
                coef, intercept = (x if place.holds(x) else to_numpy(x) for x in pair)
                coef, intercept = (place.asarray(x, place.dtype) for x in (coef, intercept))
                layers.append((coef.T, intercept[:, None]))
            return self.layout.flatten(layers, xp=xp)

    def shown(self, theta: Array) -> dict[str, list[Array]]:
        """``coefs_`` and ``intercepts_``: views of ``theta`` where the library has views."""
        layers = self.layout.layers(theta, xp=self.place.xp)
        return {"coefs_": [W.T for W, _ in layers], "intercepts_": [b[:, 0] for _, b in layers]}

    def taken(self, X: Any) -> Any:
        """``X`` as the engine takes it; None for a sparse one that must be made dense."""
        if not is_sparse(X):
            return X
        sparse_rows = engine_for(self.place, self.objective).sparse_rows
        return None if sparse_rows is None else sparse_rows(X)

    # -- evaluation --------------------------------------------------------------------------
    def predict(self, theta: Array, X: Any) -> Array:
        """The output (m, n_y) for rows ``X`` (m, n_x)."""
        engine, taken = engine_for(self.place, self.objective), self.taken(X)
        with self.place.context():
            if taken is not None:
                return self.place.asarray(engine.predict(theta, taken.T).T)
            pieces = (rows for _, rows in dense_blocks(X, self.place))
            return self.place.xp.concat([engine.predict(theta, rows.T).T for rows in pieces])

    def output(self, coefs: Sequence[Array], intercepts: Sequence[Array], X: Any) -> Array:
        """``predict`` with parameters as scikit-learn shows them; few rows need no copy of them."""
        if X.shape[0] > FEW or type(X) is not type(coefs[0]):  # sparse, or parameters of a pickle
            return self.predict(self.flat(coefs, intercepts), X)
        ops, layers = Leaves(self.place.xp, self.layout), zip(coefs, intercepts, strict=True)
        with self.place.context():
            _, Z = forward(ops, self.objective, [Layer(W.T, b[:, None]) for W, b in layers], X.T)
            return ops.predict(self.objective.loss, Z).T

    def value(self, theta: Array, rows: Rows, l2: float = 0.0, l1: float = 0.0) -> float:
        """The cost of ``rows`` as scikit-learn reports it."""
        penalized = replace(self.objective, penalized=l2 > 0, sparse=l1 > 0)
        engine = engine_for(self.place, penalized)
        with self.place.context():
            return sum(q * float(engine.value(theta, data, l2, l1)) for q, data in rows.parts())

    def cost(self, rows: Rows, l2: float) -> Callable[[Array], tuple[Array, ...]]:
        """The cost with the l2 penalty, 0-d, and its gradient, as a function of ``theta``."""
        exact = replace(self.objective, loss=self.objective.loss.exact, penalized=l2 > 0)
        engine = engine_for(self.place, exact)  # one for all calls: it keeps what it recorded

        def value_and_gradient(theta: Array) -> tuple[Array, ...]:
            with self.place.context():
                return mean_over(
                    rows.parts(), lambda data: engine.value_and_gradient(theta, data, l2)
                )

        return value_and_gradient


class InBlocks(Program):
    """Steps over a sparse X: the examples of an engine's program are always the next dense block.

    An engine that records steps reads every block where the first one lay.
    """

    rows: Rows

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        assert orders is not None
        assert self.batch_size is not None
        costs, step = [], 0
        for order in orders:
            for index in self.rows.blocks(order, self.batch_size):
                self.load(self.rows.data(index))
                end = step + -(-len(index) // self.batch_size)
                costs.append(super().run(np.arange(len(index))[None, :], table[step:end]))
                step = end
        return self.engine.backend.xp.concat(costs)
