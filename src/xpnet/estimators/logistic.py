"""`LogisticRegression`: scikit-learn's logistic regression, on any array library."""

from __future__ import annotations

import warnings
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Original
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.losses import bernoulli, categorical
from xpnet.estimators.base import Examples
from xpnet.estimators.callbacks import FitTasks
from xpnet.estimators.design import Design
from xpnet.estimators.linear_classifier import LinearClassifier
from xpnet.estimators.logistic_problem import Penalty, Problem
from xpnet.estimators.logistic_settings import (
    COEFFICIENT_TOL,
    INT32_INDICES,
    NEWTON,
    NOT_CONVERGED,
    STRICTER,
    resolve,
)
from xpnet.estimators.logistic_solve import Solution, minimize_problem


@dataclass(repr=False, eq=False)
class LogisticRegression(LinearClassifier):
    """Logistic regression with scikit-learn's parameters, attributes and objective.

    Minimises ``C * sum(loss) + l1_ratio * |W|_1 + (1 - l1_ratio) / 2 * |W|_2^2`` over coefficients
    W and intercepts without penalty. The loss is that of two classes, or of a softmax over more.

    Every solver name of scikit-learn is accepted, with the penalties it takes there, and reaches
    the same minimiser:

    - "lbfgs", "sag", "saga": L-BFGS on standardised variables, OWL-QN where there is an l1 part;
      with at most 2048 unknowns Newton's method finishes what is not done by then.
    - "newton-cg", "newton-cholesky": Newton's method, with more unknowns L-BFGS.
    - "liblinear": as "saga" with the penalised intercept of liblinear, two classes only, float64
      where the data is NumPy's. ``dual`` changes nothing.

    ``random_state``, ``n_jobs`` and ``verbose`` have no effect. ``tol`` bounds the largest
    component of the gradient of the cost, in the units of ``coef_`` and ``intercept_`` and with
    centred features; for "sag", "saga" and "liblinear", whose criteria are stricter, ``tol / 100``
    does.

    Parameters
    ----------
    backend : str, module or array, default="auto"
        Where to compute: "auto" follows X. Otherwise host data is moved there.
    device, dtype : optional
        Device and float dtype to compute in; left out, X decides.

    Other parameters are scikit-learn's.

    Attributes
    ----------
    coef_ : array (1 or n_classes, n_features), intercept_ : array (1 or n_classes,)
        In the library and on the device of X.
    classes_ : ndarray (n_classes,)
    n_iter_ : array (1,) of int32
    """

    _parameter_constraints: ClassVar[dict] = {
        **Original._parameter_constraints,
        **LinearClassifier._parameter_constraints,
    }

    penalty: Any = "deprecated"
    _: KW_ONLY
    C: float = 1.0
    l1_ratio: float | None = 0.0
    dual: bool = False
    tol: float = 1e-4
    fit_intercept: bool = True
    intercept_scaling: float = 1
    class_weight: Any = None
    random_state: Any = None
    solver: str = "lbfgs"
    max_iter: int = 100
    verbose: int = 0
    warm_start: bool = False
    n_jobs: int | None = None
    backend: Any = "auto"
    device: Any = None
    dtype: Any = None

    def set_callbacks(self, *callbacks: Any) -> LogisticRegression:
        """Callbacks of scikit-learn's protocol; as there, only "lbfgs" tells them of iterations."""
        if self.solver != "lbfgs":
            warnings.warn(
                f"Callbacks are only supported in {type(self).__name__} for solver='lbfgs'. This "
                f"estimator has solver={self.solver!r}, callbacks will be ignored during the "
                "solving of the regression.",
                stacklevel=2,
            )
        return CallbackSupportMixin.set_callbacks(self, *callbacks)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:
        """Fit to X (m, n_features), labels y (m,) and, if given, weights (m,)."""
        settings = resolve(self)
        start = self._start() if self.warm_start else None
        examples = self._read(X, y, sample_weight)
        check_classification_targets(examples.y)
        self.classes_, labels = np.unique(examples.y, return_inverse=True)
        self._check_solver(examples)
        tasks = FitTasks(self, "lbfgs-iter", max(self.max_iter, 1) + 1, X, y, sample_weight)
        tasks.active &= self.solver == "lbfgs"

        design = self._design(examples, labels)
        strength = 1.0 / (settings.C * design.total)
        penalty = Penalty(
            l2=strength * (1.0 - settings.l1_ratio),
            l1=strength * settings.l1_ratio,
            intercept=settings.intercept_scaling,
        )
        problem = Problem(design, penalty, fit_intercept=self.fit_intercept)
        solution = self._solve(problem, start, tasks)
        self.__dict__ |= self._fitted(problem, solution.u)
        xp, device = problem.xp, problem.place.device
        self.n_iter_ = xp.asarray([solution.iterations], dtype=xp.int32, device=device)
        tasks.close()
        return self

    def _start(self) -> tuple[np.ndarray, np.ndarray] | None:
        if not hasattr(self, "coef_"):
            return None
        self.densify()
        return to_numpy(self.coef_), to_numpy(self.intercept_)

    def _check_solver(self, examples: Examples) -> None:
        n_classes, X = len(self.classes_), examples.X
        sparse = hasattr(X, "toarray")
        if self.solver in INT32_INDICES and sparse and X.indices.dtype == "int64":
            raise ValueError(
                f"Only sparse matrices with 32-bit integer indices are accepted by {self.solver!r};"
                " use solver='lbfgs'"
            )
        if self.solver == "liblinear" and n_classes > 2:
            raise ValueError(
                "The 'liblinear' solver does not support multiclass classification (n_classes >= "
                "3). Either use another solver or wrap the estimator in a OneVsRestClassifier to "
                "keep applying a one-versus-rest scheme."
            )
        if (
            self.solver == "liblinear"
            and float(examples.place.xp.max(X.data if sparse else X)) > 1e30
        ):
            raise ValueError(
                "Using the 'liblinear' solver while X contains a maximum value > 1e30 results in "
                "a frozen fit. Please choose another solver or rescale the input X."
            )
        if n_classes < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data "
                f"contains only one class: {self.classes_[0]!r}"
            )

    def _design(self, examples: Examples, labels: np.ndarray) -> Design:
        place, X, w = examples.place, examples.X, examples.w
        if self.class_weight is not None:
            of_class = compute_class_weight(
                self.class_weight, classes=self.classes_, y=examples.y, sample_weight=w
            )
            w = of_class[labels] if w is None else w * of_class[labels]
        if self.solver == "liblinear" and place.name == "numpy":
            place, X = place.with_dtype("float64"), X.astype("float64")
        if len(self.classes_) == 2:
            return Design(place, X, place.asarray(labels[:, None], place.dtype), w, bernoulli)
        Y = np.eye(len(self.classes_), dtype=np.float32)[labels]
        return Design(place, X, place.asarray(Y, place.dtype), w, categorical)

    def _solve(self, problem: Problem, start: Any, tasks: FitTasks) -> Solution:
        place, shape = problem.place, (problem.K, problem.n)
        W, b = start or (np.zeros(shape), np.zeros(problem.K))
        if W.shape != shape:
            raise ValueError(f"Initialization coef is of shape {W.shape}, expected shape {shape}")
        u = problem.encode(place.asarray(W, place.dtype), place.asarray(b, place.dtype))

        def report(u: Array) -> None:
            if tasks.active:
                tasks.end(lambda: self._fitted(problem, u))
                tasks.begin(lambda: self._fitted(problem, u))

        tasks.begin(lambda: self._fitted(problem, u))
        found = minimize_problem(
            problem,
            u,
            newton_first=self.solver in NEWTON,
            tol=self.tol * (STRICTER if self.solver in COEFFICIENT_TOL else 1.0),
            max_iter=self.max_iter,
            report=report,
        )
        if found.iterations == 0:
            report(found.u)
        tasks.end()
        if not found.converged:
            message = NOT_CONVERGED[self.solver].format(
                n_iter=found.iterations, message=found.message, norm=found.norm
            )
            advice = f" Increase the number of iterations (max_iter={self.max_iter})."
            warnings.warn(message + advice, ConvergenceWarning, stacklevel=4)
        return found

    def _fitted(self, problem: Problem, u: Array) -> dict[str, Array]:
        coef, intercept = problem.decode(u)
        return {"coef_": coef, "intercept_": intercept}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self.solver != "liblinear"
        return tags
