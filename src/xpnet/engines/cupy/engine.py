"""Evaluation on the GPU."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend, cupy_pool
from xpnet.backends.upload import Ferry
from xpnet.core.leaves import Data
from xpnet.core.network import Objective, forward
from xpnet.engines import generic
from xpnet.engines.cupy import cublas, memory
from xpnet.engines.cupy.memory import in_parts, ran_out, room_for_data
from xpnet.engines.cupy.program import Program
from xpnet.engines.cupy.recorder import Recorder, kernels


class Engine(generic.Engine):
    """See ``generic.Engine``. It evaluates so many examples at a time as ``CHUNK`` has room for."""

    program_type = Program

    def __init__(self, backend: Backend, objective: Objective) -> None:
        super().__init__(backend, objective)
        found, reason = cublas.library()
        if found is None and backend.precision != "exact":
            raise ValueError(
                f"precision={backend.precision!r} needs functions of cuBLAS that are not to be had "
                f"here ({reason}): use 'exact'"
            )
        try:  # what takes memory besides arrays comes first: data moves where there is room
            with backend.context():
                products = cublas.products()
                if products is None:
                    cupy.cuda.device.get_cublas_handle()
                else:
                    products.use(cupy.cuda.get_current_stream())
                if backend.dtype is not None:
                    kernels(backend.dtype_name)("gather").kernel  # noqa: B018 -- loads them all
        except Exception as error:
            if not ran_out(error):
                raise
            raise MemoryError(
                f"{backend.device_name} has no room for cuBLAS and the kernels, which need some "
                f"100 MB before any array: end other programs on it, or choose another device"
            ) from error

    def predict(self, theta: Array, X: Array) -> Array:
        rows = X.T  # host rows are moved part by part
        out = cupy.empty((len(rows), self.objective.sizes[-1]), theta.dtype)
        there = Ferry(X.nbytes).array

        def compute(part: slice) -> None:
            ops, Z = self._forward(theta, there(rows[part], theta.dtype, "K"))
            out[part] = ops.predict(self.objective.loss, Z)

        in_parts(len(rows), self._at_once(out.itemsize), compute)
        return out.T

    def value(self, theta: Array, data: Data, l2: float = 0.0, l1: float = 0.0) -> Array:
        X, Y, w = data
        there = Ferry(X.nbytes).array
        shares = None
        if w is not None:  # they may be all zero in a part of a stream
            shares = w / np.maximum(w.sum(), np.finfo(w.dtype).tiny)

        def compute(part: slice) -> Array:
            ops, Z = self._forward(theta, there(X[part]))
            s = 1.0 / len(X) if shares is None else there(shares[part])
            rows = self.ops.target_rows(there(Y[part]), theta.dtype)
            return cupy.sum(ops.output(self.objective.loss, Z, rows, s)[0])

        cost = sum(in_parts(len(X), self._at_once(theta.itemsize), compute))
        if self.objective.penalized:
            cost = self.ops.penalize_cost(l2, theta, cost)
        return self.ops.sparsify_cost(l1, theta, cost) if self.objective.sparse else cost

    def _forward(self, theta: Array, rows: Array) -> tuple[Recorder, Any]:
        precision = self.backend.precision
        ops = Recorder(self.ops.layout, theta.dtype, len(rows), precision=precision)
        _, Z = forward(ops, self.objective, ops.layers(theta), rows)
        ops.calls.clear()  # they hold every layer's buffer
        return ops, Z

    def parts(self, data: Data) -> list[Data]:
        return self.cut(data, self._at_once(3 * data.X.itemsize))  # with derivatives, none reused

    def _at_once(self, itemsize: int) -> int:
        """How many examples are evaluated together."""
        n_x, *hidden, n_y = self.objective.sizes
        width = n_x + sum(hidden) + 4 * n_y + 2  # with targets, losses and shares
        return max(1, memory.CHUNK // (width * itemsize))

    def room(self) -> int:
        return room_for_data()

    def bytes_held(self) -> dict[str, int]:
        pool = cupy_pool()
        return {} if pool is None else {"pool": int(pool.total_bytes())}
