"""``DeepNet``: a dense net in the convention of the notes, on any array library."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np

from xpnet._typing import Array
from xpnet.backends.place import Backend, memory_freed_after, select
from xpnet.core.activations import Activation
from xpnet.core.losses import get_loss
from xpnet.core.network import Objective
from xpnet.core.optimizers import Adam, Optimizer
from xpnet.core.parameters import Layer, initial_parameters
from xpnet.core.schedules import Constant, prepared
from xpnet.core.settings import POSITIVE, check_count, check_number
from xpnet.data.stream import Stream
from xpnet.distributed import Ranks
from xpnet.engines import engine_for
from xpnet.files import onnx
from xpnet.files.atomic import File
from xpnet.files.checkpoint import save
from xpnet.files.raw import TableModel
from xpnet.files.sklearn import from_sklearn, to_sklearn
from xpnet.files.torch import to_torch
from xpnet.net import arguments
from xpnet.net.evaluation import cost_of, decided, evaluator, score
from xpnet.net.held import Held, layers_of, theta_of
from xpnet.net.inputs import Inputs
from xpnet.net.joining import join, share
from xpnet.net.placement import Placement
from xpnet.training.history import History
from xpnet.training.loop import Run
from xpnet.training.notebook import net_html
from xpnet.training.plan import Plan
from xpnet.training.state import TrainingState, starting_state


class DeepNet:
    """A dense neural network: ``A[l] = g(W[l] @ A[l-1] + b[l])``, examples in columns.

    Parameters
    ----------
    sizes : sequence of int
        Widths ``[n_x, ..., n_y]``: inputs, hidden layers, outputs. Two of them make OLS,
        logistic or softmax regression; three a shallow net.
    hidden : str or Activation, or one per hidden layer
        A name, such as "relu" or "tanh", or your own.
    output : {"sigmoid", "softmax", "identity"}
        With its loss: cross-entropy for the first two, half the squared error for the last.
    backend : str, module or array
        "auto" follows the library, device and dtype of the first X. A name of
        ``xpnet.backends()``, a module, or an array chooses one now; NumPy data is then moved
        there. "best" leaves the place to the first ``fit``: a GPU where one is usable and the
        work of a step pays for it, about 10 MFLOP (6 * parameters * examples), else NumPy.
    device : str or device object, optional
        For example "cuda:1". The library's default if left out.
    dtype : {"float32", "float64"}, optional
        Left out, a floating X decides; integer X, and host X moved to a GPU, mean float32 (float64
        where that would round integers).
    seed : int
        Draws the initial weights (He for ReLU and its relatives, Glorot elsewhere) and shuffles,
        both on the host: one seed gives one net on every library.
    precision : {"exact", "tf32", "bf16"}, optional
        "tf32" (CuPy, PyTorch, JAX) and "bf16" (CuPy) let float32 products on a GPU round their
        factors to 10 and 7 bits, for speed. Of this net only; left out, that of ``backend``.

    Attributes
    ----------
    data, tensors : dict
        What ``load`` found beside the net in its file; "features" are the names of what it learns.

    Raises
    ------
    ValueError
        A width below 1, fewer than two widths, an unknown activation or output.
    BackendUnavailable
        The library or its device is missing; the message says what installs it.

    Notes
    -----
    A copy (``copy.deepcopy``) stays where the net is. A pickle holds host arrays only, so that a
    net trained on a GPU loads on a laptop; the net that comes out of it follows its first X.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_digits()
    >>> X = X.T / 16  # examples are columns: (64, 1797)
    >>> net = xpnet.DeepNet([64, 32, 10], output="softmax")
    >>> history = net.fit(X[:, :1500], y[:1500], xpnet.Adam(1e-2), epochs=10)
    >>> net.score(X[:, 1500:], y[1500:]) > 0.8
    True
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
        precision: str | None = None,
    ) -> None:
        sizes = arguments.check_sizes(sizes, output)
        activations = arguments.check_hidden(hidden, len(sizes) - 2)
        self.objective = objective = Objective(sizes, activations, get_loss(output))
        self.seed = check_count(seed, "seed", 0)
        theta = initial_parameters(objective.layout, activations, np.random.default_rng(self.seed))
        self._held = Held(Placement.of(backend, device, dtype, precision), theta)
        self.data: dict[str, Any] = {}
        self.tensors: dict[str, np.ndarray] = {}

    # -- what it is ----------------------------------------------------------------------
    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths ``(n_x, ..., n_y)``: inputs, hidden layers, outputs.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.shallow_net(2, 4).sizes
        (2, 4, 1)
        """
        return self.objective.sizes

    @property
    def hidden(self) -> tuple[Activation, ...]:
        """Activations of the hidden layers.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.DeepNet([2, 4, 3, 1], hidden=["tanh", "relu"]).hidden
        (Activation(name='tanh'), Activation(name='relu'))
        """
        return self.objective.hidden

    @property
    def output(self) -> str:
        """The output: "sigmoid", "softmax" or "identity".

        Examples
        --------
        >>> import xpnet
        >>> xpnet.linear_regression(3).output
        'identity'
        """
        return self.objective.loss.output

    @property
    def n_parameters(self) -> int:
        """The number of weights and biases.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.DeepNet([2, 4, 1]).n_parameters  # 2 * 4 + 4 + 4 * 1 + 1
        17
        """
        return self.objective.layout.n_parameters

    @property
    def parameters(self) -> list[Layer]:
        """The layers ``[(W, b), ...]``, W (n_out, n_in) and b (n_out, 1).

        Reading gives copies: ``net.parameters[0].W[0, 0] = 1`` changes a copy, and the net stays
        as it is. Assigning copies in, from the host or from the net's own library.

        Raises
        ------
        TypeError, ValueError
            Assigned layers are no pairs, have other shapes than the net's, or hold NaN or infinity.

        Examples
        --------
        >>> import xpnet
        >>> net = xpnet.linear_regression(2)
        >>> layers = net.parameters  # copies
        >>> layers[0].W[0, 1] = 2.0
        >>> net.parameters = layers
        >>> float(net.parameters[0].W[0, 1])
        2.0
        """
        return layers_of(self.theta, self.objective.layout, self.backend)

    @parameters.setter
    def parameters(self, layers: Iterable[tuple[Any, Any]]) -> None:
        held = self._held
        held.theta = theta_of(layers, self.objective.layout, held.placement, held.theta.dtype)

    @property
    def placement(self) -> Placement:
        """Where this net computes, and whether the first X decides it."""
        return self._held.placement

    @property
    def backend(self) -> Backend:
        """The library, device and dtype that this net computes with.

        Examples
        --------
        >>> import xpnet
        >>> place = xpnet.DeepNet([2, 1], backend="numpy", dtype="float32").backend
        >>> print(place, place.dtype_name)
        NumPy on cpu float32
        """
        return self._held.place

    @property
    def theta(self) -> Array:
        """All weights, then all biases (n_parameters,), as they are now; not a copy.

        Examples
        --------
        >>> import xpnet
        >>> net = xpnet.linear_regression(2)
        >>> net.parameters = [([[1.0, 2.0]], [[0.5]])]
        >>> net.theta
        array([1. , 2. , 0.5])
        """
        return self._held.theta

    @property
    def training_state(self) -> TrainingState | None:
        """What ``fit(resume=True)`` goes on from, None before the first fit.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> net = xpnet.DeepNet([64, 10], output="softmax")
        >>> history = net.fit(X.T / 16, y, epochs=3)
        >>> net.training_state.epoch
        3
        """
        return self._held.state

    @training_state.setter
    def training_state(self, state: TrainingState | None) -> None:
        self._held.state = state

    @property
    def history(self) -> History:
        """The epochs of the last fit and of those it went on from; empty before the first.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> net = xpnet.DeepNet([64, 10], output="softmax")
        >>> for _ in range(2):
        ...     history = net.fit(X.T / 16, y, epochs=3, resume=True)
        >>> len(history.cost), len(net.history.cost)
        (3, 6)
        """
        state = self.training_state
        return History() if state is None else state.history

    def __repr__(self) -> str:
        names = [activation.name for activation in self.hidden]
        hidden = names[0] if len(set(names)) == 1 else names
        middle = f"hidden={hidden!r}, " if names else ""
        return (
            f"DeepNet({list(self.sizes)}, {middle}output={self.output!r}) "
            f"<{self.n_parameters:,} parameters, {self.placement}>"
        )

    def _repr_html_(self) -> str:
        return net_html(self)

    # -- moving and copying --------------------------------------------------------------
    def to(self, backend: Any, device: Any = None, dtype: Any = None) -> Self:
        """Move this net, and the state of its optimiser, to another place.

        From then on host arrays are taken and moved, as with a ``backend`` of one's own choice.

        Parameters
        ----------
        backend : str, module, array or Backend
            As for ``DeepNet``. A ``Backend`` brings its precision:
            ``select("cupy").with_precision("tf32")``.
        device : str or device object, optional
            The library's default if left out.
        dtype : {"float32", "float64"}, optional
            The net's own if left out.

        Returns
        -------
        DeepNet
            This net.

        Raises
        ------
        BackendUnavailable
            The library or the device is missing.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.DeepNet([2, 3, 1]).to("numpy", dtype="float32")
        DeepNet([2, 3, 1], hidden='relu', output='sigmoid') <13 parameters, NumPy on cpu, float32>
        """
        place = select(backend, device, dtype)
        if place.dtype is None and self.backend.dtype is not None:
            place = place.with_dtype(self.backend.dtype_name)
        self._held.move(Placement(place))
        return self

    def with_dtype(self, dtype: Any) -> Self:
        """Give this net another dtype, where it is.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            A name, NumPy's dtype, or the library's own.

        Returns
        -------
        DeepNet
            This net.

        Raises
        ------
        ValueError
            The dtype is another, or JAX has no float64 switched on.

        Examples
        --------
        >>> import xpnet
        >>> xpnet.linear_regression(2, backend="numpy").with_dtype("float32").theta.dtype
        dtype('float32')
        """
        self._held.move(self.placement.with_dtype(dtype))
        return self

    def __copy__(self) -> Self:
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__ | {"_held": copy.copy(self._held)})
        return twin

    # -- training ------------------------------------------------------------------------
    @memory_freed_after()
    def fit(
        self,
        X: Array | Stream,
        Y: Array | None = None,
        optimizer: Optimizer | None = None,
        *,
        epochs: int = 20,
        batch_size: int | str | None = "auto",
        shuffle: bool | Callable[[int], Any] = True,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: float | Sequence[float] = 0.0,
        clip_norm: float | None = None,
        schedule: Callable[[Any], Any] | None = None,
        validation: tuple[Array, ...] | Stream | None = None,
        callbacks: Iterable[Any] = (),
        resume: bool = False,
        prefetch: bool | None = None,
        communicator: Any = None,
    ) -> History:
        """Train on from the current parameters.

        Parameters
        ----------
        X : array or frame (n_x, m), or Stream
            Features, examples in columns; masked ones count as NaN. Nobody may write to them during
            a fit: the layout in memory decides what is seen. A ``np.memmap`` is streamed unless
            ``batch_size`` is None; see ``xpnet.stream`` for other data that does not fit.
        Y : array (1, m), (n_y, m), or labels (m,)
            Targets: 0/1 for sigmoid, class numbers or one-hot columns for softmax. Not of a stream.
        optimizer : Optimizer
            ``xpnet.Adam(1e-3)`` if left out; with ``resume`` that of the last fit, or of the
            checkpoint.
        epochs : int
            Passes over the data (*more* of them with ``resume``). Few examples need many.
        batch_size : int or None
            Examples per update. "auto": 128, or all if they are fewer; a stream of batches as they
            come. None: all examples, one update per epoch, the notes' gradient descent.
        shuffle : bool or callable
            Whether minibatches are drawn anew each epoch, or ``epoch -> permutation``.
        sample_weight : array (m,) or (1, m), optional
            The cost becomes the weighted mean. A minibatch of m examples costs the sum of
            ``w * loss`` over m times the mean weight of *all* examples: one of small weights
            counts for little, and one whose weights are 0 is a step of cost 0.
        l2, l1 : float
            Add ``l2/2 * sum(W**2)`` and ``l1 * sum(|W|)`` to the cost; biases are not penalised.
        dropout : float or one per hidden layer
            Probability of dropping a unit; kept units are scaled by 1/(1-rate) (Srivastava et al.
            2014). Drawn anew for every update and example, from ``seed`` and the number of the
            update: the same on every library.
        clip_norm : float, optional
            Gradients with a larger Euclidean norm are scaled down to it (Pascanu et al. 2013).
        schedule : callable, optional
            ``epoch -> factor``: what the optimiser's learning rate is multiplied by, for the epoch
            (a float, counted from 0) of every update. One of ``xpnet.schedules``, or your own.
        validation : (X, Y), (X, Y, sample_weight) or Stream, optional
            Evaluated after each epoch. With weights the cost is the weighted mean; the accuracy
            counts each example once.
        callbacks : iterable
            Objects with any of the methods of ``xpnet.training.history.Callback``, such as
            ``on_epoch_end(net, progress)``: a true return ends the fit. ``progress`` has ``epoch``,
            ``cost``, ``validation_cost`` and more; ``xpnet.callbacks`` has ours.
        resume : bool
            Go on with the optimiser's state and the epoch count of the last fit: one long fit
            and two short ones are then the same to the last bit. Without a last fit, as for a net
            from a file, it starts afresh.
        prefetch : bool, optional
            For host data and a net of CuPy's: whether minibatches are copied while the previous
            one computes, or all data once beforehand. None: the latter if it fits.
        communicator : optional
            ``mpi4py.MPI.COMM_WORLD``, a process group of ``torch.distributed``, or a
            ``xpnet.distributed.Communicator``: the processes of it, which all call ``fit`` with the
            same arguments, train this net together. Each computes on its share of every minibatch;
            callbacks are called on rank 0 alone.

        Returns
        -------
        History
            The figures of these epochs.

        Raises
        ------
        ValueError, TypeError
            Shapes, labels or numbers that cannot be trained on; data of another library.
        DivergedError
            The cost or a parameter left the finite numbers. The net keeps finite parameters: those
            from before the step that broke if the fit was compiled, else from the epoch's start.

        Examples
        --------
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> X = X.T / 16
        >>> net = xpnet.DeepNet([64, 32, 10], output="softmax")
        >>> held_out = X[:, 1500:], y[1500:]
        >>> history = net.fit(X[:, :1500], y[:1500], epochs=3, l2=1e-4, validation=held_out)
        >>> len(history.validation_accuracy)
        3
        """
        with self._held.alone(), Ranks.of(communicator) as ranks:
            l2, l1 = check_number(l2, "l2"), check_number(l1, "l1")
            clip_norm = 0.0 if clip_norm is None else check_number(clip_norm, "clip_norm", POSITIVE)
            callbacks = arguments.check_callbacks(callbacks)
            if optimizer is not None:
                arguments.check_optimizer(optimizer)
            epochs = check_count(epochs, "epochs", 0)
            batch_size = arguments.check_batch_size(batch_size, X)
            dropout = arguments.check_dropout(dropout, len(self.hidden))
            with self._settling() as inputs:
                data, source, how = inputs.training_set(
                    X, Y, sample_weight, batch_size, shuffle, prefetch, self.seed, ranks
                )
            place, last = self.backend, self._held.state if resume else None
            if optimizer is None:
                optimizer = Adam(1e-3) if last is None else last.optimizer
            start = starting_state(last, optimizer, self.theta, place)
            schedule = prepared(schedule or Constant(), start.epoch + epochs)
            plan = Plan(optimizer, epochs, l2, l1, clip_norm, dropout, self.seed, schedule)
            with place.context():
                engine = engine_for(place, plan.objective(self.objective))
                share(ranks, engine, source)
                program = engine.program(
                    optimizer, data, source.own_batch_size, self.theta, start.moments
                )
                evaluate = evaluator(inputs, validation)
                run = Run(program, plan, source, self, callbacks, evaluate, start, ranks=ranks)
                run.history.data = how
                join(ranks, run, data, shuffle=shuffle, validation=validation is not None)
                self.data = inputs.named | self.data
                start = run.start  # frees the moments that it began with
                return self._held.train(run)

    def memory(self) -> dict[str, int]:
        """Tell how many bytes of device memory this net and its fits take.

        Returns
        -------
        dict of str to int
            "state": the parameters, and the moments of the optimiser. On CuPy also, of the fit
            that runs or else the last one: "scratch", its other arrays on the device, "data", its
            examples there, and "pinned", its page-locked memory of the host; and "pool", what
            CuPy keeps for the whole process on this device. Other libraries do not say these.

        Examples
        --------
        >>> import xpnet
        >>> net = xpnet.DeepNet([64, 10], output="softmax", dtype="float32")
        >>> net.memory()  # 650 parameters
        {'state': 2600}
        """
        with self.backend.context():
            engine = engine_for(self.backend, self.objective)
            return self._held.memory() | engine.bytes_held()

    # -- evaluation ----------------------------------------------------------------------
    def predict_proba(self, X: Array) -> Array:
        """Compute the output ``A[L]``.

        Parameters
        ----------
        X : array or frame (n_x, m)
            Examples in columns. JAX may trace it (jit, grad, vmap).

        Returns
        -------
        array (n_y, m)
            Probabilities, of an identity output the predictions; in the library of X.

        Raises
        ------
        ValueError, TypeError
            X has another shape, NaN, or lives in a library that the net does not.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> net = xpnet.logistic_regression(1)
        >>> net.parameters = [([[2.0]], [[0.0]])]
        >>> net.predict_proba(np.array([[-1.0, 0.0, 1.0]])).round(2)
        array([[0.12, 0.5 , 0.88]])
        """
        return self._predicted(X, lambda A: A)

    def predict(self, X: Array) -> Array:
        """Decide for each example.

        Parameters
        ----------
        X : array or frame (n_x, m)
            Examples in columns.

        Returns
        -------
        array
            sigmoid: 1 where the probability is above one half, else 0, (n_y, m); softmax: class
            numbers (m,); identity: the output itself (n_y, m). In the library of X.

        Raises
        ------
        ValueError, TypeError
            As ``predict_proba``.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> net = xpnet.logistic_regression(1)
        >>> net.parameters = [([[2.0]], [[0.0]])]
        >>> net.predict(np.array([[-1.0, 0.5, 1.0]]))
        array([[0, 1, 1]])
        """
        return self._predicted(X, lambda A: decided(A, self.output))

    @contextmanager
    def _settling(self) -> Iterator[Inputs]:
        """What takes the data of a call; if all goes well, this net lives where they decide."""
        inputs = Inputs(self.placement, self.objective, self.data.get("features"))
        yield inputs
        self._held.move(inputs.place)

    def _predicted(self, X: Any, change: Callable[[Array], Array]) -> Array:
        with self._settling() as inputs:
            X = inputs.in_order(X)
            columns = inputs.columns(X)
        with self.backend.context():
            A = engine_for(self.backend, self.objective).predict(self.theta, columns)
            return inputs.place.returned(change(A), X)

    def predict_raw(self, X: Any) -> np.ndarray:
        """Predict for a table as it stands, with a net of ``xpnet train``.

        Columns are encoded and standardised as ``net.data`` and ``net.tensors`` say.

        Parameters
        ----------
        X : data frame (m, n), or array (n, m)
            Of a frame examples are rows, and columns are found by name; of an array of any library
            examples are columns, as for ``predict``.

        Returns
        -------
        ndarray
            Classes as labels (m,); a regression in the target's units, (n_y, m).

        Raises
        ------
        ValueError
            What is saved does not fit the net, or X has another shape, names or kinds of columns.

        Examples
        --------
        >>> import io
        >>> import numpy as np
        >>> import xpnet
        >>> net, file = xpnet.logistic_regression(1), io.BytesIO()
        >>> net.parameters = [([[2.0]], [[0.0]])]
        >>> statistics = {"input_mean": [5.0], "input_scale": [2.0]}
        >>> net.save(file, {"classes": ["no", "yes"]}, statistics)
        >>> _ = file.seek(0)
        >>> xpnet.load(file).predict_raw(np.array([[4.0, 6.0]]))
        array(['no', 'yes'], dtype='<U3')
        """
        if (model := TableModel.of(self)).takes_rows(X):
            with self._settling() as inputs:
                X = inputs.in_order(X)
                inputs.settle(X)
        twin = copy.copy(self)
        twin._held.placement = replace(self.placement, follows=False)  # host arrays are taken
        return replace(model, net=twin).predict_raw(X)

    def score(self, X: Array, Y: Array, sample_weight: Array | None = None) -> float:
        """Compute the accuracy of ``predict`` where outputs are classes, else R².

        It is scikit-learn's ``score``.

        Of several sigmoid outputs all must be right; R² is the mean over the outputs.

        Parameters
        ----------
        X : array or frame (n_x, m)
            Examples in columns.
        Y : array (1, m), (n_y, m), or labels (m,)
            As for ``fit``.
        sample_weight : array (m,) or (1, m), optional
            How much each example counts.

        Returns
        -------
        float
            1.0 where all is right.

        Raises
        ------
        ValueError, TypeError
            As ``fit``.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> net = xpnet.logistic_regression(1)
        >>> net.parameters = [([[2.0]], [[0.0]])]
        >>> net.score(np.array([[-1.0, 1.0, 2.0, 3.0]]), np.array([0, 1, 0, 1]))
        0.75
        """
        with self._settling() as inputs:
            data = inputs.examples(X, Y, sample_weight, batch_size=1, prefetch=None)
        with self.backend.context():
            return score(engine_for(self.backend, self.objective), self.theta, data)

    def cost(
        self,
        X: Array,
        Y: Array,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
    ) -> float:
        """Compute the cost ``J``: the (weighted) mean loss, plus the penalties.

        Parameters
        ----------
        X : array or frame (n_x, m)
            Examples in columns.
        Y : array (1, m), (n_y, m), or labels (m,)
            As for ``fit``.
        sample_weight : array (m,) or (1, m), optional
            How much each example counts.
        l2, l1 : float
            Strengths of the penalties, as for ``fit``.

        Returns
        -------
        float
            With an identity output, the mean over examples of half the squared error, summed over
            outputs.

        Raises
        ------
        ValueError, TypeError
            As ``fit``.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> net = xpnet.linear_regression(1)
        >>> net.parameters = [([[2.0]], [[0.0]])]
        >>> net.cost(np.array([[1.0, 2.0]]), np.array([[2.0, 6.0]]))  # (0 + 2**2) / 2 / 2
        1.0
        """
        with self._settling() as inputs:
            engine, given = cost_of(inputs, (X, Y, sample_weight), l2, l1, prefetch=None)
        with self.backend.context():
            return float(engine.value(self.theta, *given))

    def gradients(
        self,
        X: Array,
        Y: Array,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
    ) -> list[Layer]:
        """Compute the derivatives of ``cost``.

        Where a weight is 0, that of the l1 penalty is taken to be 0.

        Parameters
        ----------
        X : array or frame (n_x, m)
            Examples in columns.
        Y : array (1, m), (n_y, m), or labels (m,)
            As for ``fit``.
        sample_weight : array (m,) or (1, m), optional
            How much each example counts.
        l2, l1 : float
            Strengths of the penalties, as for ``fit``.

        Returns
        -------
        list of (dW, db)
            Shaped like ``parameters``: dW (n_out, n_in), db (n_out, 1), in the net's library.

        Raises
        ------
        ValueError, TypeError
            As ``fit``.

        Examples
        --------
        >>> import numpy as np
        >>> import xpnet
        >>> net = xpnet.linear_regression(1)
        >>> net.parameters = [([[2.0]], [[0.0]])]
        >>> net.gradients(np.array([[1.0, 2.0]]), np.array([[2.0, 6.0]]))
        [Layer(W=array([[-2.]]), b=array([[-1.]]))]
        """
        with self._settling() as inputs:
            engine, given = cost_of(inputs, (X, Y, sample_weight), l2, l1, prefetch=False)
        with self.backend.context():
            gradient = engine.value_and_gradient(self.theta, *given)[1]
        return layers_of(gradient, self.objective.layout, self.backend)

    # -- files ---------------------------------------------------------------------------
    def save(
        self,
        path: File,
        data: Mapping[str, Any] | None = None,
        tensors: Mapping[str, Any] | None = None,
        *,
        training: bool = False,
    ) -> None:
        """Write the net to a safetensors file, replacing one that is there in one step.

        Parameters
        ----------
        path : path or binary file
            A file that is open for bytes may be ``io.BytesIO()``.
        data : mapping, optional
            For JSON: class names, columns. Arrays become lists. ``net.data`` if left out.
        tensors : mapping of str to array-like, optional
            Further arrays, such as statistics of the features. ``net.tensors`` if left out.
        training : bool
            Whether the state of training is kept too: optimiser, epoch, history. With it the file
            is a checkpoint: ``fit(resume=True)`` of the net that ``load`` makes of it goes on.

        Raises
        ------
        ValueError
            An activation is your own (a file holds names only), or ``path`` ends as in ".h5".
        OSError
            The file cannot be written. One that was there is unharmed.

        Examples
        --------
        >>> import io
        >>> import xpnet
        >>> file = io.BytesIO()  # or a path, "model.safetensors"
        >>> xpnet.DeepNet([2, 3, 1]).save(file, {"classes": ["no", "yes"]})
        >>> _ = file.seek(0)
        >>> xpnet.load(file).data
        {'classes': ['no', 'yes']}
        """
        save(self, path, data, tensors, self.training_state if training else None)

    def to_onnx(self, path: File, *, raw: bool = False) -> None:
        """Write an ONNX model: input ``X`` (m, n_x) float32, examples and outputs in rows.

        Its outputs are ``Y`` (m, n_y) of a regression; else ``probabilities`` (m, n_y) and
        ``label`` (m,), of several sigmoid outputs (m, n_y). A float64 net is rounded to float32.

        Parameters
        ----------
        path : path or binary file
            Where it is written; a file that is there is replaced in one step.
        raw : bool
            For a net from ``xpnet train``: the model takes a table's columns, as they are, and does
            what ``predict_raw`` does.

        Raises
        ------
        ValueError
            A hidden layer has an activation of your own, or ONNX cannot say what ``raw`` needs.
        OSError
            The file cannot be written.

        Examples
        --------
        >>> import io
        >>> import onnxruntime
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> net, file = xpnet.DeepNet([64, 16, 10], output="softmax"), io.BytesIO()
        >>> net.to_onnx(file)
        >>> session = onnxruntime.InferenceSession(file.getvalue())
        >>> session.run(["label"], {"X": X})[0].shape
        (1797,)
        """
        onnx.write(self, path, raw=raw)

    def to_torch(self) -> Any:
        """Return a ``torch.nn.Sequential`` with a copy of the parameters; examples are its rows.

        It has the net's dtype, and lies on its device if that is PyTorch's, else on the CPU. The
        last module is the output's ``Sigmoid`` or ``Softmax``; ``module[:-1]`` gives logits, which
        PyTorch's losses want.

        Returns
        -------
        torch.nn.Sequential
            (m, n_x) to (m, n_y), like ``predict_proba(X.T).T``.

        Raises
        ------
        ImportError
            PyTorch is not installed.
        ValueError
            A hidden layer has an activation of your own.

        Examples
        --------
        >>> import torch
        >>> import xpnet
        >>> module = xpnet.DeepNet([2, 4, 1], dtype="float32").to_torch()
        >>> module(torch.zeros(3, 2)).shape
        torch.Size([3, 1])
        """
        return to_torch(self)

    def to_sklearn(self, classes: Any = None) -> Any:
        """Return a fitted MLP of scikit-learn's that predicts the same.

        Parameters
        ----------
        classes : sequence (k,), optional
            The labels of the outputs, in their order; 0 ... k - 1 if left out.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or MLPRegressor
            Its examples are rows.

        Raises
        ------
        ImportError
            scikit-learn is not installed.
        ValueError
            scikit-learn has no such net, with several activations, say; or there are not as many
            distinct classes as the outputs tell apart.

        Examples
        --------
        >>> from sklearn.metrics import accuracy_score
        >>> import xpnet
        >>> X, y = xpnet.load_digits()
        >>> net = xpnet.DeepNet([64, 16, 10], output="softmax")
        >>> history = net.fit(X.T / 16, y, xpnet.Adam(1e-2))
        >>> accuracy_score(y, net.to_sklearn().predict(X / 16)) == net.score(X.T / 16, y)
        True
        """
        return to_sklearn(self, classes)

    @classmethod
    def from_sklearn(
        cls, estimator: Any, backend: Any = "auto", device: Any = None, dtype: Any = None
    ) -> DeepNet:
        """Return the net inside a fitted MLP or linear model, scikit-learn's or xpnet's.

        Its ``data`` hold the label of each class number, "classes" (none for several labels per
        example), and the names of the "features", where the estimator has them.

        Parameters
        ----------
        estimator : MLPClassifier, MLPRegressor, LogisticRegression or LinearRegression
            It is fitted.
        backend : str, module or array
            As for ``DeepNet``.
        device : str or device object, optional
            As for ``DeepNet``.
        dtype : {"float32", "float64"}, optional
            The estimator's if left out.

        Returns
        -------
        DeepNet
            With copies of the parameters; its examples are columns.

        Raises
        ------
        TypeError
            It is no such estimator.
        ValueError
            It is not fitted, or its output has no counterpart, as that of a Poisson loss.

        Examples
        --------
        >>> from sklearn.neural_network import MLPRegressor
        >>> import xpnet
        >>> model = MLPRegressor(hidden_layer_sizes=4, solver="lbfgs").fit([[0], [1]], [0, 1])
        >>> xpnet.DeepNet.from_sklearn(model)
        DeepNet([1, 4, 1], hidden='relu', output='identity') <13 parameters, not placed yet>
        """
        return from_sklearn(cls, estimator, backend, device, dtype)
