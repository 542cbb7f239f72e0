"""Lets the ranks of a distributed fit begin together: the same net, options and data."""

from __future__ import annotations

import re
import zlib
from importlib import import_module
from typing import Any

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.leaves import Data, Share
from xpnet.distributed import Ranks
from xpnet.engines import Engine
from xpnet.training.loop import Run
from xpnet.training.source import Source


def share(ranks: Ranks, engine: Engine, source: Source) -> None:
    """Has the engine add up the gradients of all ranks, or refuses with a ValueError."""
    if ranks.size == 1:
        return
    place = engine.backend
    if not engine.distributes:
        raise ValueError(
            f"a communicator is not offered for nets on {place}: net.to('numpy') or another library"
        )
    m, batch = source.n_examples, source.batch_size
    if batch is not None:
        least = m % batch or batch
        if least < ranks.size:
            fit = (n for n in range(batch + 1, m + 1) if (m % n or n) >= ranks.size)
            instead = next((f"batch_size={n}" for n in fit), "fewer ranks")
            raise ValueError(
                f"a minibatch of {least} of the {m} examples has none for some of the "
                f"{ranks.size} ranks: choose {instead}"
            )
    engine.ops.ranks = Share(
        ranks.rank, ranks.size, source.own_examples, lambda vector: ranks.allreduce(vector, place)
    )


def join(ranks: Ranks, run: Run, data: Data, **more: Any) -> None:
    """Compares what every rank was asked to do, after all that a rank refuses by itself."""
    if ranks.size == 1:
        return
    engine, source, start = run.program.engine, run.source, run.start
    ranks.meet(
        {
            "the version of xpnet": import_module("xpnet").__version__,
            "the sizes of the net": engine.objective.sizes,
            "its activations": [a.name for a in engine.objective.hidden],
            "its output": engine.objective.loss.output,
            "its library": engine.backend.name,
            "its dtype": str(run.theta.dtype),
            "the number of examples": source.n_examples,
            "batch_size": source.batch_size,  # next: where a function lies in memory is left out
            **{
                k: re.sub(" at 0x[0-9a-f]+", "", repr(v))
                for k, v in (vars(run.plan) | more).items()
            },
            "where training goes on": (start.epoch, start.step, start.position),
            "the checksum of the parameters": _checksum(run.theta),
            "the checksum of some targets": _checksum(data.Y, 64),
            "the checksum of some features": _checksum(data.X, 64),
            "the checksum of some weights": data.w is not None and _checksum(data.w, 64),
        }
    )
    ranks.begin()


def _checksum(array: Array, rows: int = 2**62) -> int:
    """Of about so many rows, from the first on."""
    return zlib.crc32(to_numpy(array[:: max(1, array.shape[0] // rows), ...]).tobytes())
