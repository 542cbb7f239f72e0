"""The communicator of the launcher that started this process: mpiexec, srun or torchrun."""

from __future__ import annotations

import os
from collections.abc import Mapping

from xpnet.distributed.communicator import MPI, Communicator, TorchGroup
from xpnet.exceptions import BackendUnavailable

# Set by MPI's launchers: Hydra (MPICH, Intel MPI), Open MPI, and srun --mpi=pmi2 or pmix. Not
# SLURM_*, which a batch script without srun has, too: one process would wait for others for ever.
SIZES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE")
INSTALL = "pip install 'xpnet[mpi]' brings mpi4py and an MPI"


def launched(environment: Mapping[str, str] = os.environ) -> Communicator | None:
    """The communicator of all processes that a launcher started together; None for a single one.

    Raises
    ------
    BackendUnavailable
        MPI's launcher started this process, and there is no ``mpi4py``; or torchrun did, and there
        is no PyTorch.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return _of_torchrun(environment)
    if not any(environment.get(name, "1") not in ("", "1") for name in SIZES):
        return None
    try:
        from mpi4py import MPI as mpi
    except ImportError as error:
        raise BackendUnavailable(
            f"MPI's launcher started this process, but mpi4py is missing: {INSTALL}"
        ) from error
    return MPI(mpi.COMM_WORLD)


def _of_torchrun(environment: Mapping[str, str]) -> Communicator | None:
    try:
        import torch.distributed as dist
    except ImportError as error:
        raise BackendUnavailable("torchrun started this process, but PyTorch is missing") from error
    if environment.get("WORLD_SIZE") == "1":
        return None
    if not dist.is_initialized():
        dist.init_process_group("cpu:gloo")
    return TorchGroup(dist.group.WORLD)
