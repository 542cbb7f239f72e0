"""``GraphDisplay``: a training step of a net as a graph, the way a course's notes draw it.

The forward pass goes down on the left, the backward pass comes up on the right, and dashed arrows
in between show what the one keeps for the other: the inputs of every layer, and nothing else,
since slopes are written in terms of ``A``. It goes downwards because formulas are long and
low: any number of layers then fits a page or a scrolling notebook.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xpnet.plotting.graph_nodes import Edge, Node, graph_of
from xpnet.plotting.shared import BLUE, ORANGE, PURPLE, axes_for, points_of

LOOKS: dict[str, dict[str, Any]] = {
    "forward": {"color": BLUE, "linestyle": "-"},
    "kept": {"color": PURPLE, "linestyle": "--"},
    "backward": {"color": ORANGE, "linestyle": "-"},
}
SIDES = ((0.01, 0.37), (0.52, 0.99))  # of the boxes of each column, in widths of the axes
UPWARDS = 0.58  # where the arrows of the backward pass go
PAD = 0.012
LINES = 6.6  # heights of the letters in a row


@dataclass(eq=False)
class GraphDisplay:
    """What a training step computes, with shapes. Make it with ``from_net``.

    Attributes
    ----------
    nodes : list of Node
        By name: "X", "forward 1", ..., "cost", and "backward 1", ...; "forward skipped" and
        "backward skipped" where layers are left out.
    edges : list of Edge
    ax_, figure_
        What it was drawn on.
    text_ : dict of str to list of matplotlib Text
        By node, a formula and then its shape.
    arrows_ : list of matplotlib Annotation
        By edge.
    """

    nodes: list[Node]
    edges: list[Edge]
    ax_: Any = field(init=False, repr=False)
    figure_: Any = field(init=False, repr=False)
    text_: dict[str, list[Any]] = field(init=False, repr=False)
    arrows_: list[Any] = field(init=False, repr=False)

    @classmethod
    def from_net(
        cls, net: Any, *, max_layers: int | None = None, ax: Any = None, **options: Any
    ) -> GraphDisplay:
        """Draws the graph of ``net``.

        Parameters
        ----------
        max_layers : int, optional
            A deeper net is shown by its first and its last layers, so many in all, at least 2.
            None: all of them, or those that can be read on ``ax``.

        Raises
        ------
        ValueError
            ``max_layers`` is below 2.
        """
        n = len(net.sizes) - 1
        if max_layers is None and ax is not None:
            rows = _settled(ax)[1] / (LINES * 6)  # in letters of six points
            max_layers = max(2, int(rows) - 3)
        if max_layers is not None and max_layers < 2:
            raise ValueError(f"max_layers={max_layers}: at least the first and the last are shown")
        shown = list(range(1, n + 1))
        if max_layers is not None and n > max_layers:
            shown = shown[: (max_layers + 1) // 2] + shown[n - max_layers // 2 :]
        return cls(*graph_of(net, shown)).plot(ax, **options)

    def plot(self, ax: Any = None, *, fontsize: float | None = None) -> GraphDisplay:
        """Draws on ``ax``, or on a new figure that is high enough for all layers.

        ``fontsize`` is in points; None: the largest that fits, at most 11.

        Raises
        ------
        ImportError
            There is no matplotlib.
        """
        n_rows = 1 + max(node.row for node in self.nodes)
        ax, figure = axes_for(ax, (8.0, max(3.0, 0.3 + 0.95 * n_rows)))
        self.ax_, self.figure_, self.text_, self.arrows_ = ax, figure, {}, []
        ax.set_axis_off()
        ax.set(xlim=(0, 1), ylim=(n_rows - 0.6, -0.8))
        width, height = _settled(ax)
        row = height / (n_rows + 0.2)  # points
        size = fontsize or min(11.0, row / LINES)
        for node in self.nodes:
            self._write(node, size)
        if fontsize is None:
            size *= self._fit()
        line = 1.45 * size / row
        for node in self.nodes:
            self._place(node, size, line)
            if node.lines:
                self._frame(node, line, width / row)
        places = {node.name: node for node in self.nodes}
        for edge in self.edges:
            self._connect(edge, places[edge.start], places[edge.end], size, line)
        middle = (SIDES[0][1] + SIDES[1][0]) / 2
        for x, kind in ((sum(SIDES[0]) / 2, "forward"), (middle, "kept"),
                        (sum(SIDES[1]) / 2, "backward")):  # fmt: skip
            ax.text(x, -0.68, kind, ha="center", va="center", fontsize=size, weight="bold",
                    color=LOOKS[kind]["color"])  # fmt: skip
        return self

    def _write(self, node: Node, size: float) -> None:
        """The texts of a node, where ``_place`` then moves them."""
        left, right = SIDES[node.column]
        write, texts = self.ax_.text, self.text_.setdefault(node.name, [])
        if node.note:
            texts.append(write((left + right) / 2, node.row, node.note, ha="center", va="center"))
        for formula, shape in node.lines:
            given = "" if shape is None else f"({', '.join(map(str, shape))})"
            for x, text, side in ((left + PAD, formula, "left"), (right - PAD, given, "right")):
                texts.append(write(x, node.row, text, ha=side, va="center_baseline", size=size))

    def _fit(self) -> float:
        """What the size of the texts must be multiplied by so that all stay in their boxes."""
        factor = 1.0
        for node in self.nodes:
            room = (SIDES[node.column][1] - SIDES[node.column][0] - 4 * PAD) * self.ax_.bbox.width
            widths = [text.get_window_extent().width for text in self.text_[node.name]]
            for i in range(0, len(node.lines) * 2, 2):
                factor = min(factor, room / (widths[i] + widths[i + 1]))
        return factor

    def _place(self, node: Node, size: float, line: float) -> None:
        texts = self.text_[node.name]
        for i, text in enumerate(texts):
            text.set_fontsize(size)
            if node.lines:
                text.set_y(_line_at(node, i // 2, line))

    def _frame(self, node: Node, line: float, aspect: float) -> None:
        from matplotlib.patches import FancyBboxPatch

        left, right = SIDES[node.column]
        half = _half_height(node, line)
        self.ax_.add_patch(
            FancyBboxPatch(
                (left, node.row - half),
                right - left,
                2 * half,
                boxstyle=f"round,pad=0,rounding_size={PAD}",
                mutation_aspect=aspect,
                facecolor="none",
                edgecolor=LOOKS["backward" if node.column else "forward"]["color"],
                linewidth=1.2,
            )
        )

    def _connect(self, edge: Edge, start: Node, end: Node, size: float, line: float) -> None:
        forward, backward = (sum(SIDES[0]) / 2, UPWARDS)
        above, below = end.row - _half_height(end, line), end.row + _half_height(end, line)
        label_at, align = None, {}
        if edge.kind == "forward":
            points = (forward, start.row + _half_height(start, line)), (forward, above)
        elif edge.kind == "backward" and start.column == 0:  # from the cost
            points = (SIDES[0][1], start.row), (backward, below)
        elif edge.kind == "backward":
            points = (backward, start.row - _half_height(start, line)), (backward, below)
            label_at = (backward + PAD, (points[0][1] + points[1][1]) / 2)
            align = {"ha": "left", "va": "center"}
        else:  # from the line that computes it to the line that reads it
            from_line = _line_at(start, len(start.lines) - 1, line)
            to_line = _line_at(end, 0 if start.row == end.row else 1, line)
            points = (SIDES[0][1], from_line), (SIDES[1][0], to_line)
            if start.row == end.row:  # between this arrow and the one to the row below
                label_at, align = (SIDES[1][0] - PAD, from_line), {"ha": "right", "va": "center"}
            else:
                label_at = (SIDES[0][1] + 2 * PAD, from_line - 0.15 * line)
                align = {"ha": "left", "va": "bottom"}
        look = LOOKS[edge.kind]
        style = {"arrowstyle": "-|>", "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, **look}
        style["mutation_scale"] = size
        self.arrows_.append(self.ax_.annotate("", points[1], points[0], arrowprops=style))
        if edge.label and label_at:
            self.arrows_[-1].set_label(edge.label)
            self.ax_.text(*label_at, edge.label, fontsize=size, color=look["color"], **align)


def _settled(ax: Any) -> tuple[float, float]:
    """Width and height of ``ax`` in points, once the layout has given it its size."""
    ax.figure.figure.draw_without_rendering()
    return points_of(ax)


def _half_height(node: Node, line: float) -> float:
    return (len(node.lines) + 0.5) / 2 * line if node.lines else 0.6 * line


def _line_at(node: Node, i: int, line: float) -> float:
    """Where line ``i`` of a node is, in rows."""
    return node.row + (i - (len(node.lines) - 1) / 2) * line if node.lines else node.row
