"""Reading tables, naming what is wrong with them, splitting and standardising."""

import numpy as np
import pytest

from xpnet.data import table as tables
from xpnet.data.columns import WantedColumns, encoder
from xpnet.data.open_stream import stream
from xpnet.data.read_columns import read_blocks
from xpnet.data.read_table import read_table
from xpnet.data.table import load_digits, train_test_split


@pytest.fixture
def csv(tmp_path):
    """A function that writes text (or bytes) to a .csv file and returns its path."""

    def write(text: str | bytes, name: str = "data.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        path = tmp_path / "data.npz"
        np.savez(path, **arrays)
        return path

    return write


# -- the digits --------------------------------------------------------------------------
def test_digits():
    X, y = load_digits()
    assert (X.shape, X.dtype, y.shape, y.dtype) == ((1797, 64), np.float32, (1797,), np.int64)
    assert X.min() == 0
    assert X.max() == 16
    # The counts that the source states for its test set.
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_are_those_of_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = datasets.load_digits()
    X, y = load_digits()
    np.testing.assert_array_equal(X, bunch.data)
    np.testing.assert_array_equal(y, bunch.target)


def test_digits_come_with_source_and_licence():
    text = (tables.resources.files("xpnet.data") / "digits.txt").read_text(encoding="utf-8")
    for needed in ("Alpaydin", "UCI", "CC BY 4.0", "10.24432/C50P49"):
        assert needed in text


# -- CSV that can be read ----------------------------------------------------------------
def test_header_and_target_by_name(csv):
    table = read_table(csv("a,y,b\n1,0,2.5\n3,1,-4e1\n"), "y")
    assert table.X.tolist() == [[1, 2.5], [3, -40]]
    assert table.y.tolist() == [0, 1]
    assert table.y.dtype == np.int64
    assert (table.names, table.target) == (("a", "b"), "y")


@pytest.mark.parametrize("target", [2, "2", -1, "-1"])
def test_no_header_and_target_by_index(csv, target):
    table = read_table(csv("1,2,0.5\n3,4,1.5\n"), target)
    assert table.X.tolist() == [[1, 2], [3, 4]]
    assert table.y.tolist() == [0.5, 1.5]
    assert table.names == ("0", "1")


def test_text_labels(csv):
    table = read_table(csv("5.1,3.5, setosa\n6,2,virginica\n5,3,setosa\n"), 2)
    assert table.y.tolist() == ["setosa", "virginica", "setosa"]
    assert table.X.tolist() == [[5.1, 3.5], [6, 2], [5, 3]]


def test_numbers_and_text_in_the_target_are_text(csv):
    assert read_table(csv("x,y\n1,1\n2,2\n3,many\n"), "y").y.tolist() == ["1", "2", "many"]


def test_a_header_of_years_is_known_by_the_target(csv):
    table = read_table(csv("2019,2020,price\n1,2,3\n4,5,6\n"), "price")
    assert table.names == ("2019", "2020")
    assert table.X.shape == (2, 2)


@pytest.mark.parametrize(
    "text",
    [
        "x;y\n1;2\n3;4\n",
        "x\ty\n1\t2\n3\t4\n",
        '"x","y"\n"1","2"\n"3","4"\n',
        "\ufeffx,y\n1,2\n3,4\n",
        "x,y\r\n1,2\r\n\r\n3,4\r\n",
        "\n\nx,y\n1,2\n\n3,4",
        "x,y\r1,2\r3,4\r",
        " x , y \n 1 , 2 \n 3 , 4 \n",
    ],
    ids=["semicolon", "tab", "quoted", "bom", "crlf", "empty lines", "cr", "spaces"],
)
def test_dialects(csv, text):
    table = read_table(csv(text), "y")
    assert (table.X.tolist(), table.y.tolist(), table.names) == ([[1], [3]], [2, 4], ("x",))


def test_a_quoted_label_may_hold_the_delimiter(csv):
    table = read_table(csv('x,y\n1,"Washington, D.C."\n2,Ohio\n'), "y")
    assert table.y.tolist() == ["Washington, D.C.", "Ohio"]


def test_values_are_exact(csv, tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 7)) * 10.0 ** rng.integers(-300, 300, (300, 7))
    text = "\n".join(",".join(map(repr, row)) for row in values.tolist())
    table = read_table(csv(text), 6)
    np.testing.assert_array_equal(table.X, values[:, :6])
    np.testing.assert_array_equal(table.y, values[:, 6])


@pytest.mark.parametrize("text", ["1_0", "1_0.5"])
def test_digits_with_an_underscore_are_no_number_in_any_reader(csv, text):
    rows = "1,2,10\n3,4,10\n" * 3
    target = csv(f"a,b,y\n1,2,{text}\n{rows}")
    assert read_table(target, "y").y.tolist() == [text] + ["10"] * 6
    for classes in (None, np.array([3, 10])):  # a regression, and numbers as classes
        with pytest.raises(ValueError, match=rf"line 2, column 'y': '{text}' is n"):
            list(read_blocks(target, WantedColumns(("a",), "y", encoder(classes))))
    for path in (target, csv(rows, "b.csv")):  # nor is it the number of a column
        with pytest.raises(ValueError, match=f"no column '{text}'"):
            read_table(path, text)
    with pytest.raises(ValueError, match="no column"):
        stream(np.ones((3, 12)), target=text)


# -- CSV that cannot be read: file, line and column are named ----------------------------
@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("a,b,y\n1,2,0\n1,2\n", "y", "line 3: 2 cells, but the header has 3"),
        ("a,b,y\n1,2,0\n1,2,3,4\n", "y", "line 3: 4 cells, but the header has 3"),
        ("1,2,0\n1\n", 2, "line 2: 1 cell, but the first line has 3"),
        ("a,b,y\n1,2\n3,4\n", "y", "line 2: 2 cells, but the header has 3"),
        ("a,b,y\n1,2,0\n\n1,red,0\n", "y", "line 4, column 'b': 'red' is not a number"),
        ("1,2,0\n1,2,0\n1,x,0\n", 2, r"line 3, column 1 \(from 0\): 'x' is not a number"),
        ("a,y\n1_000,1\n", "y", "line 2, column 'a': '1_000' is not a number"),
        ("a,y\n1,1\nnan,1\n", "y", "line 3, column 'a': 'nan' is a missing value"),
        ("a,y\n1,1\n,1\n", "y", "line 3, column 'a': the cell is empty"),
        ("a,y\n1,1\n2,inf\n", "y", "line 3, column 'y': inf is not finite"),
        ("a,y\n1,1\n2,NaN\n", "y", "line 3, column 'y': 'NaN' is a missing value"),
        ("a,y\n1,1\n2,\n", "y", "line 3, column 'y': the cell is empty"),
        ("a,y\n1,yes\n2,\n", "y", "line 3, column 'y': the cell is empty"),
        ("a,y\n1,yes\n2,nan\n", "y", "line 3, column 'y': 'nan' is a missing value"),
        ("a,y\n1,yes\nx,no\n", "y", "line 3, column 'a': 'x' is not a number"),
        ("a,y\n1,yes\n1e999,no\n", "y", "line 3, column 'a': 1e999 is not finite"),
        ("a,y\n1,1\n   \n2,2\n", "y", "line 3: only spaces"),
        ('a,y\n1,"x\ny"\n2\n', "y", "line 4: 1 cell"),
        (b"a,y\n1,2\n3,\xff\n", "y", "line 3: not UTF-8 text"),
        (b"\xff\xfea\x00,\x00y\x00", "y", "this is UTF-16 text; save it as UTF-8"),
        (b"\xfe\xff\x00a\x00,\x00y", "y", "this is UTF-16 text; save it as UTF-8"),
        (b"a\x00,\x00y\x00", "y", "this is UTF-16 text; save it as UTF-8"),
        *(
            (("a,y\n1,2\n").encode(code), "y", "this is UTF-32 text; save it as UTF-8")
            for code in ("utf-32", "utf-32-le", "utf-32-be")
        ),
        ("a,y\n", "y", "no rows of data"),
        ("", "y", "the file is empty"),
        ("\n\n", "y", "the file is empty"),
        ("y\n1\n", "y", "one column only"),
        ("a,y\n" + "9" * 50 + "x,1\n", "y", r"'9{37}\.\.\.' is not a number"),
        ("a,y\n1," + "z" * 200_000 + "\nx,1\n", "y", "field larger than field limit"),
    ],
)
def test_bad_csv(csv, text, target, said):
    path = csv(text)
    with pytest.raises(ValueError, match=said) as raised:
        read_table(path, target)
    assert str(raised.value).count(str(path)) == 1
    assert "\n" not in str(raised.value)


def test_bad_bytes_far_below_are_found(csv):
    rows = "".join(f"{i},1\n" for i in range(5000)).encode()
    with pytest.raises(ValueError, match="line 5002: not UTF-8 text"):
        read_table(csv(b"a,y\n" + rows + b"\xe9,1\n"), "y")


@pytest.mark.parametrize(
    ("text", "target", "said"),
    [
        ("a,b,y\n1,2,3\n", "z", "no column 'z'; the columns are a, b, y$"),
        ("a,b,y\n1,2,3\n", 3, "no column '3'; the columns are a, b, y$"),
        ("a,b,y\n1,2,3\n", None, "which column is the target.*the columns are a, b, y$"),
        ("1,2,3\n", "z", "the columns are 0, 1, 2 .line 1 holds numbers, so it is no header"),
        ("a,y,y\n1,2,3\n", "y", "2 columns are named 'y'; 1, 2 are their indices"),
        (",".join(f"c{i}" for i in range(30)) + "\n", "z", "c18, c19 and 10 more$"),
    ],
)
def test_target_that_does_not_exist(csv, text, target, said):
    with pytest.raises(ValueError, match=said):
        read_table(csv(text), target)


def test_missing_file(tmp_path):
    for name, target in (("data.csv", "y"), ("data.npz", None)):
        with pytest.raises(FileNotFoundError, match=name):
            read_table(tmp_path / name, target)


def test_tabs(tmp_path):
    """In a .tsv file commas are part of the cells."""
    path = tmp_path / "data.tsv"
    path.write_text('a, in m\tside\n1\t"left, up"\n2\tright\n')
    table = read_table(path, "side")
    assert (table.names, table.y.tolist()) == (("a, in m",), ["left, up", "right"])


def test_other_endings(tmp_path):
    with pytest.raises(
        ValueError, match=r"none of \.csv, \.tsv, \.npy, \.npz, \.parquet, by its ending"
    ):
        read_table(tmp_path / "data.xls")


# -- .npz --------------------------------------------------------------------------------
def test_npz(npz):
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    table = read_table(npz(X=X, y=np.array(["a", "b", "a"])))
    assert table.X.dtype == np.float32
    assert table.X.tolist() == X.tolist()
    assert table.y.tolist() == ["a", "b", "a"]
    assert (table.names, table.target) == (("0", "1"), "y")


@pytest.mark.parametrize(
    ("dtype", "read"),
    [("u1", "f4"), ("f2", "f4"), ("?", "f4"), ("i4", "f8"), ("f8", "f8"), (">f4", "f4")],
)
def test_npz_dtypes(npz, dtype, read):
    table = read_table(npz(X=np.ones((2, 2), dtype), y=np.array([0, 1])))
    assert table.X.dtype == np.dtype(read)
    assert table.X.dtype.isnative


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": np.ones((2, 3))}, r"needs arrays X \(m, n\) and y \(m,\); it holds X"),
        ({"X": np.ones(3), "y": np.ones(3)}, r"X has shape \(3,\); expected \(m, n\)"),
        ({"X": np.ones((3, 2, 2)), "y": np.ones(3)}, r"X has shape \(3, 2, 2\); expected \(m, n\)"),
        ({"X": np.ones((2, 3)), "y": np.ones(3)}, r"X has 2 rows but y has shape \(3,\)"),
        ({"X": np.ones((3, 2)), "y": np.ones((3, 1))}, r"y must be \(m,\).* it is \(3, 1\)"),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, "X is empty"),
        ({"X": np.ones((3, 0)), "y": np.ones(3)}, "X is empty"),
        ({"X": np.ones((3, 2), complex), "y": np.ones(3)}, "X holds complex128, not numbers"),
        ({"X": np.array([["a"]]), "y": np.ones(1)}, "X holds <U1, not numbers"),
        ({"X": np.ones((1, 2)), "y": np.array([b"a"])}, r"y holds \|S1, not numbers or text"),
        ({"X": np.array([[1, None]]), "y": np.ones(1)}, "holds Python objects"),
        (
            {"X": np.array([[1, 2], [3, np.nan]]), "y": np.ones(2)},
            r"row 1 \(from 0\), column '1': nan is not a finite",
        ),
        (
            {"X": np.ones((2, 1)), "y": np.array([1, np.inf])},
            r"row 1 \(from 0\): y is inf, not a finite",
        ),
    ],
)
def test_bad_npz(npz, arrays, said):
    path = npz(**arrays)
    with pytest.raises(ValueError, match=said) as raised:
        read_table(path)
    assert str(path) in str(raised.value)


def test_npz_that_is_none(tmp_path, npz):
    path = tmp_path / "text.npz"
    path.write_text("not an archive")
    with pytest.raises(ValueError, match=r"not a \.npz archive"):
        read_table(path)
    whole = npz(X=np.ones((50, 2)), y=np.ones(50))
    with pytest.raises(ValueError, match=r"in y; leave the target out \(--target\)"):
        read_table(whole, "y")
    content = whole.read_bytes()
    whole.write_bytes(content.replace(b"NUMPY", b"NOMPY"))
    with pytest.raises(ValueError, match="damaged"):
        read_table(whole)


def test_split_is_a_partition_and_repeatable():
    X, y = np.arange(20.0).reshape(10, 2), np.arange(10)
    parts = train_test_split(X, y, 0.3, seed=1)
    assert [len(part) for part in parts] == [7, 7, 3, 3]
    assert sorted(np.concatenate([parts[1], parts[3]]).tolist()) == list(range(10))
    for rows, labels in (parts[:2], parts[2:]):
        np.testing.assert_array_equal(rows, X[labels])
    for a, b in zip(parts, train_test_split(X, y, 0.3, seed=1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(parts[1], train_test_split(X, y, 0.3, seed=2)[1])


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.25, 0.5])
def test_stratified_split_keeps_shares(fraction):
    y = np.repeat([0, 1, 2], [100, 50, 13])
    _, y_train, _, y_test = train_test_split(y[:, None], y, fraction, seed=3, stratify=True)
    assert len(y_test) == round(fraction * len(y))
    assert len(y_train) + len(y_test) == len(y)
    for k, count in enumerate([100, 50, 13]):
        assert abs((y_test == k).sum() - fraction * count) < 1


def test_every_class_stays_in_the_training_part():
    y = np.array([0, 1, 2, 3, 4, 4, 4, 4])
    _, y_train, _, y_test = train_test_split(y[:, None], y, 0.5, seed=0, stratify=True)
    assert set(y_train) == {0, 1, 2, 3, 4}
    assert set(y_test) == {4}
    with pytest.raises(ValueError, match="one example only"):
        train_test_split(y[:4, None], y[:4], 0.5, stratify=True)


def test_split_of_nothing_and_bad_fractions():
    X, y = np.ones((4, 1)), np.arange(4)
    assert len(train_test_split(X, y, 0.0)[3]) == 0
    assert len(train_test_split(X, y, 0.01)[3]) == 1
    for fraction in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="test fraction"):
            train_test_split(X, y, fraction)
    with pytest.raises(ValueError, match="too few"):
        train_test_split(X, y, 0.99)
    with pytest.raises(ValueError, match="3 examples and y has 4"):
        train_test_split(X[:3], y, 0.5)
