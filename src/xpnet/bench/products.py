"""Matrix products alone, in each library's own words: the floor of a step, and the peak.

Nothing of xpnet is inside what is timed here. The floor of the net n-h-k on m examples is its five
products: ``Z1 = W1 X``, ``Z2 = W2 Z1``, ``dW2 = dZ2 Z1'``, ``dA1 = W2' dZ2``, ``dW1 = dZ1 X'``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import Backend
from xpnet.bench.machine import blas_threads, processor

_SIDES = (512, 1024, 2048, 4096, 8192)  # of the square products that the peak is looked for with
_SCAN = 32  # passes in one compiled call of JAX


def _module(name: str) -> Any:
    return importlib.import_module(name)


# -- what differs between libraries ------------------------------------------------------
@dataclass(frozen=True)
class Tools:
    """A library's product into an array that is there, and how to wait for one."""

    product: Callable[[Array, Array, Array], Array]  # (left, right, out) -> the result
    wait: Callable[[Array], Any] = lambda x: None
    prepare: Callable[[], Any] = lambda: None  # before anything is computed
    hardware: Callable[[Any], str] = str  # an accelerator's own name, from its device object
    threads: Callable[[], int | None] = lambda: None  # on a CPU


def _into(module: str, name: str) -> Callable[[Array, Array, Array], Array]:
    return lambda left, right, out: getattr(_module(module), name)(left, right, out=out)


def _wait_torch(x: Array) -> None:
    if x.device.type == "cuda":
        _module("torch").cuda.synchronize(x.device)
    elif x.device.type != "cpu":
        _module("torch").accelerator.synchronize(x.device)


def _torch_name(device: Any) -> str:
    return _module("torch").cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _cupy_name(device: Any) -> str:
    name: bytes = _module("cupy").cuda.runtime.getDeviceProperties(device.id)["name"]
    return name.decode(errors="replace")


def _dot(left: Array, right: Array, out: Array) -> Array:
    return left.dot(right, out)


def _copied(left: Array, right: Array, out: Array) -> Array:
    out[...] = left @ right
    return out


TOOLS = {
    "numpy": Tools(_dot, threads=blas_threads),
    "cupy": Tools(
        _dot,
        wait=lambda x: _module("cupy").cuda.get_current_stream().synchronize(),
        hardware=_cupy_name,
    ),
    "torch": Tools(
        _into("torch", "mm"),
        wait=_wait_torch,
        hardware=_torch_name,
        threads=lambda: _module("torch").get_num_threads(),
    ),
    "jax": Tools(
        lambda left, right, out: left @ right,  # arrays cannot be written to
        wait=lambda x: x.block_until_ready(),
        # On a GPU its float32 products would be TF32, of 10 bits; the other libraries' are not.
        prepare=lambda: _module("jax").config.update("jax_default_matmul_precision", "highest"),
        hardware=lambda device: device.device_kind,
    ),
    "dpnp": Tools(
        _into("dpnp", "matmul"),
        wait=lambda x: x.sycl_queue.wait(),
        hardware=lambda device: device.sycl_device.name,
    ),
    "array_api_strict": Tools(_copied),
}

# array-api-strict checks other people's code and is slow on purpose.
BY_DEFAULT = tuple(name for name in TOOLS if name != "array_api_strict")


def is_accelerator(place: Backend) -> bool:
    return LIBRARIES[place.name].is_accelerator(place.device)


def hardware(place: Backend) -> str:
    """The own name of what computes: processor or accelerator."""
    return str(TOOLS[place.name].hardware(place.device)) if is_accelerator(place) else processor()


def threads(place: Backend) -> int | None:
    """Threads that the library computes with on a CPU, where it tells."""
    return None if is_accelerator(place) else TOOLS[place.name].threads()


# -- products, timed ---------------------------------------------------------------------
@dataclass(frozen=True)
class Timed:
    """Work done ``chunk`` times by each call, which may return before it is done."""

    call: Callable[[], Array]
    wait: Callable[[Array], Any]
    chunk: int = 1

    def seconds(self, times: int) -> float:
        """Of one time, out of about so many."""
        calls = max(1, round(times / self.chunk))
        start = perf_counter()
        for _ in range(calls):
            result = self.call()
        self.wait(result)
        return (perf_counter() - start) / (calls * self.chunk)


def floors(place: Backend, n: int, h: int, k: int, m: int) -> dict[str, Timed]:
    """The five products of a step, with activations in either layout.

    "rows" holds them as (m, units), "columns" as (units, m). X is (m, n) in both. JAX lays its
    arrays out itself.
    """
    generator = np.random.default_rng(0)

    def array(*shape: int) -> Array:
        # Of rank one and norm one, which makes no difference to a product.
        x, y = (generator.standard_normal(s) for s in shape)
        host = np.outer(x / np.linalg.norm(x), y / np.linalg.norm(y))
        return place.asarray(host, dtype=place.dtype)

    X, W1, W2 = array(m, n), array(h, n), array(k, h)
    tools = TOOLS[place.name]
    if place.name == "jax":
        return {"compiled": Timed(*_compiled(X, W1, W2))}
    dW1, dW2 = array(h, n), array(k, h)

    def sequence(*products: tuple[Array, Array, Array]) -> Timed:
        calls = [partial(tools.product, *arrays) for arrays in products]

        def call() -> Array:
            for each in calls:
                result = each()
            return result

        return Timed(call, tools.wait)

    Z1, Z2, dA1 = array(m, h), array(m, k), array(m, h)
    rows = sequence((X, W1.T, Z1), (Z1, W2.T, Z2), (Z2.T, Z1, dW2), (Z2, W2, dA1), (dA1.T, X, dW1))
    Z1, Z2, dA1 = array(h, m), array(k, m), array(h, m)
    columns = sequence((W1, X.T, Z1), (W2, Z1, Z2), (Z2, Z1.T, dW2), (W2.T, Z2, dA1), (dA1, X, dW1))
    return {"rows": rows, "columns": columns}


def _compiled(X: Array, W1: Array, W2: Array) -> tuple[Callable[[], Array], Callable, int]:
    """JAX's five products, many times in one scan, as a compiled epoch has them.

    The compiler must not find a product that it could compute once for all passes, so each pass
    starts with the ``dW1`` of the last. X and W2 have norm one: the numbers neither grow nor fade.
    """
    jax: Any = _module("jax")
    flops = 2 * X.shape[0] * W1.shape[0] * (2 * W1.shape[1] + 3 * W2.shape[0])
    chunk = _SCAN if flops < 1e9 else 1

    def once(state: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
        Z1 = X @ state[0].T  # (m, h)
        Z2 = Z1 @ W2.T  # (m, k)
        dW2 = Z2.T @ Z1  # (k, h)
        dA1 = Z2 @ W2  # (m, h)
        return (dA1.T @ X, dW2), None  # (h, n)

    scan = jax.jit(lambda state: jax.lax.scan(once, state, None, length=chunk)[0])
    return partial(scan, (W1, W2)), jax.block_until_ready, chunk


def squares(place: Backend, budget: float) -> Iterator[tuple[int, float]]:
    """Side and best seconds of ever larger square products, within about ``budget`` seconds."""
    tools = TOOLS[place.name]
    for n in _SIDES:
        A, B, out = (place.asarray(np.full((n, n), 1 / n), dtype=place.dtype) for _ in range(3))
        timed = Timed(partial(tools.product, A, B, out), tools.wait)
        timed.seconds(1)
        best = min(timed.seconds(1) for _ in range(3))
        yield n, best
        if 4 * 8 * best > budget:  # the next takes eight times as long, and is done four times
            return
