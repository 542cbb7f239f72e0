"""scikit-learn's estimators, and xpnet's with the same arguments."""

from __future__ import annotations

import importlib
import warnings
from functools import partial

import numpy as np
from benchmarks.peers.workloads import ORDER_SEED

GAP = 1e-4  # how near the best objective a logistic regression has to come


class Perceptron:
    """``MLPClassifier`` from given weights, by way of ``warm_start``."""

    def __init__(self, workload, dtype, library):
        warnings.simplefilter("ignore")  # it warns that it has not converged
        self.workload = workload
        self.X, self.y = workload.data(dtype)
        self.initial = workload.parameters(dtype)
        full = workload.batch_size is None
        settings = {"solver": "sgd", "momentum": 0.0, "nesterovs_momentum": False, "shuffle": False}
        self.model = importlib.import_module(library).MLPClassifier(
            workload.sizes[1:-1],
            activation=workload.hidden,
            alpha=0.0,
            batch_size=workload.batch_size or workload.m,
            learning_rate_init=workload.rate,
            random_state=ORDER_SEED,
            warm_start=True,
            tol=0.0,
            max_iter=workload.epochs,
            n_iter_no_change=workload.epochs + 1,
            **(settings if full else {}),
        )
        few = np.concatenate([np.flatnonzero(self.y == k)[:3] for k in np.unique(self.y)])
        self.model.set_params(max_iter=1, batch_size=len(few))
        self.model.fit(self.X[few], self.y[few])  # makes the attributes that warm_start reads
        self.model.set_params(
            max_iter=workload.epochs, batch_size=workload.batch_size or workload.m
        )

    def reset(self):
        self.model.coefs_ = [W.T.copy() for W, _ in self.initial]
        self.model.intercepts_ = [b[:, 0].copy() for _, b in self.initial]
        self.model.loss_curve_ = []

    def run(self):
        if self.workload.kind == "inference":
            self.model.predict_proba(self.X)
            return
        self.model.fit(self.X, self.y)

    def result(self):
        layers = zip(self.model.coefs_, self.model.intercepts_, strict=True)
        return [(W.T, b) for W, b in layers], self.model.loss_curve_[-self.workload.epochs :]


class Logistic:
    """``LogisticRegression(solver="lbfgs")``, just enough iterations for the same objective."""

    def __init__(self, workload, dtype, library):
        warnings.simplefilter("ignore")
        self.X, self.y = workload.data(dtype)
        self.make = importlib.import_module(library).LogisticRegression
        best = self._objective(self._fitted(2000, tol=1e-9))
        low, high = 0, 1
        while self._objective(self._fitted(high)) > best * (1 + GAP):
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            reached = self._objective(self._fitted(middle)) <= best * (1 + GAP)
            low, high = (low, middle) if reached else (middle, high)
        self.iterations = high

    def _fitted(self, iterations, tol=1e-10):
        return self.make(solver="lbfgs", tol=tol, max_iter=iterations).fit(self.X, self.y)

    def _objective(self, model):
        X, W = self.X.astype(np.float64), np.asarray(model.coef_, np.float64)
        Z = X @ W.T + model.intercept_
        Z = np.hstack([0 * Z, Z]) if Z.shape[1] == 1 else Z
        high = Z.max(axis=1)
        losses = high + np.log(np.exp(Z - high[:, None]).sum(axis=1)) - Z[np.arange(len(Z)), self.y]
        return float(losses.sum() + 0.5 * np.sum(W * W)) / len(Z)

    def reset(self):
        pass

    def run(self):
        self.model = self._fitted(self.iterations)

    def result(self):
        return None, [self._objective(self.model)]


def _one(workload, dtype, library):
    if workload.kind == "lbfgs":
        return Logistic(workload, dtype, library.replace("neural_network", "linear_model"))
    return Perceptron(workload, dtype, library)


CANDIDATES = {
    "sklearn": partial(_one, library="sklearn.neural_network"),
    "xpnet": partial(_one, library="xpnet"),
    "xpnet-mlp": partial(_one, library="xpnet"),
}
