"""The errors of this library's own, and its warnings.

Bad arguments raise ``ValueError`` or ``TypeError``.
"""

from __future__ import annotations

import sys
import warnings
from functools import partial
from typing import Any

# Packages whose lines are not the user's.
INSIDE = ("xpnet", "sklearn", "joblib", "contextlib", "numpy")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warns at the line of the user's that led here, however deep in the library this is."""
    level, frame = 1, sys._getframe()
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in INSIDE:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


class BackendUnavailable(RuntimeError):
    """An array library is missing, or present without a usable device.

    The message ends with the line that installs what is missing.

    Examples
    --------
    >>> import xpnet
    >>> try:
    ...     place = xpnet.select("cupy")
    ... except xpnet.BackendUnavailable:
    ...     place = xpnet.select("numpy")
    """


class DivergedError(ArithmeticError):
    """The cost or a parameter became infinite or NaN during ``fit``.

    The net keeps finite parameters: those it had at the start of the epoch that broke or, where the
    fit was compiled (``history.engine`` is "compiled"), before the very step that broke.

    Parameters
    ----------
    message : str
        What ``str`` gives.
    epoch : int
        The epoch that broke, counted from 1 in this ``fit``.
    cost : float
        The cost of that epoch (may be ``nan`` or ``inf``).
    last_cost : float or None
        The cost of the last finite epoch, None if the first one broke.
    step : int or None
        The step of the epoch that broke, counted from 1, where the fit was compiled; else None.
        ``cost`` is then the cost of that step.

    Examples
    --------
    >>> import numpy as np
    >>> import xpnet
    >>> X = np.array([[1.0, 2.0, 3.0]])
    >>> try:
    ...     xpnet.linear_regression(1).fit(X, X, xpnet.GradientDescent(1e9), epochs=99)
    ... except xpnet.DivergedError as error:
    ...     error.last_cost > 1e99
    True
    """

    def __init__(
        self,
        message: str,
        *,
        epoch: int,
        cost: float,
        last_cost: float | None,
        step: int | None = None,
    ) -> None:
        super().__init__(message)
        self.epoch = epoch
        self.cost = cost
        self.last_cost = last_cost
        self.step = step

    def __reduce__(self) -> tuple[Any, ...]:  # processes of a pool send it to each other
        figures: dict[str, Any] = {k: vars(self)[k] for k in ("epoch", "cost", "last_cost")}
        return partial(type(self), **figures), self.args, vars(self)


class ModelFileError(ValueError):
    """A model file is truncated, damaged, foreign, or newer than this library.

    Examples
    --------
    >>> import io
    >>> import xpnet
    >>> xpnet.load(io.BytesIO(b"no model"))
    Traceback (most recent call last):
    ...
    xpnet.exceptions.ModelFileError: ...
    """
