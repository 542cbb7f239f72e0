"""One file per library; each maps the names of its candidates to what makes them.

A candidate is made from ``(workload, dtype)`` and has three methods: ``reset()`` goes back to the
initial weights, ``run()`` is what the clock times, and ``result()`` tells where it ended:
``(parameters as [(W (n_out, n_in), b), ...], mean cost of each epoch)``.
"""

from __future__ import annotations

import importlib
from typing import Any

FILES = {
    "floor-rows": "floor",
    "floor-columns": "floor",
    "xpnet": "library",
    "xpnet-numba": "library",
    "xpnet-torch": "library",
    "xpnet-jax": "library",
    "xpnet-mlp": "estimators",
    "sklearn": "estimators",
    "torch": "torch",
    "torch-compile": "torch",
    "torch-graph": "torch",
    "jax": "jax",
    "jax-scan": "jax",
}


def create(name: str, workload: Any, dtype: str) -> Any:
    """The candidate of this name, ready for ``reset``."""
    module = importlib.import_module(f"{__name__}.{FILES[name]}")
    return module.CANDIDATES[name](workload, dtype)
