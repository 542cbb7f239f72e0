"""Scores the validation data of a fit."""

from __future__ import annotations

import copy
from inspect import signature
from typing import Any

from sklearn.metrics import check_scoring

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.estimators.arrays import host, is_sparse
from xpnet.estimators.net import Net, Rows


class Validation:
    """Scores and losses of the validation data during training."""

    def __init__(self, estimator: Any, net: Net, rows: Rows, labels: Any) -> None:
        self.net, self.rows, self.labels = net, rows, labels
        self.metric = estimator._encoded_score
        self.scorer, self.estimator = None, estimator
        if estimator.scoring is not None:
            self.scorer = check_scoring(estimator, estimator.scoring)
            # scikit-learn's own scorers have it
            takes = getattr(self.scorer, "_accept_sample_weight", None)
            weighted = takes() if takes else "sample_weight" in signature(self.scorer).parameters
            self.weights = {"sample_weight": rows.w} if weighted and rows.w is not None else {}
            # The scorer is given host arrays, which an estimator with a named backend moves itself.
            self.X = host(rows.X)
            if is_sparse(labels):  # not every metric takes them so
                self.labels = labels.toarray()

    def loss(self, theta: Array) -> float:
        return self.net.value(theta, self.rows)

    def score(self, theta: Array) -> float:
        """The estimator's own score, or ``scoring``'s; NaN if the output is not finite."""
        if self.scorer is None:
            output = to_numpy(self.net.predict(theta, self.rows.X))
            return self.metric(self.rows.Y, output, self.rows.w)
        twin = copy.copy(self.estimator)
        twin.backend = self.net.place.name
        twin.__dict__ |= self.net.shown(theta)
        twin.__dict__.pop("feature_names_in_", None)
        return float(self.scorer(twin, self.X, self.labels, **self.weights))
