"""What an epoch is made of: examples that lie in memory, or a stream that is read in chunks.

Either way an epoch is a sequence of *parts*: consecutive minibatches that are run in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from sys import maxsize
from typing import Any, NamedTuple

import numpy as np

from xpnet.core.leaves import Data


class Part(NamedTuple):
    """Consecutive steps.

    Attributes
    ----------
    orders : ndarray (epochs, k) or None
        Examples in their order, cut into minibatches; None: each step sees all examples.
    weights : ndarray (steps,)
        What each step counts for in its epoch's cost.
    data : Data or None
        Host rows that take the place of the examples before.
    """

    orders: np.ndarray | None
    weights: np.ndarray
    data: Data | None = None


class Source:
    """Where minibatches come from.

    Attributes
    ----------
    streams : bool
        Whether parts bring their data; all of them are then run one by one.
    n_examples, examples_per_step : int
        ``sys.maxsize`` where they are unknown.
    batch_size : int or None
        None: all examples, or all of a part, make one minibatch.
    steps_per_epoch : int or None
        None for a stream that has not been read to its end.
    """

    streams: bool
    n_examples: int
    batch_size: int | None
    examples_per_step: int
    steps_per_epoch: int | None

    def whole(self, epoch: int, n: int) -> Part:
        """``n`` epochs from number ``epoch`` on, at once; never asked of a stream."""
        raise NotImplementedError

    def parts(self, epoch: int, position: int, steps: Callable[[], int]) -> Iterator[Part]:
        """The rest of an epoch after ``position`` steps, in parts of at most ``steps()``."""
        raise NotImplementedError

    def forget(self) -> None:
        """The epochs up to now will not be asked for again."""


class Resident(Source):
    """Examples that lie where the net computes, or on the host beside it.

    Parameters
    ----------
    n_examples : int
    batch_size : int or None
        None: all examples make one minibatch.
    order : callable (epoch) -> ndarray (n_examples,) or None
        The order of the examples; None stands for the order given.
    sample_weight : ndarray (n_examples,), optional
        On the host.
    repeatable : bool
        Whether ``order`` answers the same when it is asked again.
    """

    streams = False  # whether parts bring their data

    def __init__(
        self,
        n_examples: int,
        batch_size: int | None,
        order: Callable[[int], np.ndarray | None],
        sample_weight: np.ndarray | None = None,
        repeatable: bool = False,
    ) -> None:
        self.n_examples, self.batch_size = n_examples, batch_size
        self._n_steps = 1 if batch_size is None else -(-n_examples // batch_size)
        self.steps_per_epoch = self._n_steps
        self.examples_per_step = batch_size or n_examples
        self._order = order
        self._sample_weight = sample_weight
        self._repeatable = repeatable
        self._orders: dict[int, np.ndarray] = {}

    def whole(self, epoch: int, n: int) -> Part:
        if self.batch_size is None:
            return Part(None, np.ones(n))
        orders = np.stack([self._kept_order(e) for e in range(epoch, epoch + n)])
        starts = np.arange(0, self.n_examples, self.batch_size)
        if self._sample_weight is None:
            sizes = np.diff(np.append(starts, self.n_examples))
            return Part(orders, np.tile(sizes, n))
        weights = np.add.reduceat(self._sample_weight[orders], starts, axis=1)
        return Part(orders, weights.reshape(-1))

    def parts(self, epoch: int, position: int, steps: Callable[[], int]) -> Iterator[Part]:
        orders, weights, _ = self.whole(epoch, 1)
        while position < self._n_steps:
            end = min(position + steps(), self._n_steps)
            piece = None
            if orders is not None:
                assert self.batch_size is not None
                piece = orders[:, position * self.batch_size : end * self.batch_size]
            yield Part(piece, weights[position:end])
            position = end

    def _kept_order(self, epoch: int) -> np.ndarray:
        # A replay must see the order of the first time, whatever a user's function does.
        order = self._orders.get(epoch)
        if order is None:
            order = self._order(epoch)
            order = np.arange(self.n_examples) if order is None else order
            if not self._repeatable:
                self._orders[epoch] = order
        return order

    def forget(self) -> None:
        self._orders.clear()


class Streamed(Source):
    """Examples that are read in chunks, see ``data.stream.Stream``.

    The first part of each chunk brings its data.

    Parameters
    ----------
    stream : Stream
    batch_size : int or None
        None where the stream itself comes in minibatches.
    prepared : callable (Chunk) -> Data
        Checks a chunk and gives it the dtype and the targets of the net, on the host.
    settings
        ``seed``, ``shuffle`` and ``dtype``, for ``stream.chunks``.
    """

    streams = True

    def __init__(
        self,
        stream: Any,
        batch_size: int | None,
        prepared: Callable[[Any], Data],
        **settings: Any,
    ) -> None:
        self.stream, self.batch_size = stream, batch_size
        self._chunks = {"batch_size": batch_size, **settings}
        self._prepared = prepared
        self.n_examples = stream.n_examples or maxsize
        self.examples_per_step = batch_size or self.n_examples
        self.steps_per_epoch = None  # unknown before the first epoch's end
        if batch_size is not None:
            self.steps_per_epoch = -(-stream.n_examples // batch_size)

    def parts(self, epoch: int, position: int, steps: Callable[[], int]) -> Iterator[Part]:
        with self.stream.chunks(epoch, first=position, **self._chunks) as chunks:
            for chunk in chunks:
                data = self._prepared(chunk)
                order = np.arange(len(data.X)) if chunk.order is None else chunk.order
                size = self.batch_size or len(order)
                starts = np.arange(0, len(order), size)
                if data.w is None:
                    weights = np.diff(np.append(starts, len(order)))
                else:
                    weights = np.add.reduceat(data.w[order].astype(np.float64), starts)
                fresh, first = [data], 0
                del chunk, data  # whoever takes a part decides how long its data stays in memory
                while first < len(starts):
                    end = min(first + steps(), len(starts))
                    piece = order[None, first * size : end * size]
                    position += end - first
                    yield Part(piece, weights[first:end], fresh.pop() if fresh else None)
                    first = end
        self.steps_per_epoch = position
