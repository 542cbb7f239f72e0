"""The digits that come with the package, and the split of examples, in rows, into two parts."""

from __future__ import annotations

from importlib import resources

import numpy as np


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """Load the 1,797 handwritten digits that come with the package.

    Returns
    -------
    X : ndarray (1797, 64)
        float32, examples in rows: 8 x 8 pixels row by row with values 0 to 16.
    y : ndarray (1797,)
        int64, the digits.

    References
    ----------
    Alpaydin & Kaynak 1998, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49
    (CC BY 4.0); see ``data/digits.txt``.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> X.shape, y[:5]
    ((1797, 64), array([0, 1, 2, 3, 4]))
    """
    digits = resources.files("xpnet.data") / "digits.npz"
    with digits.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        return archive["X"].astype(np.float32), archive["y"].astype(np.int64)


def train_test_split(
    y: np.ndarray, test_fraction: float, seed: int = 0, stratify: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Split examples with labels y (m,) at random; return which rows are to train and to test on.

    ``round(test_fraction * m)`` examples go to the test part, at least one if test_fraction > 0.
    With ``stratify`` the test part has the class frequencies of y, but at least one example of
    every class stays in the training part. The same seed gives the same parts.
    """
    m = len(y)
    n_test = max(1, round(test_fraction * m)) if test_fraction > 0 else 0
    if n_test >= m:
        raise ValueError(f"{m} examples are too few to keep {test_fraction:g} of them for testing")
    order = np.random.default_rng(seed).permutation(m)
    if not stratify:
        test = np.zeros(m, dtype=bool)
        test[:n_test] = True
    else:
        test = _stratified(y[order], n_test)
        if n_test and not test.any():
            raise ValueError("every class has one example only; there is none to test on")
    return order[~test], order[test]


def _stratified(y: np.ndarray, n_test: int) -> np.ndarray:
    """Mark n_test entries of y (m,), in the class frequencies of y (largest remainders)."""
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    share = counts * (n_test / y.size)
    take = np.floor(share).astype(np.int64)
    by_remainder = np.argsort(take - share, kind="stable")
    take[by_remainder[: n_test - int(take.sum())]] += 1
    take = np.minimum(take, counts - 1)
    # The rank of every example among those of its class, in the order of y.
    by_class = np.argsort(codes, kind="stable")
    rank = np.empty(y.size, dtype=np.int64)
    rank[by_class] = np.arange(y.size) - np.repeat(np.cumsum(counts) - counts, counts)
    return rank >= (counts - take)[codes]
