"""Predictions from rows of a table, with what is saved of its columns and classes in the net.

``predict_raw``, ``xpnet predict``, ``xpnet evaluate``, ``xpnet export`` and ``to_onnx(raw=True)``
all take them from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.data.checks import check_numeric, host_array
from xpnet.data.column import listed
from xpnet.data.preprocessing import Batch, Preprocessor
from xpnet.data.readers import ReadOptions, TableReader, open_table
from xpnet.data.standardizer import Standardizer


@dataclass(frozen=True)
class TableModel:
    """A net that takes rows of a table as they stand, and answers in the table's terms.

    Attributes
    ----------
    net : DeepNet
    inputs : Standardizer or None
        Of the features; None where the net has no statistics: it takes them as they are.
    preprocessor : Preprocessor
        Makes the features of a table's columns, or takes these as they are.
    targets : Standardizer or None
        Of a regression's targets; None for classes.
    classes : array (k,) or None
        The label of each class number: the number itself where the net has no others. None for a
        regression, and for several labels per example.
    """

    net: Any
    inputs: Standardizer | None
    preprocessor: Preprocessor
    targets: Standardizer | None
    classes: np.ndarray | None

    @classmethod
    def of(cls, net: Any) -> TableModel:
        """Reads what ``net.tensors`` and ``net.data`` say.

        Raises
        ------
        ValueError
            The columns, the statistics or the classes do not fit the net.
        """
        n_x, *_, n_y = net.sizes
        one_label = net.output == "softmax" or (net.output == "sigmoid" and n_y == 1)
        inputs, fill = _standardizer(net, "input", n_x), net.tensors.get("input_fill")
        fill = None if fill is None else to_numpy(fill)
        names = tuple(map(str, _names(net, "features", n_x).tolist()))
        if "columns" not in net.data:
            columns = Preprocessor.identity(names, inputs or Standardizer.identity(n_x), fill)
        elif inputs is None or fill is None:
            raise ValueError(f"columns without statistics: net.tensors has {sorted(net.tensors)}")
        else:
            columns = Preprocessor.from_json(net.data["columns"], inputs, fill)
        targets = None
        if net.output == "identity":
            targets = _standardizer(net, "target", n_y) or Standardizer.identity(n_y)
        classes = _names(net, "classes", max(n_y, 2)) if one_label else None
        return cls(net, inputs, columns, targets, classes)

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the net's inputs, in its order; "0", "1", ... without names."""
        return self.preprocessor.names

    @property
    def sources(self) -> dict[str, str]:
        """The columns of the table that are read, and what each holds: "number", "text", ..."""
        return self.preprocessor.sources

    @property
    def target(self) -> str:
        """The name of what the net predicts."""
        return str(self.net.data.get("target", "prediction"))

    def open(
        self, source: Any, options: ReadOptions | None = None, target: str | None = None
    ) -> TableReader:
        """Open a table with the model's columns, and that of the answers if it is named."""
        kinds, answers = dict(self.sources), "number" if self.classes is None else "text"
        if target is not None:
            kinds[target] = answers
        small = self.net.backend.dtype_name == "float32"
        options = replace(options or ReadOptions(), dtype="float32" if small else "float64")
        return open_table(source, options, kinds=kinds, known=[self.target], target=target)

    def columns(self, rows: np.ndarray | Batch) -> np.ndarray:
        """Rows (m, n) of numbers or a batch of columns, as the net takes them: (n_x, m)."""
        if self.inputs is None and not isinstance(rows, np.ndarray):
            found = [rows[name] for name in self.sources]
            if not any(column.absent.any() for column in found):  # whole numbers stay so
                rows = np.stack([column.values for column in found], axis=1)
        made = self.preprocessor
        E = made.encode_rows(rows) if isinstance(rows, np.ndarray) else made.encode(rows)
        E = np.ascontiguousarray(E)  # another layout would change the last digits
        if self.inputs is None:
            return E.T
        return made.standardize(E, np.dtype(self.net.backend.following(E).dtype_name)).T

    def expected(self, y: np.ndarray) -> np.ndarray:
        """Class numbers (m,) as they are; targets (m,) standardised, (1, m)."""
        return y if self.targets is None else self.targets.apply(y[:, None]).T

    def predict(self, rows: np.ndarray | Batch) -> np.ndarray:
        """Labels (m,) of rows (m, n) or a batch, or targets in their own units, (m, n_y)."""
        answers = to_numpy(self.net.predict(self.columns(rows)))
        if self.classes is not None:
            return self.classes[answers.reshape(-1).astype(np.int64)]
        if self.targets is None:
            return answers.T
        y = self.targets.undo(answers.T.astype(np.float64))
        # Far from 0 float32 would round away what the net has learned.
        near = (np.abs(self.targets.mean) <= 1024 * self.targets.scale).all()
        return y.astype(answers.dtype) if near else y

    def takes_rows(self, X: Any) -> bool:
        """Whether X is (n_x, m), a row for each of the net's inputs, to be checked as such."""
        return self.preprocessor.plain and not _is_table(self, X)

    def predict_raw(self, X: Any) -> np.ndarray:
        """What ``predict`` says of X (n, m), or of a frame with m rows: (m,) or (n_y, m)."""
        if _is_table(self, X):
            with self.open(X) as frame:
                answers = [self.predict(batch) for batch in frame.batches()]
            if not answers:
                raise ValueError("the data frame has no rows")
            return np.concatenate(answers).T
        X = host_array(X, "X")
        check_numeric(X, "X")
        return self.predict(X.T).T

    def probabilities(self, rows: np.ndarray | Batch) -> np.ndarray:
        """The probability (m, k) of each class."""
        P = to_numpy(self.net.predict_proba(self.columns(rows))).T
        return np.concatenate([1 - P, P], axis=1) if self.net.output == "sigmoid" else P

    def without_statistics(self) -> Any:
        """The same function of rows as they stand, as a net of its own.

        W (x - mean) / scale + b = (W / scale) x + (b - (W / scale) mean), and a regression's last
        layer is multiplied by the target's scale in the same way. Constant columns get weights 0.

        Raises
        ------
        ValueError
            The net's inputs are more than shifted and scaled columns of the table.
        """
        if self.preprocessor.robust or not self.preprocessor.plain:
            raise ValueError(
                "the model encodes columns of the table, which layers cannot: export an ONNX "
                "model, or the net alone, for encoded and standardised features (--standardized)"
            )
        net = self.net
        given = [(to_numpy(W), to_numpy(b)) for W, b in net.parameters]
        dtype = given[0][0].dtype
        layers = [(W.astype(np.float64), b.astype(np.float64)) for W, b in given]
        if self.inputs is not None:
            (W, b), constant = layers[0], self.inputs.scale == 0
            W = np.where(constant, 0.0, W / np.where(constant, 1.0, self.inputs.scale))
            layers[0] = W, b - W @ self.inputs.mean[:, None]
        if self.targets is not None:
            (W, b), scale, mean = layers[-1], self.targets.scale, self.targets.mean
            layers[-1] = W * scale[:, None], b * scale[:, None] + mean[:, None]
        twin = type(net)(net.sizes, net.hidden or "relu", net.output, dtype=dtype.name)
        twin.parameters = [(W.astype(dtype), b.astype(dtype)) for W, b in layers]
        return twin


def _is_table(model: TableModel, X: Any) -> bool:
    """Whether X is a frame with named columns, not one of pandas' whose index has the features.

    Raises
    ------
    TypeError
        X is neither a frame nor an array, or its columns have names that are no text.
    """
    framed, takes = hasattr(X, "__arrow_c_stream__"), "a data frame with an example in each row"
    arrays = hasattr(X, "shape") or hasattr(X, "__array__") or isinstance(X, list | tuple)
    if not (framed or arrays):
        lazy = hasattr(X, "collect")
        what = "X.collect(), for nothing of it is read yet" if lazy else f"{takes}, or an array"
        raise TypeError(f"X is of type {type(X).__name__}: pass {what}")
    names = getattr(X, "column_names", getattr(X, "columns", ()))
    if not framed or len(names) == 0:
        return False
    features, index = model.net.data.get("features", ()), getattr(X, "index", ())
    named, turned = (all(isinstance(name, str) for name in list(a)) for a in (names, index))
    turned = turned and len(index) > 0
    if not named and not turned and len(X) != len(model.sources):  # or it may be (n, m)
        raise TypeError(
            f"the columns of X are named {listed(list(map(str, names)))}, which is no text; the "
            f"model takes {takes} and the columns {listed(list(model.sources))}"
        )
    return named and (not turned or set(features) <= set(names))


def _standardizer(net: Any, what: str, n: int) -> Standardizer | None:
    """Of the "input" or the "target", n columns, as ``xpnet train`` saves it."""
    names = [f"{what}_mean", f"{what}_scale"]
    there = [name for name in names if name in net.tensors]
    if len(there) == 1:
        raise ValueError(
            f"{' and '.join(names)} belong together, but net.tensors has {sorted(net.tensors)}"
        )
    found = [to_numpy(net.tensors[name]).astype(np.float64) for name in there]
    for name, array in zip(there, found, strict=True):
        if array.shape != (n,):
            raise ValueError(f"net.tensors[{name!r}] has shape {array.shape}; expected {(n,)}")
    return Standardizer(*found) if found else None


def _names(net: Any, what: str, n: int) -> np.ndarray:
    """The n "features" or "classes" of ``net.data``; numbers from 0 if it has none."""
    names = net.data.get(what)
    found = np.arange(n) if names is None else to_numpy(names)
    if found.shape != (n,):
        raise ValueError(f"net.data has {found.size} {what} for {n} of the net")
    return found
