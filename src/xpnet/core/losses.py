"""Losses, each with its canonical link, read from the logits ``Z`` of the output layer.

With the canonical link the derivative of every one of them is ``dZ = predict(Z) - Y``
(McCullagh & Nelder 1989, section 2.2.4), for OLS, logistic and softmax regression alike. Computed
from ``Z`` they contain no ``log(0)``, and nothing needs clipping.

Poisson regression, with the exponential as its link, has the same derivative. The estimators use
it; ``DeepNet`` offers the first three.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import log, log1p
from typing import Any

from xpnet._typing import Array, Namespace
from xpnet.core.activations import sigmoid


@dataclass(frozen=True)
class Loss:
    """A loss of logits ``Z`` and targets ``Y``, both ``(n_y, m)``.

    Parameters
    ----------
    name : str
        The distribution whose negative log-likelihood it is.
    output : str
        The name of its link: what the output layer is called in ``DeepNet``.
    predict : callable (Z, *, xp) -> A
        The mean of the distribution, ``(n_y, m)``.
    value : callable (Z, Y, *, xp) -> array
        The loss of each example, ``(1, m)``, summed over outputs.
    reported : bool
        Whether ``value`` is the one that scikit-learn reports (see ``as_reported``). The
        derivative is the exact one in both cases.
    """

    name: str
    output: str
    predict: Callable[..., Array] = field(repr=False)
    value: Callable[..., Array] = field(repr=False)
    reported: bool = False

    @property
    def exact(self) -> Loss:
        """The same loss with its exact value, of which ``predict(Z) - Y`` is the derivative."""
        return _ALL[self.output] if self.reported else self

    def __reduce__(self) -> tuple[Callable[..., Loss], tuple[str, bool]]:
        return _by_name, (self.output, self.reported)  # its functions are lambdas


def _sum_outputs(x: Array, xp: Namespace) -> Array:
    return xp.sum(x, axis=0, keepdims=True)  # (1, m)


def _squared(Z: Array, Y: Array, *, xp: Namespace) -> Array:
    return 0.5 * _sum_outputs((Z - Y) * (Z - Y), xp)


def _bernoulli(Z: Array, Y: Array, *, xp: Namespace) -> Array:
    # -(Y log A + (1 - Y) log(1 - A)) with A = sigmoid(Z), finite for every finite Z
    return _sum_outputs(xp.maximum(Z, 0.0) - Z * Y + xp.log1p(xp.exp(-xp.abs(Z))), xp)


def _shifted(Z: Array, xp: Namespace) -> Array:
    # softmax(Z + c) = softmax(Z); with the largest logit at 0 no exponential overflows
    return Z - xp.max(Z, axis=0, keepdims=True)


def _softmax(Z: Array, *, xp: Namespace) -> Array:
    E = xp.exp(_shifted(Z, xp))
    return E / _sum_outputs(E, xp)


def _categorical(Z: Array, Y: Array, *, xp: Namespace) -> Array:
    # -sum(Y log softmax(Z)) = log(sum(e^Z)) - sum(Y Z), since the columns of Y sum to one
    Z = _shifted(Z, xp)
    return xp.log(_sum_outputs(xp.exp(Z), xp)) - _sum_outputs(Z * Y, xp)


def _poisson(Z: Array, Y: Array, *, xp: Namespace) -> Array:
    # half the deviance, Y log(Y / A) - Y + A with A = e^Z, where 0 log 0 = 0
    tiny = float(xp.finfo(Z.dtype).smallest_normal)
    return _sum_outputs(xp.exp(Z) - Y * Z + Y * (xp.log(xp.maximum(Y, tiny)) - 1.0), xp)


squared = Loss("squared", "identity", predict=lambda Z, *, xp: Z, value=_squared)
bernoulli = Loss("bernoulli", "sigmoid", predict=sigmoid.value, value=_bernoulli)
categorical = Loss("categorical", "softmax", predict=_softmax, value=_categorical)
poisson = Loss("poisson", "exp", predict=lambda Z, *, xp: xp.exp(Z), value=_poisson)

LOSSES = {loss.output: loss for loss in (squared, bernoulli, categorical)}
_ALL = LOSSES | {poisson.output: poisson}


def get_loss(output: str) -> Loss:
    """The loss whose link is called ``output``: "identity", "sigmoid" or "softmax".

    Raises
    ------
    ValueError
        No loss has that link.
    """
    if output not in LOSSES:
        raise ValueError(f"unknown output {output!r}; choose one of {sorted(LOSSES)}")
    return LOSSES[output]


def _by_name(output: str, reported: bool = False) -> Loss:
    return as_reported(_ALL[output]) if reported else _ALL[output]


# -- as scikit-learn reports it ----------------------------------------------------------
def log_loss_range(dtype: Any, *, xp: Namespace) -> tuple[float, float]:
    """The least and the greatest reported log-loss: probabilities are in [eps, 1 - eps]."""
    eps = float(xp.finfo(dtype).eps)
    return -log1p(-eps), -log(eps)


def _clipped(losses: Array, *, xp: Namespace) -> Array:
    low, high = log_loss_range(losses.dtype, xp=xp)
    return xp.minimum(xp.maximum(losses, low), high)


def _reported_bernoulli(Z: Array, Y: Array, *, xp: Namespace) -> Array:
    # one output at a time: the clip comes before the sum over outputs
    each = xp.maximum(Z, 0.0) - Z * Y + xp.log1p(xp.exp(-xp.abs(Z)))
    return _sum_outputs(_clipped(each, xp=xp), xp)


_REPORTED = {
    squared: lambda Z, Y, *, xp: _squared(Z, Y, xp=xp) / Z.shape[0],
    bernoulli: _reported_bernoulli,
    categorical: lambda Z, Y, *, xp: _clipped(_categorical(Z, Y, xp=xp), xp=xp),
    poisson: poisson.value,
}


def as_reported(loss: Loss) -> Loss:
    """The loss with the value scikit-learn's nets report, for 0/1 and one-hot targets.

    Their log-losses are of probabilities clipped to [eps, 1 - eps], which for a target of 0 or 1
    is a clip of the loss itself; their squared error is averaged over the outputs. The gradient
    they follow is the exact one, of the sum over outputs, and so is this loss's.
    """
    return loss if loss.reported else replace(loss, value=_REPORTED[loss], reported=True)
