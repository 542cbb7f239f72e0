"""xpnet: dense neural networks on the array library your data is in.

Start with ``DeepNet``, or a model of the notes: ``linear_regression``, ``logistic_regression``,
``shallow_net``, ``deep_net``. Optimisers: ``Adam`` and others; for functions of one vector
``lbfgs``. ``load`` reads a net back from its file, ``stream`` opens data that does not fit in
memory, ``backends`` tells what is installed here. In modules of their own: ``schedules``,
``callbacks``, ``plotting``. To see what a net computes: ``check_gradients``, ``explain``,
``compare``. With scikit-learn: ``MLPClassifier``, ``MLPRegressor``,
``LogisticRegression``, ``LinearRegression``.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import xpnet._command  # noqa: F401 - first of all: the others take a while
from xpnet import callbacks, schedules
from xpnet.backends.place import Backend, BackendInfo, backends, free_memory, select, to_numpy
from xpnet.core.activations import Activation
from xpnet.core.optimizers import OPTIMIZERS
from xpnet.data.open_stream import stream
from xpnet.data.stream import Stream
from xpnet.data.table import load_digits
from xpnet.exceptions import BackendUnavailable, DivergedError, ModelFileError
from xpnet.net.deepnet import DeepNet
from xpnet.net.functions import (
    ACTIVATION_FUNCTIONS,
    affine,
    deep_net,
    least_squares,
    linear_activation_backward,
    linear_activation_forward,
    linear_regression,
    load,
    logistic_regression,
    shallow_net,
)
from xpnet.optimize.lbfgs import LbfgsResult, lbfgs
from xpnet.training.history import History

if TYPE_CHECKING:
    from xpnet.core.optimizers import Adam as Adam
    from xpnet.core.optimizers import AdamW as AdamW
    from xpnet.core.optimizers import GradientDescent as GradientDescent
    from xpnet.core.optimizers import Momentum as Momentum
    from xpnet.core.optimizers import RMSProp as RMSProp
    from xpnet.estimators.linear import LinearRegression as LinearRegression
    from xpnet.estimators.logistic import LogisticRegression as LogisticRegression
    from xpnet.estimators.mlp import MLPClassifier as MLPClassifier
    from xpnet.estimators.mlp import MLPRegressor as MLPRegressor
    from xpnet.teaching import check_gradients as check_gradients
    from xpnet.teaching import compare as compare
    from xpnet.teaching import explain as explain
    from xpnet.teaching import load_houses as load_houses
    from xpnet.teaching import load_planar as load_planar

    identity = sigmoid = tanh = relu = leaky_relu = elu = softplus = ACTIVATION_FUNCTIONS[""]
    identity_slope = sigmoid_slope = tanh_slope = relu_slope = leaky_relu_slope = identity
    elu_slope = softplus_slope = identity

__version__ = "0.1.0"

_ESTIMATORS = ["LinearRegression", "LogisticRegression", "MLPClassifier", "MLPRegressor"]
_TEACHING = ["check_gradients", "compare", "explain", "load_houses", "load_planar"]

__all__ = [
    "Activation",
    "Backend",
    "BackendInfo",
    "BackendUnavailable",
    "DeepNet",
    "DivergedError",
    "History",
    "LbfgsResult",
    "ModelFileError",
    "Stream",
    "affine",
    "backends",
    "callbacks",
    "deep_net",
    "free_memory",
    "lbfgs",
    "least_squares",
    "linear_activation_backward",
    "linear_activation_forward",
    "linear_regression",
    "load",
    "load_digits",
    "logistic_regression",
    "plotting",
    "schedules",
    "select",
    "shallow_net",
    "stream",
    "to_numpy",
]


# The optimisers, and two functions for each activation, such as ``relu`` and ``relu_slope``, come
# from their registries. Type checkers and editors see those named above.
_REGISTERED = {name: rule.kind for name, rule in OPTIMIZERS.items()} | ACTIVATION_FUNCTIONS
globals().update(_REGISTERED)
__all__ += [*_REGISTERED, *_TEACHING]

if find_spec("sklearn"):
    __all__ += _ESTIMATORS


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    # The estimators need scikit-learn, the pictures matplotlib, and most programs no teaching:
    # imported when first asked for.
    if name in _ESTIMATORS:
        return getattr(import_module("xpnet.estimators"), name)
    if name in _TEACHING:
        return getattr(import_module("xpnet.teaching"), name)
    if name == "plotting":
        return import_module("xpnet.plotting")
    raise AttributeError(f"module 'xpnet' has no attribute {name!r}")
