"""``DeepNet``: a dense net in the convention of the notes, on any array library."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import to_numpy
from xpnet.core.activations import Activation
from xpnet.core.initializers import initial_parameters
from xpnet.core.losses import get_loss
from xpnet.core.network import Objective
from xpnet.core.optimizers import Adam, Optimizer
from xpnet.core.parameters import Layer
from xpnet.core.schedules import Constant, prepared
from xpnet.core.settings import POSITIVE, check_count, check_number
from xpnet.data import checks
from xpnet.data.stream import Stream
from xpnet.engines import engine_for
from xpnet.exceptions import ModelFileError
from xpnet.files import onnx
from xpnet.files.checkpoint import pack, unpack
from xpnet.files.model import activation_names, load_model, save_model
from xpnet.files.raw import predict_raw
from xpnet.files.sklearn import from_sklearn, to_sklearn
from xpnet.files.torch import to_torch
from xpnet.net.arguments import (
    check_callbacks,
    check_dropout,
    check_hidden,
    check_sizes,
)
from xpnet.net.examples import evaluator, fit_source, prefetches
from xpnet.net.placement import Placed, is_auto
from xpnet.training.history import History
from xpnet.training.loop import Run
from xpnet.training.notebook import net_html
from xpnet.training.plan import NetPlan
from xpnet.training.state import TrainingState

_ADAM = Adam(1e-3)
_DAMAGED = (ArithmeticError, LookupError, RecursionError, TypeError, ValueError)


class DeepNet(Placed):
    """A dense neural network: ``A[l] = g(W[l] @ A[l-1] + b[l])``, examples in columns.

    Parameters
    ----------
    sizes : sequence of int
        Widths ``[n_x, ..., n_y]``: inputs, hidden layers, outputs. Two of them make OLS,
        logistic or softmax regression; three a shallow net.
    hidden : str or Activation, or one per hidden layer
        A name in ``xpnet.core.activations.ACTIVATIONS``, such as "relu" or "tanh", or your own.
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
        objective = Objective(sizes, check_hidden(hidden, len(sizes) - 2), get_loss(output))
        seed = check_count(seed, "seed", 0)
        rng = np.random.default_rng(seed)
        theta = initial_parameters(objective.layout, objective.hidden, rng)
        super().__init__(objective, theta, seed, backend, device, dtype)
        if precision == "tf32":
            self._place.allow_tf32()
        elif precision != "exact":
            raise ValueError(f"precision={precision!r}: choose 'exact' or 'tf32'")

    # -- what it is ----------------------------------------------------------------------
    @property
    def hidden(self) -> tuple[Activation, ...]:
        return self._objective.hidden

    @property
    def output(self) -> str:
        return self._objective.loss.output

    @property
    def n_parameters(self) -> int:
        return self._objective.layout.n_parameters

    @property
    def parameters(self) -> list[Layer]:
        """``[(W, b), ...]``, W (n_out, n_in) and b (n_out, 1).

        Reading gives copies; assigning copies in, from the host or from the net's own library.
        """
        return self._layers(self.theta)

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
            tuple(checks.to_backend(x, "a parameter", place, moves=True) for x in layer)
            for layer in layers
        ]
        with place.context():
            theta = layout.flatten(admitted, xp=place.xp)
            theta = place.xp.astype(theta, self.theta.dtype)
        checks.refuse_nan(theta[None, :], "parameters", place)
        if self._run is None:
            self._theta = theta
        else:
            self._run.assign(theta)

    def __repr__(self) -> str:
        names = [activation.name for activation in self.hidden]
        hidden = names[0] if len(set(names)) == 1 else names
        middle = f"hidden={hidden!r}, " if names else ""
        where = f"{self._place}, {self._place.dtype_name}" if self._bound else "not placed yet"
        return (
            f"DeepNet({list(self.sizes)}, {middle}output={self.output!r}) "
            f"<{self.n_parameters:,} parameters, {where}>"
        )

    def _repr_html_(self) -> str:
        return net_html(self)

    # -- training ------------------------------------------------------------------------
    def fit(
        self,
        X: Array | Stream,
        Y: Array | None = None,
        optimizer: Optimizer = _ADAM,
        epochs: int = 20,
        batch_size: int | None = None,
        shuffle: bool | Callable[[int], Any] = True,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        validation: tuple[Array, Array] | Stream | None = None,
        callbacks: Iterable[Any] = (),
        resume: bool = False,
        prefetch: bool | None = None,
        *,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        schedule: Callable[[Any], Any] | None = None,
    ) -> History:
        """Trains on from the current parameters.

        With the defaults this makes 20 updates in all, one per epoch: pass a ``batch_size`` or
        more ``epochs`` for a longer training.

        Parameters
        ----------
        X : array (n_x, m), or Stream
            Features, examples in columns. Never written to. A ``np.memmap`` is streamed where
            there is a ``batch_size``; see ``xpnet.stream`` for other data that does not fit.
        Y : array (1, m), (n_y, m), or labels (m,)
            Targets: 0/1 for sigmoid, class numbers or one-hot columns for softmax. A stream has
            its own.
        optimizer : Optimizer
            ``xpnet.Adam(1e-3)`` if left out.
        epochs : int
            How many passes over the data (how many *more* with ``resume``).
        batch_size : int, optional
            Examples per update; None: all of them, the notes' gradient descent.
        shuffle : bool or callable
            Whether minibatches are drawn anew each epoch, or ``epoch -> permutation``.
        sample_weight : array (m,) or (1, m), optional
            The cost becomes the weighted mean.
        l2 : float
            Adds ``l2/2 * sum(W**2)`` to the cost; biases are not penalised.
        validation : (X, Y) or Stream, optional
            Evaluated after each epoch.
        callbacks : iterable
            Objects with any of ``on_fit_begin(net, progress)``, ``on_epoch_end(net, progress)``,
            ``on_fit_end(net, progress)``. A true return from ``on_epoch_end`` ends the fit.
            ``progress`` has ``epoch``, ``epochs``, ``seconds``, ``cost``, ``validation_cost`` and
            ``validation_accuracy``: see ``training.history``, and ``xpnet.callbacks`` for ours.
        resume : bool
            Go on with the optimiser's state and the epoch count of the last fit: one long fit
            and two short ones are then the same to the last bit. Without a last fit, as for a net
            from a file, it starts afresh.
        prefetch : bool, optional
            For host data and a net on a GPU: whether minibatches are copied while the previous
            one computes, or all data once beforehand. None: the latter if it fits.
        l1 : float
            Adds ``l1 * sum(|W|)`` to the cost.
        dropout : float or one per hidden layer
            Share of hidden units left out of each update, anew for every example (Srivastava et
            al. 2014); the others count for more. The masks follow from ``seed`` and the number of
            the update, and are the same on every library.
        clip_norm : float, optional
            Gradients with a larger Euclidean norm are scaled down to it (Pascanu et al. 2013).
        schedule : callable (epoch) -> factor, optional
            What the optimiser's learning rate is multiplied by, for the epoch (a float, counted
            from 0) of every update: one of ``xpnet.core.schedules``, or your own function.

        Raises
        ------
        ValueError, TypeError
            Shapes, labels or numbers that cannot be trained on; data of another library.
        DivergedError
            The cost left the finite numbers. The net keeps its last finite parameters.
        """
        if self._run is not None:
            raise RuntimeError("this net is being trained: in a callback, fit a copy.deepcopy")
        l2, l1 = check_number(l2, "l2"), check_number(l1, "l1")
        clip_norm = 0.0 if clip_norm is None else check_number(clip_norm, "clip_norm", POSITIVE)
        callbacks = check_callbacks(callbacks)
        if isinstance(optimizer, type) or not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer={optimizer!r}: expected one such as xpnet.Adam(1e-3)")
        epochs = check_count(epochs, "epochs", 0)
        batch_size = None if batch_size is None else check_count(batch_size, "batch_size", 1)
        dropout = check_dropout(dropout, len(self.hidden))
        objective = replace(
            self._objective,
            penalized=l2 > 0,
            sparse=l1 > 0,
            dropout=dropout,
            clipped=clip_norm > 0,
        )
        given = (X, Y, batch_size, shuffle, sample_weight, prefetch)
        examples, source, how = fit_source(self, *given)
        start = self._starting_state(optimizer, resume)
        plan = NetPlan(
            optimizer,
            epochs,
            l2,
            l1,
            clip_norm,
            self.seed if dropout else None,
            prepared(schedule or Constant(), start.epoch + epochs),
        )
        with self._place.context():
            evaluate = None if validation is None else evaluator(self, validation)
            program = engine_for(self._place, objective).program(
                optimizer, examples, source.batch_size, self._theta, start.moments
            )
            run = Run(
                program,
                plan,
                source,
                net=self,
                callbacks=callbacks,
                evaluate=evaluate,
                start=start,
            )
            run.history.data = how
            # the program has its own: no second copy of a large net stays in memory
            self._run, self._theta, self._state, start = run, None, None, run.start
            try:
                return run.train()
            finally:
                self._run, self._theta = None, run.theta
                self._state = run.state(with_callbacks=False)
                self._state = run.state()  # may raise: a callback's state() is user code

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
            # zeros, not zeros_like: memory of NumPy's that nobody wrote to costs nothing
            new = {"dtype": self._theta.dtype, "device": self._place.device}
            zeros = self._place.xp.zeros
            moments = tuple(zeros(self._theta.shape, **new) for _ in range(optimizer.n_moments))
        return TrainingState(optimizer, moments)

    # -- evaluation ----------------------------------------------------------------------
    def predict_proba(self, X: Array) -> Array:
        """The output ``A[L]`` (n_y, m) for ``X`` (n_x, m), as an array of X's library."""
        columns = self._columns(X)
        with self._place.context():
            return self._returned(self._engine().predict(self.theta, columns), X)

    def predict(self, X: Array) -> Array:
        """sigmoid: (1, m) of 0 and 1; softmax: class numbers (m,); identity: (n_y, m)."""
        columns, xp = self._columns(X), self._place.xp
        with self._place.context():
            A = self._engine().predict(self.theta, columns)
            if self.output == "softmax":
                A = xp.argmax(A, axis=0)
            elif self.output == "sigmoid":
                A = xp.astype(A > 0.5, xp.asarray(0).dtype)
            return self._returned(A, X)

    def predict_raw(self, X: Array) -> np.ndarray:
        """What a net of ``xpnet train`` says of ``X`` (n_x, m) as it stands in the table.

        The features are standardised first, where ``net.tensors`` has statistics. Classes come as
        labels (m,), text or numbers; a regression answers in the target's units, (n_y, m). X may
        be of any library; the answers are in NumPy. This is what ``xpnet predict`` says; the
        columns are ``net.data["features"]``, in their order.

        Raises
        ------
        ValueError
            The statistics or the classes do not fit the net, or X has another shape.
        """
        self._bind_to(X)
        twin = copy.copy(self)
        twin._follows = False  # host arrays are taken, whatever library the net follows
        return predict_raw(twin, X)

    def cost(
        self,
        X: Array,
        Y: Array,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
    ) -> float:
        """The cost ``J`` of ``Y`` given ``X``: the (weighted) mean loss, plus the penalties."""
        penalties = check_number(l2, "l2"), check_number(l1, "l1")
        self._bind_to(X)
        on_host = prefetches(self, X, 1, None)
        examples = self._examples(X, Y, sample_weight, on_host=on_host)
        with self._place.context():
            return float(self._engine(*penalties).value(self.theta, examples, *penalties))

    def gradients(
        self,
        X: Array,
        Y: Array,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
    ) -> list[Layer]:
        """``[(dW, db), ...]``: the derivatives of ``cost``, shaped like ``parameters``.

        Where a weight is 0, that of the l1 penalty is taken to be 0.
        """
        penalties = check_number(l2, "l2"), check_number(l1, "l1")
        examples = self._examples(X, Y, sample_weight)
        with self._place.context():
            engine = self._engine(*penalties)
            gradient = engine.value_and_gradient(self.theta, examples, *penalties)[1]
            return self._layers(gradient)

    @property
    def history(self) -> History:
        """Of the last fit and those it went on from; empty before the first."""
        state = self.training_state
        return History() if state is None else state.history

    # -- files ---------------------------------------------------------------------------
    def save(
        self,
        path: str | os.PathLike[str],
        data: Mapping[str, Any] | None = None,
        tensors: Mapping[str, np.ndarray] | None = None,
        *,
        training: bool = False,
    ) -> None:
        """Writes the net to a safetensors file, replacing one that is there in one step.

        Parameters
        ----------
        data : mapping, optional
            What JSON can hold about the data: class names, columns. ``net.data`` if left out.
        tensors : mapping of str to ndarray, optional
            Further arrays, such as the statistics that standardise a feature. ``net.tensors`` if
            left out.
        training : bool
            Whether the state of training is kept too: optimiser, epoch, history. With it the file
            is a checkpoint: ``fit(resume=True)`` of the net that ``load`` makes of it goes on.

        Raises
        ------
        ValueError
            A hidden layer has an activation of your own: a file holds names, not functions.
        OSError
            The file cannot be written. One that was there is unharmed.
        """
        config: dict[str, Any] = {
            "net": {
                "sizes": list(self.sizes),
                "hidden": activation_names(self, "a model file"),
                "output": self.output,
                "dtype": None if self._place.dtype is None else self._place.dtype_name,
                "seed": self.seed,
            }
        }
        data = self.data if data is None else data
        config |= {"data": dict(data)} if data else {}
        tensors = self.tensors if tensors is None else tensors
        state = self.training_state
        if training and state is not None:
            config["training"], packed = pack(state)
            tensors = {**tensors, **packed}
        layers = [(to_numpy(W), to_numpy(b)) for W, b in self.parameters]
        save_model(path, layers, config, tensors)

    def to_onnx(self, path: str | os.PathLike[str], *, raw: bool = False) -> None:
        """Writes an ONNX model: input ``X`` (m, n_x) float32, outputs in rows.

        See ``files.onnx.write``; ``raw`` puts the standardisation of ``net.tensors`` around it.
        """
        onnx.write(self, path, raw=raw)

    def to_torch(self) -> Any:
        """A ``torch.nn.Sequential`` with a copy of the parameters; examples are its rows."""
        return to_torch(self)

    def to_sklearn(self, classes: Any = None) -> Any:
        """A fitted ``MLPClassifier`` or ``MLPRegressor`` of scikit-learn's that predicts the same.

        ``classes`` (k,) are the labels behind the class numbers, 0 ... k - 1 if left out.
        """
        return to_sklearn(self, classes)

    @classmethod
    def from_sklearn(
        cls, estimator: Any, backend: Any = "auto", device: Any = None, dtype: Any = None
    ) -> DeepNet:
        """The net inside a fitted MLP, scikit-learn's or xpnet's."""
        return from_sklearn(cls, estimator, backend, device, dtype)


def load(
    path: str | os.PathLike[str], backend: Any = "auto", device: Any = None, dtype: Any = None
) -> DeepNet:
    """The net in a file that ``DeepNet.save`` or ``xpnet train`` wrote.

    ``net.data`` and ``net.tensors`` are what was saved beside it. The net of ``xpnet train`` wants
    standardised features, ``(X - input_mean) / input_scale``, and a regression answers in units of
    ``target_scale`` around ``target_mean``: these are in ``net.tensors``, and the names of columns
    and classes in ``net.data``. A scale of 0 marks a constant column, which becomes 0.
    ``net.predict_raw(X)`` does all of that.

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
    except _DAMAGED as error:
        raise ModelFileError(f"{os.fspath(path)}: describes no net: {error!s:.200}") from error
    if "training" in model.config:
        try:
            training = model.config["training"]
            net._state, net.tensors = unpack(training, model.tensors, net.n_parameters)
        except _DAMAGED as error:
            raise ModelFileError(f"{os.fspath(path)}: {error!s:.200}") from error
    if is_auto(backend) and device is None:
        return net if dtype is None else net.with_dtype(dtype)
    return net.to("numpy" if is_auto(backend) else backend, device, dtype)
