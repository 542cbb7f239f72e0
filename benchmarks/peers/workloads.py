"""The rows of the table: nets, data, and the ratios that xpnet wants to stay under."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import ceil

import numpy as np

# The columns of the table, in order, and the candidates that only set a scale.
PEERS = ("floor", "sklearn", "torch", "jax", "jax-scan")
ORDER_SEED = 7


@dataclass(frozen=True)
class Workload:
    """A net, its data, and how much of it one round times.

    ``limits`` are the targets per column of ``PEERS``: xpnet's time over the peer's; ``fused``
    those of xpnet with Numba.
    """

    name: str
    sizes: tuple[int, ...]
    m: int
    batch_size: int | None  # None: full-batch gradient descent
    epochs: int  # of one round
    limits: dict[str, float]
    hidden: str = "relu"
    kind: str = "training"  # or "inference", "lbfgs"
    rate: float = 1e-3
    fused: dict[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return self.epochs * (1 if self.batch_size is None else self.m // self.batch_size)

    def lasting(self, steps: float) -> Workload:
        """As many epochs as have ``steps`` steps, at least."""
        per_epoch = self.steps / self.epochs
        return replace(self, epochs=ceil(steps / per_epoch))

    @property
    def n_parameters(self) -> int:
        return sum(n * (k + 1) for k, n in pairwise(self.sizes))

    @property
    def binary(self) -> bool:
        return self.sizes[-1] == 1

    def data(self, dtype: str) -> tuple[np.ndarray, np.ndarray]:
        """Rows X (m, n_x) and labels (m,): a noisy linear rule, so there is a loss to lower."""
        generator = np.random.default_rng(3)
        X = generator.standard_normal((self.m, self.sizes[0]), dtype=np.float32)
        rule = generator.standard_normal((self.sizes[0], max(2, self.sizes[-1])))
        scores = X @ rule.astype(np.float32)
        scores += generator.standard_normal(scores.shape, dtype=np.float32) * scores.std()
        return X.astype(dtype), scores.argmax(axis=1)

    def parameters(self, dtype: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """The initial ``[(W (n_out, n_in), b (n_out, 1)), ...]``."""
        generator = np.random.default_rng(5)
        return [
            (
                (generator.standard_normal((n, k)) * np.sqrt(2.0 / k)).astype(dtype),
                np.zeros((n, 1), dtype),
            )
            for k, n in pairwise(self.sizes)
        ]

    def orders(self) -> list[np.ndarray]:
        """The order of examples in each epoch: scikit-learn's, which cannot be told another."""
        state, order, orders = np.random.RandomState(ORDER_SEED), np.arange(self.m), []
        for _ in range(self.epochs):
            shuffled = np.arange(self.m)
            state.shuffle(shuffled)
            order = order[shuffled]
            orders.append(order)
        return orders

    def cost(self, parameters: list[tuple[np.ndarray, np.ndarray]], dtype: str) -> float:
        """The mean loss over all examples in float64: what candidates are compared by."""
        X, y = self.data(dtype)
        A = X.astype(np.float64).T
        for l, (W, b) in enumerate(parameters):
            Z = W.astype(np.float64) @ A + b.astype(np.float64).reshape(-1, 1)
            last = l == len(parameters) - 1
            A = Z if last else np.tanh(Z) if self.hidden == "tanh" else np.maximum(Z, 0.0)
        if self.binary:
            return float(np.mean(np.logaddexp(0.0, A[0]) - y * A[0]))
        high = A.max(axis=0)
        log_sum = high + np.log(np.exp(A - high).sum(axis=0))
        return float(np.mean(log_sum - A[y, np.arange(len(y))]))


def _limits(*values: float | None) -> dict[str, float]:
    return {peer: v for peer, v in zip(PEERS, values, strict=False) if v is not None}


def _mnist(
    hidden: tuple[int, ...],
    batch: int,
    batches: int,
    epochs: int,
    limits: tuple[float | None, ...],
    fused: tuple[float | None, ...],
) -> Workload:
    sizes, both = (784, *hidden, 10), (_limits(*limits), _limits(*fused))
    name = "-".join(map(str, sizes))
    return Workload(name, sizes, batch * batches, batch, epochs, both[0], fused=both[1])


# The targets are in the order of PEERS: without Numba, then with it.
WORKLOADS = (
    Workload(
        "planar",
        (2, 4, 1),
        400,
        None,
        2000,
        _limits(4.3, 0.16, 0.08),
        "tanh",
        rate=0.5,
        fused=_limits(1.9, 0.08, 0.05, None, 0.7),
    ),
    Workload(
        "30-32-1",
        (30, 32, 1),
        2048,
        32,
        20,
        _limits(5.8, 0.13, 0.09),
        fused=_limits(0.85, 0.03, 0.03, None, 0.38),
    ),
    Workload(
        "64-64-10",
        (64, 64, 10),
        2048,
        64,
        20,
        _limits(3.3, 0.18, 0.17, None, 1.5),
        fused=_limits(1.25, 0.08, 0.08, None, 0.52),
    ),
    _mnist((256, 128), 128, 32, 4, (1.5, 0.5, 0.9, None, 1.2), (1.12, 0.4, 0.7, None, 0.86)),
    _mnist((1024, 1024), 256, 8, 4, (1.28, 0.57, 1.15, None, 1.06), (1.15, 0.55, 1.06, None, 0.98)),
    _mnist((256,), 128, 32, 4, (1.6, 0.48, 0.86, None, 1.2), (1.08, 0.36, 0.65, None, 0.84)),
    _mnist((1024,), 128, 16, 3, (1.5, 0.46, 1.15, None, 1.15), (1.15, 0.38, 0.9, None, 0.9)),
    _mnist((4096,), 128, 8, 4, (1.6, 0.38, 1.3, None, 1.25), (1.18, 0.32, 1.03, None, 0.96)),
    # the workload of SimpleChains.jl's small nets, an epoch a step: measured, not judged
    Workload("4-32-16-4", (4, 32, 16, 4), 10_000, None, 100, {}, "tanh", rate=0.1),
    Workload(
        "cat",
        (12288, 20, 7, 5, 1),
        209,
        None,
        60,
        _limits(1.1, 0.80, 0.72, 0.30),
        rate=0.0075,
    ),
    Workload("lbfgs-100", (100, 1), 20000, None, 1, {"sklearn": 0.95}, kind="lbfgs"),
    Workload("lbfgs-784", (784, 10), 10000, None, 1, {"sklearn": 0.95}, kind="lbfgs"),
    Workload(
        "predict-784-256-128-10",
        (784, 256, 128, 10),
        100_000,
        None,
        1,
        {"sklearn": 0.45, "torch": 0.90},
        kind="inference",
    ),
    Workload(
        "predict-30-32-1",
        (30, 32, 1),
        100_000,
        None,
        1,
        {"sklearn": 0.80, "torch": 1.1},
        kind="inference",
    ),
)
