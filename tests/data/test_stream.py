"""Streams: every row once, in an order that can be told beforehand, in little memory."""

from __future__ import annotations

import gc
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import xpnet
from xpnet.data import file_array
from xpnet.data.epoch_order import EpochOrder, even_bounds
from xpnet.data.held_out import HeldOut
from xpnet.data.open_stream import stream
from xpnet.data.readahead import ReadAhead
from xpnet.data.selection import _spans
from xpnet.data.standardizer import Standardizer
from xpnet.data.task import detect_task

N = 1003
RNG = np.random.default_rng(5)
ROWS = RNG.normal(size=(N, 5)) * [1.0, 1e-3, 1e4, 1.0, 1.0] + [0.0, 1.0, 1e5, 0.0, -7.0]
NUMBERS = np.arange(N)  # a label that tells which row it belongs to
TEXTS = np.array(["setosa", 'said "x"', "a, b", "ü\ny"])[NUMBERS % 4]
NAMES = ("a", "b", "c", "d", "e")


@pytest.fixture(autouse=True)
def nothing_is_left_behind():
    """No test may leave a thread of the reader running."""
    yield
    assert readers() == []


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

    columns = {name: X[:, j] for j, name in enumerate(NAMES)}
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


@pytest.fixture(params=SOURCES)
def source(request, tmp_path):
    """A stream of ROWS and NUMBERS out of every kind of source."""
    args, settings = SOURCES[request.param](tmp_path)
    with stream(*args, **{"memory": MEMORY} | settings) as opened:
        yield opened


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


# -- what is read ------------------------------------------------------------------------
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_kind_of_source_gives_the_rows_in_memory(source, shuffle):
    assert (source.n_features, source.n_examples, source.weighted) == (5, N, False)
    seen = []
    with source.chunks(1, 16, seed=3, shuffle=shuffle) as chunks:
        for chunk in chunks:
            rows = chunk.Y.astype(int)
            np.testing.assert_array_equal(chunk.X, ROWS[rows])
            assert chunk.X.dtype == np.float64
            assert chunk.X.flags.c_contiguous
            assert [chunk.row(i) for i in range(len(rows))] == rows.tolist()
            seen.append(rows[chunk.order])
    assert len(seen) > 1  # this memory does not hold all
    seen = np.concatenate(seen)
    np.testing.assert_array_equal(np.sort(seen), NUMBERS)
    assert np.array_equal(seen, NUMBERS) is not shuffle


def test_blocks_are_in_order(source):
    for rows in (None, 7, N, 5000):
        blocks = list(source.blocks(rows))
        np.testing.assert_array_equal(np.concatenate([b.X for b in blocks]), ROWS)
        np.testing.assert_array_equal(np.concatenate([b.Y for b in blocks]), NUMBERS)
        assert all(block.order is None for block in blocks)
        if rows is not None:
            assert [len(b.X) for b in blocks] == np.diff(even_bounds(N, rows)).tolist()


def test_dtypes():
    for dtype, natural in (("f4", "f4"), ("u1", "f4"), ("f2", "f4"), ("i4", "f8"), (">f8", "f8")):
        rows = stream(np.ones((4, 2), dtype), np.ones(4))
        assert rows.dtype == np.dtype(natural)
        assert next(iter(rows.blocks())).X.dtype == np.dtype(natural)
        assert next(iter(rows.blocks(dtype="float32"))).X.dtype == np.float32


@pytest.mark.parametrize("kind", ["csv", "csv crlf", "npz", "parquet", "parquet unpacked"])
def test_text_labels(kind, tmp_path):
    """With quotation marks, delimiters and ends of lines in them."""
    path = tmp_path / "a.csv"
    if kind == "npz":
        path = save_both(tmp_path / "a.npz", np.savez, X=ROWS, y=TEXTS)
    elif kind.startswith("csv"):
        write_csv(path, y=TEXTS, end="\r\n" if "crlf" in kind else "\n")
    else:
        groups = {} if "unpacked" in kind else {"row_group_size": 50}
        path = write_parquet(tmp_path / "a.parquet", y=TEXTS, **groups)
    with stream(path, target=None if kind == "npz" else "y", memory=MEMORY) as rows:
        found = rows.statistics()
        assert found.classes.tolist() == sorted(set(TEXTS.tolist()))
        assert (found.task, found.target_mean) == ("classification", None)
        encoded = rows.prepared(classes=found.classes)
        with encoded.chunks(0, 10, seed=1) as chunks:
            for chunk in chunks:
                expected = [TEXTS[chunk.row(i)] for i in range(len(chunk.X))]
                assert found.classes[chunk.Y].tolist() == expected
        np.testing.assert_array_equal(np.concatenate([b.Y for b in rows.blocks()]), TEXTS)


def test_text_that_begins_far_below(tmp_path):
    y = NUMBERS.astype(str)
    y[900] = "many"
    with stream(write_csv(tmp_path / "a.csv", y=y), target="y") as rows:
        assert np.concatenate([b.Y for b in rows.blocks()]).tolist() == y.tolist()


def test_csv_with_empty_lines_a_mark_and_long_quotes(tmp_path):
    rows = [f'{i},"{"x" * (i % 7 * 50)}\n\n{i % 3}"\n' + "\n" * (i % 2) for i in range(6000)]
    path = tmp_path / "a.csv"
    path.write_text("\ufeff\n\nnumber,y\n" + "".join(rows), encoding="utf-8", newline="")
    with stream(path, target="y", memory=40_000_000) as source:
        assert (source.n_examples, source.names, source.target) == (6000, ("number",), "y")
        for start in (0, 1, 2999, 5999):
            X, y = source._source.rows.read(start, start + 1)
            assert X.tolist() == [[start]]
            assert y[0].endswith(str(start % 3))
            assert ("\n\n" in y[0]) is (start % 7 > 0)  # cells are stripped
        X = np.concatenate([block.X for block in source.blocks(77)])
        assert X[:, 0].tolist() == list(range(6000))


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    path = write_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr("xpnet.data.parquet_rows.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs pyarrow: .*xpnet\[parquet\]"):
        stream(path, target="y")


def test_changes_to_a_copy_on_write_map_are_seen(tmp_path):
    """Their pages hold what was written: they must not be given back."""
    rows = np.load(save(tmp_path / "X.npy", ROWS), mmap_mode="c")
    rows[:] = 2.0
    source = stream(rows, NUMBERS, memory=MEMORY)
    for _ in range(2):
        assert all((block.X == 2.0).all() for block in source.blocks())


def test_weights_and_2d_targets_come_along(tmp_path):
    Y, w = np.stack([NUMBERS, -NUMBERS], axis=1), NUMBERS / 2
    for args in ((ROWS, Y, w), (save(tmp_path / "X.npy", ROWS), Y, save(tmp_path / "w.npy", w))):
        source = stream(*args, memory=MEMORY)
        assert source.weighted
        for part in (source, *source.split(0.3)):
            with part.chunks(0, 8) as chunks:
                for chunk in chunks:
                    rows = [chunk.row(i) for i in range(len(chunk.X))]
                    np.testing.assert_array_equal(chunk.Y, Y[rows])
                    np.testing.assert_array_equal(chunk.w, w[rows])


# -- the order ---------------------------------------------------------------------------
def check_order_law(source, n, batch_size):
    """Every row once, in minibatches of which only the last is short, the same every time."""
    batches = epoch_of(source, batch_size=batch_size)
    assert sorted(flat(batches)) == list(range(n))
    assert len(batches) == -(-n // batch_size)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert epoch_of(source, batch_size=batch_size) == batches
    return batches


@pytest.mark.parametrize("n", [1, 2, 15, 16, 17, 100, 999])
@pytest.mark.parametrize("batch_size", [1, 3, 16, 64])
@pytest.mark.parametrize("memory", [7_000, 31_000, 1e9])
def test_order_law(n, batch_size, memory):
    source = stream(ROWS[:n, :1], NUMBERS[:n], memory=memory)
    batches = check_order_law(source, n, batch_size)
    if n > 50:
        others = [flat(epoch_of(source, 1)), flat(epoch_of(source, seed=4)), list(range(n))]
        assert flat(batches) not in others
    plain = epoch_of(source, batch_size=batch_size, shuffle=False)
    assert flat(plain) == list(range(n))


def test_order_does_not_depend_on_what_was_read_before():
    source = stream(ROWS, NUMBERS, memory=MEMORY)
    late = epoch_of(source, 7)
    for epoch in range(3):
        epoch_of(source, epoch)
    assert epoch_of(source, 7) == late
    assert epoch_of(stream(ROWS, NUMBERS, memory=MEMORY), 7) == late


def test_neighbours_are_parted():
    """Rows of the first chunk come from all over the file."""
    source = stream(ROWS, NUMBERS, memory=MEMORY)
    with source.chunks(0, 16) as chunks:
        first = np.sort(next(iter(chunks)).Y)
    assert np.diff(first).max() < 150
    assert first[-1] - first[0] > 0.9 * N
    steps = np.abs(np.diff(flat(epoch_of(source))))
    assert np.median(steps) > N / 8


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", ["array", "csv", "parquet"])
def test_an_epoch_goes_on_at_any_update(kind, shuffle, tmp_path):
    args, settings = SOURCES[kind](tmp_path)
    source = stream(*args, memory=MEMORY, **settings)
    whole = epoch_of(source, 2, shuffle=shuffle)
    for first in range(0, len(whole) + 1, 1 if kind == "array" else 5):
        assert epoch_of(source, 2, shuffle=shuffle, first=first) == whole[first:]
    source.close()


def test_what_was_before_is_not_read():
    class Watched(OnlyShapeAndSlices):
        count = 0

        def __getitem__(self, rows):
            self.count += rows.stop - rows.start
            return super().__getitem__(rows)

    rows = Watched(ROWS)
    source = stream(rows, NUMBERS, memory=MEMORY)
    rows.count = 0
    chunk = source._epoch_order(16, source.dtype, 0).chunk
    left = len(flat(epoch_of(source, first=50)))
    assert left == N - 50 * 16
    assert left <= rows.count < left + chunk


def test_runs_of_a_plan_fill_every_chunk():
    bounds = np.array([0, 3, 10, 11, 40, 64])  # blocks of different sizes
    plan = EpochOrder(bounds, 16)
    for epoch in range(20):
        chunks = list(plan.ranges(0, epoch, True))
        sizes = [sum(b - a for a, b in runs) for runs in chunks]
        assert sizes == [16, 16, 16, 16]
        rows = [row for runs in chunks for run in runs for row in range(*run)]
        assert sorted(rows) == list(range(64))
        assert list(plan.ranges(0, epoch, True, start=32)) == chunks[2:]


def test_memory_sizes_chunks():
    for memory in (20_000, 60_000, 200_000):
        source = stream(ROWS, NUMBERS, memory=memory)
        with source.chunks(0, 4) as chunks:
            largest = max(c.X.nbytes + c.Y.nbytes + c.order.nbytes for c in chunks)
        assert 0.9 * memory / 4 - 300 < largest <= memory / 4 or largest == 7 * 8 * N
    few, many = (epoch_sizes(stream(ROWS, NUMBERS, memory=MEMORY), extra=e) for e in (1000, 0))
    assert max(few) < max(many) / 10


def epoch_sizes(source, **more):
    with source.chunks(0, 4, **more) as chunks:
        return [len(chunk.X) for chunk in chunks]


# -- parts -------------------------------------------------------------------------------
@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("n", [4, 30, 1000, 1003])
def test_split_law(n, fraction):
    whole = stream(ROWS[:n], NUMBERS[:n], memory=MEMORY)
    try:
        train, held = whole.split(fraction, seed=2)
    except ValueError:
        assert round(n * fraction) >= n
        return
    assert held.n_examples == max(1, round(fraction * n))
    parts = [check_part(part) for part in (train, held)]
    assert sorted([*parts[0], *parts[1]]) == list(range(n))
    again = [np.concatenate([b.Y for b in p.blocks(9)]) for p in whole.split(fraction, seed=2)]
    assert [a.tolist() for a in again] == parts
    if n >= 1000 and fraction > 0.001:
        other = np.concatenate([b.Y for b in whole.split(fraction, seed=3)[1].blocks()])
        assert other.tolist() != parts[1]
        quarters = np.histogram(parts[1], bins=4, range=(0, n))[0] / n * 4
        assert quarters == pytest.approx([fraction] * 4, abs=0.02)  # every region has its share


def check_part(part):
    """Its rows in their order; they are those of its epochs."""
    rows = np.concatenate([block.Y for block in part.blocks()])
    assert (np.diff(rows) > 0).all()
    assert len(rows) == part.n_examples
    for first in (0, 1):
        batches = epoch_of(part, first=first)
        assert len(batches) == -(-len(rows) // 16) - first
        assert set(flat(batches)) <= set(rows.tolist())
    assert sorted(flat(epoch_of(part))) == rows.tolist()
    for block in part.blocks(11):
        np.testing.assert_array_equal(block.X, ROWS[block.Y.astype(int)])
        assert [block.row(i) for i in range(len(block.X))] == block.Y.tolist()
    return rows.tolist()


def test_split_of_every_kind_of_source(source):
    parts = [check_part(part) for part in source.split(0.2, seed=1)]
    assert sorted([*parts[0], *parts[1]]) == list(range(N))
    inner = [check_part(part) for part in source.split(0.2, seed=1)[0].split(0.5)]
    assert sorted([*inner[0], *inner[1]]) == parts[0]


def test_shares_of_many_rows():
    """Positions of any row, without a list of them."""
    share = HeldOut.of(10**9 + 7, 0.15, 9)
    for held in (True, False):
        size = share.size(held)
        for start in (0, size // 3, size - 5000):
            runs = share.ranges(start, start + 5000, held)
            assert sum(b - a for a, b in runs) == 5000
            assert [share.before(row, held) for row in (runs[0][0], runs[-1][1])] == [
                start, start + 5000]  # fmt: skip
            rows = [row for run in runs for row in range(*run)]
            for i in (0, 100, 4999):
                assert share.ranges(start + i, start + i + 1, held) == [(rows[i], rows[i] + 1)]


def test_short_runs_are_read_together_up_to_a_limit():
    assert _spans([(0, 3), (5, 9), (90, 91), (92, 93)], 10) == [
        [(0, 3), (5, 9)], [(90, 91), (92, 93)]]  # fmt: skip
    spans = _spans([(i, i + 2) for i in range(0, 100, 10)], 10)
    assert max(span[-1][1] - span[0][0] for span in spans) <= 40
    assert _spans([(0, 1), (2, 3)], 0) == [[(0, 1)], [(2, 3)]]


# -- statistics --------------------------------------------------------------------------
COLUMNS = RNG.normal(size=(4000, 6)) * [1, 1e-5, 1e6, 1e300, 0, 1] + [0, 1, 1e7, 0, 0.1, -1e9]
COLUMNS[:2000, 5] += 1e9  # far from the first block's mean
COLUMNS = np.column_stack([COLUMNS, RNG.normal(size=4000) + 1e8])  # close together, far from 0


@pytest.mark.parametrize("memory", [20_000, 1e6, 1e9])
def test_statistics_are_those_of_all_rows_at_once(memory):
    labels = RNG.integers(3, 9, len(COLUMNS))
    found = stream(COLUMNS, labels, memory=memory).statistics()
    expected, y = Standardizer.fit(COLUMNS), Standardizer.fit(labels[:, None])
    np.testing.assert_allclose(found.mean / expected.mean, 1.0, rtol=1e-9)
    np.testing.assert_allclose(found.scale[:4], expected.scale[:4], rtol=1e-9)
    assert (found.scale[4], found.mean[4]) == (0.0, 0.1)
    np.testing.assert_allclose(found.scale[5:], expected.scale[5:], rtol=1e-9)
    assert abs(found.mean[6] - expected.mean[6]) <= np.spacing(1e8)
    np.testing.assert_allclose(found.scale[6], (COLUMNS[:, 6] - 1e8).std(), rtol=1e-12)
    np.testing.assert_allclose([found.target_mean, found.target_scale], [y.mean, y.scale])
    assert (found.n, found.classes.tolist()) == (4000, [3, 4, 5, 6, 7, 8])
    assert found.task == detect_task(labels) == "classification"
    as_floats = stream(COLUMNS, labels.astype(float), memory=memory).statistics()
    assert as_floats.task == "classification"


def test_statistics_of_huge_values_do_not_overflow():
    X = np.repeat([[1e308], [-1e308], [0.0]], 50, axis=0)
    found = stream(X, np.ones(150), memory=4000).statistics()
    assert np.isfinite(found.mean).all()
    np.testing.assert_allclose(found.scale, 1e308 * np.sqrt(2 / 3))


def test_statistics_of_a_csv_come_from_opening_it(tmp_path):
    with stream(write_csv(tmp_path / "a.csv"), target="y", memory=MEMORY) as rows:
        found, train = rows.statistics(), rows.split(0.2)[0]
        assert found is rows.statistics()
        assert train.statistics().n == train.n_examples
        expected = Standardizer.fit(ROWS)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-9)
        np.testing.assert_allclose(found.scale, expected.scale, rtol=1e-9)


def test_too_many_labels_are_no_classes():
    assert stream(np.ones((20_000, 1)), np.arange(20_000)).statistics().classes is None
    texts = np.arange(100_002).astype(str)
    with pytest.raises(ValueError, match="more than 100,000 distinct texts"):
        stream(np.ones((100_002, 1)), texts).statistics()
    assert stream(ROWS, ROWS[:, :2]).statistics().classes is None


def test_prepared_rows():
    source = stream(ROWS, NUMBERS * 2.0, memory=MEMORY)
    found = source.statistics()
    ready = source.prepared(found.inputs, found.targets)
    X, Y = (np.concatenate(x) for x in zip(*((b.X, b.Y) for b in ready.blocks(64))))
    np.testing.assert_allclose(X, Standardizer.fit(ROWS).apply(ROWS), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose([X.mean(), X.std(), Y.mean(), Y.std()], [0, 1, 0, 1], atol=1e-7)
    X32 = np.concatenate([b.X for b in source.standardized().blocks(64, dtype="float32")])
    np.testing.assert_allclose(X32, X, atol=1e-6)  # standardised before digits were dropped
    with pytest.raises(ValueError, match=r"row 900 .*: y is 1800\.0, none of the 900 classes"):
        list(source.prepared(classes=np.arange(900) * 2.0).blocks())
    with pytest.raises(ValueError, match="targets or classes"):
        source.prepared(targets=found.targets, classes=found.classes)


# -- batches -----------------------------------------------------------------------------
def some_batches(epoch=0, sizes=(4, 9, 1)):
    for k, size in enumerate(sizes):
        yield np.full((size, 3), epoch), np.full(size, k), np.full(size, 2.0)


def labels_of(source, epoch, first=0):
    with source.chunks(epoch, None, first=first) as chunks:
        found = list(chunks)
    assert all(chunk.order is None and (epoch == chunk.X).all() for chunk in found)
    return [(int(chunk.Y[0]), len(chunk.X)) for chunk in found]


def test_batches_of_a_function():
    source = stream(some_batches)
    assert (source.n_features, source.n_examples, source.weighted) == (3, None, True)
    assert labels_of(source, 0) == [(0, 4), (1, 9), (2, 1)]
    assert labels_of(source, 1, first=1) == [(1, 9), (2, 1)]
    assert labels_of(source, 0) == [(0, 4), (1, 9), (2, 1)]
    assert source.statistics().n == 14
    assert stream(list(some_batches())).statistics().n == 14


def test_a_function_is_called_once_an_epoch():
    called = []

    def batches(epoch):
        called.append(epoch)
        return some_batches(epoch)

    source = stream(batches)
    labels_of(source, 0), labels_of(source, 1)
    assert called == [0, 1]


def test_batches_may_reuse_their_arrays():
    def reusing(epoch):
        X, y = np.zeros((4, 2)), np.zeros(4)
        for k in range(5):
            X[:], y[:] = k, k
            yield X, y

    with stream(reusing).chunks(0, None) as chunks:
        for k, chunk in enumerate(chunks):
            time.sleep(0.01)  # the next batch is made now
            assert (k == chunk.X).all()
            assert (k == chunk.Y).all()


def test_an_iterator_lasts_one_epoch():
    source = stream(some_batches(0))
    assert len(labels_of(source, 0)) == 3
    with pytest.raises(ValueError, match="used up by one epoch: pass a function epoch"):
        labels_of(source, 1)
    made = some_batches(0)
    source = stream(lambda epoch: made)
    assert len(labels_of(source, 0)) == 3
    with pytest.raises(ValueError, match=r"epoch 1 .* brought no batches: pass a function"):
        labels_of(source, 1)


@pytest.mark.parametrize(
    ("batches", "said"),
    [
        ([], "is empty"),
        ([5], "batch 0 .* is of type int"),
        ([(ROWS,)], "batch 0 .* is of type tuple"),
        ([(ROWS[0], NUMBERS)], r"batch 0 .*X has shape \(5,\)"),
        ([(ROWS, NUMBERS[:4])], r"X has 1003 rows but Y has shape \(4,\)"),
        ([(ROWS, NUMBERS), (ROWS[:, :4], NUMBERS)], "batch 1 .* has 4 features.* had 5"),
        ([(ROWS, NUMBERS), (ROWS, NUMBERS, NUMBERS)], "batch 1 .* has some sample weights.*none"),
        ([(ROWS, NUMBERS, NUMBERS), (ROWS, NUMBERS)], "batch 1 .* has no sample weights.*some"),
        ([(ROWS, NUMBERS), (ROWS * np.nan, NUMBERS)], "batch 1 .* epoch 0, row 0 .* nan"),
        ([(ROWS, NUMBERS), (np.array([["a"] * 5]), [1])], "batch 1 .*: X holds <U1"),
        ([(ROWS, NUMBERS, NUMBERS[:3])], r"w has shape \(3,\)"),
    ],
)
def test_bad_batches(batches, said):
    with pytest.raises((ValueError, TypeError), match=said):
        epoch_of(stream(lambda epoch: iter(batches)), batch_size=None)


# -- bad input ---------------------------------------------------------------------------
LINES = "".join(f"{i},{i % 3},{i / 7}\n" for i in range(30_000))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2", "line 30002: 2 cells, but the header has 3"),
        ("1,2,3,4", "line 30002: 4 cells, but the header has 3"),
        ("1,2,nan", "line 30002, column 'b': 'nan' is a missing value"),
        ("red,2,3", "line 30002, column 'a': 'red' is not a number"),
        ("1,inf,3", "line 30002, column 'y': inf is not finite"),
        ("1,,3", "line 30002, column 'y': the cell is empty"),
        (" ", "line 30002: only spaces"),
        ('1,"' + "x" * 200_000, "field larger than field limit"),
        ("1,\udcff,3", "line 30002: not UTF-8 text"),
    ],
    ids=["narrow", "wide", "nan", "text", "inf", "empty", "spaces", "quote", "bytes"],
)
def test_bad_csv(line, said, tmp_path):
    path = tmp_path / "a.csv"
    text = f"a,y,b\n{LINES}{line}\n{LINES}"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=said) as raised:
        stream(path, target="y")
    assert str(raised.value).count(str(path)) == 1
    assert "\n" not in str(raised.value)


def test_a_csv_that_changes_after_it_was_opened(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("a,y\n" + "1,2\n" * 90_000)
    source = stream(path, target="y", memory=1e6)
    with path.open("r+b") as file:
        file.seek(4 + 4 * 80_000)
        file.write(b"x,2\n")
    with pytest.raises(ValueError, match="line 80002, column 'a': 'x' is not a number"):
        epoch_of(source)
    path.write_text("a,y\n" + "11,2\n" * 90_000)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        epoch_of(source)


def test_columns_and_files_that_do_not_exist(tmp_path):
    csv, npy_ = write_csv(tmp_path / "a.csv"), save(tmp_path / "a.npy", ROWS)
    parquet = write_parquet(tmp_path / "a.parquet")
    for path, target, said in (
        (csv, "z", "no column 'z'; the columns are a, b, c, d, e, y"),
        (csv, None, "which column is the target"),
        (parquet, "z", "no column 'z'; the columns are a, b, c, d, e, y"),
        (npy_, 5, "no column 5; there are 5, counted from 0"),
        (npy_, "z", "columns go by their index"),
        (tmp_path / "a.xls", None, "by its ending"),
    ):
        with pytest.raises(ValueError, match=said):
            stream(path, target=target)
    for name in ("none.csv", "none.npy", "none.npz", "none.parquet"):
        with pytest.raises(FileNotFoundError, match=name):
            stream(tmp_path / name, target=0 if name != "none.npz" else None)


def test_damaged_files(tmp_path):
    whole = save_both(tmp_path / "whole.npz", np.savez, X=ROWS, y=NUMBERS).read_bytes()
    broken = save_both(tmp_path / "c.npz", np.savez_compressed, X=ROWS, y=NUMBERS).read_bytes()
    middle = len(broken) // 2
    for name, content, said in (
        ("a.npy", b"hello", "not a .npy file"),
        ("a.npy", save(tmp_path / "b.npy", ROWS).read_bytes()[:-1], "truncated"),
        ("a.npz", b"hello", "not a zip file"),
        ("a.npz", whole.replace(b"NUMPY", b"NOMPY"), "magic"),
        ("a.npz", broken[:middle] + bytes(64) + broken[middle + 64 :], "a.npz"),
        ("a.parquet", b"hello", "not a .parquet file"),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said) as raised:
            list(stream(path, target="y" if name == "a.parquet" else None).blocks())
        assert str(raised.value).count(str(path)) == 1
    np.save(tmp_path / "o.npy", np.array([[1, None]], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        stream(tmp_path / "o.npy")
    np.savez(tmp_path / "n.npz", X=ROWS)
    with pytest.raises(ValueError, match=r"needs arrays X \(m, n\) and y \(m,\); it holds X"):
        stream(tmp_path / "n.npz")


def test_parquet_that_holds_no_numbers(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = {"a": [1.0, None, 3.0], "b": ["x", "y", None], "c": [1, 2, 3]}
    parquet.write_table(pyarrow.table(table), tmp_path / "a.parquet")
    path = tmp_path / "a.parquet"
    with pytest.raises(ValueError, match="column 'b' holds string, not numbers"):
        stream(path, target="c")
    with pytest.raises(ValueError, match=r"row 1 \(from 0\), column 'a': a value is missing"):
        list(stream(path, target="b").blocks())
    parquet.write_table(pyarrow.table(table).select(["b", "c"]), path)
    with pytest.raises(ValueError, match=r"row 2 \(from 0\), column 'b': a value is missing"):
        list(stream(path, target="b").blocks())


def test_a_nan_at_row_3_000_000(tmp_path):
    path = tmp_path / "a.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (3_000_100, 2))
    X[3_000_000, 1] = np.nan
    del X
    source = stream(path, target=0, memory=4e6)
    with pytest.raises(ValueError, match=r"a\.npy, row 3,000,000 \(from 0\), column '1': nan"):
        epoch_of(source, batch_size=1000)
    assert len(epoch_of(source, batch_size=1000, shuffle=False, first=3000 + 1)) == 0


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((ROWS, np.where(NUMBERS == 7, np.nan, 0.0)), r"row 7 \(from 0\): y is nan, not a finite"),
        ((ROWS, NUMBERS, -NUMBERS), r"row 1 \(from 0\): sample_weight is -1; it must be"),
        ((ROWS * 1e300, NUMBERS), "is too large for float32"),
        ((OnlyShapeAndSlices(ROWS[:, :4]), NUMBERS), "asked for rows"),
    ],
)
def test_numbers_that_cannot_be_trained_on(args, said):
    if isinstance(args[0], OnlyShapeAndSlices):
        source = stream(*args)
        args[0]._array = ROWS[:, :3]  # the file changed meanwhile
    else:
        source = stream(*args)
    with pytest.raises(ValueError, match=said):
        list(source.blocks(dtype="float32"))


@pytest.mark.parametrize(
    ("args", "settings", "said"),
    [
        ((ROWS, NUMBERS[:4]), {}, r"X has 1003 rows but y has shape \(4,\)"),
        ((NUMBERS,), {}, r"X has shape \(1003,\)"),
        ((ROWS[:0],), {}, "X is empty"),
        ((TEXTS[:, None], NUMBERS), {}, "X holds <U8, not numbers"),
        ((ROWS, NUMBERS * 1j), {}, "y holds complex128"),
        ((ROWS, NUMBERS, NUMBERS[:4]), {}, r"sample_weight has shape \(4,\)"),
        ((ROWS, NUMBERS, TEXTS), {}, "sample_weight holds <U"),
        ((ROWS[:, :1],), {"target": 0}, "one column only"),
        ((5,), {}, "a stream is made of"),
        ((some_batches, NUMBERS), {}, "batches bring their Y"),
        ((ROWS, NUMBERS), {"memory": 0}, "memory=0"),
        ((ROWS, NUMBERS), {"memory": "1GB"}, "memory='1GB'"),
    ],
)
def test_arguments_that_make_no_stream(args, settings, said):
    with pytest.raises((ValueError, TypeError), match=said):
        stream(*args, **settings)


def test_what_a_stream_cannot_do():
    source, batches = stream(ROWS, NUMBERS), stream(some_batches)
    for call, said in (
        (lambda: stream(ROWS, NUMBERS, memory=100).chunks(0, 3), r"minibatches of 3 .* takes 672"),
        (lambda: source.chunks(0, None), "needs a batch_size"),
        (lambda: batches.chunks(0, 4), "leave batch_size out"),
        (lambda: batches.split(0.2), "cannot be split"),
        (lambda: source.split(0.0), "between 0 and 1"),
        (lambda: stream(ROWS[:2]).split(0.9), "too few to hold out"),
    ):
        with pytest.raises((ValueError, TypeError), match=said):
            call()
    with pytest.raises(RuntimeError, match="with statement"):
        next(source.chunks(0, 4))
    batches.close()


# -- the thread --------------------------------------------------------------------------
def test_one_item_ahead_and_no_more():
    made = []

    def produce():
        for k in range(10):
            made.append(k)
            yield k

    with ReadAhead(produce()) as items:
        for item in items:
            wait_for(lambda item=item: len(made) == min(item + 2, 10))
            time.sleep(0.005)
            assert len(made) <= item + 2
    assert made == list(range(10))


def wait_for(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.mark.parametrize("end", [KeyboardInterrupt, ValueError, "break", "exhausted"])
def test_the_thread_ends_with_the_consumer(end):
    closed = []

    def batches(epoch):
        try:
            for k in range(20):
                yield np.full((3, 2), k), np.zeros(3)
        finally:
            closed.append(threading.current_thread().name)

    def consume():
        with stream(batches).chunks(0, None) as chunks:
            for chunk in chunks:
                if end == "break":
                    break
                if end != "exhausted" and chunk.X[0, 0] == 3:
                    raise end("enough")

    if isinstance(end, str):
        consume()
    else:
        with pytest.raises(end, match="enough"):
            consume()
    assert readers() == []
    assert closed == ["xpnet-reader_0"]


def test_blocks_left_early_end_their_thread(source):
    for block in source.blocks(10):
        assert len(block.X) == 10
        break
    del block
    gc.collect()
    assert readers() == []


def test_what_the_reader_raises_is_raised_in_the_loop():
    """After all that came before it."""

    def batches(epoch):
        yield ROWS, NUMBERS
        yield ROWS, NUMBERS
        raise OSError(5, "the disk is gone")

    seen = 0

    def consume():
        nonlocal seen
        with stream(batches).chunks(0, None) as chunks:
            for _ in chunks:
                seen += 1

    with pytest.raises(OSError, match="the disk is gone"):
        consume()
    assert seen == 2


def test_temporary_files_go_and_no_handle_stays(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    path = save_both(tmp_path / "a.npz", np.savez_compressed, X=ROWS, y=NUMBERS)
    handles = Path("/proc/self/fd")
    before = len(list(handles.iterdir())) if handles.exists() else 0
    with stream(path, folder=folder, memory=MEMORY) as source:
        assert len(flat(epoch_of(source))) == N
    assert list(folder.iterdir()) == []
    for other in (path, save(tmp_path / "X.npy", ROWS), write_csv(tmp_path / "a.csv")):
        opened = stream(other, target="y" if other.suffix == ".csv" else None, folder=folder)
        with opened.chunks(0, 4) as chunks:
            next(iter(chunks))
        del opened, chunks  # not closed: ResourceWarnings are errors
    gc.collect()
    if handles.exists():
        assert len(list(handles.iterdir())) == before


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no disk that is always full")
@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_full_disk_says_what_was_written_where(kind, tmp_path, monkeypatch):
    if kind == "npz":
        path = save_both(tmp_path / "a.npz", np.savez_compressed, X=ROWS, y=NUMBERS)
    else:
        path = write_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(file_array, "TemporaryFile", lambda **_: open("/dev/full", "wb+"))  # noqa: SIM115
    with pytest.raises(OSError, match=r"No space left on device, unpacking .*folder=") as raised:
        stream(path, target=None if kind == "npz" else "y", memory=MEMORY, folder=tmp_path)
    assert str(path) in str(raised.value)


# -- memory ------------------------------------------------------------------------------
BIG = 400_000_000
MEASURED = """
import json, resource, sys
import numpy as np
import xpnet

kind, path, memory, limit = sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4])

def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024

def fit(source, n_x):
    net = xpnet.DeepNet([n_x, 8, 1], output="identity", dtype="float32")
    return net.fit(source, epochs=2, batch_size=500).cost

rng = np.random.default_rng(0)
fit(xpnet.stream(rng.normal(size=(2000, 99)).astype("f4"), rng.normal(size=2000)), 99)  # warm
base = peak()
if limit:
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + limit,) * 2)
if kind == "csv":
    cost = fit(xpnet.stream(path, target="y", memory=memory), 10)
elif kind == "memmap":
    rows = np.load(path, mmap_mode="r")
    cost = fit(xpnet.stream(rows, target=0, memory=memory), rows.shape[1] - 1)
else:
    cost = fit(xpnet.stream(path, target=0, memory=memory), 99)
print(json.dumps({"above": peak() - base, "cost": cost}))
"""


def measured(kind, path, memory, limit=0):
    """Peak memory of a fit over that of a small one, in bytes, in a process of its own."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "1",  # an arena reserves 64 MB of addresses for a thread
        "PYTHONPATH": str(Path(xpnet.__file__).parents[1]),
    }
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, kind, str(path), str(memory), str(limit)],
        capture_output=True, text=True, env=environment, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["above"]


linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")


@pytest.fixture
def big(tmp_path):
    """400 MB of float32 rows, few of them on the disk."""
    path = tmp_path / "big.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (BIG // 400, 100))
    X[:1000] = RNG.normal(size=(1000, 100))
    return path


@linux
@pytest.mark.parametrize("kind", ["memmap", "npy"])
def test_a_file_four_times_the_limit(kind, big):
    assert measured(kind, big, memory=80e6) < 80e6 < BIG / 4


@linux
def test_a_file_four_times_the_limit_of_addresses(big):
    assert measured("npy", big, memory=60e6, limit=100_000_000) < 100e6


@linux
def test_a_csv_of_200_000_rows(tmp_path):
    path = tmp_path / "a.csv"
    lines = [",".join(map(repr, row)) for row in RNG.normal(size=(2000, 11)).tolist()]
    with path.open("w") as file:
        file.write(",".join([f"c{i}" for i in range(10)] + ["y"]) + "\n")
        for _ in range(100):
            file.write("\n".join(lines) + "\n")
    assert path.stat().st_size > 40e6
    assert measured("csv", path, memory=10e6) < 15e6  # a stretch of lines besides


@pytest.mark.long
@linux
@pytest.mark.parametrize("kind", ["memmap", "npy"])
def test_a_full_file_of_two_gigabytes(kind, tmp_path):
    path = tmp_path / "big.npy"
    X = np.lib.format.open_memmap(path, "w+", np.float32, (5_000_000, 100))
    block = RNG.normal(size=(10_000, 100)).astype(np.float32)
    for start in range(0, len(X), len(block)):
        X[start : start + len(block)] = block
    del X
    assert measured(kind, path, memory=100e6) < 100e6


# -- the guide ---------------------------------------------------------------------------
def test_the_examples_of_the_guide_run(tmp_path, monkeypatch):
    guide = Path(__file__).parents[2] / "docs" / "data.md"
    examples = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    assert len(examples) == 4
    monkeypatch.chdir(tmp_path)
    names = {}
    for example in examples:
        exec(compile(example, guide.name, "exec"), names)
    assert names["history"].validation_accuracy[-1] > 0.8
    assert len(names["predicted"]) == names["held_out"].n_examples == 4000
