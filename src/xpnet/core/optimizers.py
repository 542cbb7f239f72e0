"""Optimisers: frozen settings, whose state is passed in and returned.

An optimiser turns ``(theta, moments, gradient)`` into new ``(theta, moments)``. All of these
are flat vectors ``(n_parameters,)``. Numbers that change from step to step (learning rate, bias
correction) are *scalars*, which ``scalars`` computes on the host for many steps ahead: a compiled
step then needs no new constant, and no value is read from the device between steps.

Moments are kept without their ``1 - beta`` factors (``m = beta m + g``), which are folded into
the scalars instead: two operations fewer per step, the same numbers to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np

from xpnet._typing import Array, Namespace
from xpnet.core.settings import CheckedNumbers, number

Moments = tuple[Array, ...]
Scalars = tuple[Array, ...]


@runtime_checkable
class Optimizer(Protocol):
    """The interface of the optimisers that ``DeepNet.fit`` takes.

    An optimiser has settings and no state: the moments are passed in and returned. ``n_moments``
    says how many vectors of moments it keeps, each as long as the vector of all parameters.

    Examples
    --------
    >>> import xpnet
    >>> class SignDescent:
    ...     n_moments = 0
    ...     learning_rate = 0.05
    ...
    ...     def scalars(self, t, rate):
    ...         return [rate]
    ...
    ...     def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
    ...         return theta - scalars[0] * xp.sign(gradient), moments
    >>> X, y = xpnet.load_digits()
    >>> history = xpnet.DeepNet([64, 10], output="softmax").fit(X.T / 16, y, SignDescent())
    >>> history.cost[-1] < history.cost[0]
    True
    """

    n_moments: ClassVar[int]

    @property
    def learning_rate(self) -> float: ...

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        """Compute the numbers that change from step to step, on the host, for many steps at once.

        Parameters
        ----------
        t : ndarray (steps,)
            Numbers of the steps, from 1.
        rate : ndarray (steps,)
            Their learning rates, the schedule's factor included.

        Returns
        -------
        list of ndarray (steps,)
            ``update`` gets one entry of each.
        """

    def update(
        self,
        theta: Array,
        moments: Moments,
        gradient: Array,
        scalars: Scalars,
        *,
        n_weights: int,
        xp: Namespace,
    ) -> tuple[Array, Moments]:
        """Make one step.

        Parameters
        ----------
        theta : array (n_parameters,)
            All weights, then all biases.
        moments : tuple of array (n_parameters,)
            Zeros before the first step.
        gradient : array (n_parameters,)
            Of the cost, at ``theta``.
        scalars : tuple of array ()
            What ``scalars`` computed for this step.
        n_weights : int
            How many entries of ``theta`` are weights: the first ones.
        xp : module
            The namespace of the arrays.

        Returns
        -------
        theta, moments : array and tuple of array
            The new ones. The old arrays must not be written to.
        """


@dataclass(frozen=True)
class GradientDescent(CheckedNumbers):
    """Gradient descent: ``theta := theta - learning_rate * gradient``.

    Parameters
    ----------
    learning_rate : float
        Length of a step per unit of the gradient.

    Raises
    ------
    TypeError, ValueError
        A setting of this or of another optimiser is no number, or outside its limits.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X = np.array([[0.0, 1.0, 2.0, 3.0]])
    >>> net = xpnet.linear_regression(1)
    >>> history = net.fit(X, 2 * X + 1, xpnet.GradientDescent(0.1), epochs=500, batch_size=None)
    >>> net.predict(X).round(3)
    array([[1., 3., 5., 7.]])
    """

    learning_rate: float = 0.01
    n_moments: ClassVar[int] = 0

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        return [rate]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        (rate,) = scalars
        return theta - rate * gradient, moments


@dataclass(frozen=True)
class Momentum(CheckedNumbers):
    """Gradient descent with classical or Nesterov momentum, in velocity form.

    Parameters
    ----------
    learning_rate : float
        Length of a step per unit of the gradient.
    momentum : float
        Share of the velocity that a step keeps, in [0, 1).
    nesterov : bool
        Whether the gradient counts as taken where the velocity leads.

    Notes
    -----
    ``v := momentum * v - learning_rate * g``, ``theta := theta + v``; with ``nesterov``
    ``theta := theta + momentum * v - learning_rate * g``.

    References
    ----------
    Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning",
    equations 1 to 4.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X, rule = np.array([[0.0, 1.0, 2.0, 3.0]]), xpnet.Momentum(0.02, nesterov=True)
    >>> net = xpnet.linear_regression(1)
    >>> history = net.fit(X, 2 * X + 1, rule, epochs=500, batch_size=None)
    >>> net.predict(X).round(3)
    array([[1., 3., 5., 7.]])
    """

    learning_rate: float = 0.01
    momentum: float = number(0.9, below=1.0)
    nesterov: bool = False
    n_moments: ClassVar[int] = 1

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        return [rate]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        (rate,) = scalars
        move = rate * gradient
        velocity = self.momentum * moments[0] - move
        if self.nesterov:
            return theta + (self.momentum * velocity - move), (velocity,)
        return theta + velocity, (velocity,)


@dataclass(frozen=True)
class RMSProp(CheckedNumbers):
    """RMSProp: steps along the gradient over the root of its running mean square.

    Parameters
    ----------
    learning_rate : float
        About the length of a step of each parameter.
    rho : float
        Share of the mean square that a step keeps, in [0, 1).
    epsilon : float
        Added to the root, so that it is never 0.

    Notes
    -----
    ``s := rho * s + (1 - rho) * g**2``,
    ``theta := theta - learning_rate * g / (sqrt(s) + epsilon)``.

    References
    ----------
    Tieleman & Hinton 2012, "Neural networks for machine learning", lecture 6.5.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 32, 10], output="softmax")
    >>> history = net.fit(X.T / 16, y, xpnet.RMSProp(1e-3), epochs=3)
    >>> history.cost[-1] < history.cost[0]
    True
    """

    learning_rate: float = 1e-3
    rho: float = number(0.9, below=1.0)
    epsilon: float = 1e-8
    n_moments: ClassVar[int] = 1

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        root = sqrt(1.0 - self.rho)
        return [rate / root, np.full(t.shape, self.epsilon / root)]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        rate, epsilon = scalars
        s = self.rho * moments[0] + gradient * gradient
        return theta - rate * gradient / (xp.sqrt(s) + epsilon), (s,)


@dataclass(frozen=True)
class Adam(CheckedNumbers):
    """Adam: steps along the mean gradient over the root of its mean square, both running.

    Parameters
    ----------
    learning_rate : float
        About the length of a step of each parameter.
    beta1, beta2 : float
        Shares of the running means of the gradient and of its square that a step keeps, in [0, 1).
    epsilon : float
        Added to the root, after the correction of its bias.

    Notes
    -----
    ``m := beta1 * m + (1 - beta1) * g``, ``v := beta2 * v + (1 - beta2) * g**2``, and in step t
    ``theta := theta - learning_rate * m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon)``.

    References
    ----------
    Kingma & Ba 2015, "Adam: a method for stochastic optimization", Algorithm 1.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 32, 10], output="softmax")
    >>> history = net.fit(X.T / 16, y, xpnet.Adam(1e-2), epochs=3)
    >>> history.cost[-1] < history.cost[0]
    True
    """

    learning_rate: float = 1e-3
    beta1: float = number(0.9, below=1.0)
    beta2: float = number(0.999, below=1.0)
    epsilon: float = 1e-8
    n_moments: ClassVar[int] = 2

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        # rate * mhat / (sqrt(vhat) + epsilon) with mhat = (1 - beta1) m / (1 - beta1^t) and
        # vhat = (1 - beta2) v / (1 - beta2^t); both sides of the fraction times
        # sqrt((1 - beta2^t) / (1 - beta2)).
        root = np.sqrt((1.0 - self.beta2**t) / (1.0 - self.beta2))
        return [rate * root * (1.0 - self.beta1) / (1.0 - self.beta1**t), self.epsilon * root]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        rate, epsilon = scalars[:2]
        m, v = moments
        m = self.beta1 * m + gradient
        v = self.beta2 * v + gradient * gradient
        return theta - rate * m / (xp.sqrt(v) + epsilon), (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay.

    Each step also multiplies the weights, never the biases, by
    ``1 - learning_rate * weight_decay``.

    Parameters
    ----------
    learning_rate : float
        About the length of a step of each parameter.
    beta1, beta2 : float
        Shares of the running means of the gradient and of its square that a step keeps, in [0, 1).
    epsilon : float
        Added to the root, after the correction of its bias.
    weight_decay : float
        Share of a weight that a step takes away, per unit of the learning rate.

    References
    ----------
    Loshchilov & Hutter 2019, "Decoupled weight decay regularization", Algorithm 2.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.AdamW(weight_decay=0.05)
    AdamW(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, weight_decay=0.05)
    """

    weight_decay: float = 1e-2

    def scalars(self, t: np.ndarray, rate: np.ndarray) -> list[np.ndarray]:
        return [*super().scalars(t, rate), 1.0 - rate * self.weight_decay]

    def update(self, theta, moments, gradient, scalars, *, n_weights, xp):
        theta = xp.concat([theta[:n_weights] * scalars[2], theta[n_weights:]])
        return super().update(theta, moments, gradient, scalars, n_weights=n_weights, xp=xp)


class Rule(NamedTuple):
    """An optimiser as files and the command line know it.

    The rates suit standardised data: ``rate`` nets with hidden layers, ``linear_rate`` those
    without. An elementwise rule moves each parameter by its own gradient and moments alone.
    """

    kind: type[Any]
    option: str  # of --optimizer
    rate: float
    linear_rate: float
    elementwise: bool = True


# By the names of the classes, which checkpoints hold.
OPTIMIZERS = {
    rule.kind.__name__: rule
    for rule in (
        Rule(GradientDescent, "gd", 0.1, 0.1),
        Rule(Momentum, "momentum", 0.01, 0.01),
        Rule(Adam, "adam", 1e-3, 1e-2),
        Rule(AdamW, "adamw", 1e-3, 1e-2),
        Rule(RMSProp, "rmsprop", 1e-3, 1e-2),
    )
}
