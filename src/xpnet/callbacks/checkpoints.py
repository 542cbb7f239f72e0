"""``Checkpoints``: writes checkpoints of a fit into a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.core.settings import check_count
from xpnet.files.checkpoint_folder import (
    checkpoint_name,
    find_checkpoints,
    is_checkpoint,
    is_foreign,
    prune_checkpoints,
)
from xpnet.training.history import Progress


class Checkpoints:
    """Writes checkpoints of a fit into a folder, and keeps the last few.

    Each is a model file with the state of training: ``net = xpnet.load(path)`` and
    ``net.fit(..., resume=True)`` go on as if nothing had happened. ``latest_checkpoint(folder)``
    finds the one to go on from. One is written when the fit begins, so that a folder or a net
    that makes it impossible is an error at once, then every so many epochs, after the last one, and
    when a callback ends the fit, in the middle of an epoch too.

    Parameters
    ----------
    folder : path
        It is made if it does not exist.
    every : int
        Epochs from one checkpoint to the next.
    keep : int
        How many of the latest stay. An older one is deleted once the new one is on the disk.
    data, tensors : mapping, optional
        As in ``net.save``: saved beside the net in each file. The net's own if left out.
    overwrite : bool
        Whether checkpoints in the folder that are later than the start of this fit may be lost.
        They are of another run, or follow the checkpoint that this one goes on from.

    Attributes
    ----------
    path : Path or None
        The checkpoint written last.

    Raises
    ------
    FileExistsError
        There are later checkpoints and ``overwrite`` is false, or files that are only called so.
    ValueError
        The net has an activation or an optimiser that is not xpnet's, which no file can hold.
    OSError
        A checkpoint cannot be written. Earlier ones are unharmed.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import xpnet
    >>> from xpnet.callbacks import Checkpoints
    >>> X, y = xpnet.load_digits()
    >>> net = xpnet.DeepNet([64, 10], output="softmax")
    >>> with TemporaryDirectory() as folder:
    ...     written = Checkpoints(folder, every=2)
    ...     history = net.fit(X.T / 16, y, epochs=4, callbacks=[written])
    >>> written.path.name
    'epoch-000004.safetensors'
    """

    last = True  # called after the others, so that the checkpoint holds their new states

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
        here = progress.total_epoch, progress.position
        there = find_checkpoints(self.folder)
        later = [found.path for found in there if found[:2] > here]
        if foreign := [found.path for found in there if is_foreign(found.path)]:
            raise FileExistsError(
                f"{foreign[0]} is called like a checkpoint of xpnet and is none: this fit might "
                "replace or delete it; move it, or choose another folder"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.overwrite and any(is_checkpoint(path) for path in later):
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
        return self.folder / checkpoint_name(progress.total_epoch, progress.position)

    def _save(self, net: Any, progress: Progress) -> None:
        if not progress.finite():
            return  # diverged: good checkpoints stay, and the loop is about to raise
        path = self._path(progress)
        data = net.data if self.data is None else self.data
        tensors = net.tensors if self.tensors is None else self.tensors
        try:
            net.save(path, data, tensors, training=True)
        except OSError as error:
            before = [f.path.name for f in find_checkpoints(self.folder) if f.path != path]
            rest = f"; {before[0]} before it is whole, go on from there" if before else ""
            reason = f"the checkpoint was not written: {error.strerror or error}{rest}"
            raise OSError(error.errno, reason, os.fspath(path)) from error
        self.path = path
        prune_checkpoints(self.folder, self.keep, path)
