"""The public functions: the notes' by their own names, and ``load``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from xpnet._typing import Array
from xpnet.backends.place import computing_with, dtype_name, magnitude, refuse_traced
from xpnet.core.activations import ACTIVATIONS, Activation, get_activation
from xpnet.core.parameters import Layer
from xpnet.data.checks import check_numeric, refuse_beyond_float32
from xpnet.exceptions import ModelFileError
from xpnet.files.atomic import File, name_of
from xpnet.files.checkpoint import unpack
from xpnet.files.model import load_model
from xpnet.net.deepnet import DeepNet
from xpnet.net.placement import is_auto


def affine(W: Array, A: Array, b: Array) -> Array:
    """``Z = W @ A + b``: W (n_out, n_in), A (n_in, m), b (n_out, 1); Z (n_out, m).

    Raises
    ------
    TypeError
        They are not arrays of one library.
    """
    with computing_with(W=W, A=A, b=b) as (_, W, A, b):
        return W @ A + b


def _value(activation: Activation) -> Callable[[Array], Array]:
    def function(Z: Array) -> Array:
        with computing_with(Z=Z) as (xp, Z):
            return activation.value(Z, xp=xp)

    doc = f"``{activation.name}(Z)``, elementwise, any shape and array library."
    return _as_public(function, activation.name, doc)


def _slope(activation: Activation) -> Callable[[Array], Array]:
    def function(A: Array) -> Array:
        with computing_with(A=A) as (xp, A):
            return activation.slope(A, xp=xp)

    doc = f"The derivative of {activation.name} where its *output* is ``A``, elementwise."
    return _as_public(function, f"{activation.name}_slope", doc)


def _as_public(function: Callable[[Array], Array], name: str, doc: str) -> Callable[[Array], Array]:
    """The function under the name that ``xpnet`` gives it, where pickle finds it."""
    function.__name__ = function.__qualname__ = name
    function.__module__, function.__doc__ = "xpnet", doc
    return function


# The public ``xpnet.relu``, ``xpnet.relu_slope`` and so on: two for every activation.
ACTIVATION_FUNCTIONS = {f.__name__: f for a in ACTIVATIONS.values() for f in (_value(a), _slope(a))}


class LayerCache(NamedTuple):
    """The arrays of a layer that its backward pass reads."""

    A_prev: Array  # (n_in, m)
    W: Array  # (n_out, n_in)
    b: Array  # (n_out, 1)
    A: Array  # (n_out, m)


def linear_activation_forward(
    A_prev: Array, W: Array, b: Array, activation: str | Activation
) -> tuple[Array, LayerCache]:
    """One layer: ``A = g(W @ A_prev + b)`` (n_out, m), and its cache.

    Raises
    ------
    ValueError
        Unknown activation, or shapes that do not fit.
    """
    with computing_with(A_prev=A_prev, W=W, b=b) as (xp, A_prev, W, b):
        if W.shape[1] != A_prev.shape[0] or b.shape != (W.shape[0], 1):
            raise ValueError(
                f"W {tuple(W.shape)}, A_prev {tuple(A_prev.shape)} and b {tuple(b.shape)} do not "
                "fit: expected (n_out, n_in), (n_in, m), (n_out, 1)"
            )
        A = get_activation(activation).value(W @ A_prev + b, xp=xp)
    return A, LayerCache(A_prev, W, b, A)


def linear_activation_backward(
    dA: Array, cache: LayerCache, activation: str | Activation
) -> tuple[Array, Array, Array]:
    """Back through one layer: ``dA_prev`` (n_in, m), ``dW`` (n_out, n_in), ``db`` (n_out, 1).

    ``dA`` (n_out, m) is the derivative of each example's own loss, for the last layer
    ``-(Y/AL - (1-Y)/(1-AL))``; the mean over the m examples is taken here, in ``dW`` and ``db``.
    """
    A_prev, W, _, A = cache
    m = A_prev.shape[1]
    with computing_with(dA=dA, A_prev=A_prev, W=W) as (xp, dA, A_prev, W):
        dZ = dA * get_activation(activation).slope(A, xp=xp)  # (n_out, m)
        dW = dZ @ A_prev.T / m  # (n_out, n_in)
        db = xp.sum(dZ, axis=1, keepdims=True) / m  # (n_out, 1)
        return W.T @ dZ, dW, db


def least_squares(X: Array, Y: Array) -> Layer:
    """OLS in closed form: the ``(W, b)`` that minimise ``sum((W @ X + b - Y)**2)``.

    Of several minimisers, the one with the smallest weights: ``W = Yc pinv(Xc)`` on centred
    data (Penrose 1956), ``b = mean(Y) - W mean(X)``.

    Parameters
    ----------
    X : array (n_x, m)
    Y : array (n_y, m) or (m,)

    Returns
    -------
    Layer(W, b) : (n_y, n_x) and (n_y, 1), in the library of X.

    Raises
    ------
    TypeError
        X or Y is not in float32, float64, integers or booleans.
    ValueError
        X and Y have different numbers of examples, none, or ones that are not finite.
    """
    with computing_with(X=X, Y=Y) as (xp, X, Y):
        Y = Y[None, :] if Y.ndim == 1 else Y
        if X.ndim != 2 or Y.ndim != 2 or X.shape[1] != Y.shape[1]:
            raise ValueError(
                f"X {tuple(X.shape)} and Y {tuple(Y.shape)} do not fit: "
                "expected (n_x, m) and (n_y, m)"
            )
        if X.shape[1] == 0:
            raise ValueError(f"X {tuple(X.shape)} holds no examples")
        for name, a in (("X", X), ("Y", Y)):
            check_numeric(a, name)
            refuse_traced(a, name)
            if dtype_name((a[:, :0] / 1.0).dtype) == "float32":
                refuse_beyond_float32(a, name, "row", "float64")
            if not bool(xp.all(xp.isfinite(a))):
                raise ValueError(f"{name} holds NaN or infinity: drop or impute such values")
        x_unit, y_unit = magnitude(X), magnitude(Y)  # squares must not overflow
        X, Y = X / x_unit, Y / y_unit
        X_mean, Y_mean = (xp.mean(a, axis=1, keepdims=True) for a in (X, Y))
        # Sums lose digits of float32, which differences from a rough mean, or a rough W, keep.
        X_mean = X_mean + xp.mean(X - X_mean, axis=1, keepdims=True)  # (n_x, 1)
        X, Y = X - X_mean, Y - Y_mean
        inverse = xp.linalg.pinv(X)  # (m, n_x)
        W = Y @ inverse  # (n_y, n_x)
        W = W + (Y - W @ X) @ inverse
        return Layer(W * (y_unit / x_unit), (Y_mean - W @ X_mean) * y_unit)


# -- the models of the notes -------------------------------------------------------------
def linear_regression(n_x: int, n_y: int = 1, **options: Any) -> DeepNet:
    """OLS as a net: no hidden layer, identity output, half the mean squared error.

    ``options`` of this and the next three are the other arguments of ``DeepNet``. The notes train
    all four with every example in each update: ``net.fit(X, Y, rule, batch_size=None)``.
    """
    return DeepNet([n_x, n_y], output="identity", **options)


def logistic_regression(n_x: int, **options: Any) -> DeepNet:
    """``A = sigmoid(w.T X + b)`` with cross-entropy."""
    return DeepNet([n_x, 1], output="sigmoid", **options)


def shallow_net(n_x: int, n_h: int, **options: Any) -> DeepNet:
    """One hidden layer of ``n_h`` tanh units, sigmoid output."""
    return DeepNet([n_x, n_h, 1], hidden="tanh", output="sigmoid", **options)


def deep_net(sizes: Sequence[int], **options: Any) -> DeepNet:
    """ReLU hidden layers of these widths, sigmoid output."""
    return DeepNet(sizes, hidden="relu", output="sigmoid", **options)


# -- files -------------------------------------------------------------------------------
_DAMAGED = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


def load(path: File, backend: Any = "auto", device: Any = None, dtype: Any = None) -> DeepNet:
    """The net in a file, by its path or open, that ``DeepNet.save`` or ``xpnet train`` wrote.

    ``net.data`` and ``net.tensors`` are what was saved beside it. The net of ``xpnet train`` wants
    standardised features, ``(X - input_mean) / input_scale``, and a regression answers in units of
    ``target_scale`` around ``target_mean``: these are in ``net.tensors``, and the names of columns
    and classes in ``net.data``. A scale of 0 marks a constant column, which becomes 0.
    ``net.predict_raw(X)`` does all of that.

    Parameters
    ----------
    backend, device, dtype
        As for ``DeepNet``; the dtype is the saved one if left out.

    Raises
    ------
    ModelFileError
        The file is truncated, damaged, foreign or newer than this library.
    OSError
        It cannot be read.
    """
    model = load_model(path)
    try:
        saved = model.config["net"]
        net = DeepNet(
            saved["sizes"],
            hidden=saved["hidden"],
            output=saved["output"],
            dtype=saved["dtype"],
            seed=saved["seed"],
        )
        net.parameters = model.parameters
        net.data, net.tensors = model.config.get("data", {}), model.tensors
    except _DAMAGED as error:
        raise ModelFileError(f"{name_of(path)}: describes no net: {error!s:.200}") from error
    if "training" in model.config:
        try:
            training = model.config["training"]
            net.training_state, net.tensors = unpack(training, model.tensors, net.n_parameters)
        except _DAMAGED as error:
            raise ModelFileError(f"{name_of(path)}: {error!s:.200}") from error
    if is_auto(backend) and device is None:
        return net if dtype is None else net.with_dtype(dtype)
    return net.to("numpy" if is_auto(backend) else backend, device, dtype)
