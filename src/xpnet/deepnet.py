"""``DeepNet``: a dense net in the convention of the notes, on any array library."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from xpnet import data
from xpnet._typing import Array
from xpnet.activations import ACTIVATIONS, Activation
from xpnet.arguments import (
    check_callbacks,
    check_count,
    check_hidden,
    check_number,
    check_sizes,
    orders,
)
from xpnet.backend import Backend, place_of, select, to_numpy
from xpnet.engines import Engine, engine_for
from xpnet.exceptions import ModelFileError
from xpnet.initializers import initial_parameters
from xpnet.leaves import Data
from xpnet.losses import get_loss
from xpnet.modelfile import load_model, save_model
from xpnet.network import Objective
from xpnet.optimizers import Adam, Optimizer
from xpnet.parameters import Layer
from xpnet.training import Callback, History, Plan, Run, TrainingState

_ADAM = Adam(1e-3)


class DeepNet:
    """A dense neural network: ``A[l] = g(W[l] @ A[l-1] + b[l])``, examples in columns.

    Parameters
    ----------
    sizes : sequence of int
        Widths ``[n_x, ..., n_y]``: inputs, hidden layers, outputs. Two of them make OLS,
        logistic or softmax regression; three a shallow net.
    hidden : str or Activation, or one per hidden layer
        "relu", "tanh", "sigmoid", "leaky_relu", "elu", "softplus", "identity", or your own pair.
    output : {"sigmoid", "softmax", "identity"}
        With its loss: cross-entropy for the first two, half the squared error for the last.
    backend : str, module or array
        "auto" follows the library, device and dtype of the first X. A name of
        ``xpnet.backends()``, a module, or an array chooses one now; NumPy data is then moved
        there. "best" takes a GPU where one is usable.
    device : str or device object, optional
        For example "cuda:1". The library's default if left out.
    dtype : {"float32", "float64"}, optional
        Left out, a floating X decides; integer X, and host X moved to a GPU, mean float32.
    seed : int
        Draws the initial weights (He for ReLU and its relatives, Glorot elsewhere) and shuffles,
        both on the host: one seed gives one net on every library.
    precision : {"exact", "tf32"}
        "tf32" lets float32 products on a GPU round their factors to 10 bits, for speed. It is a
        setting of the library (CuPy, PyTorch, JAX), so it holds for the whole process.

    Attributes
    ----------
    data, tensors : dict
        What ``load`` found beside the net in its file; empty otherwise.

    Notes
    -----
    A copy (``copy.deepcopy``) stays where the net is. A pickle holds host arrays only, so that a
    net trained on a GPU loads on a laptop; the net that comes out of it follows its first X.

    Raises
    ------
    ValueError
        A width below 1, fewer than two widths, an unknown activation or output.
    BackendUnavailable
        The library or its device is missing; the message says what installs it.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        hidden: str | Activation | Sequence[str | Activation] = "relu",
        output: str = "sigmoid",
        backend: Any = "auto",
        device: Any = None,
        dtype: Any = None,
        seed: int = 0,
        *,
        precision: str = "exact",
    ) -> None:
        sizes = check_sizes(sizes, output)
        self._objective = Objective(sizes, check_hidden(hidden, len(sizes) - 2), get_loss(output))
        self.seed = check_count(seed, "seed", 0)
        self._follows = isinstance(backend, str) and backend == "auto" and device is None
        self._place = select("numpy" if _is_auto(backend) else backend, device, dtype)
        self._bound = not self._follows
        if precision == "tf32":
            self._place.allow_tf32()
        elif precision != "exact":
            raise ValueError(f"precision={precision!r}: choose 'exact' or 'tf32'")
        self._state: TrainingState | None = None
        self.data: dict[str, Any] = {}
        self.tensors: dict[str, np.ndarray] = {}
        rng = np.random.default_rng(self.seed)
        theta = initial_parameters(self._objective.layout, self._objective.hidden, rng)
        self._theta = self._place.asarray(theta, self._place.dtype)

    # -- what it is ----------------------------------------------------------------------
    @property
    def sizes(self) -> tuple[int, ...]:
        return self._objective.sizes

    @property
    def hidden(self) -> tuple[Activation, ...]:
        return self._objective.hidden

    @property
    def output(self) -> str:
        return self._objective.loss.output

    @property
    def backend(self) -> Backend:
        """Where this net computes."""
        return self._place

    @property
    def n_parameters(self) -> int:
        return self._objective.layout.n_parameters

    @property
    def parameters(self) -> list[Layer]:
        """``[(W, b), ...]``, W (n_out, n_in) and b (n_out, 1).

        Reading gives copies; assigning copies in, from the host or from the net's own library.
        """
        return self._layers(self._theta)

    @parameters.setter
    def parameters(self, layers: Iterable[tuple[Any, Any]]) -> None:
        layout = self._objective.layout
        try:
            layers = [(W, b) for W, b in layers]
        except (TypeError, ValueError) as error:
            raise TypeError("parameters are a list of pairs (W, b), one per layer") from error
        if len(layers) != layout.n_layers:
            raise ValueError(f"{len(layers)} layers for a net of {layout.n_layers}")
        for l, ((W, b), (shape, _, _)) in enumerate(zip(layers, layout.slices(), strict=True), 1):
            for name, x, expected in (("W", W, shape), ("b", b, (shape[0], 1))):
                if tuple(np.shape(x)) != expected:
                    raise ValueError(
                        f"{name} of layer {l} has shape {tuple(np.shape(x))}; expected {expected}"
                    )
        place = self._place
        if not self._bound:  # an unbound net waits on the host
            layers = [(to_numpy(W), to_numpy(b)) for W, b in layers]
        admitted = [
            tuple(data.admit(x, "a parameter", place, moves=True) for x in layer)
            for layer in layers
        ]
        with place.context():
            theta = layout.flatten(admitted, xp=place.xp)
            theta = place.xp.astype(theta, self._theta.dtype)
        data.check_finite(theta[None, :], "parameters", place)
        self._theta = theta

    def __repr__(self) -> str:
        names = [activation.name for activation in self.hidden]
        hidden = names[0] if len(set(names)) == 1 else names
        middle = f"hidden={hidden!r}, " if names else ""
        where = f"{self._place}, {self._place.dtype_name}" if self._bound else "not placed yet"
        return (
            f"DeepNet({list(self.sizes)}, {middle}output={self.output!r}) "
            f"<{self.n_parameters:,} parameters, {where}>"
        )

    # -- training ------------------------------------------------------------------------
    def fit(
        self,
        X: Array,
        Y: Array,
        optimizer: Optimizer = _ADAM,
        epochs: int = 20,
        batch_size: int | None = None,
        shuffle: bool | Callable[[int], Any] = True,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        validation: tuple[Array, Array] | None = None,
        callbacks: Iterable[Callback] = (),
        resume: bool = False,
        prefetch: bool | None = None,
    ) -> History:
        """Trains on from the current parameters.

        With the defaults this makes 20 updates in all, one per epoch: pass a ``batch_size`` or
        more ``epochs`` for a longer training.

        Parameters
        ----------
        X : array (n_x, m)
            Features, examples in columns. Never written to.
        Y : array (1, m), (n_y, m), or labels (m,)
            Targets: 0/1 for sigmoid, class numbers or one-hot columns for softmax.
        optimizer : Optimizer
            ``xpnet.Adam(1e-3)`` if left out.
        epochs : int
            How many passes over the data (how many *more* with ``resume``).
        batch_size : int, optional
            Examples per update; None: all of them, the notes' gradient descent.
        shuffle : bool or callable
            Whether minibatches are drawn anew each epoch, or ``epoch -> permutation``.
        sample_weight : array (m,), optional
            The cost becomes the weighted mean.
        l2 : float
            Adds ``l2/2 * sum(W**2)`` to the cost; biases are not penalised.
        validation : (X, Y), optional
            Evaluated after each epoch.
        callbacks : iterable
            Objects with any of ``on_fit_begin(net, progress)``, ``on_epoch_end(net, progress)``,
            ``on_fit_end(net, progress)``. A true return from ``on_epoch_end`` ends the fit.
            ``progress`` has ``epoch``, ``epochs``, ``seconds``, ``cost``, ``validation_cost`` and
            ``validation_accuracy``: see ``xpnet.training.Progress``.
        resume : bool
            Go on with the optimiser's state and the epoch count of the last fit: one long fit
            and two short ones are then the same to the last bit. Without a last fit, as for a net
            from a file, it starts afresh.
        prefetch : bool, optional
            For host data and a net on a GPU: whether minibatches are copied while the previous
            one computes, or all data once beforehand. None: the latter if it fits.

        Raises
        ------
        ValueError, TypeError
            Shapes, labels or numbers that cannot be trained on; data of another library.
        DivergedError
            The cost left the finite numbers. The net keeps its last finite parameters.
        """
        l2, callbacks = check_number(l2, "l2"), check_callbacks(callbacks)
        if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer={optimizer!r}: expected one such as xpnet.Adam(1e-3)")
        epochs = check_count(epochs, "epochs", 0)
        batch_size = None if batch_size is None else check_count(batch_size, "batch_size", 1)
        self._bind_to(X)
        prefetch = self._prefetches(X, batch_size, prefetch)
        examples = self._examples(X, Y, sample_weight, on_host=prefetch)
        m = examples.X.shape[0]
        state = self._starting_state(optimizer, resume)
        plan = Plan(
            optimizer=optimizer,
            epochs=epochs,
            n_examples=m,
            batch_size=None if batch_size is None else min(batch_size, m),
            order=orders(shuffle, self.seed, m),
            l2=l2,
            sample_weight=None if examples.w is None else to_numpy(examples.w),
            first_epoch=state.epoch,
            first_step=state.step,
        )
        engine = self._engine(l2)
        with self._place.context():
            evaluate = None if validation is None else self._evaluator(validation)
            program = engine.program(
                optimizer, examples, plan.batch_size, self._theta, state.moments
            )
            run = Run(self, program, plan, callbacks, evaluate)
            run.history.data = "prefetched" if prefetch else "device"
            try:
                return run.train()
            finally:
                self._theta = program.theta
                steps = run.epoch * plan.steps_per_epoch
                self._state = TrainingState(
                    optimizer, program.moments, state.epoch + run.epoch, state.step + steps
                )

    def _prefetches(self, X: Any, batch_size: int | None, wanted: bool | None) -> bool:
        """Whether X stays on the host and is copied to the device batch by batch."""
        room = self._room()
        on_host = room is not None and self._may_move(X)
        if wanted and not on_host:
            raise ValueError(
                f"prefetch=True is for host data and a net on a GPU, not {self._place}"
            )
        if wanted and batch_size is None:
            raise ValueError("prefetch=True needs a batch_size")
        if wanted is not None or not on_host or batch_size is None:
            return bool(wanted)
        itemsize = 8 if self._place.dtype_name == "float64" else 4
        n_x, m = np.shape(X)
        assert room is not None
        # the rest is for the net and a minibatch
        return (n_x + self.sizes[-1] + 1) * m * itemsize > 0.8 * room

    def _starting_state(self, optimizer: Optimizer, resume: bool) -> TrainingState:
        state = self._state
        if resume and state is not None:
            if type(optimizer) is not type(state.optimizer):
                raise ValueError(
                    f"resume=True goes on with the state of {state.optimizer}, which "
                    f"{type(optimizer).__name__} cannot use: pass the same kind of optimiser, "
                    "or resume=False"
                )
            return state
        with self._place.context():
            zeros = self._place.xp.zeros_like
            moments = tuple(zeros(self._theta) for _ in range(optimizer.n_moments))
        return TrainingState(optimizer, moments, 0, 0)

    def _evaluator(
        self, validation: tuple[Array, Array]
    ) -> Callable[[Array], tuple[Array, Array | None]]:
        """The function ``theta -> (cost, accuracy or None)`` of the validation data."""
        if not isinstance(validation, tuple | list) or len(validation) != 2:
            raise TypeError("validation is a pair (X, Y)")
        self._bind_to(validation[0], "validation X")
        on_host = self._prefetches(validation[0], 1, None)
        examples = self._examples(*validation, None, part="validation ", on_host=on_host)
        engine, xp = self._engine(), self._place.xp

        def evaluate(theta: Array) -> tuple[Array, Array | None]:
            cost = engine.value(theta, examples)
            if self.output == "identity":
                return cost, None
            # host data, where it does not fit on the device, is moved part by part
            A, Y = engine.predict(theta, examples.X.T), self._place.asarray(examples.Y).T
            if self.output == "softmax":
                hits = xp.argmax(A, axis=0) == xp.argmax(Y, axis=0)
            else:
                hits = (A > 0.5) == (Y > 0.5)
            return cost, xp.mean(xp.astype(hits, theta.dtype))

        return evaluate

    # -- evaluation ----------------------------------------------------------------------
    def predict_proba(self, X: Array) -> Array:
        """The output ``A[L]`` (n_y, m) for ``X`` (n_x, m), as an array of X's library."""
        columns = self._columns(X)
        with self._place.context():
            return self._returned(self._engine().predict(self._theta, columns), X)

    def predict(self, X: Array) -> Array:
        """sigmoid: (1, m) of 0 and 1; softmax: class numbers (m,); identity: (n_y, m)."""
        columns, xp = self._columns(X), self._place.xp
        with self._place.context():
            A = self._engine().predict(self._theta, columns)
            if self.output == "softmax":
                A = xp.argmax(A, axis=0)
            elif self.output == "sigmoid":
                A = xp.astype(A > 0.5, xp.asarray(0).dtype)
            return self._returned(A, X)

    def cost(
        self, X: Array, Y: Array, sample_weight: Array | None = None, l2: float = 0.0
    ) -> float:
        """The cost ``J`` of ``Y`` given ``X``: the (weighted) mean loss, plus the penalty."""
        self._bind_to(X)
        on_host, l2 = self._prefetches(X, 1, None), check_number(l2, "l2")
        examples = self._examples(X, Y, sample_weight, on_host=on_host)
        with self._place.context():
            return float(self._engine(l2).value(self._theta, examples, l2))

    def gradients(
        self, X: Array, Y: Array, sample_weight: Array | None = None, l2: float = 0.0
    ) -> list[Layer]:
        """``[(dW, db), ...]``: the derivatives of ``cost``, shaped like ``parameters``."""
        examples, l2 = self._examples(X, Y, sample_weight), check_number(l2, "l2")
        with self._place.context():
            engine = self._engine(l2)
            return self._layers(engine.value_and_gradient(self._theta, examples, l2)[1])

    # -- moving --------------------------------------------------------------------------
    def to(self, backend: Any, device: Any = None, dtype: Any = None) -> DeepNet:
        """Moves this net, and the state of its optimiser, to another place; returns the net.

        From then on host arrays are taken and moved, as with a ``backend`` of one's own choice.
        """
        place = select(backend, device, dtype)
        if place.dtype is None and self._place.dtype is not None:
            place = place.with_dtype(self._place.dtype_name)
        self._move(place)
        self._bound, self._follows = True, False
        return self

    def _with_dtype(self, dtype: Any) -> DeepNet:
        self._move(self._place.with_dtype(dtype))
        return self

    def _move(self, place: Backend) -> None:
        def moved(x: Array) -> Array:
            return place.asarray(to_numpy(x), place.dtype)

        theta = moved(self._theta)
        if self._state is not None:
            moments = tuple(moved(m) for m in self._state.moments)
            self._state = replace(self._state, moments=moments)
        self._theta, self._place = theta, place

    # -- files ---------------------------------------------------------------------------
    def save(
        self,
        path: str | os.PathLike[str],
        data: Mapping[str, Any] | None = None,
        tensors: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Writes the net to a safetensors file, replacing one that is there in one step.

        The optimiser's state is not kept: to resume a fit elsewhere, pickle the net.

        Parameters
        ----------
        data : mapping, optional
            What JSON can hold about the data: class names, columns.
        tensors : mapping of str to ndarray, optional
            Further arrays, such as the statistics that standardise a feature.

        Raises
        ------
        ValueError
            A hidden layer has an activation of your own: a file holds names, not functions.
        OSError
            The file cannot be written. One that was there is unharmed.
        """
        own = [a.name for a in self.hidden if ACTIVATIONS.get(a.name) != a]
        if own:
            raise ValueError(
                f"activation {own[0]!r} is a function of yours, which a model file cannot hold; "
                "save net.parameters yourself"
            )
        config: dict[str, Any] = {
            "net": {
                "sizes": list(self.sizes),
                "hidden": [activation.name for activation in self.hidden],
                "output": self.output,
                "dtype": None if self._place.dtype is None else self._place.dtype_name,
                "seed": self.seed,
            }
        }
        config |= {} if data is None else {"data": dict(data)}
        layers = [(to_numpy(W), to_numpy(b)) for W, b in self.parameters]
        save_model(path, layers, config, tensors)

    # -- copies and pickles --------------------------------------------------------------
    def __deepcopy__(self, memo: dict[int, Any]) -> DeepNet:
        twin = copy.copy(self)
        with self._place.context():
            twin._theta = self._place.xp.asarray(self._theta, copy=True)
            if self._state is not None:
                twins = tuple(self._place.xp.asarray(m, copy=True) for m in self._state.moments)
                twin._state = replace(self._state, moments=twins)
        twin.data, twin.tensors = copy.deepcopy((self.data, self.tensors), memo)
        return twin

    def __copy__(self) -> DeepNet:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        # Pickles hold host arrays only: a net trained on a GPU loads on a laptop, where it
        # follows the first X again.
        state = self.__dict__ | {"_theta": to_numpy(self._theta), "_place": None}
        state |= {"_dtype": self._place.dtype_name if self._place.dtype is not None else None}
        if self._state is not None:
            moments = tuple(to_numpy(m) for m in self._state.moments)
            state["_state"] = replace(self._state, moments=moments)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        dtype = state.pop("_dtype")
        self.__dict__.update(state)
        self._place = select("numpy", dtype=dtype)
        self._follows, self._bound = True, False

    # -- inside --------------------------------------------------------------------------
    def _engine(self, l2: float = 0.0) -> Engine:
        return engine_for(self._place, replace(self._objective, penalized=l2 > 0))

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
        X = X if is_array_api_obj(X) else data.host_array(X, what)
        data.check_columns(X, what, self.sizes[0])
        if self._bound and self._place.dtype is not None:
            return
        place = self._place
        if not self._bound:
            place = replace(place_of(X), dtype=None)
            place = place if self._place.dtype is None else place.with_dtype(self._place.dtype_name)
        data.check_numeric(X, what)
        self._move(place.following(X))
        self._bound = True

    def _columns(self, X: Any) -> Array:
        """X (n_x, m), checked, in this net's place and dtype."""
        self._bind_to(X)
        # A GPU's engine moves host data itself, as much at a time as fits.
        on_host = self._room() is not None and self._may_move(X)
        place = self._host() if on_host else self._place
        X = data.admit(X, "X", place, moves=not self._follows)
        with place.context():
            X = X if X.dtype == place.dtype else place.xp.astype(X, place.dtype)
        data.check_finite(X.T, "X", place)
        return X

    def _examples(
        self, X: Any, Y: Any, sample_weight: Any, part: str = "", on_host: bool = False
    ) -> Data:
        """The data of a fit: checked, in rows, in this net's dtype and place (or on the host)."""
        X_name, Y_name = f"{part}X", f"{part}Y"
        self._bind_to(X, X_name)
        n_x, *_, n_y = self.sizes
        loss = self._objective.loss
        rows = self._prepared(X, X_name, lambda x, at: data.features(x, n_x, at, X_name), on_host)
        m = rows.shape[0]
        targets = self._prepared(
            Y, Y_name, lambda y, at: data.targets(y, loss, n_y, m, at, Y_name), on_host
        )
        if sample_weight is None:
            return Data(rows, targets, None)
        weights = self._prepared(
            sample_weight, "sample_weight", lambda w, at: data.weights(w, m, at), on_host
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
        ready = check(data.admit(x, what, at, moves=not self._follows), at)
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


def _is_auto(backend: Any) -> bool:
    return isinstance(backend, str) and backend == "auto"


def load(
    path: str | os.PathLike[str], backend: Any = "auto", device: Any = None, dtype: Any = None
) -> DeepNet:
    """The net in a file that ``DeepNet.save`` or ``xpnet train`` wrote.

    ``net.data`` and ``net.tensors`` are what was saved beside it. The net of ``xpnet train`` wants
    standardised features, ``(X - input_mean) / input_scale``, and a regression answers in units of
    ``target_scale`` around ``target_mean``: these are in ``net.tensors``, and the names of columns
    and classes in ``net.data``. A scale of 0 marks a constant column, which stays 0.

    Parameters
    ----------
    backend, device, dtype
        As for ``DeepNet``; the dtype is the saved one if left out.

    Raises
    ------
    ModelFileError
        The file is truncated, damaged, foreign or newer than this library.
    OSError
        It cannot be read.
    """
    model = load_model(path)
    try:
        saved = model.config["net"]
        net = DeepNet(
            saved["sizes"],
            hidden=saved["hidden"],
            output=saved["output"],
            dtype=saved["dtype"],
            seed=saved["seed"],
        )
        net.parameters = model.parameters
        net.data, net.tensors = model.config.get("data", {}), model.tensors
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFileError(f"{os.fspath(path)}: describes no net: {error}") from error
    if _is_auto(backend) and device is None:
        return net if dtype is None else net._with_dtype(dtype)
    return net.to("numpy" if _is_auto(backend) else backend, device, dtype)
