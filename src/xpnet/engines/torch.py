"""The PyTorch engine: the bias inside the product, in-place elementwise work, no autograd."""

from __future__ import annotations

from typing import Any

import torch

from xpnet._typing import Array
from xpnet.activations import Activation, relu, sigmoid, tanh
from xpnet.engines import generic
from xpnet.leaves import Leaves
from xpnet.optimizers import (
    Adam,
    AdamW,
    GradientDescent,
    Moments,
    Momentum,
    RMSProp,
)

_IN_PLACE = {relu: torch.relu_, tanh: torch.tanh_, sigmoid: torch.sigmoid_}


class TorchLeaves(Leaves):
    """Leaves that write over arrays the step itself made, never over data or parameters."""

    def affine(self, W: Array, A: Array, b: Array) -> Array:
        return torch.addmm(b, W, A)  # (n_out, m)

    def activate(self, activation: Activation, Z: Array) -> Array:
        in_place = _IN_PLACE.get(activation)
        return in_place(Z) if in_place else super().activate(activation, Z)

    def bias_gradient(self, layer: int, dZ: Array) -> Array:
        return torch.sum(dZ, dim=1, keepdim=True)  # (n_out, 1)

    def slope(self, activation: Activation, dA: Array, A: Array) -> Array:
        if activation == relu:
            return dA.mul_(A > 0)
        if activation == tanh:
            return dA.addcmul_(dA, A * A, value=-1.0)  # dA - dA A^2
        return super().slope(activation, dA, A)


class TrainingLeaves(TorchLeaves):
    """Leaves of a program, which owns ``theta`` and ``moments`` and moves them in place."""

    def penalize_gradient(self, l2: Array | float, theta: Array, gradient: Array) -> Array:
        n = self.layout.n_weights
        gradient[:n].add_(theta[:n], alpha=l2)
        return gradient

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
            theta.addcdiv_(gradient, s.sqrt().add_(scalars[1]), value=-scalars[0])
        elif rule in (Adam.update, AdamW.update):
            m, v = moments
            if rule is AdamW.update:
                theta[: self.layout.n_weights].mul_(scalars[2])
            m.mul_(optimizer.beta1).add_(gradient)
            v.mul_(optimizer.beta2).addcmul_(gradient, gradient)
            theta.addcdiv_(m, v.sqrt().add_(scalars[1]), value=-scalars[0])
        else:
            return super().update(optimizer, theta, moments, gradient, scalars)
        return theta, moments


class Program(generic.Program):
    """A step is a call; the state is moved in place."""

    def start(self) -> None:
        self.restore((self.theta, self.moments))
        self.ops = TrainingLeaves(self.engine.backend.xp, self.engine.objective.layout)

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
