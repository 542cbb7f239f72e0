"""Data-parallel training: several processes (*ranks*) train one net, each on its part of the data.

Every rank has the same parameters and takes its share of each minibatch; the gradients are added
up by one all-reduce a step, on the engine that a cluster already has: MPI or ``torch.distributed``.
``DeepNet.fit(..., communicator=...)`` takes ``mpi4py.MPI.COMM_WORLD``, a process group of
PyTorch's, or an object of your own with the methods of ``Communicator``.
"""

from xpnet.distributed.communicator import NCCL, Communicator, communicator_of
from xpnet.distributed.launcher import launched
from xpnet.distributed.ranks import ALONE, Ranks

__all__ = [
    "ALONE",
    "NCCL",
    "Communicator",
    "Ranks",
    "communicator_of",
    "launched",
]
