"""Checks of the rows of a stream, which are standardised and cast as they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from xpnet.backends.place import beyond_float32
from xpnet.data.checks import all_finite, check_weights
from xpnet.data.row_source import Chunk
from xpnet.data.standardizer import Standardizer

Where = Callable[[int], str]  # the place of a row of a block, in words for messages


@dataclass(frozen=True)
class Preparation:
    """The standardisers and classes that a stream applies to its rows, and names for messages.

    Attributes
    ----------
    names : tuple of str or None
        Names of the columns of X.
    target : str
        Name of Y.
    inputs, targets : Standardizer or None
        Applied to X and Y.
    classes : ndarray (k,) or None
        Sorted labels; Y becomes their numbers 0 ... k - 1.
    """

    names: tuple[str, ...] | None = None
    target: str = "Y"
    inputs: Standardizer | None = None
    targets: Standardizer | None = None
    classes: np.ndarray | None = None

    def rows(self, read: Chunk, dtype: np.dtype, where: Where) -> Chunk:
        """Return rows as ``features`` and ``labels`` make them, their weights checked."""
        X = self.features(read.X, dtype, where)
        Y = None if read.Y is None else self.labels(read.Y, where)
        if read.w is not None:
            check_weights(read.w, lambda i: f"{where(i)}: sample_weight")
        return replace(read, X=X, Y=Y)

    def features(self, X: np.ndarray, dtype: np.dtype, where: Where) -> np.ndarray:
        """Return X (k, n_x), standardised, in ``dtype``.

        Raises
        ------
        ValueError
            A number is not finite, or too large for ``dtype``, or float32 would round an integer:
            row and column are named.
        """
        too_large = f"too large for {dtype}"
        with np.errstate(over="ignore", invalid="ignore"):
            if not all_finite(X, xp=np):
                raise self._refusal(X, ~np.isfinite(X), where, "not a finite number")
            large = dtype == np.float32 and self.inputs is None and beyond_float32(X)
            if isinstance(large, np.ndarray):
                what = "an integer that float32 would round" if X.dtype.kind in "iu" else too_large
                raise self._refusal(X, large, where, f"{what}: use DeepNet(dtype='float64')")
            if self.inputs is None:
                found = X.astype(dtype, copy=False)
            else:
                found = self.inputs.apply(X, dtype)
            if dtype.itemsize < X.dtype.itemsize and not all_finite(found, xp=np):
                raise self._refusal(X, ~np.isfinite(found), where, too_large)
        return found

    def labels(self, Y: np.ndarray, where: Where) -> np.ndarray:
        """Return Y (k,) or (k, n_y) as class numbers, as standardised targets, or as it is.

        Raises
        ------
        ValueError
            A target is not finite, or a label is none of the classes: the row is named.
        """
        if Y.dtype.kind == "f" and not all_finite(Y, xp=np):
            i = int(np.argwhere(~np.isfinite(Y))[0][0])
            raise ValueError(f"{where(i)}: {self.target} is {Y[i]}, not a finite number")
        if self.classes is not None:
            return self._codes(Y, where)
        if self.targets is not None:
            rows = Y[:, None] if Y.ndim == 1 else Y
            return self.targets.apply(rows, np.dtype(np.float64)).reshape(Y.shape)
        return Y

    def _codes(self, Y: np.ndarray, where: Where) -> np.ndarray:
        assert self.classes is not None
        if Y.dtype.kind == "U" and self.classes.dtype.kind != "U":
            raise ValueError(f"{where(0)}: {self.target} is text, but the classes are numbers")
        if Y.dtype.kind != "U" and self.classes.dtype.kind == "U":
            Y = Y.astype(str)
        at = np.minimum(np.searchsorted(self.classes, Y), len(self.classes) - 1)
        unknown = self.classes[at] != Y
        if unknown.any():
            i = int(unknown.argmax())
            raise ValueError(
                f"{where(i)}: {self.target} is {Y[i]!s}, none of the {len(self.classes)} classes"
            )
        return at

    def _refusal(self, X: np.ndarray, wrong: np.ndarray, where: Where, what: str) -> ValueError:
        i, j = (int(k) for k in np.argwhere(wrong)[0])
        column = str(j) if self.names is None else self.names[j]
        return ValueError(f"{where(i)}, column {column!r}: {X[i, j]} is {what}")
