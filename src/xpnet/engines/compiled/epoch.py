"""Runs the program of a step again and again in one compiled function, for any net and any sizes.

``steps`` walks the operation codes of ``recorder.py`` over the matrices of ``workspace.py``. It is
compiled once per dtype and kept on disk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from numba import types
from numba.core import event

from xpnet.core.network import PREFIX
from xpnet.engines.compiled import operations as op
from xpnet.engines.compiled import recorder as codes
from xpnet.engines.compiled import workspace as at
from xpnet.engines.compiled.operations import compiled
from xpnet.engines.compiled.tiles import ROWS, WIDE, WIDE_ROWS, tile
from xpnet.engines.compiled.workspace import PANEL
from xpnet.engines.numba import kept_on_disk, version

logger = logging.getLogger("xpnet")

COMPILING = Lock()

wide, line, half, quarter = tile(WIDE, WIDE_ROWS), tile(64), tile(32), tile(16)


@compiled
def product(w, a, a_row, a_k, rows, b, b_k, b_panel, c, c_row, c_panel, columns, depth):  # type: ignore[no-untyped-def]
    """c := a b, a panel of columns at a time.

    ``b_k`` 0: b is in panels, and so is c for ``c_row`` 0. A column further on begins ``b_panel``
    and ``c_panel`` numbers later.
    """
    panel = PANEL // w.itemsize
    for j in range(0, columns, panel):
        width = min(panel, columns - j)
        bj, cj = b + j * b_panel, c + j * c_panel
        bk, cr = b_k or width, c_row or width
        if width * w.itemsize >= WIDE:
            for h in range(0, width, WIDE // w.itemsize):
                for i in range(0, rows, WIDE_ROWS):
                    wide(w, a + i * a_row, a_row, a_k, bj + h, bk, cj + i * cr + h, cr, depth)
        elif width * w.itemsize == 64:
            for i in range(0, rows, ROWS):
                line(w, a + i * a_row, a_row, a_k, bj, bk, cj + i * cr, cr, depth)
        elif width * w.itemsize == 32:
            for i in range(0, rows, ROWS):
                half(w, a + i * a_row, a_row, a_k, bj, bk, cj + i * cr, cr, depth)
        else:
            for i in range(0, rows, ROWS):
                quarter(w, a + i * a_row, a_row, a_k, bj, bk, cj + i * cr, cr, depth)


@compiled
def spread(w, v, width, j0, j1, to, n_in, in_columns, n_out):  # type: ignore[no-untyped-def]
    """Writes columns j0 to j1 of V, a panel at ``v``, into the panels of W at ``to``: no biases."""
    panel = PANEL // w.itemsize
    for k0 in range(0, n_in, panel):
        other, k1 = min(panel, in_columns - k0), min(n_in, k0 + panel)
        for k in range(k0, k1):
            for j in range(j0, j1):
                op.put(w, to + k0 * n_out + j * other + k - k0, op.get(w, v + k * width + j - j0))


@compiled
def update(w, net, places, l, rule, flags, m, row, settings, tried):  # type: ignore[no-untyped-def]
    """Moves a layer: penalties, decay and the optimiser's rule, a panel at a time.

    A panel's gradient, moments and weights stay in the second cache. ``tried``: copies of them are
    moved, and it says whether all that comes out is finite.
    """
    panel, k_pad, columns = PANEL // w.itemsize, net[l, at.K_PAD], net[l, at.COLUMNS]
    n_in, n_out, vectors = net[l, at.N_IN], net[l, at.N_OUT], places[at.VECTORS]
    for j in range(0, columns, panel):
        width = min(panel, columns - j)
        v, size, weights = net[l, at.V] + vectors * k_pad * j, k_pad * width, n_in * width
        if tried:
            t = places[at.TRIAL]
            w[t : t + vectors * size] = w[v : v + vectors * size]
            v = t
        d, ld, g = net[l, at.D] + j, net[l, at.Z_LD], places[at.GRADIENT]
        product(w, net[l, at.A], 1, net[l, at.LD], k_pad, d, ld, 0, g, width, 0, width, m)
        if flags:
            l2 = row[0] if flags & codes.PENALIZED else w.dtype.type(0)
            l1 = row[1] if flags & codes.SPARSE else w.dtype.type(0)
            op.penalize(w, v, g, weights, l2, l1)
            if flags & codes.DECAYED:
                op.scale(w, v, weights, row[PREFIX + 2])
        mean, square = w[v + size : v + 2 * size], w[v + 2 * size : v + 3 * size]
        theta, gradient = w[v : v + size], w[g : g + size]
        op.move(rule, theta, gradient, mean, square, row[PREFIX], row[PREFIX + 1], settings)
        if tried:
            nothing = w.dtype.type(0)
            for i in range(vectors):  # not their pads, which may come from any example
                found = w[v + i * size :][: weights + width]
                for k in range(found.size):
                    nothing += found[k] - found[k]  # 0, or NaN
            if nothing != 0:
                return False
        elif l > 0:
            end, before = min(n_out, j + width), net[l - 1, at.COLUMNS]
            spread(w, v, width, j, end, net[l, at.W], n_in, before, n_out)
    return True


@compiled
def allowed(w, net, places, program, i, m, row, settings, limit, cost):  # type: ignore[no-untyped-def]
    """Whether the updates from operation i on leave finite numbers.

    An entry of ``dW = dZ A^T`` is at most ``|dZ| |A|`` (Cauchy and Schwarz). Below ``limit`` that
    is proof enough; else the updates are tried.
    """
    if not np.isfinite(cost):
        return False
    bounded = limit > 0
    for o in range(i, len(program)):
        l = program[o, 1]
        dZ = op.sum_of_squares(w, net[l, at.D], m * net[l, at.Z_LD])
        inputs = op.sum_of_squares(w, net[l, at.A], m * net[l, at.LD])
        bounded = bounded and dZ * inputs <= limit * limit
    if bounded:
        return True
    for o in range(i, len(program)):
        l, rule, flags = program[o, 1], program[o, 2], program[o, 3]
        if not update(w, net, places, l, rule, flags, m, row, settings, True):
            return False
    return True


@compiled
def penalty(w, net, places, l, code, row):  # type: ignore[no-untyped-def]
    """What the weights of a layer add to the cost."""
    panel, columns = PANEL // w.itemsize, net[l, at.COLUMNS]
    total, stride = w.dtype.type(0), places[at.VECTORS] * net[l, at.K_PAD]
    for j in range(0, columns, panel):
        v, size = net[l, at.V] + stride * j, net[l, at.N_IN] * min(panel, columns - j)
        if code == codes.PENALIZE_COST:
            total += w.dtype.type(0.5) * row[0] * op.sum_of_squares(w, v, size)
        else:
            total += row[1] * op.sum_of_sizes(w, v, size)
    return total


@compiled
def near(w, net, places, reach):  # type: ignore[no-untyped-def]
    """Whether a layer's parameters, and a single moment, have norms of at most ``reach``."""
    panel, vectors = PANEL // w.itemsize, places[at.VECTORS]
    for l in range(len(net)):
        k_pad, columns = net[l, at.K_PAD], net[l, at.COLUMNS]
        for i in range(2 if vectors == 2 else 1):
            total = w.dtype.type(0)
            for j in range(0, columns, panel):
                width = min(panel, columns - j)
                start = net[l, at.V] + (vectors * j + i * width) * k_pad
                total += op.sum_of_squares(w, start, (net[l, at.N_IN] + 1) * width)
            if not np.sqrt(total) <= reach:
                return False
    return True


def of_version(version: str) -> Callable[..., None]:
    """``steps``, which Numba finds again on disk only for the same ``version``."""

    def steps(  # type: ignore[no-untyped-def]
        w, net, places, program, data, rows, n, batch, first, table, settings, bounds, bits, out
    ):
        """Makes the steps of ``table`` (steps, n_scalars), the first of which has number ``first``.

        ``data``: X, Y, class numbers and sample weights, of which those that there are not are
        empty. ``rows``: the orders of all epochs, ``n`` examples each; empty: each step uses all
        examples. ``bounds``: what ``operations.output`` takes, and within which limits of gradient
        and parameters nothing need be tried; NaN: nothing is refused. ``out``: the costs of all
        steps, and how many were made.
        """
        version  # noqa: B018  a variable of the closure is part of the key on disk
        X, Y, labels, weights = data
        costs, made = out
        whole, n_y, vectors = rows.size == 0, net[len(net) - 1, at.N_OUT], places[at.VECTORS]
        per_epoch = 1 if whole else (n + batch - 1) // batch
        shares, targets, room = places[at.SHARES], places[at.TARGETS], places[at.OUTPUT]
        guarded, limit = not np.isnan(bounds[4]), bounds[4]
        if guarded and not near(w, net, places, bounds[5]):
            limit = w.dtype.type(-1)
        for s in range(len(table)):
            row, epoch, place = table[s], (first + s) // per_epoch, (first + s) % per_epoch * batch
            start, m = epoch * n + place, batch if whole else min(batch, n - place)
            cost = w.dtype.type(0)
            for i in range(len(program)):
                code, l, number, other = program[i, 0], program[i, 1], program[i, 2], program[i, 3]
                a, ld, z, z_ld = net[l, at.A], net[l, at.LD], net[l, at.Z], net[l, at.Z_LD]
                n_in, n_out, k_pad = net[l, at.N_IN], net[l, at.N_OUT], net[l, at.K_PAD]
                if code == codes.GATHER:
                    if s == 0 or not whole:
                        op.share_out(w, shares, weights, rows, start, m, whole, row[len(row) - 1])
                        op.read(w, X, rows, start, m, whole, a, ld)
                        op.read_targets(w, Y, labels, rows, start, m, whole, targets, n_y)
                elif code == codes.AFFINE:
                    v, columns, stride = net[l, at.V], net[l, at.COLUMNS], vectors * k_pad
                    product(w, a, ld, 1, m, v, 0, stride, z, z_ld, 1, columns, n_in + 1)
                elif code == codes.ACTIVATE:
                    op.activate(number, w, z, m, z_ld)
                    op.ones_beside(w, z, m, z_ld, n_out)
                elif code == codes.DROP:
                    op.draw(l, row[3:PREFIX], (m * n_out + 3) // 4, bits)
                    after = net[l + 1, at.A]
                    op.drop(w, z, net[l, at.MASK], after, m, z_ld, n_out, number, bits)
                    op.ones_beside(w, after, m, z_ld, n_out)
                elif code == codes.OUTPUT:
                    cost = op.output(
                        number, other, w, z, z_ld, m, n_y, shares, targets, room, bounds
                    )
                elif code == codes.PROPAGATE:
                    d, w_at, to = net[l, at.D], net[l, at.W], net[l - 1, at.D]
                    inputs = net[l - 1, at.COLUMNS]
                    product(w, d, z_ld, 1, m, w_at, 0, n_out, to, ld, 1, inputs, n_out)
                elif code == codes.UNDROP:
                    op.multiply(w, net[l, at.D], net[l, at.MASK], m * z_ld)
                elif code == codes.SLOPE:
                    op.slope(number, w, z, net[l, at.D], m * z_ld)
                elif code in (codes.PENALIZE_COST, codes.SPARSIFY_COST):
                    cost += penalty(w, net, places, l, code, row)
                elif code == codes.GUARD:
                    costs[first + s] = cost
                    if guarded and not allowed(
                        w, net, places, program, i + 1, m, row, settings, limit, cost
                    ):
                        return
                else:
                    update(w, net, places, l, number, other, m, row, settings, False)
            made[0] += 1

    return steps


class Notice(event.Listener):  # type: ignore[misc]
    """Tells by ``logging`` that something is being compiled, which takes a while."""

    def __init__(self, dtype: Any) -> None:
        self.dtype, self.told = dtype, False

    def on_start(self, event: Any) -> None:
        if not self.told:
            logger.info(
                "compiling the training step for %s, once on this machine: 10 to 20 seconds",
                self.dtype,
            )
        self.told = True

    def on_end(self, event: Any) -> None:
        pass


@lru_cache(maxsize=2)
def runner(dtype: np.dtype) -> Callable[..., None]:
    """``steps`` for workspaces of this dtype: from the cache on disk, or compiled now."""
    real, whole = types.float64 if dtype == np.float64 else types.float32, types.int64

    def array(kind: Any, ndim: int = 1, readonly: bool = True) -> Any:
        return types.Array(kind, ndim, "C", readonly=readonly)

    matrix, vector, numbers, table = array(real, 2), array(real), array(whole), array(whole, 2)
    data = types.Tuple((matrix, matrix, numbers, vector))
    out = types.Tuple([array(kind, readonly=False) for kind in (real, whole)])
    signature = types.void(
        *(array(real, readonly=False), table, numbers, table, data),
        *(numbers, whole, whole, whole, matrix),
        *(vector, vector, array(types.uint64, readonly=False), out),
    )
    # a listener hears of every thread: one at a time
    with COMPILING, event.install_listener("numba:compile", Notice(dtype)):
        return kept_on_disk(signature, nogil=True, error_model="numpy")(of_version(version()))
