"""The callbacks of one fit: calls them at each event, and collects what they remember."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from sys import maxsize
from typing import Any

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from xpnet.backends.place import to_numpy
from xpnet.training.history import Callback, Progress


class Listeners:
    """Callbacks in the order in which they are called, and the net that they are given."""

    def __init__(self, net: Any, callbacks: Iterable[Callback]) -> None:
        self.net = net
        self.callbacks = sorted(callbacks, key=lambda c: getattr(c, "last", False))
        self.look_into_epochs = any(getattr(c, "on_steps_end", None) for c in self.callbacks)

    def __bool__(self) -> bool:
        return bool(self.callbacks)

    def tell(self, event: str, progress: Progress) -> bool:
        """Calls this method of each callback that has it; true if one returns true."""
        # at the end the other way round, like contexts
        in_turn = self.callbacks[::-1] if event == "on_fit_end" else self.callbacks
        methods = [getattr(callback, event, None) for callback in in_turn]
        answers = [method(self.net, progress) for method in methods if method is not None]
        return any(answers)

    def epochs_together(self, progress: Progress) -> int:
        """The number of epochs that may run before a callback has to be called."""
        asked = (
            c.epochs_together(progress) if hasattr(c, "epochs_together") else 1
            for c in self.callbacks
        )
        return max(1, min(asked, default=maxsize))

    def close(self) -> None:
        """Closes all of them, whatever one of them raises."""
        with ExitStack() as stack:
            for callback in self.callbacks:
                if hasattr(callback, "close"):
                    stack.callback(callback.close)

    def restore(self, states: Iterable[tuple[str, Any]]) -> None:
        """Gives each callback the first state of its kind that no other has taken."""
        states = list(states)
        for callback in self.callbacks:
            name = type(callback).__name__
            mine = next((kept for kept in states if kept[0] == name), None)
            if mine is not None and hasattr(callback, "restore"):
                states.remove(mine)
                callback.restore(mine[1])

    def states(self, leaf: Callable[[Any], Any]) -> list[tuple[str, Any]]:
        """Names and states of the callbacks that have a state; see ``copied``."""
        kept = [c for c in self.callbacks if hasattr(c, "state")]
        return [(type(c).__name__, copied(c.state(), leaf)) for c in kept]

    def states_here(self) -> list[tuple[str, Any]] | None:
        """Copies of their states now; arrays stay where they are.

        None if one raises: the end of the fit calls it again, and lets the error through.
        """
        try:
            return self.states(_copy)
        except Exception:
            return None


def copied(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """``value`` with dicts and lists of its own (tuples become lists), and ``leaf`` of the rest."""
    if isinstance(value, dict):
        return {key: copied(v, leaf) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(v, leaf) for v in value]
    return leaf(value)


def on_host(x: Any) -> Any:
    return np.array(to_numpy(x)) if _is_array(x) else x


def _copy(x: Any) -> Any:
    if isinstance(x, np.ndarray):  # in a tenth of the time
        return x.copy()
    return array_namespace(x).asarray(x, copy=True) if _is_array(x) else x


def _is_array(x: Any) -> bool:
    return is_array_api_obj(x) and not isinstance(x, np.generic)
