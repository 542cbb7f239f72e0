"""``check_gradients``: the derivatives of a net's cost beside differences of the cost itself."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backends.place import select, to_numpy
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.network import forward, value
from xpnet.core.settings import POSITIVE, check_count, check_number
from xpnet.net.evaluation import cost_of
from xpnet.teaching.explanation import Recorder
from xpnet.teaching.report import Report

STEP = float(np.finfo(np.float64).eps) ** (1 / 3)  # least error of a central difference
LEAST = 1e-8  # a derivative below this is compared with this


class Continued:
    """NumPy's functions, continued from real to complex numbers for a complex step.

    Those that compare go by the real part (Martins, Sturdza & Alonso 2003, section 3).
    """

    def __init__(self) -> None:
        self.xp = select("numpy").xp

    def __getattr__(self, name: str) -> Any:
        return getattr(self.xp, name)

    def abs(self, z: Any) -> Any:
        return np.where(np.real(z) < 0, -z, z)

    def maximum(self, a: Any, b: Any) -> Any:
        return np.where(np.real(a) >= np.real(b), a, b)

    def minimum(self, a: Any, b: Any) -> Any:
        return np.where(np.real(a) <= np.real(b), a, b)


@dataclass(frozen=True)
class Checked:
    """What was found for ``W`` or ``b`` of one layer, counted from 1.

    ``error`` is the largest relative error, at ``entry``, where the net says ``gradient`` and the
    check says ``reference``. ``checked`` of ``size`` entries were compared; ``kinks`` were not.
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


@dataclass(eq=False, repr=False)
class GradientReport(Report):
    """The outcome of ``check_gradients``.

    Attributes
    ----------
    ok : bool
        Whether no relative error is above the tolerance.
    error : float
        The largest relative error.
    method : str
        "complex step" or "central differences".
    parameters : list of Checked
    """

    ok: bool
    error: float
    method: str
    parameters: list[Checked]


class _Check:
    """Evaluates the cost around the parameters of one net in float64."""

    def __init__(self, net: Any, given: list[Any], l2: float, l1: float) -> None:
        self.place, self.l1, self.notes = net.backend, l1, [f"computed on {net.backend}, float64"]
        with net._settling() as inputs:
            self.engine, self.given = cost_of(inputs, given, l2, l1, prefetch=False)
        self.theta = np.array(to_numpy(net.theta))
        with self.place.context():
            found = self.engine.value_and_gradient(self.place.asarray(self.theta), *self.given)
        self.cost, self.gradient = float(found[0]), np.array(to_numpy(found[1]))
        self.host = Data(*(None if x is None else to_numpy(x) for x in self.given[0]))

    def moved(self, j: int, by: complex) -> np.ndarray:
        theta = self.theta.astype(type(by))
        theta[j] += by
        return theta

    def step(self, j: int) -> float:
        return STEP * max(1.0, abs(float(self.theta[j])))

    def sides(self, j: int) -> np.ndarray:
        """The slopes of the cost just below and just above entry ``j``."""
        h = self.step(j)
        with self.place.context():
            low, high = (
                float(self.engine.value(self.place.asarray(self.moved(j, by)), *self.given))
                for by in (-h, h)
            )
        return np.array([self.cost - low, high - self.cost]) / h

    def complex_step(self, j: int) -> float:
        objective, h = self.engine.objective, 1e-30
        ops = Leaves(Continued(), objective.layout)
        found = value(
            ops, objective, self.moved(j, h * 1j), Batch(self.host, None), *self.given[1:]
        )
        return float(np.imag(found)) / h

    def crosses(self, j: int) -> bool:
        """Whether a unit changes its sign within the step, or with l1 the parameter."""
        h, objective = self.step(j), self.engine.objective
        if self.l1 and abs(self.theta[j]) <= h:
            return True
        signs = []
        for by in (-h, h):
            with self.place.context():
                X, theta = map(self.place.asarray, (self.host.X, self.moved(j, by)))
                ops: Any = Recorder(Leaves(self.place.xp, objective.layout), objective)
                forward(ops, objective, ops.layers(theta), X.T)
            signs.append([np.sign(s.value) for s in ops.steps if s.symbol.startswith("Z")][:-1])
        return any(np.any(a != b) for a, b in zip(*signs, strict=True))

    def run(
        self, chosen: list[np.ndarray], tolerance: float
    ) -> tuple[str, dict[int, float], set[int], float]:
        """The method, the reference of each entry, which are at a kink, and the least size."""
        entries = np.concatenate(chosen).tolist()
        sides = {j: self.sides(j) for j in entries}
        central = {j: float(np.mean(sides[j])) for j in entries}
        noise = 8 * np.finfo(np.float64).eps * abs(self.cost) / STEP
        floor = max(LEAST, noise / tolerance)

        def bent(j: int, other: float) -> bool:
            return abs(central[j] - other) <= abs(np.ptp(sides[j])) and self.crosses(j)

        method, reference, least = "central differences", central, floor
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("error")
                steps = {j: self.complex_step(j) for j in entries}
        except Exception as error:  # a function of the user's that takes no complex numbers
            self.notes.append(f"no complex step: {type(error).__name__}: {error}")
        else:
            apart = [
                j for j in entries if not _error(steps[j], central[j], floor) <= 10 * tolerance
            ]
            if all(bent(j, steps[j]) for j in apart):
                method, reference, least = "complex step", steps, LEAST
            else:
                self.notes.append("no complex step: a function is not analytic")
        wrong = {
            j: g
            for j in entries
            if not _error(g := self.gradient[j], reference[j], least) <= tolerance
        }
        return method, reference, {j for j, g in wrong.items() if bent(j, g)}, least


def _error(a: float, b: float, least: float) -> float:
    error = abs(a - b) / max(abs(a), abs(b), least)
    return error if np.isfinite(error) else np.inf


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
    seed : int
        Draws them.

    Returns
    -------
    report : GradientReport
        ``report.ok``, and for each layer's W and b the largest relative error, and where. Entries
        where a unit changes its sign within the step, as at the kink of a ReLU, have no derivative
        to compare with: they are counted apart.

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
    twin, given, said = copy.copy(net), [X, Y, sample_weight], []
    with twin._settling() as inputs:
        inputs.examples(*given)
    if twin.backend.dtype_name != "float64":
        said.append("the net is in float32: a copy in float64 was checked")
        try:
            twin.with_dtype("float64")
        except ValueError as error:
            said.append(f"on NumPy, as {twin.backend} has no float64: {error}")
            twin.to("numpy", dtype="float64")
            given = [None if x is None else to_numpy(x) for x in given]
    check = _Check(twin, given, check_number(l2, "l2"), check_number(l1, "l1"))
    rng, slices = np.random.default_rng(seed), []
    for l, (shape, w, b) in enumerate(net.objective.layout.slices(), 1):
        slices += [(l, "W", shape, w), (l, "b", (shape[0], 1), b)]
    chosen = []
    for *_, where in slices:
        own = np.arange(where.start, where.stop)
        chosen.append(own if own.size <= entries else np.sort(rng.choice(own, entries, False)))
    method, reference, kinks, least = check.run(chosen, tolerance)
    found = []
    for (l, name, shape, where), own in zip(slices, chosen, strict=True):
        smooth = [j for j in own.tolist() if j not in kinks]
        errors = [_error(check.gradient[j], reference[j], least) for j in smooth]
        at = smooth[int(np.argmax(errors))] if smooth else where.start
        entry = tuple(map(int, np.unravel_index(at - where.start, shape)))
        numbers = float(check.gradient[at]), float(reference[at])
        counts = len(smooth), where.stop - where.start, own.size - len(smooth)
        found.append(Checked(l, name, max(errors, default=0.0), entry, *numbers, *counts))
    return _report(net, found, method, tolerance, said + check.notes)


def _report(
    net: Any, found: list[Checked], method: str, tolerance: float, notes: list[str]
) -> GradientReport:
    error = max(c.error for c in found)
    wrong, hidden = [c for c in found if not c.error <= tolerance], net.hidden
    rows: list[tuple[str, ...]] = []
    for c in found:
        numbers = f"{c.gradient:.9g}", f"{c.reference:.9g}", f"{c.checked} of {c.size}"
        mark = "<- wrong" if c in wrong else ""
        name = f"{c.parameter}[{c.layer}]"
        rows.append((name, f"{c.error:.1e}", str(c.entry), *numbers, str(c.kinks), mark))
    if wrong:
        l = max(c.layer for c in wrong)
        who = (
            f"the slope of {hidden[l - 1].name!r}"
            if l <= len(hidden)
            else "the output's derivative"
        )
        notes = [*notes, f"wrong from layer {l} down: look at {who}, layer {l}"]
    if kinks := sum(c.kinks for c in found):
        notes = [
            *notes,
            f"{kinks} entries lie at a kink, where a unit changes its sign, as ReLU at 0",
        ]
    verdict = "gradients are wrong" if wrong else "gradients are right"
    title = f"{verdict}: largest relative error {error:.1e} (tolerance {tolerance:g}), by {method}"
    head = ("", "error", "entry", "gradient", method, "checked", "kinks", "")
    return GradientReport(title, head, rows, notes, not wrong, error, method, found)
