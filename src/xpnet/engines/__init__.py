"""Engines: how each array library runs, and compiles, the step of ``network.py``.

An engine is a module named after its library: the leaf operations that the library does faster
another way, and what a step becomes (a call, a recorded program, a compiled loop). A library
without an engine runs the reference leaves through the generic one. Every engine follows the
reference's trajectory to rounding.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from xpnet.backends.place import Backend
from xpnet.core.network import Objective
from xpnet.engines.generic import Engine, Program

__all__ = ["ENGINES", "Engine", "Program", "engine_for", "use"]

ENGINES = ("generic", "numpy", "compiled", "cupy", "torch", "jax")

_forced: ContextVar[str | None] = ContextVar("xpnet_engine", default=None)


def engine_for(backend: Backend, objective: Objective) -> Engine:
    """The engine that runs ``objective`` on ``backend``."""
    pinned = _forced.get()
    library = "numpy" if pinned == "compiled" else pinned
    if library not in (None, "generic", backend.name):
        others = f" and {backend.name!r}" if backend.name in ENGINES else ""
        raise ValueError(
            f"engines.use({pinned!r}): this net computes on {backend}, which 'generic'{others} can"
        )
    name = library or (backend.name if backend.name in ENGINES else "generic")
    engine = importlib.import_module(f"xpnet.engines.{name}").Engine(backend, objective)
    engine.pinned = pinned
    return engine


@contextmanager
def use(name: str) -> Iterator[None]:
    """Run nets with this engine inside the ``with``, in this thread alone.

    Parameters
    ----------
    name : {"generic", "numpy", "compiled", "cupy", "torch", "jax"}
        "generic" is the reference, for nets on every library; the others are for nets on their
        own. Nets on NumPy arrays have two: "numpy" records each step's calls, "compiled" runs whole
        epochs as one function and needs Numba; a fit that it does not take raises the reason.

    Raises
    ------
    ValueError
        No engine has that name, or a net inside the ``with`` computes on another library.

    Examples
    --------
    >>> import xpnet
    >>> import xpnet.engines
    >>> X, y = xpnet.load_digits()
    >>> with xpnet.engines.use("generic"):
    ...     xpnet.DeepNet([64, 10], output="softmax").fit(X.T / 16, y, epochs=1).engine
    'generic'
    """
    if name not in ENGINES:
        raise ValueError(f"unknown engine {name!r}; choose one of {ENGINES}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)
