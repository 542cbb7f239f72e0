"""Sources of minibatches: examples in memory, or a stream that is read in chunks.

Either way an epoch is a sequence of *parts*: consecutive minibatches that are run in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from sys import maxsize
from typing import Any, NamedTuple

import numpy as np

from xpnet.core.leaves import Data
from xpnet.data.epoch_order import own_rows

MANY = 100_000  # examples: an order of so many takes some milliseconds


class Part(NamedTuple):
    """Consecutive steps, run in one call.

    Attributes
    ----------
    orders : ndarray (epochs, k) or None
        Numbers of the examples in the order of their minibatches; None: each step uses all.
    weights : ndarray (steps,)
        The weight of each step's cost in the cost of its epoch: the size of the minibatch, or 1.
    data : Data or None
        Host rows that replace the examples of the parts before.
    """

    orders: np.ndarray | None
    weights: np.ndarray
    data: Data | None = None


class Source:
    """Gives the minibatches of each epoch; ``Resident`` and ``Streamed`` are the two of a net.

    Attributes
    ----------
    streams : bool
        Whether parts bring their data; epochs are then run part by part.
    n_examples, examples_per_step : int
        ``sys.maxsize`` where they are unknown.
    batch_size : int or None
        None: all examples, or all of a chunk, make one minibatch.
    steps_per_epoch : int or None
        None for a stream that has not been read to its end.
    """

    streams: bool
    n_examples: int
    batch_size: int | None
    examples_per_step: int
    steps_per_epoch: int | None
    rank, size = 0, 1

    @property
    def own_batch_size(self) -> int | None:
        """Examples of this process in a full minibatch."""
        size = self.batch_size
        return None if size is None else own_rows(size, size, self.rank, self.size)

    @property
    def own_examples(self) -> int:
        """Examples of this process in an epoch."""
        return own_rows(self.n_examples, self.batch_size or self.n_examples, self.rank, self.size)

    def own(self, orders: np.ndarray) -> np.ndarray:
        """The examples of this process in ``orders`` (epochs, k), from a minibatch's start on."""
        if self.size == 1:
            return orders
        places = np.arange(orders.shape[1]) % (self.batch_size or maxsize)
        return orders[:, places % self.size == self.rank]

    def whole(self, epoch: int, n: int) -> Part:
        """``n`` whole epochs from number ``epoch`` on; the loop calls it where data is resident."""
        raise NotImplementedError

    def parts(self, epoch: int, position: int, steps: Callable[[], int]) -> Iterator[Part]:
        """The rest of an epoch after ``position`` steps, in parts of at most ``steps()``."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drops what was kept to repeat earlier epochs; the loop will not ask for them again."""


class Resident(Source):
    """Examples in memory: where the net computes, or on the host beside it.

    Parameters
    ----------
    n_examples : int
    batch_size : int or None
        None: all examples make one minibatch.
    order : callable (epoch) -> ndarray (n_examples,) or None
        The order of the examples of an epoch; None: as they were given.
    repeatable : bool
        Whether ``order`` returns the same when it is called again.
    rank, size : int
        Of ``size`` processes, whose minibatches together are those that are counted here, this one
        takes the examples number ``rank, rank + size, ...`` of each.
    ahead : bool
        Whether a thread makes each next order, while a device computes; for many examples only.
    """

    streams = False

    def __init__(
        self,
        n_examples: int,
        batch_size: int | None,
        order: Callable[[int], np.ndarray | None],
        repeatable: bool = False,
        rank: int = 0,
        size: int = 1,
        ahead: bool = False,
    ) -> None:
        self.n_examples, self.batch_size = n_examples, batch_size
        self.rank, self.size = rank, size
        self.steps_per_epoch = 1 if batch_size is None else -(-n_examples // batch_size)
        self.examples_per_step = batch_size or n_examples
        self._order = order
        self._repeatable = repeatable
        self._orders: dict[int, np.ndarray] = {}
        ahead = ahead and repeatable and n_examples >= MANY
        self._thread = ThreadPoolExecutor(1, "xpnet-order") if ahead else None
        self._coming: tuple[int, Future[np.ndarray | None]] | None = None

    def whole(self, epoch: int, n: int) -> Part:
        if self.batch_size is None:
            return Part(None, np.ones(n))
        each = [self._kept_order(e) for e in range(epoch, epoch + n)]
        orders = each[0][None, :] if n == 1 else np.stack(each)  # a large one is not copied
        return Part(self.own(orders), np.tile(_sizes(self.n_examples, self.batch_size), n))

    def parts(self, epoch: int, position: int, steps: Callable[[], int]) -> Iterator[Part]:
        orders, weights, _ = self.whole(epoch, 1)
        while position < len(weights):
            end = min(position + steps(), len(weights))
            size = self.own_batch_size or 0
            piece = None if orders is None else orders[:, position * size : end * size]
            yield Part(piece, weights[position:end])
            position = end

    def _kept_order(self, epoch: int) -> np.ndarray:
        # A replay needs the order of the first time; a user's function may return another one.
        order = self._orders.get(epoch)
        if order is None:
            order = self._made(epoch)
            order = np.arange(self.n_examples) if order is None else order
            if not self._repeatable:
                self._orders[epoch] = order
        return order

    def _made(self, epoch: int) -> np.ndarray | None:
        if self._thread is None:
            return self._order(epoch)
        asked, coming = self._coming or (None, None)
        order = coming.result() if coming and asked == epoch else self._order(epoch)
        self._coming = epoch + 1, self._thread.submit(self._order, epoch + 1)
        return order

    def forget(self) -> None:
        self._orders.clear()


class Streamed(Source):
    """Examples that a ``data.stream.Stream`` reads in chunks.

    The first part of each chunk brings the chunk's data.

    Parameters
    ----------
    stream : Stream
    batch_size : int or None
        None where the stream itself comes in minibatches.
    prepared : callable (Chunk) -> Data
        Checks a chunk and gives it the dtype and the targets of the net, on the host.
    rank, size : int
        As in ``Resident``.
    whole : bool
        Whether each of several processes reads all rows: minibatches are then those of one process.
    settings
        ``seed``, ``shuffle`` and ``dtype``, for ``stream.chunks``.
    """

    streams = True

    def __init__(
        self,
        stream: Any,
        batch_size: int | None,
        prepared: Callable[[Any], Data],
        rank: int = 0,
        size: int = 1,
        whole: bool = False,
        **settings: Any,
    ) -> None:
        self.rank, self.size = rank, size
        # Each process reads its share, or all rows where minibatches are to be those of one.
        self._shares = size > 1 and batch_size is not None and not whole
        if self._shares:
            settings["share"] = rank, size
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
                if self.size > 1 and data.w is None:
                    data = data._replace(w=np.ones(len(data.X), data.X.dtype))
                order = np.arange(len(data.X)) if chunk.order is None else chunk.order
                size = self.batch_size or len(order)
                weights = _sizes(len(order), size)
                if self._shares:
                    size = self.own_batch_size or 1
                    n = -(-len(order) // size)
                    weights = _sizes(self.n_examples, self.batch_size or 1)[position:][:n]
                fresh, first = [data], 0
                del chunk, data  # only the part then keeps the data in memory
                while first < len(weights):
                    end = min(first + steps(), len(weights))
                    piece = order[None, first * size : end * size]
                    piece = piece if self._shares else self.own(piece)
                    position += end - first
                    yield Part(piece, weights[first:end], fresh.pop() if fresh else None)
                    first = end
        self.steps_per_epoch = position


def _sizes(n: int, batch_size: int) -> np.ndarray:
    """The number of examples in each of the minibatches of ``n`` examples."""
    return np.diff(np.arange(0, n, batch_size), append=n)
