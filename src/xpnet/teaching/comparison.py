"""``compare``: the same training steps on several libraries, and where they part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xpnet.backends.place import backends as installed
from xpnet.backends.place import select
from xpnet.core.optimizers import GradientDescent, Optimizer
from xpnet.core.settings import check_count
from xpnet.data.checks import host_array
from xpnet.exceptions import BackendUnavailable
from xpnet.teaching.explanation import Step, told_steps, twin_of
from xpnet.teaching.report import Report, Row


class Difference(NamedTuple):
    """A quantity of one step, counted from 1, in which a library differs from the first one.

    At ``entry``, where they differ most, the first library has the value ``one``, this library
    ``other``, and ``ulp`` steps between neighbouring floating-point numbers lie between them.
    """

    step: int
    symbol: str
    ulp: int
    entry: tuple[int, ...]
    one: float
    other: float


@dataclass(eq=False, repr=False)
class Comparison(Report):
    """By library: its ``first`` difference or None, all ``differences``, why it is ``missing``."""

    first: dict[str, Difference | None]
    differences: dict[str, list[Difference]]
    missing: dict[str, str]


def ulps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Units in the last place between ``a`` and ``b``, entry by entry; 0 from NaN to NaN."""

    def place(x: np.ndarray) -> np.ndarray:  # among all floats in order; that of -0.0 and 0.0 is 0
        bits: Any = np.atleast_1d(x).view(f"i{x.itemsize}")
        return np.where(bits < 0, np.iinfo(bits.dtype).min - bits, bits).astype(object)

    same = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(same, 0, abs(place(a) - place(b)))


def _differences(one: list[list[Step]], other: list[list[Step]]) -> Iterator[Difference]:
    for k, pairs in enumerate(zip(one, other, strict=True), 1):
        for a, b in zip(*pairs, strict=True):
            if not np.array_equal(a.value, b.value, equal_nan=True):
                apart = ulps(a.value, b.value)
                i = int(np.argmax(apart))
                entry = tuple(map(int, np.unravel_index(i, a.value.shape)))
                values = float(a.value.flat[i]), float(b.value.flat[i])
                yield Difference(k, a.symbol, apart.flat[i], entry, *values)


def compare(
    net: Any,
    X: Any,
    Y: Any,
    backends: Sequence[Any] | None = None,
    *,
    optimizer: Optimizer | None = None,
    steps: int = 3,
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
    backends = [backends] if isinstance(backends, str) else backends
    twin = twin_of(net)
    with twin._settling() as inputs:
        X = inputs.in_order(X)
        inputs.settle(X, "X", Y)
    dtype = twin.backend.dtype_name
    data = host_array(X, "X"), None if Y is None else host_array(Y, "Y"), None
    runs: dict[str, list[list[Step]]] = {}
    missing: dict[str, str] = {}
    for backend in backends:
        name = backend if isinstance(backend, str) else str(select(backend))
        try:
            there = twin_of(net).to(select(backend, dtype=dtype))
        except (BackendUnavailable, ValueError) as error:
            missing[name] = str(error)
        else:
            name = f"{name} ({len(runs) + 1})" if name in runs else name
            runs[name] = list(told_steps(there, data, optimizer, steps))
    notes = [f"{name} is left out: {why}" for name, why in missing.items()]
    if len(runs) < 2:
        raise ValueError("; ".join(["two libraries are needed to compare", *notes]))
    (base, one), *others = runs.items()
    differences = {name: list(_differences(one, other)) for name, other in others}
    first = {name: found[0] if found else None for name, found in differences.items()}
    rows: list[Row] = []
    for name, found in differences.items():
        told = [("first difference", p) for p in found[:1]]
        for k in sorted({p.step for p in found}):
            told.append(("largest", max((p for p in found if p.step == k), key=lambda p: p.ulp)))
        for what, p in told:
            numbers = f"{p.ulp:,}", str(p.entry or ""), repr(p.one), repr(p.other)
            rows.append((name, what, str(p.step), p.symbol, *numbers))
        notes += [] if found else [f"{name} and {base} agree to the last bit"]
    title = f"{base} beside {', '.join(differences)}, {dtype}; steps of {optimizer}: {steps}"
    head = ("library", "", "step", "quantity", "ulp", "entry", base, "other")
    return Comparison(title, head, rows, notes, first, differences, missing)
