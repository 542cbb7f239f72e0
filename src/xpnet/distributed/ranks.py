"""The ranks of one fit: what they agree on, decide together, and do where one of them fails."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from typing import Any, Self

from xpnet._typing import Array
from xpnet.backends.place import Backend
from xpnet.distributed.communicator import Communicator, communicator_of
from xpnet.exceptions import DivergedError


class Ranks:
    """The ranks of a fit, as one of them sees them; without a communicator this one alone.

    As a context it ends all ranks where one fails: before ``agree`` the others are told why, after
    it they may be waiting for this one's gradient, and are aborted. During it, Ctrl-C is what
    rank 0 decides about at the next end of an epoch (``interrupted``); a second one ends all.

    Parameters
    ----------
    communicator : Communicator or what ``communicator_of`` takes, optional
    """

    def __init__(self, communicator: Any = None) -> None:
        self._communicator: Communicator | None = None
        self.rank, self.size = 0, 1
        if communicator is not None:
            self._communicator = communicator_of(communicator)
            self.rank, self.size = self._communicator.rank, self._communicator.size
        self.interrupted = False
        self._agreed = self._common = False
        self._handlers: list[Any] = []  # of Ctrl-C, outside this context

    @classmethod
    def of(cls, communicator: Any) -> Ranks:
        """The ranks of a communicator; ranks stay what they are."""
        return communicator if isinstance(communicator, Ranks) else cls(communicator)

    def allreduce(self, vector: Array, place: Backend) -> Array:
        """The sum of ``vector`` (n,) over all ranks, in the library of ``place``."""
        assert self._communicator is not None
        total = self._communicator.allreduce(vector)
        return total if total is vector or place.name == "numpy" else place.asarray(total)

    def decide(self, value: Any) -> Any:
        """What rank 0 says."""
        if self.size == 1:
            return value
        assert self._communicator is not None
        return self._communicator.broadcast(value)

    def agree(self, facts: Mapping[str, Any], error: BaseException | None = None) -> None:
        """Compares ``facts`` with those of the other ranks, before the first step.

        Raises
        ------
        ValueError
            They differ; the message names both sides. On every rank.
        RuntimeError
            Another rank has failed before, with ``error``.
        """
        if self.size == 1 or self._agreed:
            return
        assert self._communicator is not None
        failed = None if error is None else f"{type(error).__name__}: {error}"
        everyone = self._communicator.gather((dict(facts), failed))
        self._agreed = self._common = True  # what follows is the same on every rank
        if error is not None:
            return
        for rank, (_, failed) in enumerate(everyone):
            if failed is not None:
                raise RuntimeError(f"rank {rank} of {self.size} could not begin: {failed}")
        for name, value in everyone[0][0].items():
            for rank, (others, _) in enumerate(everyone):
                if others.get(name) != value:
                    raise ValueError(
                        f"{name} is {value} on rank 0 and {others.get(name)} on rank {rank}: "
                        "every rank must be given the same"
                    )
        self._common = False

    def stop_together(self) -> None:
        """Raises KeyboardInterrupt, which every rank does now."""
        self._common = True
        raise KeyboardInterrupt

    # -- as a context --------------------------------------------------------------------
    def __enter__(self) -> Self:
        self._agreed = self._common = False
        if self.size > 1 and threading.current_thread() is threading.main_thread():
            self._handlers.append(signal.signal(signal.SIGINT, self._interrupt))
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._handlers:
            signal.signal(signal.SIGINT, self._handlers.pop())
        if self.size == 1 or error is None:
            return
        if not self._agreed:
            self.agree({}, error)
        elif not (self._common or isinstance(error, DivergedError)):
            assert self._communicator is not None
            sys.stderr.write(f"rank {self.rank} of {self.size} failed, which ends all:\n")
            traceback.print_exception(error)
            sys.stderr.flush()
            self._communicator.abort()

    def _interrupt(self, number: int, frame: Any) -> None:
        if self.interrupted and self.rank == 0:
            raise KeyboardInterrupt
        self.interrupted = True


ALONE = Ranks()
