"""``compare``: the same training steps on several libraries, and where they part."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backends.place import backends as installed
from xpnet.backends.place import select, to_numpy
from xpnet.core.optimizers import GradientDescent, Optimizer
from xpnet.core.settings import check_count
from xpnet.exceptions import BackendUnavailable
from xpnet.teaching.explanation import Step, told_steps
from xpnet.teaching.report import Report


@dataclass(frozen=True)
class Parting:
    """Where a library differs from the first one: in which step, from 1, and quantity, by how much.

    ``ulp`` is the largest distance of two entries in units in the last place, how many floating
    numbers lie between them; it is at ``entry``, whose values are ``one`` and ``other``.
    """

    step: int
    symbol: str
    ulp: int
    entry: tuple[int, ...]
    one: float
    other: float


@dataclass(eq=False, repr=False)
class Comparison(Report):
    """The outcome of ``compare``.

    Attributes
    ----------
    first : dict of str to Parting or None
        By library, where it parts from the first one; None where it does not.
    differences : dict of str to list of Parting
        By library, every quantity that differs, in the order of the steps.
    missing : dict of str to str
        Libraries that could not be used, and why.
    """

    first: dict[str, Parting | None]
    differences: dict[str, list[Parting]]
    missing: dict[str, str]


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """How many floating numbers lie from ``a`` to ``b``, entry by entry; 0 from NaN to NaN."""
    double = a.dtype == np.float64
    kind, unsigned = (np.int64, np.uint64) if double else (np.int32, np.uint32)
    least = np.iinfo(kind).min

    def counted(x: np.ndarray) -> np.ndarray:  # in the order of the floats; -0.0 is 0.0
        bits: Any = np.ascontiguousarray(x).view(kind)
        return np.where(bits < 0, least - bits, bits).astype(unsigned) ^ unsigned(-least)

    one, other = counted(a), counted(b)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, unsigned(0), np.maximum(one, other) - np.minimum(one, other))


def _partings(one: list[list[Step]], other: list[list[Step]]) -> Iterator[Parting]:
    for k, pairs in enumerate(zip(one, other, strict=True), 1):
        for a, b in zip(*pairs, strict=True):
            apart = ulps(np.atleast_1d(a.value), np.atleast_1d(b.value))
            if np.any(apart):
                i = int(np.argmax(apart))
                entry = tuple(map(int, np.unravel_index(i, a.value.shape)))
                values = float(a.value.flat[i]), float(b.value.flat[i])
                yield Parting(k, a.symbol, int(apart.flat[i]), entry, *values)


def compare(
    net: Any,
    X: Any,
    Y: Any,
    backends: Sequence[Any] | None = None,
    *,
    optimizer: Optimizer | None = None,
    steps: int = 3,
    sample_weight: Any = None,
    l2: float = 0.0,
    l1: float = 0.0,
) -> Comparison:
    """Make the first training steps on several libraries, and tell where they part.

    Every library runs the reference operations of ``explain`` one by one, from the same
    parameters, on all examples at once.

    Parameters
    ----------
    net : DeepNet
        It is not changed.
    X : array (n_x, m)
        Examples in columns.
    Y : array (1, m), (n_y, m), or labels (m,)
        Targets.
    backends : sequence of str, optional
        Names as in ``xpnet.backends()``, or what else ``xpnet.select`` takes. The others are
        compared with the first. None: all that are usable here.
    optimizer : Optimizer, optional
        ``GradientDescent()`` if left out.
    steps : int
        How many updates are made.
    sample_weight : array (m,) or (1, m), optional
    l2, l1 : float
        As ``net.cost`` takes them.

    Returns
    -------
    comparison : Comparison
        It prints, for each library, the first step and quantity that differ and by how many units
        in the last place (ulp). A library that is missing has one line.

    Raises
    ------
    ValueError, TypeError
        As ``net.fit``; or fewer than two libraries can be used.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> net = xpnet.DeepNet([2, 3, 1], dtype="float64")
    >>> found = xpnet.compare(net, np.eye(2), np.array([[0, 1]]), ["numpy", "numpy"])
    >>> found.first
    {'numpy (2)': None}
    """
    optimizer = GradientDescent() if optimizer is None else optimizer
    steps = check_count(steps, "steps", 1)
    if backends is None:
        backends = [name for name, info in installed().items() if info.usable]
    twin = copy.copy(net)
    with twin._settling() as inputs:
        inputs.settle(inputs.in_order(X), "X", Y)
    dtype = twin.backend.dtype_name
    data = [None if x is None else to_numpy(x) for x in (X, Y, sample_weight)]
    runs: dict[str, list[list[Step]]] = {}
    missing: dict[str, str] = {}
    for backend in backends:
        name = backend if isinstance(backend, str) else str(backend)
        try:
            place = select(backend, dtype=dtype)
        except (BackendUnavailable, ValueError) as error:
            missing[name] = str(error)
            continue
        name = name if name not in runs else f"{name} ({len(runs) + 1})"
        runs[name] = list(told_steps(copy.copy(net).to(place), data, optimizer, steps, l2, l1))
    if len(runs) < 2:
        why = "; ".join(missing.values())
        raise ValueError(f"two libraries are needed to compare, of {list(backends)!r}. {why}")
    (base, one), *others = runs.items()
    differences = {name: list(_partings(one, other)) for name, other in others}
    first = {name: found[0] if found else None for name, found in differences.items()}
    rows: list[tuple[str, ...]] = []
    notes = [f"{name} is left out: {why}" for name, why in missing.items()]
    for name, found in differences.items():
        if not found:
            notes.append(f"{name} and {base} agree to the last bit")
            continue
        told = [("parts from " + base, found[0])]
        for k in sorted({parting.step for parting in found}):
            told.append(("most", max((p for p in found if p.step == k), key=lambda p: p.ulp)))
        for what, p in told:
            numbers = f"{p.ulp:,}", str(p.entry or ""), repr(p.one), repr(p.other)
            rows.append((name, what, str(p.step), p.symbol, *numbers))
    others_are, s = ", ".join(differences), "s" * (steps > 1)
    title = f"{base} beside {others_are}: {steps} step{s} of {optimizer}, {dtype}"
    head = ("library", "", "step", "quantity", "ulp", "entry", base, "other")
    return Comparison(title, head, rows, notes, first, differences, missing)
