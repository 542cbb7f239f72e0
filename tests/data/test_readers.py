"""The reader of tables: files as people have them are read right, or refused in one line."""

import datetime as dt

import numpy as np
import pytest

from xpnet.data.readers import ReadOptions, open_table

pytest.importorskip("pyarrow")


def cells(column):
    """The cells of a column as Python's values, None where missing."""
    values = column.values.tolist()
    if column.texts is not None:
        values = [column.texts[code] for code in values]
    return [None if gone else value for value, gone in zip(values, column.missing)]


def read(path, options=None, **settings):
    """All columns of a table, row numbers apart."""
    with open_table(path, options or ReadOptions(), **settings) as table:
        found = {}
        for batch in table.batches():
            for name, column in batch.items():
                found.setdefault(name, []).extend(cells(column))
        return found


@pytest.fixture
def table(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b,y\n1,2.5,x\n3,NA,y\n", {"a": [1, 3], "b": [2.5, None], "y": ["x", "y"]}),
        ("0,1,2\n.5,2,x\n3,2,y\n", {"0": [0.5, 3.0], "1": [2, 2], "2": ["x", "y"]}),
        ("001,1\n2,3\n", {"0": ["001", "2"], "1": [1, 3]}),
        ("a,t\n1,TRUE\n2,false\n", {"a": [1, 2], "t": [True, False]}),
        (
            "a,d\n1,2020-01-31\n2,2020-02-01 10:30\n",
            {"a": [1, 2], "d": [dt.datetime(2020, 1, 31), dt.datetime(2020, 2, 1, 10, 30)]},
        ),
        (",a,a\n0,1,2\n1,3,4\n", {"a": [1, 3], "a.1": [2, 4]}),
        ("a,b\n1,2\n,\n3,4\n\n", {"a": [1, 3], "b": [2, 4]}),
    ],
)
def test_cells_of_a_file(table, text, expected):
    assert read(table(text)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('a,b\n1,"x\n3,4\n', "t.csv, line 2: a quotation mark opens here and is never closed"),
        ("a,b\n1,2\n1,2,3\n1,2\n1,2\n", "t.csv, line 3: 3 cells, but the header has 2"),
        ("a,b\n1,inf\n", "t.csv, line 2, column 'b': 'inf' is not finite"),
    ],
)
def test_a_file_that_is_refused(table, text, said):
    with pytest.raises(ValueError, match="^.*" + said):
        read(table(text))


def test_a_cell_that_does_not_fit_the_kind_that_a_model_wants(table):
    path = table("y,b,a\nu,2,1\n\nv,x,2\n")
    assert read(path, kinds={"a": "whole", "b": "text"}) == {"a": [1, 2], "b": ["2", "x"]}
    with pytest.raises(ValueError, match="line 4, column 'b': 'x' is not a number"):
        read(path, kinds={"a": "whole", "b": "number"})


def test_arrays_and_npz(tmp_path):
    X, y = np.array([[1.0, np.nan], [3.0, 4.0]]), np.array(["u", "v"])
    np.savez(tmp_path / "a.npz", X=X, y=y)
    expected = {"0": [1.0, 3.0], "1": [None, 4.0], "y": ["u", "v"]}
    assert read(tmp_path / "a.npz") == read((X, y)) == expected
