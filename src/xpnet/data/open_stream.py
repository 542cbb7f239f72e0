"""Opens a stream from a file, an array with row slices, or batches."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from xpnet.backends.place import exchanged
from xpnet.data.checks import host_array
from xpnet.data.column import listed
from xpnet.data.file_array import FileArray, open_npy, open_npz, temporary
from xpnet.data.readers import ReadOptions, open_table
from xpnet.data.row_source import Decoded, SlicedRows, are_large, check_kind, float_type
from xpnet.data.selection import Selection
from xpnet.data.statistics import check_number_of_texts
from xpnet.data.stream import Stream
from xpnet.data.user_batches import UserBatches


def stream(
    source: Any,
    y: Any = None,
    sample_weight: Any = None,
    *,
    target: str | int | None = None,
    memory: float = 256e6,
    folder: str | os.PathLike[str] | None = None,
    **reading: Any,
) -> Stream:
    """Open a stream of examples that do not fit in memory, in rows.

    Parameters
    ----------
    source : path, object with rows, or batches
        - a path: ``.npy`` (m, n); ``.npz`` with X (m, n) and y (m,); another table of numbers that
          ``xpnet train`` reads, such as ``.csv`` and ``.parquet`` (needs pyarrow);
        - an object with ``shape`` (m, n) and slices of rows: an array, ``np.memmap``, a data set
          of h5py or Zarr;
        - batches: a function ``epoch -> iterator`` of (X, Y) or (X, Y, w), with X (k, n) and Y (k,)
          or (k, n_y); or an iterable of such, a list for instance.
    y : path or object with rows (m,) or (m, n_y), optional
        Labels or targets beside a ``.npy`` file or an object with slices: the same kinds.
    sample_weight : path or object with rows (m,), optional
        For all but batches.
    target : str or int, optional
        The column of labels in a table, a ``.npy`` file or an object with slices. A name wins over
        an index; negative indices count from the end.
    memory : float
        Bytes for everything that is on its way: the chunk that is trained on, the engine's copy
        of it, the chunk that is read meanwhile. Without batches, whose size is yours.
    folder : path, optional
        Where temporary files go, with the numbers of a table or of a compressed ``.npz``; the
        system's folder for them if left out.
    **reading
        How a table is read, as the options of ``xpnet train`` say: ``sep``, ``decimal``,
        ``encoding``, ``header``, ``comment``, ``missing`` (a list), ``column`` (kinds by name:
        "number", "bool", "category", "date") and ``ignore`` (a list of columns).

    Returns
    -------
    Stream
        For ``DeepNet.fit``; closing it deletes its temporary files.

    Raises
    ------
    ValueError
        What is in the file cannot be trained on; it names the file, and where it can, row and
        column.
    TypeError
        Arguments that do not go together, or a source of another kind.
    OSError
        A file cannot be read.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> data = xpnet.stream(X / 16, y)  # or stream("X.npy", "y.npy")
    >>> data
    <Stream: 1,797 rows of the stream, 64 features>
    >>> history = xpnet.DeepNet([64, 10], output="softmax").fit(data, epochs=2)
    >>> history.data
    'streamed'
    """
    if isinstance(memory, bool) or not isinstance(memory, int | float) or not memory > 0:
        raise ValueError(f"memory={memory!r}: expected a number of bytes")
    place, is_file = None if folder is None else Path(folder), isinstance(source, str | os.PathLike)
    if reading and not (is_file and Path(source).suffix.lower() not in (".npy", ".npz")):
        raise TypeError(f"{listed(list(reading))}: for tables, such as .csv files")
    source = source if is_file else exchanged(source, "the source")
    if is_file:
        rows = _file(Path(source), y, target, memory, place, ReadOptions(**reading))
    elif hasattr(source, "shape") and hasattr(source, "__getitem__"):
        rows = SlicedRows(source, _beside(y, "y"), target=_index(target))
    elif callable(source) or isinstance(source, Iterable):
        if y is not None or sample_weight is not None or target is not None:
            raise TypeError("batches bring their Y and weights: (X, Y) or (X, Y, w)")
        return Stream(UserBatches(source), float(memory))
    else:
        raise TypeError(
            f"a stream is made of a path, rows with shape and slices, or batches; got "
            f"{type(source).__name__}"
        )
    w = _beside(sample_weight, "sample_weight")
    if w is not None:
        if tuple(w.shape) != (rows.n,):
            raise ValueError(f"sample_weight has shape {tuple(w.shape)}; expected ({rows.n},)")
        check_kind(rows.name, "sample_weight", host_array(w[:1], "w"), "fiub", "numbers")
    return Stream(Selection(rows, w), float(memory))


def _file(
    path: Path,
    y: Any,
    target: str | int | None,
    memory: float,
    folder: Path | None,
    options: ReadOptions,
) -> SlicedRows:
    kind = path.suffix.lower()
    if kind == ".npy":
        X = open_npy(path)
        return SlicedRows(X, _beside(y, "y"), str(path), _index(target))
    if y is not None:
        raise TypeError(f"{path}: has its own labels: y is for .npy files and arrays")
    if kind != ".npz":
        return _unpacked(path, target, memory, folder, options)
    if target is not None:
        raise ValueError(f"{path}: a .npz file holds its labels in y; leave target= out")
    arrays = open_npz(path, folder)
    return SlicedRows(arrays["X"], arrays["y"], str(path))


def _unpacked(
    path: Path, asked: str | int | None, memory: float, folder: Path | None, options: ReadOptions
) -> SlicedRows:
    """Write the numbers of a table, and its labels, to temporary files; text becomes codes."""
    codes: dict[str, int] = {}
    with (
        open_table(path, options, target=asked) as reader,
        temporary(path, folder) as X_file,
        temporary(path, folder) as y_file,
    ):
        target = reader.answers()
        row, large, X, y = 0, False, np.empty((0, 0)), np.empty(0)
        for batch in reader.batches(rows=max(1, int(memory / 64 / len(reader.names)))):
            for name, column in batch.items():
                text = column.kind == "text" and name != target
                if text or column.kind == "date" or column.absent.any():
                    i = int(column.absent.argmax())
                    gone = "a value is missing" if column.absent[i] else None
                    what = gone or f"a {column.kind}, not a number"
                    raise ValueError(f"{reader.where(row + i, name)}: {what}")
            label = batch.pop(target)
            y = label.values
            if label.texts is not None:
                y = label.codes(codes)
                check_number_of_texts(len(codes))
            X = np.stack([column.values for column in batch.values()], axis=1)
            large = large or are_large(X.dtype)
            X = X.astype(float_type(X.dtype))
            X_file.write(X.data)
            y_file.write(np.ascontiguousarray(y).data)
            row += len(y)
        names = tuple(batch)
    name = f"{path}, unpacked"
    rows = FileArray(name, X_file, 0, ((row, len(names)), False, X.dtype))
    labels: Any = FileArray(name, y_file, 0, ((row,), False, y.dtype))
    labels = Decoded(labels, np.asarray(list(codes))) if codes else labels
    found = SlicedRows(rows, labels, str(path), names=names, target_name=target)
    found.may_round = large, found.may_round[1]
    return found


def _beside(x: Any, what: str) -> Any:
    """Something with ``shape`` and slices."""
    if isinstance(x, str | os.PathLike):
        return open_npy(Path(x))
    if x is None or (hasattr(x, "shape") and hasattr(x, "__getitem__")):
        return x
    return host_array(x, what)


def _index(target: str | int | None) -> int | None:
    """The index of a column that has no name."""
    if target is None:
        return None
    if not str(target).removeprefix("-").isdecimal():
        raise ValueError(f"no column {target!r}: columns go by their index, from 0")
    return int(target)
