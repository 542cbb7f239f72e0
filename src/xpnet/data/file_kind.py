"""The kind of a data file, told by its ending."""

from __future__ import annotations

from pathlib import Path

TEXT = (".csv", ".tsv")  # text
KINDS = (*TEXT, ".npy", ".npz", ".parquet")
_PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip")


def kind_of(path: Path) -> str:
    """One of ``KINDS``.

    Raises
    ------
    ValueError
        It is none of them, compressed, or a pipe; the message says what to do.
    """
    if path.is_fifo():
        raise ValueError(f"{path}: a pipe, which can be read only once; save what it gives first")
    kind = path.suffix.lower()
    if kind in KINDS:
        return kind
    if kind in _PACKED:
        raise ValueError(
            f"{path}: a compressed file; unpack it first, to one of {', '.join(KINDS)}"
        )
    raise ValueError(
        f"{path}: none of {', '.join(KINDS)}, by its ending; call a table of text, with commas, "
        "semicolons or tabs between its cells, .csv"
    )
