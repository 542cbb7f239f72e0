"""Estimators whose tests hand in NumPy arrays and shall run on another library."""

from __future__ import annotations

import functools

import numpy as np
from scipy import sparse

import xpnet

METHODS = ("fit", "partial_fit", "predict", "predict_proba", "predict_log_proba", "score")
FITTED = ("coefs_", "intercepts_", "coef_", "intercept_")


def on_library(ours: type, label: str) -> type:
    """A subclass of ``ours`` that turns inputs into arrays of a library, and outputs back."""
    name, _, device = label.partition(":")
    place = xpnet.select(name, device or None)
    depth = {"inside": 0}

    def moved(X):
        if sparse.issparse(X):
            X = X.toarray()
        X = X if hasattr(X, "iloc") else np.asarray(X)  # a data frame stays one: it has names
        kind = getattr(getattr(X, "dtype", None), "kind", "")
        return place.asarray(np.ascontiguousarray(X)) if kind in "biuf" and kind else X

    def back(value):
        if isinstance(value, list):
            return [back(item) for item in value]
        return xpnet.to_numpy(value) if place.holds(value) else value

    def crossing(method):
        @functools.wraps(method)
        def crossed(X, *args, **kwargs):
            depth["inside"] += 1
            try:
                return back(method(moved(X), *args, **kwargs))
            finally:
                depth["inside"] -= 1

        return crossed

    class Elsewhere(ours):
        def __getattribute__(self, attribute):
            value = super().__getattribute__(attribute)
            if depth["inside"]:
                return value
            if attribute in METHODS:
                return crossing(value)
            return back(value) if attribute in FITTED else value  # the tests read NumPy arrays

    Elsewhere.__name__ = Elsewhere.__qualname__ = ours.__name__
    globals()[ours.__name__] = Elsewhere  # where pickle looks for it
    return Elsewhere
