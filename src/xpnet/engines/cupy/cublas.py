"""Matrix products by calls of cuBLAS's own functions.

CuPy's ``dot`` finds flags, strides and types anew at each call, rounds as one setting of the whole
process says, and cannot be captured in a graph. Here all of it is found once, when a product is
recorded, and each product has a compute type of its own.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from functools import lru_cache
from threading import local
from typing import Any
from weakref import finalize

import cupy

from xpnet._typing import Array

# cudaDataType, the type of the scalars, and cublasComputeType_t by precision; float64 never rounds
_TYPES: dict[str, tuple[int, Any, dict[str, int]]] = {
    "float32": (0, ctypes.c_float, {"exact": 68, "tf32": 77, "bf16": 75}),
    "float64": (1, ctypes.c_double, {"exact": 70, "tf32": 70, "bf16": 70}),
}
_DEFAULT_ALGORITHM = -1
_NOT_INITIALIZED, _ALLOC_FAILED = 1, 3
_STATUS = {
    7: "INVALID_VALUE",
    8: "ARCH_MISMATCH",
    11: "MAPPING_ERROR",
    13: "EXECUTION_FAILED",
    14: "INTERNAL_ERROR",
    15: "NOT_SUPPORTED",
}


def _check(status: int) -> None:
    if status in (_NOT_INITIALIZED, _ALLOC_FAILED):
        raise MemoryError("cuBLAS found no memory on the GPU for its handle or a product")
    if status:
        name = _STATUS.get(status, "an unknown status")
        raise RuntimeError(
            f"cuBLAS refused a matrix product: {name} ({status}); if work before it failed on the "
            "GPU, CUDA_LAUNCH_BLOCKING=1 in the environment shows where"
        )


@lru_cache(maxsize=1)
def library() -> tuple[Any, str]:
    """The cuBLAS that CuPy has loaded, or None and why it is not to be had."""
    try:
        runtime = cupy.cuda.runtime
        if runtime.is_hip:  # CuPy's file for ROCm has names of CUDA with other meanings
            path = "libhipblas.so.3"  # only the stand-in's has cuBLAS's names, too
        elif sys.platform == "win32":
            path = f"cublas64_{runtime.runtimeGetVersion() // 1000}.dll"
        else:  # names are looked up in all that the file is linked to
            path = str(importlib.import_module("cupy_backends.cuda.libs.cublas").__file__)
        found = ctypes.CDLL(path)
        for name in ("Create_v2", "Destroy_v2", "SetStream_v2", "SetWorkspace_v2", "GemmEx"):
            getattr(found, f"cublas{name}").restype = _check
    except (ImportError, OSError, AttributeError) as error:
        return None, str(error)
    return found, ""


_of_thread = local()  # by the number of the device, a thread's products: they end with it


def products() -> Products | None:
    """This thread's products on the current device; None where CuPy must make them."""
    found, _ = library()
    if found is None:
        return None
    mine, device = vars(_of_thread), str(cupy.cuda.runtime.getDevice())
    if device not in mine:
        mine[device] = Products(found)
    return mine[device]


class _Pointer(ctypes.c_void_p):
    """The address of an array, which lives as long as the address."""

    def __init__(self, x: Array) -> None:
        super().__init__(x.data.ptr)
        self.array = x


class Products:
    """A handle of cuBLAS, and a workspace that only one stream writes."""

    def __init__(self, cublas: Any) -> None:
        self._cublas, self.function = cublas, cublas.cublasGemmEx
        self._handle = ctypes.c_void_p()
        cublas.cublasCreate_v2(ctypes.byref(self._handle))
        finalize(self, cublas.cublasDestroy_v2, self._handle).atexit = False
        # NVIDIA's advice: with less, some products are slower
        capability = int(cupy.cuda.Device().compute_capability)
        self._bytes = 2**25 if capability >= 90 else 2**22
        self._stream: int | None = None
        self.workspace: Any = None

    def use(self, stream: Any) -> None:
        """Has later calls of products run in ``stream``, which is the current one."""
        if stream.ptr != self._stream:
            self.workspace = cupy.cuda.alloc(self._bytes)
            self._stream = stream.ptr
        self.enter(stream)

    def enter(self, stream: Any) -> None:
        """The same with the workspace of the stream before: for a capture of its work."""
        self._cublas.cublasSetStream_v2(self._handle, ctypes.c_void_p(stream.ptr))
        workspace, size = ctypes.c_void_p(self.workspace.ptr), ctypes.c_size_t(self._bytes)
        self._cublas.cublasSetWorkspace_v2(self._handle, workspace, size)

    def product(self, A: Array, B: Array, out: Array, precision: str) -> tuple[Any, ...]:
        """The function, and its arguments, whose call makes ``out = A @ B``.

        ``out`` lies row by row. cuBLAS counts by columns: for it all three are transposed, and
        their order is the other way round.
        """
        kind, real, compute = _TYPES[out.dtype.name]
        number, integer = ctypes.c_int(kind), ctypes.c_int
        (a, flip_a, lead_a), (b, flip_b, lead_b) = _operand(A), _operand(B)
        (m, k), n = A.shape, B.shape[1]
        return (
            *(self.function, self._handle, integer(flip_b), integer(flip_a)),
            *(integer(n), integer(m), integer(k), ctypes.byref(real(1.0))),
            *(b, number, integer(lead_b), a, number, integer(lead_a), ctypes.byref(real(0.0))),
            *(_Pointer(out), number, integer(n)),
            *(integer(compute[precision]), integer(_DEFAULT_ALGORITHM)),
        )


def _operand(x: Array) -> tuple[_Pointer, int, int]:
    """Its address, whether it lies column by column, and the distance from one to the next."""
    m, n = x.shape
    down, right = (stride // x.itemsize for stride in x.strides)
    if (right == 1 or n == 1) and (m == 1 or down >= n):
        return _Pointer(x), 0, n if m == 1 else down
    if (down == 1 or m == 1) and (n == 1 or right >= m):
        return _Pointer(x), 1, m if n == 1 else right
    return _operand(cupy.ascontiguousarray(x))
