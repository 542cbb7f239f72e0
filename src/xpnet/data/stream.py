"""Rows that are read while a net is trained on them."""

from __future__ import annotations

import mmap
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet.backends.place import select
from xpnet.data.checks import mean_weight
from xpnet.data.column import counted
from xpnet.data.epoch_order import EpochOrder, RowRange, own_rows, part_of
from xpnet.data.held_out import HeldOut
from xpnet.data.readahead import ReadAhead
from xpnet.data.row_source import Chunk, SlicedRows
from xpnet.data.selection import Selection, joined
from xpnet.data.standardizer import Standardizer
from xpnet.data.statistics import RunningStatistics, Statistics
from xpnet.data.stream_checks import Preparation
from xpnet.data.user_batches import UserBatches

# A chunk takes a fourth of the memory: the chunk in training, the engine's copy of it and the
# chunk that is read ahead are three, and blocks and temporary arrays need the last.
_SHARE = 4
_BLOCK = 2**20  # bytes of the source that are read at once


class Stream:
    """Examples in rows that are read while a net is trained on them; made by ``stream``.

    It is a context manager: leaving it closes it.

    Parameters
    ----------
    source : Selection or UserBatches
        The rows, or batches.
    memory : float
        Bytes for everything that is on its way.
    preparation : Preparation, optional
        How rows are standardised and encoded.

    Attributes
    ----------
    n_features : int
        Columns, without that of the labels.
    n_examples : int or None
        None for batches: nobody knows before the end.
    weighted : bool
        Whether chunks have sample weights.
    names : tuple of str or None
        Names of the features.
    target : str
        Name of the labels.
    dtype : dtype
        float32 if that holds the features without loss, else float64.
    place : Backend
        Where the first batch lives; NumPy for rows.

    Examples
    --------
    >>> import xpnet
    >>> with xpnet.stream(*xpnet.load_digits()) as data:
    ...     data.n_examples, data.n_features
    (1797, 64)
    """

    def __init__(
        self, source: Selection | UserBatches, memory: float, preparation: Preparation | None = None
    ) -> None:
        self._source, self._memory = source, memory
        if isinstance(source, UserBatches):
            self.n_examples: int | None = None
            described: SlicedRows | UserBatches = source
            self.weighted, self.names, self.target = source.weighted, None, "Y"
            self.place = source.place
        else:
            self.n_examples, described = source.n, source.rows
            self.weighted = source.w is not None
            self.names, self.target = source.rows.names, source.rows.target
            self.place = select()
        self.n_features, self.dtype = described.n_features, described.dtype
        self._preparation = preparation or Preparation(self.names, self.target)

    def __repr__(self) -> str:
        n = "batches" if self.n_examples is None else counted(self.n_examples, "row")
        name = f" of {self._source.rows.name}" if isinstance(self._source, Selection) else ""
        return f"<Stream: {n}{name}, {self.n_features:,} features>"

    # -- reading -------------------------------------------------------------------------
    def chunks(
        self,
        epoch: int,
        batch_size: int | None,
        seed: int = 0,
        shuffle: bool = True,
        first: int = 0,
        dtype: Any = None,
        share: tuple[int, int] = (0, 1),
    ) -> AbstractContextManager[Iterator[Chunk]]:
        """The chunks of one epoch, read ahead in a thread; to be used in a ``with`` statement.

        Every chunk but the last holds a multiple of ``batch_size`` rows, every row comes once.
        The order follows from ``(seed, epoch)``, and from what sizes chunks: the memory of this
        stream, ``batch_size``, ``dtype``. Batches come as they are, one a chunk.

        Parameters
        ----------
        epoch : int
            From 0.
        batch_size : int or None
            None for batches and for nothing else.
        shuffle : bool
            False: rows come in the order of the file.
        first : int
            Minibatches to leave out at the beginning: those of an epoch that was broken off.
        dtype : dtype, optional
            Of X: ``self.dtype`` if left out.
        share : tuple of (rank, size)
            Of ``size`` processes each reads its part of every chunk: of each minibatch the examples
            number ``rank, rank + size, ...``.

        Raises
        ------
        ValueError
            Not even one minibatch fits the memory; later, in the loop: data that cannot be
            trained on, named by file, row and column.
        """
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        if isinstance(self._source, UserBatches):
            if batch_size is not None:
                raise ValueError("this stream comes in batches: leave batch_size out")
            return ReadAhead(self._batches(epoch, first, dtype))
        if batch_size is None:
            raise ValueError("a stream of rows needs a batch_size")
        order = self._epoch_order(batch_size, dtype)
        key = (seed, epoch, shuffle)
        size, place = (batch_size, *share), first * batch_size
        return ReadAhead(self._in_order(self._source, order, key, place, dtype, size))

    def blocks(self, rows: int | None = None, dtype: Any = None) -> Iterator[Chunk]:
        """Read all rows in their order, some at a time, ahead; batches are those of epoch 0.

        Parameters
        ----------
        rows : int, optional
            How many at a time, the last time fewer; a part of the memory if left out.
        dtype : dtype, optional
            Of X: ``self.dtype`` if left out.

        Yields
        ------
        Chunk
            With ``X`` (k, n_features), ``Y`` (k,) or (k, n_y) or None, and sample weights ``w``
            (k,) or None, on the host.

        Raises
        ------
        ValueError
            Rows that cannot be trained on, named by file, row and column.

        Examples
        --------
        >>> import xpnet
        >>> data = xpnet.stream(*xpnet.load_digits())
        >>> [len(block.X) for block in data.blocks(rows=1000)]
        [1000, 797]
        """
        dtype = self.dtype if dtype is None else np.dtype(dtype)
        source = self._source
        if isinstance(source, UserBatches):
            with ReadAhead(self._batches(0, 0, dtype)) as chunks:
                yield from chunks
            return
        order = self._epoch_order(1, dtype)
        rows = max(1, order.chunk // 4) if rows is None else rows
        block = max(1, int(np.diff(order.bounds).max()))

        def read() -> Generator[Chunk, None, None]:
            for start in range(0, source.n, rows):
                stop = min(start + rows, source.n)
                ranges = [(a, min(a + block, stop)) for a in range(start, stop, block)]
                yield self._chunk(source, ranges, dtype)

        with ReadAhead(read()) as chunks:
            yield from chunks

    def close(self) -> None:
        """Close temporary files and begun batches, also for streams made from this one.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.stream(*xpnet.load_digits()).close()
        """
        if isinstance(self._source, UserBatches):
            self._source.close()
        else:
            self._source.rows.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # -- other streams of the same rows --------------------------------------------------
    def statistics(self) -> Statistics:
        """Compute means, standard deviations and labels of all rows, in one pass.

        Returns
        -------
        Statistics
            With ``n``, ``mean`` (n_features,), ``scale`` (n_features,), ``classes`` (k,) or None,
            ``target_mean`` and ``target_scale`` (n_y,), and ``task``; ``inputs`` and ``targets``
            are what ``prepared`` takes.

        Raises
        ------
        ValueError
            Rows that cannot be trained on, named by file, row and column.

        Examples
        --------
        >>> import xpnet
        >>> found = xpnet.stream(*xpnet.load_digits()).statistics()
        >>> found.n, found.task, found.classes
        (1797, 'classification', array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
        """
        measuring = RunningStatistics()
        for chunk in self.blocks():
            measuring.add(chunk.X, chunk.Y)
        return measuring.result()

    def rounded_integers(self, targets: bool) -> str | None:
        """Name the largest integer of the features, or the ``targets``, that float32 would round.

        None if there is none, or they are standardised. Integers are read once, for statistics.
        """
        source, ready = self._source, self._preparation
        if isinstance(source, UserBatches):
            return None
        X_may, Y_may = source.rows.may_round
        X_may = X_may and ready.inputs is None
        Y_may = Y_may and targets and ready.targets is None and ready.classes is None
        if not (X_may or Y_may):
            return None
        found = Stream(source, self._memory).statistics()
        names = self.names or tuple(map(str, range(self.n_features)))
        for may, sizes, of in (
            (X_may, found.rounded, names),
            (Y_may, found.target_rounded, [self.target] * self.n_features),
        ):
            if may and sizes is not None and sizes.any():
                return f"{sizes.max():,.0f} in column {of[int(sizes.argmax())]!r}"
        return None

    def mean_weight(self) -> float:
        """Return the mean sample weight of all rows, in one pass; 1 where there are none.

        Raises
        ------
        ValueError
            A weight is negative or not finite, or none is above 0; or this is an iterator of
            batches, which cannot be read twice.
        """
        source, what = self._source, "the sample weight of the stream"
        if not self.weighted:
            return 1.0
        if isinstance(source, Selection):
            return mean_weight(source.weights(), what)
        if source.mean_weight is None:
            source.refuse_iterator("the mean sample weight is needed before the first step")
            weights = (chunk.w for chunk in self.blocks() if chunk.w is not None)
            source.mean_weight = mean_weight(weights, what)
        return source.mean_weight

    def prepared(
        self,
        inputs: Standardizer | None = None,
        targets: Standardizer | None = None,
        classes: np.ndarray | None = None,
    ) -> Stream:
        """Return a stream of the same rows, standardised and encoded as they are read.

        Parameters
        ----------
        inputs : Standardizer, optional
            For the features: ``statistics().inputs``, say.
        targets : Standardizer, optional
            For targets that are numbers: ``statistics().targets``.
        classes : ndarray (k,), optional
            Sorted labels; each becomes its number 0 ... k - 1: ``statistics().classes``.

        Returns
        -------
        Stream
            Of the same source.

        Raises
        ------
        ValueError
            Both ``targets`` and ``classes`` are given.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> data = xpnet.stream(np.array([[1.0], [3.0]]), np.array(["no", "yes"]))
        >>> found = data.statistics()
        >>> block = next(data.prepared(found.inputs, classes=found.classes).blocks(rows=2))
        >>> block.X.ravel(), block.Y
        (array([-1.,  1.]), array([0, 1]))
        """
        if targets is not None and classes is not None:
            raise ValueError("labels are numbered or standardised: pass targets or classes")
        now = replace(self._preparation, inputs=inputs, targets=targets, classes=classes)
        return Stream(self._source, self._memory, now)

    def standardized(self, statistics: Statistics | None = None) -> Stream:
        """Return a stream of the same rows with features of mean 0 and standard deviation 1.

        A constant column becomes 0.

        Parameters
        ----------
        statistics : Statistics, optional
            Those of this stream if left out, which takes one pass.

        Returns
        -------
        Stream
            Of the same source.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> data = xpnet.stream(np.array([[1.0], [3.0]]), np.array([0, 1]))
        >>> next(data.standardized().blocks(rows=2)).X.ravel()
        array([-1.,  1.])
        """
        found = self.statistics() if statistics is None else statistics
        kept = self._preparation
        return self.prepared(found.inputs, kept.targets, kept.classes)

    def split(self, fraction: float, seed: int = 0) -> tuple[Stream, Stream]:
        """Return two streams of disjoint rows: to train on, and held out.

        Every short stretch of the source (at most 1,024 rows, if the fraction is not tiny) gives
        its share, at a place drawn from ``seed``.

        Parameters
        ----------
        fraction : float
            Of the n rows, ``round(fraction * n)`` are held out.
        seed : int
            The same seed gives the same rows.

        Returns
        -------
        train, held_out : Stream
            Of the same source.

        Raises
        ------
        ValueError
            The fraction does not lie between 0 and 1, or leaves no rows.
        TypeError
            This stream is one of batches.

        Examples
        --------
        >>> import xpnet
        >>> train, held_out = xpnet.stream(*xpnet.load_digits()).split(0.2)
        >>> train.n_examples, held_out.n_examples
        (1438, 359)
        """
        source = self._source
        if isinstance(source, UserBatches):
            raise TypeError("a stream of batches cannot be split: make two streams")
        held_out = HeldOut.of(source.n, fraction, seed)
        train, held = (source.part(held_out, which) for which in (False, True))
        new = self._memory, self._preparation
        return Stream(train, *new), Stream(held, *new)

    # -- inside --------------------------------------------------------------------------
    def _epoch_order(self, batch_size: int, dtype: np.dtype) -> EpochOrder:
        source = self._source
        assert isinstance(source, Selection)
        n_x, rows = self.n_features, source.rows
        row = n_x * dtype.itemsize + rows.label_bytes + 8 * self.weighted + 8
        chunk = int(self._memory / _SHARE / row) // batch_size * batch_size
        if chunk == 0:
            raise ValueError(
                f"memory={self._memory:,.0f} bytes are too few for minibatches of {batch_size:,} "
                f"rows of {row:,} bytes: it takes {_SHARE * batch_size * row:,}"
            )
        chunk = min(chunk, -(-source.n // batch_size) * batch_size)
        block = max(1, min(_BLOCK // (n_x * rows.dtype.itemsize), chunk // 32))
        return EpochOrder(source.bounds(block), chunk)

    def _in_order(
        self,
        source: Selection,
        order: EpochOrder,
        key: tuple[int, int, bool],
        place: int,
        dtype: np.dtype,
        size: tuple[int, int, int] = (1, 0, 1),
    ) -> Generator[Chunk, None, None]:
        """The chunks of the epoch ``key`` (seed, epoch, shuffle), from the row at ``place`` on.

        ``size``: that of a minibatch, and the share of it that is read, as in ``chunks``.
        """
        (seed, epoch, shuffle), (batch_size, rank, ranks) = key, size
        number, skipped = divmod(place, order.chunk)
        if place >= order.n:
            return
        for ranges in order.ranges(seed, epoch, shuffle, number * order.chunk):
            chunk = self._chunk(source, sorted(part_of(ranges, *size)), dtype)
            rows = np.arange(len(chunk.X))
            if shuffle:
                own = (rank,) if ranks > 1 else ()
                rows = np.random.default_rng((seed, epoch, number + 1, *own)).permutation(rows)
            skipped = own_rows(skipped, batch_size, rank, ranks)
            yield replace(chunk, order=rows[skipped:])
            del chunk  # or it would stay in memory while the next one is read
            number, skipped = number + 1, 0

    def _chunk(self, source: Selection, ranges: list[RowRange], dtype: np.dtype) -> Chunk:
        """The rows of ``ranges``."""
        ready, name = self._preparation, source.rows.name
        X = _empty((sum(stop - start for start, stop in ranges), self.n_features), dtype)
        Y, w, at = [], [], 0
        found: list[RowRange] = []
        for span in ranges:
            read = source.read(*span)

            def where(i: int, read: Chunk = read) -> str:
                return f"{name}, row {read.row(i):,} (from 0)"

            read = ready.rows(read, dtype, where)
            X[at : at + len(read.X)] = read.X
            at += len(read.X)
            Y.append(read.Y)
            w.append(read.w)
            found += read.rows
        return Chunk(X, joined(Y), joined(w), rows=tuple(found))

    def _batches(self, epoch: int, first: int, dtype: np.dtype) -> Generator[Chunk, None, None]:
        assert isinstance(self._source, UserBatches)
        ready = self._preparation
        for number, batch in enumerate(self._source.epoch(epoch)):
            if number < first:
                continue

            def where(i: int, number: int = number) -> str:
                return f"batch {number} (from 0) of epoch {epoch}, row {i:,} (from 0)"

            batch = ready.rows(batch, dtype, where)
            yield replace(batch, X=np.ascontiguousarray(batch.X))


def _empty(shape: tuple[int, int], dtype: np.dtype) -> np.ndarray:
    """An array whose memory goes back to the system with it.

    What threads take from the C library and give back often stays with the process, several times
    the size of a chunk.
    """
    size = shape[0] * shape[1] * dtype.itemsize
    if size < 2**20:
        return np.empty(shape, dtype)
    return np.ndarray(shape, dtype, buffer=mmap.mmap(-1, size))
