"""The graph of a training step: its nodes and edges, and what is drawn of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from plotting_helpers import new_ax, texts

import xpnet
from xpnet.plotting import GraphDisplay
from xpnet.plotting.graph import SIDES


def test_graph_of_a_net():
    net = xpnet.DeepNet([4, 3, 2], hidden="tanh", output="softmax")
    display = GraphDisplay.from_net(net, ax=new_ax())
    nodes = {node.name: node for node in display.nodes}
    assert {name: node.lines for name, node in nodes.items()} == {
        "X": (("$X$", (4, "m")),),
        "forward 1": (("$Z^{[1]} = W^{[1]} X + b^{[1]}$", (3, "m")),
                      ("$A^{[1]}$ = tanh$(Z^{[1]})$", (3, "m"))),
        "forward 2": (("$Z^{[2]} = W^{[2]} A^{[1]} + b^{[2]}$", (2, "m")),
                      ("$A^{[2]}$ = softmax$(Z^{[2]})$", (2, "m"))),
        "cost": (("$J$: mean cross-entropy of $A^{[2]}$, $Y$", None), ("$Y$", (2, "m"))),
        "backward 1": ((r"$dZ^{[1]} = dA^{[1]} \ast$ tanh_slope$(A^{[1]})$", (3, "m")),
                       ("$dW^{[1]} = dZ^{[1]} X^{T}$", (3, 4)),
                       ("$db^{[1]}$ = row sums of $dZ^{[1]}$", (3, 1))),
        "backward 2": ((r"$dZ^{[2]} = (A^{[2]} - Y)\,/\,m$", (2, "m")),
                       ("$dW^{[2]} = dZ^{[2]} A^{[1]T}$", (2, 3)),
                       ("$db^{[2]}$ = row sums of $dZ^{[2]}$", (2, 1))),
    }  # fmt: skip
    edges = {(edge.start, edge.end): (edge.kind, edge.label) for edge in display.edges}
    assert edges == {
        ("X", "forward 1"): ("forward", ""),
        ("forward 1", "forward 2"): ("forward", ""),
        ("forward 2", "cost"): ("forward", ""),
        ("cost", "backward 2"): ("backward", ""),
        ("backward 2", "backward 1"): ("backward", "$dA^{[1]} = W^{[2]T} dZ^{[2]}$"),
        ("X", "backward 1"): ("kept", "$X$"),
        ("forward 1", "backward 1"): ("kept", "$A^{[1]}$"),  # for the slope
        ("forward 1", "backward 2"): ("kept", ""),  # for dW[2], the same array
    }


def test_what_is_drawn_is_the_graph():
    display = GraphDisplay.from_net(xpnet.DeepNet([4, 3, 1]), ax=new_ax())
    drawn = texts(display.ax_)
    for node in display.nodes:
        for formula, shape in node.lines:
            assert formula in drawn
            assert shape is None or f"({shape[0]}, {shape[1]})" in drawn
    assert all(edge.label in drawn for edge in display.edges if edge.label)
    assert len(display.arrows_) == len(display.edges)
    assert {"forward", "kept", "backward"} <= set(drawn)


def test_identity_keeps_nothing_for_its_slope():
    net = xpnet.DeepNet([4, 3, 1], hidden="identity", output="identity")
    display = GraphDisplay.from_net(net, ax=new_ax())
    kept = [(e.start, e.end, e.label) for e in display.edges if e.kind == "kept"]
    assert kept == [("X", "backward 1", "$X$"), ("forward 1", "backward 2", "$A^{[1]}$")]
    assert "$dZ^{[1]} = dA^{[1]}$" in texts(display.ax_)
    assert "$J$: mean half squared error of $A^{[2]}$, $Y$" in texts(display.ax_)


def test_one_layer_is_a_graph_too():
    display = GraphDisplay.from_net(xpnet.logistic_regression(3), ax=new_ax())
    assert [node.name for node in display.nodes] == ["X", "forward 1", "backward 1", "cost"]


def test_layers_are_left_out():
    net = xpnet.DeepNet([9, 8, 7, 6, 5, 4, 3])
    display = GraphDisplay.from_net(net, max_layers=3, ax=new_ax())
    names = [node.name for node in display.nodes if node.column == 0]
    assert names == ["X", "forward 1", "forward 2", "forward skipped", "forward 6", "cost"]
    assert [node.row for node in display.nodes if node.column == 0] == [0, 1, 2, 3, 4, 5]
    assert texts(display.ax_).count("3 more layers") == 2
    edges = {(edge.start, edge.end): edge.label for edge in display.edges}
    assert edges["forward skipped", "backward 6"] == "$A^{[5]}$"
    assert edges["backward 6", "backward skipped"] == "$dA^{[5]} = W^{[6]T} dZ^{[6]}$"
    assert edges["backward skipped", "backward 2"] == "$dA^{[2]} = W^{[3]T} dZ^{[3]}$"
    assert edges["forward 2", "backward skipped"] == ""
    every = GraphDisplay.from_net(net, max_layers=6, ax=new_ax())
    assert not [node for node in every.nodes if node.note]
    one = GraphDisplay.from_net(net, max_layers=5, ax=new_ax())
    assert "1 more layer" in texts(one.ax_)
    with pytest.raises(ValueError, match="max_layers=1"):
        GraphDisplay.from_net(net, max_layers=1, ax=new_ax())


def test_deep_nets_have_a_high_figure_or_are_cut_to_the_axes():
    net = xpnet.DeepNet([4] * 13)
    own = GraphDisplay.from_net(net)
    assert own.figure_.get_figheight() > 10
    assert not [node for node in own.nodes if node.note]
    given = GraphDisplay.from_net(net, ax=new_ax())
    assert [node.note for node in given.nodes if node.note]
    for display in (own, given):
        sizes = {text.get_fontsize() for text in display.text_["X"]}
        assert min(sizes) > 5.5


@pytest.mark.parametrize("sizes", [[784, 1024, 1024, 10], [20] + [16] * 11 + [1], [2, 1]])
@pytest.mark.parametrize("size", [(6.4, 4.8), (3.0, 8.0), (12.0, 3.0)])
def test_texts_of_the_graph_stay_in_their_boxes(sizes, size):
    net = xpnet.DeepNet(sizes, hidden="leaky_relu")
    display = GraphDisplay.from_net(net, ax=new_ax(*size))
    display.figure_.canvas.draw()
    for node in display.nodes:
        boxes = [text.get_window_extent() for text in display.text_[node.name]]
        for formula, shape in zip(boxes[::2], boxes[1::2], strict=False):
            assert shape.width == 0 or formula.x1 < shape.x0
    # no two boxes of a column overlap
    frames = [patch.get_window_extent() for patch in display.ax_.patches]
    for column in {round(frame.x0) for frame in frames}:
        stacked = sorted((f.y0, f.y1) for f in frames if round(f.x0) == column)
        assert all(top < bottom for (_, top), (bottom, _) in pairwise(stacked))


def test_names_of_activations_are_no_mathtext():
    names = ["$x$", "a_b^c{", "\\frac", "100%"]
    own = [xpnet.Activation(name, np.tanh, np.tanh) for name in names]
    display = GraphDisplay.from_net(xpnet.DeepNet([2] * 6, hidden=own), ax=new_ax())
    display.figure_.canvas.draw()
    assert r"$A^{[1]}$ = \$x\$$(Z^{[1]})$" in texts(display.ax_)


@pytest.mark.parametrize("m", [1, 6])
def test_arrows_carry_the_values_of_an_example(m):
    rng = np.random.default_rng(0)
    net = xpnet.DeepNet([3, 5, 4, 1], "tanh", dtype="float64")
    X, Y, k = rng.normal(size=(3, m)), rng.integers(0, 2, size=(1, m)), m - 1
    display = GraphDisplay.from_net(net, X=X, Y=Y, example=k, ax=new_ax())
    values = {(edge.start, edge.end): edge.values for edge in display.edges if edge.values}
    A = net.predict_proba(X)
    np.testing.assert_allclose(values["X", "forward 1"], X[:, k])
    np.testing.assert_allclose(values["forward 3", "cost"], A[:, k])
    np.testing.assert_allclose(values["cost", "backward 3"], (A - Y)[:, k] / m)
    W = net.parameters[2].W
    np.testing.assert_allclose(values["backward 3", "backward 2"], W[0] * (A - Y)[0, k] / m)
    assert len(values["backward 2", "backward 1"]) == 5
    drawn = texts(display.ax_)
    assert f"$X$ = ({', '.join(f'{x:.2g}' for x in X[:, k])})" in drawn
    assert [text for text in drawn if text.startswith("$A^{[1]}$ = (") and text.endswith(", …)")]
    assert f"$J$ = {net.cost(X, Y):.3g}: mean cross-entropy of $A^{{[3]}}$, $Y$" in drawn


@pytest.mark.parametrize(("k", "size"), [(-1, 2), (2, 2)])
def test_there_is_no_such_example(k, size):
    with pytest.raises(ValueError, match=f"example={k}: X has {size} examples"):
        GraphDisplay.from_net(
            xpnet.DeepNet([2, 1]), X=np.eye(size), Y=np.zeros((1, size)), example=k, ax=new_ax()
        )


@pytest.mark.parametrize("size", [(6.4, 4.8), (5.0, 8.0), (12.0, 3.0)])
def test_values_stay_on_their_side(size):
    net = xpnet.DeepNet([9, 20, 20, 3], "leaky_relu", "softmax")
    X, Y = -1e-5 * np.random.default_rng(0).random((9, 4)), np.array([0, 1, 2, 0])
    display = GraphDisplay.from_net(net, X=X, Y=Y, ax=new_ax(*size))
    display.figure_.canvas.draw()
    box, largest = display.ax_.get_window_extent(), display.text_["X"][0].get_fontsize()
    numbers = [text for text in display.ax_.texts if "…)" in text.get_text()]
    assert len(numbers) == 5
    for text in numbers:
        side = SIDES[text.get_position()[0] > 0.5][1]
        assert text.get_window_extent().x1 <= box.x0 + side * box.width + 1
        assert text.get_fontsize() <= largest
