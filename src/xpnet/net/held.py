"""What a net holds in its place: the parameters, and the state that training goes on from.

The parameters are a flat vector ``theta``; a user reads and assigns them as a list of layers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Lock
from typing import Any, Self

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend, dtype_name, to_numpy
from xpnet.core.parameters import Layer, Layout
from xpnet.data import checks
from xpnet.net.placement import Placement
from xpnet.training.history import History
from xpnet.training.loop import Run
from xpnet.training.state import TrainingState


class Held:
    """Parameters and training state in one place; while a run trains them, it has both.

    Parameters
    ----------
    placement : Placement
    theta : ndarray (n_parameters,)
        All weights, then all biases, on the host.
    """

    _fit_held: dict[str, int] = {}  # noqa: RUF012 -- besides the state, by the last fit

    def __init__(self, placement: Placement, theta: np.ndarray) -> None:
        self.placement = placement
        self._theta: Array = self.place.asarray(theta, self.place.dtype)
        self._state: TrainingState | None = None
        self.run: Run | None = None
        self._fitting = Lock()

    def memory(self) -> dict[str, int]:
        """Bytes by name, as ``DeepNet.memory`` tells them."""
        run, moments = self.run, () if self._state is None else self._state.moments
        if run is not None:
            moments = run.program.moments
        theta = self.theta
        state = (1 + len(moments)) * theta.shape[0] * np.dtype(dtype_name(theta.dtype)).itemsize
        return {"state": state} | (self._fit_held if run is None else run.program.bytes_held())

    @property
    def place(self) -> Backend:
        return self.placement.backend

    @property
    def theta(self) -> Array:
        """The parameters as they are now; not a copy."""
        return self._theta if self.run is None else self.run.theta

    @theta.setter
    def theta(self, theta: Array) -> None:
        if self.run is None:
            self._theta = theta
        else:
            self.run.assign(theta)

    @property
    def state(self) -> TrainingState | None:
        return self._state if self.run is None else self.run.state()

    @state.setter
    def state(self, state: TrainingState | None) -> None:
        self._state = state

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lets no other fit begin: of two threads, the second gets a RuntimeError."""
        if not self._fitting.acquire(blocking=False):
            raise RuntimeError(
                "this net is being trained: in a callback or another thread, fit a copy.deepcopy"
            )
        try:
            yield
        finally:
            self._fitting.release()

    def train(self, run: Run) -> History:
        """Trains by ``run``, which was made from these parameters, and takes over its result."""
        # the run has its own arrays: no second copy of a large net stays in memory
        self.run, self._theta, self._state = run, None, None
        try:
            with run.program.marked("fit"):
                return run.train()
        finally:
            try:
                self._take_over(run)
            except KeyboardInterrupt:  # not half of it
                self._take_over(run)
                raise
            state = run.callback_states()  # may raise: it is user code
            self._state = replace(self._state, callbacks=state) if self._state else None

    def _take_over(self, run: Run) -> None:
        self._fit_held = run.program.bytes_held()
        theta, state = run.theta, run.state(with_callbacks=False)
        self.run, self._theta, self._state = None, theta, state

    # -- moving and copying --------------------------------------------------------------
    def move(self, placement: Placement) -> None:
        """Takes a placement, as one that an X has decided."""
        if placement == self.placement:
            return
        if self.run is not None:
            raise RuntimeError("this net is being trained: in a callback, move a copy.deepcopy")
        place = placement.backend
        self._change(lambda x: place.asarray(to_numpy(x), place.dtype))
        self.placement = placement

    def _change(self, change: Callable[[Array], Array]) -> None:
        """Replaces the parameters and the optimiser's moments by ``change`` of each."""
        theta, state = change(self._theta), self._state
        self._theta, self._state = theta, None if state is None else state.mapped(change)

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.placement, twin.run, twin._fitting = self.placement, None, Lock()
        twin._theta, twin._state = self.theta, self.state
        if self.run is not None:  # it goes on writing into its arrays
            twin._copy_arrays()
        return twin

    def _copy_arrays(self) -> None:
        place = self.place
        with place.context():
            self._change(lambda x: place.xp.asarray(x, copy=True))
            place.wait(self._theta)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)
        twin._copy_arrays()
        if twin._state is not None:
            rest = copy.deepcopy(replace(twin._state, moments=()), memo)
            twin._state = replace(rest, moments=twin._state.moments)
        return twin

    def __getstate__(self) -> tuple[Any, ...]:
        """Host arrays only: a net trained on a GPU loads on a laptop and follows its first X."""
        twin = copy.copy(self)
        twin._change(to_numpy)
        dtype = None if self.place.dtype is None else self.place.dtype_name
        return twin._theta, twin._state, dtype

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self._theta, self._state, dtype = state
        self.placement, self.run = Placement.of("auto", dtype=dtype), None
        self._fitting = Lock()


def layers_of(theta: Array, layout: Layout, at: Backend) -> list[Layer]:
    """Copies of the layers inside ``theta`` (n_parameters,), an array of the place ``at``."""
    with at.context():
        return layout.layers(at.xp.asarray(theta, copy=True), xp=at.xp)


def theta_of(
    layers: Iterable[tuple[Any, Any]], layout: Layout, place: Placement, dtype: Any
) -> Array:
    """The vector (n_parameters,) of a user's ``[(W, b), ...]``, checked, in its place.

    Raises
    ------
    TypeError, ValueError
        The layers are no pairs, have other shapes than the net's, or hold NaN or infinity.
    """
    try:
        layers = [(W, b) for W, b in layers]
    except (TypeError, ValueError) as error:
        raise TypeError("parameters are a list of pairs (W, b), one per layer") from error
    if len(layers) != layout.n_layers:
        raise ValueError(f"{len(layers)} layers for a net of {layout.n_layers}")
    layers = [(checks.admit(W, "a parameter"), checks.admit(b, "a parameter")) for W, b in layers]
    for l, ((W, b), (shape, _, _)) in enumerate(zip(layers, layout.slices(), strict=True), 1):
        for name, x, expected in (("W", W, shape), ("b", b, (shape[0], 1))):
            if tuple(x.shape) != expected:
                raise ValueError(
                    f"{name} of layer {l} has shape {tuple(x.shape)}; expected {expected}"
                )
    if not place.bound:  # the parameters wait on the host
        layers = [(to_numpy(W), to_numpy(b)) for W, b in layers]
    at = place.backend
    there = [
        tuple(checks.to_backend(x, "a parameter", at, moves=True) for x in layer)
        for layer in layers
    ]
    with at.context():
        theta = at.xp.astype(layout.flatten(there, xp=at.xp), dtype)
    checks.refuse_nan(theta[None, :], "parameters", at)
    return theta
