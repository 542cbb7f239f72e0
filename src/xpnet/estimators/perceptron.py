"""The fit of ``MLPClassifier`` and ``MLPRegressor``, in scikit-learn's order of events.

The same ``random_state`` gives the run that scikit-learn's nets would make: weights, split and
shuffles are drawn from it in the same order, the penalty of a minibatch is divided by the sum of
its sample weights, and losses are reported alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import inf, sqrt
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context, is_classifier
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as Original
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions

from xpnet._typing import Array
from xpnet.backends.place import memory_freed_after
from xpnet.core.activations import ACTIVATIONS, Activation
from xpnet.core.losses import as_reported, bernoulli, categorical, poisson, squared
from xpnet.core.network import Objective
from xpnet.core.optimizers import Optimizer
from xpnet.estimators.base import ArrayEstimator, Examples
from xpnet.estimators.callbacks import FitTasks
from xpnet.estimators.descent import descend, minimize
from xpnet.estimators.net import Net, Rows
from xpnet.estimators.solvers import StochasticSolver
from xpnet.estimators.validation import Validation
from xpnet.net.arguments import check_hidden

_LINKS = {"logistic": bernoulli, "softmax": categorical, "identity": squared, "exp": poisson}
_LOSSES = {link: as_reported(loss) for link, loss in _LINKS.items()}


@dataclass(kw_only=True, repr=False, eq=False)
class Perceptron(CallbackSupportMixin, ArrayEstimator):
    """Base of the multi-layer perceptrons: scikit-learn's parameters in its order, then xpnet's."""

    solver: str = "adam"
    alpha: float = 0.0001
    batch_size: Any = "auto"
    learning_rate: str = "constant"
    learning_rate_init: float = 0.001
    power_t: float = 0.5
    max_iter: int = 200
    shuffle: bool = True
    random_state: Any = None
    tol: float = 1e-4
    verbose: bool = False
    warm_start: bool = False
    momentum: float = 0.9
    nesterovs_momentum: bool = True
    early_stopping: bool = False
    validation_fraction: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    n_iter_no_change: float = 10
    max_fun: int = 15000
    scoring: Any = None
    l1_ratio: float = 0.0
    dropout: Any = 0.0
    clip_norm: float | None = None
    optimizer: Any = None
    backend: Any = "auto"
    device: Any = None
    dtype: Any = None

    _parameter_constraints: ClassVar[dict] = {
        **Original._parameter_constraints,
        **ArrayEstimator._parameter_constraints,
        # "logistic" is scikit-learn's name of the sigmoid
        "activation": [StrOptions({"logistic", *ACTIVATIONS}), Activation, list, tuple],
        "scoring": [str, callable, None],
        "l1_ratio": [Interval(Real, 0, 1, closed="both")],
        "dropout": [Interval(Real, 0, 1, closed="left"), list, tuple],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "optimizer": [Optimizer, None],
    }
    _home = "coefs_"

    # -- fitting ---------------------------------------------------------------------------
    @with_callbacks
    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None) -> Any:
        """Train the net.

        Parameters
        ----------
        X : array, frame or sparse matrix (n_samples, n_features)
            Of any library; the fit runs where it lives. A sparse matrix, of SciPy or cupyx, is made
            dense a few minibatches at a time, but on NumPy, which takes it as it is.
        y : array-like (n_samples,) or (n_samples, n_outputs)
            Class labels, numbers or strings; or targets. Of any library: read on the host.
        sample_weight : array-like (n_samples,), optional
            As in scikit-learn, a minibatch is divided by its own sum of weights, which biases what
            small minibatches learn; ``DeepNet.fit`` divides by the mean weight of all examples.
        validation_data : (X, y) or (X, y, sample_weight), optional
            Scored after each epoch; with ``early_stopping`` in place of a part of X and y.

        Returns
        -------
        object
            This estimator.

        Raises
        ------
        ValueError, TypeError
            What scikit-learn's checks find; X of another library or device than asked for;
            parameters that do not go together.

        Warns
        -----
        ConvergenceWarning
            ``max_iter`` or ``max_fun`` was reached.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> model = xpnet.MLPClassifier((32,), early_stopping=True, random_state=0)
        >>> model.fit(X[:1500] / 16, y[:1500]).score(X[1500:] / 16, y[1500:]) > 0.8
        True
        """
        tasks = FitTasks(self, f"{self.solver}-iter", self.max_iter, X, y, sample_weight)
        self._fit(X, y, sample_weight, validation_data, tasks)
        tasks.close()
        return self._beside(y)

    @memory_freed_after()
    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: Any = None,
        tasks: FitTasks | None = None,
    ) -> Any:
        """``fit``, or without ``tasks`` one epoch more: ``partial_fit``."""
        incremental = tasks is None
        if isinstance(self.optimizer, type):
            raise TypeError(f"optimizer={self.optimizer!r}: expected one such as xpnet.Adam(1e-3)")
        stochastic = {
            "validation_data": validation_data is not None,
            "optimizer": self.optimizer is not None,
            "dropout": self.dropout != 0.0,
            "clip_norm": self.clip_norm is not None,
        }
        for name, given in stochastic.items():
            if given and self.solver == "lbfgs":
                raise ValueError(f"{name} is for the solvers 'sgd' and 'adam', not 'lbfgs'")
        fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        sizes = self._hidden_sizes()
        examples = self._examples(X, y, sample_weight, reset=fresh)
        Y, w = self._encoded(examples, incremental)
        self._random_state = check_random_state(self.random_state)
        outputs = len(self.classes_) if Y.ndim == 1 else Y.shape[1]
        if fresh:
            self._initialize((examples.X.shape[1], *sizes, outputs))
        self._check_outputs(Y, "y")
        net = self._net(examples.place)
        rows = Rows(net, examples.X, Y, w)
        theta = net.flat(self.coefs_, self.intercepts_)
        self.__dict__ |= net.shown(theta)  # now in their place
        if self.solver == "lbfgs":
            assert tasks is not None
            theta = minimize(self, net, theta, rows, tasks)
        else:
            rows, validation = self._held_out(net, rows, examples, validation_data, incremental)
            if not incremental or not hasattr(self, "_optimizer"):
                self._optimizer = StochasticSolver.of(self, theta, examples.place)
            best = theta if fresh else None
            theta = descend(self, net, theta, rows, validation, best, tasks)
        self.__dict__ |= net.shown(theta)
        if not bool(examples.place.xp.all(examples.place.xp.isfinite(theta))):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large "
                "values and need to be preprocessed."
            )
        return self

    def _initialize(self, sizes: tuple[int, ...]) -> None:
        """Sets what a first fit sets; weights are drawn as in Glorot & Bengio 2010, equation 16."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_, self.n_outputs_ = len(sizes), sizes[-1]
        self.out_activation_ = self._out_activation()
        activations = [a.name for a in self._activations(len(sizes) - 2)]
        activations = (activations or [self.activation]) + activations[-1:]
        coefs, intercepts = [], []
        for (n_in, n_out), name in zip(pairwise(sizes), activations, strict=False):
            bound = sqrt((2.0 if name in ("logistic", "sigmoid") else 6.0) / (n_in + n_out))
            coefs.append(self._random_state.uniform(-bound, bound, (n_in, n_out)))
            intercepts.append(self._random_state.uniform(-bound, bound, n_out))
        self.coefs_, self.intercepts_ = coefs, intercepts
        if self.solver == "lbfgs":
            return
        self.loss_curve_: list[float] = []
        self._no_improvement_count = 0
        stops_early = self.early_stopping
        self.best_loss_ = None if stops_early else inf
        self.validation_scores_: list[float] | None = [] if stops_early else None
        self.best_validation_score_ = -inf if stops_early else None
        self.validation_loss_curve_: list[float] | None = None

    def _held_out(
        self, net: Net, rows: Rows, examples: Examples, given: Any, incremental: bool
    ) -> tuple[Rows, Validation | None]:
        """The training data, and the validation data if there is any."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if given is not None:
            if not isinstance(given, tuple | list) or len(given) not in (2, 3):
                raise ValueError("validation_data: expected (X, y) or (X, y, sample_weight)")
            _, X, y, w = self._examples(*given, reset=False, ensure_non_negative=True)
            Y = self._targets(y)
            self._check_outputs(Y, "the y of validation_data")
            return rows, Validation(self, net, Rows(net, X, Y, w), y)
        if not self.early_stopping:
            return rows, None
        train, rest = train_test_split(
            np.arange(len(rows)),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=rows.Y if is_classifier(self) and self.n_outputs_ == 1 else None,
        )
        if len(rest) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        return rows.take(train), Validation(self, net, rows.take(rest), examples.y[rest])

    def _examples(self, X: Any, y: Any, w: Any = None, **checks: Any) -> Examples:
        """``_read``, with a column of targets as a vector."""
        examples = self._read(X, y, w, **checks, **self._checks)
        y = examples.y
        one = y.ndim == 2 and y.shape[1] == 1
        return examples._replace(y=column_or_1d(y, warn=True)) if one else examples

    def _check_outputs(self, Y: np.ndarray, what: str) -> None:
        if Y.ndim == 2 and Y.shape[1] != self.n_outputs_:
            raise ValueError(
                f"{what} has {Y.shape[1]} value(s) per example, but the net has {self.n_outputs_} "
                "output(s)"
            )

    # -- the net ---------------------------------------------------------------------------
    def _hidden_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _activations(self, n_hidden: int) -> tuple[Activation, ...]:
        each = self.activation
        each = each if isinstance(each, list | tuple) else [each] * n_hidden
        named = ["sigmoid" if a == "logistic" else a for a in each]
        return check_hidden(named, n_hidden, "activation")

    def _net(self, place: Any) -> Net:
        sizes = (self.coefs_[0].shape[0], *(coef.shape[1] for coef in self.coefs_))
        hidden, loss = self._activations(len(sizes) - 2), _LOSSES[self.out_activation_]
        return Net(place, Objective(sizes, hidden, loss))

    def _output(self, X: Any, method: str) -> tuple[Array, Any]:
        """The output (n_samples, n_outputs) where the net lives, and that place."""
        rows, place = self._read_X(X, method)
        return self._net(place).output(self.coefs_, self.intercepts_, rows), place

    # -- partial_fit -----------------------------------------------------------------------
    def _check_solver(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True
