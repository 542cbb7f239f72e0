"""Reads the parameters of `LogisticRegression`, with scikit-learn's checks and messages."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

L2_ONLY = ("lbfgs", "newton-cg", "newton-cholesky", "sag")
INT32_INDICES = ("liblinear", "sag", "saga")  # refuse 64-bit indices, as in scikit-learn
NEWTON = ("newton-cg", "newton-cholesky")
# Solvers whose tol bounds the change of the coefficients; as a bound on the gradient it is looser.
COEFFICIENT_TOL = ("liblinear", "sag", "saga")
STRICTER = 0.01

NOT_CONVERGED = {
    "lbfgs": "lbfgs failed to converge after {n_iter} iteration(s): {message}.",
    "newton-cg": "newton-cg failed to converge at gradient = {norm:.3g}.",
    "newton-cholesky": "Newton solver did not converge after {n_iter} iterations.",
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "sag": "The max_iter was reached which means the coef_ did not converge.",
    "saga": "The max_iter was reached which means the coef_ did not converge.",
}


class Settings(NamedTuple):
    C: float  # inf: no penalty
    l1_ratio: float
    intercept_scaling: float | None  # None: the intercept is free


def resolve(estimator: Any) -> Settings:
    """The penalty that ``penalty``, ``C``, ``l1_ratio``, ``solver`` and ``dual`` describe.

    Raises
    ------
    ValueError
        scikit-learn does not offer the solver for this penalty.
    """
    penalty, l1_ratio = _penalty(estimator), estimator.l1_ratio
    _check_solver(estimator.solver, penalty, estimator.dual)
    if penalty != "elasticnet" and l1_ratio is not None and 0 < l1_ratio < 1:
        warnings.warn(
            "l1_ratio parameter is only used when penalty is 'elasticnet'. Got "
            f"(penalty={penalty})",
            stacklevel=4,
        )
    required = {"l2": 0, "l1": 1}.get(estimator.penalty, l1_ratio)
    if l1_ratio != required:
        warnings.warn(
            f"Inconsistent values: penalty={estimator.penalty} with l1_ratio={l1_ratio}. "
            "penalty is deprecated. Please use l1_ratio only.",
            stacklevel=4,
        )
    if penalty == "elasticnet" and l1_ratio is None:
        raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
    if estimator.penalty is None and estimator.C != 1.0:
        warnings.warn(
            "Setting penalty=None will ignore the C and l1_ratio parameters", stacklevel=4
        )
    if estimator.n_jobs is not None:
        warnings.warn(
            "'n_jobs' has no effect since 1.8 and will be removed in 1.10. You provided "
            f"'n_jobs={estimator.n_jobs}', please leave it unspecified.",
            FutureWarning,
            stacklevel=4,
        )
    ratio = {"l1": 1.0, "l2": 0.0, None: 0.0}.get(penalty, l1_ratio)
    return Settings(
        C=float(np.inf if penalty is None else estimator.C),
        l1_ratio=float(ratio),
        intercept_scaling=estimator.intercept_scaling if estimator.solver == "liblinear" else None,
    )


def _penalty(estimator: Any) -> str | None:
    l1_ratio = estimator.l1_ratio
    if estimator.penalty != "deprecated":
        warnings.warn(
            "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid this "
            "warning, leave 'penalty' set to its default value and use 'l1_ratio' or 'C' instead. "
            "Use l1_ratio=0 instead of penalty='l2', l1_ratio=1 instead of penalty='l1', l1_ratio "
            "set to a float between 0 and 1 instead of penalty='elasticnet', and C=np.inf instead "
            "of penalty=None.",
            FutureWarning,
            stacklevel=5,
        )
        return estimator.penalty
    if l1_ratio is None:
        warnings.warn(
            "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in 1.10. "
            "Use 0<=l1_ratio<=1 instead.",
            FutureWarning,
            stacklevel=5,
        )
    if np.isinf(estimator.C):
        return None
    return {None: "l2", 0: "l2", 1: "l1"}.get(l1_ratio, "elasticnet")


def _check_solver(solver: str, penalty: str | None, dual: bool) -> None:
    if solver in L2_ONLY and penalty not in ("l2", None):
        raise ValueError(
            f"Solver {solver} supports only 'l2' or None penalties, got {penalty} penalty."
        )
    if solver != "liblinear" and dual:
        raise ValueError(f"Solver {solver} supports only dual=False, got dual={dual}")
    if penalty == "elasticnet" and solver != "saga":
        raise ValueError(f"Only 'saga' solver supports elasticnet penalty, got solver={solver}.")
    if solver == "liblinear" and penalty is None:
        raise ValueError(
            "C=np.inf as well as penalty=None is not supported for the liblinear solver"
        )
