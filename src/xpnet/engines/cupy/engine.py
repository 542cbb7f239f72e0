"""Evaluation on the GPU."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from xpnet._typing import Array
from xpnet.core.leaves import Data
from xpnet.core.network import forward
from xpnet.engines import generic
from xpnet.engines.cupy.memory import free_bytes, in_parts
from xpnet.engines.cupy.program import Program
from xpnet.engines.cupy.recorder import Recorder


class Engine(generic.Engine):
    """See ``generic.Engine``. Evaluation goes on in smaller parts where memory runs out."""

    program_type = Program

    def predict(self, theta: Array, X: Array) -> Array:
        rows = X.T  # host rows are moved part by part
        out = cupy.empty((len(rows), self.objective.sizes[-1]), theta.dtype)

        def compute(part: slice) -> None:
            ops, Z = self._forward(theta, cupy.asarray(rows[part]))
            out[part] = ops.predict(self.objective.loss, Z)

        in_parts(len(rows), compute)
        return out.T

    def value(self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0) -> Array:
        X, Y, w = data
        shares = None
        if w is not None:  # they may be all zero in a part of a stream
            shares = w / np.maximum(w.sum(), np.finfo(w.dtype).tiny)

        def compute(part: slice) -> Array:
            ops, Z = self._forward(theta, cupy.asarray(X[part]))
            s = 1.0 / len(X) if shares is None else cupy.asarray(shares[part])
            rows = self.ops.target_rows(cupy.asarray(Y[part]), theta.dtype)
            return cupy.sum(ops.output(self.objective.loss, Z, rows, s)[0])

        cost = sum(in_parts(len(X), compute))
        if self.objective.penalized:
            cost = self.ops.penalize_cost(l2, theta, cost)
        return self.ops.sparsify_cost(l1, theta, cost) if self.objective.sparse else cost

    def _forward(self, theta: Array, rows: Array) -> tuple[Recorder, Any]:
        ops = Recorder(self.ops.layout, theta.dtype, len(rows))
        _, Z = forward(ops, self.objective, ops.layers(theta), rows)
        ops.calls.clear()  # they hold every layer's buffer
        return ops, Z

    def room(self) -> int:
        return free_bytes()
