"""The four readings of a matrix product: each gives the product, and is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from plotting_helpers import new_ax, plt, texts

from xpnet.plotting import ProductDisplay
from xpnet.plotting.product import READINGS


def matrices(shape, lib=None):
    rng = np.random.default_rng(0)
    W, A = rng.normal(size=shape[:2]), rng.normal(size=shape[1:])
    return (W, A) if lib is None else (lib.asarray(W), lib.asarray(A))


def test_each_reading_is_the_product(lib):
    display = ProductDisplay.from_matrices(*matrices((4, 3, 2), lib), ax=new_ax())
    W, A = matrices((4, 3, 2))
    assert list(display.products) == list(READINGS)
    for product in display.products.values():
        np.testing.assert_allclose(product, np.einsum("ik,kj->ij", W, A), rtol=1e-12)
    drawn = texts(display.ax_)
    assert set(READINGS.values()) <= set(drawn)
    for number in (W @ A).ravel():
        assert drawn.count(f"{number:.3g}") >= 3


@pytest.mark.parametrize("shape", [(1, 1, 1), (6, 6, 6), (1, 6, 2), (5, 1, 6)])
def test_nothing_overlaps_and_all_fits(shape):
    display = ProductDisplay.from_matrices(*matrices(shape))
    display.figure_.canvas.draw()
    left, right = display.ax_.get_window_extent().x0, display.ax_.get_window_extent().x1
    cells = [patch.get_window_extent() for patch in display.ax_.patches]
    assert min(c.x0 for c in cells) >= left - 1
    assert max(c.x1 for c in cells) <= right + 1
    numbers = [t.get_window_extent() for t in display.text_ if t.get_text()[-1].isdigit()]
    assert max(n.width for n in numbers) < cells[0].width
    areas = {(round(c.x0), round(c.y0)) for c in cells}
    assert len(areas) == len(cells)
    plt.close(display.figure_)


def test_a_reading_that_is_wrong_is_refused(monkeypatch):
    right = np.stack
    monkeypatch.setattr("xpnet.plotting.product.np.stack", lambda *a: 1.001 * right(*a))
    with pytest.raises(ArithmeticError, match="columns weighted"):
        ProductDisplay.from_matrices(*matrices((2, 2, 2)), ax=new_ax())


@pytest.mark.parametrize(
    ("W", "A", "message"),
    [
        (np.ones((2, 3)), np.ones((2, 3)), r"W \(2, 3\) and A \(2, 3\): expected"),
        (np.ones((7, 3)), np.ones((3, 1)), "1 to 6 rows"),
        (np.ones((2, 0)), np.ones((0, 1)), "1 to 6 rows"),
        (np.ones(2), np.ones((2, 1)), "expected"),
    ],
)
def test_bad_matrices(W, A, message):
    with pytest.raises(ValueError, match=message):
        ProductDisplay.from_matrices(W, A, ax=new_ax())


def test_another_column_and_row():
    W, A = matrices((3, 2, 4))
    display = ProductDisplay.from_matrices(W, A, ax=new_ax(), column=3, row=2)
    assert texts(display.ax_).count(f"{A[1, 3]:.3g}") == 5  # as a weight twice, and in A
    with pytest.raises(ValueError, match="column=4, row=0"):
        display.plot(new_ax(), column=4)


def test_one_reading_by_itself():
    W, A = matrices((3, 2, 4))
    display = ProductDisplay.from_matrices(W, A, ax=new_ax(), readings="by rows")
    drawn = texts(display.ax_)
    assert [text for text in drawn if text in READINGS.values()] == [READINGS["by rows"]]
    assert len(drawn) == 2 + 3 * 2 + 2 * 4 + 3 * 4  # the sentence, "=", and the entries
    with pytest.raises(ValueError, match="readings=\\['rows'\\]: choose of"):
        display.plot(new_ax(), readings=["rows"])
