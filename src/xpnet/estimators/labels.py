"""Encodes class labels of any kind as rows of 0 and 1, and decodes outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils.multiclass import unique_labels

from xpnet._typing import Array
from xpnet.backends.place import Backend, to_numpy
from xpnet.estimators.base import Examples


class Labels:
    """The classes of a classifier: numbers, strings, or several labels per example.

    ``classes_`` is a NumPy array, so that it can hold strings; predicted numbers are arrays of the
    library of X.
    """

    classes_: np.ndarray
    warm_start: bool
    class_weight: Any
    out_activation_: str

    def _encoded(
        self, examples: Examples, incremental: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Targets (m, n_outputs) of 0 and 1, and the products of sample and class weights."""
        y, w = examples.y, examples.w
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        elif self.warm_start and set(found := unique_labels(y)) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {found}"
            )
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, y)
            w = by_class if w is None else w * by_class
        return self._targets(y), w

    def _targets(self, y: np.ndarray) -> np.ndarray:
        """Labels as rows of 0 and 1 (m, n_outputs); refuses unknown labels."""
        found = unique_labels(y)
        if len(np.setdiff1d(found, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {found}."
            )
        return self._label_binarizer.transform(y).astype(bool)

    @property
    def _multilabel(self) -> bool:
        return self._label_binarizer.y_type_.startswith("multilabel")

    def _out_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _strata(self, Y: np.ndarray) -> np.ndarray | None:
        return Y if Y.shape[1] == 1 else None  # several labels per example: no stratified split

    def _codes(self, A: Array, xp: Any) -> Array:
        """Numbers of the classes (m,) of outputs (m, n_outputs), or rows of 0 and 1."""
        if self.out_activation_ == "softmax":
            return xp.argmax(A, axis=1)
        met = xp.astype(A > 0.5, xp.int64)
        return met if self._multilabel else met[:, 0] * int(len(self.classes_) > 1)

    def _decoded(self, A: Array, place: Backend) -> Array:
        """The labels of outputs ``A``, in their place; strings and sparse rows on the host."""
        if self._label_binarizer.sparse_input_:
            return self._label_binarizer.inverse_transform(to_numpy(A))
        with place.context():
            codes = self._codes(A, place.xp)
            if self._multilabel:
                return codes
            if self.classes_.dtype.kind in "biuf":
                return place.xp.take(place.asarray(self.classes_), codes, axis=0)
        return np.take(self.classes_, to_numpy(codes))

    def _encoded_score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray | None) -> float:
        """Accuracy; every label of a row must be met."""
        hits = self._codes(output, np) == self._codes(Y, np)
        return float(np.average(np.all(hits.reshape(len(Y), -1), axis=1), weights=w))
