"""The reader of tables: files as people have them are read right, or refused in one line."""

import bz2
import csv
import datetime as dt
import gzip
import io
import lzma
import os
import re
import signal
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
import polars
import pytest

from xpnet.data.readers import ReadOptions, open_table

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
fifos = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")


def cells(column):
    """The cells of a column as Python's values, None where missing."""
    values = column.values.tolist()
    if column.texts is not None:
        values = [column.texts[code] if column.texts else "" for code in values]
    return [None if gone else value for value, gone in zip(values, column.missing.tolist())]


def read(source, options=None, **settings):
    """All columns of a table, row numbers apart."""
    with open_table(source, ReadOptions(**(options or {})), **settings) as table:
        found = {}
        for batch in table.batches():
            for name, column in batch.items():
                found.setdefault(name, []).extend(cells(column))
        assert all(len(column) == table.n for column in found.values())
        return found


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(here, content, name="t.csv"):
    path = here / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


DAY = dt.datetime(2020, 1, 31)
PLAIN = {"a": [1, 3], "y": ["u", "v"]}  # a file with two columns in all its forms

READ = {
    # -- header
    "0,1,2 above fractions": (
        "0,1,2\n.5,2.0,x\n3.0,2.5,y\n",
        {},
        {"0": [0.5, 3.0], "1": [2.0, 2.5], "2": ["x", "y"]},
    ),
    "0,1,2,3 above whole numbers": (
        "0,1,2,3\n5,0,0,0\n3,1,0,1\n",
        {},
        {"0": [5, 3], "1": [0, 1], "2": [0, 0], "3": [0, 1]},
    ),
    "years": (
        "1990,1991,1993\n" + "5,7,9\n6,8,9\n" * 3,
        {},
        {"1990": [5, 6] * 3, "1991": [7, 8] * 3, "1993": [9, 9] * 3},
    ),
    "wavelengths": (
        "400,410,species\n.5,.2,s\n.4,.1,s\n.4,.1,t\n",
        {},
        {"400": [0.5, 0.4, 0.4], "410": [0.2, 0.1, 0.1], "species": ["s", "s", "t"]},
    ),
    "two rows of numbers are no header": ("1,2\n50,70\n", {}, {"0": [1, 50], "1": [2, 70]}),
    "few numbers are no header": ("1,2\n1.5,3\n2,4.5\n", {}, {"0": [1, 1.5, 2], "1": [2, 3, 4.5]}),
    "a missing word is no header": (
        "u,3,a\n5,3,a\n6,4,b\n",
        {"missing": ["u"]},
        {"0": [None, 5, 6], "1": [3, 3, 4], "2": ["a", "a", "b"]},
    ),
    "a class in line 1, a word over numbers": (
        "u,3,a\n5,3,a\n6,4,b\n",
        {},
        {"0": ["u", "5", "6"], "1": [3, 3, 4], "2": ["a", "a", "b"]},
    ),
    "a first column without a name": (",a\n5,1\n5,3\n", {}, {"0": [5, 5], "a": [1, 3]}),
    "whole fractions are no header": (
        "1,605.0\n2,300.5\n2,1.0\n",
        {},
        {"0": [1, 2, 2], "1": [605.0, 300.5, 1.0]},
    ),
    "row numbers and years": (
        ",1990,1991\n" + "".join(f"{i},7,9\n" for i in range(6)),
        {},
        {"1990": [7] * 6, "1991": [9] * 6},
    ),
    "no names, text": (",name,city\n0,u,x\n1,v,x\n", {}, {"name": ["u", "v"], "city": ["x", "x"]}),
    "a word over numbers": ("age,1\n5,7\n6,8\n", {}, {"age": [5, 6], "1": [7, 8]}),
    "counting rows are no header": ("0,1\n1,2\n2,3\n", {}, {"0": [0, 1, 2], "1": [1, 2, 3]}),
    "a truth table is no header": (
        "0,1,1\n0,0,0\n1,1,0\n",
        {},
        {"0": [0, 0, 1], "1": [1, 0, 1], "2": [1, 0, 0]},
    ),
    "a class in line 1 is no header": (
        "5.1,a\n4.9,a\n5.0,b\n",
        {},
        {"0": [5.1, 4.9, 5.0], "1": ["a", "a", "b"]},
    ),
    "words that are cells too": (
        "p,x\nq,x\np,z\n",
        {},
        {"0": ["p", "q", "p"], "1": ["x", "x", "z"]},
    ),
    "--header": ("1,2\n3,4\n", {"header": True}, {"1": [3], "2": [4]}),
    "--no-header": (
        "a,b\n3,4\n",
        {"header": False, "missing": ["a", "b"]},
        {"0": [None, 3], "1": [None, 4]},
    ),
    # -- quotes
    "5 inch pipe": (
        'a,y\n1,5" pipe\n2,"6"" pipe"\n',
        {},
        {"a": [1, 2], "y": ['5" pipe', '6" pipe']},
    ),
    "quoted newlines": (
        'a,y\n1,"u\nv"\n2,"w\r\n\r\nx"\n',
        {},
        {"a": [1, 2], "y": ["u\nv", "w\r\n\r\nx"]},
    ),
    # -- missing, labels, numbers
    "missing": (
        "a,y\n1,NA\n?,u\nN/A,null\n-,None\n.,v\n#N/A,\nnan,NaN\n",
        {},
        {"a": [1] + [None] * 6, "y": [None, "u", None, None, "v", None, None]},
    ),
    "--missing": ("a,y\n-999,NA\n1,b\n", {"missing": ["-999"]}, {"a": [None, 1], "y": ["NA", "b"]}),
    "all digits": (
        "a,y\n1,123456789012345678\n2,9007199254740993\n",
        {},
        {"a": [1, 2], "y": [123456789012345678, 9007199254740993]},
    ),
    "more digits than int64": (
        "a,y\n1,12345678901234567890\n2,7\n",
        {},
        {"a": [1, 2], "y": ["12345678901234567890", "7"]},
    ),
    "leading zeros": ("a,y\n1,001\n2,01\n3,1\n", {}, {"a": [1, 2, 3], "y": ["001", "01", "1"]}),
    "1.0/2.0": ("a,y\n1,1.0\n2,2.0\n", {}, {"a": [1, 2], "y": [1.0, 2.0]}),
    "signs": ("a,y\n1,+1\n2,-1\n", {}, {"a": [1, 2], "y": [1, -1]}),
    "TRUE": ("a,y\n1,TRUE\n2,False\n3,\n", {}, {"a": [1, 2, 3], "y": [True, False, None]}),
    "dates": (
        "a,d\n1,2020-01-31\n2,2020-01-31T10:30:00.5\n3,NA\n",
        {},
        {"a": [1, 2, 3], "d": [DAY, DAY.replace(hour=10, minute=30, microsecond=500000), None]},
    ),
    "dates with zones": (
        "a,d\n1,2020-01-31T02:00:00+02:00\n2,2020-01-31 00:00Z\n",
        {},
        {"a": [1, 2], "d": [DAY, DAY]},
    ),
    "days first": (
        "a,d\n1,31.01.2020\n2,01.02.2020\n",
        {},
        {"a": [1, 2], "d": [DAY, dt.datetime(2020, 2, 1)]},
    ),
    "months first": (
        "a,d\n1,1/31/2020\n2,02/01/2020\n",
        {},
        {"a": [1, 2], "d": [DAY, dt.datetime(2020, 2, 1)]},
    ),
    "1e300 for float64": ("a,y\n1.5,u\n1e300,v\n", {}, {"a": [1.5, 1e300], "y": ["u", "v"]}),
    "1e38": ("a,y\n1e38,u\n-1E-300,v\n", {}, {"a": [1e38, -1e-300], "y": ["u", "v"]}),
    "unicode minus": ("a,y\n−5,u\n3.5,v\n", {}, {"a": [-5, 3.5], "y": ["u", "v"]}),
    "spaces around cells": ("a, y\n 1.5, u \n 2 ,v\n", {}, {"a": [1.5, 2], "y": ["u", "v"]}),
    "3+ of few": (
        "a,y\n" + "1,0\n2,1\n3,2\n4,3+\n" * 3,
        {},
        {"a": [1, 2, 3, 4] * 3, "y": ["0", "1", "2", "3+"] * 3},
    ),
    "decimal commas": ("a;y\n1,5;u\n-2;v\n", {"decimal": ","}, {"a": [1.5, -2], "y": ["u", "v"]}),
    # -- names
    "row numbers": (",a,y\n0,1,u\n1,3,v\n", {}, PLAIN),
    "row numbers that pandas wrote twice": ("Unnamed: 0,a,y\n0,1,u\n1,3,v\n", {}, PLAIN),
    "no row numbers": ("Unnamed: 0,a\n5,1\n5,3\n", {}, {"Unnamed: 0": [5, 5], "a": [1, 3]}),
    "row numbers, shuffled": (",a,y\n7,1,u\n2,3,v\n", {}, PLAIN),
    "row names of R": ('"a" "y"\n"1" 1 "u"\n"2" 3 "v"\n', {}, PLAIN),
    "an unnamed first column of text": (",a\nx,1\ny,3\n", {}, {"0": ["x", "y"], "a": [1, 3]}),
    "duplicates": ("a,a,y\n1,2,u\n3,4,v\n", {}, {"a": [1, 3], "a.1": [2, 4], "y": ["u", "v"]}),
    "duplicates of a duplicate's name": (
        "a,a,a.1\n1,2,5\n3,4,6\n",
        {},
        {"a": [1, 3], "a.2": [2, 4], "a.1": [5, 6]},
    ),
    "two unnamed": ("a,,\n1,2,u\n3,4,v\n", {}, {"a": [1, 3], "1": [2, 4], "2": ["u", "v"]}),
    "commas and quotes in names": (
        '"a, cm";"b ""x""";y z\n1;2;u\n3;4;v\n',
        {},
        {"a, cm": [1, 3], 'b "x"': [2, 4], "y z": ["u", "v"]},
    ),
    # -- separators, lines
    **{f"separated by {sep!r}": (f"a{sep}y\n1{sep}u\n3{sep}v\n", {}, PLAIN) for sep in ",;\t| "},
    "aligned by spaces": ('  a    y\n  1    u\n\n  3\t "v"\n', {}, PLAIN),
    "spaces in quotes": (
        'a y\n1   "u   v"\n3 "v"\n',
        {},
        {"a": [1, 3], "y": ["u   v", "v"]},
    ),
    "sep=;": ("sep=;\na;y\n1;u\n3;v\n", {}, PLAIN),
    "--sep": ("a!y\n1!u\n3!v\n", {"sep": "!"}, PLAIN),
    "title lines": (
        "Table 7. Things, and more\n\na,b,y\n1,2,u\n3,4,v\n",
        {},
        {"a": [1, 3], "b": [2, 4], "y": ["u", "v"]},
    ),
    "comment lines": ("# from here\n# a, b\na,y\n1,u\n3,v\n", {}, PLAIN),
    "a marked header": ("# a,y\n1,u\n3,v\n", {}, PLAIN),
    "--comment": ("% x\na,y\n1,u\n% a, b, c\n3,v\n%", {"comment": "%"}, PLAIN),
    "trailing separators": ("a,y,\n1,u,\n3,v,\n", {}, PLAIN),
    "trailing separators in rows": ("a,y\n1,u,\n3,v,\n", {}, PLAIN),
    "Excel's empty lines": ("a,y\n1,u\n,\n , \n\n3,v\n,\n,", {}, PLAIN),
    "Windows": ("a,y\r\n1,u\r\n,\r\n3,v\r\n", {}, PLAIN),
    "Mac OS 9": ("a,y\r1,u\r3,v\r", {}, PLAIN),
    # -- encodings
    **{
        f"mark of {name}": (
            f"{mark}a,y\n1,ü€\n3,v\n".encode(name),
            {},
            {"a": [1, 3], "y": ["ü€", "v"]},
        )
        for name, mark in [
            ("utf-8-sig", ""),
            ("utf-16", ""),
            ("utf-32", ""),
            ("utf-16-be", "\ufeff"),
        ]
    },
    **{
        name: ("a,y\n1,u\n3,v\n".encode(name), {}, PLAIN)
        for name in ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
    },
    "--encoding latin-1": (
        "a,ÿ\n1,ü\n3,v\n".encode("latin-1"),
        {"encoding": "latin-1"},
        {"a": [1, 3], "ÿ": ["ü", "v"]},
    ),
    # -- compression, all named .csv
    **{
        name: (pack(b"a,y\n1,u\n3,v\n"), {}, PLAIN)
        for name, pack in {
            "gzip": gzip.compress,
            "bz2": bz2.compress,
            "xz": lzma.compress,
            "zstd": lambda x: pa.compress(x, "zstd", asbytes=True),
        }.items()
    },
}


@pytest.mark.parametrize("case", READ)
@pytest.mark.parametrize("piece", [2**20, 1])
def test_a_file_is_read(here, monkeypatch, case, piece):
    monkeypatch.setattr("xpnet.data.text_format._PIECE", piece)
    content, options, expected = READ[case]
    path = write(here, content)
    assert read(path, options) == expected
    with open_table(path, ReadOptions(**options)) as table:  # as a trained model reads it
        kinds = {n: k for n, k in table.kinds.items() if n not in table.row_numbers}
    assert read(path, options, kinds=kinds, target=[*kinds][-1]) == expected


REFUSED = {
    "a last mark that opens": ('a,y\n1,u\n"', {}, "t.csv, line 3: a quotation mark opens here"),
    "never closed": (
        'a,y\n1,u\n2,"v\n' + "3,w\n" * 80,
        {},
        "t.csv, line 3: a quotation mark opens here and is never",
    ),
    "never closed, far": (
        'a,y\n1,"u\n' + "3,www\n" * 400_000,
        {},
        "t.csv, line 2: a quotation mark opens here and is never",
    ),
    "closed by another": (
        'a,y\n1,"u\n3,w\n4,"v"\n5,x\n',
        {},
        "t.csv, line 2: a quotation mark opens here and is closed only in line 4",
    ),
    "too many cells": (
        "a,y\n1,u\n\n2,v,w\n3,u\n",
        {},
        "t.csv, line 4: 3 cells, but the header has 2",
    ),
    "too few cells": (
        "1,2\n3\n4,5\n5,6\n",
        {"header": False},
        "t.csv, line 2: 1 cell, but the first line has 2",
    ),
    "not JSON": (
        '{"a": 1}\n{"a": "x"}\n',
        {},
        "t.csv: damaged, or cut short .*from number to string",
    ),
    **{
        f"odd: {cell}": (f"a;y\n1;{cell}\n" + "".join(f"3;{i}.5\n" for i in range(60)), {}, said)
        for cell, said in {
            "$12.50": "column 'y': most cells are numbers, but not '\\$12.50' in line 2",
            "2,345": "'2,345' in line 2.*column={'y': 'category'} for text",
            "3,5": "'3,5' in line 2.*decimal=','",
            "12%": "'12%' in line 2",
            "0x1F": "'0x1F' in line 2",
            "0X1f": "'0X1f' in line 2",
            "n.a.": r"'n.a.' in line 2.*missing=\['n.a.'\]",
        }.items()
    },
    "all of them odd": (
        "a,y\n1,$3\n2,$4.50\n",
        {},
        "column 'y': most cells are numbers, but not '\\$3' in line 2, '\\$4.50' in line 3",
    ),
    "points where commas are": (
        "a;y\n1.5;2\n1,5;3\n",
        {"decimal": ","},
        "column 'a'.*'1.5' in line 2",
    ),
    "inf": (
        "a,y\n1,u\n\ninf,v\n",
        {},
        r"t.csv, line 4, column 'a': inf is not finite; missing=",
    ),
    "1e300": (
        "a,y\n1.5,u\n1e300,v\n",
        {"dtype": "float32"},
        "line 3, column 'a': 1e.300 is beyond what float32",
    ),
    "1e999": ("a,y\n1.5,u\n-1e999,v\n", {}, "line 3, column 'a': -inf is not finite"),
    **{
        f"a cell of 17 MB: {where}": (
            text.replace("x", "x" * 17 * 2**20),
            {},
            f"{where}: a cell that",
        )
        for where, text in {
            "line 1": "a,x\n1,u\n",
            "line 3": "a,y\n1,u\n3,x\n5,u\n",
            "line 2": 'a,y\n3,"x"\n5,u\n',
            "line 99998": "a,y\n" + "1,u\n" * 99_996 + "3,x\n5,u\n",
        }.items()
    },
    "a long cell and an open mark": (
        f'a,y\n1,"{"x" * 2**18}"\n3,"v\n4,w\n',
        {},
        "line 3: a quotation mark opens here and is never",
    ),
    "latin-1": (b"a,y\n1,u\n2,\xfc\n", {}, "t.csv, line 3: not utf-8; encoding='latin-1'"),
    "latin-1, far": (
        b"a,y\n" + b"1,u\n" * 200_000 + b"2,\xfc\n",
        {},
        "t.csv, line 200002: not utf-8; encoding='latin-1'",
    ),
    "no encoding": ("a,y\n1,u\n", {"encoding": "klingon"}, "encoding 'klingon'"),
    "empty": ("\n\n", {}, "t.csv: the file is empty"),
    "header only": ("a,y\n", {}, "t.csv: no rows of data"),
    "one column": (
        "length in cm\n5\n7\n",
        {},
        "t.csv: one column only.*tried tabs, ';', '|', ',' and spaces.*line 1 is 'length in cm'",
    ),
    "HTML": ("\n<!DOCTYPE html>\n<html>", {}, "t.csv: this is a web page"),
    "Git LFS": (
        "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 2\n",
        {},
        "t.csv: this is a pointer of Git LFS.*git lfs pull",
    ),
    "pickle": (b"\x80\x04\x95abc", {}, "t.csv: this is a pickle"),
    "binary": (bytes(range(256)) * 4, {}, "t.csv: binary data"),
    "gzip, cut": (
        gzip.compress(os.urandom(9999).hex().encode())[:-900],
        {},
        "t.csv: damaged, or cut short",
    ),
    "xz, cut": (
        lzma.compress(os.urandom(9999).hex().encode())[:-900],
        {},
        "t.csv: damaged, or cut short",
    ),
    "zip, cut": (b"PK\x03\x04abc", {}, "t.csv: damaged, or cut short"),
    "parquet, cut": (b"PAR1abc", {}, "t.csv: damaged, or cut short"),
    "npy, cut": (b"\x93NUMPYabc", {}, "t.csv: not a .npy file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_is_refused(here, case):
    content, options, said = REFUSED[case]
    with pytest.raises(ValueError, match=said) as caught:
        read(write(here, content), options)
    assert "\n" not in str(caught.value)


ONE = "a,y\n1,u\n3,v\n"


def zipped(names):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, ONE)
    return held.getvalue()


def test_a_zip(here):
    assert read(write(here, zipped(["data/", "data/x.txt"]))) == PLAIN
    for names, said in [
        (["a.csv", "b.csv"], "t.csv: this is a zip of 2 files"),
        (["xl/workbook.xml", "b.xml"], "t.csv: this is an Excel workbook"),
    ]:
        with pytest.raises(ValueError, match=said):
            read(write(here, zipped(names)))


TYPED = pa.table(
    {
        "a": pa.array([1, 2, None], pa.int16()),
        "b": pa.array([0.5, None, float("nan")], pa.float32()),
        "c": pa.array([True, None, False]),
        "d": pa.array([DAY, None, DAY], pa.timestamp("ns")),
        "e": pa.array([DAY.date(), None, None]),
        "f": ["u", None, "v"],
        "g": pa.array(["u", "v", "u"]).dictionary_encode(),
        "h": pa.array([1, 2, 3]).cast(pa.decimal128(21, 2)),
        "i": pa.nulls(3),
        "j": pa.array([2**63 - 1, 1, 2], pa.uint64()),
    }
)
AS_READ = {
    name: [None if x != x else x for x in column] for name, column in TYPED.to_pydict().items()
}
AS_READ["e"] = [DAY, None, None]


@pytest.mark.parametrize("kind", ["parquet", "folder", "feather", "pyarrow", "polars", "pandas"])
def test_columns_with_types(here, kind):
    source, copies = here / f"t.{kind}", 1
    if kind == "parquet":
        parquet.write_table(TYPED, source)
    elif kind == "folder":
        source.mkdir()
        copies = 2
        for name in ("1.parquet", "2.parquet"):
            parquet.write_table(TYPED, source / name)
    elif kind == "feather":
        pytest.importorskip("pyarrow.feather").write_feather(TYPED, source)
    elif kind == "pyarrow":
        source = TYPED
    elif kind == "polars":
        source = polars.from_arrow(TYPED)
    else:
        pytest.importorskip("pandas")
        source = TYPED.to_pandas(types_mapper=None)
        source = source.astype({"c": "boolean"}).drop(columns=["a", "e", "h", "j"])
    found = read(source)
    assert found == {name: AS_READ[name] * copies for name in found}
    assert len(found) == (6 if kind == "pandas" else 10)
    kinds = {"g": "text", "b": "number", "f": "text"}  # in another order
    assert read(source, kinds=kinds) == {name: found[name] for name in kinds}


def test_json_lines(here):
    text = '{"a": 1, "y": "u", "z": {"b": 0.5}}\n{"y": "v", "a": 3}\n'
    expected = {**PLAIN, "z.b": [0.5, None]}
    assert read(write(here, text)) == read(write(here, gzip.compress(text.encode()))) == expected
    with pytest.raises(ValueError, match="JSON is read as lines"):
        read(write(here, "[" + text, "t.json"))


def test_a_column_without_a_name_in_a_frame():
    numbers = {"": [4, 7], **PLAIN}
    assert read(pa.table(numbers)) == PLAIN
    assert read(pa.table({**numbers, "": [4, 4]})) == {"0": [4, 4], **PLAIN}


@pytest.mark.parametrize("place", [0, 1])
def test_pandas_index_is_row_numbers(here, place):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(PLAIN, index=[5, 7])
    frame.to_parquet(here / "t.parquet")
    source = frame if place else here / "t.parquet"
    with open_table(source) as table:
        assert table.row_numbers == ["__index_level_0__"]
    assert read(source) == PLAIN


@pytest.mark.parametrize("shape", [(-1,), (-1, 1)])
@pytest.mark.parametrize("names", [("X", "y"), ("x_train", "y_train")])
def test_arrays(here, names, shape):
    X, y = np.array([[1.0, np.nan], [3.0, 4.0]]), np.array(["u", "v"]).reshape(shape)
    np.savez(here / "a.npz", **dict(zip(names, (X, y))))
    np.savez_compressed(here / "b.npz", **dict(zip(names, (X, y))))
    np.save(here / "c.npy", X[:, ::-1].astype(">f4", order="F"))
    expected = {"0": [1.0, 3.0], "1": [None, 4.0], "y": ["u", "v"]}
    assert read("a.npz") == read("b.npz") == read((X, y)) == expected
    assert read("c.npy") == {"0": [None, 4.0], "1": [1.0, 3.0]}


def test_objects_and_bytes():
    X = np.array([[1, "a", b"b", None, "7"], [2.5, None, b"", True, "x"]], object)
    y = np.array([b"u", b"v"])
    expected = {
        "0": [1, 2.5],
        "1": ["a", None],
        "2": ["b", None],
        "3": [None, True],
        "4": ["7", "x"],
    }
    assert read((X, y)) == {**expected, "y": ["u", "v"]}


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        (np.ones((2, 2, 2)), None, "the array is \\(2, 2, 2\\)"),
        (np.ones((2, 2)), np.ones(3), "y must be .* it is \\(3,\\), X \\(2, 2\\)"),
        (np.ones((2, 2), complex), None, "column '0' holds neither numbers nor text"),
        (
            np.array([[1.0, 2], [3, -np.inf]]),
            None,
            "row 1 .from 0., column '1': -inf is not finite",
        ),
    ],
)
def test_arrays_that_are_refused(here, X, y, said):
    with pytest.raises(ValueError, match=said):
        read((X,) if y is None else (X, y))
    if y is None:
        np.save(here / "t.npy", X)
        with pytest.raises(ValueError, match="t.npy.*" + said):
            read("t.npy")


def test_other_sources(here):
    np.save(here / "o.npy", np.array([None]))
    with pytest.raises(ValueError, match="Python objects"):
        read("o.npy")
    parquet.write_table(pa.table({"a": [[1], [2]]}), here / "l.parquet")
    twice = pa.Table.from_arrays([[1.5], [2.5], ["u"]], names=["a", "a", "y"])
    parquet.write_table(twice, here / "twice.parquet")
    (here / "empty").mkdir()
    for source, said in [
        ("l.parquet", "column 'a' holds neither.*ignore=.'a'."),
        ("*.csv", "\\*.csv: one file at a time"),
        ("https://x.org/a.csv", "https://x.org/a.csv: addresses are not read; download"),
        (Path("https://x.org/a.csv"), "https:/x.org/a.csv: addresses are not read; download"),
        ("twice.parquet", "twice.parquet: 2 columns are named 'a'"),
        ("empty", "empty: a folder without .parquet files"),
    ]:
        with pytest.raises(ValueError, match=said):
            read(source)
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read("none.csv")
    with pytest.raises(TypeError, match=r"a table is a path, a data frame.* not int"):
        read(3)
    (here / "link.csv").symlink_to(write(here, ONE))
    assert read("link.csv") == PLAIN


@fifos
@pytest.mark.parametrize("content", [ONE.encode(), gzip.compress(ONE.encode(), mtime=0)])
def test_a_pipe_is_read_many_times(here, content, monkeypatch):
    os.mkfifo(here / "pipe")
    threading.Thread(target=(here / "pipe").write_bytes, args=(content,)).start()
    assert read("pipe") == PLAIN
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    with open_table("-") as table:
        assert table.name == "standard input"
        for _ in range(2):
            assert [len(batch["a"]) for batch in table.batches()] == [2]


@fifos
def test_ctrl_c_ends_the_wait_for_a_pipe(here):
    os.mkfifo(here / "pipe")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from xpnet.data.readers import open_table\n"
        "print(flush=True); open_table('pipe')"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert b"KeyboardInterrupt" in process.communicate(timeout=10)[1]


def test_a_file_that_changes_is_noticed(here):
    with open_table(write(here, "a,y\n" + "1,u\n" * 1000)) as table:
        write(here, "a,y\n" + "1,u\n" * 999)
        with pytest.raises(ValueError, match=r"t\.csv: the file changed while it was read"):
            list(table.batches())


# -- the columns that are wanted ---------------------------------------------------------
TEXT = {
    "named": "b,y,a,c\n2,u,1,x\n4,v,3,x\n",
    "bare": "1,2,u\n3,4,v\n5,5,u\n",
    "two": "1,2\n3,4\n5,5\n",
    "far": "1990,1991\n" + "5,7\n6,7\n" * 3,
}
AB = {"a": [1, 3, 5], "b": [2, 4, 5]}


@pytest.mark.parametrize(
    ("text", "kinds", "target", "expected"),
    [
        ("named", "a b", None, {"a": [1, 3], "b": [2, 4]}),  # in any order, further ones ignored
        ("named", "b y", "y", {"b": [2, 4], "y": ["u", "v"]}),
        ("two", "a b", None, AB),  # as they come
        ("bare", "a b y", "y", {**AB, "y": ["u", "v", "u"]}),
        ("bare", "0 2", None, {"0": [1, 3, 5], "2": ["u", "v", "u"]}),  # by index
        ("bare", "1 2 0", "0", {"1": [2, 4, 5], "2": ["u", "v", "u"], "0": [1, 3, 5]}),
        ("far", "a b", None, {"a": [1990] + [5, 6] * 3, "b": [1991] + [7, 7] * 3}),
        ("two", "1 2", None, {"1": [1, 3, 5], "2": [2, 4, 5]}),  # the target, "0", is not there
        ("named", "0 2 1", "1", {"0": [2, 4], "2": [1, 3], "1": ["u", "v"]}),
        ("named", "a d", None, "no column 'd'; the model takes a, d; it has b, y, a, c"),
        ("named", "d e a", None, "no column 'd' .and 1 more are missing."),
        (
            "named",
            "a d",
            "d",
            "no column 'd' with the true answers: name their",
        ),
        ("bare", "a b", None, "no column 'a' .and 1 more .*; 3 columns without names"),
    ],
)
def test_columns_of_a_model(here, text, kinds, target, expected):
    path = write(here, TEXT[text])
    kinds = {name: "text" if name == "y" else "whole" for name in kinds.split()}
    if isinstance(expected, str):
        with pytest.raises(ValueError, match="t.csv: " + expected):
            read(path, kinds=kinds, target=target)
    else:
        kinds = {name: "text" if "u" in expected[name] else "whole" for name in kinds}
        assert read(path, kinds=kinds, target=target) == expected


@pytest.mark.parametrize(("features", "target"), [("0 1", "y"), ("a b", "t"), ("0 2", "1")])
def test_columns_of_a_model_in_arrays(features, target):
    X, y = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0])
    kinds = dict.fromkeys(features.split(), "number")
    assert [*read((X, y), kinds=kinds).values()] == X.T.tolist()
    found = read((X, y), kinds={**kinds, target: "number"}, target=target)
    assert found[target] == [5, 6]
    assert [found[name] for name in features.split()] == X.T.tolist()


@pytest.mark.parametrize(
    ("target", "expected"), [("b", "b"), (0, "a"), ("-1", "y"), ("1", "b"), (None, None)]
)
def test_the_target(here, target, expected):
    write(here, "a,b,y\n1,2,u\n3,4,v\n")
    with open_table("t.csv", target=target) as table:
        assert table.target == expected
    for wrong in ("c", 3, "-4"):
        with pytest.raises(ValueError, match=f"no column '{wrong}'; the columns are a, b, y$"):
            open_table("t.csv", target=wrong)


@pytest.mark.parametrize("cells", [[1, 0, 1], [1.0, 0.0, 1.0], ["1", "0", "TRUE"]])
def test_one_and_zero_are_true_and_false_to_a_model(here, cells):
    text = "a\n" + "\n".join(map(str, cells)) + "\n"
    frame = pa.table({"a": pa.array(cells)})
    for source in (frame, write(here, text)):
        assert read(source, kinds={"a": "bool"}) == {"a": [True, False, True]}
    with pytest.raises(ValueError, match=r"column 'a': 2\S* is not true or false"):
        read(pa.table({"a": [1, 0, 2]}), kinds={"a": "bool"})


def test_a_frame_of_mixed_cells_is_refused():
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="the data frame: a column holds values of several kinds"):
        open_table(pandas.DataFrame({"a": np.array([1, "p"], object)}), kinds={"a": "text"})


def test_a_known_name_makes_a_header(here):
    path = write(here, "5,x,7\n1,u,2\n3,v,4\n")
    assert [*read(path)] == ["0", "1", "2"]
    assert [*read(path, known=["x"])] == [*read(path, target="x")] == ["5", "x", "7"]


def test_what_is_said_of_a_file(here):
    for text, options, said in [
        ("x\na;b\n1;u\n2;v\n", {}, "line 2 is the header, cells are separated by ';'"),
        ("1,u\n2,v\n3,u\n", {}, "no header, cells are separated by ','"),
        ("a!b\n1!u\n", {"sep": "!"}, "line 1 is the header, cells are separated by '!'"),
        ("a\tb\n1\tu\n".encode("utf-16"), {}, "line 1 .* tabs, utf-16"),
    ]:
        with open_table(write(here, text), ReadOptions(**options)) as table:
            assert re.search("t.csv: " + said, table.described)


@pytest.mark.parametrize("command", [False, True])
@pytest.mark.parametrize(
    ("text", "options", "argument", "option"),
    [
        ("a,y\n1.5,u\n1e99,v\n", {"dtype": "float32"}, "dtype='float64'", "--dtype float64"),
        ("a,y\ninf,u\n3,v\n", {}, "missing= may name", "--missing may name"),
        ("a b,y\n$1,u\n3,v\n", {}, "column={'a b': 'category'}", "--column 'a b=category'"),
        ("a b,y\n$1,u\n3,v\n", {}, "ignore=['a b']", "--ignore 'a b'"),
        ("a;y\n3,1;u\n3;v\n", {"sep": ";"}, "decimal=','", "--decimal ,"),
        (b"a,y\n1,\xfc\n", {}, "encoding='latin-1'", "--encoding latin-1"),
        ("a\n1\n", {}, "sep=", "--sep"),
        ("a,y\n1,2\n", {}, "target=", "--target"),
        (
            "a,y\n1,2\n",
            {"column": [("a", "bool"), ("a", "date")]},
            "column={'a': 'date'} and column={'a': 'bool'} contradict",
            "--column a=date and --column a=bool contradict",
        ),
        (
            "a,y\n1,2\n",
            {"column": {"a": "bool"}, "ignore": ["a"]},
            "column={'a': 'bool'} and ignore=['a'] contradict",
            "--column a=bool and --ignore a contradict",
        ),
        ("a,y\n1,2\n", {"column": {"a": "what"}}, "'what' is none of number", "is none of number"),
    ],
)
def test_a_cure_is_an_argument_or_an_option(here, text, options, argument, option, command):
    path, options = write(here, text), options | {"command": command}
    with pytest.raises(ValueError, match=re.escape(option if command else argument)):
        read(path, options) and open_table(path, ReadOptions(**options)).answers()


@pytest.mark.parametrize("kind", ["parquet", "pyarrow", "polars", "dictionary"])
def test_dates_that_are_text_are_dates_in_typed_tables_too(here, kind):
    table = pa.table(
        {
            "d": ["2020-01-31", "NA", None, "2020-01-31T00:00"],
            "e": ["31.01.2020", "31.01.2020", "", None],
            "t": ["31.01.2020", "2020-01-31", "x", None],
            "n": ["1", "2", "3", "4"],  # the type says that it is text
        }
    )
    source = {"polars": polars.from_arrow(table), "parquet": "t.parquet"}.get(kind, table)
    if kind == "parquet":
        parquet.write_table(table, "t.parquet")
    elif kind == "dictionary":
        source = pa.table(
            {x: table[x].combine_chunks().dictionary_encode() for x in table.column_names}
        )
    assert read(source) == {
        "d": [DAY, None, None, DAY],
        "e": [DAY, DAY, None, None],
        "t": ["31.01.2020", "2020-01-31", "x", None],
        "n": ["1", "2", "3", "4"],
    }
    with open_table(source, ReadOptions(column={"d": "category"})) as opened:
        assert [*opened.kinds.values()] == ["text", "date %d.%m.%Y", "text", "text"]


@pytest.mark.parametrize("cell", ["2", "x", "0.5"])
def test_what_cannot_be_true_or_false_is_named_by_its_line(here, cell):
    write(here, f"a,y\n1,u\n0,v\n{cell},u\n")
    with pytest.raises(ValueError, match=f"line 4, column 'a': .*{cell}.* is not true or false"):
        read("t.csv", {"column": {"a": "bool"}})


def test_a_column_that_is_not_used_may_be_gone(here):
    kinds = {"a": "whole", "b": "unused", "c": "whole"}
    for text in ("a,c\n1,2\n", "c,b,a\n2,x,1\n", "1,9,2\n"):
        assert read(write(here, text), kinds=kinds) == {"a": [1], "c": [2]}
    with pytest.raises(ValueError, match=r"no column 'a' .and 1 more"):
        read(write(here, "1,2\n3,4\n"), {"header": False}, kinds=kinds)


def test_kinds_that_are_chosen(here):
    path = write(here, "a,b,c,d\n1,2,1/2/2020,9\n3,x,3/4/2020,8\n")
    column = {"a": "category", "b": "number", "c": "date"}
    with open_table(path, ReadOptions(column=column, ignore=["d"])) as table:
        assert table.kinds == {"a": "text", "b": "number", "c": "date %m/%d/%Y"}
        with pytest.raises(ValueError, match="line 3, column 'b': 'x' is not a number"):
            list(table.batches())
    with pytest.raises(ValueError, match="no column 'e'; it has a, b, c, d"):
        open_table(path, ReadOptions(column={"e": "category"}))


@pytest.mark.parametrize(
    ("kind", "cell"),
    [("bool", "yes"), ("date", "31.1.2020"), ("number", "1_000"), ("whole", "x" * 99)],
)
def test_cells_that_do_not_fit(here, kind, cell):
    write(here, f"a\n{cell}\n")
    with pytest.raises(ValueError, match=f"line 2, column 'a': '{cell[:30]}.* is not "):
        read("t.csv", {"header": True}, kinds={"a": kind})
    with pytest.raises(ValueError, match=f"row 0 .from 0., column 'a': '{cell[:30]}"):
        read(pa.table({"a": [cell]}), kinds={"a": kind})
    with pytest.raises(ValueError, match=r"row 0 .*: the column holds dates, not "):
        read(pa.table({"a": [DAY]}), kinds={"a": "bool" if kind == "date" else kind})


@pytest.mark.parametrize("kind", ["number", "whole", "bool", "date", "text"])
@pytest.mark.parametrize(
    "cells",
    [pa.nulls(2), pa.array([np.nan] * 2), pa.nulls(2, pa.bool_()), pa.nulls(2, pa.date32())],
    ids=lambda cells: str(cells.type),
)
def test_a_column_without_a_value_fits_every_kind(kind, cells):
    assert read(pa.table({"a": cells}), kinds={"a": kind}) == {"a": [None, None]}


def test_the_first_cell_that_is_there_is_named():
    with pytest.raises(ValueError, match=r"row 1 .*: the column holds numbers, not a date"):
        read(pa.table({"a": [np.nan, 1.5]}), kinds={"a": "date"})
    with pytest.raises(ValueError, match="column 'a': the column holds neither numbers nor text"):
        read(pa.table({"a": [[1]]}), kinds={"a": "text"})


# -- many rows ---------------------------------------------------------------------------
def test_types_are_those_of_whole_columns(here):
    """Blocks of a file look like numbers, or have none, until one cell does not."""
    rows = [[i / 4, i, "", "2020-01-01", i % 2 == 0, f"{i % 3}", "0"] for i in range(60_000)]
    rows[50_000] = ["x", 2.5, 7, "2020-13-01", "maybe", "3+", "007"]
    with open("t.csv", "w", newline="") as file:
        csv.writer(file).writerows([list("abcdefg"), *rows])
    with pytest.raises(ValueError, match=r"column 'a': most .* not 'x' in line 50002"):
        read("t.csv")
    column = {"a": "category", "g": "category"}
    with open_table("t.csv", ReadOptions(column=column)) as table:
        assert [*table.kinds.values()] == [
            "text",
            "number",
            "whole",
            "text",
            "text",
            "text",
            "text",
        ]
        assert table.where(50_000, "a") == "t.csv, line 50002, column 'a'"
        got = [batch["c"].values[~batch["c"].missing] for batch in table.batches(["c"], 999)]
        assert np.concatenate(got).tolist() == [7]
    with pytest.raises(ValueError, match=r"line 50002, column 'a': 'x' is not a number"):
        read("t.csv", kinds={"b": "number", "a": "number"})


def test_a_word_above_far_numbers_is_a_header(here):
    text = "1,y\n" + "1,\n" * 100 + "3,4\n" * 9
    expected = {"1": [1] * 100 + [3] * 9, "y": [None] * 100 + [4] * 9}
    path = write(here, text)
    assert read(path) == expected
    if not hasattr(os, "mkfifo"):
        return
    os.mkfifo(here / "pipe")  # which cannot be opened again
    threading.Thread(target=(here / "pipe").write_text, args=(text,)).start()
    assert read("pipe") == expected


@pytest.mark.parametrize("piece", [2**20, 64])
def test_the_rows_are_those_of_the_csv_module(here, monkeypatch, piece):
    monkeypatch.setattr("xpnet.data.text_format._PIECE", piece)
    rng = np.random.default_rng(0)
    words = ["", "a", 'b "c"', "d,e", "f\ng", " h ", '"', "NAN", "ü"]
    rows = [[i, *rng.choice(words, 3)] for i in range(20_000)]
    with open("t.csv", "w", newline="") as file:
        csv.writer(file).writerows([list("abcd"), *rows])
    expected = {name: [row[i] for row in rows] for i, name in enumerate("abcd")}
    for name in "bcd":
        expected[name] = [cell.strip() or None for cell in expected[name]]
    assert read("t.csv") == expected


def test_numbers_are_those_of_pandas(here):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5000, 4)) * 10.0 ** rng.integers(-300, 38, (5000, 4))
    np.savetxt("t.csv", X, delimiter=",", header="a,b,c,d", comments="")
    expected = pandas.read_csv("t.csv", dtype=str).astype(float)
    found = read("t.csv")
    for name in "abcd":
        assert found[name] == expected[name].tolist()


@pytest.mark.parametrize("n", [20_000, 40_000])
def test_cost_is_linear_in_columns(here, n):
    names = ",".join(f"c{i}" for i in range(n))
    write(here, f"{names}\n" + (",".join(["1.5"] * n) + "\n") * 3)
    begin = time.perf_counter()
    with open_table("t.csv", kinds={f"c{i}": "number" for i in range(n)}) as table:
        (batch,) = table.batches()
    assert time.perf_counter() - begin < n / 4000
    assert len(batch) == n
