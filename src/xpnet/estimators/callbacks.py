"""Tells scikit-learn's callbacks (SLEP 23) about a fit and its epochs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

Fitted: TypeAlias = Callable[[], dict[str, Any]]


class FitTasks:
    """One fit as a tree of tasks: the fit, and under it one task per epoch or iteration.

    Without callbacks an epoch costs one test of a flag.
    """

    def __init__(self, estimator: Any, name: str, most: int, X: Any, y: Any, w: Any) -> None:
        self.estimator = estimator
        self.name = name
        self.told = {"X": X, "y": y, "metadata": None if w is None else {"sample_weight": w}}
        self.active = hasattr(estimator, "_skl_callbacks")
        self.fit = estimator._init_callback_context(max_subtasks=most)
        self.fit.call_on_fit_task_begin(estimator=estimator, **self.told)

    def begin(self, fitted: Fitted | None = None) -> None:
        """``fitted`` returns the fitted attributes as they are now."""
        if self.active:
            self.task = self.fit.subcontext(task_name=self.name)
            self.task.call_on_fit_task_begin(
                estimator=self.estimator, reconstruction_attributes=fitted, **self.told
            )

    def end(self, fitted: Fitted | None = None) -> bool:
        """Whether a callback asks to stop."""
        if not self.active:
            return False
        return self.task.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes=fitted, **self.told
        )

    def close(self) -> None:
        self.fit.call_on_fit_task_end(
            estimator=self.estimator, reconstruction_attributes={}, **self.told
        )


class NoTasks(FitTasks):
    """Replaces ``FitTasks`` in ``partial_fit``, which tells no callbacks."""

    def __init__(self) -> None:
        self.active = False
