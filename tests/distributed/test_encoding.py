"""Several processes encode one table: each its row groups, and together the bytes of one."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from xpnet.data.readers import TableReader, open_table
from xpnet.distributed import Ranks

pytest.importorskip("typer")
arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
training_data = pytest.importorskip("xpnet.cli.training_data")
from xpnet.cli.encoded import Encoded
from xpnet.cli.recipe import Recipe
from xpnet.cli.settings import Settings

FILES = ["training.npy", "training-labels.npy", "validation.npy", "validation-labels.npy"]
SIZE = 3  # ranks


class Threads:
    """A communicator of threads: what each of them sends is there when the last one has come."""

    def __init__(self, rank, meeting, sent):
        self.rank, self.size, self.meeting, self.sent = rank, SIZE, meeting, sent

    def gather(self, value):
        self.sent[self.rank] = pickle.dumps(value)
        self.meeting.wait()
        found = [pickle.loads(sent) for sent in self.sent]
        self.meeting.wait()
        return found

    def broadcast(self, value):
        return self.gather(value)[0]

    def allreduce(self, vector):
        return sum(self.gather(vector))

    def abort(self):
        raise AssertionError("nobody trains")


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The same rows of every kind in a folder, a file and as text; some cells are missing."""
    monkeypatch.chdir(tmp_path)
    rng, m = np.random.default_rng(0), 1200
    label = np.array(["low", "high"])[rng.integers(0, 2, m)]
    table = arrow.table(
        {
            "a": arrow.array(rng.normal(size=m), mask=rng.random(m) < 0.1),
            "b": rng.normal(size=m).astype(np.float32),
            "c": np.array(list("uvwxyz"))[rng.integers(0, 6, m)],
            "d": np.datetime64("2024-01-01", "s") + 3000 * rng.integers(0, 9000, m),
            "y": arrow.array(label, mask=rng.random(m) < 0.2),
            "price": rng.normal(size=m),
        }
    )
    (tmp_path / "folder").mkdir()
    for i, (start, stop, size) in enumerate([(0, 500, 90), (500, 510, 3), (510, m, 250)]):
        parquet.write_table(table[start:stop], f"folder/{i}.parquet", row_group_size=size)
    parquet.write_table(table, "t.parquet", row_group_size=70)
    pytest.importorskip("pyarrow.csv").write_csv(table, "t.csv")


def loaded(data, target, validation, encoded, ranks):
    settings = Settings(data=Path(data), target=target, stream=True, validation=validation)
    with ranks, encoded:
        return training_data.load(settings, Recipe.of(settings), encoded, ranks)


def by_all(make_encoded, *words):
    """What every rank's ``load`` returned or raised."""
    meeting, sent = threading.Barrier(SIZE, timeout=60), [None] * SIZE

    def one(rank):
        try:
            return loaded(*words, make_encoded(rank), Ranks(Threads(rank, meeting, sent)))
        except (OSError, RuntimeError) as error:
            return error

    with ThreadPoolExecutor(SIZE) as pool:
        return list(pool.map(one, range(SIZE)))


def contents(folder, table=True):
    return {name: Path(folder, name).read_bytes() for name in FILES + ["table.json"] * table}


@pytest.mark.parametrize(
    ("data", "target", "validation"),
    [
        ("folder", "y", "0.3"),
        ("t.parquet", "price", "0.3"),
        ("folder", "y", "t.csv"),
        ("t.csv", "price", "0.3"),
    ],
)
def test_all_ranks_together_write_the_bytes_of_one(tables, monkeypatch, data, target, validation):
    read, original = [], TableReader.batches

    def batches(reader, *args, part=(), **options):
        read.append(part)
        return original(reader, *args, part=part, **options)

    words = data, target, validation
    loaded(*words, Encoded(Path("one"), keep=True), Ranks())
    monkeypatch.setattr(TableReader, "batches", batches)
    found = by_all(lambda rank: Encoded(Path("all"), keep=True), *words)
    assert contents("all") == contents("one")
    assert len({problem.checksum for problem in found}) == 1
    with open_table(data) as reader:
        cuts = reader.cuts(SIZE)
    parts = list(pairwise(cuts))
    assert {*parts} == {*filter(None, read)}
    shares = [stop - start for start, stop in parts]
    assert shares == [1200, 0, 0] if data == "t.csv" else max(shares) < 600


def test_a_rank_that_sees_another_folder_encodes_all_for_itself(tables):
    words = "folder", "y", "0.3"
    loaded(*words, Encoded(Path("one"), keep=True), Ranks())
    found = by_all(lambda rank: Encoded(Path("far" if rank == 2 else "all"), keep=True), *words)
    assert contents("all") == contents("one")
    assert contents("far-2", table=False) == contents("one", table=False)
    assert [len(problem.train) for problem in found] == [len(found[0].train)] * SIZE


def test_a_rank_that_fails_while_encoding_ends_all_with_its_cause(tables):
    class Full(Encoded):
        def writing(self, *place):
            raise OSError("the disk is full")

    first, second, third = by_all(
        lambda rank: (Full if rank == 1 else Encoded)(Path("all")), "folder", "y", "0.3"
    )
    assert str(second) == "the disk is full"
    for error in (first, third):
        assert str(error) == "rank 1 of 3 could not begin: OSError: the disk is full"
    assert not Path("all").exists()


def test_rows_that_are_not_those_that_were_measured_are_refused(tables, monkeypatch):
    original = TableReader.batches

    def batches(reader, *args, part=(), **options):
        for batch in original(reader, *args, part=part, **options):
            yield {name: column[: -1 if part else None] for name, column in batch.items()}

    monkeypatch.setattr(TableReader, "batches", batches)
    with pytest.raises(ValueError, match=r"training-labels.npy: row .* the data has changed"):
        loaded("t.parquet", "price", "0.3", Encoded(Path("one")), Ranks())
