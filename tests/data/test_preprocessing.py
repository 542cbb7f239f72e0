"""The preprocessor, held against scikit-learn's transformers and Python's datetime."""

import json
from datetime import datetime, timedelta
from math import cos, pi, sin

import numpy as np
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, RobustScaler, StandardScaler

from xpnet.data import preprocessing
from xpnet.data.column import Column
from xpnet.data.preprocessing import Preprocessor, PreprocessorSettings
from xpnet.data.standardizer import Standardizer
from xpnet.data.task import class_numbers, labels_of

RNG = np.random.default_rng(13)
M = 3000
NO = np.zeros(M, bool)
EPOCH = datetime(1970, 1, 1)


def text(cells):
    """A column of texts; None is missing."""
    codes: dict[str, int] = {}
    values = [-1 if cell is None else codes.setdefault(cell, len(codes)) for cell in cells]
    return Column(np.array(values, np.int32), np.array(values) < 0, tuple(codes))


def numbers(values, missing=None):
    values = np.asarray(values)
    return Column(values, np.zeros(len(values), bool) if missing is None else missing)


def dates(cells):
    values = np.array(cells, "M8[us]")
    return Column(values, np.isnat(values))


def fit(settings=None, **columns):
    return Preprocessor.fit([columns], settings)


def chunked(batch, sizes):
    ends = np.cumsum(sizes)
    return [
        {name: column[end - size : end] for name, column in batch.items()}
        for size, end in zip(sizes, ends, strict=True)
    ]


@pytest.mark.parametrize("dtype", ["f4", "f8", "i8"])
@pytest.mark.parametrize("n", [1, 5])
def test_a_table_of_numbers_is_what_it_was(dtype, n):
    X = (RNG.normal(size=(M, n)) * 1000 + 50).astype(dtype)
    batch = {str(i): numbers(column) for i, column in enumerate(X.T)}
    made = Preprocessor.fit([batch])
    before = Standardizer.fit(X)
    assert made.standardizer.mean.tobytes() == before.mean.tobytes()
    assert made.standardizer.scale.tobytes() == before.scale.tobytes()
    E = made.encode(batch)
    assert (made.names, E.dtype) == (tuple(batch), np.dtype("f4" if dtype == "f4" else "f8"))
    np.testing.assert_array_equal(made.standardize(E), before.apply(X, E.dtype))


def test_missing_numbers_against_scikit_learn():
    X = RNG.normal(size=(M, 3)) * [1, 1e-6, 1e9] + [0, 1, 1e10]
    X[RNG.random((M, 3)) < [0.4, 0.0, 0.9]] = np.nan
    batch = {name: numbers(column) for name, column in zip("abc", X.T, strict=True)}
    made = Preprocessor.fit(chunked(batch, [1, 0, 10, 1989, 1000]))
    assert made.names == ("a", "a missing", "b", "c", "c missing")
    imputed = SimpleImputer(strategy="median", add_indicator=True).fit_transform(X)
    expected = np.column_stack([imputed[:, [0]], imputed[:, 3:4], imputed[:, 1:3], imputed[:, 4:]])
    np.testing.assert_allclose(made.encode(batch), expected, rtol=1e-14)
    Z = made.standardize(made.encode(batch))
    scaled = StandardScaler().fit_transform(imputed[:, :3])
    np.testing.assert_allclose(Z[:, [0, 2, 3]], scaled, rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(Z[:, [1, 4]], np.isnan(X[:, [0, 2]]))


def test_a_number_missing_at_prediction_alone_is_the_median():
    made = fit(a=numbers([1.0, 2.0, 9.0]))
    assert made.encode({"a": numbers([np.nan, 4.0])}).tolist() == [[2.0], [4.0]]


def test_robust_scale_against_scikit_learn():
    X = RNG.standard_cauchy((M, 2))
    X[RNG.random(M) < 0.2, 1] = np.nan
    rare = np.where(np.arange(M) < 10, 8.0, 2.0)  # no interquartile range
    columns = {"a": numbers(X[:, 0]), "b": numbers(X[:, 1]), "rare": numbers(rare)}
    made = fit(PreprocessorSettings(robust=True), **columns)
    Z = made.standardize(made.encode(columns))
    z = RobustScaler().fit_transform(X)
    z = np.column_stack([z[:, 0], np.nan_to_num(z[:, 1]), (rare - 2) / 3])
    np.testing.assert_allclose(Z[:, [0, 1, 3]], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-12)
    assert np.abs(Z).max() < 3
    np.testing.assert_array_equal(Z[:, 2], np.isnan(X[:, 1]))  # flags are not squashed


@pytest.mark.parametrize("missing", [0.0, 0.1])
def test_categories_against_scikit_learn(missing):
    letters = RNG.choice(list("abcdef"), M, p=[0.4, 0.3, 0.2, 0.098, 0.001, 0.001])
    cells = [None if RNG.random() < missing else str(letter) for letter in letters]
    cells[:30] = [f"rare {i}" for i in range(30)]
    made = fit(c=text(cells))
    there = np.array([cell for cell in cells if cell is not None])[:, None]
    least = max(2, len(there) // 1000)
    encoder = OneHotEncoder(min_frequency=least, handle_unknown="infrequent_if_exist").fit(there)
    seen = [*"abcdef", "rare 7", "unseen"]
    found = made.encode({"c": text([*seen, None])})
    width = len(encoder.get_feature_names_out())
    expected = encoder.transform(np.array(seen)[:, None]).toarray()
    np.testing.assert_array_equal(found[:-1, :width], expected)
    assert made.names[: width - 1] == tuple(f"c={x}" for x in "abcdef" if cells.count(x) >= least)
    assert made.names[width - 1 :] == ("c other", "c missing")[: 2 if missing else 1]
    at = made.names.index("c missing" if missing else "c other")
    assert np.flatnonzero(found[-1]).tolist() == [at]
    np.testing.assert_array_equal(made.standardize(found), found)


def test_without_rare_categories_an_unseen_one_is_zeros():
    made = fit(c=text([*["a", "b"] * 100, *map(str, range(19))]))  # 20 would be enough for others
    assert len(made.names) == 21
    E = made.encode({"c": text(["7", "b", "c", None])})
    ones = [[name for name, x in zip(made.names, row, strict=True) if x] for row in E]
    assert ones == [["c=7"], ["c=b"], [], []]


def test_more_texts_than_memory_should_hold_are_no_categories(monkeypatch):
    monkeypatch.setattr(preprocessing, "_MOST_TEXTS", 5)
    batch = {"x": numbers(range(8)), "c": text("aabcdefg"), "d": text("aabbccdd")}
    made = Preprocessor.fit([batch] * 3)
    assert (made.names[0], made.sources) == ("x", {"x": "number", "d": "text"})
    assert "c (identifier or free text, more than 5 different)" in made.described[-1]


def test_at_most_256_categories():
    made = fit(c=text([f"{i:03}" for i in range(300) for _ in range(2 + i)]))
    assert made.names == (*(f"c={i:03}" for i in range(44, 300)), "c other")


def test_dates_against_datetime():
    days = [EPOCH + timedelta(seconds=float(s)) for s in RNG.integers(-(10**9), 2 * 10**9, M)]
    made = fit(d=dates(days))
    expected = []
    for day in days:
        start = datetime(day.year, 1, 1)
        midnight = datetime(day.year, day.month, day.day)
        turns = (midnight - start).days / 365.25, day.weekday() / 7, (day - midnight) / timedelta(1)
        expected.append([day.year, *(f(2 * pi * t) for t in turns for f in (sin, cos))])
    np.testing.assert_allclose(made.encode({"d": dates(days)}), expected, atol=2e-7)
    parts = ("year", "yearday sin", "yearday cos", "weekday sin", "weekday cos", "time sin")
    assert made.names == (*(f"d {part}" for part in parts), "d time cos")
    assert made.described == ("dates: d (year, yearday, weekday, time)",)


def test_parts_of_a_date_that_do_not_vary_are_left_out():
    days = dates(["2024-01-01", "2024-02-05", "NaT", "2024-03-04"])  # Mondays
    made = fit(d=days)
    assert made.names == ("d yearday sin", "d yearday cos", "d missing")
    E = made.encode({"d": days})
    np.testing.assert_allclose(E[2], [*np.median(E[[0, 1, 3], :2], axis=0), 1])


def test_true_and_false_stay_1_and_0():
    b = Column(np.array([True, True, False, True]), np.array([False, False, False, True]))
    made = fit(b=b)
    E = made.encode({"b": b})
    assert (made.names, E.dtype) == (("b", "b missing"), np.float32)
    assert E.tolist() == made.standardize(E).tolist() == [[1, 0], [1, 0], [0, 0], [1, 1]]


@pytest.mark.parametrize(
    ("column", "why"),
    [
        (text(["a"] * M), "constant"),
        (dates(["2020-01-01"] * M), "constant"),
        (numbers(np.full(M, np.nan)), "missing in every row"),
        (text([None] * M), "missing in every row"),
        (
            text([f"name {i}" for i in range(M)]),
            "identifier or free text, 3,000 different in 3,000",
        ),
        (text([f"name {i // 2}" if i < 1000 else f"{i}" for i in range(M)]), "2,500 different in"),
    ],
)
def test_columns_that_are_left_out(column, why):
    x = numbers(np.arange(M))
    made = fit(x=x, c=column)
    assert (made.names, made.sources) == (("x",), {"x": "number"})
    assert made.described[0] == "numbers: x"
    assert made.described[1].startswith(f"left out: c ({why}") or why in made.described[1]
    with pytest.raises(ValueError, match=rf"no column is left to learn from \(c: .*{why}"):
        fit(c=column)


def test_a_constant_number_keeps_its_place():
    """So that tables of numbers make the nets that they made before there were other tables."""
    columns = {"x": numbers([1.0, 2.0]), "c": numbers([7.0, 7.0])}
    made = fit(**columns)
    assert (made.names, made.standardizer.scale.tolist()) == (("x", "c"), [0.5, 0])
    assert made.described == ("numbers: x", "left out: c (constant, 7 as float64)")
    np.testing.assert_array_equal(made.standardize(made.encode(columns)), [[-1, 0], [1, 0]])
    assert made.sources == {"x": "number", "c": "unused"}
    np.testing.assert_array_equal(
        made.standardize(made.encode({"x": columns["x"]})), [[-1, 0], [1, 0]]
    )
    made = fit(x=numbers([1, 2, 3, 4]), c=numbers([7] * 4), t=text("uuvv"))
    assert made.sources == {"x": "number", "c": "unused", "t": "text"}
    E = made.encode({"x": columns["x"], "t": text("vu")})
    assert E[:, [0, 2, 3]].tolist() == [[1, 0, 1], [2, 1, 0]]
    with pytest.raises(ValueError, match="no column is left"):
        fit(c=columns["c"])


@pytest.mark.parametrize("name", ["id", "ID", "row_id", "PassengerId", "customerID", "the id"])
def test_whole_numbers_that_are_identifiers(name):
    x = numbers(RNG.normal(size=M))
    shuffled = RNG.permutation(M) + 1000
    made = fit(**{"x": x, name: numbers(shuffled)})
    assert (made.names, made.described[1]) == (
        ("x",),
        f"left out: {name} (identifier, a whole number of its own for each row)",
    )
    kept = [
        ({"x": x, "paid": numbers(shuffled)}, None),
        ({"x": x, name: numbers(shuffled // 2)}, None),
        ({"x": x, name: numbers(shuffled + 0.5)}, None),
        ({"x": x, name: numbers(shuffled)}, PreprocessorSettings(kinds={name: "number"})),
    ]
    for columns, settings in kept:
        assert fit(settings, **columns).names == tuple(columns)


def test_what_is_constant_but_where_it_is_missing():
    for column in (
        numbers([5, np.nan, 5.0]),
        text(["a", None, "a"]),
        dates(["2020-01-01", "", ""]),
    ):
        made = fit(c=column)
        assert made.names == ("c missing",)
        missing = column.absent.sum()
        assert made.described == (f"one value, or missing: c ({missing} missing)",)
        assert made.encode({"c": column})[:2].tolist() == [[0], [1]]


@pytest.mark.parametrize("values", [[2**53 + 1, 2**53], [1e300, 1e300]])
def test_what_float64_cannot_tell_apart_is_said_to_be_constant_there(values):
    made = fit(x=numbers([1.0, 2.0]), c=numbers(np.array(values)))
    assert made.described[1] == f"left out: c (constant, {float(values[1]):.17g} as float64)"


def test_the_user_decides():
    settings = PreprocessorSettings(
        kinds={"zip": "category", "flag": "bool", "name": "category", "row": "number"},
        row_numbers=("", "row"),
    )
    m = np.arange(12)
    columns = {
        "": numbers(m),
        "row": numbers(m),
        "zip": numbers(np.where(m < 6, 8001, 3012)),
        "flag": numbers(m % 2),
        "name": text(list("abcdefghijkl")),
    }
    made = fit(settings, **columns)
    expected = ("row", "zip=3012", "zip=8001", "flag", *(f"name={x}" for x in "abcdefghijkl"))
    assert made.names == expected
    assert made.sources == {"row": "number", "zip": "whole", "flag": "number", "name": "text"}
    assert made.described[-1] == "left out: the unnamed column (row numbers)"
    E = made.encode(columns | {"zip": text(["8001"] * 12)})  # digits as text are the same
    assert E[1].tolist() == [1, 0, 1, 1, 0, 1, *[0] * 10]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kinds": {"a": "bool"}}, "column 'a': 3 is not true or false"),
        ({"kinds": {"t": "number"}}, "column 't': the column holds text, not a number"),
        ({"kinds": {"d": "number"}}, "column 'd': the column holds dates, not a number"),
        ({"kinds": {"a": "date"}}, "column 'a': the column holds numbers, not a date"),
    ],
)
def test_settings_that_do_not_fit(settings, said):
    columns = {"a": numbers([3, 1, 4]), "t": text("xyx"), "d": dates(["2020-01-01"] * 3)}
    with pytest.raises(ValueError, match=said):
        fit(PreprocessorSettings(**settings), **columns)


def test_what_cannot_be_learnt_from():
    for batches in ([], [{"a": numbers([])}]):
        with pytest.raises(ValueError, match="no rows"):
            Preprocessor.fit(batches)


def a_table():
    X = np.where(RNG.random((M, 2)) < 0.1, np.nan, RNG.normal(size=(M, 2)))
    letters = [None if x < 0.1 else "abcd"[int(4 * x)] for x in RNG.random(M)]
    days = EPOCH + RNG.random(M) * timedelta(3000)
    return {
        "x": numbers(X[:, 0]),
        "letter": text(letters),
        "day": dates(days),
        "y": numbers(X[:, 1]),
        "yes": Column(RNG.random(M) < 0.7, RNG.random(M) < 0.1),
    }


def test_batches_of_any_size_and_files_give_the_same():
    batch = a_table()
    made = Preprocessor.fit([batch])
    E = made.encode(batch)
    pieces = chunked(batch, [7, 1, 0, 1992, 1000])
    again = Preprocessor.fit(pieces)
    np.testing.assert_array_equal(np.concatenate([again.encode(piece) for piece in pieces]), E)
    np.testing.assert_allclose(again.standardizer.mean, made.standardizer.mean, rtol=1e-9)
    assert again.described == made.described
    saved = json.loads(json.dumps(made.to_json()))
    read = Preprocessor.from_json(saved, made.standardizer, made.fill)
    assert (read.columns, read.names) == (made.columns, made.names)
    reordered = {"more": batch["x"]} | dict(reversed(batch.items()))
    np.testing.assert_array_equal(read.encode(reordered), E)
    twice = Preprocessor.fit([batch])
    assert twice.standardizer.mean.tobytes() == made.standardizer.mean.tobytes()


def test_quartiles_of_many_rows_come_from_a_seeded_sample():
    x = np.random.default_rng(0).normal(size=250_000)
    x[::5] = np.nan
    fills = []
    for seed, sizes in ((0, [250_000]), (0, [90_000, 90_000, 70_000]), (1, [250_000])):
        settings = PreprocessorSettings(seed=seed)
        fills.append(Preprocessor.fit(chunked({"x": numbers(x)}, sizes), settings).fill[0])
    assert fills[0] == fills[1] != fills[2]
    assert abs(fills[0] - np.nanmedian(x)) < 0.02


@pytest.mark.parametrize(
    "change",
    [
        {"encodings": 3},
        {"encodings": [{"name": "a"}]},
        {"encodings": [{"name": "a", "kind": "what"}]},
        {"encodings": [{"name": 1, "kind": "number"}]},
        {"encodings": [{"name": "a", "kind": "number", "more": 1}]},
        {"encodings": [{"name": "a", "kind": "category", "parts": ["a", "a"]}]},
        {"encodings": [{"name": "a", "kind": "category", "parts": [["a"]]}]},
        {"encodings": [{"name": "a", "kind": "date", "parts": ["era"]}]},
        {"encodings": [{"name": "a", "kind": "date"}]},
        {"encodings": [{"name": "a", "kind": "number", "parts": ["a"]}]},
        {"encodings": [{"name": "a", "kind": "category", "other": 1}]},
        {"encodings": [{"name": "a", "kind": "category", "other": True, "flag": "x"}]},
        {"encodings": [{"name": "a", "kind": "number"}] * 2},
        {"encodings": [["a"]]},
        {"robust": None, "encodings": None},
    ],
)
def test_damaged_json(change):
    made = fit(a=numbers([1, 2]))
    saved = made.to_json() | change
    with pytest.raises(ValueError, match=r"damaged|encod"):
        Preprocessor.from_json(saved, made.standardizer, made.fill)


def test_changed_json_is_refused_or_encodes_columns():
    batch = a_table()
    made, few = Preprocessor.fit([batch]), {name: column[:9] for name, column in batch.items()}
    rng, refused = np.random.default_rng(0), 0
    odd = [None, True, 0, -1, 2.5, "", "date", "x", [], ["x"], [[]], {}, {"name": "x"}]
    for _ in range(500):
        saved = json.loads(json.dumps(made.to_json()))
        node = saved
        while True:  # walk down, and change what is there
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = keys[rng.integers(len(keys))]
            if not isinstance(node[key], dict | list) or not node[key] or rng.random() < 0.3:
                break
            node = node[key]
        node[key] = odd[rng.integers(len(odd))]
        try:
            read = Preprocessor.from_json(saved, made.standardizer, made.fill)
            if set(read.sources) <= set(batch):
                assert read.encode(few).shape == (9, len(made.names))
        except ValueError:
            refused += 1
    assert 200 < refused < 500


# -- labels ------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("column", "labels"),
    [
        (text(["b", None, "a", "b"]), ["b", "a", "b"]),
        (numbers(np.array([2**62 + 1, 7])), [2**62 + 1, 7]),
        (numbers([1.5, np.nan]), [1.5]),
        (Column(np.array([True, False]), np.array([False, True])), [True]),
    ],
)
def test_labels_without_missing_ones(column, labels):
    found = labels_of(column, "y")
    assert (found.tolist(), found.dtype.kind) == (labels, "U" if column.texts else found.dtype.kind)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (numbers([np.nan]), "missing in every row"),
        (dates(["2020-01-01"]), "holds dates"),
    ],
)
def test_no_labels(column, said):
    with pytest.raises(ValueError, match=f"the target 'y' .*{said}"):
        labels_of(column, "y")


@pytest.mark.parametrize(
    ("classes", "column", "codes"),
    [
        (["a", "b"], text(["b", "c", None, "a"]), [1, -1, -1, 0]),
        ([3, 5], numbers([5.0, 4.0, np.nan]), [1, -1, -1]),
        (["1", "2+"], numbers([1, 2]), [0, -1]),
        ([False, True], Column(np.array([True, False]), np.zeros(2, bool)), [1, 0]),
        ([0.5, 2.0], text(["2", "0.5", "x"]), [1, 0, -1]),
    ],
)
def test_class_numbers(classes, column, codes):
    assert class_numbers(column, np.array(classes)).tolist() == codes
