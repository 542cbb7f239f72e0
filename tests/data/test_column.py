"""Columns of a table keep their cells when they are cut and joined."""

import numpy as np
import pytest

from xpnet.data.column import Column, counted, listed


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (np.array([1.5, 2.0]), "number"),
        (np.array([1, 2**60]), "number"),
        (np.array([True, False]), "bool"),
        (np.array(["2020-02-29", "1969-01-01"], "M8[us]"), "date"),
    ],
)
def test_columns_of_values_are_joined(values, kind):
    column = Column(values, np.array([False, True]))
    whole = Column.join([column, column[1:], column[np.array([0])]])
    assert whole.kind == kind
    np.testing.assert_array_equal(whole.values, values[[0, 1, 1, 0]])
    np.testing.assert_array_equal(whole.missing, [False, True, True, False])


def test_texts_of_pieces_with_other_codes_are_joined():
    first = Column(np.array([0, 1, -1], np.int32), np.array([False, False, True]), ("b", "a"))
    second = Column(np.array([0, 1], np.int32), np.array([False, False]), ("a", "c"))
    whole = Column.join([first, second])
    assert (whole.kind, whole.texts) == ("text", ("b", "a", "c"))
    assert [whole.texts[i] for i in whole.values[~whole.missing]] == ["b", "a", "a", "c"]
    assert whole.missing.tolist() == [False, False, True, False, False]


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a", "b\nc"], r"a, b\nc"), (["\x1b[1m", "ü"], r"\x1b[1m, ü"), ("abc", "a, b and 1 more")],
)
def test_names_are_listed_in_one_line(names, said):
    assert listed(names, 2) == said


def test_one_row_is_no_rows():
    assert [counted(n, "row") for n in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]
