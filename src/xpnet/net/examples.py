"""What a fit trains on and is validated on: arrays or streams, checked and laid out as rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.leaves import Data
from xpnet.data import checks
from xpnet.data.open_stream import stream
from xpnet.data.stream import Chunk, Stream
from xpnet.net.arguments import orders
from xpnet.net.placement import Placed
from xpnet.training.source import Resident, Source, Streamed


def fit_source(
    net: Placed,
    X: Any,
    Y: Any,
    batch_size: int | None,
    shuffle: bool | Callable[[int], Any],
    sample_weight: Any,
    prefetch: bool | None,
) -> tuple[Data, Source, str]:
    """What a fit trains on: the first examples, where minibatches come from, and how."""
    if (
        isinstance(X, np.memmap)
        and (X.ndim == 2 and X.flags.f_contiguous)  # the file has examples in rows
        and (batch_size is not None and prefetch is None and not callable(shuffle))
    ):
        X, Y, sample_weight = _streamed(net, X, Y, sample_weight), None, None
    if isinstance(X, Stream):
        return _stream_source(net, X, Y, batch_size, shuffle, sample_weight)
    if Y is None:
        raise TypeError("fit needs the targets Y beside X (a Stream alone has its own)")
    net._bind_to(X)
    on_host = prefetches(net, X, batch_size, prefetch)
    examples = net._examples(X, Y, sample_weight, on_host=on_host)
    m = examples.X.shape[0]
    source = Resident(
        m,
        None if batch_size is None else min(batch_size, m),
        orders(shuffle, net.seed, m),
        None if examples.w is None else to_numpy(examples.w),
        repeatable=not callable(shuffle),
    )
    return examples, source, "prefetched" if on_host else "device"


def prefetches(net: Placed, X: Any, batch_size: int | None, wanted: bool | None) -> bool:
    """Whether X stays on the host and is copied to the device batch by batch."""
    room = net._room()
    on_host = room is not None and net._may_move(X)
    if wanted and not on_host:
        raise ValueError(f"prefetch=True is for host data and a net on a GPU, not {net._place}")
    if wanted and batch_size is None:
        raise ValueError("prefetch=True needs a batch_size")
    if wanted is not None or not on_host or batch_size is None:
        return bool(wanted)
    itemsize = 8 if net._place.dtype_name == "float64" else 4
    n_x, m = np.shape(X)
    assert room is not None
    # the rest is for the net and a minibatch
    return (n_x + net.sizes[-1] + 1) * m * itemsize > 0.8 * room


def evaluator(net: Placed, validation: Any) -> Callable[[Array], tuple[Any, Any]]:
    """The function ``theta -> (cost, accuracy or None)`` of the validation data."""
    if isinstance(validation, Stream):
        _bind_to_stream(net, validation)
        return lambda theta: evaluate_stream(net, theta, validation)
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        raise TypeError("validation is a pair (X, Y), or a Stream")
    net._bind_to(validation[0], "validation X")
    on_host = prefetches(net, validation[0], 1, None)
    X, Y = validation
    examples = net._examples(X, Y, None, part="validation ", on_host=on_host)
    return lambda theta: net._evaluate(theta, examples)


# -- streams -----------------------------------------------------------------------------
def _streamed(net: Placed, X: np.memmap, Y: Any, sample_weight: Any) -> Stream:
    """A stream of the rows behind ``X`` (n_x, m); targets and weights stay in memory."""
    if Y is None:
        raise TypeError("fit needs the targets Y beside X (a Stream alone has its own)")
    net._bind_to(X)  # as X says, if nothing has been said; other streams mean float32
    Y = to_numpy(Y) if is_array_api_obj(Y) else checks.host_array(Y, "Y")
    w = None if sample_weight is None else to_numpy(sample_weight)
    if w is not None and w.ndim == 2 and len(w) == 1:  # a row, as beside arrays in memory
        w = w[0]
    return stream(X.T, Y if Y.ndim == 1 else np.ascontiguousarray(Y.T), w)


def _bind_to_stream(net: Placed, source: Stream) -> None:
    """Streams are host data: a net that nothing has placed yet stays on the host."""
    n_x = net.sizes[0]
    if source.n_features != n_x:
        raise ValueError(f"the stream has {source.n_features} features but this net takes {n_x}")
    if net._follows and net._bound and net._place.name != "numpy":
        raise TypeError(
            f"a stream is host data but this net lives in {net._place}: "
            f"net.to({net._place.name!r}) says that it may be moved there"
        )
    if net._place.dtype is None:
        net._move(net._place.with_dtype("float32"))
    net._bound = True


def _stream_source(
    net: Placed, source: Stream, Y: Any, batch_size: int | None, shuffle: Any, sample_weight: Any
) -> tuple[Data, Source, str]:
    if Y is not None or sample_weight is not None:
        raise TypeError("a Stream has its own targets and weights: fit(stream)")
    if callable(shuffle):
        raise TypeError("a Stream shuffles by itself: shuffle=True or False")
    in_batches = source.n_examples is None
    if in_batches is not (batch_size is None):
        raise ValueError(
            "this stream comes in batches: leave batch_size out"
            if in_batches
            else "a stream needs a batch_size"
        )
    _bind_to_stream(net, source)
    n_x, *_, n_y = net.sizes
    m, dtype = batch_size or 1, net._place.dtype_name
    w = np.zeros(m, dtype) if source.weighted else None
    first = Data(np.zeros((m, n_x), dtype), np.zeros((m, n_y), dtype), w)
    if net._room() is None:  # a GPU's engine moves host data itself
        first = _moved(net, first)
    host = net._host().dtype
    settings = {"seed": net.seed, "shuffle": bool(shuffle), "dtype": host}
    settings["extra"] = (n_y - 1) * np.dtype(host).itemsize  # one-hot rows, made of labels
    streamed = Streamed(source, batch_size, partial(_host_rows, net), **settings)
    return first, streamed, "streamed"


def _host_rows(net: Placed, chunk: Chunk) -> Data:
    """A chunk with targets as this net takes them, on the host."""
    n_y = net.sizes[-1]
    host, m = net._host(), len(chunk.X)
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
        rows = checks.target_rows(columns, net._objective.loss, n_y, m, host, "Y")
        w = None if chunk.w is None else np.ascontiguousarray(chunk.w, host.dtype)
    return Data(X, rows, w)


def evaluate_stream(net: Placed, theta: Array, source: Stream) -> tuple[float, float | None]:
    """Cost and accuracy over a stream, one block of rows after the other."""
    cost, weights, hits, m = 0.0, 0.0, 0.0, 0
    accuracy: Any = None
    for chunk in source.blocks(dtype=net._host().dtype):
        rows = _host_rows(net, chunk)
        if net._room() is None:
            rows = _moved(net, rows)
        n = len(chunk.X)
        weight = float(n if chunk.w is None else np.sum(chunk.w))
        value, accuracy = net._evaluate(theta, rows)
        cost, weights = cost + weight * float(value), weights + weight
        hits, m = hits + (0.0 if accuracy is None else n * float(accuracy)), m + n
    if not weights > 0:
        raise ValueError("the sample weights of the validation stream are all 0")
    return cost / weights, None if accuracy is None else hits / m


def _moved(net: Placed, rows: Data) -> Data:
    return Data(*(None if x is None else net._place.asarray(x) for x in rows))
