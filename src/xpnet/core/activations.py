"""Activations as pairs of a value and a slope.

The slope is written in terms of the *output* ``A = g(Z)``, so a layer caches nothing but the
inputs of the next one, and an engine may overwrite ``Z`` with ``A``. GELU and SiLU are not here
because their slope needs ``Z``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TypeAlias

from xpnet._typing import Array, Namespace

# How another format writes an activation: its name there, and its settings there.
Operator: TypeAlias = tuple[str, dict[str, float]]


def operator(name: str, **settings: float) -> Operator:
    return name, settings


@dataclass(frozen=True)
class Activation:
    """A function ``g`` and its derivative, elementwise.

    Parameters
    ----------
    name : str
        What ``repr`` and model files call it.
    value : callable
        ``value(Z, xp=xp)`` is ``g(Z)``, for any shape, written with the functions of the namespace
        ``xp`` (which ``xpnet`` passes by keyword).
    slope : callable
        ``slope(A, xp=xp)`` is ``g'(Z)`` as a function of the output ``A = g(Z)``.
    gain : float
        Variance that the initialiser of a layer with this activation should restore:
        2 for ReLU (He et al. 2015), 1 for functions that look like the identity near zero.
    onnx_operator, torch_module : (str, dict), optional
        The ONNX operator and the class of ``torch.nn`` that compute it, with their settings. Files
        are written with xpnet's own activations only.

    Examples
    --------
    >>> import xpnet
    >>> scaled = xpnet.Activation(
    ...     "scaled_tanh",
    ...     value=lambda Z, *, xp: 1.7 * xp.tanh(Z),
    ...     slope=lambda A, *, xp: 1.7 - A * A / 1.7,
    ... )
    >>> xpnet.DeepNet([2, 3, 1], hidden=scaled)
    DeepNet([2, 3, 1], hidden='scaled_tanh', output='sigmoid') <13 parameters, not placed yet>
    """

    name: str
    value: Callable[..., Array] = field(repr=False)
    slope: Callable[..., Array] = field(repr=False)
    gain: float = field(default=1.0, repr=False)
    # Not compared: engines look activations up by their hash in every step.
    onnx_operator: Operator | None = field(default=None, repr=False, compare=False)
    torch_module: Operator | None = field(default=None, repr=False, compare=False)

    def __reduce__(self) -> tuple[Callable[..., Activation], tuple]:
        # The library's own are pickled by name: their functions are lambdas, which pickle refuses.
        if ACTIVATIONS.get(self.name) == self:
            return get_activation, (self.name,)
        return Activation, tuple(getattr(self, f.name) for f in fields(self))


def _positive(a: Array, xp: Namespace) -> Array:
    """1 where ``a > 0``, else 0, in the dtype of ``a`` (cheaper than ``where`` everywhere)."""
    return xp.astype(a > 0, a.dtype)


def _sigmoid(z: Array, *, xp: Namespace) -> Array:
    # 1 / (1 + e^-z) overflows for z << 0; this form is equal and never does.
    e = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1.0 / (1.0 + e), e / (1.0 + e))


def _softplus(z: Array, *, xp: Namespace) -> Array:
    # log(1 + e^z) = max(z, 0) + log(1 + e^-|z|): no overflow for z >> 0.
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


identity = Activation(
    "identity",
    value=lambda z, *, xp: z,
    slope=lambda a, *, xp: xp.ones_like(a),
    onnx_operator=operator("Identity"),
    torch_module=operator("Identity"),
)
sigmoid = Activation(
    "sigmoid",
    value=_sigmoid,
    slope=lambda a, *, xp: a * (1.0 - a),
    onnx_operator=operator("Sigmoid"),
    torch_module=operator("Sigmoid"),
)
tanh = Activation(
    "tanh",
    value=lambda z, *, xp: xp.tanh(z),
    slope=lambda a, *, xp: 1.0 - a * a,
    onnx_operator=operator("Tanh"),
    torch_module=operator("Tanh"),
)
relu = Activation(
    "relu",
    value=lambda z, *, xp: xp.maximum(z, 0.0),
    slope=lambda a, *, xp: _positive(a, xp),
    gain=2.0,
    onnx_operator=operator("Relu"),
    torch_module=operator("ReLU"),
)
leaky_relu = Activation(
    "leaky_relu",
    value=lambda z, *, xp: xp.maximum(z, 0.01 * z),
    slope=lambda a, *, xp: 0.01 + 0.99 * _positive(a, xp),
    gain=2.0,
    onnx_operator=operator("LeakyRelu", alpha=0.01),
    torch_module=operator("LeakyReLU", negative_slope=0.01),
)
elu = Activation(  # Clevert et al. 2016, equation 15 with alpha = 1: g' = g + 1 for z <= 0
    "elu",
    value=lambda z, *, xp: xp.maximum(z, 0.0) + xp.expm1(xp.minimum(z, 0.0)),
    slope=lambda a, *, xp: 1.0 + xp.minimum(a, 0.0),
    onnx_operator=operator("Elu", alpha=1.0),
    torch_module=operator("ELU"),
)
softplus = Activation(  # g' = sigmoid(z) = 1 - e^-a
    "softplus",
    value=_softplus,
    slope=lambda a, *, xp: -xp.expm1(-a),
    onnx_operator=operator("Softplus"),
    # Above its threshold PyTorch returns z: at 20, the default, that is off by 2e-9.
    torch_module=operator("Softplus", threshold=40.0),
)

ACTIVATIONS = {a.name: a for a in (identity, sigmoid, tanh, relu, leaky_relu, elu, softplus)}


def get_activation(activation: str | Activation) -> Activation:
    """The activation of this name; an ``Activation`` is returned as it is.

    Raises
    ------
    ValueError
        No activation has that name; the message lists those that exist.
    """
    if isinstance(activation, Activation):
        return activation
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {activation!r}; choose one of {sorted(ACTIVATIONS)} "
            "or pass an xpnet.Activation"
        )
    return ACTIVATIONS[activation]
