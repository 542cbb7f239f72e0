"""What ranks send to each other, and adapters of the libraries that send it."""

from __future__ import annotations

import atexit
import os
import sys
import time
from typing import Any, Protocol, runtime_checkable

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.exceptions import BackendUnavailable


@runtime_checkable
class Communicator(Protocol):
    """A group of processes that call these methods together, in the same order.

    Attributes
    ----------
    rank, size : int
        The number of this process, from 0, and how many there are.

    Examples
    --------
    A single process is a group, too:

    >>> import xpnet
    >>> from xpnet.distributed import Communicator
    >>> class Alone:
    ...     rank, size = 0, 1
    ...     def allreduce(self, vector):
    ...         return vector
    ...     def broadcast(self, value):
    ...         return value
    ...     def gather(self, value):
    ...         return [value]
    ...     def abort(self):
    ...         raise SystemExit(1)
    >>> isinstance(Alone(), Communicator)
    True
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> len(net.fit(X.T / 16, y, epochs=2, communicator=Alone()).cost)
    2
    """

    rank: int
    size: int

    def allreduce(self, vector: Any) -> Any:
        """The sums of ``vector`` (n,) over all ranks, which may be written into its memory."""

    def broadcast(self, value: Any) -> Any:
        """The value of rank 0, any object that can be pickled."""

    def gather(self, value: Any) -> list[Any]:
        """The values of all ranks, on every rank."""

    def abort(self) -> None:
        """Ends all processes, whatever they wait for, with an exit status other than 0."""


class MPI:
    """A communicator of ``mpi4py``; left out, all processes that MPI's launcher started.

    Arrays of a GPU go through the host's memory.
    """

    def __init__(self, comm: Any = None) -> None:
        from mpi4py import MPI as mpi

        self.comm = mpi.COMM_WORLD if comm is None else comm
        self.rank, self.size = self.comm.Get_rank(), self.comm.Get_size()
        self._in_place = mpi.IN_PLACE

    def allreduce(self, vector: Any) -> Any:
        host = np.require(to_numpy(vector), requirements="W")
        self.comm.Allreduce(self._in_place, host)
        return host

    def broadcast(self, value: Any) -> Any:
        return self.comm.bcast(value)

    def gather(self, value: Any) -> list[Any]:
        return self.comm.allgather(value)

    def abort(self) -> None:
        time.sleep(0.5)  # mpiexec loses what it has not read yet of the cause on stderr
        self.comm.Abort(1)


def nccl() -> Any:
    """CuPy's module of NVIDIA's communication library.

    Raises
    ------
    BackendUnavailable
        The library is missing.
    """
    from cupy.cuda import nccl as found

    if not found.available:
        raise BackendUnavailable(
            "CuPy finds no NCCL: pip install nvidia-nccl-cu12 (CUDA 13: nvidia-nccl-cu13)"
        )
    return found


class NCCL:
    """NVIDIA's communication library, for nets on CuPy with a GPU for each rank.

    ``meeting`` is the communicator through which the ranks find each other, and which sends all
    that does not lie on a GPU.
    """

    def __init__(self, meeting: Any) -> None:
        import cupy

        self._cupy, self._nccl = cupy, nccl()
        self._meeting = communicator_of(meeting)
        self.rank, self.size = self._meeting.rank, self._meeting.size
        self.broadcast, self.gather = self._meeting.broadcast, self._meeting.gather
        self._group: Any = None  # of the first vector's device: before, another may be current

    def allreduce(self, vector: Any) -> Any:
        if not isinstance(vector, self._cupy.ndarray):
            return self._meeting.allreduce(vector)
        if self._group is None:
            name = self.broadcast(None if self.rank else self._nccl.get_unique_id())
            with vector.device:
                self._group = self._nccl.NcclCommunicator(self.size, name, self.rank)
        here, names = vector.data.ptr, self._nccl
        kind = names.NCCL_FLOAT32 if vector.dtype == np.float32 else names.NCCL_FLOAT64
        stream = self._cupy.cuda.get_current_stream().ptr
        self._group.allReduce(here, here, vector.size, kind, names.NCCL_SUM, stream)
        return vector

    def abort(self) -> None:
        if self._group is not None:
            self._group.abort()
        self._meeting.abort()


class TorchGroup:
    """A process group of ``torch.distributed``; left out, all processes that torchrun started.

    Host memory goes through gloo, CUDA tensors through NCCL.
    """

    def __init__(self, group: Any = None) -> None:
        import torch

        self._torch, dist = torch, torch.distributed
        self._dist: Any = dist
        if group is None and not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            atexit.register(dist.destroy_process_group)  # else gloo may abort at the end
        # A group that outlives ``destroy_process_group`` aborts the process at its end.
        self._group = None if group is dist.group.WORLD else group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)

    def allreduce(self, vector: Any) -> Any:
        if not isinstance(vector, self._torch.Tensor):
            vector = np.require(to_numpy(vector), requirements="W")
        self._dist.all_reduce(self._torch.as_tensor(vector), group=self._group)  # in its memory
        return vector

    def broadcast(self, value: Any) -> Any:
        values = [value]
        source = 0 if self._group is None else self._dist.get_global_rank(self._group, 0)
        self._dist.broadcast_object_list(values, src=source, group=self._group)
        return values[0]

    def gather(self, value: Any) -> list[Any]:
        values = [None] * self.size
        self._dist.all_gather_object(values, value, group=self._group)
        return values

    def abort(self) -> None:
        # PyTorch has no such call. A process that is gone ends the others: their connections
        # close, and torchrun ends them.
        sys.stderr.flush()
        os._exit(1)


def communicator_of(given: Any) -> Communicator:
    """The communicator that a user's object stands for.

    Raises
    ------
    TypeError
        It is none that is known, and has not the methods of one.
    """
    module = type(given).__module__.partition(".")[0]
    if module == "mpi4py":
        return MPI(given)
    if module == "torch" and "ProcessGroup" in type(given).__name__:
        return TorchGroup(given)
    if isinstance(given, Communicator):
        return given
    raise TypeError(
        f"communicator={given!r}: expected mpi4py.MPI.COMM_WORLD, a process group of "
        "torch.distributed, or an object with the methods of xpnet.distributed.Communicator"
    )
