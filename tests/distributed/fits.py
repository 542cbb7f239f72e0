"""What the tests of this folder start on several ranks: ``mpiexec -n 2 python fits.py CASE ...``.

A case prints what it found, on rank 0, as one line of JSON.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np

import xpnet
from xpnet import Adam, DeepNet
from xpnet.bench.gpu_checks import together as gpu_checks_together
from xpnet.callbacks import Checkpoints, EarlyStopping, latest_checkpoint

rng = np.random.default_rng(0)
M = 103
X, Y = rng.standard_normal((6, M)), rng.integers(0, 3, M)
WEIGHTS = rng.random(M)
SETTINGS = {
    "plain": {},
    "everything": {"dropout": 0.3, "l2": 1e-2, "l1": 1e-3, "clip_norm": 0.5},
    "weights": {"sample_weight": WEIGHTS},
    "all at once": {"batch_size": None, "dropout": 0.2},
    "all at once with weights": {"batch_size": None, "sample_weight": WEIGHTS},
    "in order": {"shuffle": False, "optimizer": xpnet.Momentum(0.05, nesterov=True)},
    "schedule": {"schedule": xpnet.schedules.Plateau(patience=1)},
    "early stopping": {"epochs": 60, "callbacks": [EarlyStopping(2)], "optimizer": Adam(0.3)},
}


def group():
    """The communicator of the launcher, as a user gets it."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        import torch.distributed as dist

        if not dist.is_initialized():
            dist.init_process_group("gloo")
        return dist.group.WORLD
    from mpi4py import MPI

    return MPI.COMM_WORLD


def rank():
    return xpnet.distributed.communicator_of(group()).rank


def net(library="numpy", **settings):
    options = {"backend": library, "dtype": "float64", "seed": 1} | settings
    return DeepNet([6, 9, 5, 3], "tanh", "softmax", **options)


def trained(model, communicator, **settings):
    def there(x):
        return model.backend.asarray(x) if isinstance(x, np.ndarray) else x

    options = {"epochs": 4, "batch_size": 33, "optimizer": Adam(1e-2)} | settings
    if any(isinstance(c, EarlyStopping) for c in options.get("callbacks", ())):
        options["callbacks"] = [EarlyStopping(2)]
        options["validation"] = (there(X[:, :40]), there(Y[:40]))
    options = {name: there(value) for name, value in options.items()}
    return model.fit(there(X), there(Y), communicator=communicator, **options)


def device_now():
    import cupy

    return cupy.cuda.runtime.getDevice()


class PretendedNCCL:
    """The functions of ``cupy.cuda.nccl`` that xpnet calls, over another communicator."""

    available = True
    NCCL_FLOAT32, NCCL_FLOAT64, NCCL_SUM = 7, 8, 0

    def __init__(self, group):
        self.group = group

    def get_unique_id(self):
        return 4, 2

    def NcclCommunicator(self, size, name, number):
        assert (size, name, number) == (self.group.size, (4, 2), self.group.rank)
        self.device = device_now()
        return self

    def allReduce(self, source, target, count, kind, operation, stream):
        import cupy

        assert (source, operation) == (target, self.NCCL_SUM)
        assert device_now() == self.device == cupy.cuda.runtime.pointerGetAttributes(source).device
        assert stream == cupy.cuda.get_current_stream().ptr
        dtype = np.dtype({self.NCCL_FLOAT32: "f4", self.NCCL_FLOAT64: "f8"}[kind])
        memory = cupy.cuda.UnownedMemory(source, count * dtype.itemsize, self)
        vector = cupy.ndarray((count,), dtype, cupy.cuda.MemoryPointer(memory, 0))
        vector.set(self.group.allreduce(vector.get()))


def on_two_devices(pair, rehearse):
    """What gpu_check has each of two processes do, with NCCL pretended."""
    import cupy

    with patch.object(cupy.cuda, "nccl", PretendedNCCL(pair), create=True):
        return gpu_checks_together(pair, rehearse)


def law(*libraries):
    """The largest difference of parameters and costs from a fit of one process."""
    found, communicator = {}, group()
    for library in libraries:
        if library == "nccl":
            import cupy

            cupy.cuda.nccl = PretendedNCCL(group_of())
            library, communicator = "cupy", xpnet.distributed.NCCL(group())
        for name, settings in SETTINGS.items():
            alone, together, again = net(library), net(library), net(library)
            expected = trained(alone, None, **settings)
            history = trained(together, communicator, **settings)
            trained(again, communicator, **settings)
            found[f"{library}, {name}"] = {
                "theta": difference(alone, together),
                "cost": float(np.max(np.abs(np.subtract(expected.cost, history.cost)))),
                "epochs": [len(expected.cost), len(history.cost)],
                "repeats": difference(again, together),
            }
    return found


def difference(one, other):
    return float(np.max(np.abs(xpnet.to_numpy(one.theta) - xpnet.to_numpy(other.theta))))


def memory_map(folder):
    """The same of a memory map, of which each rank takes its rows of every minibatch."""
    path = Path(folder) / "rows.npy"
    if rank() == 0:
        np.save(path, X.T)
    group_of().gather(None)
    rows, models = np.load(path, mmap_mode="r"), (net(), net())
    for model, communicator in zip(models, (None, group()), strict=True):
        model.fit(rows.T, Y, epochs=3, batch_size=20, communicator=communicator)
    return difference(*models)


def stream():
    """The same of a stream that each rank reads its share of, and which rows each rank read."""
    data = xpnet.stream(X.T, Y, WEIGHTS, memory=40_000)
    together, seen, size = net(), [], group_of().size
    for epoch in range(3):
        seen.append([])
        with data.chunks(epoch, 20, 1, dtype="float64", share=(rank(), size)) as chunks:
            for chunk in chunks:
                seen[-1] += [chunk.row(i) for i in chunk.order]
    everyone = group_of().gather(seen)

    def fed(epoch):  # every minibatch has its examples from the ranks in turn
        queues, order = [list(rows[epoch]) for rows in everyone], []
        while any(queues):
            n = min(20, sum(map(len, queues)))
            order += [queues[i % size].pop(0) for i in range(n)]
        return np.array(order)

    together.fit(data, epochs=3, batch_size=20, dropout=0.2, communicator=group())
    alone = net()
    alone.fit(X, Y, epochs=3, batch_size=20, dropout=0.2, sample_weight=WEIGHTS, shuffle=fed)
    own = [sorted(rows) for rows in zip(*everyone, strict=True)]
    return {"difference": difference(alone, together), "rows": [sum(map(len, e)) for e in own]}


def group_of():
    return xpnet.distributed.communicator_of(group())


def resume(folder):
    """Half of a fit by all ranks, then the rest by one; and the other way round."""
    found = {}
    whole = net()
    trained(whole, None, epochs=6)
    for name, (first, then) in {"n to 1": (group(), None), "1 to n": (None, group())}.items():
        model = net()
        folder = Path(folder) / name
        trained(
            model, first, epochs=3, callbacks=[Checkpoints(folder)] if first or not rank() else []
        )
        group_of().broadcast(None)
        model = xpnet.load(latest_checkpoint(folder))
        trained(model, then, epochs=3, resume=True)
        found[name] = difference(model, whole)
    return found


def refuses(what):
    """What every rank is told where they were not given the same, in the order of the ranks."""
    mine = rank()
    if what == "seed":
        return told(lambda: trained(net(seed=mine), group()))
    if what == "option":
        return told(lambda: trained(net(), group(), l2=0.1 * mine))
    if what == "rank fails":
        return told(lambda: trained(net(), group(), dropout=0.1 if mine == 0 else 7.0))
    if what == "small minibatch":
        return told(lambda: trained(net(), group(), batch_size=51))
    if what == "data":
        return told(lambda: net().fit(X[:, : 100 - mine], Y[: 100 - mine], communicator=group()))
    raise ValueError(what)


def refuses_together():
    """The same of what only one rank was given, or all were and is wrong; and an own schedule."""
    mine, held_out = rank(), (X[:, :40], Y[:40])

    def batches(sizes):
        ends = np.cumsum(sizes)
        pairs = [(X[:, e - n : e].T, Y[e - n : e]) for e, n in zip(ends, sizes, strict=True)]
        return xpnet.stream(lambda epoch: iter(pairs))

    own = slice(mine * 50, mine * 50 + 50)
    return {
        "weights": told(lambda: trained(net(), group(), sample_weight=WEIGHTS if mine else None)),
        "validation": told(lambda: trained(net(), group(), validation=held_out if mine else None)),
        "all validate": told(lambda: trained(net(), group(), validation=(X[:4, :40], Y[:40]))),
        "features": told(lambda: net().fit(X + mine, Y, communicator=group())),
        "shuffle": told(lambda: trained(net(), group(), shuffle=bool(mine))),
        "a part each": told(lambda: net().fit(X[:, own], Y[own], communicator=group())),
        "one batch less": told(
            lambda: net().fit(batches([20] * (4 - mine)), epochs=2, communicator=group())
        ),
        "small batch": told(lambda: net().fit(batches([20, 1]), epochs=2, communicator=group())),
        "schedule": told(lambda: trained(net(), group(), schedule=lambda epoch: 0.9**epoch)),
    }


def told(fit):
    try:
        fit()
    except (ValueError, RuntimeError) as error:
        return group_of().gather(f"{type(error).__name__}: {error}")
    return None


class Raises:
    """A callback that fails on rank 0 after an epoch, in one of several ways."""

    def __init__(self, how, when):
        self.how, self.when = how, when

    def on_epoch_end(self, net, progress):
        if progress.epoch < 2:
            return
        if self.when:
            Path(self.when).write_text(str(time.time()))  # from now on all ranks should end
        if self.how == "raises":
            raise OSError("the disk is full")
        if self.how == "diverges":
            raise xpnet.DivergedError("mine", epoch=2, cost=1.0, last_cost=1.0)
        if self.how == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "ctrl-c":
            os.kill(os.getpid(), signal.SIGINT)


def fails(how, when=None):
    """A fit of which rank 0 fails in the middle."""
    model = net()
    try:
        trained(model, group(), epochs=10**6, callbacks=[Raises(how, when)])
    except KeyboardInterrupt:
        return group_of().gather(model.training_state.epoch)


def main(case, *arguments):
    found = globals()[case](*arguments)
    if rank() == 0:
        print(json.dumps(found), flush=True)
    if "TORCHELASTIC_RUN_ID" in os.environ:
        import torch.distributed as dist

        dist.destroy_process_group()  # else gloo may abort when another process is gone


if __name__ == "__main__":
    main(*sys.argv[1:])
