"""How the array libraries differ where the Array API standard is silent."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from array_api_compat import device as array_device

from xpnet._typing import Array, Namespace
from xpnet.backends import cuda
from xpnet.exceptions import BackendUnavailable


@dataclass(frozen=True)
class Library:
    """One array library: its names, devices and conversions."""

    title: str
    namespace: str  # the module whose functions follow the Array API standard
    install: str
    device: Callable[[Any], Any]  # the library's device object for what the user wrote
    to_numpy: Callable[[Array], np.ndarray]
    contiguous: Callable[[Array], Array] = lambda x: x  # in row-major memory
    # host data in memory that it can read, or on the device
    from_host: Callable[[np.ndarray, Any, Any], Any] = lambda x, dtype, device: x
    # whether that casts and lays out on the way, beside which another copy of the host's is waste
    lays_out: bool = False
    device_of: Callable[[Array], Any] = array_device
    # whether NumPy may see its arrays, and should: each operation is compiled for each shape
    seen_by_numpy: Callable[[Any], bool] = lambda device: False
    is_traced: Callable[[Array], bool] = lambda x: False  # whether it has no values yet
    device_name: Callable[[Any], str] = str
    devices: Callable[[Namespace], list[Any]] = lambda xp: xp.__array_namespace_info__().devices()
    is_accelerator: Callable[[Any], bool] = lambda device: False
    context: Callable[[Any], AbstractContextManager[Any]] = lambda device: nullcontext()
    # of a user's own computations: autograd goes on, and overflow may be told
    plain: Callable[[Any], AbstractContextManager[Any]] = lambda device: nullcontext()
    # by name, contexts in which float32 products round their factors
    precisions: Mapping[str, Callable[[], AbstractContextManager[Any]]] = field(
        default_factory=dict
    )
    wait: Callable[[Array], Any] = lambda x: None  # until the device has computed x
    hardware: Callable[[Any], str] = str  # the name of an accelerator, from its device object
    before_import: Callable[[], Any] = lambda: None
    # how many times slower float64 is than float32; 0 where that is no matter
    slow_in_float64: Callable[[Any], int] = lambda device: 0


def _quiet(device: Any) -> AbstractContextManager[Any]:
    # A diverging run overflows on its way; it is reported once, as DivergedError.
    return np.errstate(all="ignore")


def _without_underflow(device: Any) -> AbstractContextManager[Any]:
    return np.errstate(under="ignore")  # what is too small is meant to be 0


def _numpy_device(device: Any) -> str:
    if device not in (None, "cpu"):
        raise ValueError(f"NumPy computes on 'cpu', not on device={device!r}")
    return "cpu"


def _torch_wait(x: Array) -> None:
    import torch

    if x.device.type != "cpu":
        torch.accelerator.synchronize(x.device)


def _torch_hardware(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _cupy_to_numpy(x: Array) -> np.ndarray:
    with cuda.told():  # what failed on the device is often first heard of here
        return x.get(order="A")  # as it lies: no copy on the device


def _cupy_hardware(device: Any) -> str:
    import cupy

    return cupy.cuda.runtime.getDeviceProperties(device.id)["name"].decode(errors="replace")


def _torch_device(device: Any) -> Any:
    import torch

    try:
        device = torch.get_default_device() if device is None else torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"device={device!r} is none of PyTorch's: {error}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendUnavailable(
            f"device={str(device)!r}: this PyTorch sees no CUDA device; install a driver and a "
            "CUDA build, python -m pip install torch"
        )
    if device.type == "cpu":
        return device
    try:
        return torch.empty(0, device=device).device  # "cuda" is the device that arrays call cuda:0
    except RuntimeError as error:
        raise BackendUnavailable(f"device={str(device)!r}: {error}") from None


def _autocast_off(device: Any) -> AbstractContextManager[Any] | None:
    import torch

    on = device.type != "meta" and torch.is_autocast_enabled(device.type)
    return torch.autocast(device.type, enabled=False) if on else None


def _torch_context(device: Any) -> AbstractContextManager[Any]:
    import torch

    # the gradients are derived by hand: autograd would only cost
    off, no_grad = _autocast_off(device), torch.no_grad()
    if off is None:
        return no_grad
    both = ExitStack()
    both.enter_context(off)
    both.enter_context(no_grad)
    return both


@contextmanager
def _torch_tf32() -> Iterator[None]:
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _jax_device(device: Any) -> Any:
    import jax

    if isinstance(device, jax.Device):
        return device
    platform, _, index = str(device or "").partition(":")
    try:
        found = jax.devices(platform or None)
        return found[int(index or 0)]
    except (RuntimeError, IndexError, ValueError):
        raise BackendUnavailable(
            f"device={device!r}: JAX has {[f'{d.platform}:{d.id}' for d in jax.devices()]}; "
            'python -m pip install "jax[cuda12]" brings its GPU build'
        ) from None


def _jax_from_host(x: np.ndarray, dtype: Any, device: Any) -> Array:
    import jax

    x = x if dtype is None else x.astype(np.dtype(dtype), copy=False)
    with jax.ensure_compile_time_eval():  # what a net keeps is no part of what a user traces
        # jnp.asarray would compile for every shape
        return jax.device_put(x, device, may_alias=False)


def _jax_device_of(x: Array) -> Any:
    import jax

    if isinstance(x, jax.core.Tracer):
        return _jax_device(None)
    devices = sorted(x.devices(), key=lambda device: device.id)
    if len(devices) > 1:
        raise ValueError(
            f"an array of shape {x.shape} is sharded over {len(devices)} devices of JAX, and a net "
            f"computes on one: jax.device_put(x, jax.devices()[{devices[0].id}])"
        )
    return devices[0]


def _jax_context(device: Any) -> AbstractContextManager[Any]:
    import jax

    both = ExitStack()
    both.enter_context(jax.transfer_guard("allow"))  # what we move, and broadcast, is meant
    both.enter_context(jax.numpy_rank_promotion("allow"))
    # Left to itself JAX rounds float32 factors to TF32 on a GPU that has it.
    if jax.config.jax_default_matmul_precision is None:
        both.enter_context(jax.default_matmul_precision("highest"))
    return both


def _cupy_device(device: Any) -> Any:
    import cupy

    try:
        count = cupy.cuda.runtime.getDeviceCount()  # is_available() would hide the error
        current = cupy.cuda.Device()
    except RuntimeError as error:
        raise BackendUnavailable(
            f"CuPy is installed but finds no usable CUDA device: {cuda.explained(error, 'unknown')}"
            f". An NVIDIA driver is needed, and for the CUDA libraries {LIBRARIES['cupy'].install}"
        ) from None
    if device is None:
        return current
    if isinstance(device, cupy.cuda.Device):
        return device
    kind, _, index = str(device).rpartition(":")
    if device != "cuda" and (kind not in ("", "cuda") or not index.isdigit()):
        raise ValueError(f"device={device!r}: CuPy's devices are 'cuda:0' ... 'cuda:{count - 1}'")
    number = 0 if device == "cuda" else int(index)
    if number >= count:
        raise BackendUnavailable(f"device={device!r}: only {count} CUDA device(s) are visible")
    return cupy.cuda.Device(number)


def _cupy_from_host(x: np.ndarray, dtype: Any, device: Any) -> Any:
    if x.dtype.kind not in "biuf":
        return x  # CuPy says what it cannot hold
    return importlib.import_module("xpnet.backends.upload").upload(x, dtype)


def _dpnp_device(device: Any) -> Any:
    import dpnp

    # the driver that comes with it: the OpenCL loader does not look into virtual environments
    driver = Path(sys.prefix, "lib", "libintelocl.so")
    if driver.exists():
        os.environ.setdefault("OCL_ICD_FILENAMES", str(driver))
    try:
        return dpnp.empty(0, device=device).device
    except Exception as error:  # dpctl has its own exception types for "no such device"
        raise BackendUnavailable(
            f"dpnp finds no SYCL device for device={device!r} ({error}); for a CPU, "
            "python -m pip install intel-opencl-rt, and OCL_ICD_FILENAMES is unset or names its "
            "libintelocl.so"
        ) from None


@lru_cache(maxsize=1)
def _without_onemkl_vm() -> None:
    """Makes dpnp use its own elementwise kernels in place of oneMKL's vector functions.

    On a CPU, oneMKL's wait for the operation before while they hold Python's lock, which that
    operation may need to drop a reference: dpnp 0.20 deadlocks now and then.
    """
    try:
        from dpnp.backend.extensions.vm import _vm_impl
    except ImportError:  # another version of dpnp, laid out differently
        return
    _vm_impl._is_available = lambda: False


def _dpnp_context(device: Any) -> AbstractContextManager[Any]:
    if device.sycl_device.is_cpu:
        _without_onemkl_vm()
    return nullcontext()


def _strict_device(device: Any) -> Any:
    import array_api_strict as xp

    devices = xp.__array_namespace_info__().devices()
    for known in devices:
        if device in (known, known._device) or (device in (None, "cpu") and known == devices[0]):
            return known
    raise ValueError(f"device={device!r}: array-api-strict has {[d._device for d in devices]}")


LIBRARIES = {
    "numpy": Library(
        title="NumPy",
        namespace="array_api_compat.numpy",
        install="python -m pip install numpy",
        device=_numpy_device,
        to_numpy=np.asarray,
        contiguous=np.ascontiguousarray,
        context=_quiet,
        plain=_without_underflow,
    ),
    "cupy": Library(
        title="CuPy",
        namespace="array_api_compat.cupy",
        install='python -m pip install "cupy-cuda12x[ctk]"  # CUDA 13: cupy-cuda13x; never both',
        device=_cupy_device,
        to_numpy=_cupy_to_numpy,
        contiguous=lambda x: importlib.import_module("cupy").ascontiguousarray(x),
        from_host=_cupy_from_host,
        lays_out=True,
        device_name=lambda device: f"cuda:{device.id}",
        is_accelerator=lambda device: True,
        context=cuda.computing,
        devices=lambda xp: [xp.cuda.Device(i) for i in range(xp.cuda.runtime.getDeviceCount())],
        precisions={"tf32": nullcontext, "bf16": nullcontext},  # the engine's products know it
        wait=lambda x: importlib.import_module("cupy").cuda.get_current_stream().synchronize(),
        hardware=_cupy_hardware,
        before_import=cuda.kernel_cache,
        slow_in_float64=cuda.slow_in_float64,
    ),
    "torch": Library(
        title="PyTorch",
        namespace="array_api_compat.torch",
        install="python -m pip install torch --index-url https://download.pytorch.org/whl/cpu"
        "  # with a GPU: python -m pip install torch",
        device=_torch_device,
        to_numpy=lambda x: x.detach().cpu().numpy(),
        contiguous=lambda x: x.detach().contiguous(),
        # PyTorch aborts on negative strides and warns of read-only memory.
        from_host=lambda x, dtype, device: np.require(x, requirements=["C", "W"]),
        is_accelerator=lambda device: device.type != "cpu",
        context=_torch_context,
        plain=lambda device: _autocast_off(device) or nullcontext(),
        devices=lambda xp: ["cpu"] + [f"cuda:{i}" for i in range(xp.cuda.device_count())],
        precisions={"tf32": _torch_tf32},
        wait=_torch_wait,
        hardware=_torch_hardware,
    ),
    "jax": Library(
        title="JAX",
        namespace="jax.numpy",
        install="python -m pip install jax",
        device=_jax_device,
        to_numpy=lambda x: importlib.import_module("jax").device_get(x),
        from_host=_jax_from_host,
        device_of=_jax_device_of,
        seen_by_numpy=lambda device: device.platform == "cpu",
        is_traced=lambda x: isinstance(x, importlib.import_module("jax").core.Tracer),
        device_name=lambda device: f"{device.platform}:{device.id}",
        is_accelerator=lambda device: device.platform != "cpu",
        context=_jax_context,
        devices=lambda xp: importlib.import_module("jax").devices(),
        precisions={
            "tf32": lambda: importlib.import_module("jax").default_matmul_precision("tensorfloat32")
        },
        wait=lambda x: x.block_until_ready(),
        hardware=lambda device: device.device_kind,
    ),
    "dpnp": Library(
        title="dpnp",
        namespace="dpnp",
        install="python -m pip install dpnp",
        device=_dpnp_device,
        to_numpy=lambda x: importlib.import_module("dpnp").asnumpy(x),
        contiguous=lambda x: importlib.import_module("dpnp").ascontiguousarray(x),
        device_name=lambda device: device.sycl_device.filter_string,
        context=_dpnp_context,
        is_accelerator=lambda device: not device.sycl_device.is_cpu,
        devices=lambda xp: [
            xp.empty(0, device=d).device for d in xp.__array_namespace_info__().devices()
        ],
        wait=lambda x: x.sycl_queue.wait(),
        hardware=lambda device: device.sycl_device.name,
    ),
    "array_api_strict": Library(
        title="array-api-strict",
        namespace="array_api_strict",
        install="python -m pip install array-api-strict",
        device=_strict_device,
        to_numpy=lambda x: np.asarray(x.to_device(_strict_device(None))),
        device_name=lambda device: device._device,
        context=_quiet,
        plain=_without_underflow,
        devices=lambda xp: [
            d for d in xp.__array_namespace_info__().devices() if "no_" not in d._device
        ],
    ),
}

# For a namespace that is not in the table: only what the standard defines is used.
UNKNOWN = Library(
    title="",
    namespace="",
    install="",
    device=lambda device: device,
    to_numpy=lambda x: np.asarray(np.from_dlpack(x)),
)


def accelerators(name: str) -> list[str]:
    """The names of the GPUs that a library sees; none where it is not in the table."""
    library = LIBRARIES.get(name, UNKNOWN)
    if not library.namespace:
        return []
    found = map(library.device, library.devices(importlib.import_module(library.namespace)))
    return [library.device_name(device) for device in found if library.is_accelerator(device)]
