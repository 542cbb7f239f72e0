"""xpnet through its public ``DeepNet``: on NumPy arrays, or on another library's."""

from __future__ import annotations

from functools import partial

import xpnet


class Net:
    """``DeepNet.fit``, its setting up included."""

    def __init__(self, workload, dtype, backend):
        self.workload = workload
        self.net = xpnet.DeepNet(
            workload.sizes,
            hidden=workload.hidden,
            output="sigmoid" if workload.binary else "softmax",
            backend=backend,
            dtype=dtype,
        )
        X, y = workload.data(dtype)
        asarray = self.net.backend.asarray
        self.X, self.y = asarray(X).T, asarray(y)
        self.initial = workload.parameters(dtype)
        self.orders = workload.orders()
        full = workload.batch_size is None
        self.optimizer = (xpnet.GradientDescent if full else xpnet.Adam)(workload.rate)

    def reset(self):
        self.net.parameters = self.initial

    def run(self):
        if self.workload.kind == "inference":
            self.net.predict_proba(self.X)
            return
        self.history = self.net.fit(
            self.X,
            self.y,
            optimizer=self.optimizer,
            epochs=self.workload.epochs,
            batch_size=self.workload.batch_size,
            shuffle=self.orders.__getitem__,
        )

    def result(self):
        layers = [tuple(map(xpnet.to_numpy, layer)) for layer in self.net.parameters]
        return layers, self.history.cost


CANDIDATES = {
    "xpnet": partial(Net, backend="numpy"),
    "xpnet-numba": partial(Net, backend="numpy"),  # its process does not set XPNET_NUMBA=0
    "xpnet-torch": partial(Net, backend="torch"),
    "xpnet-jax": partial(Net, backend="jax"),
}
