"""The base of the estimators: scikit-learn's checks, and arrays kept in the caller's library.

scikit-learn checks what lives on the host: NumPy arrays, lists, frames, SciPy matrices. Arrays of
another library are checked here, with its messages, and never leave their device; its dispatch
switch plays no part. Labels, targets and sample weights are read on the host once per fit.

Everything follows X: fitted arrays live where X lived in ``fit``, and a method returns an array of
the library of its X.

An estimator's parameters are the fields of a dataclass: the generated ``__init__`` has the explicit
signature that scikit-learn reads, and does nothing but set them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from xpnet._typing import Array
from xpnet.backends.place import (
    Backend,
    best_for,
    beyond_float32,
    exchanged,
    place_of,
    select,
    to_numpy,
)
from xpnet.data.checks import refuse_beyond_float32, unmasked
from xpnet.estimators.arrays import (
    check_foreign,
    converted,
    dtype_holding,
    host,
    is_foreign,
    values_of,
)

_HOST_CHECKS = {"accept_sparse": ["csr", "csc"], "dtype": (np.float64, np.float32)}


class Examples(NamedTuple):
    """The checked data of a fit, with one example per row."""

    place: Backend  # where to compute, with its dtype
    X: Array  # (m, n_x) in that place and dtype, or a CSR matrix
    y: np.ndarray  # (m,) or (m, n_y), on the host, as scikit-learn's checks return it
    w: np.ndarray | None  # (m,) sample weights on the host; None: all are 1


class ArrayEstimator(BaseEstimator):
    """Base of the estimators; ``_home`` names the fitted attribute that shows where one lives."""

    _parameter_constraints: ClassVar[dict] = {
        name: [object] for name in ("backend", "device", "dtype")
    }
    _home = "coef_"  # an array, or a list of arrays
    backend: Any
    device: Any
    dtype: Any
    classes_: Any  # of a classifier

    # -- reading ---------------------------------------------------------------------------
    @np.errstate(over="ignore", invalid="ignore")  # a sum of finite numbers need not be finite
    def _read(
        self, X: Any, y: Any, w: Any = None, *, reset: bool = True, **checks: Any
    ) -> Examples:
        """The checked data of a fit.

        ``checks`` are ``multi_output``, ``y_numeric`` and, of the weights w,
        ``ensure_non_negative``.

        Raises
        ------
        ValueError
            What scikit-learn's checks find; X of another library or device than asked for.
        """
        frame, y, w = (unmasked(x, "The data") for x in (X, y, w))
        given = exchanged(frame, "X")
        of_weights = {"ensure_non_negative": checks.pop("ensure_non_negative", False)}
        X = given
        y = y if y is None else host(y)
        if is_foreign(X):
            check_foreign(X, self)
            validate_data(self, _named(frame, X), y, skip_check_array=True, reset=reset)
            y = validate_data(self, y=y, reset=reset, **checks)
            check_consistent_length(X, y)
        else:
            X, y = validate_data(self, X, y, reset=reset, **_HOST_CHECKS, **checks)
        w = None if w is None else _check_sample_weight(host(w), y, **of_weights)
        place = self._place(X, y, reset)
        follows = self.__dict__.pop("_follows", False)
        if not reset:  # the fitted arrays and their dtype decide
            if follows:
                self.__dict__ |= self._converted_attributes(place.asarray)
            home = self._home_array()
            place = place.with_dtype(home.dtype)
            if not place.holds(home) and not self._moves:
                raise ValueError(self._misplaced(place, place_of(home), "partial_fit"))
        numbers = {"X": given, "y": y} if checks.get("y_numeric") else {"X": given}
        place = self._exact(place, settled=not reset, **numbers)
        return Examples(place, self._moved(X, place, "fit"), y, w)

    @np.errstate(over="ignore", invalid="ignore")
    def _read_X(self, X: Any, method: str) -> tuple[Array, Backend]:
        """The checked X of ``predict`` and its like, and the place with the dtype to compute in."""
        if not hasattr(self, self._home):  # which is sooner asked than checked
            check_is_fitted(self)
        frame = unmasked(X, "X")
        given = X = exchanged(frame, "X")
        if is_foreign(X):
            check_foreign(X, self)
            validate_data(self, _named(frame, X), skip_check_array=True, reset=False)
        else:
            X = validate_data(self, X, reset=False, **_HOST_CHECKS)
        home = self._home_array()
        there = values_of(X) if "_follows" in self.__dict__ else home
        place = self._exact(place_of(there).with_dtype(home.dtype), settled=True, X=given)
        return self._moved(X, place, method), place

    def _place(self, X: Any, y: Any, reset: bool) -> Backend:
        """Where a fit on ``X`` computes, with the dtype: X's own place unless a parameter says."""
        values = values_of(X)
        backend = self.backend if self._moves else values
        if isinstance(backend, str) and backend == "best" and self.device is None:
            if is_foreign(X):
                backend = values
            elif reset:
                backend, _ = best_for(*self._step(X, y))
            else:
                backend = place_of(self._home_array())
        return select(backend, self.device, self.dtype).following(values)

    def _step(self, X: Any, y: Any) -> tuple[int, int]:
        """About how many parameters a step of the fit has, and examples: all, of minibatches 200.

        Those of the output count as one where y has one column.
        """
        m, n_x = X.shape
        widths = [n_x, *getattr(self, "_hidden_sizes", list)(), y.shape[1] if y.ndim == 2 else 1]
        batch = getattr(self, "batch_size", None)
        batch = m if batch is None or getattr(self, "solver", "") == "lbfgs" else batch
        n_parameters = sum(a * b for a, b in pairwise(widths))
        return n_parameters, min(200 if batch == "auto" else batch, m)

    def _exact(self, place: Backend, *, settled: bool, **numbers: Any) -> Backend:
        """``place`` in float64 where float32 cannot hold the numbers and the dtype is open.

        Raises
        ------
        ValueError
            There is no float64, or float32 was asked for.
        """
        for name, x in numbers.items() if place.dtype_name == "float32" else ():
            x = values_of(x) if hasattr(values_of(x), "dtype") else np.asarray(x)
            if beyond_float32(x) is not None:
                if self.dtype is None and not settled:
                    with suppress(ValueError):
                        return place.with_dtype("float64")
                lines, line = (x.T, "column") if x.ndim == 2 else (x[:, None], "entry")
                refuse_beyond_float32(lines, name, line, f"{type(self).__name__}(dtype='float64')")
        return place

    @property
    def _moves(self) -> bool:
        """Whether host data may be moved to a device: yes if the user chose the place."""
        return not (isinstance(self.backend, str) and self.backend == "auto")

    def _moved(self, X: Any, place: Backend, method: str) -> Array:
        """``X`` in ``place`` and its dtype; a sparse X stays where it is, in rows.

        Minibatches need contiguous rows; a prediction reads X once, as it lies.
        """
        values = values_of(X)
        here = place.holds(values)
        if not here and not (self._moves and isinstance(values, np.ndarray)):
            raise ValueError(self._misplaced(place_of(values), place, method))
        if values is not X:
            X, name = X.tocsr(), place.dtype_name
            return X if X.dtype == name else X.astype(name)
        if not here:
            X = place.asarray(X, place.dtype)
        elif X.dtype != place.dtype:
            with place.context():
                X = place.xp.astype(X, place.dtype)
        return place.contiguous(X) if method == "fit" else X

    def _misplaced(self, there: Backend, here: Backend, method: str) -> str:
        name = type(self).__name__
        if method == "fit":
            return (
                f"X lives in {there} but {name} was told to compute in {here}: move X there, or "
                f"pass backend={there.name!r}, device={there.device_name!r} (or neither, and it "
                "follows X)"
            )
        return (
            f"Inputs passed to {name}.{method}() must use the same namespace and the same device "
            f"as those passed to fit(): X lives in {there} but {name} was fitted in {here}. "
            f"Pass X as an array of {here.name}, or move the estimator with "
            "sklearn.utils._array_api.move_estimator_to(estimator, xp, device)"
        )

    def _home_array(self) -> Array:
        home = getattr(self, self._home)
        return home[0] if isinstance(home, list) else home

    # -- returning -------------------------------------------------------------------------
    def _given_back(self, A: Array, X: Any) -> Array:
        """``A`` as an array of the library of the ``X`` it was computed from."""
        return A if is_foreign(X) else to_numpy(A)

    def _beside(self, y: Any) -> Any:
        """This estimator, with ``classes_`` in the library of ``y`` if that is dispatched on."""
        if get_config()["array_api_dispatch"] and hasattr(self, "classes_") and is_foreign(y):
            self.classes_ = place_of(y).asarray(self.classes_)
        return self

    # -- moving ----------------------------------------------------------------------------
    def __sklearn_array_api_convert__(self, converter: Callable[[Array], Array]) -> Any:
        """A copy whose fitted arrays are converted: scikit-learn's ``move_estimator_to``."""
        twin = copy.copy(self)
        twin.__dict__ |= self._converted_attributes(converter)
        twin.__dict__.pop("_follows", None)
        return twin

    def _converted_attributes(self, converter: Callable[[Array], Array]) -> dict[str, Any]:
        kept = {*self.get_params(deep=False), "classes_", "feature_names_in_"}
        fitted = {name: value for name, value in self.__dict__.items() if name not in kept}
        return {name: converted(value, converter) for name, value in fitted.items()}

    def __getstate__(self) -> dict[str, Any]:
        # Pickles hold host arrays only: an estimator fitted on a GPU predicts on a laptop.
        state = super().__getstate__()
        if hasattr(self, self._home) and is_foreign(self._home_array()):
            state = {name: converted(value, to_numpy) for name, value in state.items()}
            state["_follows"] = True  # they compute where X lives
        return state

    def __copy__(self) -> Any:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # Without __getstate__, so that a copy stays on its device. Arrays are copied by their own
        # library, since some do not support deepcopy.
        def remember(x: Array) -> Array:
            memo[id(x)] = place_of(x).xp.asarray(x, copy=True)
            return x

        self._converted_attributes(remember)
        twin = object.__new__(type(self))
        twin.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.array_api_support = True
        tags.input_tags.sparse = True
        return tags


def _named(frame: Any, X: Array) -> Any:
    """What scikit-learn's checks read the names and the number of features of."""
    return frame if hasattr(frame, "columns") else X


class ArrayClassifier(ClassifierMixin, ArrayEstimator):
    """A classifier: its ``score`` is the accuracy, for labels of any library.

    ``classes_`` stay on the host, but where scikit-learn's ``array_api_dispatch`` is on: there they
    are arrays of the library of y, as its own estimators' are. ``predict`` gives labels back in the
    library of X, in a dtype of its that holds all of them; where none does, as for strings, as a
    NumPy array.
    """

    def _labels(self, codes: Array, place: Backend, X: Any) -> Array:
        """The labels of class numbers ``codes`` (m,), which are in ``place``."""
        classes = host(self.classes_)
        dtype = dtype_holding(classes, place) if is_foreign(X) else None
        if dtype is None:
            return classes[to_numpy(codes)]
        with place.context():
            return place.xp.take(place.asarray(classes.astype(dtype)), codes, axis=0)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute the accuracy; of several labels per example, all must be right.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Labels, of any library.
        sample_weight : array-like (n_samples,), optional
            How much each example counts.

        Returns
        -------
        float
            1.0 where all is right.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array(["no", "no", "yes", "yes"])
        >>> xpnet.LogisticRegression().fit(X, y).score(X, ["no", "yes", "yes", "yes"])
        0.75
        """
        predicted = host(self.predict(X))
        return float(accuracy_score(host(y), predicted, sample_weight=host(sample_weight)))


class ArrayRegressor(RegressorMixin, ArrayEstimator):
    """A regressor: its ``score`` is R^2, for targets of any library."""

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Compute R², the coefficient of determination, averaged over outputs.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Examples in rows.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Targets, of any library.
        sample_weight : array-like (n_samples,), optional
            How much each example counts.

        Returns
        -------
        float
            1.0 where all is right.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
        >>> round(xpnet.LinearRegression().fit(X, y).score(X, y), 6)
        1.0
        """
        return float(r2_score(host(y), host(self.predict(X)), sample_weight=host(sample_weight)))
