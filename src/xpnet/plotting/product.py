"""``ProductDisplay``: the four ways to read a product of two matrices, on matrices of one's own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.plotting.shared import axes_for, colour, points_of

MOST = 6  # rows or columns that can be read
PALE = 0.4  # opacity of the colours: the numbers in them are read on light and dark pages
READINGS = {
    "columns weighted": "a column of A weighs the columns of W",
    "rows times column": "a row of W times a column of A gives one entry",
    "by columns": "W times each column of A gives a column",
    "by rows": "each row of W times A gives a row",
}


@dataclass(eq=False)
class ProductDisplay:
    """The product ``W @ A``, read in four ways, each computed and drawn.

    Make it with ``from_matrices``.

    Parameters
    ----------
    W, A : ndarray (n_out, n_in) and (n_in, m)
        The matrices.
    products : dict of str to ndarray (n_out, m)
        What each reading gives: "columns weighted", "rows times column", "by columns", "by rows".

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What it was drawn on.
    text_ : list of matplotlib Text
        Sentences, signs and numbers.

    Examples
    --------
    >>> import numpy as np, xpnet
    >>> W, A = np.array([[1, 2], [3, 4]]), np.array([[5, 6, 7], [8, 9, 10]])
    >>> display = xpnet.plotting.ProductDisplay.from_matrices(W, A)
    >>> display.products["columns weighted"][:, 0]
    array([21., 47.])
    """

    W: np.ndarray
    A: np.ndarray
    products: dict[str, np.ndarray]

    @classmethod
    def from_matrices(cls, W: Any, A: Any, *, ax: Any = None, **options: Any) -> ProductDisplay:
        """Compute ``W @ A`` in the four ways, compare them with it, and draw them.

        Parameters
        ----------
        W, A : array (n_out, n_in) and (n_in, m)
            Both of any library, with at most 6 rows and columns.
        ax : matplotlib axes, optional
            A new figure if left out.
        **options
            Options of ``plot``.

        Returns
        -------
        ProductDisplay
            It is drawn.

        Raises
        ------
        ValueError
            Shapes that do not fit, or are too large to be read.
        ArithmeticError
            A reading gives something else than ``W @ A``.

        Examples
        --------
        >>> import numpy as np, xpnet
        >>> display = xpnet.plotting.ProductDisplay.from_matrices(np.eye(3), np.ones((3, 2)))
        >>> display.products["by rows"].shape
        (3, 2)
        """
        W, A = (to_numpy(x).astype(np.float64) for x in (W, A))
        if W.ndim != 2 or A.ndim != 2 or W.shape[1] != A.shape[0]:
            raise ValueError(f"W {W.shape} and A {A.shape}: expected (n_out, n_in) and (n_in, m)")
        if not 0 < min(W.shape + A.shape) <= max(W.shape + A.shape) <= MOST:
            raise ValueError(f"W {W.shape}, A {A.shape}: draw 1 to {MOST} rows and columns of each")
        (n_out, n_in), m = W.shape, A.shape[1]
        weighted = [sum(A[k, j] * W[:, k] for k in range(n_in)) for j in range(m)]
        entries = [[np.sum(W[i] * A[:, j]) for j in range(m)] for i in range(n_out)]
        columns, rows = [W @ A[:, j] for j in range(m)], [W[i] @ A for i in range(n_out)]
        results = np.stack(weighted, 1), np.array(entries), np.stack(columns, 1), np.stack(rows)
        products = dict(zip(READINGS, results, strict=True))
        for reading, found in products.items():
            if not np.allclose(found, W @ A, equal_nan=True):
                raise ArithmeticError(f"{reading}: {found.tolist()}, but W @ A is {W @ A}")
        return cls(W, A, products).plot(ax, **options)

    def plot(
        self,
        ax: Any = None,
        *,
        column: int = 0,
        row: int = 0,
        readings: str | Iterable[str] = tuple(READINGS),
    ) -> ProductDisplay:
        """Draw the readings below each other.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        column, row : int
            The column of A and the row of W that the first two readings show.
        readings : str or iterable of str
            The names, in ``products``, of those to draw.

        Returns
        -------
        ProductDisplay
            This one.

        Raises
        ------
        ValueError
            There is no such column, row or reading.

        Examples
        --------
        >>> import numpy as np, xpnet
        >>> display = xpnet.plotting.ProductDisplay.from_matrices(np.eye(3), np.ones((3, 2)))
        >>> display.plot(column=1).figure_ is display.figure_
        True
        """
        W, A, (n_out, n_in), m = self.W, self.A, self.W.shape, self.A.shape[1]
        if not (0 <= column < m and 0 <= row < n_out):
            raise ValueError(f"column={column}, row={row}: A has {m} columns, W {n_out} rows")
        names = [readings] if isinstance(readings, str) else list(readings)
        if not names or not set(names) <= set(READINGS):
            raise ValueError(f"readings={readings!r}: choose of {list(READINGS)}")
        n = len(names)
        width, step = max(3.9 * n_in + 3.6, n_in + 2 * m + 1.6), max(n_out, n_in) + 1.6
        self.ax_, self.figure_ = axes_for(ax, (0.6 * width, 0.6 * n * step))
        self.ax_.set_axis_off()
        self.ax_.set(xlim=(-0.1, width), ylim=(n * step - 0.4, -0.2), aspect="equal")
        numbers = np.concatenate([x.ravel() for x in (W, A, *self.products.values())])
        room = max(4, *(len(f"{number:.3g}") for number in numbers))  # letters in a cell
        box = points_of(self.ax_)
        self._size = min(box[0] / width, box[1] / (n * step)) / (0.62 * room)
        small = min(self._size, box[0] / 34)  # sentences of 48 letters
        self.text_: list[Any] = []
        # numbers of colours, of W, A and their product; -1 is none
        rows, columns = np.arange(n_out)[:, None], np.arange(m)
        looks: dict[str, tuple[Any, Any, Any]] = {
            "rows times column": (
                np.where(rows == row, 0, -1),
                np.where(columns == column, 1, -1),
                np.where((rows == row) & (columns == column), 2, -1),
            ),
            "by columns": (-1, columns, columns),
            "by rows": (rows, -1, rows),
        }
        for k, reading in enumerate(names):
            y = k * step
            self._write(0.0, y + 0.3, READINGS[reading], ha="left", weight="bold", fontsize=small)
            y += 0.8
            if reading in looks:
                of_W, of_A, of_product = looks[reading]
                x = self._draw(A, self._draw(W, 0.0, y, of_W) + 0.4, y, of_A)
                x = self._write(x + 0.5, y + n_out / 2, "=") + 0.5
                self._draw(self.products[reading], x, y, of_product)
                continue
            a, total = A[:, [column]], self.products[reading][:, [column]]
            x = self._draw(W, 0.0, y, np.arange(n_in))
            x = self._draw(a, x + 0.4, y, np.arange(n_in)[:, None])
            for i in range(n_in):
                x = self._write(x + 0.4, y + n_out / 2, "+" if i else "=") + 0.4
                x = self._draw(a[[i]], x, y + n_out / 2 - 0.5, i) + 0.1
                x = self._draw(W[:, [i]], x, y, i)
            self._draw(total, self._write(x + 0.5, y + n_out / 2, "=") + 0.5, y, -1)
        return self

    def _write(self, x: float, y: float, text: str, **look: Any) -> float:
        look = {"ha": "center", "va": "center", "fontsize": self._size} | look
        self.text_.append(self.ax_.text(x, y, text, **look))
        return x

    def _draw(self, M: np.ndarray, x: float, y: float, colours: Any) -> float:
        """Draws a matrix with its upper left corner at x and y; returns the x of its right side."""
        from matplotlib.patches import Rectangle

        colours = np.broadcast_to(colours, M.shape)
        for (i, j), number in np.ndenumerate(M):
            filled: Any = "none" if colours[i, j] < 0 else (colour(colours[i, j]), PALE)
            look: dict[str, Any] = {"facecolor": filled, "edgecolor": "0.6", "linewidth": 0.7}
            self.ax_.add_patch(Rectangle((x + j, y + i), 1, 1, **look))
            self._write(x + j + 0.5, y + i + 0.5, f"{number:.3g}")
        return x + M.shape[1]
