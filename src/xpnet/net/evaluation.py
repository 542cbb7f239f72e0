"""Cost and accuracy of a net, over arrays in memory or over a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

import numpy as np
from array_api_compat import array_namespace

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.leaves import Data
from xpnet.core.settings import check_number
from xpnet.data.row_source import Chunk
from xpnet.data.stream import Stream
from xpnet.engines import Engine, engine_for
from xpnet.net.inputs import Inputs

Evaluate: TypeAlias = Callable[[Array], tuple[Any, Any]]


def cost_of(
    inputs: Inputs, given: Iterable[Any], l2: float, l1: float, prefetch: bool | None
) -> tuple[Engine, tuple[Data, float, float]]:
    """An engine, and the arguments beside theta of its cost of the ``given`` X, Y and weights."""
    l2, l1 = check_number(l2, "l2"), check_number(l1, "l1")
    data = inputs.examples(*given, batch_size=1, prefetch=prefetch)
    objective = replace(inputs.objective, penalized=l2 > 0, sparse=l1 > 0)
    return engine_for(inputs.place.backend, objective), (data, l2, l1)


def evaluator(inputs: Inputs, validation: Any) -> Evaluate | None:
    """The function ``theta -> (cost, accuracy or None)`` of the validation data, if any."""
    if validation is None:
        return None
    if isinstance(validation, Stream):
        inputs.settle_for_stream(validation)
        rows = partial(inputs.rows_of_chunk, validation.mean_weight())
        return lambda theta: _over_stream(inputs, theta, validation, rows)
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise TypeError("validation is (X, Y), (X, Y, sample_weight), or a Stream")
    data = inputs.examples(*validation, batch_size=1, prefetch=None, part="validation ")
    engine = engine_for(inputs.place.backend, inputs.objective)
    return lambda theta: evaluate(engine, theta, data)


def decided(A: Array, output: str) -> Array:
    """What a net says: 0 or 1 (n_y, m), class numbers (m,), or the output itself."""
    xp = array_namespace(A)
    if output == "softmax":
        return xp.argmax(A, axis=0)
    return xp.astype(A > 0.5, xp.asarray(0).dtype) if output == "sigmoid" else A


def evaluate(engine: Engine, theta: Array, data: Data) -> tuple[Array, Array | None]:
    """Cost and accuracy, 0-d, over rows in the engine's place (or on the host, for a GPU)."""
    cost = engine.value(theta, data)
    if engine.objective.loss.output == "identity":
        return cost, None
    hits = _hits(engine, theta, data)
    xp = array_namespace(hits)
    return cost, xp.mean(xp.astype(hits, theta.dtype))


def _hits(engine: Engine, theta: Array, data: Data) -> Array:
    """Whether each class (m,), or each 0 or 1 (n_y, m), is predicted as it is."""
    place, hits = engine.backend, []
    for part in engine.parts(data):
        # host data, where it does not fit on the device, is moved part by part
        A, Y = engine.predict(theta, part.X.T), part.Y
        Y = place.seen(Y) if place.seen_by_numpy else place.asarray(Y)
        xp = array_namespace(A)
        if engine.objective.loss.output == "softmax":
            hits.append(xp.argmax(A, axis=0) == (Y if Y.ndim == 1 else xp.argmax(Y, axis=1)))
        else:
            hits.append((A > 0.5) == (Y.T > 0.5))
    return hits[0] if len(hits) == 1 else xp.concat(hits)


def score(engine: Engine, theta: Array, data: Data) -> float:
    """Accuracy where outputs are classes, else R², over rows as those of ``evaluate``."""
    w = np.ones(data.X.shape[0]) if data.w is None else to_numpy(data.w).astype(np.float64)
    if engine.objective.loss.output != "identity":
        hits = np.atleast_2d(to_numpy(_hits(engine, theta, data)))
        return float(np.average(np.all(hits, axis=0), weights=w))
    A = to_numpy(engine.predict(theta, data.X.T)).astype(np.float64)
    Y = to_numpy(data.Y).T.astype(np.float64)
    missed = (Y - A) ** 2 @ w
    spread = (Y - np.average(Y, axis=1, weights=w)[:, None]) ** 2 @ w
    # an output whose targets are all the same counts 1 where it is right, else 0
    r2 = np.where(spread > 0, 1 - missed / np.where(spread > 0, spread, 1), missed == 0)
    return float(np.mean(r2))


def _over_stream(
    inputs: Inputs, theta: Array, source: Stream, rows: Callable[[Chunk], Data]
) -> tuple[float, float | None]:
    """Cost and accuracy over a stream, one block of rows after the other."""
    engine = engine_for(inputs.place.backend, inputs.objective)
    cost, weights, hits, m = 0.0, 0.0, 0.0, 0
    accuracy: Any = None
    for data in map(rows, source.blocks(dtype=inputs.place.host.dtype)):
        n = len(data.X)
        weight = float(n if data.w is None else np.sum(data.w))
        data = inputs.moved(data)
        value, accuracy = evaluate(engine, theta, data)
        cost, weights = cost + weight * float(value), weights + weight
        hits, m = hits + (0.0 if accuracy is None else n * float(accuracy)), m + n
    return cost / weights, None if accuracy is None else hits / m
