"""Small nets and their data, for the tests of `DeepNet`."""

from __future__ import annotations

import numpy as np
from helpers import draw_targets

import xpnet

SIZES = [3, 5, 2]
M = 13


def data(output="sigmoid", dtype="float64", seed=61, m=M, n_y=2):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3, m)).astype(dtype)
    return X, draw_targets(output, n_y, m, rng).astype(dtype)


def make_net(lib=None, output="sigmoid", dtype="float64", seed=1, sizes=SIZES):
    options = lib.options if lib else {"backend": "numpy"}
    return xpnet.DeepNet(sizes, hidden="tanh", output=output, dtype=dtype, seed=seed, **options)


MINI = {"optimizer": xpnet.Adam(0.01), "batch_size": 5}
GD = xpnet.GradientDescent(0.2)


def small_net(**options):
    return xpnet.DeepNet([3, 4, 1], output="sigmoid", dtype="float64", **options)
