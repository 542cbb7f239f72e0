"""What was measured, and what follows from it: rates, shares of the peak, which device pays.

All times are in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import takewhile
from math import inf
from statistics import median
from typing import Any

from xpnet.bench.products import step_flops

_BUSY = 0.4  # load of a core from which other programs disturb the clock
_JUMP = 1.5  # times as long as a wider net's: no library's own doing
HIDDEN = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


@dataclass(frozen=True)
class Settings:
    """The net inputs-hidden-outputs, its minibatch, and how long a width may take."""

    hidden: tuple[int, ...] = HIDDEN
    inputs: int = 784
    outputs: int = 10
    batch_size: int = 128
    dtype: str = "float32"
    seconds: float = 5.0

    def sizes(self, hidden: int) -> list[int]:
        return [self.inputs, hidden, self.outputs]

    def flops(self, hidden: int) -> int:
        """Operations of the five products of a step: 2 m (2 n h + 3 h k), for the net n-h-k."""
        return step_flops(self.sizes(hidden), self.batch_size)

    def __str__(self) -> str:
        net = f"{self.inputs}-h-{self.outputs}"
        return f"{net}, batch {self.batch_size}, {self.dtype}, Adam"


@dataclass(frozen=True)
class Cell:
    """One net on one device: every single time, or why there are none."""

    hidden: int
    left_out: str | None = None  # why nothing was measured
    failed: bool = False  # whether that is an error, and not a lack of time or memory
    steps_per_epoch: int = 0  # between two readings of the clock
    step: list[float] = field(default_factory=list)  # time of a step, one entry per epoch
    floor: dict[str, list[float]] = field(default_factory=dict)  # products alone, by their layout
    predict: list[float] = field(default_factory=list)  # of ``predict_examples`` examples
    predict_examples: int = 0
    warm_up: float = 0.0  # what passed before the clock was read: compilation, buffers
    cost: float | None = None  # of the last epoch

    @property
    def step_seconds(self) -> float:
        return median(self.step)

    @property
    def floor_seconds(self) -> float:
        """The time of the faster layout."""
        return min(map(median, self.floor.values()))

    @property
    def predict_rate(self) -> float:
        """Examples per second."""
        return self.predict_examples / median(self.predict)


@dataclass
class Series:
    """One library on one device. Those of the same ``hardware`` share its peak."""

    backend: str
    device: str
    version: str = ""
    hardware: str = ""  # the name of the processor or accelerator
    accelerator: bool = False
    squares: dict[str, float] = field(default_factory=dict)  # times of square products, by side
    cells: list[Cell] = field(default_factory=list)
    broken: str | None = None  # why it ended early

    @property
    def label(self) -> str:
        return f"{self.backend} on {self.device}"

    @property
    def measured(self) -> dict[int, Cell]:
        """Cells that hold times, by hidden units."""
        return {cell.hidden: cell for cell in self.cells if cell.left_out is None}


@dataclass
class Results:
    """Everything that one run found."""

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
        """NumPy on the CPU, which every other series is compared with."""
        return next((series for series in self.usable if series.backend == "numpy"), None)

    def peak(self, hardware: str) -> float:
        """The best rate of products, in flops per second, that any library reached on it."""
        rates = [0.0]
        for series in filter(lambda series: series.hardware == hardware, self.series):
            rates += [2 * int(n) ** 3 / seconds for n, seconds in series.squares.items()]
            cells = series.measured.values()
            rates += [self.settings.flops(cell.hidden) / cell.floor_seconds for cell in cells]
        return max(rates)

    def share(self, series: Series, seconds: float, hidden: int) -> float:
        """The rate of a step's products in ``seconds``, over the peak."""
        return self.settings.flops(hidden) / seconds / self.peak(series.hardware)

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each net on each device; without figures where nothing was measured."""
        for series in self.series:
            for cell in series.cells:
                row = {n: getattr(series, n) for n in ("backend", "version", "device", "hardware")}
                row |= {"hidden": cell.hidden, "left_out": cell.left_out}
                for name in ("inputs", "outputs", "batch_size", "dtype"):
                    row[name] = getattr(self.settings, name)
                if cell.left_out is None:
                    row |= self.figures(series, cell)
                yield row

    def figures(self, series: Series, cell: Cell) -> dict[str, Any]:
        """What follows from the times of one net on one device."""
        step, flops = cell.step_seconds, self.settings.flops(cell.hidden)
        return {
            "step_seconds": step,
            "floor_seconds": cell.floor_seconds,
            "step_over_floor": step / cell.floor_seconds,
            "flops_per_step": flops,
            "flops_per_second": flops / step,
            "peak_flops_per_second": self.peak(series.hardware),
            "share_of_peak": self.share(series, step, cell.hidden),
            "predict_examples_per_second": cell.predict_rate,
            "times_as_fast_as_numpy": self.speedup(series, cell.hidden),
            "steps_per_epoch": cell.steps_per_epoch,
            "epochs": len(cell.step),
        }

    def speedup(self, series: Series, hidden: int) -> float | None:
        """NumPy's time of a step over this one's; None where one of them is missing."""
        numpy, this = ((s.measured if s else {}).get(hidden) for s in (self.reference, series))
        return numpy.step_seconds / this.step_seconds if numpy and this else None

    def verdict(self) -> list[str]:
        """Sentences: from how many hidden units on each device pays."""
        if not self.usable:
            return ["nothing was measured"]
        if self.reference is None:
            return ["NumPy was not measured: nothing to compare with"]
        others = [series for series in self.usable if series is not self.reference]
        if not others:
            return ["numpy alone was measured: nothing to compare it with"]
        found = [self._pays(series) for series in others]
        if len(set(found)) == 1 and found[0][0] is None and found[0][1]:
            return [f"no device pays up to {found[0][1]} hidden units"]
        return [self._sentence(series, *pays) for series, pays in zip(others, found, strict=True)]

    def _pays(self, series: Series) -> tuple[int | None, int | None]:
        """The width from which on each is faster than NumPy; the largest that both measured."""
        speedups = {h: self.speedup(series, h) for h in sorted(series.measured, reverse=True)}
        compared = {hidden: speedup for hidden, speedup in speedups.items() if speedup}
        faster = list(takewhile(lambda hidden: compared[hidden] > 1, compared))
        return faster[-1] if faster else None, next(iter(compared), None)

    def _sentence(self, series: Series, first: int | None, last: int | None) -> str:
        if last is None:
            return f"{series.label} has no width in common with NumPy"
        if first is None:
            return f"{series.label} does not pay up to {last} hidden units"
        times = f"{self.speedup(series, last):.2g} times as fast as NumPy at {last}"
        return f"from {first} hidden units on, {series.label} pays: {times}"

    def disturbances(self) -> list[str]:
        """Sentences: which figures other programs seem to have disturbed."""
        said = []
        if (load := self.machine.get("load", (0.0,))[0]) > _BUSY * self.machine["usable_cores"]:
            said.append(f"Other programs were running (load {load:.1f}).")
        for series in self.usable:
            odd, least = list[int](), inf
            for hidden in sorted(series.measured, reverse=True):
                cell = series.measured[hidden]
                least = min(least, cell.step_seconds)
                if cell.step_seconds > _JUMP * least or cell.step_seconds < cell.floor_seconds:
                    odd.insert(0, hidden)
            if odd:
                said.append(f"{series.label}: at {', '.join(map(str, odd))} hidden units a step is "
                            "faster than its floor, or slower than a wider net's.")  # fmt: skip
        more = "Take no figure as exact: the machine is busy, and threads wait for each other. "
        return [*said, f"{more}OMP_NUM_THREADS=1 xpnet bench disturbs less."] if said else []

    def to_json(self) -> dict[str, Any]:
        """Every single time, and what follows from them."""
        peaks = {series.hardware: self.peak(series.hardware) for series in self.usable}
        return asdict(self) | {"peak_flops_per_second": peaks, "verdict": self.verdict()}
