"""The ranks of one fit: what they agree on, decide together, and do where one of them fails."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from typing import Any, Self

from xpnet._typing import Array
from xpnet.backends.place import Backend
from xpnet.distributed.communicator import communicator_of


class Ranks:
    """The ranks of a fit, as one of them sees them; without a communicator this one alone.

    As a context it ends all ranks where one fails: before ``begin`` the others are told why when
    they ``meet``, after it they may be waiting for this one's gradient, and are aborted. During it
    Ctrl-C is what rank 0 decides about at the next end of an epoch, unless the caller has a handler
    of his own; a second one ends all.

    Parameters
    ----------
    communicator : Communicator or what ``communicator_of`` takes, optional
    """

    def __init__(self, communicator: Any = None) -> None:
        self._communicator: Any = None  # asked only where there are others
        self.rank, self.size = 0, 1
        if communicator is not None:
            self._communicator = communicator_of(communicator)
            self.rank, self.size = self._communicator.rank, self._communicator.size
        self.interrupted = False
        self._training = False  # gradients are waited for
        self._common = False  # all ranks are raising an error
        self._handlers: list[Any] = []  # of Ctrl-C, outside this context

    @classmethod
    def of(cls, communicator: Any) -> Ranks:
        """The ranks of a communicator; ranks stay what they are."""
        return communicator if isinstance(communicator, Ranks) else cls(communicator)

    def allreduce(self, vector: Array, place: Backend) -> Array:
        """The sum of ``vector`` (n,) over all ranks, in the library of ``place``.

        On NumPy it is ``vector`` itself, written over.
        """
        total = self._communicator.allreduce(vector)
        if total is not vector and place.name == "numpy":
            vector[...] = total
            return vector
        return total if total is vector else place.asarray(total)

    def decide(self, value: Any) -> Any:
        """What rank 0 says."""
        if self.size == 1:
            return value
        return self._communicator.broadcast(value)

    def meet(
        self, facts: Mapping[str, Any] | None = None, error: BaseException | None = None
    ) -> None:
        """Waits for the other ranks before the first step, and compares ``facts`` with theirs.

        Raises
        ------
        ValueError
            They differ; the message names both sides. On every rank.
        RuntimeError
            Another rank has failed before, with ``error``.
        """
        if self.size == 1 or self._common:
            return
        failed = None if error is None else f"{type(error).__name__}: {error}"
        everyone = self._communicator.gather((dict(facts or {}), failed))
        self._common = True  # what is raised now is raised on every rank
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

    def agree(self, value: bool) -> bool:
        """Whether all ranks say so; called where they have just met."""
        return self._communicator is None or all(self._communicator.gather(value))

    def begin(self) -> None:
        """Called when all have met: from now on they wait for each other in every step."""
        self._training = True

    def together(self, error: Any = None) -> Any:
        """``error``, which every rank raises now; or all go on alone. Nobody is waited for."""
        self._common = True
        return error

    def in_step(self, parts: Iterator[Any]) -> Iterator[Any]:
        """The parts of a stream of batches; a ValueError where ranks read different ones."""
        while True:
            part = next(parts, None)
            sizes = self._communicator.gather(0 if part is None else int(part.weights[0]))
            if len({*sizes}) > 1 or 0 < sizes[0] < self.size:
                rule = f"each must read the same batches, of {self.size} examples or more"
                raise self.together(ValueError(f"ranks read {sizes} examples: {rule}"))
            if part is None:
                return
            yield part

    # -- as a context --------------------------------------------------------------------
    def __enter__(self) -> Self:
        self._training = self._common = False
        if self.size > 1 and threading.current_thread() is threading.main_thread():
            before = signal.getsignal(signal.SIGINT)
            self._handlers.append(before)
            if before is signal.default_int_handler:
                signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if self._handlers:
            signal.signal(signal.SIGINT, self._handlers.pop())
        self.interrupted = False  # another fit begins without it
        if error is None:
            self._common = True  # nobody waits for anybody now
        if self.size == 1 or self._common:
            return
        if not self._training:
            return self.meet(error=error)
        out = sys.__stderr__ or sys.stderr  # a rank other than 0 may have been told to be quiet
        told = traceback.format_exception(error)
        out.write(f"rank {self.rank} of {self.size} failed, which ends all:\n{''.join(told)}")
        out.flush()
        self._communicator.abort()

    def _interrupt(self, number: int, frame: Any) -> None:
        if self.interrupted and self.rank == 0:
            raise KeyboardInterrupt
        self.interrupted = True


ALONE = Ranks()
