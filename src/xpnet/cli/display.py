"""What a training run shows: a bar on a terminal, plain lines elsewhere, a table at the end."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Protocol

import rich.console
from rich import box
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from xpnet.training import Progress as FitProgress

Figures = Callable[[FitProgress], dict[str, float]]
_REFRESH = 0.1  # seconds between looks at the cost: each one waits for the device
_NARROW = 64  # columns below which there is room for the figures only


class Console(rich.console.Console):
    """stdout: plain text where it is no terminal, and silent once nobody reads it any more."""

    def __init__(self) -> None:
        super().__init__(highlight=False, markup=False)

    @property
    def live(self) -> bool:
        """Whether a bar can be drawn."""
        return self.is_terminal and not self.is_dumb_terminal

    def line_of(self, text: str, style: str = "", wrap: bool = True) -> None:
        """Print one line; on a terminal ``wrap`` breaks it between words."""
        self.print(Text(text, style=style), soft_wrap=not (wrap and self.is_terminal))

    def on_broken_pipe(self) -> None:
        """The reader of a pipe has gone (``| head``): train on and save, without a word."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Watcher(Protocol):
    """A callback for ``fit`` that is also told of Ctrl-C and of the end."""

    def on_fit_begin(self, net: Any, progress: FitProgress) -> None: ...
    def on_epoch_end(self, net: Any, progress: FitProgress) -> None: ...
    def on_fit_end(self, net: Any, progress: FitProgress) -> None: ...
    def stopping(self) -> None: ...
    def close(self) -> None: ...


class Bar:
    """A progress bar with the figures of the last epoch."""

    def __init__(self, console: Console, epochs: int, figures: Figures) -> None:
        counter, text = "{task.completed:.0f}/{task.total:.0f}", "{task.fields[figures]}"
        self._narrow = console.width < _NARROW
        columns: tuple[ProgressColumn, ...] = (TextColumn(f"{counter} {text}"),)
        if not self._narrow:
            columns = (
                TextColumn(f"epoch {counter}"),
                BarColumn(bar_width=None),
                TextColumn(text),
                TimeRemainingColumn(elapsed_when_finished=True),
            )
        self._bar = Progress(*columns, console=console, expand=not self._narrow)
        self._task = self._bar.add_task("", total=epochs, figures="")
        self._figures = figures
        self._looked = 0.0

    def on_fit_begin(self, net: Any, progress: FitProgress) -> None:
        self._bar.start()

    def on_epoch_end(self, net: Any, progress: FitProgress) -> None:
        if monotonic() - self._looked >= _REFRESH:
            self.on_fit_end(net, progress)

    def on_fit_end(self, net: Any, progress: FitProgress) -> None:
        self._looked = monotonic()
        figures = _shown(self._figures(progress), 3 if self._narrow else 4)
        self._bar.update(self._task, completed=progress.epoch, figures=figures)

    def stopping(self) -> None:
        self._bar.update(self._task, figures="finishing this epoch")

    def close(self) -> None:
        self._bar.stop()


class Lines:
    """A line for about every tenth of the epochs, and for the first and the last."""

    def __init__(self, console: Console, epochs: int, figures: Figures) -> None:
        self._console = console
        self._every = max(1, epochs // 10)
        self._figures = figures
        self._told = 0

    def on_fit_begin(self, net: Any, progress: FitProgress) -> None:
        pass

    def on_epoch_end(self, net: Any, progress: FitProgress) -> None:
        if progress.epoch == 1 or progress.epoch % self._every == 0:
            self.on_fit_end(net, progress)

    def on_fit_end(self, net: Any, progress: FitProgress) -> None:
        if progress.epoch == self._told:
            return
        self._told = progress.epoch
        number = f"{progress.epoch:{len(str(progress.epochs))}}/{progress.epochs}"
        self._console.line_of(f"epoch {number}  {_shown(self._figures(progress), 4)}")

    def stopping(self) -> None:
        print("finishing this epoch; Ctrl-C again stops at once", file=sys.stderr)

    def close(self) -> None:
        pass


def _shown(figures: Mapping[str, float], digits: int) -> str:
    """The cost to so many significant digits, scores to so many decimals."""
    return " ".join(
        f"{name} {value:.{digits}{'g' if name == 'cost' else 'f'}}"
        for name, value in figures.items()
    )


def watcher(console: Console, epochs: int, figures: Figures) -> Watcher:
    """The one that suits the console."""
    return (Bar if console.live else Lines)(console, epochs, figures)


def results_table(rows: Mapping[str, str]) -> Table:
    """Names and values, a pair a row."""
    table = Table(box=box.ROUNDED, show_header=False)
    table.add_column(style="cyan")
    table.add_column(justify="right", overflow="fold")
    for name, value in rows.items():
        table.add_row(name, value)
    return table
