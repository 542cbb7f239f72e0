"""The public functions: the notes' by their own names, and ``load``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from inspect import cleandoc
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
    """Compute ``Z = W @ A + b``, the linear part of a layer.

    Parameters
    ----------
    W : array (n_out, n_in)
        Weights.
    A : array (n_in, m)
        Inputs, examples in columns.
    b : array (n_out, 1)
        Biases.

    Returns
    -------
    array (n_out, m)
        In the library of the arrays.

    Raises
    ------
    TypeError
        They are not arrays of one library.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> W, b = np.array([[1.0, 2.0]]), np.array([[0.5]])
    >>> xpnet.affine(W, np.array([[1.0, 3.0], [0.0, 1.0]]), b)
    array([[1.5, 5.5]])
    """
    with computing_with(W=W, A=A, b=b) as (_, W, A, b):
        return W @ A + b


# Of ``xpnet.relu``, ``xpnet.relu_slope`` and so on: g(Z), its slope in terms of A = g(Z), where it
# comes from, and both at Z = -1, 0, 2.
_TOLD = {
    "identity": ("Z", "1", "", "[-1.,  0.,  2.]", "[1., 1., 1.]"),
    "sigmoid": ("1 / (1 + exp(-Z))", "A * (1 - A)", "", "[0.27, 0.5 , 0.88]", "[0.2 , 0.25, 0.1 ]"),
    "tanh": ("tanh(Z)", "1 - A**2", "", "[-0.76,  0.  ,  0.96]", "[0.42, 1.  , 0.07]"),
    "relu": (
        *("max(Z, 0)", "1 where A > 0, else 0"),
        'Nair & Hinton 2010, "Rectified linear units improve restricted Boltzmann machines".',
        *("[0., 0., 2.]", "[0., 0., 1.]"),
    ),
    "leaky_relu": (
        *("max(Z, 0.01 * Z)", "1 where A > 0, else 0.01"),
        'Maas et al. 2013, "Rectifier nonlinearities improve neural network acoustic models".',
        *("[-0.01,  0.  ,  2.  ]", "[0.01, 0.01, 1.  ]"),
    ),
    "elu": (
        *("Z where Z > 0, else exp(Z) - 1", "1 where A > 0, else A + 1"),
        'Clevert et al. 2016, "Fast and accurate deep network learning by exponential linear\n'
        'units (ELUs)", equation 15 with alpha = 1.',
        *("[-0.63,  0.  ,  2.  ]", "[0.37, 1.  , 1.  ]"),
    ),
    "softplus": (
        *("log(1 + exp(Z))", "1 - exp(-A)"),
        'Dugas et al. 2001, "Incorporating second-order functional knowledge for better option\n'
        'pricing".',
        *("[0.31, 0.69, 2.13]", "[0.27, 0.5 , 0.88]"),
    ),
}


def _value(activation: Activation) -> Callable[[Array], Array]:
    def function(Z: Array) -> Array:
        """Compute ``{of_Z}``, elementwise.

        Parameters
        ----------
        Z : array
            Of any shape and array library.

        Returns
        -------
        array
            Like Z.

        Raises
        ------
        TypeError
            Z is no array.
        {references}
        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> xpnet.{name}(np.array([-1.0, 0.0, 2.0])).round(2)
        array({value})
        """
        with computing_with(Z=Z) as (xp, Z):
            return activation.value(Z, xp=xp)

    return _as_public(function, activation.name, activation.name)


def _slope(activation: Activation) -> Callable[[Array], Array]:
    def function(A: Array) -> Array:
        """Compute the derivative of ``{name}`` where its *output* is A: ``{of_A}``.

        Parameters
        ----------
        A : array
            Outputs ``{name}(Z)``, of any shape and array library.

        Returns
        -------
        array
            Like A.

        Raises
        ------
        TypeError
            A is no array.
        {references}
        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> A = xpnet.{name}(np.array([-1.0, 0.0, 2.0]))
        >>> xpnet.{name}_slope(A).round(2)
        array({slope})
        """
        with computing_with(A=A) as (xp, A):
            return activation.slope(A, xp=xp)

    return _as_public(function, f"{activation.name}_slope", activation.name)


def _as_public(
    function: Callable[[Array], Array], public: str, name: str
) -> Callable[[Array], Array]:
    """The function under its ``public`` name, where pickle finds it; ``name`` is the activation's.

    Its docstring is filled in from ``_TOLD``.
    """
    of_Z, of_A, source, value, slope = _TOLD[name]
    references = f"\nReferences\n----------\n{source}\n" if source else ""
    text = cleandoc(function.__doc__ or "") + "\n"
    function.__doc__ = text.format(
        name=name, of_Z=of_Z, of_A=of_A, references=references, value=value, slope=slope
    )
    function.__name__ = function.__qualname__ = public
    function.__module__ = "xpnet"
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
    """Compute one layer: ``A = g(W @ A_prev + b)``.

    Parameters
    ----------
    A_prev : array (n_in, m)
        Outputs of the layer before, examples in columns; X for the first.
    W : array (n_out, n_in)
        Weights.
    b : array (n_out, 1)
        Biases.
    activation : str or Activation
        The function g.

    Returns
    -------
    A : array (n_out, m)
        The layer's output.
    cache : LayerCache
        ``A_prev``, ``W``, ``b`` and ``A``, which ``linear_activation_backward`` reads.

    Raises
    ------
    ValueError
        Unknown activation, or shapes that do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X, W, b = np.array([[1.0, 3.0]]), np.array([[1.0], [-1.0]]), np.array([[0.0], [2.0]])
    >>> A, cache = xpnet.linear_activation_forward(X, W, b, "relu")
    >>> A
    array([[1., 3.],
           [1., 0.]])
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
    """Go back through one layer.

    Parameters
    ----------
    dA : array (n_out, m)
        The derivative of each example's own loss by A; for the last layer with a sigmoid
        ``-(Y/AL - (1-Y)/(1-AL))``. The mean over the m examples is taken here, in dW and db.
    cache : LayerCache
        What ``linear_activation_forward`` returned.
    activation : str or Activation
        That of the layer.

    Returns
    -------
    dA_prev : array (n_in, m)
        The derivative by the layer's input, of each example's own loss.
    dW : array (n_out, n_in)
        The derivative of the mean loss by the weights.
    db : array (n_out, 1)
        The derivative of the mean loss by the biases.

    Raises
    ------
    ValueError
        Unknown activation.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X, W, b = np.array([[1.0, 3.0]]), np.array([[1.0], [-1.0]]), np.array([[0.0], [2.0]])
    >>> A, cache = xpnet.linear_activation_forward(X, W, b, "relu")
    >>> dA_prev, dW, db = xpnet.linear_activation_backward(np.ones_like(A), cache, "relu")
    >>> dW, db
    (array([[2. ],
           [0.5]]), array([[1. ],
           [0.5]]))
    """
    A_prev, W, _, A = cache
    m = A_prev.shape[1]
    with computing_with(dA=dA, A_prev=A_prev, W=W) as (xp, dA, A_prev, W):
        dZ = dA * get_activation(activation).slope(A, xp=xp)  # (n_out, m)
        dW = dZ @ A_prev.T / m  # (n_out, n_in)
        db = xp.sum(dZ, axis=1, keepdims=True) / m  # (n_out, 1)
        return W.T @ dZ, dW, db


def least_squares(X: Array, Y: Array) -> Layer:
    """Compute OLS in closed form: the ``(W, b)`` that minimise ``sum((W @ X + b - Y)**2)``.

    Parameters
    ----------
    X : array (n_x, m)
        Features, examples in columns.
    Y : array (n_y, m) or (m,)
        Targets.

    Returns
    -------
    Layer(W, b) : (n_y, n_x) and (n_y, 1)
        In the library of X.

    Raises
    ------
    TypeError
        X or Y is not in float32, float64, integers or booleans.
    ValueError
        X and Y have different numbers of examples, none, or ones that are not finite.

    Notes
    -----
    Of several minimisers, the one with the smallest weights: ``W = Yc pinv(Xc)`` on centred data,
    ``b = mean(Y) - W mean(X)``.

    References
    ----------
    Penrose 1956, "On best approximate solutions of linear matrix equations".

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> W, b = xpnet.least_squares(np.array([[0.0, 1.0, 2.0]]), np.array([1.0, 3.0, 5.0]))
    >>> W.round(6), b.round(6)
    (array([[2.]]), array([[1.]]))
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
    """Make OLS as a net: no hidden layer, identity output, half the mean squared error.

    The notes train this and the next three with every example in each update:
    ``net.fit(X, Y, rule, batch_size=None)``.

    Parameters
    ----------
    n_x : int
        Features.
    n_y : int
        Outputs.
    **options
        The other arguments of ``DeepNet``.

    Returns
    -------
    DeepNet
        It is not trained.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.linear_regression(3)
    DeepNet([3, 1], output='identity') <4 parameters, not placed yet>
    """
    return DeepNet([n_x, n_y], output="identity", **options)


def logistic_regression(n_x: int, **options: Any) -> DeepNet:
    """Make logistic regression as a net: ``A = sigmoid(w.T X + b)`` with cross-entropy.

    Parameters
    ----------
    n_x : int
        Features.
    **options
        The other arguments of ``DeepNet``.

    Returns
    -------
    DeepNet
        It is not trained.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.logistic_regression(3)
    DeepNet([3, 1], output='sigmoid') <4 parameters, not placed yet>
    """
    return DeepNet([n_x, 1], output="sigmoid", **options)


def shallow_net(n_x: int, n_h: int, **options: Any) -> DeepNet:
    """Make a net with one hidden layer of tanh units, and a sigmoid output.

    Parameters
    ----------
    n_x : int
        Features.
    n_h : int
        Hidden units.
    **options
        The other arguments of ``DeepNet``.

    Returns
    -------
    DeepNet
        It is not trained.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.shallow_net(2, 4)
    DeepNet([2, 4, 1], hidden='tanh', output='sigmoid') <17 parameters, not placed yet>
    """
    return DeepNet([n_x, n_h, 1], hidden="tanh", output="sigmoid", **options)


def deep_net(sizes: Sequence[int], **options: Any) -> DeepNet:
    """Make a net with ReLU hidden layers, and a sigmoid output.

    Parameters
    ----------
    sizes : sequence of int
        Widths ``[n_x, ..., n_y]``.
    **options
        The other arguments of ``DeepNet``.

    Returns
    -------
    DeepNet
        It is not trained.

    Examples
    --------
    >>> import xpnet
    >>> xpnet.deep_net([2, 8, 4, 1])
    DeepNet([2, 8, 4, 1], hidden='relu', output='sigmoid') <65 parameters, not placed yet>
    """
    return DeepNet(sizes, hidden="relu", output="sigmoid", **options)


# -- files -------------------------------------------------------------------------------
_DAMAGED = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


def load(path: File, backend: Any = "auto", device: Any = None, dtype: Any = None) -> DeepNet:
    """Read the net in a file that ``DeepNet.save`` or ``xpnet train`` wrote.

    ``net.data`` and ``net.tensors`` are what was saved beside it. The net of ``xpnet train`` wants
    standardised features, ``(X - input_mean) / input_scale``, and a regression answers in units of
    ``target_scale`` around ``target_mean``: these are in ``net.tensors``, and the names of columns
    and classes in ``net.data``. A scale of 0 marks a constant column, which becomes 0.
    ``net.predict_raw(X)`` does all of that.

    Parameters
    ----------
    path : path or binary file
        The file, or one that is open for bytes.
    backend : str, module or array
        As for ``DeepNet``.
    device : str or device object, optional
        As for ``DeepNet``.
    dtype : {"float32", "float64"}, optional
        The saved one if left out.

    Returns
    -------
    DeepNet
        From a checkpoint, one that ``fit(resume=True)`` trains on.

    Raises
    ------
    ModelFileError
        The file is truncated, damaged, foreign or newer than this library.
    OSError
        It cannot be read.

    Examples
    --------
    >>> import io
    >>> import xpnet
    >>> file = io.BytesIO()  # or a path, "model.safetensors"
    >>> xpnet.shallow_net(2, 4).save(file)
    >>> _ = file.seek(0)
    >>> xpnet.load(file)
    DeepNet([2, 4, 1], hidden='tanh', output='sigmoid') <17 parameters, not placed yet>
    """
    model = load_model(path)
    try:
        saved = model.config["net"]
        net = DeepNet(**{key: saved[key] for key in ("sizes", "hidden", "output", "dtype", "seed")})
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
