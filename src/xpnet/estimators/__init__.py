"""scikit-learn estimators: drop-ins for its own that take, and give back, any library's arrays.

They need scikit-learn 1.9 or newer: ``python -m pip install "scikit-learn>=1.9"``.
"""

from __future__ import annotations

import importlib
from typing import Any

_MODULES = {
    "MLPClassifier": "mlp",
    "MLPRegressor": "mlp",
    "LogisticRegression": "logistic",
    "LinearRegression": "linear",
}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        import sklearn.callback  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"xpnet.{name} needs scikit-learn 1.9 or newer ({error}): "
            'python -m pip install "scikit-learn>=1.9"'
        ) from None
    return getattr(importlib.import_module(f"xpnet.estimators.{_MODULES[name]}"), name)
