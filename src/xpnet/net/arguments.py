"""Checks of the arguments of ``DeepNet``; each message names the argument and the fix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.core.activations import Activation, get_activation
from xpnet.core.optimizers import Optimizer
from xpnet.core.settings import PROBABILITY, check_count, check_number
from xpnet.data.stream import Stream
from xpnet.training.history import EVENTS, Callback


def check_sizes(sizes: Sequence[int], output: str) -> tuple[int, ...]:
    if not isinstance(sizes, Iterable):
        raise TypeError(f"sizes={sizes!r}: expected whole numbers [n_x, ..., n_y]")
    sizes = list(sizes)
    widths = tuple(check_count(n, f"sizes={sizes}: a width", 1) for n in sizes)
    if len(widths) < 2:
        raise ValueError(f"sizes={sizes}: a net needs at least [n_x, n_y]")
    if output == "softmax" and widths[-1] == 1:
        raise ValueError("output='softmax' with one output is always 1; use output='sigmoid'")
    return widths


def check_optimizer(optimizer: Optimizer) -> None:
    if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer):
        raise TypeError(f"optimizer={optimizer!r}: expected one such as xpnet.Adam(1e-3)")


def check_hidden(hidden: Any, n_hidden: int, name: str = "hidden") -> tuple[Activation, ...]:
    if isinstance(hidden, str | Activation):
        hidden = repeat(hidden, n_hidden)
    elif not isinstance(hidden, Iterable):
        raise TypeError(f"{name}={hidden!r}: expected an activation, or one per hidden layer")
    activations = tuple(get_activation(activation) for activation in hidden)
    if len(activations) != n_hidden:
        raise ValueError(
            f"{name} names {len(activations)} activations for {n_hidden} hidden layers"
        )
    return activations


def check_dropout(dropout: Any, n_hidden: int) -> tuple[float, ...]:
    """One rate in [0, 1) per hidden layer; () where all of them are 0."""
    one = isinstance(dropout, str) or not isinstance(dropout, Iterable)
    given = [dropout] * n_hidden if one else list(dropout)
    rates = tuple(check_number(rate, "dropout", PROBABILITY) for rate in given)
    if len(rates) != n_hidden:
        raise ValueError(f"dropout names {len(rates)} rates for {n_hidden} hidden layers")
    return rates if any(rates) else ()


def check_batch_size(batch_size: Any, X: Any) -> int | None:
    """Examples per update; None: all of them, or for a stream of batches each as it comes."""
    if isinstance(batch_size, str):
        if batch_size != "auto":
            raise TypeError(f"batch_size={batch_size!r}: expected a number, 'auto' or None for all")
        return None if isinstance(X, Stream) and X.n_examples is None else 128
    return None if batch_size is None else check_count(batch_size, "batch_size", 1)


def check_callbacks(callbacks: Iterable[Callback]) -> tuple[Callback, ...]:
    if not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks={callbacks!r}: expected a list of callbacks")
    callbacks = tuple(callbacks)
    for callback in callbacks:
        if not any(hasattr(callback, event) for event in EVENTS):
            raise TypeError(f"callback {callback!r} has none of the methods {', '.join(EVENTS)}")
    return callbacks


def orders(
    shuffle: bool | Callable[[int], Any], seed: int, m: int
) -> Callable[[int], np.ndarray | None]:
    """The function ``epoch -> order of the m examples``; None stands for the order given."""
    if not callable(shuffle):
        if not isinstance(shuffle, bool | np.bool_):
            raise TypeError(f"shuffle={shuffle!r}: expected True, False or epoch -> permutation")
        if not shuffle:
            return lambda epoch: None
        return lambda epoch: np.random.default_rng([seed, epoch]).permutation(m)

    def checked(epoch: int) -> np.ndarray:
        order = to_numpy(shuffle(epoch))
        if order.shape != (m,) or order.dtype.kind not in "iu":
            raise ValueError(
                f"shuffle({epoch}) gave {order.dtype} of shape {order.shape}; "
                f"expected a permutation of {m} example numbers"
            )
        order = order.astype(np.int64)  # a copy: the caller may use its array again
        counts = np.bincount(order, minlength=m) if order.min() >= 0 else np.zeros(1, int)
        if len(counts) > m or counts.min() < 1:
            raise ValueError(f"shuffle({epoch}) is no permutation of 0 ... {m - 1}")
        return order

    return checked
