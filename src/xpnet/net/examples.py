"""Examples as rows: whatever ``DeepNet`` is given, checked, in its dtype and its place.

Each function takes the net's ``Placement`` and returns it settled: the first X decides what the
user has left open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet._typing import Array
from xpnet.backends.place import Backend, place_of, to_numpy
from xpnet.core.leaves import Data
from xpnet.core.network import Objective
from xpnet.data import checks
from xpnet.data.open_stream import stream
from xpnet.data.stream import Chunk, Stream
from xpnet.engines import engine_for
from xpnet.net.arguments import orders
from xpnet.net.placement import Placement
from xpnet.training.source import Resident, Source, Streamed


class Examples(NamedTuple):
    """Rows in the settled place, or on the host beside it."""

    place: Placement
    data: Data
    on_host: bool


# Of a fit: the settled placement, the first examples, where minibatches come from, and
# "device", "prefetched" or "streamed", see ``History.data``.
TrainingSet: TypeAlias = tuple[Placement, Data, Source, str]


# -- arrays ------------------------------------------------------------------------------
def examples(
    place: Placement,
    objective: Objective,
    X: Any,
    Y: Any,
    sample_weight: Any = None,
    *,
    batch_size: int | None = None,
    prefetch: bool | None = False,
    part: str = "",
) -> Examples:
    """The examples of X (n_x, m) and Y as rows.

    ``prefetch`` leaves host data on the host, for a GPU that takes ``batch_size`` examples at a
    time; None does so where they do not fit. ``part`` stands before X and Y in messages.
    """
    X_name, Y_name = f"{part}X", f"{part}Y"
    loss, (n_x, *_, n_y) = objective.loss, objective.sizes
    place = settle(place, X, X_name, n_x)
    on_host = prefetch is not False and _stays_on_host(place, objective, X, batch_size, prefetch)

    def prepared(x: Any, what: str, check: Callable[[Array, Backend], Array]) -> Array:
        """``x`` checked and laid out where it lies; host data is then moved, once."""
        host = place.may_move(x)
        if on_host and not host:
            raise ValueError(f"{what} lives in {place_of(x)} but X on the host: move one of them")
        at = place.host if host else place.backend
        ready = check(checks.to_backend(x, what, at, moves=not place.follows), at)
        if on_host or not host:
            return ready
        try:
            return place.backend.asarray(ready)
        except MemoryError as error:
            raise MemoryError(
                f"{what} needs {ready.nbytes:,} bytes on {place.backend}, where "
                f"{_room(place, objective):,} are free; with a batch_size, prefetch=True copies "
                "it batch by batch"
            ) from error

    rows = prepared(X, X_name, lambda x, at: checks.feature_rows(x, n_x, at, X_name))
    m = rows.shape[0]
    targets = prepared(Y, Y_name, lambda y, at: checks.target_rows(y, loss, n_y, m, at, Y_name))
    if sample_weight is None:
        return Examples(place, Data(rows, targets, None), on_host)
    w = prepared(sample_weight, "sample_weight", lambda w, at: checks.weight_vector(w, m, at))
    return Examples(place, Data(rows, targets, w), on_host)


def columns_of(place: Placement, objective: Objective, X: Any) -> tuple[Placement, Array]:
    """X (n_x, m) for a prediction; host data for a GPU stays there, its engine moves it."""
    place = settle(place, X, "X", objective.sizes[0])
    on_host = place.may_move(X) and _room(place, objective) is not None
    at = place.host if on_host else place.backend
    X = checks.to_backend(X, "X", at, moves=not place.follows)
    with at.context():
        X = X if X.dtype == at.dtype else at.xp.astype(X, at.dtype)
    checks.refuse_nan(X.T, "X", at)
    return place, X


def settle(place: Placement, X: Any, what: str, n_x: int) -> Placement:
    """The placement that ``X`` (n_x, m) decides, where something is left to it."""
    X = X if is_array_api_obj(X) else checks.host_array(X, what)
    checks.check_columns(X, what, n_x)
    if place.settled:
        return place
    checks.check_numeric(X, what)
    return place.settle(X, place_of(X))


def _room(place: Placement, objective: Objective) -> int | None:
    """Bytes free for data where it must be moved to a device; None elsewhere."""
    with place.backend.context():
        return engine_for(place.backend, objective).room()


def _stays_on_host(
    place: Placement, objective: Objective, X: Any, batch_size: int | None, wanted: bool | None
) -> bool:
    """Whether X is copied to the device batch by batch."""
    room = _room(place, objective)
    on_host = room is not None and place.may_move(X)
    if wanted and not on_host:
        raise ValueError(
            f"prefetch=True is for host data and a net of CuPy's; this net is on {place.backend}"
        )
    if wanted and batch_size is None:
        raise ValueError("prefetch=True needs a batch_size")
    if wanted is not None or not on_host or batch_size is None:
        return bool(wanted)
    itemsize = 8 if place.backend.dtype_name == "float64" else 4
    n_x, m = np.shape(X)
    assert room is not None
    # the rest is for the net and a minibatch
    return (n_x + objective.sizes[-1] + 1) * m * itemsize > 0.8 * room


# -- what a fit trains on ----------------------------------------------------------------
def training_set(
    place: Placement,
    objective: Objective,
    X: Any,
    Y: Any,
    sample_weight: Any,
    batch_size: int | None,
    *,
    shuffle: bool | Callable[[int], Any],
    prefetch: bool | None,
    seed: int,
) -> TrainingSet:
    """The examples of X and Y, or of a stream, in minibatches."""
    if isinstance(X, Stream):
        if Y is not None or sample_weight is not None:
            raise TypeError("a Stream has its own targets and weights: fit(stream)")
        return _in_chunks(place, objective, X, batch_size, shuffle, seed)
    if Y is None:
        raise TypeError("fit needs the targets Y beside X (a Stream alone has its own)")
    if (
        isinstance(X, np.memmap)
        and (X.ndim == 2 and X.flags.f_contiguous)  # the file has examples in rows
        and (batch_size is not None and prefetch is None and not callable(shuffle))
    ):
        # where the user has chosen no dtype X decides; other streams default to float32
        place = settle(place, X, "X", objective.sizes[0])
        rows = _stream_of_rows(X, Y, sample_weight)
        return _in_chunks(place, objective, rows, batch_size, shuffle, seed)
    place, data, on_host = examples(
        place, objective, X, Y, sample_weight, batch_size=batch_size, prefetch=prefetch
    )
    m = data.X.shape[0]
    source = Resident(
        m,
        None if batch_size is None else min(batch_size, m),
        orders(shuffle, seed, m),
        None if data.w is None else to_numpy(data.w),
        repeatable=not callable(shuffle),
    )
    return place, data, source, "prefetched" if on_host else "device"


def _stream_of_rows(X: np.memmap, Y: Any, sample_weight: Any) -> Stream:
    """A stream of the rows behind ``X`` (n_x, m); targets and weights stay in memory."""
    Y = to_numpy(Y) if is_array_api_obj(Y) else checks.host_array(Y, "Y")
    w = None if sample_weight is None else to_numpy(sample_weight)
    if w is not None and w.ndim == 2 and len(w) == 1:  # a row, as beside arrays in memory
        w = w[0]
    return stream(X.T, Y if Y.ndim == 1 else np.ascontiguousarray(Y.T), w)


def _in_chunks(
    place: Placement, objective: Objective, source: Stream, batch_size: Any, shuffle: Any, seed: int
) -> TrainingSet:
    """The training set of a stream; its first examples are zeros of the right shape."""
    if callable(shuffle):
        raise TypeError("a Stream shuffles by itself: shuffle=True or False")
    in_batches = source.n_examples is None
    if in_batches is not (batch_size is None):
        raise ValueError(
            "this stream comes in batches: leave batch_size out"
            if in_batches
            else "a stream needs a batch_size"
        )
    place = settle_for_stream(place, source, objective.sizes[0])
    n_x, *_, n_y = objective.sizes
    m, dtype = batch_size or 1, place.backend.dtype_name
    w = np.zeros(m, dtype) if source.weighted else None
    first = Data(np.zeros((m, n_x), dtype), np.zeros((m, n_y), dtype), w)
    if _room(place, objective) is None:  # a GPU's engine moves host data itself
        first = Data(*(None if x is None else place.backend.asarray(x) for x in first))
    host = place.host
    streamed = Streamed(
        source,
        batch_size,
        partial(rows_of_chunk, host, objective),
        seed=seed,
        shuffle=bool(shuffle),
        dtype=host.dtype,
        extra=(n_y - 1) * np.dtype(host.dtype).itemsize,  # one-hot rows, made of labels
    )
    return place, first, streamed, "streamed"


def settle_for_stream(place: Placement, source: Stream, n_x: int) -> Placement:
    """Streams are host data: a net that nothing has placed yet stays on the host."""
    if source.n_features != n_x:
        raise ValueError(f"the stream has {source.n_features} features but this net takes {n_x}")
    if place.follows and place.bound and place.backend.name != "numpy":
        raise TypeError(
            f"a stream is host data but this net lives in {place.backend}: "
            f"net.to({place.backend.name!r}) says that it may be moved there"
        )
    if place.backend.dtype is None:
        place = place.with_dtype("float32")
    return replace(place, bound=True)


def rows_of_chunk(host: Backend, objective: Objective, chunk: Chunk) -> Data:
    """The examples of a chunk as rows on the host, with targets as the net takes them."""
    n_y, m = objective.sizes[-1], len(chunk.X)
    X = np.ascontiguousarray(chunk.X, host.dtype)
    if chunk.Y is None:
        raise ValueError("the stream has no targets: stream(source, y), or target=... for a table")
    Y = np.asarray(chunk.Y)
    if Y.dtype.kind in "OSU":
        raise TypeError(
            f"the labels of the stream are text, such as {str(Y.flat[0])!r}: a net learns numbers. "
            "Fit stream.prepared(classes=stream.statistics().classes), which numbers them"
        )
    checks.check_numeric(Y, "Y")
    columns = Y if Y.ndim == 1 else Y.T
    with host.context():
        rows = checks.target_rows(columns, objective.loss, n_y, m, host, "Y")
        w = None if chunk.w is None else np.ascontiguousarray(chunk.w, host.dtype)
    return Data(X, rows, w)
