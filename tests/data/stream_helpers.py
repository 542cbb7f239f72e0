"""Rows in every kind of source, and the order in which a stream gives them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

N = 1003
RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(N, 5)) * [1.0, 1e-3, 1e4, 1.0, 1.0] + [0.0, 1.0, 1e5, 0.0, -7.0]
NUMBERS = np.arange(N)  # a label that tells which row it belongs to
TEXTS = np.array(["setosa", 'said "x"', "a, b", "ü\ny"])[NUMBERS % 4]
NAMES = ("a", "b", "c", "d", "e")


def readers():
    return [t.name for t in threading.enumerate() if t.name.startswith("xpnet-reader")]


class OnlyShapeAndSlices:
    """What h5py and Zarr have in common."""

    def __init__(self, array):
        self.shape, self._array = array.shape, array

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        return self._array[rows].copy()


def write_csv(path, X=ROWS, y=NUMBERS, header=True, end="\n"):
    quoted = ['"' + str(label).replace('"', '""') + '"' for label in y]
    lines = [",".join(map(repr, row)) + f",{label}" for row, label in zip(X.tolist(), quoted)]
    head = [",".join([*NAMES[: X.shape[1]], "y"])] if header else []
    path.write_bytes(end.join([*head, *lines, ""]).encode())
    return path


def write_parquet(path, X=ROWS, y=NUMBERS, **settings):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = dict(zip(NAMES, X.T))
    parquet.write_table(pyarrow.table({**columns, "y": y}), path, **settings)
    return path


def save(path, array):
    np.save(path, array)
    return path


def save_both(path, writer, **arrays):
    writer(path, **arrays)
    return path


SOURCES = {
    "array": lambda d: ((ROWS, NUMBERS), {}),
    "lists beside": lambda d: ((ROWS, NUMBERS.tolist()), {}),
    "memmap": lambda d: ((np.load(save(d / "X.npy", ROWS), mmap_mode="r"), NUMBERS), {}),
    "slices": lambda d: ((OnlyShapeAndSlices(ROWS), OnlyShapeAndSlices(NUMBERS)), {}),
    "npy": lambda d: ((save(d / "X.npy", ROWS), save(d / "y.npy", NUMBERS)), {}),
    "npy by columns": lambda d: ((save(d / "X.npy", np.asfortranarray(ROWS)), NUMBERS), {}),
    "npy with target": lambda d: (
        (str(save(d / "X.npy", np.insert(ROWS, 2, NUMBERS, axis=1))),), {"target": 2}),
    "npz": lambda d: ((save_both(d / "a.npz", np.savez, X=ROWS, y=NUMBERS),), {}),
    "npz compressed": lambda d: (
        (save_both(d / "a.npz", np.savez_compressed, X=ROWS, y=NUMBERS),), {}),
    "csv": lambda d: ((write_csv(d / "a.csv"),), {"target": "y"}),
    "csv crlf": lambda d: ((write_csv(d / "a.csv", end="\r\n"),), {"target": -1}),
    "csv no header": lambda d: ((write_csv(d / "a.csv", header=False),), {"target": 5}),
    "parquet": lambda d: ((write_parquet(d / "a.parquet", row_group_size=64),), {"target": "y"}),
    "parquet unpacked": lambda d: ((write_parquet(d / "a.parquet"),), {"target": "y"}),
}  # fmt: skip
MEMORY = 60_000  # a few chunks


def epoch_of(source, epoch=0, batch_size=16, seed=3, shuffle=True, **more):
    """The labels of an epoch in the order in which they are shown, minibatch by minibatch."""
    batches = []
    with source.chunks(epoch, batch_size, seed, shuffle, **more) as chunks:
        for chunk in chunks:
            order = np.arange(len(chunk.X)) if chunk.order is None else chunk.order
            for i in range(0, len(order), batch_size or N):
                rows = order[i : i + (batch_size or N)]
                batches.append(chunk.Y[rows].astype(int).tolist())
    return batches


def flat(batches):
    return [row for batch in batches for row in batch]


def some_batches(epoch=0, sizes=(4, 9, 1)):
    for k, size in enumerate(sizes):
        yield np.full((size, 3), epoch), np.full(size, k), np.full(size, 2.0)
