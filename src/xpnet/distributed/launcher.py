"""The communicator of the launcher that started this process: mpiexec, srun or torchrun."""

from __future__ import annotations

import os
from collections.abc import Mapping

from xpnet.backends.libraries import accelerators
from xpnet.distributed.communicator import MPI, Communicator, TorchGroup
from xpnet.exceptions import BackendUnavailable

# What launchers tell a process: torchrun; Hydra (MPICH, Intel MPI) and srun --mpi=pmi2; Open MPI;
# PMIx. Not SLURM_*, which a batch script without srun has, too: it would wait for ever.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE")
RANKS = ("PMI_RANK", "OMPI_COMM_WORLD_RANK", "PMIX_RANK")
LOCAL_SIZES = ("LOCAL_WORLD_SIZE", "MPI_LOCALNRANKS", "OMPI_COMM_WORLD_LOCAL_SIZE")
LOCAL = ("LOCAL_RANK", "MPI_LOCALRANKID", "OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID")
INSTALL = "pip install 'xpnet[mpi]' brings mpi4py and an MPI"


def launched(environment: Mapping[str, str] = os.environ) -> Communicator | None:
    """The communicator of all processes that a launcher started together; None for a single one.

    Raises
    ------
    BackendUnavailable
        MPI's launcher started this process, and there is no ``mpi4py``; or torchrun did, and there
        is no PyTorch.
    """
    torchrun = "TORCHELASTIC_RUN_ID" in environment
    if _first(("WORLD_SIZE",) if torchrun else SIZES, environment, 1) == 1:
        return None
    try:
        return TorchGroup() if torchrun else MPI()
    except ImportError as error:
        who, missing = ("torchrun", "PyTorch") if torchrun else ("MPI's launcher", "mpi4py")
        cure = "" if torchrun else f": {INSTALL}"
        message = f"{who} started this process, but {missing} is missing{cure}"
        raise BackendUnavailable(message) from error


def rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among those that were started together, before they meet."""
    torchrun = "TORCHELASTIC_RUN_ID" in environment
    return _first(("RANK",) if torchrun else RANKS, environment, 0)


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process among those on the same machine."""
    return _first(LOCAL, environment, 0)


def local_size(environment: Mapping[str, str] = os.environ) -> int:
    """How many processes were started on this machine; a large number where nobody says."""
    return _first(LOCAL_SIZES, environment, 2**31)


def own_gpu(library: str) -> str | None:
    """The GPU that this process takes among those of its machine; None where the library has none.

    ``library`` is a name as in ``xpnet.backends()``; of "auto" and "best" the answer is None.
    """
    gpus = accelerators(library)
    return gpus[local_rank() % len(gpus)] if gpus else None


def words(size: int, environment: Mapping[str, str] = os.environ) -> list[str]:
    """The words that start the command xpnet in so many processes, as far as this one knows."""
    if "TORCHELASTIC_RUN_ID" in environment and size > 1:
        return ["torchrun", "--nproc-per-node", environment["LOCAL_WORLD_SIZE"], "-m", "xpnet"]
    return ["xpnet"] if size == 1 else ["mpiexec", "-n", str(size), "xpnet"]


def _first(names: tuple[str, ...], environment: Mapping[str, str], otherwise: int) -> int:
    """The first of these variables that holds a number."""
    found = (environment.get(name, "") for name in names)
    return next((int(value) for value in found if value.isdecimal()), otherwise)
