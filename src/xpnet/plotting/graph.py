"""``GraphDisplay``: a training step of a net as a graph, the way a course's notes draw it.

The forward pass goes down on the left, the backward pass comes up on the right, and dashed arrows
in between show what the one keeps for the other: the inputs of every layer, and nothing else,
since slopes are written in terms of ``A``. It goes downwards because formulas are long and
low: any number of layers then fits a page or a scrolling notebook.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from xpnet.core.activations import identity
from xpnet.plotting.shared import BLUE, ORANGE, PURPLE, as_net, axes_for, points_of
from xpnet.teaching.explanation import Explanation, explain

Shape: TypeAlias = tuple[int | str, ...]
Lines: TypeAlias = tuple[tuple[str, Shape | None], ...]
LOOKS: dict[str, dict[str, Any]] = {
    "forward": {"color": BLUE, "linestyle": "-"},
    "kept": {"color": PURPLE, "linestyle": "--"},
    "backward": {"color": ORANGE, "linestyle": "-"},
}
# x coordinates run from 0 to 1 over the axes, y coordinates count the rows of boxes from the top
SIDES = ((0.01, 0.37), (0.52, 0.99))  # x of both sides of the boxes, by column
MIDDLES = {"forward": 0.19, "kept": 0.445, "backward": 0.755}  # x of the headings
UPWARDS = 0.58  # x of the arrows of the backward pass
PAD = 0.012  # x from the side of a box to its text
LINES = 6.6  # height of a row in heights of a letter


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
    """An arrow between two nodes: its kind, "forward", "kept" or "backward", and its label.

    ``values`` are the numbers of one example that it carries, if there are any.
    """

    start: str
    end: str
    kind: str
    label: str = ""
    values: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """The label and the first numbers."""
        few = [f"{x:.2g}" for x in self.values[:3]] + ["…"] * (len(self.values) > 3)
        numbers = f"({', '.join(few)})" if few else ""
        return " = ".join(filter(None, (self.label, numbers)))


@dataclass(eq=False)
class GraphDisplay:
    """What a training step computes, as a graph with shapes. Make it with ``from_net``.

    Parameters
    ----------
    nodes : list of Node
        By name: "X", "forward 1", ..., "cost", and "backward 1", ...; "forward skipped" and
        "backward skipped" where layers are left out.
    edges : list of Edge
        What each reads of another.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        What it was drawn on.
    text_ : dict of str to list of matplotlib Text
        By node, a formula and then its shape.
    arrows_ : list of matplotlib Annotation
        By edge.

    Examples
    --------
    >>> import xpnet
    >>> display = xpnet.plotting.GraphDisplay.from_net(xpnet.shallow_net(2, 4))
    >>> [node.name for node in display.nodes]
    ['X', 'forward 1', 'backward 1', 'forward 2', 'backward 2', 'cost']
    """

    nodes: list[Node]
    edges: list[Edge]

    @classmethod
    def from_net(
        cls,
        net: Any,
        *,
        X: Any = None,
        Y: Any = None,
        example: int = 0,
        max_layers: int | None = None,
        ax: Any = None,
        **options: Any,
    ) -> GraphDisplay:
        """Draw the graph of ``net``, or of an estimator; with X and Y, values stand on its arrows.

        Parameters
        ----------
        net : DeepNet
            It need not be trained; or a fitted estimator.
        X : array (n_x, m), optional
            Examples in columns; of an estimator in rows.
        Y : array (1, m), (n_y, m), or labels (m,), optional
            Their targets.
        example : int
            The example whose ``A[l]`` (forward), and derivatives of the cost of all examples by
            ``A[l]`` (backward; by ``Z[L]`` at the end), are shown: the first three of each.
        max_layers : int, optional
            A deeper net is shown by its first and its last layers, so many in all, at least 2.
            None: all of them, or those that can be read on ``ax``.
        ax : matplotlib axes, optional
            A new figure if left out.
        **options
            Options of ``plot``.

        Returns
        -------
        GraphDisplay
            It is drawn.

        Raises
        ------
        ValueError
            ``max_layers`` is below 2; X without Y; there is no such example.

        Examples
        --------
        >>> import xpnet
        >>> net = xpnet.deep_net([4, 8, 8, 8, 8, 1])
        >>> len(xpnet.plotting.GraphDisplay.from_net(net, max_layers=2).nodes)
        8
        """
        net, X, Y = as_net(net, X, Y)
        step = None if X is None and Y is None else explain(net, X, Y)
        if step is not None and not 0 <= example < step["A[0]"].shape[1]:
            raise ValueError(f"example={example}: X has {step['A[0]'].shape[1]} examples, from 0")
        n = len(net.sizes) - 1
        if max_layers is None and ax is not None:
            rows = _settled_height(ax) / (LINES * 6)  # in letters of six points
            max_layers = max(2, int(rows) - 3)
        if max_layers is not None and max_layers < 2:
            raise ValueError(f"max_layers={max_layers}: at least the first and the last are shown")
        shown = list(range(1, n + 1))
        if max_layers is not None and n > max_layers:
            shown = shown[: (max_layers + 1) // 2] + shown[n - max_layers // 2 :]
        return cls(*graph_of(net, shown, step, example)).plot(ax, **options)

    def plot(self, ax: Any = None, *, fontsize: float | None = None) -> GraphDisplay:
        """Draw the graph; a new figure is high enough for all layers.

        Parameters
        ----------
        ax : matplotlib axes, optional
            A new figure if left out.
        fontsize : float, optional
            In points; None: the largest that fits, at most 11.

        Returns
        -------
        GraphDisplay
            This one.

        Examples
        --------
        >>> from matplotlib import pyplot
        >>> import xpnet
        >>> display = xpnet.plotting.GraphDisplay.from_net(xpnet.shallow_net(2, 4))
        >>> figure, ax = pyplot.subplots(figsize=(8, 6))
        >>> display.plot(ax, fontsize=8).figure_ is figure
        True
        """
        n_rows = 1 + max(node.row for node in self.nodes)
        self.ax_, self.figure_ = axes_for(ax, (8.0, max(3.0, 0.3 + 0.95 * n_rows)))
        self.ax_.set_axis_off()
        self.ax_.set(xlim=(0, 1), ylim=(n_rows - 0.6, -0.8))
        row = _settled_height(self.ax_) / (n_rows + 0.2)  # points
        size = fontsize or min(11.0, row / LINES)
        self.text_ = {node.name: self._write(node, size) for node in self.nodes}
        if fontsize is None:
            size *= self._fit()
        line = 1.45 * size / row
        for node in self.nodes:
            self._place(node, size, line)
        places = {node.name: node for node in self.nodes}
        self.arrows_: list[Any] = []
        for edge in self.edges:
            self._connect(edge, places[edge.start], places[edge.end], size, line)
        for kind, x in MIDDLES.items():
            look = {"color": LOOKS[kind]["color"], "weight": "bold", "fontsize": size}
            self.ax_.text(x, -0.68, kind, ha="center", va="center", **look)
        return self

    def _write(self, node: Node, size: float) -> list[Any]:
        """The texts of a node, which ``_place`` then moves to their lines."""
        left, right = SIDES[node.column]
        write, texts = self.ax_.text, []
        if node.note:
            texts.append(write((left + right) / 2, node.row, node.note, ha="center", va="center"))
        for formula, shape in node.lines:
            given = "" if shape is None else f"({', '.join(map(str, shape))})"
            for x, text, side in ((left + PAD, formula, "left"), (right - PAD, given, "right")):
                texts.append(write(x, node.row, text, ha=side, va="center_baseline", size=size))
        return texts

    def _fit(self) -> float:
        """The factor for the size of the texts that keeps all of them in their boxes."""
        factors = [1.0]
        for node in self.nodes:
            left, right = SIDES[node.column]
            room = (right - left - 4 * PAD) * self.ax_.bbox.width
            widths = [text.get_window_extent().width for text in self.text_[node.name]]
            factors += [room / sum(pair) for pair in zip(widths[::2], widths[1::2], strict=False)]
        return min(factors)

    def _place(self, node: Node, size: float, line: float) -> None:
        """Moves the texts of a node to their lines, and frames them."""
        from matplotlib.patches import Rectangle

        for i, text in enumerate(self.text_[node.name]):
            text.set_fontsize(size)
            text.set_y(node.line_at(i // 2, line))
        if not node.lines:
            return
        (left, right), (top, bottom) = SIDES[node.column], node.bounds(line)
        edge = LOOKS["backward" if node.column else "forward"]["color"]
        look = {"fill": False, "edgecolor": edge, "linewidth": 1.2}
        self.ax_.add_patch(Rectangle((left, top), right - left, bottom - top, **look))

    def _connect(self, edge: Edge, start: Node, end: Node, size: float, line: float) -> None:
        (above, below), (end_above, end_below) = start.bounds(line), end.bounds(line)
        left, right = SIDES[0][1], SIDES[1][0]  # of the room between the columns
        label_at, align = (0.0, 0.0), {"ha": "left", "va": "center"}
        if edge.kind == "forward":
            points = (MIDDLES["forward"], below), (MIDDLES["forward"], end_above)
            label_at = MIDDLES["forward"] + PAD, (below + end_above) / 2
        elif edge.kind == "backward":
            from_cost = start.column == 0
            points = (left, start.row) if from_cost else (UPWARDS, above), (UPWARDS, end_below)
            label_at = UPWARDS + PAD, (above + end_below) / 2
        else:  # from the line that computes it to the line that reads it
            same_row = start.row == end.row
            from_line = start.line_at(len(start.lines) - 1, line)
            points = (left, from_line), (right, end.line_at(0 if same_row else 1, line))
            label_at, align["va"] = (left + 2 * PAD, from_line - 0.15 * line), "bottom"
            if same_row:  # between this arrow and the one to the row below
                label_at, align = (right - PAD, from_line), {"ha": "right", "va": "center"}
        look = LOOKS[edge.kind]
        style = {"arrowstyle": "-|>", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, **look}
        style["mutation_scale"] = size
        self.arrows_.append(self.ax_.annotate("", points[1], points[0], arrowprops=style))
        if edge.text:
            self.arrows_[-1].set_label(edge.text)
            write = self.ax_.text
            text = write(*label_at, edge.text, fontsize=size, color=look["color"], **align)
            if edge.values:
                space = (SIDES[end.column][1] - label_at[0]) * self.ax_.bbox.width
                text.set_fontsize(size * min(1.0, space / text.get_window_extent().width))


def _settled_height(ax: Any) -> float:
    """Height of ``ax`` in points, once the layout has given it its size."""
    ax.figure.figure.draw_without_rendering()
    return points_of(ax)[1]


# -- the nodes and edges of a net --------------------------------------------------------
def graph_of(
    net: Any, shown: list[int], step: Explanation | None = None, example: int = 0
) -> tuple[list[Node], list[Edge]]:
    """The graph of the layers ``shown``: the first, the last, and others in their order.

    A note stands for layers that are left out in between. Edges carry the values of ``step``.
    """

    def told(letter: str, l: int) -> tuple[str, tuple[float, ...]]:
        if step is None:
            return "", ()
        return f"${_name(letter, l)}$", tuple(map(float, step[f"{letter}[{l}]"][:, example]))

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
    loss = "half squared error" if net.output == "identity" else "cross-entropy"
    cost = f"mean {loss} of ${_name('A', L)}$, $Y$"
    cost = f"$J$: {cost}" if step is None else f"$J$ = {float(step['J']):.3g}: {cost}"
    nodes.append(Node("cost", ((cost, None), ("$Y$", (net.sizes[L], "m"))), 0, len(rows) + 1))

    edges: list[Edge] = []
    start, labelled = "X", False
    for row, (name, first, last) in enumerate(rows, 1):
        forward, backward = f"forward {name}", f"backward {name}"
        kept = "" if labelled else f"${_name('A', first - 1)}$"
        edges.append(Edge(start, forward, "forward", *told("A", first - 1)))
        edges.append(Edge(start, backward, "kept", kept))
        labelled = name != "skipped" and last < L and net.hidden[last - 1] != identity
        if labelled:  # for the slope
            edges.append(Edge(forward, backward, "kept", f"${_name('A', last)}$"))
        if last < L:
            error = f"{_name('dA', last)} = {_name('W', last + 1, 'T')} {_name('dZ', last + 1)}"
            above = f"backward {rows[row][0]}"
            edges.append(Edge(above, backward, "backward", f"${error}$", told("dA", last)[1]))
        start = forward
    edges.append(Edge(start, "cost", "forward", *told("A", L)))
    edges.append(Edge("cost", f"backward {L}", "backward", *told("dZ", L)))
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
