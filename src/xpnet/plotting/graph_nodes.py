"""A training step as boxes and arrows: what ``GraphDisplay`` draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from xpnet.core.activations import identity
from xpnet.core.losses import get_loss

Shape: TypeAlias = tuple[int | str, ...]
Lines: TypeAlias = tuple[tuple[str, Shape | None], ...]
COSTS = {"bernoulli": "cross-entropy", "categorical": "cross-entropy"}
COSTS |= {"squared": "half squared error"}


@dataclass(frozen=True)
class Node:
    """A box: its lines, each a formula and the shape of its result, and its place.

    Formulas are in matplotlib's mathtext. Where layers are left out there are no lines, but a
    note. ``column`` is 0 for the forward pass, 1 for the backward one; rows count from the top.
    """

    name: str
    lines: Lines
    column: int
    row: int
    note: str = ""

    def line_at(self, i: int, line: float) -> float:
        """The y coordinate of line ``i``, where a line is ``line`` rows high."""
        return self.row + (i - (len(self.lines) - 1) / 2) * line if self.lines else self.row

    def bounds(self, line: float) -> tuple[float, float]:
        """The y coordinates of the top and the bottom of the box."""
        half = (len(self.lines) + 0.5) / 2 * line if self.lines else 0.6 * line
        return self.row - half, self.row + half


@dataclass(frozen=True)
class Edge:
    """An arrow between two nodes: its kind, "forward", "kept" or "backward", and its label."""

    start: str
    end: str
    kind: str
    label: str = ""


def graph_of(net: Any, shown: list[int]) -> tuple[list[Node], list[Edge]]:
    """The graph of the layers ``shown``: the first, the last, and others in their order.

    A note stands for layers that are left out in between.
    """
    L = len(net.sizes) - 1
    rows: list[tuple[str, int, int]] = []  # of the picture: name, first and last layer
    for l, before in zip(shown, [0, *shown], strict=False):
        if l > before + 1:
            rows.append(("skipped", before + 1, l - 1))
        rows.append((str(l), l, l))

    nodes = [Node("X", (("$X$", (net.sizes[0], "m")),), 0, 0)]
    for row, (name, first, last) in enumerate(rows, 1):
        note, lines = "", (_forward_lines(net, last), _backward_lines(net, last))
        if name == "skipped":
            n, lines = last - first + 1, ((), ())
            note = f"{n} more layer{'s' if n > 1 else ''}"
        nodes.append(Node(f"forward {name}", lines[0], 0, row, note))
        nodes.append(Node(f"backward {name}", lines[1], 1, row, note))
    cost = f"$J$: mean {COSTS[get_loss(net.output).name]} of ${_name('A', L)}$, $Y$"
    nodes.append(Node("cost", ((cost, None), ("$Y$", (net.sizes[L], "m"))), 0, len(rows) + 1))

    edges: list[Edge] = []
    start, labelled = "X", False
    for row, (name, first, last) in enumerate(rows, 1):
        forward, backward = f"forward {name}", f"backward {name}"
        kept = "" if labelled else f"${_name('A', first - 1)}$"
        edges += [Edge(start, forward, "forward"), Edge(start, backward, "kept", kept)]
        labelled = name != "skipped" and last < L and net.hidden[last - 1] != identity
        if labelled:  # for the slope
            edges.append(Edge(forward, backward, "kept", f"${_name('A', last)}$"))
        if last < L:
            error = f"{_name('dA', last)} = {_name('W', last + 1, 'T')} {_name('dZ', last + 1)}"
            edges.append(Edge(f"backward {rows[row][0]}", backward, "backward", f"${error}$"))
        start = forward
    edges += [Edge(start, "cost", "forward"), Edge("cost", f"backward {L}", "backward")]
    return nodes, edges


def _forward_lines(net: Any, l: int) -> Lines:
    shape = (net.sizes[l], "m")
    A, Z, W, b = (_name(letter, l) for letter in ("A", "Z", "W", "b"))
    plain = _activation(net, l) == identity.name
    value = f"${Z}$" if plain else f"{_activation(net, l)}$({Z})$"
    return (f"${Z} = {W} {_name('A', l - 1)} + {b}$", shape), (f"${A}$ = {value}", shape)


def _backward_lines(net: Any, l: int) -> Lines:
    n_in, n_out = net.sizes[l - 1 : l + 1]
    A, dA, dZ, dW, db = (_name(letter, l) for letter in ("A", "dA", "dZ", "dW", "db"))
    if l == len(net.sizes) - 1:
        error = f"${dZ} = ({A} - Y)\\,/\\,m$"
    elif net.hidden[l - 1] == identity:
        error = f"${dZ} = {dA}$"
    else:
        error = f"${dZ} = {dA} \\ast$ {_activation(net, l)}_slope$({A})$"
    return (
        (error, (n_out, "m")),
        (f"${dW} = {dZ} {_name('A', l - 1, 'T')}$", (n_out, n_in)),
        (f"${db}$ = row sums of ${dZ}$", (n_out, 1)),
    )


def _activation(net: Any, l: int) -> str:
    name: str = net.output if l == len(net.sizes) - 1 else net.hidden[l - 1].name
    return name.replace("$", r"\$")  # a name of the user's own, not mathtext


def _name(letter: str, l: int, transposed: str = "") -> str:
    """``A[l]`` in mathtext; ``A[0]`` is X."""
    if letter == "A" and l == 0:
        return f"X^{{{transposed}}}" if transposed else "X"
    return f"{letter}^{{[{l}]{transposed}}}"
