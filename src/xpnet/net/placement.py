"""Where a net lives, how it is moved and copied, and how arrays get to it.

``DeepNet`` builds on this class; what a user may call of it is documented there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet._typing import Array
from xpnet.backends.place import Backend, place_of, select, to_numpy
from xpnet.core.leaves import Data
from xpnet.core.network import Objective
from xpnet.core.parameters import Layer
from xpnet.data import checks
from xpnet.engines import Engine, engine_for
from xpnet.training.loop import Run
from xpnet.training.state import TrainingState


class Placed:
    """A net's parameters, ``theta`` (n_parameters,), in their place.

    Parameters
    ----------
    objective : Objective
        The net's layers and its loss.
    theta : ndarray (n_parameters,)
        On the host.
    backend, device, dtype
        As for ``DeepNet``.
    """

    def __init__(
        self,
        objective: Objective,
        theta: np.ndarray,
        seed: int,
        backend: Any,
        device: Any,
        dtype: Any,
    ) -> None:
        self._objective = objective
        self.seed = seed
        self._follows = is_auto(backend) and device is None
        self._place = select("numpy" if is_auto(backend) else backend, device, dtype)
        self._bound = not self._follows
        # None while a fit is on its way: the run has them
        self._theta: Array = self._place.asarray(theta, self._place.dtype)
        self._state: TrainingState | None = None
        self._run: Run | None = None  # the fit on its way
        self.data: dict[str, Any] = {}
        self.tensors: dict[str, np.ndarray] = {}

    @property
    def sizes(self) -> tuple[int, ...]:
        return self._objective.sizes

    @property
    def backend(self) -> Backend:
        """Where this net computes."""
        return self._place

    @property
    def theta(self) -> Array:
        """All weights, then all biases (n_parameters,), as they are now; not a copy."""
        return self._theta if self._run is None else self._run.theta

    @property
    def training_state(self) -> TrainingState | None:
        """What ``fit(resume=True)`` goes on from, None before the first fit."""
        return self._state if self._run is None else self._run.state()

    # -- moving --------------------------------------------------------------------------
    def to(self, backend: Any, device: Any = None, dtype: Any = None) -> Self:
        """Moves this net, and the state of its optimiser, to another place; returns the net.

        From then on host arrays are taken and moved, as with a ``backend`` of one's own choice.
        """
        place = select(backend, device, dtype)
        if place.dtype is None and self._place.dtype is not None:
            place = place.with_dtype(self._place.dtype_name)
        self._move(place)
        self._bound, self._follows = True, False
        return self

    def with_dtype(self, dtype: Any) -> Self:
        """Gives this net another dtype, where it is; returns the net."""
        self._move(self._place.with_dtype(dtype))
        return self

    def _move(self, place: Backend) -> None:
        if self._run is not None:
            raise RuntimeError("this net is being trained: in a callback, move a copy.deepcopy")

        def moved(x: Array) -> Array:
            return place.asarray(to_numpy(x), place.dtype)

        theta = moved(self._theta)
        if self._state is not None:
            moments = tuple(moved(m) for m in self._state.moments)
            self._state = replace(self._state, moments=moments)
        self._theta, self._place = theta, place

    # -- copies and pickles --------------------------------------------------------------
    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = copy.copy(self)
        with self._place.context():
            twin._theta = self._place.xp.asarray(self.theta, copy=True)
            if twin._state is not None:
                twins = tuple(self._place.xp.asarray(m, copy=True) for m in twin._state.moments)
                twin._state = copy.deepcopy(replace(twin._state, moments=()), memo)
                twin._state.moments = twins
        twin.data, twin.tensors = copy.deepcopy((self.data, self.tensors), memo)
        return twin

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._theta, twin._state, twin._run = self.theta, self.training_state, None
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # Pickles hold host arrays only: a net trained on a GPU loads on a laptop, where it
        # follows the first X again.
        state = self.__dict__ | {"_theta": to_numpy(self.theta), "_place": None, "_run": None}
        state |= {"_dtype": self._place.dtype_name if self._place.dtype is not None else None}
        training = self.training_state
        if training is not None:
            moments = tuple(to_numpy(m) for m in training.moments)
            state["_state"] = replace(training, moments=moments)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        dtype = state.pop("_dtype")
        self.__dict__.update(state)
        self._place = select("numpy", dtype=dtype)
        self._follows, self._bound = True, False

    # -- inside --------------------------------------------------------------------------
    def _engine(self, l2: float = 0.0, l1: float = 0.0) -> Engine:
        objective = replace(self._objective, penalized=l2 > 0, sparse=l1 > 0)
        return engine_for(self._place, objective)

    def _room(self) -> int | None:
        """Bytes free for data where it must be moved to a device; None elsewhere."""
        with self._place.context():
            return self._engine().room()

    def _may_move(self, x: Any) -> bool:
        """Whether ``x`` is host data: a list, or a NumPy array if the user chose the backend."""
        return not is_array_api_obj(x) or (isinstance(x, np.ndarray) and not self._follows)

    def _host(self) -> Backend:
        return select("numpy", dtype=self._place.dtype_name)

    def _layers(self, theta: Array) -> list[Layer]:
        xp = self._place.xp
        with self._place.context():
            theta = xp.asarray(theta, copy=True)
            return self._objective.layout.layers(theta, xp=xp)

    def _bind_to(self, X: Any, what: str = "X") -> None:
        """Settles, at the first X, what was left to it: the place, or only the dtype."""
        X = X if is_array_api_obj(X) else checks.host_array(X, what)
        checks.check_columns(X, what, self.sizes[0])
        if self._bound and self._place.dtype is not None:
            return
        place = self._place
        if not self._bound:
            place = replace(place_of(X), dtype=None)
            place = place if self._place.dtype is None else place.with_dtype(self._place.dtype_name)
        checks.check_numeric(X, what)
        self._move(place.following(X))
        self._bound = True

    def _columns(self, X: Any) -> Array:
        """X (n_x, m), checked, in this net's place and dtype."""
        self._bind_to(X)
        # A GPU's engine moves host data itself, as much at a time as fits.
        on_host = self._room() is not None and self._may_move(X)
        place = self._host() if on_host else self._place
        X = checks.to_backend(X, "X", place, moves=not self._follows)
        with place.context():
            X = X if X.dtype == place.dtype else place.xp.astype(X, place.dtype)
        checks.refuse_nan(X.T, "X", place)
        return X

    def _examples(
        self, X: Any, Y: Any, sample_weight: Any, part: str = "", on_host: bool = False
    ) -> Data:
        """The data of a fit: checked, in rows, in this net's dtype and place (or on the host)."""
        X_name, Y_name = f"{part}X", f"{part}Y"
        self._bind_to(X, X_name)
        n_x, *_, n_y = self.sizes
        loss = self._objective.loss
        rows = self._prepared(
            X, X_name, lambda x, at: checks.feature_rows(x, n_x, at, X_name), on_host
        )
        m = rows.shape[0]
        targets = self._prepared(
            Y, Y_name, lambda y, at: checks.target_rows(y, loss, n_y, m, at, Y_name), on_host
        )
        if sample_weight is None:
            return Data(rows, targets, None)
        weights = self._prepared(
            sample_weight, "sample_weight", lambda w, at: checks.weight_vector(w, m, at), on_host
        )
        return Data(rows, targets, weights)

    def _prepared(
        self, x: Any, what: str, check: Callable[[Array, Backend], Array], on_host: bool
    ) -> Array:
        """``x`` checked and laid out where it lies; host data is then moved, once."""
        host = self._may_move(x)
        if on_host and not host:
            raise ValueError(f"{what} lives in {place_of(x)} but X on the host: move one of them")
        at = self._host() if host else self._place
        ready = check(checks.to_backend(x, what, at, moves=not self._follows), at)
        if on_host or not host:
            return ready
        try:
            return self._place.asarray(ready)
        except MemoryError as error:
            raise MemoryError(
                f"{what} needs {ready.nbytes:,} bytes on {self._place}, where {self._room():,} are "
                "free; with a batch_size, prefetch=True copies it batch by batch"
            ) from error

    def _returned(self, A: Array, X: Any) -> Array:
        """``A`` in the library of the X it came from."""
        return A if self._place.holds(X) else to_numpy(A)

    def _evaluate(self, theta: Array, examples: Data) -> tuple[Array, Array | None]:
        """Cost and accuracy, 0-d, over examples of the place (or host rows for a GPU)."""
        engine, xp = self._engine(), self._place.xp
        cost = engine.value(theta, examples)
        if self._objective.loss.output == "identity":
            return cost, None
        # host data, where it does not fit on the device, is moved part by part
        A, Y = engine.predict(theta, examples.X.T), self._place.asarray(examples.Y).T
        if self._objective.loss.output == "softmax":
            hits = xp.argmax(A, axis=0) == xp.argmax(Y, axis=0)
        else:
            hits = (A > 0.5) == (Y > 0.5)
        return cost, xp.mean(xp.astype(hits, theta.dtype))


def is_auto(backend: Any) -> bool:
    return isinstance(backend, str) and backend == "auto"
