"""Minibatches that the user makes, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet.backends.place import exchanged, place_of, select
from xpnet.data.checks import host_array
from xpnet.data.column import counted
from xpnet.data.row_source import Chunk, check_kind, float_type

_AGAIN = "pass a function epoch -> iterator, which makes the batches of every epoch anew"


class UserBatches:
    """Minibatches (X, Y) or (X, Y, w) in rows, from a function of the epoch or an iterable.

    The first one is fetched at once, for its width, and kept for the first epoch.

    Raises
    ------
    TypeError
        What came is no such batch.
    ValueError
        There is none, or its arrays do not fit together.
    """

    def __init__(self, source: Callable[[int], Iterator[Any]] | Iterable[Any]) -> None:
        self._source = source
        self.mean_weight: float | None = None  # once it was asked for
        self._once = isinstance(source, Iterator)
        self._used = False
        iterator = self._iterator(0)
        first = next(iterator, None)
        if first is None:
            raise ValueError("the stream of batches is empty")
        self._begun: tuple[Any, Iterator[Any]] | None = first, iterator
        chunk, X = _arrays(0, first), exchanged(first[0], "X")
        self.place = place_of(X) if is_array_api_obj(X) else select()
        self.n_features, self.weighted = chunk.X.shape[1], chunk.w is not None
        self.dtype = float_type(chunk.X.dtype)

    def epoch(self, epoch: int) -> Iterator[Chunk]:
        """Yield the batches of one epoch.

        Raises
        ------
        ValueError
            There is none, or one differs from the first in width or in having weights; its
            number, from 0, is named.
        """
        if self._begun is not None and (epoch == 0 or self._once):
            (first, source), self._begun = self._begun, None
            batches: Iterator[Any] = chain([first], source)
            del first
        else:
            self.close()
            batches = source = self._iterator(epoch)
        number = -1
        try:
            for number, batch in enumerate(batches):
                yield self._checked(number, batch, epoch)
        finally:
            _close(source)
        if number < 0:
            raise ValueError(f"epoch {epoch} (from 0) brought no batches: {_AGAIN}")

    def close(self) -> None:
        if self._begun is not None:
            _close(self._begun[1])
            self._begun = None

    def refuse_iterator(self, why: str) -> None:
        """Raise ValueError, with the reason, if the batches can be read only once."""
        if self._once:
            raise ValueError(f"{why}, and an iterator of batches is read once: {_AGAIN}")

    def _iterator(self, epoch: int) -> Iterator[Any]:
        if callable(self._source):
            return iter(self._source(epoch))
        if self._once and self._used:
            raise ValueError(f"the iterator of batches was used up by one epoch: {_AGAIN}")
        self._used = True
        return iter(self._source)

    def _checked(self, number: int, batch: Any, epoch: int) -> Chunk:
        chunk = _arrays(number, batch)
        name = f"batch {number} (from 0) of epoch {epoch}"
        if chunk.X.shape[1] != self.n_features:
            had = f"but the first batch had {self.n_features}"
            raise ValueError(f"{name} has {chunk.X.shape[1]} features, {had}")
        if (chunk.w is not None) != self.weighted:
            one, other = ("no", "some") if self.weighted else ("some", "none")
            raise ValueError(f"{name} has {one} sample weights, but the first batch had {other}")
        return chunk


def _arrays(number: int, batch: Any) -> Chunk:
    """Check a batch and copy it: a generator may fill the same arrays for its next batch."""
    name = f"batch {number} (from 0)"
    if not isinstance(batch, tuple | list) or len(batch) not in (2, 3):
        raise TypeError(
            f"{name} is of type {type(batch).__name__}; expected a pair (X, Y) or (X, Y, w)"
        )
    X, Y = (np.array(host_array(x, name)) for x in batch[:2])
    w = None if len(batch) < 3 or batch[2] is None else np.array(host_array(batch[2], name))
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"{name}: X has shape {X.shape}; expected (k, n), examples in rows")
    check_kind(name, "X", X, "fiub", "numbers")
    check_kind(name, "Y", Y, "fiubU", "numbers or text")
    if Y.ndim not in (1, 2) or len(Y) != len(X):
        raise ValueError(f"{name}: X has {counted(len(X), 'row')} but Y has shape {Y.shape}")
    if w is not None:
        check_kind(name, "w", w, "fiub", "numbers")
        if w.shape != (len(X),):
            raise ValueError(f"{name}: X has {counted(len(X), 'row')} but w has shape {w.shape}")
    return Chunk(X, Y, w)


def _close(iterator: Any) -> None:
    getattr(iterator, "close", lambda: None)()
