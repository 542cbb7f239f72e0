"""The matrix products of a training step alone, in each library's own words.

They are the floor under the time of a step, and large ones show the peak of a device. Nothing of
xpnet is inside what is timed here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import Backend
from xpnet.bench.timing import Timed

_SIDES = (512, 1024, 2048, 4096, 8192)  # of the square products that show the peak
_SCAN = 32  # passes in one compiled call of JAX


# -- one product -------------------------------------------------------------------------
# What multiplies into an existing array, from ``(left, right, out)``.
PRODUCTS: dict[str, Callable[[Array, Array, Array], Callable[[], Any]]] = {
    "numpy": lambda left, right, out: partial(left.dot, right, out),
    "cupy": lambda left, right, out: partial(left.dot, right, out),
    "torch": lambda left, right, out: partial(import_module("torch").mm, left, right, out=out),
    "jax": lambda left, right, out: partial(operator.matmul, left, right),  # read-only arrays
    "dpnp": lambda left, right, out: partial(import_module("dpnp").matmul, left, right, out=out),
    "array_api_strict": lambda left, right, out: lambda: operator.setitem(out, ..., left @ right),
}

# array-api-strict checks other people's code and is slow on purpose.
BY_DEFAULT = tuple(name for name in PRODUCTS if name != "array_api_strict")


# -- the products of a step --------------------------------------------------------------
def step_flops(sizes: Sequence[int], m: int) -> int:
    """Operations of a step's 3L - 1 products on m examples: multiplications and additions.

    A layer n-k has three (its Z, dW and dA) of n k m pairs each; the first layer needs no dA.
    """
    return 2 * m * (3 * sum(n * k for n, k in pairwise(sizes)) - sizes[0] * sizes[1])


def step_products(
    X: Array, weights: Sequence[Array], product: Callable[[Array, Array, bool], Array]
) -> list[Array]:
    """A step of a linear net, ``A = A W'`` per layer: products and nothing else.

    ``product(left, right, is_gradient)`` computes ``left @ right``. X is (m, n_x), each W
    (n_out, n_in). Returns the dW of every layer, with the last A in the place of its dZ.
    """
    A = [X]
    for W in weights:
        A.append(product(A[-1], W.T, False))  # (m, n_out)
    dZ, gradients = A[-1], []
    for l in reversed(range(len(weights))):
        gradients.append(product(dZ.T, A[l], True))  # dW (n_out, n_in)
        if l > 0:
            dZ = product(dZ, weights[l], False)  # (m, n_in)
    return gradients[::-1]


def floors(
    place: Backend, sizes: Sequence[int], m: int, layouts: Sequence[str] = ("rows", "columns")
) -> dict[str, Timed]:
    """The products of a step on m examples, with activations in each layout.

    "rows" holds them as (m, units), "columns" as (units, m). X is (m, n_x) in both. JAX lays its
    arrays out itself.
    """
    generator = np.random.default_rng(0)
    # X = v u0', W1 = u1 u0', W2 = u2 u1', ... of unit vectors: each product has norm one again,
    # so that nothing overflows or becomes subnormal. Equal numbers would draw less power, and a GPU
    # multiplies them faster.
    v, *u = (x / np.linalg.norm(x) for x in map(generator.standard_normal, (m, *sizes)))
    X, *weights = (
        place.asarray(np.outer(left, right), dtype=place.dtype)
        for left, right in [(v, u[0]), *zip(u[1:], u, strict=False)]
    )
    if place.name == "jax":
        return {"compiled": _compiled(X, weights, step_flops(sizes, m))}
    return {layout: _recorded(place, X, weights, layout) for layout in layouts}


def _recorded(place: Backend, X: Array, weights: Sequence[Array], layout: str) -> Timed:
    """The products of a step into arrays that were made beforehand."""
    calls: list[Callable[[], Any]] = []

    def product(left: Array, right: Array, is_gradient: bool) -> Array:
        turned = layout == "columns" and not is_gradient
        if turned:
            left, right = right.T, left.T
        shape = left.shape[0], right.shape[1]
        out = place.xp.empty(shape, dtype=place.dtype, device=place.device)
        calls.append(PRODUCTS[place.name](left, right, out))
        return out.T if turned else out

    first = step_products(X, weights, product)[0]

    def call() -> Array:
        for each in calls:
            each()
        return first

    return Timed(call, LIBRARIES[place.name].wait)


def _compiled(X: Array, weights: Sequence[Array], flops: int) -> Timed:
    """JAX's products, many times in one scan, as a compiled epoch has them.

    The compiler must not find a product that it could compute once for all passes, so each pass
    takes the dW1 of the last for its W1.
    """
    jax: Any = import_module("jax")
    chunk = _SCAN if flops < 1e9 else 1

    def once(state: list[Array], _: None) -> tuple[list[Array], None]:
        matrices = [state[0], *weights[1:]]
        return step_products(X, matrices, lambda left, right, is_gradient: left @ right), None

    scan = jax.jit(lambda state: jax.lax.scan(once, state, None, length=chunk)[0])
    return Timed(partial(scan, list(weights)), jax.block_until_ready, chunk)


def squares(place: Backend, budget: float) -> Iterator[tuple[int, float]]:
    """Side and best seconds of ever larger square products, within about ``budget`` seconds."""
    generator = np.random.default_rng(0)
    for n in _SIDES:
        # Equal numbers would draw less power, and a GPU multiplies them faster.
        factors = (generator.random((n, n), dtype=np.float32) for _ in range(2))
        A, B = (place.asarray(x, dtype=place.dtype) for x in factors)
        out = place.asarray(np.zeros((n, n)), dtype=place.dtype)
        timed = Timed(PRODUCTS[place.name](A, B, out), LIBRARIES[place.name].wait)
        timed.seconds()
        best = min(timed.seconds() for _ in range(3))
        yield n, best
        if 4 * 8 * best > budget:  # the next takes eight times as long, and is done four times
            return
