"""One net on one device: its training step, its products alone, its predictions."""

from __future__ import annotations

from collections.abc import Iterator
from time import perf_counter
from typing import Any

import numpy as np

import xpnet
from xpnet._typing import Array
from xpnet.backends.place import Backend
from xpnet.bench.products import Timed, floors, squares
from xpnet.bench.results import Cell, Settings

WARM_UP = 2  # epochs before the clock is read
FEWEST = 3  # epochs that make a median
PATIENCE = 4  # a net may take so many times its seconds to get that far
_EXAMPLES = 128  # batches, and
_NUMBERS = 2**25  # entries of X, at most; two batches at least
_PREDICTED = 4096


class TooSlow(Exception):
    """A net does not fit into its time."""


class Bench:
    """All nets of ``settings`` on one device."""

    def __init__(self, place: Backend, settings: Settings) -> None:
        self.place, self.settings = place, settings
        m, n = settings.batch_size, settings.inputs
        self.batches = int(np.clip(_NUMBERS // (m * n), 2, _EXAMPLES))
        generator = np.random.default_rng(0)
        X = generator.standard_normal((self.batches * m, n), np.dtype(settings.dtype).type)
        y = generator.integers(0, max(settings.outputs, 2), len(X), dtype=np.int32)
        self.X, self.y = place.asarray(X), place.asarray(y)

    def squares(self) -> Iterator[tuple[int, float]]:
        return squares(self.place, 0.2 * self.settings.seconds)

    def cell(self, hidden: int) -> Cell:
        """Measures one net; never raises what a net that is too large may raise."""
        try:
            with self.place.context():
                return self._cell(hidden)
        except TooSlow as error:
            return Cell(hidden, str(error))
        except Exception as error:  # the other widths have still something to say
            text = " ".join(f"{type(error).__name__}: {error}".split())
            if isinstance(error, MemoryError) or _says_memory(text):
                return Cell(hidden, "out of memory")
            return Cell(hidden, text[:300], failed=True)

    def _cell(self, hidden: int) -> Cell:
        settings = self.settings
        sizes = settings.inputs, hidden, settings.outputs
        start = perf_counter()
        products = floors(self.place, *sizes, settings.batch_size)
        for timed in products.values():
            timed.seconds(1)
        # The least of three, where that costs nothing: it is only to count the steps by.
        once = min(timed.seconds(1) for timed in products.values())
        if once < 0.01 * settings.seconds:
            once = min(timed.seconds(3) for timed in (*products.values(), *products.values()))
        steps = self._steps(once)
        net = xpnet.DeepNet(
            list(sizes),
            hidden="relu",
            output="sigmoid" if settings.outputs == 1 else "softmax",
            backend=self.place,
            dtype=settings.dtype,
        )
        m = steps * settings.batch_size
        clock = Clock(products, steps, max(1, round(steps / 4)), settings.seconds)
        callbacks: list[Any] = [clock]  # it has one of a Callback's methods
        history = net.fit(
            self.X[:m, ...].T,
            self.y[:m],
            optimizer=xpnet.Adam(1e-3),
            epochs=10**9,  # the clock ends it
            batch_size=settings.batch_size,
            callbacks=callbacks,
        )
        if len(clock.step) < FEWEST:
            raise TooSlow(
                f"{FEWEST} times {steps} steps take more than {PATIENCE * settings.seconds:g} s"
            )
        predicted = self.X[: min(_PREDICTED, self.y.shape[0]), ...].T
        return Cell(
            hidden,
            steps_per_epoch=steps,
            step=clock.step,
            floor=clock.floor,
            predict=list(self._predictions(net, predicted)),
            predict_examples=predicted.shape[1],
            warm_up=clock.warm - start,
            cost=history.cost[-1],
        )

    def _steps(self, once: float) -> int:
        """Steps of an epoch, so that there is time for about a dozen of them."""
        seconds = self.settings.seconds
        least = min(4, self.batches)
        if (WARM_UP + FEWEST) * least * once > PATIENCE * seconds:
            raise TooSlow(f"its products alone take {once:.2g} s a step")
        return int(np.clip(seconds / 20 / (2 * once + 1e-4), least, self.batches))

    def _predictions(self, net: xpnet.DeepNet, X: Array) -> Iterator[float]:
        xpnet.to_numpy(net.predict(X))
        began, passed, found = perf_counter(), 0.0, 0
        # Once in any case, three times if that is not too long, and more if there is time.
        while found == 0 or passed < self.settings.seconds * (0.15 if found >= FEWEST else 1.0):
            start = perf_counter()
            xpnet.to_numpy(net.predict(X))  # class numbers on the host: nothing is left to do
            yield perf_counter() - start
            passed, found = perf_counter() - began, found + 1


class Clock:
    """A callback that times each epoch, and between two of them the products alone.

    They take turns because a machine's speed drifts. Reading the cost waits for the device.
    """

    def __init__(self, products: dict[str, Timed], steps: int, passes: int, seconds: float) -> None:
        self.step: list[float] = []
        self.floor: dict[str, list[float]] = {name: [] for name in products}
        self.warm = 0.0
        self._products, self._steps, self._passes, self._seconds = products, steps, passes, seconds
        self._start = 0.0

    def on_epoch_end(self, net: Any, progress: Any) -> bool:
        assert progress.cost is not None
        now = perf_counter()
        if progress.epoch <= WARM_UP:
            self.warm = self._start = now
            return False
        self.step.append((now - self._start) / self._steps)
        for name, timed in self._products.items():
            self.floor[name].append(timed.seconds(self._passes))
        self._start = perf_counter()
        passed = self._start - self.warm
        enough = passed > 0.75 * self._seconds and len(self.step) >= FEWEST
        return enough or passed > PATIENCE * self._seconds


def _says_memory(text: str) -> bool:
    """Libraries have exceptions of their own for it."""
    words = "out of memory", "resource_exhausted", "allocat"
    return any(word in text.lower() for word in words)
