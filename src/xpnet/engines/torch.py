"""The PyTorch engine: the bias inside the product, in-place elementwise work, no autograd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from math import log, sqrt
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from xpnet._typing import Array
from xpnet.core.activations import Activation, relu, sigmoid, tanh
from xpnet.core.leaves import Batch, Leaves
from xpnet.core.losses import Loss, bernoulli, categorical
from xpnet.core.optimizers import Adam, AdamW, GradientDescent, Moments, Momentum, RMSProp
from xpnet.core.parameters import Layer, Layout
from xpnet.engines import generic
from xpnet.engines.torch_dropout import Masks

BLOCK = 2**16  # parameters that a rule of several passes updates at a time on a CPU ...
MANY = 2**19  # ... in a net with at least so many; they stay in cache between its passes
MASKS = 64  # layers and batch lengths; a stream may bring batches of many lengths

# The number of a step at which beta^t is nothing, for beta <= 1/2.
_LATE = torch.tensor(1024.0, dtype=torch.float32, device="cpu")

_relu_slope = torch.ops.aten.threshold_backward.default
_IN_PLACE = {relu: torch.relu_, tanh: torch.tanh_, sigmoid: torch.sigmoid_}


class TorchLeaves(Leaves):
    """Leaves that write over arrays the step itself made, never over data or parameters."""

    def gather(
        self, batch: Batch, share: Array | float | None = None
    ) -> tuple[Array, Array, Array | float]:
        (X, Y, w), rows = batch
        if rows is None or w is not None:
            return super().gather(batch, share)
        Y = self.target_rows(Y.index_select(0, rows), X.dtype)
        return X.index_select(0, rows).T, Y.T, 1.0 / len(rows)

    def affine(self, W: Array, A: Array, b: Array) -> Array:
        return torch.addmm(b, W, A)  # (n_out, m)

    def activate(self, activation: Activation, Z: Array) -> Array:
        in_place = _IN_PLACE.get(activation)
        return in_place(Z) if in_place else super().activate(activation, Z)

    def output(self, loss: Loss, Z: Array, Y: Array, s: Array | float) -> tuple[Array, Array]:
        if loss == bernoulli:
            losses = binary_cross_entropy_with_logits(Z, Y, reduction="none")
            return (losses * s).sum(), torch.sigmoid(Z).sub_(Y).mul_(s)
        if loss == categorical:
            logs = log_softmax(Z, dim=0)
            sY = Y * s
            cost = -(logs * sY).sum()
            # Products of subnormal numbers are many times slower, and too small to change a sum.
            least = 0.5 * log(torch.finfo(Z.dtype).smallest_normal)
            return cost, logs.clamp_(min=least).exp_().mul_(s).sub_(sY)
        return super().output(loss, Z, Y, s)

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        if activation == relu:
            return _relu_slope(dA, A, 0)  # a third of the time of dA * (A > 0)
        if activation == tanh:
            return dA.addcmul_(dA, A * A, value=-1.0)  # dA - dA A^2
        return super().slope(activation, dA, A)


class TrainingLeaves(TorchLeaves):
    """Leaves of a program, which owns ``theta`` and ``moments`` and moves them in place.

    They also own the memory of the gradient, and each layer's products are written into it: a new
    vector per step would cost a large net a page fault for each of its pages.
    """

    def __init__(self, xp: Any, layout: Layout, theta: Array, ranks: Any) -> None:
        super().__init__(xp, layout)
        self.ranks = ranks
        self.vector = theta.new_empty(len(theta) + (ranks is not None))  # with room for the cost
        self.gradient, self.scratch = self.vector[: len(theta)], torch.empty_like(theta)
        self.gradients = layout.layers(self.gradient, xp=xp)
        self.masks: dict[tuple[int, int], Masks] = {}
        self._blocks: list[tuple[Array, ...]] = []

    def drop(
        self, layer: int, rate: float, A: Array, key: Sequence[Array | float]
    ) -> tuple[Array, Array]:
        n, m = A.shape
        masks = self.masks.get((layer, m))
        if masks is None:
            if len(self.masks) == MASKS:
                self.masks.clear()
            masks = self.masks[layer, m] = Masks(layer, n, self.places(m)[0], rate, A)
        D = masks.of(key)[:, self.places(m)[1]]  # (n, m)
        return A * D, D

    def undrop(self, dA: Array, D: Array) -> Array:
        return dA.mul_(D)

    def weight_gradient(self, layer: int, dZ: Array, A_prev: Array) -> Array:
        return torch.mm(dZ, A_prev.T, out=self.gradients[layer].W)  # (n_out, n_in)

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        return torch.sum(dZ, dim=1, keepdim=True, out=self.gradients[layer].b)  # (n_out, 1)

    def flatten(self, gradients: list[Layer]) -> Array:
        return self.gradient

    def allreduce(self, cost: Array, gradient: Array) -> tuple[Array, Array]:
        if self.ranks is None:
            return cost, gradient
        self.vector[-1] = cost
        total = self.ranks.add_up(self.vector)
        if total.data_ptr() != self.vector.data_ptr():  # it was not added up in place
            self.vector.copy_(total)
        return self.vector[-1].clone(), gradient

    def penalize_cost(self, l2: Array | float, theta: Array, cost: Array) -> Array:
        weights = theta[: self.layout.n_weights]
        return torch.add(cost, torch.dot(weights, weights), alpha=0.5 * l2)

    def penalize_gradient(self, l2: Array | float, theta: Array, gradient: Array) -> Array:
        n = self.layout.n_weights
        gradient[:n].add_(theta[:n], alpha=l2)
        return gradient

    def sparsify_gradient(self, l1: Array | float, theta: Array, gradient: Array) -> Array:
        n = self.layout.n_weights
        gradient[:n].add_(torch.sign(theta[:n], out=self.scratch[:n]), alpha=l1)
        return gradient

    def clip(self, clip_norm: Array | float, gradient: Array) -> Array:
        norm = torch.dot(gradient, gradient).sqrt_()  # vector_norm is less exact in float32
        # as in leaves.py
        return gradient.mul_((norm - norm).add_(clip_norm / norm.clamp(min=clip_norm)))

    def update(
        self,
        optimizer: Any,
        theta: Array,
        moments: Moments,
        gradient: Array,
        scalars: tuple[Array, ...],
    ) -> tuple[Array, Moments]:
        # By rule, not by class: a subclass with other scalars keeps the fast rule.
        move = _MOVES.get(type(optimizer).update)
        if move is None:
            # A user's rule may keep the gradient, whose memory the next step overwrites.
            new, others = super().update(optimizer, theta, moments, gradient.clone(), scalars)
            generic.overwrite((theta, *moments), (new, *others), xp=self.xp)
            return theta, moments
        if type(optimizer).update is AdamW.update:
            theta[: self.layout.n_weights].mul_(scalars[2])
        if move is _adam and theta.device.type == "cpu" and one_pass_is_as_known():
            _adam_in_one_pass(optimizer, scalars, theta, gradient, *moments)
            return theta, moments
        for block in self._blocks or self._in_blocks(theta, gradient, self.scratch, *moments):
            move(optimizer, scalars, *block)
        return theta, moments

    def _in_blocks(self, *vectors: Array) -> list[tuple[Array, ...]]:
        """The vectors, which are the same in every step; on a CPU in blocks that fit in cache."""
        on_cpu, size = vectors[0].device.type == "cpu", len(vectors[0])
        size = BLOCK if on_cpu and size >= MANY else size
        self._blocks = list(zip(*(torch.split(x, size) for x in vectors), strict=True))
        return self._blocks


def _descend(rule: Any, scalars: Moments, theta: Array, g: Array, t: Array) -> None:
    theta.add_(g, alpha=-scalars[0])


def _momentum(rule: Any, scalars: Moments, theta: Array, g: Array, t: Array, v: Array) -> None:
    v.mul_(rule.momentum).add_(g, alpha=-scalars[0])
    if rule.nesterov:
        theta.add_(v, alpha=rule.momentum)
        theta.add_(g, alpha=-scalars[0])
    else:
        theta.add_(v)


def _rmsprop(rule: Any, scalars: Moments, theta: Array, g: Array, t: Array, s: Array) -> None:
    s.mul_(rule.rho).addcmul_(g, g)
    theta.addcdiv_(g, torch.sqrt(s, out=t).add_(scalars[1]), value=-scalars[0])


def _adam(rule: Any, scalars: Moments, theta: Array, g: Array, t: Array, *moments: Array) -> None:
    m, v = moments
    torch.add(g, m, alpha=rule.beta1, out=m)
    v.mul_(rule.beta2).addcmul_(g, g)
    theta.addcdiv_(m, torch.sqrt(v, out=t).add_(scalars[1]), value=-scalars[0])


def _adam_in_one_pass(rule: Any, scalars: Moments, theta: Array, g: Array, *moments: Array) -> None:
    """``_adam`` by PyTorch's own kernel, whose running means have the factors ``1 - beta``.

    Called with ``beta / (1 + beta)`` it makes of ``m`` and ``g`` the mean
    ``(beta m + g) / (1 + beta)``: the moment of this step, but for a factor. That is taken out
    after each step, in whatever part of an epoch a fit is broken off. A late step's number leaves
    the correction of the bias to ``scalars``.
    """
    m, v = moments
    up1, up2 = 1.0 + rule.beta1, 1.0 + rule.beta2
    torch._fused_adam_(
        *([theta], [g], [m], [v], [], [_LATE]),
        lr=scalars[0] * up1 / sqrt(up2),
        beta1=rule.beta1 / up1,
        beta2=rule.beta2 / up2,
        weight_decay=0.0,
        eps=scalars[1] / sqrt(up2),
        amsgrad=False,
        maximize=False,
    )
    m.mul_(up1)
    v.mul_(up2)


@cache
def one_pass_is_as_known() -> bool:
    """Whether this PyTorch has the kernel, which is private to it, and it does what is expected."""
    values = torch.linspace(0.1, 1.0, 19, dtype=torch.float64, device="cpu")  # vectors, and a rest
    found, expected = ([k * values for k in range(1, 5)] for _ in range(2))
    rule, scalars = Adam(), (0.1, 0.3)
    _adam(rule, scalars, *expected[:2], torch.empty_like(values), *expected[2:])
    try:
        _adam_in_one_pass(rule, scalars, *found)
    except (AttributeError, TypeError, RuntimeError):
        return False
    return all(map(torch.allclose, found, expected))


_MOVES: dict[Any, Callable[..., None]] = {
    GradientDescent.update: _descend,
    Momentum.update: _momentum,
    RMSProp.update: _rmsprop,
    Adam.update: _adam,
    AdamW.update: _adam,
}


class Program(generic.Program):
    """A step is a call; the state is moved in place."""

    name = "torch"

    def start(self) -> None:
        super().start()
        self.ops = TrainingLeaves(self.ops.xp, self.ops.layout, self.theta, self.ops.ranks)

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        places = None if orders is None else self.engine.backend.asarray(orders)
        batches = self.minibatches(places)
        return torch.stack(
            [self.step(rows, scalars) for rows, scalars in zip(batches, table.tolist())]
        )

    def tidy(self) -> None:
        if self.theta.device.type != "cpu":
            return
        for x, least in self.least(torch.finfo(self.theta.dtype)):
            x.masked_fill_(x.abs() < least, 0.0)

    def restore(self, state: tuple[Array, Moments]) -> None:
        for mine, saved in zip((self.theta, *self.moments), (state[0], *state[1]), strict=True):
            mine.copy_(saved)


class Engine(generic.Engine):
    """See ``generic.Engine``."""

    def leaves(self) -> Leaves:
        return TorchLeaves(self.backend.xp, self.objective.layout)

    program_type = Program
