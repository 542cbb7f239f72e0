"""``MLPClassifier`` and ``MLPRegressor``: scikit-learn's perceptrons, on any array library.

Signatures, attributes and runs are those of scikit-learn 1.9. What xpnet adds comes last in the
signatures, by keyword only.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context
from sklearn.metrics import r2_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import compute_sample_weight
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.estimators.arrays import host, is_sparse
from xpnet.estimators.base import ArrayClassifier, ArrayRegressor, Examples
from xpnet.estimators.perceptron import Perceptron


@dataclass(repr=False, eq=False)
class MLPClassifier(ArrayClassifier, Perceptron):
    """Multi-layer perceptron classifier: log-loss, softmax or logistic outputs.

    scikit-learn's ``MLPClassifier`` with its signature, attributes and defaults; what xpnet adds
    comes last. With "adam" and "sgd" a ``random_state`` gives the same run as there, in float64.
    Arrays of any library come in, and arrays of that library go out. Examples are rows.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    activation : str, Activation, or one of these per hidden layer
        "relu", "logistic", "tanh", "identity" as in scikit-learn; also any other name that
        ``DeepNet`` takes ("sigmoid" is "logistic"), and your own ``xpnet.Activation``.
    solver : {"adam", "sgd", "lbfgs"}
        "lbfgs" is ``xpnet.lbfgs``, for all examples at once: for small data.
    alpha : float
        Strength of the penalty on the weights, divided by the number of examples (or by the sum of
        their weights) of a minibatch.
    batch_size : int or "auto"
        Examples per update; "auto": 200, or all if they are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}
        Of "sgd". "invscaling" divides it by ``(t + 1)**power_t`` after t examples; "adaptive"
        divides it by 5 where training would stop for want of improvement.
    learning_rate_init : float
        The learning rate at first.
    power_t : float
        For "invscaling".
    max_iter : int
        Most epochs; of "lbfgs", iterations.
    shuffle : bool
        Whether examples are shuffled before each epoch.
    random_state : int, RandomState or None
        Draws weights, orders, the validation split and dropout.
    tol : float
        Improvement that counts; of "lbfgs", the largest component of the gradient at the end.
    verbose : bool
        Whether a line is printed after each epoch.
    warm_start : bool
        Whether ``fit`` goes on from the parameters of the last one.
    momentum : float
        Of "sgd", in [0, 1].
    nesterovs_momentum : bool
        Whether it is Nesterov's.
    early_stopping : bool
        Whether a part of the examples is held out, and their score decides when to stop.
    validation_fraction : float
        How many are held out, in (0, 1).
    beta_1, beta_2, epsilon : float
        Of "adam": see ``xpnet.Adam``.
    n_iter_no_change : int
        Epochs without an improvement of ``tol`` after which training stops.
    max_fun : int
        Of "lbfgs": most evaluations of the cost.
    scoring : str or callable, optional
        The scorer that ``early_stopping`` watches in place of accuracy; sample weights are passed
        to it where it has a parameter ``sample_weight``.
    l1_ratio : float
        In [0, 1]: share of ``alpha`` that weighs ``sum(abs(W))`` instead of ``sum(W**2) / 2``. The
        solver "lbfgs" then sets weights to exactly 0 (OWL-QN, Andrew & Gao 2007).
    dropout : float, or one per hidden layer
        In [0, 1): probability of dropping a hidden unit in an update (Srivastava et al. 2014).
        Masks follow from ``random_state`` and are the same on every library.
    clip_norm : float, optional
        Largest norm of a gradient; larger ones are scaled down to it.
    optimizer : Optimizer, optional
        One of xpnet's, such as ``xpnet.AdamW(1e-3)``, in place of what ``solver``,
        ``learning_rate_init`` and its other parameters describe; ``learning_rate`` still applies.
    backend : str, module or array
        "auto" computes where X lives. A name of ``xpnet.backends()``, a module or an array
        chooses a place, and host data is moved there.
    device : str or device object, optional
        The library's default if left out.
    dtype : {"float32", "float64"}, optional
        Left out, a floating X decides.
    class_weight : dict, list of dict or "balanced", optional
        Multiplies the sample weights, by class. ``partial_fit`` takes no "balanced".

    Attributes
    ----------
    classes_ : array (n_classes,)
        On the host, so that it can hold any labels, unless ``array_api_dispatch`` is on.
    coefs_ : list of array (n_in, n_out)
        Weights of each layer, in the library of X.
    intercepts_ : list of array (n_out,)
        Biases of each layer.
    n_iter_ : int
        Epochs, or iterations of "lbfgs".
    t_ : int
        Examples seen.
    loss_, best_loss_ : float
        The last loss and the least; the least is None with ``early_stopping``.
    loss_curve_ : list of float
        The loss of each epoch.
    validation_scores_ : list of float or None
        The score after each epoch, with ``early_stopping``; the best is ``best_validation_score_``.
    validation_loss_curve_ : list of float or None
        Loss of the validation data after each epoch; None without such data.
    out_activation_ : str
        "softmax" or "logistic".

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
    >>> model = xpnet.MLPClassifier((4,), solver="lbfgs", random_state=0).fit(X, y)
    >>> model.predict(np.array([[0.5], [2.5]]))
    array(['no', 'yes'], dtype='<U3')
    """

    _parameter_constraints: ClassVar[dict] = {
        **Perceptron._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
    }
    _checks = {"multi_output": True}

    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"
    _: KW_ONLY
    class_weight: Any = None

    @available_if(lambda self: self._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None
    ) -> MLPClassifier:
        """Train one epoch on the given examples.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            As for ``fit``.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            As for ``fit``.
        sample_weight : array-like (n_samples,), optional
            As for ``fit``.
        classes : array-like (n_classes,), optional
            All labels of all calls; needed in the first call only.

        Returns
        -------
        MLPClassifier
            This estimator.

        Raises
        ------
        ValueError
            ``classes`` is missing in the first call, ``y`` has others, or ``class_weight`` is
            "balanced".
        AttributeError
            The solver is "lbfgs".

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0]]), np.array([0, 1])
        >>> model = xpnet.MLPClassifier((4,)).partial_fit(X, y, classes=[0, 1, 2])
        >>> model.partial_fit(X, y).t_
        4
        """
        classes, y = host(classes), host(y)
        if hasattr(self, "classes_"):
            self.classes_ = host(self.classes_)
        if _check_partial_fit_first_call(self, classes):
            labels = y if type_of_target(y).startswith("multilabel") else classes
            self._label_binarizer = LabelBinarizer().fit(labels)
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs all examples at once; for partial_fit pass the "
                "weights, class_weight={label: weight}"
            )
        return self._fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """Decide on labels, in the library of X if it holds them, else on the host.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array
            Labels (n_samples,), or rows of 0 and 1 (n_samples, n_classes) for several labels per
            example. Strings and sparse rows are on the host.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
        >>> model = xpnet.MLPClassifier((4,), solver="lbfgs", random_state=0).fit(X, y)
        >>> model.predict(X)
        array(['no', 'no', 'yes', 'yes'], dtype='<U3')
        """
        A, place = self._output(X, "predict")
        if self._label_binarizer.sparse_input_:
            return self._label_binarizer.inverse_transform(to_numpy(A))
        with place.context():
            codes = self._codes(A, place.xp)
        return self._given_back(codes, X) if self._multilabel else self._labels(codes, place, X)

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
        >>> model = xpnet.MLPClassifier((4,), solver="lbfgs", random_state=0).fit(X, y)
        >>> model.predict_proba(X).round(1)
        array([[1., 0.],
               [1., 0.],
               [0., 1.],
               [0., 1.]])
        """
        return self._given_back(self._probabilities(X, "predict_proba")[0], X)

    def predict_log_proba(self, X: Any) -> Array:
        """Compute the logarithms of the probabilities.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array (n_samples, n_classes)
            ``log(predict_proba(X))``.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
        >>> model = xpnet.MLPClassifier((4,), solver="lbfgs", random_state=0).fit(X, y)
        >>> np.allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
        True
        """
        A, place = self._probabilities(X, "predict_log_proba")
        with place.context():
            return self._given_back(place.xp.log(A), X)

    def _probabilities(self, X: Any, method: str) -> tuple[Array, Any]:
        A, place = self._output(X, method)
        if self.n_outputs_ > 1:
            return A, place
        with place.context():
            return place.xp.concat([1.0 - A, A], axis=1), place

    # -- labels: numbers, strings, or several per example ---------------------------------
    def _encoded(
        self, examples: Examples, incremental: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Targets as of ``_targets``, and the products of sample and class weights."""
        y, w = examples.y, examples.w
        if not hasattr(self, "classes_") or not (self.warm_start or incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        elif self.warm_start and set(found := unique_labels(y)) != set(host(self.classes_)):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {found}"
            )
        if self.class_weight is not None:
            by_class = compute_sample_weight(self.class_weight, y)
            w = by_class if w is None else w * by_class
        return self._targets(y), w

    def _targets(self, y: Any) -> np.ndarray:
        """Labels as class numbers (m,), or rows of 0 and 1 (m, n_outputs); refuses unknown ones."""
        if self._multilabel is not type_of_target(y).startswith("multilabel"):
            one, several = "one label per example", "a row of 0 and 1 per example"
            here, there = (several, one) if self._multilabel else (one, several)
            raise ValueError(f"this classifier was fitted to {here}, but `y` has {there}")
        if self._multilabel:
            return (y.toarray() if is_sparse(y) else y).astype(bool)
        found = unique_labels(y)
        if len(np.setdiff1d(found, host(self.classes_), assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {found}."
            )
        if self._label_binarizer.y_type_ == "multiclass":
            return np.searchsorted(host(self.classes_), y).astype(np.int32)
        return self._label_binarizer.transform(y).astype(bool)

    @property
    def _multilabel(self) -> bool:
        return self._label_binarizer.y_type_.startswith("multilabel")

    def _out_activation(self) -> str:
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _codes(self, A: Array, xp: Any) -> Array:
        """Numbers of the classes (m,) of outputs (m, n_outputs), or rows of 0 and 1."""
        if self.out_activation_ == "softmax":
            return xp.argmax(A, axis=1)
        met = xp.astype(A > 0.5, xp.asarray(0).dtype)
        return met if self._multilabel else met[:, 0] * int(self.classes_.shape[0] > 1)

    def _encoded_score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray | None) -> float:
        """Accuracy; every label of a row must be met."""
        hits = self._codes(output, np) == (Y if Y.ndim == 1 else self._codes(Y, np))
        return float(np.average(np.all(hits.reshape(len(Y), -1), axis=1), weights=w))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


@dataclass(repr=False, eq=False)
class MLPRegressor(ArrayRegressor, Perceptron):
    """Multi-layer perceptron regressor: half the squared error, or half the Poisson deviance.

    scikit-learn's ``MLPRegressor`` with its signature, attributes and defaults; what xpnet adds
    comes last. With "adam" and "sgd" a ``random_state`` gives the same run as there, in float64.
    Arrays of any library come in, and arrays of that library go out. Examples are rows.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}
        "poisson" is for counts, at least 0; its output is ``exp(Z)``.
    hidden_layer_sizes, activation, solver, alpha, batch_size, learning_rate : optional
        As for ``MLPClassifier``.
    learning_rate_init, power_t, max_iter, shuffle, random_state, tol, verbose : optional
        As for ``MLPClassifier``.
    warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction : optional
        As for ``MLPClassifier``.
    beta_1, beta_2, epsilon, n_iter_no_change, max_fun, scoring, l1_ratio, dropout : optional
        As for ``MLPClassifier``; the score that ``early_stopping`` watches is R².
    clip_norm, optimizer, backend, device, dtype : optional
        As for ``MLPClassifier``.

    Attributes
    ----------
    coefs_ : list of array (n_in, n_out)
        Weights of each layer, in the library of X.
    intercepts_ : list of array (n_out,)
        Biases of each layer.
    n_iter_ : int
        Epochs, or iterations of "lbfgs". The other attributes are those of ``MLPClassifier``,
        without ``classes_``.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([1.0, 3.0, 5.0, 7.0])
    >>> model = xpnet.MLPRegressor(hidden_layer_sizes=4, solver="lbfgs", random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.99
    True
    """

    _parameter_constraints: ClassVar[dict] = {
        **Perceptron._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }
    _checks = {"multi_output": True, "y_numeric": True}

    loss: str = "squared_error"
    hidden_layer_sizes: Any = (100,)
    activation: Any = "relu"

    @available_if(lambda self: self._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> MLPRegressor:
        """Train one epoch on the given examples.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            As for ``fit``.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            As for ``fit``.
        sample_weight : array-like (n_samples,), optional
            As for ``fit``.

        Returns
        -------
        MLPRegressor
            This estimator.

        Raises
        ------
        AttributeError
            The solver is "lbfgs".

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0]]), np.array([1.0, 3.0])
        >>> xpnet.MLPRegressor(hidden_layer_sizes=4).partial_fit(X, y).partial_fit(X, y).t_
        4
        """
        return self._fit(X, y, sample_weight)

    def predict(self, X: Any) -> Array:
        """Predict targets.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.

        Returns
        -------
        array (n_samples,), or (n_samples, n_outputs) of several outputs
            In the library of X.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, Y = np.array([[0.0], [1.0], [2.0]]), np.array([[1.0, 0.0], [3.0, 1.0], [5.0, 2.0]])
        >>> model = xpnet.MLPRegressor(hidden_layer_sizes=4, solver="lbfgs")
        >>> model.fit(X, Y).predict(X).shape
        (3, 2)
        """
        A, _ = self._output(X, "predict")
        return self._given_back(A[:, 0] if A.shape[1] == 1 else A, X)

    def _encoded(
        self, examples: Examples, incremental: bool
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Targets (m, n_outputs) and sample weights."""
        return self._targets(examples.y), examples.w

    def _targets(self, y: np.ndarray) -> np.ndarray:
        return y[:, None] if y.ndim == 1 else y

    def _out_activation(self) -> str:
        return "exp" if self.loss == "poisson" else "identity"

    def _encoded_score(self, Y: np.ndarray, output: np.ndarray, w: np.ndarray | None) -> float:
        """R^2, NaN where the output is not finite."""
        if not np.all(np.isfinite(output)):
            return float("nan")
        return float(r2_score(Y, output, sample_weight=w))
