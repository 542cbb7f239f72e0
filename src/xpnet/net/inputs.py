"""What ``DeepNet`` is given, arrays or a stream: checked, as rows, in its dtype and its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import (
    Backend,
    dtype_name,
    exchanged,
    place_of,
    refuse_traced,
    to_numpy,
)
from xpnet.core.leaves import Data, Leaves
from xpnet.core.network import Objective
from xpnet.data import checks
from xpnet.data.column import listed
from xpnet.data.open_stream import stream
from xpnet.data.row_source import Chunk
from xpnet.data.stream import Stream
from xpnet.distributed import ALONE, Ranks
from xpnet.engines import engine_for
from xpnet.net.arguments import orders
from xpnet.net.placement import Placement
from xpnet.training.source import Resident, Source, Streamed


@dataclass
class Inputs:
    """Takes the data of one call for a net of ``objective``.

    Attributes
    ----------
    place : Placement
        Of the net, settled by the first X: that decides what the user has left open.
    objective : Objective
    features : sequence of str or None
        Their names in the net's order, which frames and streams with other names must fit; where
        the net keeps none, those of the first frame or stream, which it keeps once it has learned.
    on_host : bool
        Whether the examples in memory stay on the host, for a GPU that takes a batch at a time.
    """

    place: Placement
    objective: Objective
    features: Any = None
    on_host: bool = False

    # -- arrays --------------------------------------------------------------------------
    def examples(
        self,
        X: Any,
        Y: Any,
        sample_weight: Any = None,
        *,
        batch_size: int | None = None,
        prefetch: bool | None = False,
        part: str = "",
    ) -> Data:
        """The examples of X (n_x, m) and Y as rows.

        ``prefetch`` leaves host data on the host, for a GPU that takes ``batch_size`` examples at a
        time; None does so where they do not fit. ``part`` stands before X and Y in messages.
        """
        X_name, Y_name, w_name = (f"{part}{name}" for name in ("X", "Y", "sample_weight"))
        loss, (n_x, *_, n_y) = self.objective.loss, self.objective.sizes
        X = self.in_order(X, X_name)
        self.settle(X, X_name, Y)
        self.on_host = self._stays_on_host(X, batch_size, prefetch)
        rows = self._rows(X, X_name, lambda x, at: checks.finite_rows(x, n_x, at, X_name))
        m = rows.shape[0]
        targets = self._rows(
            Y, Y_name, lambda y, at: checks.target_rows(y, loss, n_y, m, at, Y_name)
        )
        on_host = self.on_host or self.place.backend.seen_by_numpy
        at = self.place.host if on_host else self.place.backend
        leaves = Leaves(at.xp, self.objective.layout)
        with at.context():
            targets = leaves.gatherable(targets, rows.dtype)
        if sample_weight is None:
            return Data(rows, targets, None)
        weights = self._rows(
            sample_weight, w_name, lambda w, at: checks.weight_vector(w, m, at, w_name)
        )
        return Data(rows, targets, weights)

    def _rows(self, x: Any, what: str, check: Callable[[Array, Backend], Array]) -> Array:
        """``x`` checked and laid out where it lies; host data is then moved, once."""
        place = self.place
        x = exchanged(x, what)
        refuse_traced(x, what)
        x, host = self._seen(x)
        if self.on_host and not host:
            raise ValueError(f"{what} lives in {place_of(x)} but X on the host: move one of them")
        at = place.host if host else place.backend
        moved = host and not self.on_host and not place.backend.seen_by_numpy
        at = at.before(place.backend) if moved else at
        ready = check(checks.to_backend(x, what, at, moves=not place.follows), at)
        if not moved:
            return ready
        dtype = place.backend.dtype if ready.ndim == 2 else None  # class numbers keep theirs
        try:
            return place.backend.asarray(ready, dtype)
        except MemoryError as error:
            n_bytes = ready.size * np.dtype(dtype_name(dtype or ready.dtype)).itemsize
            raise MemoryError(
                f"{what} needs {n_bytes:,} bytes on {place.backend}, where data may take "
                f"{self._room():,}; with a batch_size, prefetch=True copies "
                "it batch by batch"
            ) from error

    def columns(self, X: Any) -> Array:
        """X (n_x, m) for a prediction, in order; of a GPU's engine host data stay on the host."""
        self.settle(X)
        place = self.place
        X, host = self._seen(X)
        on_host = host and (place.backend.seen_by_numpy or self._room() is not None)
        at = place.host.before(place.backend) if on_host else place.backend
        X = checks.to_backend(X, "X", at, moves=not place.follows)
        X = checks.cast(X, "X", at)
        if not at.is_traced(X):
            checks.refuse_nan(X.T, "X", at)
        return X

    def in_order(self, X: Any, what: str = "X") -> Any:
        """X (n_x, m), an array if cuDF's; a frame's features, its index, in the net's order."""
        index = getattr(X, "index", []) if hasattr(X, "columns") else []
        index = list(getattr(index, "to_pandas", lambda: index)())  # cuDF's cannot be listed
        named = index and all(isinstance(name, str) for name in index)
        wanted = self._check_names(index, f"the index of {what}") if named else []
        return exchanged(X.loc[wanted] if wanted else X, what)

    def _check_names(self, names: Sequence[str], whose: str) -> list[str]:
        """The features in the net's order where ``names`` are in another; [] in the same.

        Raises
        ------
        ValueError
            A feature is missing, or there is a further one.
        """
        if self.features is None:
            self.features = list(names)
        wanted = list(map(str, np.ravel(self.features)))
        nameless = any(all(name.isdecimal() for name in group) for group in (names, wanted))
        if nameless or len(wanted) != self.objective.sizes[0] or list(names) == wanted:
            return []
        if sorted(names) != sorted(wanted):
            raise ValueError(
                f"{whose} has the names {listed(names)}, but the features of this net "
                f"are {listed(wanted)}: give it these, as rows and no others"
            )
        return wanted

    @property
    def named(self) -> dict[str, Any]:
        """What a net that has learned keeps in its ``data``: the names of its features, if any."""
        names = [] if self.features is None else list(map(str, np.ravel(self.features)))
        return {} if all(name.isdecimal() for name in names) else {"features": names}

    def settle(self, X: Any, what: str = "X", Y: Any = None) -> None:
        """Lets ``X`` (n_x, m), and ``Y`` of a regression, decide on what is left to them."""
        X = checks.admit(X, what)
        checks.check_columns(X, what, self.objective.sizes[0])
        if not self.place.settled:
            checks.check_numeric(X, what)
            numbers = Y is not None and self.objective.loss.output == "identity"
            targets = [checks.admit(Y, "Y")] if numbers else []
            self.place = self.place.settle(X, place_of(X), *targets)

    def _seen(self, x: Any) -> tuple[Any, bool]:
        """``x``, and whether it is host data; NumPy may see an array of the place as such."""
        place = self.place.backend
        if place.seen_by_numpy and place.holds(x) and not place.is_traced(x):
            return to_numpy(x), True
        return x, self.place.may_move(x)

    def _room(self) -> int | None:
        """Bytes that data may take where it must be moved to a device; None elsewhere."""
        with self.place.backend.context():
            return engine_for(self.place.backend, self.objective).room()

    def _stays_on_host(self, X: Any, batch_size: int | None, wanted: bool | None) -> bool:
        """Whether X is copied to the device batch by batch."""
        place, room = self.place, self._room()
        on_host = room is not None and place.may_move(X)
        if wanted and not on_host:
            raise ValueError(
                f"prefetch=True is for host data and a net of CuPy's; this net is on "
                f"{place.backend}"
            )
        if wanted and batch_size is None:
            raise ValueError("prefetch=True needs a batch_size")
        if wanted is not None or not on_host or batch_size is None:
            return bool(wanted)
        itemsize = 8 if place.backend.dtype_name == "float64" else 4
        n_x, m = checks.admit(X, "X").shape
        assert room is not None
        return (n_x + self.objective.sizes[-1] + 1) * m * itemsize > room

    # -- what a fit trains on ------------------------------------------------------------
    def training_set(
        self,
        X: Any,
        Y: Any,
        sample_weight: Any,
        batch_size: int | None,
        shuffle: bool | Callable[[int], Any],
        prefetch: bool | None,
        seed: int,
        ranks: Ranks = ALONE,
    ) -> tuple[Data, Source, str]:
        """The first examples, the minibatches, and where they come from (``History.data``)."""
        self.choose(X, batch_size)
        if isinstance(X, Stream):
            if Y is not None or sample_weight is not None:
                raise TypeError("a Stream has its own targets and weights: fit(stream)")
            return self._in_chunks(X, batch_size, shuffle, seed, ranks)
        if Y is None:
            raise TypeError("fit needs the targets Y beside X (a Stream alone has its own)")
        if (
            isinstance(X, np.memmap)
            and (X.ndim == 2 and X.flags.f_contiguous)  # the file has examples in rows
            and (batch_size is not None and prefetch is None and not callable(shuffle))
        ):
            self.settle(X, "X", Y)  # other streams default to float32
            rows = _stream_of_rows(X, Y, sample_weight)
            return self._in_chunks(rows, batch_size, shuffle, seed, ranks, whole=True)
        data = self.examples(X, Y, sample_weight, batch_size=batch_size, prefetch=prefetch)
        m = data.X.shape[0]
        size = None if batch_size is None else min(batch_size, m)
        if ranks.size > 1:  # each takes its rows also where one minibatch is all of them
            size, shuffle = size or m, shuffle if size else False
            at = self.place.host if self.on_host else self.place.backend
            ones = at.asarray(np.ones(m), data.X.dtype)
            data = data if data.w is not None else data._replace(w=ones)
        order, repeatable = orders(shuffle, seed, m), not callable(shuffle)
        ahead = self.place.backend.is_accelerator
        source = Resident(m, size, order, repeatable, ranks.rank, ranks.size, ahead)
        return data, source, "prefetched" if self.on_host else "device"

    def choose(self, X: Any, batch_size: int | None) -> None:
        """Lets the work of a step decide, where ``backend="best"`` leaves the place to a fit."""
        if self.place.asked is None:
            return
        if isinstance(X, Stream):
            moves, m = X.place.name == "numpy", X.n_examples or 128
        else:
            moves, m = self.place.may_move(X), (1, *checks.admit(X, "X").shape)[-1]
        n_parameters = self.objective.layout.n_parameters
        self.place = self.place.chosen(moves, n_parameters, min(batch_size or m, m))

    def _in_chunks(
        self,
        source: Stream,
        batch_size: Any,
        shuffle: Any,
        seed: int,
        ranks: Ranks,
        whole: bool = False,
    ) -> tuple[Data, Source, str]:
        """The training set of a stream; its first examples are zeros of the right shape."""
        if callable(shuffle):
            raise TypeError("a Stream shuffles by itself: shuffle=True or False")
        in_batches = source.n_examples is None
        if in_batches is not (batch_size is None):
            raise ValueError(
                "this stream comes in batches: leave batch_size out"
                if in_batches
                else "a stream needs a batch_size, not None: it is trained on in minibatches"
            )
        self.settle_for_stream(source)
        n_x, *_, n_y = self.objective.sizes
        m, dtype = batch_size or 1, self.place.backend.dtype_name
        weighted = source.weighted or ranks.size > 1
        w = np.zeros(m, dtype) if weighted else None
        first = self.moved(Data(np.zeros((m, n_x), dtype), np.zeros((m, n_y), dtype), w))
        rows = partial(self.rows_of_chunk, source.mean_weight())
        settings = {"seed": seed, "shuffle": bool(shuffle), "dtype": np.dtype(dtype)}
        return (
            first,
            Streamed(source, batch_size, rows, ranks.rank, ranks.size, whole, **settings),
            "streamed",
        )

    def settle_for_stream(self, source: Stream) -> None:
        """Lets a stream decide on the place, where something is left to it, as ``settle``."""
        place, n_x = self.place, self.objective.sizes[0]
        if source.names and self._check_names(source.names, "the stream"):
            raise ValueError(
                f"the stream has the features in the order {listed(source.names)}, but this net "
                f"takes them in the order {listed(self.features)}"
            )
        if source.n_features != n_x:
            raise ValueError(
                f"the stream has {source.n_features} features but this net takes {n_x}"
            )
        if not place.bound:
            place = place.at(source.place)
        here = replace(place.backend, dtype=None)
        if place.follows and here.name != "numpy" and here != source.place:
            raise TypeError(
                f"the stream lives in {source.place} but this net lives in {here}: "
                f"net.to({place.backend.name!r}) says that it may be moved there"
            )
        rounded = None
        if place.backend.dtype_name != "float64":
            rounded = source.rounded_integers(self.objective.loss.output == "identity")
        if place.backend.dtype is None:
            place = place.with_dtype("float64" if rounded else "float32")
        elif rounded:
            raise ValueError(
                f"float32 would round integers of the stream, such as {rounded}: use "
                "DeepNet(dtype='float64'), or fit stream.standardized()"
            )
        self.place = place

    def moved(self, data: Data) -> Data:
        """Host rows where the net computes; as they are where its engine moves host data."""
        if self.place.backend.seen_by_numpy or self._room() is not None:
            return data
        return Data(*(None if x is None else self.place.backend.asarray(x) for x in data))

    def rows_of_chunk(self, mean_weight: float, chunk: Chunk) -> Data:
        """The examples of a chunk as rows on the host, with targets as the net takes them.

        Sample weights are divided by ``mean_weight``.
        """
        host, n_y, m = self.place.host, self.objective.sizes[-1], len(chunk.X)
        X = np.ascontiguousarray(chunk.X, host.dtype)
        if chunk.Y is None:
            raise ValueError(
                "the stream has no targets: stream(source, y), or target=... for a table"
            )
        Y = np.asarray(chunk.Y)
        if Y.dtype.kind in "OSU":
            raise TypeError(
                f"the labels of the stream are text, such as {str(Y.flat[0])!r}: a net learns "
                "numbers. Fit stream.prepared(classes=stream.statistics().classes), which numbers "
                "them"
            )
        checks.check_numeric(Y, "Y")
        columns = Y if Y.ndim == 1 else Y.T
        with host.context():
            rows = checks.target_rows(columns, self.objective.loss, n_y, m, host, "Y")
        w = None if chunk.w is None else np.ascontiguousarray(chunk.w / mean_weight, host.dtype)
        return Data(X, rows, w)


def _stream_of_rows(X: np.memmap, Y: Any, sample_weight: Any) -> Stream:
    """A stream of the rows behind ``X`` (n_x, m); targets and weights stay in memory."""
    Y = checks.host_array(Y, "Y")
    w = None if sample_weight is None else checks.host_array(sample_weight, "sample_weight")
    if w is not None and w.ndim == 2 and len(w) == 1:  # a row, as beside arrays in memory
        w = w[0]
    return stream(X.T, Y if Y.ndim == 1 else np.ascontiguousarray(Y.T), w)
