"""Callbacks for ``DeepNet.fit``: early stopping, checkpoints, logs, a progress bar.

Any object with some of the methods of ``history.Callback`` is one; these are ours. None of them
keeps the device waiting unless it needs a number of it: early stopping and logs read the cost of
every epoch, checkpoints the parameters when they write, the bar looks ten times a second at most.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from xpnet._typing import Array
from xpnet.callbacks.logs import CSVLog, JSONLinesLog
from xpnet.callbacks.progressbar import ProgressBar
from xpnet.core.settings import check_count, check_number
from xpnet.files.checkpoint_folder import file_name, find, prune, readable
from xpnet.files.checkpoint_folder import latest as latest_checkpoint
from xpnet.training.history import Progress

__all__ = [
    "CSVLog",
    "Checkpoints",
    "EarlyStopping",
    "JSONLinesLog",
    "ProgressBar",
    "latest_checkpoint",
]

Monitor = Literal["validation_cost", "cost", "validation_accuracy"]


class EarlyStopping:
    """Ends a fit that no longer gets better.

    Parameters
    ----------
    patience : int
        So many epochs in a row without an improvement end the fit.
    monitor : {"validation_cost", "cost", "validation_accuracy"}
        What should fall or, for the accuracy, rise.
    min_delta : float
        An improvement is better than the best before by more than this.
    restore_best : bool
        Whether the net ends with the parameters of its best epoch, also where all epochs were
        run. A copy of them is kept where the net is (two for a while, so that a step that is
        interrupted can be taken back). A fit that something else broke off leaves the net as it
        is, so that it can go on.

    Attributes
    ----------
    best : float or None
        The best value yet.
    best_epoch : int
        After how many epochs, counted over all fits that were resumed.

    Raises
    ------
    ValueError
        At the end of the first epoch: the fit has no validation data to watch.
    """

    def __init__(
        self,
        patience: int = 10,
        monitor: Monitor = "validation_cost",
        min_delta: float = 0.0,
        restore_best: bool = True,
    ) -> None:
        if monitor not in get_args(Monitor):
            raise ValueError(f"monitor={monitor!r}: choose of {', '.join(get_args(Monitor))}")
        self.patience = check_count(patience, "patience", 1)
        self.monitor: Monitor = monitor
        self.min_delta = check_number(min_delta, "min_delta")
        self.restore_best = bool(restore_best)
        self._restored = False
        self._start()

    def _start(self) -> None:
        self.best: float | None = None
        self.best_epoch = 0
        self.since = 0
        self._parameters: list[tuple[Array, Array]] | None = None

    def on_fit_begin(self, net: Any, progress: Progress) -> bool:
        if not self._restored:  # a callback may serve one fit after another
            self._start()
        self._restored = False
        return self.since >= self.patience  # the fit that this one goes on from was over

    def on_epoch_end(self, net: Any, progress: Progress) -> bool:
        value = getattr(progress, self.monitor)
        if value is None:
            other = "accuracy" if self.monitor == "validation_accuracy" else "data"
            raise ValueError(
                f"EarlyStopping watches {self.monitor}, but this fit has no validation {other}: "
                'give fit(validation=(X, Y)), or monitor="cost"'
            )
        if self._better(value):
            self.best, self.best_epoch, self.since = value, progress.total_epoch, 0
            self._parameters = net.parameters if self.restore_best else None  # copies
        else:
            self.since += 1
        return self.since >= self.patience

    def _better(self, value: float) -> bool:
        if self.best is None:
            return value == value  # NaN is no best
        gain = value - self.best if self.monitor == "validation_accuracy" else self.best - value
        return gain > self.min_delta

    def on_fit_end(self, net: Any, progress: Progress) -> None:
        over = self.since >= self.patience or progress.epoch == progress.epochs
        if over and self._parameters is not None and self.best_epoch != progress.total_epoch:
            net.parameters = self._parameters

    def state(self) -> dict[str, Any]:
        layers = self._parameters or []
        return {
            "monitor": self.monitor,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "since": self.since,
            "parameters": [[W, b] for W, b in layers],  # not fetched before somebody needs them
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        self._start()
        self._restored = state["monitor"] == self.monitor  # else its figures say nothing
        if self._restored:
            self.best, self.best_epoch = state["best"], state["best_epoch"]
            self.since = state["since"]
            self._parameters = [(W, b) for W, b in state["parameters"]] or None


class Checkpoints:
    """Writes checkpoints of a fit into a folder, and keeps the last few.

    Each is a model file with the state of training: ``net = xpnet.load(path)`` and
    ``net.fit(..., resume=True)`` go on as if nothing had happened. ``latest_checkpoint(folder)``
    finds the one to go on from. One is written when the fit begins, so that whatever stands
    against it shows at once, then every so many epochs, after the last one, and where a fit is
    broken off, in the middle of an epoch too.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    every : int
        Epochs from one checkpoint to the next.
    keep : int
        How many of the latest stay. An older one is deleted when the new one is safe on the disk.
    data, tensors : mapping, optional
        As in ``net.save``: what stands beside the net in each file. The net's own if left out.
    overwrite : bool
        Whether checkpoints in the folder that are later than where this fit begins may go. They
        come from another run, or from what came after the checkpoint that this one goes on from.

    Attributes
    ----------
    path : Path or None
        The checkpoint written last.

    Raises
    ------
    FileExistsError
        There are later checkpoints, and ``overwrite`` is false.
    ValueError
        A file cannot hold this net or its optimiser: an activation or an optimiser of one's own.
    OSError
        A checkpoint cannot be written. Those before are unharmed.
    """

    last = True  # told after the others: what they have come to is in the checkpoint

    def __init__(
        self,
        folder: str | os.PathLike[str],
        every: int = 1,
        keep: int = 3,
        *,
        data: Mapping[str, Any] | None = None,
        tensors: Mapping[str, np.ndarray] | None = None,
        overwrite: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.every = check_count(every, "every", 1)
        self.keep = check_count(keep, "keep", 1)
        self.data, self.tensors = data, tensors
        self.overwrite = bool(overwrite)
        self.path: Path | None = None

    def on_fit_begin(self, net: Any, progress: Progress) -> None:
        self.path = None
        self._make_folder()
        here = progress.total_epoch, progress.position
        later = [found.path for found in find(self.folder) if found[:2] > here]
        if not self.overwrite and any(readable(path) for path in later):
            raise FileExistsError(
                f"{self.folder} holds checkpoints later than where this fit begins "
                f"({later[0].name}): go on from the latest with xpnet.load and resume=True, choose "
                "another folder, or pass overwrite=True to lose them"
            )
        self._save(net, progress)

    def on_epoch_end(self, net: Any, progress: Progress) -> None:
        if progress.total_epoch % self.every == 0 or progress.epoch == progress.epochs:
            self._save(net, progress)

    def on_fit_end(self, net: Any, progress: Progress) -> None:
        if self._path(progress) != self.path:
            self._save(net, progress)

    def _path(self, progress: Progress) -> Path:
        return self.folder / file_name(progress.total_epoch, progress.position)

    def _save(self, net: Any, progress: Progress) -> None:
        if not progress.finite():
            return  # diverged: the fit is about to find out, and good checkpoints must stay
        path = self._path(progress)
        data = net.data if self.data is None else self.data
        tensors = net.tensors if self.tensors is None else self.tensors
        try:
            net.save(path, data, tensors, training=True)
        except OSError as error:
            before = [found.path.name for found in find(self.folder) if found.path != path][:1]
            rest = f"; {before[0]} before it is whole, go on from there" if before else ""
            reason = f"the checkpoint was not written: {error.strerror or error}{rest}"
            raise OSError(error.errno, reason, os.fspath(path)) from error
        self.path = path
        prune(self.folder, self.keep, path)

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(
                error.errno, "is a file; checkpoints need a folder", os.fspath(self.folder)
            ) from None
