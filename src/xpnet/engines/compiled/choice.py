"""Decides which fits the compiled engine runs, from the net, its options and its examples alone."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from xpnet.core.leaves import Data
from xpnet.core.network import Objective
from xpnet.engines.compiled.recorder import ACTIVATIONS, ADAM, LOSSES, RMSPROP, rule_of

WIDE = 512  # from two neighbouring hidden layers wider than this on, OpenBLAS is faster
# Work is counted in numbers times examples, of which a core does some 2^33 in a second.
CALL = 2**30  # of one call: far below a quarter of a second, which Ctrl-C waits for
STEP = 2**14  # of a step besides its numbers
UNIT = 64  # of one activation: its function and its slope
TINY = 1e-30  # least epsilon of an optimiser: with 0 a unit that does nothing has 0 / 0


def work(sizes: Sequence[int], m: int) -> int:
    """The work of a step with ``m`` examples."""
    products = sum(n_in * n_out for n_in, n_out in pairwise(sizes))
    return (products + UNIT * sum(sizes)) * (m + 8) + STEP


def steps_at_once(sizes: Sequence[int], m: int) -> int:
    """How many steps one call of compiled code makes."""
    return max(1, CALL // work(sizes, m))


def obstacle(
    objective: Objective, optimizer: Any, data: Data, batch_size: int | None
) -> str | None:
    """Why a fit cannot be compiled; None if it can."""
    rule = rule_of(optimizer)
    if not isinstance(data.X, np.ndarray) or not data.X.flags.c_contiguous:
        return "an X that is sparse, or whose rows are not contiguous"
    if data.X.dtype not in (np.float32, np.float64):
        return f"numbers of {data.X.dtype}"
    if batch_size is None and len(data.X) == 1:
        return "batches that may vary in length, or a single example"
    if objective.clipped:
        return "clip_norm, which needs the whole gradient"
    if rule is None:
        return f"the optimiser {type(optimizer).__name__}"
    for activation in objective.hidden:
        if activation not in ACTIVATIONS:
            return f"the activation {activation.name}"
    if objective.loss.exact not in LOSSES:
        return f"the output {objective.loss.output}"
    if rule.number in (ADAM, RMSPROP) and optimizer.epsilon < TINY:
        return f"an epsilon below {TINY:g}"
    if rule.number == ADAM and optimizer.beta1**2 >= optimizer.beta2:
        return "a beta1 above the root of beta2"
    return None


def pays(sizes: Sequence[int], m: int) -> bool:
    """Whether compiled steps are faster than recorded ones, with ``m`` examples in a minibatch."""
    neighbours = any(min(pair) > WIDE for pair in pairwise(sizes[1:-1]))
    return not neighbours and work(sizes, m) <= CALL
