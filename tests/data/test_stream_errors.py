"""What a stream refuses: damaged files, numbers and arguments, by name and row."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from stream_helpers import (
    NUMBERS,
    ROWS,
    TEXTS,
    OnlyShapeAndSlices,
    epoch_of,
    save,
    save_both,
    some_batches,
    write_csv,
    write_parquet,
)

import xpnet
from xpnet.data.open_stream import stream

LINES = "".join(f"{i},{i % 3},{i / 7}\n" for i in range(30_000))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1,2", "line 30002: 2 cells, but the header has 3"),
        ("1,2,3,4", "line 30002: 4 cells, but the header has 3"),
        ("1,2,nan", "line 30002, column 'b': a value is missing"),
        ("red,2,3", "column 'a': most cells are numbers, but not 'red' in line 30002"),
        ("1,inf,3", "line 30002, column 'y': "),
        ("1,,3", "line 30002, column 'y': a value is missing"),
        ('1,"' + "x" * 200_000, "line 30002: a quotation mark opens here and is never closed"),
        ("1,\udcff,3", "line 30002: not utf-8"),
    ],
    ids=["narrow", "wide", "nan", "text", "inf", "empty", "quote", "bytes"],
)
def test_bad_csv(line, said, tmp_path):
    path = tmp_path / "a.csv"
    text = f"a,y,b\n{LINES}{line}\n{LINES}"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=said) as raised:
        stream(path, target="y")
    assert str(raised.value).count(str(path)) == 1
    assert "\n" not in str(raised.value)


class Sliced:
    """Slices of it are masked arrays, as those of netCDF4."""

    def __init__(self, array):
        self.shape, self._array = array.shape, array

    def __getitem__(self, rows):
        return self._array[rows]


@pytest.mark.parametrize("given", ["X", "y", "w"])
@pytest.mark.parametrize("batches", [False, True])
def test_a_masked_value_is_refused_as_nan(given, batches):
    data = {"X": np.arange(600.0).reshape(200, 3), "y": np.arange(200), "w": np.ones(200)}
    mask = np.zeros(data[given].shape, bool)
    mask[150] = True
    data[given] = np.ma.array(data[given], mask=mask)
    if batches:
        source = stream([tuple(data.values())])
    else:
        source = stream(*(Sliced(x) for x in data.values()))
    with pytest.raises(ValueError, match=r"row 150 .*nan"):
        source.statistics()


SECONDS = 1_700_000_000 + np.arange(200)


@pytest.mark.parametrize("source", ["rows", "npz", "csv", "parquet"])
@pytest.mark.parametrize("given", ["X", "y"])
def test_integers_that_float32_would_round(source, given, tmp_path):
    """They are found before the first step, by the statistics' pass."""
    small = np.arange(200)
    X = np.stack([small, SECONDS if given == "X" else small], axis=1)
    y = SECONDS if given == "y" else small
    rows = {
        "rows": lambda: stream(X, y),
        "npz": lambda: stream(save_both(tmp_path / "a.npz", np.savez, X=X, y=y)),
        "csv": lambda: stream(write_csv(tmp_path / "a.csv", X, y), target="y"),
        "parquet": lambda: stream(write_parquet(tmp_path / "a.parquet", X, y), target="y"),
    }[source]()
    nets = [xpnet.DeepNet([2, 1], output="identity", dtype=d) for d in (None, "float32")]
    nets[0].fit(rows, optimizer=xpnet.GradientDescent(1e-30), epochs=1, batch_size=10)
    assert nets[0].backend.dtype_name == "float64"
    before = np.array(nets[1].theta)
    column = rows.target if given == "y" else (rows.names or "01")[1]
    with pytest.raises(ValueError, match=f"1,700,000,199 in column '{column}'.*float64"):
        nets[1].fit(rows, epochs=1, batch_size=10)
    assert np.array_equal(nets[1].theta, before)
    found = rows.statistics()
    ready = rows.prepared(found.inputs, found.targets)
    nets[1].fit(ready, epochs=1, batch_size=10)
    with pytest.raises(ValueError, match=r"float32 would round.*DeepNet\(dtype='float64'\)"):
        nets[1].fit(stream([(X, y)]), epochs=1)


def test_a_table_may_change_once_it_was_opened(tmp_path):
    """Its rows were unpacked then."""
    path = write_csv(tmp_path / "a.csv")
    with stream(path, target="y") as source:
        before = epoch_of(source)
        path.write_text("a,y\nx,2\n")
        assert epoch_of(source) == before


def test_columns_and_files_that_do_not_exist(tmp_path):
    csv, npy_ = write_csv(tmp_path / "a.csv"), save(tmp_path / "a.npy", ROWS)
    parquet = write_parquet(tmp_path / "a.parquet")
    for path, target, said in (
        (csv, "z", "no column 'z'; the columns are a, b, c, d, e, y"),
        (csv, None, "which column is the target"),
        (parquet, "z", "no column 'z'; the columns are a, b, c, d, e, y"),
        (npy_, 5, "no column 5; there are 5, counted from 0"),
        (npy_, "z", "columns go by their index"),
    ):
        with pytest.raises(ValueError, match=said):
            stream(path, target=target)
    for name in ("none.csv", "none.npy", "none.npz", "none.parquet", "none.xls"):
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
        ("a.parquet", b"hello", "no rows of data"),
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
    with pytest.raises(ValueError, match=r"row 1 \(from 0\), column 'a': a value is missing"):
        stream(path, target="b")
    parquet.write_table(pyarrow.table(table).select(["b", "c"]), path)
    with pytest.raises(ValueError, match=r"row 2 \(from 0\), column 'b': a value is missing"):
        stream(path, target="b")
    for column, what in (("b", "text"), ("d", "date")):
        table = {"b": ["x", "y"], "d": [date(2020, 1, 1), date(2020, 1, 2)], "c": [1, 2]}
        parquet.write_table(pyarrow.table(table).select([column, "c"]), path)
        with pytest.raises(ValueError, match=f"column '{column}': a {what}, not a number"):
            stream(path, target="c")


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
        ((ROWS, NUMBERS[:4]), {}, r"X has 1,003 rows but y has shape \(4,\)"),
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
