"""Places to compute: an array library, a device and a dtype.

``libraries.py`` holds the differences between libraries.
"""

from __future__ import annotations

import gc
import importlib
import logging
import math
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from traceback import clear_frames
from types import ModuleType
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from xpnet._typing import Array, Namespace
from xpnet.backends.libraries import LIBRARIES, UNKNOWN, Library
from xpnet.exceptions import BackendUnavailable, warn


# -- a place -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Backend:
    """A place to compute: an array library, a device and a dtype. It holds no mathematics.

    ``select`` makes one; a net has one, ``net.backend``.

    Parameters
    ----------
    name : str
        "numpy", "cupy", "torch", "jax", "dpnp", "array_api_strict", or a module's own name.
    xp : module
        The library's Array API namespace.
    device : object
        The library's device object.
    dtype : object or None
        The library's dtype for parameters; None until the first X decides it.
    precision : str
        Of float32 products: "exact", "tf32" or "bf16".
    as_it_lies : bool
        Whether arrays keep dtype and layout in this place, before a device that changes both.

    Examples
    --------
    >>> import xpnet
    >>> place = xpnet.select("numpy", dtype="float32")
    >>> print(place)
    NumPy on cpu
    >>> place.xp.sum(place.asarray([1.0, 2.0], dtype=place.dtype))
    np.float32(3.0)
    """

    name: str
    xp: Namespace
    device: Any
    dtype: Any = None
    precision: str = "exact"
    as_it_lies: bool = False

    @property
    def _library(self) -> Library:
        return LIBRARIES.get(self.name, UNKNOWN)

    @property
    def device_name(self) -> str:
        """The name of the device, as ``device`` of ``DeepNet`` takes it.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.select("numpy").device_name
        'cpu'
        """
        return self._library.device_name(self.device)

    @property
    def is_accelerator(self) -> bool:
        """Whether the device has memory of its own, as a GPU has.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.select("numpy").is_accelerator
        False
        """
        return self._library.is_accelerator(self.device)

    @property
    def dtype_name(self) -> str:
        """The name of the dtype: "float32", "float64", or "undecided".

        Examples
        --------
        >>> import xpnet
        >>> xpnet.select("numpy", dtype="float64").dtype_name, xpnet.select("numpy").dtype_name
        ('float64', 'undecided')
        """
        return "undecided" if self.dtype is None else dtype_name(self.dtype)

    def __str__(self) -> str:
        rounded = "" if self.precision == "exact" else f", products in {self.precision}"
        return f"{self._library.title or self.name} on {self.device_name}{rounded}"

    def asarray(self, x: Any, dtype: Any = None) -> Array:
        """Return ``x`` as an array of this place: host data is copied to the device.

        Parameters
        ----------
        x : array-like
            A host array, a number, a list, or an array of this library.
        dtype : dtype, optional
            The library's own; that of ``x`` if left out.

        Returns
        -------
        array
            Of the shape of ``x``.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> xpnet.select("numpy").asarray([1, 2], dtype=np.float32)
        array([1., 2.], dtype=float32)
        """
        with self.context(), np.errstate(over="ignore"):  # JAX casts float64 by itself
            if isinstance(x, np.ndarray):
                x = self._library.from_host(plain(x), dtype, self.device)
            return self.xp.asarray(x, dtype=dtype, device=self.device)

    def wait(self, x: Array) -> None:
        """Waits until the device has computed ``x``, for whoever reads it, on any stream."""
        self._library.wait(x)

    def contiguous(self, x: Array) -> Array:
        """``x`` in row-major memory, where the library lets its user choose."""
        if self.as_it_lies:
            return x
        with self.context():
            return self._library.contiguous(x)

    def before(self, device: Backend) -> Backend:
        """This place of the host for what then goes to ``device``."""
        return replace(self, as_it_lies=device._library.lays_out)

    @property
    def seen_by_numpy(self) -> bool:
        """Whether data of this place is prepared by NumPy, as its memory is the host's (JAX)."""
        return self._library.seen_by_numpy(self.device)

    def seen(self, x: Array) -> Array:
        """``x``, an array of this place or of the host, as NumPy sees it where that may be."""
        return to_numpy(x) if self.seen_by_numpy and not self.is_traced(x) else x

    def is_traced(self, x: Any) -> bool:
        """Whether ``x`` has no values yet: JAX traces a user's function (jit, grad, vmap)."""
        return self._library.is_traced(x)

    def context(self) -> AbstractContextManager[Any]:
        """The context of a net's computations: device, its own dtype and precision, no autograd."""
        context = self._library.context(self.device)
        if self.precision == "exact":
            return context
        both = ExitStack()
        both.enter_context(context)
        both.enter_context(self._library.precisions[self.precision]())
        return both

    def holds(self, x: Any) -> bool:
        """Say whether ``x`` is an array of this library on this device.

        Parameters
        ----------
        x : object
            Anything.

        Returns
        -------
        bool
            False for what is no array.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> place = xpnet.select("numpy")
        >>> place.holds(np.zeros(3)), place.holds([0.0])
        (True, False)
        """
        if not is_array_api_obj(x):
            return False
        here = place_of(x)
        return here.name == self.name and here.device == self.device

    def with_precision(self, precision: str) -> Backend:
        """Return the same place with this precision of float32 products.

        Parameters
        ----------
        precision : {"exact", "tf32", "bf16"}
            The last two round the factors of products to 10 and 7 bits of fraction.

        Returns
        -------
        Backend
            A new one.

        Raises
        ------
        ValueError
            The library has no such products.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.select("numpy").with_precision("exact").precision
        'exact'
        """
        if precision not in ("exact", "tf32", "bf16"):
            raise ValueError(f"precision={precision!r}: choose 'exact', 'tf32' or 'bf16'")
        if precision != "exact" and precision not in self._library.precisions:
            have = [lib.title for lib in LIBRARIES.values() if precision in lib.precisions]
            raise ValueError(f"precision={precision!r} is for {', '.join(have)}, not for {self}")
        return replace(self, precision=precision)

    def borrow(self, x: Array) -> Array | None:
        """Another library's array on this device, shared without a copy; None if it cannot be."""
        if not self._shares_with(place_of(x)):
            return None
        with self.context():
            return self.xp.from_dlpack(x.detach())

    def lend(self, x: Array, to: Array) -> Array | None:
        """``x`` as an array of the library of ``to``, as ``borrow`` the other way."""
        if not is_array_api_obj(to) or not self._shares_with(there := place_of(to)):
            return None
        return there.xp.from_dlpack(x)

    def _shares_with(self, there: Backend) -> bool:
        here = "cupy", "torch", self.device_name
        return (self.name, there.name, str(there.device)) == here

    def with_dtype(self, dtype: Any) -> Backend:
        """Return the same place with this dtype.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            A name, NumPy's dtype, or the library's own.

        Returns
        -------
        Backend
            A new one.

        Raises
        ------
        ValueError
            The dtype is not float32 or float64, or JAX would silently turn it into float32.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.select("numpy").with_dtype("float32").dtype_name
        'float32'
        """
        name = dtype_name(dtype)
        if name not in ("float32", "float64"):
            raise ValueError(f"dtype={name!r}: xpnet computes in 'float32' or 'float64'")
        if self.name == "jax" and name == "float64":
            import jax

            if not jax.config.jax_enable_x64:
                raise ValueError(
                    "JAX computes in float32 unless told otherwise: call "
                    "jax.config.update('jax_enable_x64', True) first, or use dtype='float32'"
                )
        return replace(self, dtype=getattr(self.xp, name))

    def following(self, x: Array, *beside: Array) -> Backend:
        """This place with the dtype ``x`` asks for: float64 if it has that, else float32.

        Host data on its way to an accelerator becomes float32 as well. Where float32 cannot hold
        ``x``, or what stands beside it, the dtype is float64 if there is one.
        """
        if self.dtype is not None:
            return self
        moved = self.is_accelerator and not self.holds(x)
        if dtype_name(x.dtype) == "float64" and not moved:
            if ratio := self._library.slow_in_float64(self.device):
                warn(
                    f"X is float64 and no dtype was named, so {self} computes in float64, {ratio} "
                    "times slower there than float32: say dtype='float32', or 'float64' if it is "
                    "meant"
                )
            return self.with_dtype("float64")
        if any(beyond_float32(array) is not None for array in (x, *beside)):
            with suppress(ValueError):
                return self.with_dtype("float64")
        return self.with_dtype("float32")


@lru_cache(maxsize=32)
def _numpy_name(dtype: np.dtype) -> str:
    return dtype.name  # which NumPy puts together each time


def dtype_name(dtype: Any) -> str:
    """The name of any library's dtype, such as "float32"."""
    if isinstance(dtype, str):
        return dtype
    try:
        return _numpy_name(np.dtype(dtype))
    except TypeError:  # PyTorch's and array-api-strict's own objects
        return str(dtype).rpartition(".")[2]


# -- choosing a place --------------------------------------------------------------------
PAYS = 10.0  # MFLOP of a training step, from which a GPU is taken to be faster than NumPy


def select(backend: Any = "numpy", device: Any = None, dtype: Any = None) -> Backend:
    """Return the place that a name, a module, an array or another ``Backend`` stands for.

    Parameters
    ----------
    backend : str, module, array or Backend
        A name as in ``backends()``, "best" (a GPU where one is usable, else NumPy; a net's first
        fit, and an estimator's, take NumPy where the work of a step pays for no GPU), a
        namespace such as ``torch`` or ``jax.numpy``, or an array whose place is taken.
    device : str or device object, optional
        For example "cuda:1"; the library's default if left out.
    dtype : str or dtype, optional
        "float32" or "float64"; left out, the first X decides.

    Returns
    -------
    Backend
        ``xpnet.DeepNet(..., backend=...)`` takes it too.

    Raises
    ------
    BackendUnavailable
        The library or the device is missing; the message ends with what to install.
    ValueError
        Unknown name, device or dtype.
    TypeError
        ``backend`` is none of these.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> xpnet.select(np.zeros(3)) == xpnet.select("numpy")
    True
    """
    if isinstance(backend, str) and backend == "best":
        if device is not None:
            raise ValueError(f"backend='best' chooses the device itself; name one for {device!r}")
        place = _best()
    elif isinstance(backend, str):
        place = _on(backend, _load(backend), device)
    elif isinstance(backend, Backend) or is_array_api_obj(backend):
        place = backend if isinstance(backend, Backend) else place_of(backend)
        dtype = place.dtype if dtype is None else dtype
        if device is not None:
            place = replace(_on(place.name, place.xp, device), precision=place.precision)
    elif isinstance(backend, ModuleType) or hasattr(backend, "__array_api_version__"):
        name = _library_name(backend)
        place = _on(name, _load(name) if name in LIBRARIES else backend, device)
    else:
        raise TypeError(
            f"backend={backend!r}: expected one of {['auto', 'best', *LIBRARIES]}, a module "
            "such as torch, or an array"
        )
    return place if dtype is None else place.with_dtype(dtype)


def place_of(x: Array) -> Backend:
    """The library and device of an array, without a dtype."""
    if type(x) is np.ndarray:
        return _numpy()
    try:
        xp = array_namespace(x)
    except RuntimeError:  # for the first array of JAX it makes another, which a guard may forbid
        with importlib.import_module("jax").transfer_guard("allow"):
            xp = array_namespace(x)
    name = _library_name(xp)
    return Backend(name, xp, LIBRARIES.get(name, UNKNOWN).device_of(x))


@lru_cache(maxsize=1)
def _numpy() -> Backend:
    return _on("numpy", _load("numpy"), None)


def exchanged(x: Any, what: str) -> Any:
    """The array in memory that ``x``, no array itself, offers to other libraries; else ``x``.

    On the host it is NumPy's. On a device it is CuPy's, which waits for the stream of ``x``.

    Raises
    ------
    BackendUnavailable
        It is on a device, and CuPy cannot be imported.
    TypeError
        It is on a device that is none of CuPy's.
    """
    offers = "to_cupy", "__cuda_array_interface__", "__dlpack__"  # the first is cuDF's
    by = None if is_array_api_obj(x) else next((name for name in offers if hasattr(x, name)), None)
    if by is None:
        return x
    kind = x.__dlpack_device__()[0] if by == "__dlpack__" else None
    if kind in (1, 3):  # the host's, pinned or not
        return x if hasattr(x, "__array__") else np.from_dlpack(x)
    whose = f"{what} is a {type(x).__name__}, and is read by its {by}"
    if kind not in (None, 2, 10, 13):  # CUDA, ROCm, CUDA's managed memory
        raise TypeError(f"{whose} only on the host, CUDA and ROCm, not on DLPack's device {kind}")
    try:
        cupy = _load("cupy")
    except BackendUnavailable as error:
        raise BackendUnavailable(f"{whose}; or copy it to the host: {error}") from None
    if by == "to_cupy":
        return x.to_cupy()
    return cupy.asarray(x) if by == "__cuda_array_interface__" else cupy.from_dlpack(x)


def beyond_float32(x: Array) -> np.ndarray | None:
    """Where ``x`` holds integers that float32 would round, or numbers that it would make infinite.

    On the host; None if nowhere.
    """
    name = dtype_name(x.dtype)
    integers = name in ("int32", "int64", "uint32", "uint64")
    if not (integers or name == "float64") or 0 in x.shape or place_of(x).is_traced(x):
        return None
    values = to_numpy(x) if name.startswith("u") else x  # PyTorch has no extremes of these
    place = place_of(values)
    with place.context():
        largest = max(-float(place.xp.min(values)), float(place.xp.max(values)))
        if not largest > (2.0**24 if integers else float(np.finfo(np.float32).max)):
            return None
    values = to_numpy(values)
    with np.errstate(over="ignore", invalid="ignore"):
        single = values.astype(np.float32)
        back = single.astype(values.dtype)
    if integers:
        beyond = (back != values) | (single >= float(np.iinfo(values.dtype).max))
    else:
        beyond = np.isinf(single) & np.isfinite(values)
    return beyond if beyond.any() else None


def plain(x: Any) -> Any:
    """``x``; of a NumPy array the numbers alone, without units, in the machine's byte order."""
    if not isinstance(x, np.ndarray) or isinstance(x, np.ma.MaskedArray):
        return x
    return np.asarray(x).astype(x.dtype.newbyteorder("="), copy=False)


@contextmanager
def computing_with(**arrays: Any) -> Iterator[tuple[Any, ...]]:
    """The namespace that these arrays share, and each of them plain, in their library's context.

    As in ``Backend.context``, but autograd goes on, and an overflow may be told.

    Raises
    ------
    TypeError
        One is no array, or two are of different libraries; the message names them.
    ValueError
        Numbers of a NumPy array are masked.
    """
    for name, x in arrays.items():
        if not is_array_api_obj(x):
            raise TypeError(f"{name} is a {type(x).__name__}, not an array")
        if np.ma.is_masked(x):
            raise ValueError(f"{name} is masked in places, which would be lost: fill or drop them")
    try:
        xp = array_namespace(*arrays.values())
    except TypeError as error:
        found = {name: place_of(x).name for name, x in arrays.items()}
        raise TypeError(f"arrays of different libraries: {found}; move them to one") from error
    place = place_of(next(iter(arrays.values())))
    with place._library.plain(place.device):
        yield xp, *map(plain, arrays.values())


def refuse_traced(x: Any, what: str) -> None:
    """Raise TypeError if JAX traces ``x``, for what reads its values."""
    if is_array_api_obj(x) and place_of(x).is_traced(x):
        raise TypeError(
            f"{what} is traced by JAX (jit, grad, vmap) and has no values yet: of nets, "
            "predict_proba can be traced, with your cost around it"
        )


def to_numpy(x: Any) -> np.ndarray:
    """Copy an array to the host, which waits for its device.

    Parameters
    ----------
    x : array or array-like
        Of any library.

    Returns
    -------
    ndarray
        Of the same shape and dtype. A host array is not copied.

    Examples
    --------
    >>> import array_api_strict
    >>> import xpnet
    >>> xpnet.to_numpy(array_api_strict.asarray([1.0, 2.0]))
    array([1., 2.])
    """
    if isinstance(x, np.ndarray | list) or not is_array_api_obj(x):
        return np.asarray(x)
    return place_of(x)._library.to_numpy(x)


def magnitude(x: Array) -> float:
    """A power of two near the largest number in ``x``; 1 where no square leaves the floats.

    Dividing by it is exact, by its reciprocal too: that is never so small that JAX takes it for 0.
    """
    xp = array_namespace(x)
    largest = max(float(xp.max(x)), -float(xp.min(x)))
    if largest == 0 or 1e-9 < largest < 1e9:
        return 1.0
    unit = 2.0 ** (math.frexp(largest)[1] - 8)
    return unit if unit > 1 else max(unit, float(xp.finfo(x.dtype).smallest_normal))


def _on(name: str, xp: Namespace, device: Any) -> Backend:
    return Backend(name, xp, LIBRARIES.get(name, UNKNOWN).device(device))


def _library_name(xp: Namespace) -> str:
    name = getattr(xp, "__name__", type(xp).__name__)
    root = name.removeprefix("array_api_compat.").partition(".")[0]
    return root if root in LIBRARIES else name


def _load(name: str) -> Namespace:
    if name not in LIBRARIES:
        raise ValueError(f"unknown backend {name!r}; choose one of {['auto', 'best', *LIBRARIES]}")
    library = LIBRARIES[name]
    try:
        library.before_import()
        return importlib.import_module(library.namespace)
    except Exception as error:  # an import may do anything, as make a folder
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise BackendUnavailable(
            f"backend {name!r} needs {library.title}, which cannot be imported ({kind}{error}); "
            f"{library.install}"
        ) from None


def _best() -> Backend:
    for name, device in (("cupy", None), ("torch", "cuda"), ("jax", "gpu")):
        try:
            place = _on(name, _load(name), device)
            with place.context():
                to_numpy(place.asarray(np.ones(1)) + 1)  # others may have it for themselves
            return place
        except BackendUnavailable:
            continue
        except Exception as error:  # a driver, a compiler may raise anything
            logging.getLogger("xpnet").info('backend="best" goes on without %s: %s', name, error)
    return _numpy()


def best_for(n_parameters: int, batch: int, dtype: Any = None) -> tuple[Backend, str]:
    """The place of ``backend="best"`` for training steps over ``batch`` examples, and why.

    Each example costs a parameter about 6 operations: a product forward, two backward. A GPU needs
    about as long for a step of few of them as for one of ``PAYS``: its launches take that time.
    """
    work = 6e-6 * n_parameters * batch
    why = f"a step of {work:,.3g} MFLOP"
    if work < PAYS:
        return select("numpy", dtype=dtype), f"{why} is too little for a GPU"
    place = _best()
    return select(place, dtype=dtype), why if place.is_accelerator else "no GPU is usable"


# -- installed libraries ------------------------------------------------------------------------
@dataclass(frozen=True)
class BackendInfo:
    """One line of ``backends()``: an array library, as it is on this machine.

    Parameters
    ----------
    name : str
        As ``backend`` of ``DeepNet`` takes it.
    installed : bool
        Whether it is there, even if its import fails.
    usable : bool
        Whether it has a device to compute on.
    version : str or None
        None where it is not installed.
    devices : tuple of str
        As ``device`` of ``DeepNet`` takes them.
    install : str
        The command that installs it.
    reason : str or None
        Why it is not usable.

    Examples
    --------
    >>> import xpnet
    >>> info = xpnet.backends()["numpy"]
    >>> info.usable, info.devices
    (True, ('cpu',))
    """

    name: str
    installed: bool
    usable: bool
    version: str | None
    devices: tuple[str, ...]
    install: str
    reason: str | None


def backends() -> dict[str, BackendInfo]:
    """Tell which array libraries are usable here, on which devices, and how to install others.

    It imports those that are installed, which takes some seconds.

    Returns
    -------
    dict of str to BackendInfo
        By name.

    Examples
    --------
    >>> import xpnet
    >>> list(xpnet.backends())
    ['numpy', 'cupy', 'torch', 'jax', 'dpnp', 'array_api_strict']
    """
    # To show its devices JAX starts a client, which by default takes most of a GPU's memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    return {name: _inspect(name) for name in LIBRARIES}


def _inspect(name: str) -> BackendInfo:
    library = LIBRARIES[name]
    try:
        xp = _load(name)
        version = importlib.import_module(name).__version__
    except BackendUnavailable as error:
        broken = not isinstance(error.__context__, ModuleNotFoundError)
        return BackendInfo(name, broken, False, None, (), library.install, str(error))
    try:
        library.device(None)
        devices = tuple(library.device_name(d) for d in library.devices(xp))
    except BackendUnavailable as error:
        return BackendInfo(name, True, False, version, (), library.install, str(error))
    return BackendInfo(name, True, True, version, devices, library.install, None)


# -- memory ------------------------------------------------------------------------------
def cupy_pool() -> Any | None:
    """The pool from which CuPy takes device memory; None where another allocator gives it."""
    import cupy

    pool = getattr(cupy.cuda.get_allocator(), "__self__", None)
    return pool if hasattr(pool, "free_all_blocks") else None


def free_memory() -> int:
    """Free the device memory and the pinned memory that CuPy keeps for later arrays.

    CuPy's pools keep the memory of deleted arrays, and other programs cannot use it
    (https://docs.cupy.dev/en/stable/user_guide/memory.html). Existing arrays, as of nets,
    stay. Does nothing where CuPy was not imported.

    Returns
    -------
    int
        Bytes freed on the devices. CuPy does not report how much pinned host memory it freed.

    Examples
    --------
    >>> import xpnet
    >>> freed = xpnet.free_memory()
    >>> freed >= 0
    True
    """
    cupy = sys.modules.get("cupy")
    if cupy is None or not cupy.cuda.is_available():
        return 0
    gc.collect()  # arrays in reference cycles hold their blocks until then
    freed = 0
    for pool in {cupy.get_default_memory_pool(), cupy_pool()} - {None}:
        for number in range(cupy.cuda.runtime.getDeviceCount()):
            with cupy.cuda.Device(number):  # the pool has a part for each device
                before = pool.total_bytes()
                pool.free_all_blocks()
                freed += before - pool.total_bytes()
    cupy.get_default_pinned_memory_pool().free_all_blocks()
    return freed


@contextmanager
def memory_freed_after() -> Iterator[None]:
    """Frees what a call held that ran out of memory; its traceback would keep that."""
    try:
        yield
    except MemoryError as error:
        clear_frames(error.__traceback__)
        free_memory()
        raise
