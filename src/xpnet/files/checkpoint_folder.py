"""Folders of checkpoints: their names, the latest that can be read, and which are deleted.

A checkpoint is called ``epoch-000012.safetensors`` after 12 epochs, and
``epoch-000012-step-000345.safetensors`` after 345 steps of the next one. Files are written in one
step (``files.atomic``): one that has such a name was written whole.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from xpnet.exceptions import ModelFileError, warn
from xpnet.files.checkpoint import unpack
from xpnet.files.model import load_model

_NAME = re.compile(r"epoch-(\d{6,15})(?:-step-(\d{6,15}))?\.safetensors")
_LEFTOVER = re.compile(rf"\.{_NAME.pattern}\.[0-9a-f]+\.tmp")


class FoundCheckpoint(NamedTuple):
    """A file with the name of a checkpoint; the later of two is the greater."""

    epoch: int
    position: int
    path: Path


def checkpoint_name(epoch: int, position: int = 0) -> str:
    """The name of the checkpoint after ``epoch`` epochs and ``position`` steps of the next."""
    return f"epoch-{epoch:06}{f'-step-{position:06}' if position else ''}.safetensors"


def find_checkpoints(folder: str | os.PathLike[str]) -> list[FoundCheckpoint]:
    """The files of a folder that have the names of checkpoints, the latest first.

    Raises
    ------
    OSError
        ``folder`` cannot be read, or is a file. One that does not exist is empty.
    """
    matches = [(_NAME.fullmatch(path.name), path) for path in _files(folder)]
    return sorted(
        (FoundCheckpoint(int(m[1]), int(m[2] or 0), path) for m, path in matches if m), reverse=True
    )


def latest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """Find the latest checkpoint of a folder that can be read.

    Parameters
    ----------
    folder : path
        Where ``Checkpoints`` wrote them.

    Returns
    -------
    Path or None
        None if the folder has none, or does not exist.

    Raises
    ------
    ModelFileError
        There are checkpoints, but not one of them can be read.
    OSError
        ``folder`` cannot be read, or is a file.

    Warns
    -----
    UserWarning
        Names each file passed over: damaged, foreign, or left by a write that was cut off.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> import xpnet
    >>> from xpnet.callbacks import Checkpoints, latest_checkpoint
    >>> X, y = xpnet.load_digits()
    >>> with TemporaryDirectory() as folder:
    ...     net = xpnet.DeepNet([64, 10], output="softmax")
    ...     history = net.fit(X.T / 16, y, epochs=2, callbacks=[Checkpoints(folder)])
    ...     net = xpnet.load(latest_checkpoint(folder))
    >>> len(net.history.cost)
    2
    """
    passed: list[str] = []
    chosen = None
    for found in find_checkpoints(folder):
        if (problem := _problem(found.path)) is None:
            chosen = found.path
            break
        passed.append(problem)
    if chosen is None and passed:
        raise ModelFileError(f"no checkpoint in {os.fspath(folder)} can be read: {passed[0]}")
    for path in _files(folder):
        if _LEFTOVER.fullmatch(path.name):
            passed.append(f"{path}: left over from a write that was cut off")
        elif path.suffix == ".safetensors" and not _NAME.fullmatch(path.name):
            passed.append(f"{path}: not called like a checkpoint")
    for problem in passed:
        warn(f"passed over {problem}")
    return chosen


def is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Whether a fit can go on from a file: it is a checkpoint, whole and undamaged."""
    return _problem(Path(path)) is None


def is_foreign(path: Path) -> bool:
    """Whether a file with the name of a checkpoint is none, nor the damaged rest of one."""
    try:
        with open(path, "rb") as file:
            head = file.read(2**20)
    except OSError:  # a folder
        return True
    return bool(head) and not (b'"format":"xpnet"' in head and rb"\"training\"" in head)


def prune_checkpoints(folder: str | os.PathLike[str], keep: int, written: Path) -> None:
    """Deletes all but the ``keep`` checkpoints up to ``written``, and what cut off writes left.

    Call it when ``written`` is on the disk. Later checkpoints come from a run that was given up,
    and are deleted too. Foreign files stay.
    """
    there = [found.path for found in find_checkpoints(folder) if not is_foreign(found.path)]
    first = there.index(written) if written in there else len(there)
    leftovers = [path for path in _files(folder) if _LEFTOVER.fullmatch(path.name)]
    for path in there[:first] + there[first + keep :] + leftovers:
        path.unlink(missing_ok=True)


def _files(folder: str | os.PathLike[str]) -> list[Path]:
    try:
        return sorted(Path(folder).iterdir())
    except FileNotFoundError:
        return []
    except NotADirectoryError as error:
        raise NotADirectoryError(
            error.errno, "is a file; checkpoints need a folder", os.fspath(folder)
        ) from None


def _problem(path: Path) -> str | None:
    """The reason why a fit cannot go on from a file, in one line that names it; None if it can."""
    try:
        model = load_model(path)
        if "training" not in model.config:
            return f"{path}: a model without the state of training"
        n_parameters = sum(W.size + b.size for W, b in model.parameters)
        unpack(model.config["training"], model.tensors, n_parameters)
    except (ModelFileError, OSError) as error:
        return str(error)
    except (KeyError, TypeError, ValueError) as error:
        return f"{path}: {error}"
    return None
