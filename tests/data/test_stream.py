"""Streams: every row once, in an order that can be told beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import Reused
from stream_helpers import (
    MEMORY,
    NUMBERS,
    ROWS,
    SOURCES,
    TEXTS,
    N,
    OnlyShapeAndSlices,
    epoch_of,
    flat,
    save,
    save_both,
    write_csv,
    write_parquet,
)

from xpnet.data.held_out import HeldOut
from xpnet.data.open_stream import stream
from xpnet.data.selection import _groups


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
            assert [len(b.X) for b in blocks] == np.diff([*range(0, N, rows), N]).tolist()


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
        assert (found.task, found.targets) == ("classification", None)
        encoded = rows.prepared(classes=found.classes)
        with encoded.chunks(0, 10, seed=1) as chunks:
            for chunk in chunks:
                expected = [TEXTS[chunk.row(i)] for i in range(len(chunk.X))]
                assert found.classes[chunk.Y].tolist() == expected
        np.testing.assert_array_equal(np.concatenate([b.Y for b in rows.blocks()]), TEXTS)


def test_text_that_begins_far_below(tmp_path):
    y = (NUMBERS % 9).astype(str)
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


def test_temporary_files_go_where_they_are_told(tmp_path):
    path, folder = write_csv(tmp_path / "a.csv"), tmp_path / "temporary"
    with pytest.raises(FileNotFoundError):
        stream(path, target="y", folder=folder)
    folder.mkdir()
    with stream(path, target="y", folder=folder) as source:
        assert source.n_examples == N
    assert not list(folder.iterdir())  # they have no names


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


def test_slices_may_come_in_the_same_memory():
    class Same(OnlyShapeAndSlices):
        given = Reused()

        def __getitem__(self, rows):
            return self.given(super().__getitem__(rows))

    with stream(Same(ROWS), Same(NUMBERS), memory=MEMORY).chunks(0, 16) as chunks:
        for chunk in chunks:
            np.testing.assert_array_equal(chunk.X, ROWS[chunk.Y])


def test_what_was_before_is_not_read():
    class Watched(OnlyShapeAndSlices):
        count = 0

        def __getitem__(self, rows):
            self.count += rows.stop - rows.start
            return super().__getitem__(rows)

    rows = Watched(ROWS)
    source = stream(rows, NUMBERS, memory=MEMORY)
    rows.count = 0
    chunk = source._epoch_order(16, source.dtype).chunk
    left = len(flat(epoch_of(source, first=50)))
    assert left == N - 50 * 16
    assert left <= rows.count < left + chunk


def test_memory_sizes_chunks():
    for memory in (20_000, 60_000, 200_000):
        source = stream(ROWS, NUMBERS, memory=memory)
        with source.chunks(0, 4) as chunks:
            largest = max(c.X.nbytes + c.Y.nbytes + c.order.nbytes for c in chunks)
        assert 0.9 * memory / 4 - 300 < largest <= memory / 4 or largest == 7 * 8 * N


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
    assert _groups([(0, 3), (5, 9), (90, 91), (92, 93)], 10) == [
        [(0, 3), (5, 9)], [(90, 91), (92, 93)]]  # fmt: skip
    spans = _groups([(i, i + 2) for i in range(0, 100, 10)], 10)
    assert max(span[-1][1] - span[0][0] for span in spans) <= 40
    assert _groups([(0, 1), (2, 3)], 0) == [[(0, 1)], [(2, 3)]]


def test_a_zarr_array_is_a_source(tmp_path):
    zarr = pytest.importorskip("zarr")
    X = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    stored = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, chunks=(64, 4), dtype=X.dtype)
    stored[:] = X
    y, fed = np.arange(300) % 3, []
    for rows in (stored, X):
        with stream(rows, y).chunks(0, batch_size=50) as chunks:
            fed.append(np.concatenate([chunk.X[chunk.order] for chunk in chunks]))
    assert np.array_equal(*fed)
