"""Nets to and from scikit-learn's ``MLPClassifier`` and ``MLPRegressor``; from linear models too.

Examples are rows there, (m, n_x). Parameters are copied, never shared.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.files.model import activation_names

# Activations by scikit-learn's names.
_HIDDEN = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_LINEAR = {"LogisticRegression", "LinearRegression"}
_OUTPUTS = {"logistic": "sigmoid", "softmax": "softmax", "identity": "identity"}


def from_sklearn(
    kind: Any, estimator: Any, backend: Any = "auto", device: Any = None, dtype: Any = None
) -> Any:
    """A net of class ``kind``, ``DeepNet``, that predicts the same as a fitted estimator.

    Its ``data`` hold the label of each class number, ``classes`` (none for several labels per
    example), and the names of the ``features``, where the estimator has them.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, LogisticRegression or LinearRegression
        scikit-learn's or xpnet's, fitted.
    backend, device, dtype
        As for ``DeepNet``; the dtype is the estimator's if left out.

    Raises
    ------
    TypeError
        It is no such estimator.
    ValueError
        It is not fitted, or its output has no counterpart, as that of a Poisson loss.
    """
    of_linear = _LINEAR.intersection(each.__name__ for each in type(estimator).__mro__)
    of_mlp = hasattr(estimator, "activation") and hasattr(estimator, "hidden_layer_sizes")
    if not of_linear and not of_mlp:
        raise TypeError(
            f"{type(estimator).__name__} is no MLPClassifier, MLPRegressor, LogisticRegression or "
            "LinearRegression, of scikit-learn or of xpnet"
        )
    if not hasattr(estimator, "coef_" if of_linear else "coefs_"):
        raise ValueError(f"this {type(estimator).__name__} is not fitted yet")
    if of_linear:
        coef = estimator.coef_.toarray() if hasattr(estimator.coef_, "tocsr") else estimator.coef_
        coefs = [np.atleast_2d(to_numpy(coef)).T]  # (n_x, n_y)
        n_y, hidden = coefs[0].shape[1], []
        intercepts = [np.broadcast_to(to_numpy(estimator.intercept_), (n_y,))]
        out = "softmax" if n_y > 1 else "logistic"
        out = out if hasattr(estimator, "classes_") else "identity"
    else:
        coefs = [to_numpy(coef) for coef in estimator.coefs_]  # (n_in, n_out)
        intercepts = [to_numpy(intercept) for intercept in estimator.intercepts_]  # (n_out,)
        hidden, out = estimator.activation, estimator.out_activation_
    if out not in _OUTPUTS:
        raise ValueError(f"its output is {out!r}; a DeepNet has {list(_OUTPUTS.values())}")
    sizes = [coefs[0].shape[0], *(coef.shape[1] for coef in coefs)]
    hidden = list(hidden) if isinstance(hidden, list | tuple) else [hidden] * (len(sizes) - 2)
    hidden = [_HIDDEN.get(a, a) if isinstance(a, str) else a for a in hidden]
    dtype = coefs[0].dtype.name if dtype is None else dtype
    net = kind(sizes, hidden, _OUTPUTS[out], backend, device, dtype)
    net.parameters = [(c.T, i[:, None]) for c, i in zip(coefs, intercepts, strict=True)]
    if hasattr(estimator, "classes_") and (net.output == "softmax" or sizes[-1] == 1):
        net.data["classes"] = to_numpy(estimator.classes_).tolist()
    if hasattr(estimator, "feature_names_in_"):
        net.data["features"] = estimator.feature_names_in_.tolist()
    return net


def to_sklearn(net: Any, classes: Any = None) -> Any:
    """A fitted ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn that predicts the same.

    A sigmoid output becomes a binary classifier, or one of several labels if it has more than one
    unit; softmax a classifier; identity a regressor. Two softmax units become one logistic unit,
    which is how scikit-learn has two classes. ``partial_fit`` goes on from the parameters.

    Parameters
    ----------
    classes : array-like (k,), optional
        The labels of the outputs, in their order; 0 ... k-1 if left out. scikit-learn sorts
        classes: the outputs are then sorted with them.

    Raises
    ------
    ImportError
        scikit-learn is not installed.
    ValueError
        scikit-learn's MLPs have no such activation, or the layers have different ones; there are
        not as many distinct classes as the outputs tell apart.
    """
    try:
        from sklearn.neural_network import MLPClassifier, MLPRegressor
        from sklearn.preprocessing import LabelBinarizer
        from sklearn.utils import check_random_state
    except ImportError:
        install = "python -m pip install scikit-learn"
        raise ImportError(f"to_sklearn needs scikit-learn: {install}") from None

    names = sorted(set(activation_names(net, "an MLP of scikit-learn")))
    named = {ours: theirs for theirs, ours in _HIDDEN.items()}
    if len(names) > 1 or not set(names) <= set(named):
        raise ValueError(
            f"hidden layers with {' and '.join(names)}: an MLP of scikit-learn has one of "
            f"{list(named)} in all of them"
        )
    activation = named[names[0]] if names else "relu"
    settings = {"hidden_layer_sizes": net.sizes[1:-1], "activation": activation}
    layers = [(to_numpy(W), to_numpy(b)) for W, b in net.parameters]
    if net.output == "identity":
        if classes is not None:
            raise ValueError("classes are for classifiers; an identity output is a regression")
        model, out = MLPRegressor(**settings), "identity"
    else:
        model = MLPClassifier(**settings)
        n_y = net.sizes[-1]
        if net.output == "sigmoid" and n_y > 1:
            if classes is not None:
                raise ValueError(
                    f"{n_y} sigmoid outputs are {n_y} labels per example, which have no classes"
                )
            labels, out = np.eye(n_y, dtype=np.int64), "logistic"
        else:
            k = max(n_y, 2)
            labels, out = _distinct(classes, k), "softmax" if k > 2 else "logistic"
            layers[-1] = _reordered(*layers[-1], np.argsort(labels))
        model._label_binarizer = LabelBinarizer().fit(labels)
        model.classes_ = model._label_binarizer.classes_
    # What ``fit`` sets before its first step.
    model.coefs_ = [np.ascontiguousarray(W.T) for W, _ in layers]
    model.intercepts_ = [b[:, 0].copy() for _, b in layers]
    model.n_layers_, model.n_features_in_ = len(layers) + 1, net.sizes[0]
    model.n_outputs_, model.out_activation_ = len(model.intercepts_[-1]), out
    model.n_iter_ = model.t_ = model._no_improvement_count = 0
    model.loss_curve_, model.best_loss_ = [], np.inf
    model.validation_scores_ = model.best_validation_score_ = None
    model._random_state = check_random_state(None)
    return model


def _distinct(classes: Any, k: int) -> np.ndarray:
    labels = np.arange(k) if classes is None else np.asarray(classes)
    if labels.shape != (k,) or len(np.unique(labels)) != k:
        raise ValueError(f"classes={classes!r}: expected {k} distinct labels")
    return labels


def _reordered(W: np.ndarray, b: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output layer (n_y, n_in), (n_y, 1) with its classes in this order, two as one unit."""
    if len(order) > 2:
        return W[order], b[order]
    if len(W) == 1:  # sigmoid(z) is the second of softmax(0, z)
        W, b = (np.concatenate([np.zeros_like(x), x]) for x in (W, b))
    first, second = order[:1], order[1:]
    return W[second] - W[first], b[second] - b[first]
