"""A training step as boxes and arrows: what ``GraphDisplay`` draws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

from xpnet.core.activations import identity
from xpnet.core.losses import get_loss

Shape: TypeAlias = tuple[int | str, ...]
Lines: TypeAlias = tuple[tuple[str, Shape | None], ...]
COSTS = {"bernoulli": "cross-entropy", "categorical": "cross-entropy"}
COSTS |= {"squared": "half squared error"}


@dataclass(frozen=True)
class Node:
    """A box: its lines, each a formula and the shape of its result; where it stands.

    Formulas are in matplotlib's mathtext. Where layers are left out there are no lines, but a
    note. ``column`` is 0 for the forward pass, 1 for the backward one; rows count from the top.
    """

    name: str
    lines: Lines
    column: int
    row: int
    note: str = ""


@dataclass(frozen=True)
class Edge:
    """An arrow between two nodes: "forward", "kept" or "backward", and what goes along it."""

    start: str
    end: str
    kind: str
    label: str = ""


def graph_of(net: Any, shown: list[int]) -> tuple[list[Node], list[Edge]]:
    """The graph of the layers ``shown``: the first, the last, and others in their order.

    Where some in between are left out, a note stands for them.
    """
    L = len(net.sizes) - 1
    rows = [shown[0]]  # 0 where layers are left out
    for l, following in pairwise(shown):
        rows += [following] if following == l + 1 else [0, following]
    nodes = [Node("X", (("$X$", (net.sizes[0], "m")),), 0, 0)]
    edges: list[Edge] = []
    ways = [("X", "")]
    for row, l in enumerate(rows, 1):
        if l:
            lines = _forward_lines(net, l), _backward_lines(net, l)
            ways.append((f"forward {l}", f"backward {l}"))
            note = ""
        else:
            lines, count = ((), ()), rows[row] - rows[row - 2] - 1
            ways.append(("forward skipped", "backward skipped"))
            note = f"{count} more layer{'s' if count > 1 else ''}"
        nodes += [Node(ways[row][column], lines[column], column, row, note) for column in (0, 1)]
    cost = f"$J$: mean {COSTS[get_loss(net.output).name]} of ${_name('A', L)}$, $Y$"
    nodes.append(Node("cost", ((cost, None), ("$Y$", (net.sizes[L], "m"))), 0, len(ways)))

    for row, ((before, _), (forward, backward)) in enumerate(pairwise(ways), 1):
        l = rows[row - 1]
        given = f"${_name('A', l - 1 if l else rows[row - 2])}$"
        named = any((edge.start, edge.kind) == (before, "kept") for edge in edges)
        edges.append(Edge(before, forward, "forward"))
        edges.append(Edge(before, backward, "kept", "" if named else given))
        if 0 < l < L and net.hidden[l - 1] != identity:
            edges.append(Edge(forward, backward, "kept", f"${_name('A', l)}$"))
        if row < len(rows):
            below = l or rows[row] - 1  # the layer whose error comes up
            error = f"{_name('dA', below)} = {_name('W', below + 1, 'T')} {_name('dZ', below + 1)}"
            edges.append(Edge(ways[row + 1][1], backward, "backward", f"${error}$"))
    edges += [Edge(forward, "cost", "forward"), Edge("cost", backward, "backward")]
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
    return name.replace("$", r"\$")  # users name theirs: that is no mathtext


def _name(letter: str, l: int, transposed: str = "") -> str:
    """``A[l]`` in the notes' way, in mathtext; ``A[0]`` is X."""
    if letter == "A" and l == 0:
        return f"X^{{{transposed}}}" if transposed else "X"
    return f"{letter}^{{[{l}]{transposed}}}"
