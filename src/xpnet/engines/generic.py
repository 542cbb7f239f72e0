"""The generic engine: the reference leaves, called one by one. It runs on every library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from math import nan
from typing import Any, ClassVar

import numpy as np

from xpnet._typing import Array, Namespace
from xpnet.backends.place import Backend
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.network import Objective, forward, step, value, value_and_gradient
from xpnet.core.optimizers import Moments, Optimizer


@dataclass(eq=False, repr=False)
class Program:
    """One fit's training steps, and the state they move: ``theta`` and ``moments``.

    A program belongs to the data it was made for and lives as long as the fit.
    """

    engine: Engine
    optimizer: Optimizer
    data: Data
    batch_size: int | None
    theta: Array
    moments: Moments

    name: ClassVar[str] = "generic"  # what ``History.engine`` says
    # Whether the loop keeps states to go back to where a step leaves infinity or NaN. A program
    # without a way back refuses such a step before it writes anything, while ``guard`` is true.
    way_back: ClassVar[bool] = True
    guard = True
    refused_cost = nan  # of the step that was refused last

    def __post_init__(self) -> None:
        self.ops = self.engine.ops
        self.start()

    def start(self) -> None:
        """Prepares the program, whose state is its own: an optimiser may write in place."""
        self.theta, self.moments = self.snapshot()

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        """Steps through ``orders``, one step per row of ``table``.

        Parameters
        ----------
        orders : ndarray of int64, (epochs, m) or (1, k), or None
            The order of the examples in each epoch, or in a part of one, cut into consecutive
            minibatches (into one, where there is no batch size); None: each step sees all examples.
        table : ndarray of float64, (steps, n_scalars)
            Each step's scalars: a row of ``network.step_table``.

        Returns
        -------
        costs : array (steps,)
            The cost before each update, on the device; fewer, where the next step was refused.
        """
        costs = []
        for index, scalars in zip(self.minibatches(orders), table.tolist(), strict=False):
            if index is not None:
                index = self.engine.backend.asarray(index)
            costs.append(self.step(index, scalars))
        return self.engine.backend.xp.stack(costs)

    def step(self, index: Array | None, scalars: list[float]) -> Array:
        self.theta, self.moments, cost = step(
            self.ops,
            self.engine.objective,
            self.optimizer,
            self.theta,
            self.moments,
            Batch(self.data, index),
            scalars,
        )
        return cost

    def minibatches(self, orders: np.ndarray | None) -> Iterator[np.ndarray | None]:
        if orders is None:
            yield from repeat(None)
            return
        for order in orders:
            size = self.batch_size or len(order)
            for start in range(0, len(order), size):
                yield order[start : start + size]

    def join(self) -> None:
        """Called after callbacks: what is computed next, on any stream, is after a run."""

    def marked(self, what: str) -> AbstractContextManager[Any]:
        """A range that profilers show, where the library has such and XPNET_NVTX=1."""
        return nullcontext()

    def begin(self) -> None:
        """Called before each ``run``, of which ``made`` now says that it has made no step."""

    def made(self) -> Array:
        """The costs of the steps that the last ``run`` made, also of one that was broken off."""
        raise NotImplementedError  # only asked where there is no way back

    def load(self, data: Data) -> None:
        """Replaces the examples: later orders are orders of these.

        Parameters
        ----------
        data : Data
            Rows on the host, or where the net is, in its dtype, with sample weights if there were
            any before. The caller must not change them until it has called ``run`` for all steps
            over them.
        """
        asarray = self.engine.backend.asarray
        self.data = Data(*(None if x is None else asarray(x) for x in data))

    def tidy(self) -> None:
        """Called now and then: parameters and moments too small to matter may be set to zero.

        Products of subnormal numbers are many times slower on most CPUs.
        """

    def least(self, kind: Any) -> list[tuple[Array, float]]:
        """Parameters and moments, each with the size below which an entry is negligible.

        ``kind`` is the library's ``finfo`` of their dtype. Moments decay; weights of inputs that
        are always 0 are shrunk for ever by a penalty.
        """
        tiny = kind.smallest_normal
        return [(self.theta, tiny / kind.eps), *((moment, tiny) for moment in self.moments)]

    def bytes_held(self) -> dict[str, int]:
        """Bytes of this fit besides its state, by name, where the engine knows them."""
        return {}

    def vectors(self) -> tuple[Array, ...]:
        """Parameters and moments, in as few arrays as hold them."""
        return self.theta, *self.moments

    def snapshot(self) -> tuple[Array, Moments]:
        """The state now; later steps leave it unchanged."""
        copy = partial(self.ops.xp.asarray, copy=True)
        return copy(self.theta), tuple(copy(m) for m in self.moments)

    def restore(self, state: tuple[Array, Moments]) -> None:
        self.theta, self.moments = state


class Engine:
    """Evaluates one objective on one backend, and makes programs that train it."""

    program_type: type[Program] = Program
    sparse_rows: Callable[[Any], Any] | None = None  # makes an X of a SciPy CSR matrix
    distributes = True  # whether its steps add up the gradients of several processes
    pinned: str | None = None  # the engine that ``engines.use`` asks for

    def __init__(self, backend: Backend, objective: Objective) -> None:
        self.backend = backend
        self.objective = objective
        self.ops = self.leaves()

    def leaves(self) -> Leaves:
        return Leaves(self.backend.xp, self.objective.layout)

    def predict(self, theta: Array, X: Array) -> Array:
        """The output (n_y, m) for ``X`` (n_x, m); on the host where NumPy sees arrays (JAX)."""
        _, Z = forward(self.ops, self.objective, self.ops.layers(theta), X)
        return self.ops.predict(self.objective.loss, Z)

    def value(self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0) -> Array:
        """The cost over ``data``, 0-d, without dropout."""
        settings = self.ops, self.objective, theta
        return self._mean(data, lambda part: (value(*settings, Batch(part, None), l2, l1),))[0]

    def value_and_gradient(
        self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0
    ) -> tuple[Array, ...]:
        """The cost over ``data`` and its gradient (n_parameters,), without dropout."""
        return self._mean(data, lambda part: self.of_part(theta, part, l2, l1))

    def of_part(self, theta: Array, data: Data, l2: float, l1: float) -> tuple[Array, Array]:
        """``value_and_gradient`` of data whose labels may all become rows of 0 and 1 at once."""
        return value_and_gradient(self.ops, self.objective, theta, Batch(data, None), l2, l1)

    def _mean(self, data: Data, of: Callable[[Data], tuple[Array, ...]]) -> tuple[Array, ...]:
        """The (weighted) mean over the examples of what ``of`` says of each part."""
        sums, parts = self.backend.xp.sum, self.parts(data)
        if len(parts) == 1:
            return of(data)
        if data.w is None:
            shares = [part.X.shape[0] / data.X.shape[0] for part in parts]
        else:
            shares = [sums(part.w) / sums(data.w) for part in parts]
        return mean_over(zip(shares, parts, strict=True), of)

    def parts(self, data: Data) -> list[Data]:
        """The data, cut where labels would become too many rows of 0 and 1 at once."""
        return self.cut(data, data.X.shape[0])

    def cut(self, data: Data, size: int) -> list[Data]:
        """The data in parts of at most ``size`` examples, fewer where they are labels."""
        m = data.X.shape[0]
        if data.Y.ndim == 1:
            size = min(size, max(1, self.ops.labels_at_once))
        if m <= size:
            return [data]
        cuts = [slice(i, min(i + size, m)) for i in range(0, m, size)]
        return [Data(*(None if x is None else x[cut, ...] for x in data)) for cut in cuts]

    def room(self) -> int | None:
        """Bytes of the device that data may take; None where data needs no moving."""
        return None

    def bytes_held(self) -> dict[str, int]:
        """Bytes that the library holds for this process on the device, by name, where it says."""
        return {}

    def program(self, *settings_and_state: Any) -> Program:
        """Training steps: a ``Program`` of this engine, which changes nothing that it is given."""
        return self.program_type(self, *settings_and_state)


def mean_over(
    parts: Iterable[tuple[Any, Data]], of: Callable[[Data], tuple[Array, ...]]
) -> tuple[Array, ...]:
    """The sum of what ``of`` says of each part of the examples, times its share of them."""
    total: list[Array] = []
    for share, part in parts:
        found = of(part)
        if isinstance(share, float) and share == 1.0:  # of all of them
            return found
        scaled = [share * x for x in found]
        total = [a + b for a, b in zip(total, scaled, strict=True)] if total else scaled
    return tuple(total)


def overwrite(mine: Sequence[Array], news: Sequence[Array], *, xp: Namespace) -> None:
    """Writes ``news``, the result of an optimiser's rule, into the arrays ``mine``."""
    # Copies first: a rule may give the old parameters back as a moment.
    for x, new in zip(mine, [xp.asarray(y, copy=True) for y in news], strict=True):
        x[...] = new
