"""The same pipeline and grid search with scikit-learn's classes and with xpnet's, in turn.

``python -m benchmarks.sklearn_search`` prints the scores and times and writes them to
``benchmarks/results/sklearn-search.json``, which the documents read.
"""

from __future__ import annotations

import json
import time
import warnings
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from sklearn import linear_model, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpnet
from xpnet.bench.machine import about
from xpnet.bench.timing import interleaved

RESULT = Path(__file__).parent / "results/sklearn-search.json"
ROUNDS = 5


def searches() -> dict[str, Any]:
    """For each name: the classes of both libraries, their settings, the grid, the data."""
    X, y = xpnet.load_digits()
    X = X.astype("float64")
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4000, 30))
    target = A[:, 0] * A[:, 1] + np.sin(2 * A[:, 2]) + 0.1 * rng.standard_normal(4000)
    return {
        "MLPClassifier, digits": (
            (neural_network.MLPClassifier, xpnet.MLPClassifier),
            {"random_state": 0, "max_iter": 30},
            {"alpha": [1e-4, 1e-2], "hidden_layer_sizes": [(32,), (64,)]},
            (X[:1500], y[:1500], X[1500:], y[1500:]),
        ),
        "MLPRegressor, 4000 x 30": (
            (neural_network.MLPRegressor, xpnet.MLPRegressor),
            {"random_state": 0, "max_iter": 20},
            {"alpha": [1e-4, 1e-2], "hidden_layer_sizes": [(32,), (32, 32)]},
            (A[:3000], target[:3000], A[3000:], target[3000:]),
        ),
        "LogisticRegression, digits": (
            (linear_model.LogisticRegression, xpnet.LogisticRegression),
            {"max_iter": 1000},
            {"C": [0.01, 0.1, 1.0, 10.0]},
            (X[:1500], y[:1500], X[1500:], y[1500:]),
        ),
    }


def run(kind: Any, settings: dict, grid: dict, data: tuple) -> dict[str, Any]:
    """Search the grid in three folds; return seconds, best settings and the held-out score."""
    X, y, X_held_out, y_held_out = data
    pipeline = make_pipeline(StandardScaler(), kind(**settings))
    search = GridSearchCV(
        pipeline, {f"{kind.__name__.lower()}__{k}": v for k, v in grid.items()}, cv=3
    )
    start = time.perf_counter()
    search.fit(X, y)
    seconds = time.perf_counter() - start
    best = {name.partition("__")[2]: value for name, value in search.best_params_.items()}
    return {"seconds": seconds, "best": best, "score": search.score(X_held_out, y_held_out)}


def main() -> None:
    warnings.simplefilter("ignore", ConvergenceWarning)
    found = {}
    for name, (kinds, *rest) in searches().items():
        both = zip(("sklearn", "xpnet"), kinds)
        runs = interleaved({of: partial(run, kind, *rest) for of, kind in both}, ROUNDS)
        ratios = [a["seconds"] / b["seconds"] for a, b in zip(runs["sklearn"], runs["xpnet"])]
        found[name] = {
            library: {**of[0], "seconds": median(r["seconds"] for r in of)}
            for library, of in runs.items()
        }
        found[name]["times faster"] = median(ratios)
        print(name, json.dumps(found[name]))
    result = {"rounds": ROUNDS, "machine": about(), "searches": found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
