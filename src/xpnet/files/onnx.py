"""Nets as ONNX models, for ONNX Runtime and other runtimes of that format.

The file is one protocol buffer. Of the format's few hundred fields a dense net needs some thirty.
They are written here by number, without the package ``onnx``.

Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers),
https://protobuf.dev/programming-guides/encoding (bytes). Operator set 13 with IR version 7, of
ONNX 1.8 (2020): old enough for every runtime in use.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from xpnet.backends.place import to_numpy
from xpnet.core.activations import Operator, operator
from xpnet.data.preprocessing import Preprocessor
from xpnet.files.atomic import File, write_atomically
from xpnet.files.model import activation_names, as_json, written_as
from xpnet.files.raw import TableModel

_OPSET, _IR_VERSION = 13, 7
_LIMIT = 2**31  # bytes of a protocol buffer
# TensorProto.DataType
_FLOAT, _INT64, _STRING, _BOOL, _DOUBLE = 1, 7, 8, 9, 11
# The field and the AttributeProto.AttributeType of an attribute.
_ATTRIBUTES = {(float, float): (2, 1), (int, int): (3, 2), (list, int): (8, 7), (list, str): (9, 8)}
_SOFTMAX = operator("Softmax", axis=1)
_ML, _ML_OPERATORS = "ai.onnx.ml", ("LabelEncoder",)
_OUTPUTS = ("Y", "probabilities", "label")


def write(net: Any, path: File, *, raw: bool = False) -> None:
    """Writes ``net`` as an ONNX model, replacing a file that is there in one step.

    Input: ``X`` (m, n_x) float32, examples in rows, any m. Outputs:

    - identity: ``Y`` (m, n_y) float32;
    - softmax: ``probabilities`` (m, n_y) float32, ``label`` (m,) int64, the class numbers;
    - sigmoid: ``probabilities`` (m, n_y) float32, ``label`` (m,) int64 of 0 and 1, (m, n_y) for
      more than one output.

    A float64 net is rounded to float32. What ``net.data`` holds goes into the model's metadata,
    each entry as JSON.

    Parameters
    ----------
    raw : bool
        For a net from ``xpnet train``: the model does what ``DeepNet.predict_raw`` does. It encodes
        and standardises the columns of the table, gives a regression's ``Y`` in the target's units,
        and its ``label`` holds the classes (text or numbers) in place of their numbers.

        Where all columns are numbers without a flag for missing ones, they are ``X`` (m, n).
        Otherwise each is an input of its name, (m, 1):

        - numbers, true (1) and false (0): float32, NaN where one is missing;
        - categories: strings, "" where one is missing; whole numbers by their digits, as "8001";
        - a date: an input for each of its derived numbers, "day year" and "day weekday sin" say,
          float32, as ``net.data["features"]`` names them and ``data.encoding`` derives them.

        A name that is an output's too, or another input's, ends in "_".

    Raises
    ------
    ValueError
        A hidden layer has an activation of the user's own; with ``raw``, statistics or classes do
        not fit the net; a number is beyond float32; the model has 2 GiB or more.
    OSError
        The file cannot be written. One that was there is unharmed.
    """
    content = _model(net, raw)
    if len(content) >= _LIMIT:
        raise ValueError(f"the model has {len(content):,} bytes; ONNX files end at 2 GiB")
    write_atomically(path, content)


def _model(net: Any, raw: bool) -> bytes:
    """A ModelProto."""
    names = activation_names(net, "an ONNX model")
    n_x, n_y = net.sizes[0], net.sizes[-1]
    regression = net.output == "identity"
    graph = _Graph()
    table = TableModel.of(net) if raw else None
    if table is None or table.preprocessor.plain:
        A = graph.input("X", _FLOAT, n_x)
    else:
        A = _encoded(graph, table.preprocessor)
    if table is not None and table.inputs is not None:
        A = _standardized(graph, table.preprocessor, A)
    for l, (W, b) in enumerate(net.parameters, 1):
        weights = graph.constant(f"W{l}", _float32(to_numpy(W), f"W of layer {l}"))
        biases = graph.constant(f"b{l}", _float32(to_numpy(b)[:, 0], f"b of layer {l}"))
        A = graph.node("Gemm", A, weights, biases, output=f"Z{l}", transB=1)  # A W^T + b
        if l <= len(names) and names[l - 1] != "identity":
            kind, settings = _operator(names[l - 1])
            A = graph.node(kind, A, output=f"A{l}", **settings)
    if table is not None and table.targets is not None:
        statistics = (("Mul", table.targets.scale), ("Add", table.targets.mean))
        for (kind, array), name in zip(statistics, ("target_scale", "target_mean"), strict=True):
            number = graph.constant(name, _float32(array, name))
            A = graph.node(kind, A, number, output=f"Y_{name}")
    kind, settings = _operator(net.output)
    result = graph.node(kind, A, output="Y" if regression else "probabilities", **settings)
    outputs = [_value(result, _FLOAT, "m", n_y)]
    if not regression:
        outputs.append(_label(graph, net, None if table is None else table.classes))
    metadata = [_message((1, key), (2, as_json(value))) for key, value in sorted(net.data.items())]
    return _message(
        (1, _IR_VERSION),
        (2, "xpnet"),
        (7, graph.message(outputs)),
        (8, _message((1, ""), (2, _OPSET))),
        *((8, _message((1, domain), (2, 2))) for domain in sorted(graph.domains)),
        *((14, entry) for entry in metadata),
    )


def _operator(name: str) -> Operator:
    return _SOFTMAX if name == "softmax" else written_as(name, "onnx_operator", "an ONNX model")


# -- columns and labels ------------------------------------------------------------------
def _encoded(graph: _Graph, made: Preprocessor) -> str:
    """The encoded columns (m, n_x); NaN where a number is missing."""
    pieces: list[str] = []
    ends = graph.constant("zero and one", np.array([0, 1], np.float32))
    for column in made.columns:
        name, k = column.name, len(column.names)
        if column.kind == "category":
            X = graph.input(name, _STRING, 1)
            numbers = list(range(len(column.parts)))
            number = graph.node(
                "LabelEncoder", X, output=f"{name} number",
                keys_strings=[*column.parts, *[""] * column.flag],
                values_int64s=[*numbers, *[k - 1] * column.flag],
                # k is no column, so that all of them are 0
                default_int64=len(numbers) if column.other else k,
            )  # fmt: skip
            depth = graph.constant(f"{name} columns", np.array(k))
            ones = graph.node("OneHot", number, depth, ends, output=f"{name} ones")  # (m, 1, k)
            pieces.append(graph.node("Flatten", ones, output=f"{name} encoded"))  # (m, k)
            continue
        inputs = [graph.input(part, _FLOAT, 1) for part in column.names[: k - column.flag]]
        pieces += inputs
        if column.flag:
            missing = graph.node("IsNaN", inputs[0], output=f"{name} unknown")
            pieces.append(graph.node("Cast", missing, output=f"{name} flag", to=_FLOAT))
    return graph.node("Concat", *pieces, output="X", axis=1)


def _standardized(graph: _Graph, made: Preprocessor, X: str) -> str:
    """``(X - mean) / scale``, 0 in columns of scale 0; squashed if that is robust."""
    mean, scale, fill = made.standardizer.mean, made.standardizer.scale, made.fill
    missing = graph.node("IsNaN", X, output="missing") if np.isfinite(fill).all() else None
    # A mean far from 0 has digits beyond float32. For X near it, X minus the rounded mean is exact;
    # the rest of the mean is subtracted from that.
    high = _float32(mean, "input_mean")
    rest = graph.constant("mean_rest", _float32(mean - high, ""))
    X = graph.node("Sub", X, graph.constant("mean", high), output="X_near")
    X = graph.node("Sub", X, rest, output="X_centred")
    factor = np.where(scale == 0, 0.0, 1.0 / np.where(scale == 0, 1.0, scale))
    factor = _float32(factor, "1 / input_scale")
    X = graph.node("Mul", X, graph.constant("factor", factor), output="X_standardized")
    if missing is not None:  # the medians too have digits beyond float32
        filled = _float32(made.standardizer.apply(fill[None])[0], "input_fill")
        X = graph.node("Where", missing, graph.constant("fill", filled), X, output="X_filled")
    if made.robust:
        third = graph.constant("third", (made.squashed / 3).astype(np.float32))
        third = graph.node("Mul", X, third, output="X_third")
        square = graph.node("Mul", third, third, output="X_square")
        one = graph.constant("one", np.float32(1))
        root = graph.node("Sqrt", graph.node("Add", square, one, output="X_sum"), output="X_root")
        X = graph.node("Div", X, root, output="X_squashed")
    return X


def _label(graph: _Graph, net: Any, labels: np.ndarray | None) -> bytes:
    """The label of every example, by the rule of ``DeepNet.predict``; its ValueInfoProto."""
    n_y = net.sizes[-1]
    name = "label" if labels is None else "class_number"
    if net.output == "softmax":
        number = graph.node("ArgMax", "probabilities", output=name, axis=1, keepdims=0)
    else:
        half = graph.constant("half", np.float32(0.5))
        met = graph.node("Greater", "probabilities", half, output="met")
        if n_y == 1:
            axes = graph.constant("axes", np.array([1]))
            met = graph.node("Squeeze", met, axes, output="met_row")
        number = graph.node("Cast", met, output=name, to=_INT64)
    if labels is None:
        shape = (n_y,) if net.output == "sigmoid" and n_y > 1 else ()
        return _value(number, _INT64, "m", *shape)
    graph.node("Gather", graph.constant("classes", labels), number, output="label")
    return _value("label", _kind(labels)[0], "m")


# -- parts of a model --------------------------------------------------------------------
class _Graph:
    """The nodes of a model in the order they run, and its constants."""

    def __init__(self) -> None:
        self._inputs: list[bytes] = []
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._taken: set[str] = set()
        self.domains: set[str] = set()

    def _named(self, name: str, *others: str) -> str:
        """The name, with "_" after it as long as it is taken."""
        while name in self._taken or name in others:
            name += "_"
        self._taken.add(name)
        return name

    def input(self, name: str, kind: int, n: int) -> str:
        """Adds an input (m, n)."""
        name = self._named(name or "_", *_OUTPUTS)
        self._inputs.append(_value(name, kind, "m", n))
        return name

    def constant(self, name: str, array: Any) -> str:
        """Adds a TensorProto."""
        name, array = self._named(name, *_OUTPUTS), np.asarray(array)
        kind, dtype = _kind(array)
        dims = [(1, n) for n in array.shape]
        if kind == _STRING:
            content = [*((6, str(text)) for text in array.flat), (8, name)]
        else:
            content = [(8, name), (9, array.astype(dtype, copy=False).tobytes())]
        self._constants.append(_message(*dims, (2, kind), *content))
        return name

    def node(
        self,
        operator: str,
        *inputs: str,
        output: str,
        **attributes: int | float | Sequence[int] | Sequence[str],
    ) -> str:
        """Adds a NodeProto with this one output."""
        output = self._named(output)
        settings: list[tuple[int, bytes | str]] = []
        for key, x in attributes.items():
            values: list[Any] = [x] if isinstance(x, int | float) else list(x)
            field, kind = _ATTRIBUTES[type(x), type(values[0])]
            settings.append((5, _message((1, key), *((field, v) for v in values), (20, kind))))
        named = [(1, name) for name in inputs] + [(2, output), (3, output), (4, operator)]
        if operator in _ML_OPERATORS:
            settings.append((7, _ML))
            self.domains.add(_ML)
        self._nodes.append(_message(*named, *settings))
        return output

    def message(self, outputs: list[bytes]) -> bytes:
        """The GraphProto."""
        nodes = [(1, node) for node in self._nodes]
        constants = [(5, constant) for constant in self._constants]
        ends = [(11, x) for x in self._inputs] + [(12, x) for x in outputs]
        return _message(*nodes, (2, "xpnet"), *constants, *ends)


def _value(name: str, kind: int, *shape: int | str) -> bytes:
    """A ValueInfoProto; a dimension with a name in place of a number is free."""
    dims = [_message((1, n) if isinstance(n, int) else (2, n)) for n in shape]
    tensor = _message((1, kind), (2, _message(*((1, dim) for dim in dims))))
    return _message((1, name), (2, _message((1, tensor))))


def _kind(array: np.ndarray) -> tuple[int, str]:
    """The TensorProto.DataType of an array, and the NumPy dtype in which it is stored."""
    if array.dtype.kind == "f":
        return (_FLOAT, "<f4") if array.dtype.itemsize == 4 else (_DOUBLE, "<f8")
    kinds = {"i": (_INT64, "<i8"), "b": (_BOOL, "|b1"), "U": (_STRING, "")}
    if array.dtype.kind not in kinds:
        raise ValueError(f"an ONNX model cannot hold classes of {array.dtype}")
    return kinds[array.dtype.kind]


def _float32(x: np.ndarray, what: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        rounded = x.astype(np.float32)
    if not np.all(np.isfinite(rounded)):
        raise ValueError(f"{what} holds a number beyond float32, the dtype of the ONNX model")
    return rounded


# -- protocol buffers --------------------------------------------------------------------
def _message(*fields: tuple[int, int | float | str | bytes]) -> bytes:
    """Fields (number, value): whole numbers >= 0, float32, text, bytes or other messages."""
    return b"".join(piece for number, value in fields for piece in _field(number, value))


def _field(number: int, value: int | float | str | bytes) -> tuple[bytes, ...]:
    if isinstance(value, int):
        return _varint(number << 3), _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5), struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2), _varint(len(content)), content


def _varint(n: int) -> bytes:
    """Seven bits a byte, the lowest first, with the high bit set on all but the last."""
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out + bytes([n]))
