"""How far a fit has come: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from math import inf
from time import monotonic
from typing import Any, Protocol, Self, TextIO

from xpnet.training.history import Progress

Figures = Callable[[Progress], Mapping[str, float]]
_REFRESH = 0.1  # seconds between looks at the cost: each one waits for the device
_NARROW = 64  # columns below which there is room for the figures only


def _figures(progress: Progress) -> dict[str, float]:
    """What there is to show of an epoch."""
    found = {
        "cost": progress.cost,
        "validation": progress.validation_cost,
        "accuracy": progress.validation_accuracy,
    }
    return {name: value for name, value in found.items() if value is not None}


def _rich_console(file: TextIO | None) -> Any:
    """A console of rich's, or None where it is not installed."""
    if find_spec("rich") is None:
        return None
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:  # rich would end the process
            self.quiet = True

    return Quiet(file=file, highlight=False, markup=False)


class _View(Protocol):
    def begin(self, done: float, total: int) -> None: ...
    def move(self, done: float) -> None: ...
    def show(self, done: float, total: int, figures: Mapping[str, float]) -> None: ...
    def due(self, epoch: int) -> bool: ...
    def note(self, text: str) -> None: ...
    def close(self) -> None: ...


class ProgressBar:
    """Shows the epochs, the cost and the validation figures of a fit while it runs.

    On a terminal, where rich is installed, it is a bar; elsewhere a plain line for about every
    tenth of the epochs, and for the first and the last. The bar looks at the cost ten times a
    second at most, whatever an epoch takes. A reader of the output that goes away (``| head``)
    does not end the fit.

    Parameters
    ----------
    figures : callable (progress) -> mapping of str to float, optional
        What is shown after an epoch, by name. The cost, and the validation data's cost and
        accuracy, if left out.
    file : text file, optional
        Standard output if left out.
    console : rich.console.Console, optional
        Where it is drawn; in place of ``file``.
    """

    def __init__(
        self, figures: Figures | None = None, file: TextIO | None = None, *, console: Any = None
    ) -> None:
        self._figures = _figures if figures is None else figures
        terminal = _rich_console(file) if console is None else console
        self.live = terminal is not None and terminal.is_terminal and not terminal.is_dumb_terminal
        self._view: _View = _Bar(terminal) if self.live else _Lines(file, console)
        self._total = 0
        self._shown: int | None = None
        if self.live:  # only a bar moves in the middle of an epoch
            self.on_steps_end = self._on_steps_end

    def on_fit_begin(self, net: Any, progress: Progress) -> None:
        before = progress.total_epoch - progress.epoch
        self._total = before + progress.epochs
        self._shown = None
        self._guarded(lambda: self._view.begin(progress.total_epoch, self._total))

    def _on_steps_end(self, net: Any, progress: Progress) -> None:
        if progress.steps_per_epoch:
            share = progress.position / progress.steps_per_epoch
            self._guarded(lambda: self._view.move(progress.total_epoch + share))

    def on_epoch_end(self, net: Any, progress: Progress) -> None:
        if self._view.due(progress.epoch):
            self._show(progress)

    def on_fit_end(self, net: Any, progress: Progress) -> None:
        if self._shown != progress.total_epoch and progress.epoch:
            self._show(progress)
        self.close()

    def _show(self, progress: Progress) -> None:
        self._shown = progress.total_epoch
        figures = self._figures(progress)
        self._guarded(lambda: self._view.show(progress.total_epoch, self._total, figures))

    def note(self, text: str) -> None:
        """Says something in the place of the figures, or in a line of its own."""
        self._guarded(lambda: self._view.note(text))

    def close(self) -> None:
        """Leaves the terminal as it was; called by the fit, however it ends."""
        self._guarded(self._view.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BrokenPipeError:
            self._view = _Silent()


class _Bar:
    """rich's progress bar."""

    def __init__(self, console: Any) -> None:
        self._console = console
        self._bar: Any = None
        self._looked = 0.0

    def begin(self, done: float, total: int) -> None:
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._narrow = self._console.width < _NARROW
        counter, text = "{task.fields[epoch]}/{task.total:.0f}", "{task.fields[figures]}"
        columns: tuple[Any, ...] = (TextColumn(f"{counter} {text}", markup=False),)
        if not self._narrow:
            columns = (
                TextColumn(f"epoch {counter}", markup=False),
                BarColumn(bar_width=None),
                TextColumn(text, markup=False),
                TimeRemainingColumn(elapsed_when_finished=True),
            )
        self.close()
        self._bar = Bar(*columns, console=self._console, expand=not self._narrow)
        self._task = self._bar.add_task("", total=total, completed=done, epoch=int(done),
                                        figures="")  # fmt: skip
        self._bar.start()

    def due(self, epoch: int) -> bool:
        return monotonic() - self._looked >= _REFRESH

    def move(self, done: float) -> None:
        self._bar.update(self._task, completed=done, epoch=int(done))

    def show(self, done: float, total: int, figures: Mapping[str, float]) -> None:
        self._looked = monotonic()
        self.move(done)
        counter = len(f"{int(done)}/{total} ")
        if self._narrow:
            text = shown(figures, 3, self._console.width - counter)
        else:  # beside "epoch", eight columns of a clock, and a bar of at least as many
            text = shown(figures, 4, self._console.width - counter - len("epoch ") - 18)
        self._bar.update(self._task, figures=text)

    def note(self, text: str) -> None:
        if self._bar is not None:
            self._bar.update(self._task, figures=text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


class _Lines:
    """Plain lines, about ten of them."""

    def __init__(self, file: TextIO | None, console: Any) -> None:
        self._file, self._console = file, console
        self._every = 1

    def begin(self, done: float, total: int) -> None:
        self._every = max(1, (total - int(done)) // 10)

    def due(self, epoch: int) -> bool:
        return epoch == 1 or epoch % self._every == 0

    def move(self, done: float) -> None:
        pass

    def show(self, done: float, total: int, figures: Mapping[str, float]) -> None:
        self.note(f"epoch {int(done):{len(str(total))}}/{total}  {shown(figures, 4)}")

    def note(self, text: str) -> None:
        if self._console is not None:
            self._console.print(text, soft_wrap=True)
            return
        file = sys.stdout if self._file is None else self._file
        file.write(text + "\n")
        file.flush()

    def close(self) -> None:
        pass


class _Silent:
    """Once nobody reads any more."""

    def due(self, epoch: int) -> bool:
        return False

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: None


def shown(figures: Mapping[str, float], digits: int, room: float = inf) -> str:
    """Costs to so many significant digits, scores to so many decimals; as many as have room."""
    text = ""
    for name, value in figures.items():
        kind = "g" if "cost" in name or name == "validation" else "f"
        longer = f"{text} {name} {value:.{digits}{kind}}".lstrip()
        if len(longer) > room:
            break
        text = longer
    return text
