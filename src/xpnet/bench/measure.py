"""Measures one net on one device: its training step, its products alone, its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from time import perf_counter
from typing import Any

import numpy as np

import xpnet
from xpnet.backends.place import Backend
from xpnet.bench.products import floors
from xpnet.bench.results import Cell, Settings
from xpnet.bench.timing import Timed

WARM_UP = 2  # epochs before the clock is read
FEWEST = 3  # epochs that make a median
PATIENCE = 4  # a net may take this many times its seconds to get that far
_MOST_STEPS = 128  # of an epoch
_MOST_NUMBERS = 2**25  # entries of X, except that an epoch has two minibatches at least
_PREDICTED = 4096  # examples


class TooSlow(Exception):
    """A net does not fit into its time."""


class Bench:
    """Measures every net of ``settings`` on one device."""

    def __init__(self, place: Backend, settings: Settings) -> None:
        self.place, self.settings = place, settings
        m, n = settings.batch_size, settings.inputs
        self.batches = int(np.clip(_MOST_NUMBERS // (m * n), 2, _MOST_STEPS))
        generator = np.random.default_rng(0)
        X = generator.standard_normal((self.batches * m, n), np.dtype(settings.dtype).type)
        y = generator.integers(0, max(settings.outputs, 2), len(X), dtype=np.int32)
        self.X, self.y = place.asarray(X), place.asarray(y)

    def cell(self, hidden: int) -> Cell:
        """Measures one net; an error becomes a cell that says what went wrong."""
        try:
            return self._cell(hidden)
        except TooSlow as error:
            return Cell(hidden, str(error))
        except Exception as error:  # the other widths can still be measured
            text = " ".join(f"{type(error).__name__}: {error}".split())
            # Libraries have exceptions of their own for it.
            memory = ("memoryerror", "out of memory", "resource_exhausted", "allocat")
            if any(word in text.lower() for word in memory):
                return Cell(hidden, "out of memory")
            return Cell(hidden, text[:300], failed=True)

    def _cell(self, hidden: int) -> Cell:
        start = perf_counter()
        settings, sizes = self.settings, self.settings.sizes(hidden)
        products = floors(self.place, sizes, settings.batch_size)
        steps = self._steps(products)
        output = "sigmoid" if settings.outputs == 1 else "softmax"
        options: dict[str, Any] = {"backend": self.place, "dtype": settings.dtype}
        net = xpnet.DeepNet(sizes, hidden="relu", output=output, **options)
        clock = Clock(products, steps, settings.seconds)
        m = steps * settings.batch_size
        history = net.fit(
            self.X[:m, ...].T,
            self.y[:m],
            xpnet.Adam(1e-3),
            epochs=10**9,  # the clock ends it
            batch_size=settings.batch_size,
            callbacks=[clock],
        )
        if len(clock.step) < FEWEST:
            seconds = PATIENCE * settings.seconds
            raise TooSlow(f"{FEWEST} times {steps} steps take more than {seconds:g} s")
        examples = min(_PREDICTED, self.y.shape[0])
        X = self.X[:examples, ...].T
        predict = Timed(lambda: xpnet.to_numpy(net.predict(X)))  # which waits for the device
        predict.seconds()
        return Cell(
            hidden,
            steps_per_epoch=steps,
            step=clock.step,
            floor=clock.floor,
            predict=[predict.seconds() for _ in range(FEWEST)],
            predict_examples=examples,
            warm_up=clock.warm - start,
            cost=history.cost[-1],
        )

    def _steps(self, products: Mapping[str, Timed]) -> int:
        """Steps of an epoch, so that there is time for about a dozen epochs."""
        seconds = self.settings.seconds
        slowest = max(timed.seconds() for timed in products.values())  # compiles as well
        times = 3 if slowest < 0.01 * seconds else 1
        once = min(timed.seconds() for _ in range(times) for timed in products.values())
        least = min(4, self.batches)
        if (WARM_UP + FEWEST) * least * once > PATIENCE * seconds:
            raise TooSlow(f"its products alone take {once:.2g} s a step")
        return int(np.clip(seconds / 20 / (2 * once + 1e-4), least, self.batches))


class Clock:
    """A callback that times each epoch, and between two of them the products alone.

    They take turns because a machine's speed drifts. Reading the cost waits for the device.
    """

    def __init__(self, products: Mapping[str, Timed], steps: int, seconds: float) -> None:
        self.step: list[float] = []
        self.floor: dict[str, list[float]] = {name: [] for name in products}
        self.warm = self._start = 0.0  # when the first epoch that counts began, and the last one
        self._products, self._steps, self._seconds = products, steps, seconds

    def on_epoch_end(self, net: Any, progress: Any) -> bool:
        """Whether training ends: there are enough epochs, or they take too long."""
        assert progress.cost is not None
        now = perf_counter()
        if progress.epoch <= WARM_UP:
            self.warm = self._start = now
            return False
        self.step.append((now - self._start) / self._steps)
        for name, timed in self._products.items():
            self.floor[name].append(timed.seconds(self._steps / 4))
        self._start = perf_counter()
        passed = self._start - self.warm
        enough = passed > 0.75 * self._seconds and len(self.step) >= FEWEST
        return enough or passed > PATIENCE * self._seconds
