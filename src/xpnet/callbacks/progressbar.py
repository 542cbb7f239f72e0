"""``ProgressBar``: how far a fit has come, as a bar on a terminal and as plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from math import inf
from time import monotonic
from typing import Any, TextIO

from xpnet.training.history import Progress

REFRESH = 0.1  # seconds between looks at the cost: each one waits for the device
LEAST_BAR = 4  # columns


def _figures(progress: Progress) -> dict[str, float]:
    """The cost of an epoch, and its validation figures where there are any."""
    found = {
        "cost": progress.cost,
        "validation": progress.validation_cost,
        "accuracy": progress.validation_accuracy,
    }
    return {name: value for name, value in found.items() if value is not None}


class ProgressBar:
    """Shows the epochs, the cost and the validation figures of a fit while it runs.

    On a terminal, where rich is installed, it is a bar; elsewhere a plain line for about every
    tenth of the epochs, and for the first and the last. The bar looks at the cost ten times a
    second at most, however short an epoch is. The fit goes on when the reader of the output goes
    away (``| head``).

    Parameters
    ----------
    figures : callable, optional
        ``progress -> mapping of str to float``: the figures to show after an epoch, by name. By
        default the cost, and the validation data's cost and accuracy.
    file : text file, optional
        Standard output if left out.
    console : rich.console.Console, optional
        Where it is drawn; in place of ``file``.

    Examples
    --------
    >>> import sys
    >>> import xpnet
    >>> from xpnet.callbacks import ProgressBar
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> history = net.fit(X.T / 16, y, epochs=2, callbacks=[ProgressBar(file=sys.stdout)])
    epoch 1/2  cost ...
    epoch 2/2  cost ...
    """

    def __init__(
        self,
        figures: Callable[[Progress], Mapping[str, float]] | None = None,
        file: TextIO | None = None,
        *,
        console: Any = None,
    ) -> None:
        self._figures = _figures if figures is None else figures
        self._file, self._console = file, console
        self._terminal = _rich_console(file) if console is None else console
        self.live: bool = self._terminal is not None and (
            self._terminal.is_terminal and not self._terminal.is_dumb_terminal
        )
        self._bar: Any = None  # rich's, while a fit runs
        # lines do not move in the middle of an epoch, so the loop need not cut it into parts
        self.on_steps_end = self._move if self.live else None

    def on_fit_begin(self, net: Any, progress: Progress) -> None:
        done = progress.total_epoch
        self._total = done - progress.epoch + progress.epochs
        self._every = max(1, (self._total - done) // 10)  # epochs between lines
        self._shown, self._looked = 0, -inf
        self.close()
        if self.live:
            self._bar = _rich_bar(self._terminal)
            self._task = self._bar.add_task(
                "", total=self._total, completed=done, epoch=done, figures=""
            )
            self._bar.start()

    def _move(self, net: Any, progress: Progress) -> None:
        if progress.steps_per_epoch:
            done = progress.total_epoch + progress.position / progress.steps_per_epoch
            self._bar.update(self._task, completed=done, epoch=progress.total_epoch)

    def on_epoch_end(self, net: Any, progress: Progress) -> None:
        if self.live:
            due = monotonic() - self._looked >= REFRESH
        else:
            due = progress.epoch == 1 or progress.epoch % self._every == 0
        if due:
            self._show(progress)

    def on_fit_end(self, net: Any, progress: Progress) -> None:
        if progress.epoch and self._shown != progress.total_epoch:
            self._show(progress)
        self.close()

    def _show(self, progress: Progress) -> None:
        self._shown, figures = progress.total_epoch, self._figures(progress)
        self._looked = monotonic()
        if not self.live:
            epoch = f"epoch {self._shown:{len(str(self._total))}}/{self._total}"
            self.note(f"{epoch}  {as_text(figures, 4)}")
            return
        taken = len(f"{self._shown}/{self._total} ") + LEAST_BAR + 1
        text = as_text(figures, 3, self._terminal.width - taken)
        self._bar.update(self._task, completed=self._shown, epoch=self._shown, figures=text)

    def note(self, text: str) -> None:
        """Show a text in the place of the figures, or in a line of its own.

        Parameters
        ----------
        text : str
            One line.

        Examples
        --------
        >>> import sys
        >>> from xpnet.callbacks import ProgressBar
        >>> ProgressBar(file=sys.stdout).note("reading the data")
        reading the data
        """
        if self._bar is not None:
            self._bar.update(self._task, figures=text)
        elif self._console is not None:
            self._console.print(text, soft_wrap=True)
        else:
            with suppress(BrokenPipeError):
                print(text, file=self._file, flush=True)

    def close(self) -> None:
        """Leaves the terminal as it was; called by the fit, however it ends."""
        if self._bar is not None:
            self._bar.stop()


def as_text(figures: Mapping[str, float], digits: int, room: float = inf) -> str:
    """Costs to so many significant digits, scores to so many decimals; as many as have room."""
    text = ""
    for name, value in figures.items():
        kind = "g" if "cost" in name or name == "validation" else "f"
        longer = f"{text} {name} {value:.{digits}{kind}}".lstrip()
        if len(longer) > room:
            break
        text = longer
    return text


def _rich_console(file: TextIO | None) -> Any:
    """A console of rich's, or None where rich is not installed."""
    if find_spec("rich") is None:
        return None
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:  # rich would end the process
            self.quiet = True

    return Quiet(file=file, highlight=False, markup=False)


def _rich_bar(console: Any) -> Any:
    """A line as wide as the terminal: epochs, a bar, figures."""
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        TextColumn("{task.fields[epoch]}/{task.total:.0f}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        expand=True,
    )
