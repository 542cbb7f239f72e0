"""Whether a command may write a file: none loses one that it reads, or one of another kind.

A command asks before its work begins: hours of it are not to be lost either.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from xpnet.files.model import is_model


@dataclass(frozen=True)
class Kind:
    """A kind of file that a command writes: the endings that fit, and how one is recognised."""

    name: str
    endings: Collection[str]
    holds: Callable[[Path], bool]

    @classmethod
    def beginning(cls, name: str, begins: Mapping[str, bytes | tuple[bytes, ...]]) -> Kind:
        """The kind whose files begin with these bytes, by their ending."""

        def holds(path: Path) -> bool:
            with open(path, "rb") as file:
                return file.read(2**20).startswith(begins[path.suffix.lower()])

        return cls(name, begins, holds)


PICTURE = Kind.beginning(
    "picture", {".svg": (b"<?xml", b"<svg"), ".png": b"\x89PNG", ".pdf": b"%PDF"}
)
MODEL = Kind("model of xpnet", ("", ".safetensors", ".model"), is_model)


def refusal(path: Path, kind: Kind, others: Mapping[str, Path | None], force: bool) -> str | None:
    """The reason why ``path`` may not be written, in words; None if it may.

    ``others`` are the files that the command reads or writes besides, under the names of their
    options. ``force`` gives up a file of another kind, never one of ``others``.
    """
    if path.suffix.lower() not in kind.endings or path.name == "-":
        return f"{path} ends in none of {', '.join(filter(None, kind.endings))}"
    there = os.path.exists(path)
    if there and not path.is_file():
        return f"{path} is not a regular file"
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    if not os.access(path.parent, os.W_OK):
        return f"cannot write in the folder {path.parent}"
    if there and not os.access(path, os.W_OK):
        return f"{path} is write-protected"
    for option, other in others.items():
        if other is not None and _same(path, other):
            return f"{path} is the file of {option} too, which would be lost; choose another name"
    if there and path.stat().st_size and not force and not kind.holds(path):
        return f"{path} is there and is no {kind.name}; choose another name, or give --force"
    return None


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, through links too."""
    if os.path.exists(one) and os.path.exists(other):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)
