"""The memory of a compiled run: where every matrix of a net lies, and the way in and out.

All of it is one array of numbers, padded so that no loop has a remainder: examples and inputs to 8,
units to a part of a panel. Pads hold numbers that are only ever read into pads, because the inner
loops of the products (over inputs, units, examples) have their exact length.

Examples are rows. Activations end in a column of ones, so that biases are a row of the weights and
need no code. Weights are kept as ``V = [W b]^T`` (n_in + 1, n_out), in panels: so many columns that
a row of them is ``PANEL`` bytes. Behind each panel are those of the moments. A layer through which
slopes are propagated also keeps ``W``, in panels of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.core.optimizers import Moments
from xpnet.core.parameters import Layout
from xpnet.engines.compiled.tiles import ROWS
from xpnet.engines.numpy_recorder import aligned

LINE, PANEL = 64, 128  # bytes

# What a row of ``Workspace.layers`` says of a layer: its sizes, its padded sizes, and where its
# parameters (V, and W or -1), inputs A, logits Z, slopes D and dropout masks begin.
# Rows of A are LD numbers apart, those of Z, D and the masks Z_LD.
N_IN, N_OUT, K_PAD, COLUMNS, V, W, A, LD, Z, Z_LD, D, MASK = range(12)
# What ``Workspace.places`` says: where the shares of the examples, the targets, room for the output
# layer, a panel's gradient and room to try an update begin; and how many vectors there are:
# parameters and moments.
SHARES, TARGETS, OUTPUT, GRADIENT, TRIAL, VECTORS = range(6)


def up(n: int, to: int) -> int:
    """``n`` rounded up to a multiple of ``to``."""
    return -(-n // to) * to


def padded(n: int, panel: int) -> int:
    """Columns in whole panels, and a last one of an eighth, a quarter or a half."""
    rest = n % panel
    return n - rest + (max(panel // 8, 1 << (rest - 1).bit_length()) if rest else 0)


class Workspace:
    """The matrices of a net and of minibatches of at most ``m`` examples.

    Parameters
    ----------
    layout : Layout
    m : int
    dtype : numpy.dtype
    n_moments : int
    dropped : tuple of bool
        For each hidden layer: whether dropout follows it.
    """

    def __init__(
        self, layout: Layout, m: int, dtype: Any, n_moments: int, dropped: tuple[bool, ...]
    ) -> None:
        self.layout, self.dtype, self.n_moments = layout, np.dtype(dtype), n_moments
        self.panel, line = PANEL // self.dtype.itemsize, LINE // self.dtype.itemsize
        rows, eighth = up(m, ROWS), self.panel // 8
        self.size = 0

        def take(n: int) -> int:
            at, self.size = self.size, up(self.size + n, line)
            return at

        self.layers = net = np.full((layout.n_layers, 12), -1, np.int64)
        for l, ((n_out, n_in), _, _) in enumerate(layout.slices()):
            k_pad, columns = up(n_in + 1, ROWS), padded(n_out, self.panel)
            net[l, [N_IN, N_OUT, K_PAD, COLUMNS]] = n_in, n_out, k_pad, columns
            net[l, V] = take((1 + n_moments) * k_pad * columns)
            if l == 0:
                net[l, LD] = up(n_in + 1, eighth)
                net[l, A] = take(rows * net[l, LD])
            else:
                net[l, W] = take(n_out * net[l - 1, COLUMNS])
                net[l, LD] = net[l - 1, Z_LD]
                net[l, A] = net[l - 1, Z]
                if dropped and dropped[l - 1]:
                    net[l, A] = take(rows * net[l, LD])
                    net[l - 1, MASK] = take(rows * net[l, LD])
            net[l, Z_LD] = max(columns, up(n_out + 1, eighth))
            net[l, Z] = net[l, D] = take(rows * net[l, Z_LD])  # the output layer's dZ replaces Z
            if l < layout.n_layers - 1:
                net[l, D] = take(rows * net[l, Z_LD])
        n_y, widest = layout.sizes[-1], int(net[:, K_PAD].max()) * self.panel
        sizes = (m, n_y * m, (n_y + 3) * m, widest, (1 + n_moments) * widest)
        self.places = np.array([*map(take, sizes), 1 + n_moments])
        self.w = aligned((self.size,), self.dtype)
        self.w[:] = 0

    def panels(
        self, at: int, rows: int, columns: int, i: int = 0, of: int = 1
    ) -> Iterator[tuple[slice, Array]]:
        """The columns of a matrix, number i of those at an offset, panel by panel, with views."""
        for j in range(0, columns, self.panel):
            width = min(self.panel, columns - j)
            panel = self.w[at + (of * j + i * width) * rows :][: width * rows]
            yield slice(j, j + width), panel.reshape(rows, width)

    def parameters(self, l: int, i: int) -> Iterator[tuple[slice, Array]]:
        """The panels of V (i = 0) or of moment i of a layer, pads included."""
        k_pad, columns, v = self.layers[l, [K_PAD, COLUMNS, V]].tolist()
        return self.panels(v, k_pad, columns, i, 1 + self.n_moments)

    def put(self, theta: Array, moments: Moments) -> None:
        """Takes over parameters and moments, each (n_parameters,)."""
        for i, vector in enumerate((theta, *moments)):
            for l, (weights, b) in enumerate(self.layout.layers(vector, xp=np)):
                for at, panel in self.parameters(l, i):
                    part = weights.T[:, at]
                    panel[: len(part), : part.shape[1]] = part
                    panel[len(part), : part.shape[1]] = b[at, 0]
        self.spread()

    def spread(self) -> None:
        """Copies the weights of V to where slopes are propagated through them."""
        for l in range(1, len(self.layers)):
            n_in, n_out, before = *self.layers[l, [N_IN, N_OUT]], self.layers[l - 1, COLUMNS]
            for at, panel in self.parameters(l, 0):
                part = panel[:n_in].T[: n_out - at.start]  # (units, n_in)
                for k, other in self.panels(self.layers[l, W], n_out, before):
                    piece = part[:, k]
                    other[at.start : at.start + len(part), : piece.shape[1]] = piece

    def get(self, i: int) -> Array:
        """The parameters (i = 0) or the moments i, (n_parameters,): a new vector."""
        vector = np.empty(self.layout.n_parameters, self.dtype)
        for l, (weights, b) in enumerate(self.layout.layers(vector, xp=np)):
            n_in = weights.shape[1]
            for at, panel in self.parameters(l, i):
                part = weights[at]
                part[...] = panel[:n_in, : len(part)].T
                b[at, 0] = panel[n_in, : len(part)]
        return vector
