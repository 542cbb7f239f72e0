"""`LogisticRegression`: scikit-learn's logistic regression, on any array library."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.callback import CallbackSupportMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Original
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.linear_model._logistic import _check_solver
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets

from xpnet._typing import Array
from xpnet.backends.place import Backend, to_numpy
from xpnet.core.losses import bernoulli, categorical
from xpnet.estimators.arrays import is_foreign, is_sparse, values_of
from xpnet.estimators.base import ArrayClassifier, Examples
from xpnet.estimators.callbacks import FitTasks
from xpnet.estimators.design import Design, linear_response
from xpnet.estimators.logistic_problem import Penalty, Problem, Solution, minimize_problem
from xpnet.exceptions import warn

NEWTON = ("newton-cg", "newton-cholesky")
# Solvers that take no larger sparse matrices, as in scikit-learn, and whose tol bounds the change
# of the coefficients; as a bound on the gradient it is looser.
BY_COORDINATES = ("liblinear", "sag", "saga")
STRICTER = 0.01

NOT_CONVERGED = {
    "lbfgs": "lbfgs failed to converge after {n_iter} iteration(s): {message}.",
    "newton-cg": "newton-cg failed to converge at gradient = {norm:.3g}.",
    "newton-cholesky": "Newton solver did not converge after {n_iter} iterations.",
    "liblinear": "Liblinear failed to converge, increase the number of iterations.",
    "sag": "The max_iter was reached which means the coef_ did not converge.",
    "saga": "The max_iter was reached which means the coef_ did not converge.",
}


@dataclass(repr=False, eq=False)
class LogisticRegression(
    CallbackSupportMixin, ArrayClassifier, LinearClassifierMixin, SparseCoefMixin
):
    """Logistic regression with scikit-learn's parameters, attributes and objective.

    Minimises ``C * sum(loss) + l1_ratio * |W|_1 + (1 - l1_ratio) / 2 * |W|_2^2`` over coefficients
    W and intercepts without penalty. The loss is that of two classes, or of a softmax over more.

    Parameters
    ----------
    penalty : str or None
        Deprecated, as in scikit-learn: use ``l1_ratio``, and ``C=inf`` for no penalty.
    C : float
        The inverse of the penalty's strength, above 0.
    l1_ratio : float
        In [0, 1]: 0 is l2, 1 is l1, which sets coefficients to exactly 0.
    dual : bool
        Changes nothing.
    tol : float
        Bounds the largest component of the gradient of the cost, in the units of ``coef_`` and
        ``intercept_`` and with centred features; for "sag", "saga" and "liblinear", whose criteria
        are stricter, ``tol / 100`` does.
    fit_intercept : bool
        Whether there is one.
    intercept_scaling : float
        Of "liblinear": the feature whose coefficient makes the intercept.
    class_weight : dict or "balanced", optional
        Multiplies the sample weights, by class.
    random_state : int, RandomState or None
        Has no effect.
    solver : {"lbfgs", "liblinear", "newton-cg", "newton-cholesky", "sag", "saga"}
        See the notes; all reach the same minimiser.
    max_iter : int
        Most iterations.
    verbose : int
        Has no effect.
    warm_start : bool
        Whether ``fit`` goes on from the coefficients of the last one.
    n_jobs : int, optional
        Has no effect.
    backend : str, module or array
        Where to compute: "auto" follows X. Otherwise host data is moved there.
    device : str or device object, optional
        Where to compute; left out, X decides.
    dtype : {"float32", "float64"}, optional
        In which dtype to compute; left out, X decides.

    Attributes
    ----------
    coef_ : array (1 or n_classes, n_features)
        In the library and on the device of X.
    intercept_ : array (1 or n_classes,)
        There too.
    classes_ : array (n_classes,)
        On the host, so that it can hold any labels, unless ``array_api_dispatch`` is on.
    n_iter_ : array (1,) of int32
        Iterations.

    Notes
    -----
    Every solver name of scikit-learn is accepted, with the penalties it takes there:

    - "lbfgs", "sag", "saga": L-BFGS on standardised variables, OWL-QN where there is an l1 part;
      with at most 2048 unknowns Newton's method finishes what is not done by then.
    - "newton-cg", "newton-cholesky": Newton's method, with more unknowns L-BFGS.
    - "liblinear": as "saga" with the penalised intercept of liblinear, two classes only, float64
      where the data is NumPy's.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
    >>> model = xpnet.LogisticRegression(C=10).fit(X, y)
    >>> model.predict(np.array([[0.5], [2.5]]))
    array(['no', 'yes'], dtype='<U3')
    """

    _parameter_constraints: ClassVar[dict] = {
        **Original._parameter_constraints,
        **ArrayClassifier._parameter_constraints,
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
        """Set callbacks of scikit-learn's protocol.

        As there, only the solver "lbfgs" tells them of iterations.

        Parameters
        ----------
        *callbacks : callback
            scikit-learn's, or your own.

        Returns
        -------
        LogisticRegression
            This estimator.

        Warns
        -----
        UserWarning
            The solver is another.

        Examples
        --------
        >>> from sklearn.callback import ProgressBar
        >>> import xpnet
        >>> model = xpnet.LogisticRegression().set_callbacks()  # or set_callbacks(ProgressBar())
        """
        if self.solver != "lbfgs":
            warn(
                f"Callbacks are only supported in {type(self).__name__} for solver='lbfgs'. This "
                f"estimator has solver={self.solver!r}, callbacks will be ignored during the "
                "solving of the regression."
            )
        return CallbackSupportMixin.set_callbacks(self, *callbacks)

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LogisticRegression:
        """Fit the model.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Of any library; the fit runs where it lives.
        y : array-like (n_samples,)
            Class labels, numbers or strings, of any library: read on the host.
        sample_weight : array-like (n_samples,), optional
            How much each example counts.

        Returns
        -------
        LogisticRegression
            This estimator.

        Raises
        ------
        ValueError
            What scikit-learn's checks find, of the solver and its penalty, too; X of another
            library or device than asked for.

        Warns
        -----
        ConvergenceWarning
            ``max_iter`` was reached.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> model = xpnet.LogisticRegression(C=0.1).fit(X[:1500] / 16, y[:1500])
        >>> model.score(X[1500:] / 16, y[1500:]) > 0.85
        True
        """
        C, l1_ratio = resolve(self)
        start = self._start() if self.warm_start else None
        examples = self._read(X, y, sample_weight)
        check_classification_targets(examples.y)
        self.classes_, labels = np.unique(examples.y, return_inverse=True)
        self._check_data(examples)
        tasks = FitTasks(self, "lbfgs-iter", max(self.max_iter, 1) + 1, X, y, sample_weight)
        tasks.active &= self.solver == "lbfgs"

        design = self._design(examples, labels)
        # so strong that the coefficients round to 0, and still finite
        strongest = 1e-12 * float(examples.place.xp.finfo(design.place.dtype).max)
        strength = min(1.0 / (C * design.w_unit * design.total), strongest)
        intercept = self.intercept_scaling if self.solver == "liblinear" else None
        penalty = Penalty(strength * (1.0 - l1_ratio), strength * l1_ratio, intercept)
        problem = Problem(design, penalty, fit_intercept=self.fit_intercept)
        solution = self._solve(problem, start, tasks)
        self.__dict__ |= self._fitted(problem, solution.u)
        xp, device = problem.xp, problem.place.device
        self.n_iter_ = xp.asarray([solution.iterations], dtype=xp.int32, device=device)
        tasks.close()
        return self._beside(y)

    def _start(self) -> tuple[np.ndarray, np.ndarray] | None:
        if not hasattr(self, "coef_"):
            return None
        self.densify()
        return to_numpy(self.coef_), to_numpy(self.intercept_)

    def _check_data(self, examples: Examples) -> None:
        n_classes, X = len(self.classes_), examples.X
        if self.solver in BY_COORDINATES and is_sparse(X) and X.indices.dtype == "int64":
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
        if self.solver == "liblinear" and float(examples.place.xp.max(values_of(X))) > 1e30:
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
        Y = place.asarray(labels.astype(np.int32))
        return Design(place, X, Y, w, categorical, len(self.classes_))

    def _solve(self, problem: Problem, start: Any, tasks: FitTasks) -> Solution:
        place, shape = problem.place, (problem.K, problem.n)
        W, b = start or (np.zeros(shape), np.zeros(problem.K))
        if W.shape != shape:
            raise ValueError(f"Initialization coef is of shape {W.shape}, expected shape {shape}")
        u = problem.encode(place.asarray(W, place.dtype), place.asarray(b, place.dtype))

        latest = [u]

        def report(u: Array) -> None:
            latest[0] = u
            if tasks.active:
                tasks.end(lambda: self._fitted(problem, u))
                tasks.begin(lambda: self._fitted(problem, u))

        tasks.begin(lambda: self._fitted(problem, u))
        try:
            found = minimize_problem(
                problem,
                u,
                newton_first=self.solver in NEWTON,
                tol=self.tol * (STRICTER if self.solver in BY_COORDINATES else 1.0),
                max_iter=self.max_iter,
                report=report,
            )
        except KeyboardInterrupt:
            self.__dict__ |= self._fitted(problem, latest[0])
            raise
        if found.iterations == 0:
            report(found.u)
        tasks.end()
        if not found.converged:
            message = NOT_CONVERGED[self.solver].format(
                n_iter=found.iterations, message=found.message, norm=found.norm
            )
            advice = f" Increase the number of iterations (max_iter={self.max_iter})."
            warn(message + advice, ConvergenceWarning)
        return found

    def _fitted(self, problem: Problem, u: Array) -> dict[str, Array]:
        coef, intercept = problem.decode(u)
        return {"coef_": coef, "intercept_": intercept}

    # -- predictions -----------------------------------------------------------------------
    def _home_array(self) -> Array:
        return self.coef_.data if sparse.issparse(self.coef_) else self.coef_

    def _scores(self, X: Any, method: str) -> tuple[Array, Backend]:
        """The logits (K, m), K = 1 for two classes, and where they are."""
        rows, place = self._read_X(X, method)
        W = self.coef_ if self.coef_.ndim == 2 else self.coef_[None, :]
        return linear_response(place, rows, W, self.intercept_).T, place

    def decision_function(self, X: Any) -> Array:
        """Compute the logits.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array
            With two classes (n_samples,), positive for ``classes_[1]``; else (n_samples,
            n_classes). In the library of X.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
        >>> xpnet.LogisticRegression().fit(X, y).decision_function(X).round(1)
        array([-1.4, -0.5,  0.5,  1.4])
        """
        Z, _ = self._scores(X, "decision_function")
        return self._given_back(Z[0, :] if Z.shape[0] == 1 else Z.T, X)

    def predict(self, X: Any) -> Array:
        """Decide on labels, in the library of X if it holds them, else on the host.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array (n_samples,)
            Of ``classes_``.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
        >>> xpnet.LogisticRegression().fit(X, y).predict(X)
        array([0, 0, 1, 1])
        """
        Z, place = self._scores(X, "predict")
        xp, K = place.xp, Z.shape[0]
        with place.context():
            index = xp.astype(Z[0, :] > 0, xp.int32) if K == 1 else xp.argmax(Z, axis=0)
        return self._labels(index, place, X)

    def predict_proba(self, X: Any) -> Array:
        """Compute the probabilities of the classes.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array (n_samples, n_classes)
            Classes in the order of ``classes_``, in the library of X.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
        >>> xpnet.LogisticRegression().fit(X, y).predict_proba(X[:2]).round(2)
        array([[0.81, 0.19],
               [0.62, 0.38]])
        """
        Z, place = self._scores(X, "predict_proba")
        xp = place.xp
        with place.context():
            if Z.shape[0] > 1:
                return self._given_back(categorical.predict(Z, xp=xp).T, X)
            p = bernoulli.predict(Z[0, :], xp=xp)
            return self._given_back(xp.stack([1.0 - p, p], axis=1), X)

    def predict_log_proba(self, X: Any) -> Array:
        """Compute the logarithms of the probabilities, from the logits: never ``log(0)``.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array (n_samples, n_classes)
            Classes in the order of ``classes_``, in the library of X.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
        >>> xpnet.LogisticRegression().fit(X, y).predict_log_proba(X[:2]).round(2)
        array([[-0.21, -1.65],
               [-0.48, -0.96]])
        """
        Z, place = self._scores(X, "predict_log_proba")
        xp = place.xp
        with place.context():
            Z = xp.concat([0.0 * Z, Z], axis=0) if Z.shape[0] == 1 else Z
            shifted = Z - xp.max(Z, axis=0, keepdims=True)
            total = xp.sum(xp.exp(shifted), axis=0, keepdims=True)
            return self._given_back((shifted - xp.log(total)).T, X)

    def sparsify(self) -> LogisticRegression:
        """Turn ``coef_`` into a SciPy CSR array, which is smaller where l1 leaves many zeros.

        Returns
        -------
        LogisticRegression
            This estimator; its ``densify`` takes the change back.

        Raises
        ------
        TypeError
            Fitted on another library than NumPy.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> model = xpnet.LogisticRegression(l1_ratio=1, C=0.1, solver="saga").fit(X / 16, y)
        >>> model.sparsify().coef_.nnz < 10 * 64 / 4
        True
        """
        if is_foreign(getattr(self, "coef_", None)):
            raise TypeError(
                "sparsify() makes a SciPy matrix of coef_, but this estimator was fitted on "
                f"{type(self.coef_).__module__} arrays; move it to NumPy first"
            )
        return super().sparsify()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = self.solver != "liblinear"
        return tags


def resolve(estimator: Any) -> tuple[float, float]:
    """C (inf: no penalty) and l1_ratio that the parameters add up to, with scikit-learn's checks.

    Raises
    ------
    ValueError
        scikit-learn does not offer the solver for this penalty.
    """
    penalty, l1_ratio = _penalty(estimator), estimator.l1_ratio
    _check_solver(estimator.solver, penalty, estimator.dual)
    if penalty != "elasticnet" and l1_ratio is not None and 0 < l1_ratio < 1:
        warn(
            f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={penalty})"
        )
    required = {"l2": 0, "l1": 1}.get(estimator.penalty, l1_ratio)
    if l1_ratio != required:
        warn(
            f"Inconsistent values: penalty={estimator.penalty} with l1_ratio={l1_ratio}. "
            "penalty is deprecated. Please use l1_ratio only."
        )
    if penalty == "elasticnet" and l1_ratio is None:
        raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
    if estimator.penalty is None and estimator.C != 1.0:
        warn("Setting penalty=None will ignore the C and l1_ratio parameters")
    if estimator.n_jobs is not None:
        warn(
            "'n_jobs' has no effect since 1.8 and will be removed in 1.10. You provided "
            f"'n_jobs={estimator.n_jobs}', please leave it unspecified.",
            FutureWarning,
        )
    ratio = {"l1": 1.0, "l2": 0.0, None: 0.0}.get(penalty, l1_ratio)
    return float(np.inf if penalty is None else estimator.C), float(ratio)


def _penalty(estimator: Any) -> str | None:
    l1_ratio = estimator.l1_ratio
    if estimator.penalty != "deprecated":
        warn(
            "'penalty' was deprecated in version 1.8 and will be removed in 1.10. To avoid this "
            "warning, leave 'penalty' set to its default value and use 'l1_ratio' or 'C' instead. "
            "Use l1_ratio=0 instead of penalty='l2', l1_ratio=1 instead of penalty='l1', l1_ratio "
            "set to a float between 0 and 1 instead of penalty='elasticnet', and C=np.inf instead "
            "of penalty=None.",
            FutureWarning,
        )
        return estimator.penalty
    if l1_ratio is None:
        warn(
            "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in 1.10. "
            "Use 0<=l1_ratio<=1 instead.",
            FutureWarning,
        )
    if np.isinf(estimator.C):
        return None
    return {None: "l2", 0: "l2", 1: "l1"}.get(l1_ratio, "elasticnet")
