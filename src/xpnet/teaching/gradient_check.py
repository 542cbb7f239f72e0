"""``check_gradients``: the derivatives of a net's cost beside differences of the cost itself."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from xpnet.backends.place import select, to_numpy
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.network import value
from xpnet.core.settings import POSITIVE, check_count, check_number
from xpnet.net.evaluation import cost_of
from xpnet.teaching.explanation import twin_of
from xpnet.teaching.report import Report, Row

EPS = float(np.finfo(np.float64).eps)
LEAST = 1e-8  # errors of smaller derivatives are relative to this


class Continued:
    """NumPy's functions, continued to complex numbers (Martins, Sturdza & Alonso 2003)."""

    abs = staticmethod(lambda z: np.where(np.real(z) < 0, -z, z))
    maximum = staticmethod(lambda a, b: np.where(np.real(a) >= np.real(b), a, b))
    minimum = staticmethod(lambda a, b: np.where(np.real(a) <= np.real(b), a, b))

    def __getattr__(self, name: str) -> Any:
        return getattr(select("numpy").xp, name)


class Checked(NamedTuple):
    """The largest relative error in W or b of a layer, from 1, and what was compared there.

    ``gradient`` is the net's derivative at ``entry``, ``reference`` that of the check. Of ``size``
    entries ``checked`` were compared, and ``kinks`` had no derivative to compare with.
    """

    layer: int
    parameter: str
    error: float
    entry: tuple[int, ...]
    gradient: float
    reference: float
    checked: int
    size: int
    kinks: int

    def cells(self) -> Row:
        numbers = f"{self.gradient:.9g}", f"{self.reference:.9g}", f"{self.checked} of {self.size}"
        name = f"{self.parameter}[{self.layer}]"
        return name, f"{self.error:.1e}", str(self.entry), *numbers, str(self.kinks)


@dataclass(eq=False, repr=False)
class GradientReport(Report):
    """The outcome of ``check_gradients``: ``ok`` if no relative ``error`` is above the tolerance.

    Where all entries are at kinks, it is False. ``method`` is "complex step" or
    "central differences".
    """

    ok: bool
    error: float
    method: str
    parameters: list[Checked]


class _Cost:
    """The cost of a net in float64 around its parameters, and its gradient there."""

    def __init__(self, net: Any, given: list[Any], l2: float, l1: float) -> None:
        self.place, self.l1 = net.backend, l1
        with net._settling() as inputs:
            self.engine, self.given = cost_of(inputs, given, l2, l1, prefetch=False)
        self.host = Data(*(None if x is None else to_numpy(x) for x in self.given[0]))
        self.theta = np.array(to_numpy(net.theta))
        self.steps = EPS ** (1 / 3) * np.maximum(1.0, abs(self.theta))
        with self.place.context():
            found = self.engine.value_and_gradient(self.place.asarray(self.theta), *self.given)
        self.cost, self.gradient = float(found[0]), np.array(to_numpy(found[1]))

    def moved(self, j: int, by: complex) -> np.ndarray:
        theta = self.theta.astype(type(by))
        theta[j] += by
        return theta

    def sides(self, j: int, part: float = 1.0) -> np.ndarray:
        """The slopes of the cost just below and just above parameter ``j``."""
        h, costs = part * float(self.steps[j]), []
        for by in (-h, h):
            with self.place.context():
                theta = self.place.asarray(self.moved(j, by))
                costs.append(float(self.engine.value(theta, *self.given)))
        return np.array([self.cost - costs[0], costs[1] - self.cost]) / h

    def complex_step(self, j: int) -> float:
        ops, h = Leaves(Continued(), self.engine.ops.layout), 1e-30
        batch, theta = Batch(self.host, None), self.moved(j, h * 1j)
        return float(np.imag(value(ops, self.engine.objective, theta, batch, *self.given[1:]))) / h


def _errors(a: np.ndarray, b: np.ndarray, least: float) -> np.ndarray:
    errors = abs(a - b) / np.maximum(np.maximum(abs(a), abs(b)), least)
    return np.where(np.isfinite(errors), errors, np.inf)


def check_gradients(
    net: Any,
    X: Any,
    Y: Any,
    *,
    sample_weight: Any = None,
    l2: float = 0.0,
    l1: float = 0.0,
    tolerance: float = 1e-5,
    entries: int = 50,
    seed: int = 0,
) -> GradientReport:
    """Compare ``net.gradients`` with differences of ``net.cost``, in float64.

    The cost is evaluated where the net computes, on both sides of each parameter (central
    differences). Where activations and cost also take complex numbers on NumPy, a complex step,
    ``Im J(theta + ih) / h``, which has no rounding error of its own, gives the reference; the
    report says which it was. A net in float32 is checked as a copy in float64.

    Parameters
    ----------
    net : DeepNet
        With activations of the library or your own. It is not changed.
    X : array (n_x, m)
        Examples in columns. Few are enough.
    Y : array (1, m), (n_y, m), or labels (m,)
        Targets.
    sample_weight : array (m,) or (1, m), optional
    l2, l1 : float
        As ``net.cost`` takes them.
    tolerance : float
        The largest relative error that is right.
    entries : int
        How many entries of each ``W`` and ``b`` are checked; of more, so many drawn by ``seed``.
        Each takes two costs or more: ask for few of a wide net.
    seed : int
        Draws them.

    Returns
    -------
    report : GradientReport
        ``report.ok``, and for each layer's W and b the largest relative error, and where. Entries
        at a kink, as where a ReLU unit changes its sign within the step, have no derivative to
        compare with: they are counted apart.

    Raises
    ------
    ValueError, TypeError
        As ``net.gradients``.

    Notes
    -----
    To try it by hand, read the parameters, change them, and assign them. ``net.parameters`` gives
    copies: ``net.parameters[0].W[i] += eps`` alone changes a copy and not the net, and such a check
    finds differences of 0 without a word.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> net = xpnet.DeepNet([3, 4, 1], hidden="tanh", dtype="float64")
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(3, 10)), rng.integers(0, 2, size=(1, 10))
    >>> xpnet.check_gradients(net, X, Y).ok
    True

    One entry by hand:

    >>> parameters, eps, costs = net.parameters, 1e-6, []
    >>> for by in (eps, -2 * eps):
    ...     parameters[0].W[2, 1] += by
    ...     net.parameters = parameters
    ...     costs.append(net.cost(X, Y))
    >>> parameters[0].W[2, 1] += eps
    >>> net.parameters = parameters
    >>> difference = (costs[0] - costs[1]) / (2 * eps)
    >>> bool(abs(difference - net.gradients(X, Y)[0].W[2, 1]) < 1e-8)
    True
    """
    tolerance = check_number(tolerance, "tolerance", POSITIVE)
    entries = check_count(entries, "entries", 1)
    net, given, notes = twin_of(net), [X, Y, sample_weight], []
    with net._settling() as inputs:
        inputs.examples(*given)
    if net.backend.dtype_name != "float64":
        notes.append("the net is in float32: a copy in float64 was checked")
        try:
            net.with_dtype("float64")
        except ValueError as why:
            notes.append(f"on NumPy, as {net.backend} has no float64: {why}")
            net.to("numpy", dtype="float64")
            given = [None if x is None else to_numpy(x) for x in given]
    cost = _Cost(net, given, l2, l1)
    if not np.isfinite(cost.cost):
        notes.append(f"the cost is {cost.cost}: there is nothing to compare with")
    rng, parameters = np.random.default_rng(check_count(seed, "seed", 0)), []
    for l, (shape, *where) in enumerate(net.objective.layout.slices(), 1):
        for name, own, form in zip("Wb", where, (shape, (shape[0], 1)), strict=True):
            at = np.arange(own.start, own.stop)
            at = at if at.size <= entries else np.sort(rng.choice(at, entries, replace=False))
            parameters.append((l, name, form, own, at))
    at = np.concatenate([p[-1] for p in parameters])
    method, reference, least, kinks = _reference(cost, at, tolerance, notes)
    errors = np.where(kinks, 0.0, _errors(cost.gradient[at], reference, least))
    found = []
    for l, name, form, own, chosen in parameters:
        among = np.flatnonzero(np.isin(at, chosen))
        i = among[np.argmax(errors[among])]
        entry = tuple(map(int, np.unravel_index(at[i] - own.start, form)))
        numbers = float(errors[i]), entry, float(cost.gradient[at[i]]), float(reference[i])
        bent = int(np.sum(kinks[among]))
        found.append(Checked(l, name, *numbers, among.size - bent, own.stop - own.start, bent))
    wrong = [c for c in found if not c.error <= tolerance]
    if wrong:
        l = max(c.layer for c in wrong)
        slopes = [*(f"the slope of {g.name!r}" for g in net.hidden), "the derivative of the output"]
        notes.append(f"wrong from layer {l} down: look at {slopes[l - 1]}, layer {l}")
    if np.any(kinks):
        notes.append(f"entries at a kink, as that of ReLU at 0, not compared: {kinks.sum()}")
    notes.append(f"computed in float64, the differences on {net.backend}")
    error = float(np.max(errors))
    verdict = "wrong" if wrong else "not checked" if np.all(kinks) else "right"
    title = f"gradients are {verdict}: largest relative error {error:.1e}, by {method}"
    head = ("", "error", "entry", "gradient", method, "checked", "kinks", "")
    rows = [(*c.cells(), "<- wrong" if c in wrong else "") for c in found]
    return GradientReport(title, head, rows, notes, verdict == "right", error, method, found)


def _reference(
    cost: _Cost, at: np.ndarray, tolerance: float, notes: list[str]
) -> tuple[str, np.ndarray, float, np.ndarray]:
    """The check's own derivatives by the parameters ``at``.

    Returns the name of the method, the derivatives, the size below which a derivative's error is
    relative to that size, and which parameters are at a kink.
    """
    sides = np.array([cost.sides(j) for j in at])  # (n, 2)
    central, jumps = sides.mean(axis=1), abs(sides[:, 1] - sides[:, 0])
    # rounding errors of the cost, which the differences divide by the step
    least = max(LEAST, 8 * EPS ** (2 / 3) * abs(cost.cost) / tolerance)

    def split(a: np.ndarray, b: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
        apart, kinks = ~(_errors(a, b, least) <= tolerance), np.zeros(at.size, bool)
        off, bends = abs(central - a), jumps.copy()
        for i, n in product(np.flatnonzero(apart), (4, 16, 64)):
            # nearer by, a kink bends as much, or is left behind; a curve bends less
            near = cost.sides(at[i], 1 / n)
            same = _errors(a[i], near.mean(), n * least) <= tolerance
            same &= abs(near.mean() - a[i]) < off[i] / 2
            before, bends[i] = bends[i], abs(np.ptp(near))
            bent = bends[i] > max(before / 2, n * least * tolerance)  # more than by rounding
            kinks[i] |= same or (bent and off[i] <= jumps[i])
        return apart & ~kinks, kinks

    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("error")
            steps = np.array([cost.complex_step(j) for j in at])
    except Exception as error:  # a function of the user's that takes no complex numbers
        notes.append(f"no complex step: {type(error).__name__}: {error}")
    else:
        if not np.any(split(steps, central, 10 * least)[0]):
            return "complex step", steps, LEAST, split(cost.gradient[at], steps, LEAST)[1]
        notes.append("no complex step: a function is not analytic")
    return "central differences", central, least, split(cost.gradient[at], central, least)[1]
