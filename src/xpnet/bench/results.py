"""What was measured, and what follows from it: rates, shares of the peak, which device pays.

All times are seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

HIDDEN = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Settings:
    """The net inputs-hidden-outputs, its batch, and how long a width may take."""

    hidden: tuple[int, ...] = HIDDEN
    inputs: int = 784
    outputs: int = 10
    batch_size: int = 128
    dtype: str = "float32"
    seconds: float = 5.0

    def flops(self, hidden: int) -> int:
        """Of the 3L - 1 = 5 products of a step: 2 m (2 n h + 3 h k), for the net n-h-k.

        Z1, dW1 are n h m multiplications and as many additions each; Z2, dW2, dA1 are h k m.
        """
        return 2 * self.batch_size * hidden * (2 * self.inputs + 3 * self.outputs)

    def __str__(self) -> str:
        net = f"{self.inputs}-h-{self.outputs}"
        return f"{net}, batch {self.batch_size}, {self.dtype}, Adam"


@dataclass(frozen=True)
class Cell:
    """One net on one device: raw times, or why there are none.

    Attributes
    ----------
    left_out : str or None
        Why nothing was measured.
    failed : bool
        Whether that is an error, and not a lack of time or memory.
    steps_per_epoch : int
        Steps that lie between two readings of the clock.
    step : list of float
        Time of a step, one entry per epoch.
    floor : dict of str to list of float
        Time of the products alone, by the layout of the activations in memory.
    predict : list of float
        Time of one ``predict`` of ``predict_examples`` examples.
    warm_up : float
        What passed before the clock was read: compilation, buffers.
    cost : float or None
        The cost of the last epoch.
    """

    hidden: int
    left_out: str | None = None
    failed: bool = False
    steps_per_epoch: int = 0
    step: list[float] = field(default_factory=list)
    floor: dict[str, list[float]] = field(default_factory=dict)
    predict: list[float] = field(default_factory=list)
    predict_examples: int = 0
    warm_up: float = 0.0
    cost: float | None = None

    @property
    def step_seconds(self) -> float:
        return median(self.step)

    @property
    def floor_seconds(self) -> float:
        """The faster layout's."""
        return min(median(times) for times in self.floor.values())

    @property
    def predict_rate(self) -> float:
        """Examples per second."""
        return self.predict_examples / median(self.predict)


@dataclass
class Series:
    """One library on one device.

    ``hardware`` is the processor's or accelerator's own name: libraries that share it share its
    peak. ``squares`` holds times of square products, by their side.
    """

    backend: str
    device: str
    version: str = ""
    hardware: str = ""
    accelerator: bool = False
    threads: int | None = None
    squares: dict[str, float] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)
    broken: str | None = None  # why it did not come to its end

    @property
    def label(self) -> str:
        return f"{self.backend} on {self.device}"

    @property
    def measured(self) -> dict[int, Cell]:
        """Cells that hold times, by hidden units."""
        return {cell.hidden: cell for cell in self.cells if cell.left_out is None}

    @property
    def left_out(self) -> dict[str, list[int]]:
        """Reasons, and the hidden units that they hold for."""
        found: dict[str, list[int]] = {}
        for cell in self.cells:
            if cell.left_out is not None:
                found.setdefault(cell.left_out, []).append(cell.hidden)
        return found


@dataclass
class Results:
    """Everything one run found."""

    settings: Settings
    date: str
    machine: dict[str, Any]
    series: list[Series] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict)  # libraries that cannot be measured
    failures: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def usable(self) -> list[Series]:
        """The series with at least one measured cell."""
        return [series for series in self.series if series.measured]

    @property
    def reference(self) -> Series | None:
        """NumPy on the CPU, which every other is compared with."""
        return next((series for series in self.usable if series.backend == "numpy"), None)

    def peak(self, hardware: str) -> float:
        """The best rate of products, in flops per second, that any library reached on it."""
        rates = [0.0]
        for series in self.series:
            if series.hardware == hardware:
                rates += [2 * int(n) ** 3 / seconds for n, seconds in series.squares.items()]
                rates += [
                    self.settings.flops(hidden) / cell.floor_seconds
                    for hidden, cell in series.measured.items()
                ]
        return max(rates)

    def share(self, series: Series, seconds: float, hidden: int) -> float:
        """Flops of a step in ``seconds``, over what the peak allows."""
        return self.settings.flops(hidden) / seconds / self.peak(series.hardware)

    def speedup(self, series: Series, hidden: int) -> float | None:
        """NumPy's time of a step over this one's; None where one of them is missing."""
        reference = self.reference
        if reference is None or hidden not in reference.measured or hidden not in series.measured:
            return None
        return reference.measured[hidden].step_seconds / series.measured[hidden].step_seconds

    def pays_from(self, series: Series) -> int | None:
        """The smallest width from which on every width measured on both is faster than NumPy."""
        first = None
        for hidden in sorted(series.measured, reverse=True):
            speedup = self.speedup(series, hidden)
            if speedup is None:
                continue
            if speedup <= 1:
                break
            first = hidden
        return first

    def verdict(self) -> list[str]:
        """Sentences: from how many hidden units on each device pays."""
        reference = self.reference
        if not self.usable:
            return ["nothing was measured"]
        if reference is None:
            return ["NumPy was not measured: nothing to compare with"]
        others = [series for series in self.usable if series is not reference]
        if not others:
            return ["numpy alone was measured: nothing to compare it with"]
        return list(self._sentences(others))

    def _sentences(self, others: list[Series]) -> Iterator[str]:
        largest = {
            series.label: max((h for h in series.measured if self.speedup(series, h)), default=None)
            for series in others
        }
        pays = {series.label: self.pays_from(series) for series in others}
        widths = {hidden for hidden in largest.values() if hidden is not None}
        if not any(pays.values()) and None not in largest.values() and len(widths) == 1:
            yield f"no device pays up to {widths.pop()} hidden units"
            return
        for series in others:
            top, first = largest[series.label], pays[series.label]
            if top is None:
                yield f"{series.label} has no width in common with NumPy"
            elif first is None:
                yield f"{series.label} does not pay up to {top} hidden units"
            else:
                times = f"{self.speedup(series, top):.2g} times as fast as NumPy at {top}"
                yield f"from {first} hidden units on, {series.label} pays: {times}"

    def to_json(self) -> dict[str, Any]:
        """Raw numbers and what follows from them."""
        return asdict(self) | {
            "peak_flops_per_second": {
                series.hardware: self.peak(series.hardware) for series in self.usable
            },
            "verdict": self.verdict(),
        }
