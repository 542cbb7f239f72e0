"""What stands between CuPy and a GPU: a folder for its kernels, and CUDA's errors explained."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from xpnet.exceptions import BackendUnavailable

# The usual cause of a code of CUDA's, by which no device can be used, and the cure.
CAUSES = {
    3: "this process was forked from one that had used CUDA; start workers by "
    "multiprocessing.set_start_method('spawn'), or let only them use CUDA",
    34: "the CUDA driver that was loaded is the toolkit's stub; take its folder out of "
    "LD_LIBRARY_PATH",
    35: "the NVIDIA driver is missing, or older than this build of CuPy needs; install or update "
    "it, or take the CuPy of its CUDA version",
    46: "another process has the GPU for itself (exclusive mode), or its MIG device is gone; "
    "nvidia-smi shows both",
    100: "no NVIDIA GPU is visible; see nvidia-smi, CUDA_VISIBLE_DEVICES, and for a container "
    "its option --gpus all",
    802: "the GPUs are not ready: where NVSwitch connects them, the service nvidia-fabricmanager "
    "must run, in the version of the driver",
    803: "the NVIDIA driver was updated and the old one is still loaded; restart the machine",
    804: "the CUDA compatibility libraries do not fit this card or its driver; update the driver, "
    "or take cuda-compat out of LD_LIBRARY_PATH",
    999: "the driver is in a bad state, as after a suspend; restart the machine (WSL2: "
    "wsl --shutdown), or reload the module nvidia_uvm",
}
# After these, every further call of the process fails.
_FAILED = "the GPU is lost to this process, as a kernel failed; restart the process"
_WHERE = "; CUDA_LAUNCH_BLOCKING=1 in the environment shows where"
CAUSES |= dict.fromkeys((700, 710, 714, 715, 716, 717, 718, 719), _FAILED + _WHERE)
CAUSES[702] = "a kernel took longer than the watchdog of a display allows; " + (
    "restart the process, with smaller batches or a GPU without a display"
)
CAUSES[214] = "the GPU's memory has an error that it cannot correct; restart the process, and " + (
    "if it comes again look at nvidia-smi -q -d ECC"
)


def explained(error: BaseException, otherwise: str = "") -> str | None:
    """CUDA's own words for ``error``, its usual cause and the cure; None if it is none of these."""
    code: Any = getattr(error, "status", None)
    cause = CAUSES.get(code, "") if "CUDA" in type(error).__name__ else ""  # cuBLAS has its own
    if not cause and not otherwise:
        return None
    number = "" if code is None else f" (CUDA's error {code})"
    return f"{error}{number}: {cause or otherwise}"


@contextmanager
def told() -> Iterator[None]:
    """Turns an error after which a GPU cannot be used into one that says why, and what to do.

    Going back from such an error fails, too: the first of them is the one that is told.
    """
    try:
        yield
    except RuntimeError as error:
        if explained(error) is None:
            raise
        first = link = error
        while link := link.__cause__ or link.__context__:  # type: ignore[assignment]
            first = link if explained(link) else first
        raise BackendUnavailable(explained(first)) from first


@contextmanager
def computing(device: Any) -> Iterator[None]:
    """The context of computations on a device of CuPy's."""
    with told(), device:
        yield


@lru_cache(maxsize=1)
def kernel_cache() -> None:
    """Lets CuPy keep compiled kernels in memory where it cannot use its folder.

    CuPy makes that folder while it is imported, and writes into it for each new kernel.
    """
    default = os.path.expanduser("~/.cupy/kernel_cache")
    folder = Path(os.environ.get("CUPY_CACHE_DIR", default))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 20))  # which a full disk refuses
        if all(os.access(kernel, os.R_OK) for kernel in folder.iterdir()):
            return  # otherwise another user's
    except OSError:
        pass
    instead = tempfile.mkdtemp(prefix="xpnet-cupy-")
    atexit.register(shutil.rmtree, instead, ignore_errors=True)
    os.environ |= {"CUPY_CACHE_IN_MEMORY": "1", "CUPY_CACHE_DIR": instead}


def slow_in_float64(device: Any) -> int:
    """How many times slower than float32 a device of CuPy's computes float64; 0 if under 8."""
    ratio = int(device.attributes.get("SingleToDoublePrecisionPerfRatio", 0))
    return ratio if ratio >= 8 else 0
