"""Lets the ranks of a distributed fit begin together: the same net, options and data."""

from __future__ import annotations

import zlib
from importlib import import_module

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.leaves import Share
from xpnet.distributed import Ranks
from xpnet.engines import Engine
from xpnet.training.plan import Plan
from xpnet.training.source import Source
from xpnet.training.state import TrainingState


def join(
    ranks: Ranks, engine: Engine, plan: Plan, source: Source, start: TrainingState, theta: Array
) -> None:
    """Compares what every rank was asked to do, and has the engine add up their gradients.

    Raises
    ------
    ValueError
        Two ranks differ, a minibatch has fewer examples than there are ranks, or the engine
        has no sum over ranks.
    """
    if ranks.size == 1:
        return
    place, sizes = engine.backend, engine.objective.sizes
    if not engine.distributes:
        raise ValueError(
            f"a communicator is not offered for nets on {place}: net.to('numpy') or another library"
        )
    m, batch = source.n_examples, source.batch_size
    if batch is not None:
        least = m % batch or batch
        if least < ranks.size:
            raise ValueError(
                f"a minibatch of {least} examples has none for some of the {ranks.size} ranks: "
                f"choose a batch_size that leaves more of the {m}"
            )
    ranks.meet(
        {
            "the version of xpnet": import_module("xpnet").__version__,
            "the sizes of the net": sizes,
            "its activations": [a.name for a in engine.objective.hidden],
            "its output": engine.objective.loss.output,
            "its library": place.name,
            "its dtype": str(theta.dtype),
            "the number of examples": m,
            "batch_size": batch,
            **{name: repr(value) for name, value in vars(plan).items()},
            "where training goes on": (start.epoch, start.step, start.position),
            "the checksum of the parameters": zlib.crc32(to_numpy(theta).tobytes()),
        }
    )
    ranks.begin()
    engine.ops.ranks = Share(
        ranks.rank, ranks.size, source.own_examples, lambda vector: ranks.allreduce(vector, place)
    )
