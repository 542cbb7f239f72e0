"""The PyTorch engine: the bias inside the product, in-place elementwise work, no autograd."""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from xpnet._typing import Array
from xpnet.activations import Activation, relu, sigmoid, tanh
from xpnet.engines import generic
from xpnet.engines.torch_dropout import Masks
from xpnet.leaves import Batch, Leaves
from xpnet.losses import Loss, bernoulli, categorical
from xpnet.optimizers import (
    Adam,
    AdamW,
    GradientDescent,
    Moments,
    Momentum,
    RMSProp,
)
from xpnet.parameters import Layer, Layout

MASKS = 64  # layers and batch lengths; a stream may bring batches of many lengths

_relu_slope = torch.ops.aten.threshold_backward.default
_IN_PLACE = {relu: torch.relu_, tanh: torch.tanh_, sigmoid: torch.sigmoid_}


class TorchLeaves(Leaves):
    """Leaves that write over arrays the step itself made, never over data or parameters."""

    def gather(self, batch: Batch) -> tuple[Array, Array, Array | float]:
        (X, Y, w), rows = batch
        if rows is None or w is not None:
            return super().gather(batch)
        return X.index_select(0, rows).T, Y.index_select(0, rows).T, 1.0 / len(rows)

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
            # Products of subnormal numbers are many times slower, and mean nothing beside a sum.
            least = 0.5 * log(torch.finfo(Z.dtype).smallest_normal)
            return cost, logs.clamp_(min=least).exp_().mul_(s).sub_(sY)
        return super().output(loss, Z, Y, s)

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        return torch.sum(dZ, dim=1, keepdim=True)  # (n_out, 1)

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        if activation == relu:
            return _relu_slope(dA, A, 0)  # a third of the time of dA * (A > 0)
        if activation == tanh:
            return dA.addcmul_(dA, A * A, value=-1.0)  # dA - dA A^2
        return super().slope(activation, dA, A)


class TrainingLeaves(TorchLeaves):
    """Leaves of a program, which owns ``theta`` and ``moments`` and moves them in place.

    The gradient has its memory too, each layer's products going where they belong: a new vector
    per step costs a large net as many page faults as it has pages.
    """

    def __init__(self, xp: Any, layout: Layout, theta: Array) -> None:
        super().__init__(xp, layout)
        self.gradient, self.scratch = torch.empty_like(theta), torch.empty_like(theta)
        self.gradients = layout.layers(self.gradient, xp=xp)
        self.masks: dict[tuple[int, int], Masks] = {}

    def drop(
        self, layer: int, rate: float, A: Array, key: Sequence[Array | float]
    ) -> tuple[Array, Array]:
        n, m = A.shape
        masks = self.masks.get((layer, m))
        if masks is None:
            if len(self.masks) == MASKS:
                self.masks.clear()
            masks = self.masks[layer, m] = Masks(layer, n, m, rate, A)
        D = masks.of(key)  # (n, m)
        return A * D, D

    def undrop(self, dA: Array, D: Array) -> Array:
        return dA.mul_(D)

    def weight_gradient(self, layer: int, dZ: Array, A_prev: Array) -> Array:
        return torch.mm(dZ, A_prev.T, out=self.gradients[layer].W)  # (n_out, n_in)

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        return torch.sum(dZ, dim=1, keepdim=True, out=self.gradients[layer].b)  # (n_out, 1)

    def flatten(self, gradients: list[Layer]) -> Array:
        return self.gradient

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
        rule: Any = type(optimizer).update
        if rule is GradientDescent.update:
            theta.add_(gradient, alpha=-scalars[0])
        elif rule is Momentum.update:
            (velocity,) = moments
            velocity.mul_(optimizer.momentum).add_(gradient, alpha=-scalars[0])
            if optimizer.nesterov:
                theta.add_(velocity, alpha=optimizer.momentum)
                theta.add_(gradient, alpha=-scalars[0])
            else:
                theta.add_(velocity)
        elif rule is RMSProp.update:
            (s,) = moments
            s.mul_(optimizer.rho).addcmul_(gradient, gradient)
            root = torch.sqrt(s, out=self.scratch).add_(scalars[1])
            theta.addcdiv_(gradient, root, value=-scalars[0])
        elif rule in (Adam.update, AdamW.update):
            m, v = moments
            if rule is AdamW.update:
                theta[: self.layout.n_weights].mul_(scalars[2])
            torch.add(gradient, m, alpha=optimizer.beta1, out=m)
            v.mul_(optimizer.beta2).addcmul_(gradient, gradient)
            root = torch.sqrt(v, out=self.scratch).add_(scalars[1])
            theta.addcdiv_(m, root, value=-scalars[0])
        else:
            # a rule of the user's may keep the gradient, whose memory the next step writes to
            return super().update(optimizer, theta, moments, gradient.clone(), scalars)
        return theta, moments


class Program(generic.Program):
    """A step is a call; the state is moved in place."""

    def start(self) -> None:
        self.restore((self.theta, self.moments))
        self.ops = TrainingLeaves(self.ops.xp, self.ops.layout, self.theta)

    def run(self, orders: np.ndarray | None, table: np.ndarray) -> Array:
        places = None if orders is None else self.engine.backend.asarray(orders)
        batches = self.minibatches(places)
        return torch.stack(
            [self.step(rows, scalars) for rows, scalars in zip(batches, table.tolist())]
        )

    def snapshot(self) -> tuple[Array, Moments]:
        return self.theta.clone(), tuple(m.clone() for m in self.moments)

    def restore(self, state: tuple[Array, Moments]) -> None:
        theta, moments = state
        self.theta, self.moments = theta.clone(), tuple(m.clone() for m in moments)


class Engine(generic.Engine):
    """See ``generic.Engine``."""

    def leaves(self) -> Leaves:
        return TorchLeaves(self.backend.xp, self.objective.layout)

    program_type = Program
