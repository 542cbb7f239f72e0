"""Sparse rows in the place of a dense X, for the products of the first layer."""

from __future__ import annotations

from typing import Any

from xpnet._typing import Array


class SparseRows:
    """Examples in the rows of a SciPy CSR matrix, with what the engine asks of a dense ``X``."""

    def __init__(self, matrix: Any = None) -> None:
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape

    @property
    def dtype(self) -> Any:
        return self.matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: tuple[Any, ...]) -> SparseRows:
        return SparseRows(self.matrix[key[0]])

    @property
    def T(self) -> SparseColumns:
        return SparseColumns(self)

    def take(self, index: Array, axis: int, out: SparseRows, mode: str) -> None:
        out.matrix = self.matrix[index]

    def dot(self, B: Array, out: Array) -> None:
        _product(self.matrix, B, out)


class SparseColumns:
    """``SparseRows`` transposed, (n_x, m); a product reads the rows that they have by then."""

    __array_ufunc__ = None  # W @ columns is __rmatmul__

    def __init__(self, rows: SparseRows) -> None:
        self.T = rows

    @property
    def shape(self) -> tuple[int, int]:
        return self.T.shape[::-1]

    def __getitem__(self, key: tuple[slice, slice]) -> SparseColumns:
        return SparseRows(self.T.matrix[key[1]]).T

    def __rmatmul__(self, W: Array) -> Array:
        return (self.T.matrix @ W.T).T

    def dot(self, B: Array, out: Array) -> None:
        _product(self.T.matrix.T, B, out)


def _product(matrix: Any, B: Array, out: Array) -> None:
    """``out := matrix @ B``; column by column where SciPy's copy of B would cost the most."""
    if matrix.nnz >= max(matrix.shape):
        out[...] = matrix @ B
        return
    for column, result in zip(B.T, out.T, strict=True):
        result[...] = matrix @ column
