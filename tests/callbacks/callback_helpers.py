"""Data, a net, and callbacks that watch a fit."""

from __future__ import annotations

import numpy as np
import pytest

import xpnet

RNG = np.random.default_rng(51)
X = RNG.normal(size=(3, 20))
Y = (X[:1] > 0).astype(float)
X_VALID = RNG.normal(size=(3, 12))
Y_VALID = (X_VALID[:1] > 0).astype(float)


def make_net(lib=None, **settings):
    options = lib.options if lib else {"backend": "numpy"}
    return xpnet.DeepNet(
        [3, 4, 1], hidden="tanh", output="sigmoid", dtype="float64", seed=1, **options, **settings
    )


class Recorder:
    """Writes down every call; stops after `stop_after` epochs where given."""

    def __init__(self, stop_after=None):
        self.calls, self.epochs, self.costs, self.seconds = [], [], [], []
        self.stop_after = stop_after

    def on_fit_begin(self, net, progress):
        self.calls.append("begin")
        self.net, self.total = net, progress.epochs

    def on_epoch_end(self, net, progress):
        self.calls.append("epoch")
        assert net is self.net
        self.epochs.append(progress.epoch)
        self.costs.append(progress.cost)
        self.seconds.append(progress.seconds)
        return self.stop_after is not None and len(self.epochs) >= self.stop_after

    def on_fit_end(self, net, progress):
        self.calls.append("end")
        self.last_epoch = progress.epoch


class ReadsNothing:
    def on_epoch_end(self, net, progress):
        assert progress.epoch <= progress.epochs


def watched_fit(lib, callbacks, **settings):
    """A net, its history, and how often a tensor became a number or a NumPy array in its fit."""
    fetches, net = [], make_net(lib)
    x, y, *validation = (lib.asarray(array) for array in (X, Y, X_VALID, Y_VALID))
    settings = {"epochs": 60, "validation": validation} | settings
    with pytest.MonkeyPatch.context() as patch:
        for name in ("numpy", "item", "tolist", "__float__", "__bool__", "__array__"):
            original = getattr(lib.xp.Tensor, name)

            def counting(self, *args, original=original, **kwargs):
                fetches.append(self.shape)
                return original(self, *args, **kwargs)

            patch.setattr(lib.xp.Tensor, name, counting)
        history = net.fit(x, y, xpnet.Adam(0.01), callbacks=callbacks, **settings)
    return net, history, len(fetches)
