"""The displays: the arrays they keep, and what is drawn of them."""

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import xpnet

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from xpnet.plotting import (
    DecisionBoundaryDisplay,
    FirstLayerDisplay,
    GraphDisplay,
    LearningCurveDisplay,
    WeightsDisplay,
)
from xpnet.plotting.first_layer import mosaic
from xpnet.plotting.learning_curve import spans_decades
from xpnet.plotting.shared import COLOURS


@pytest.fixture(autouse=True)
def no_figure_is_left():
    assert plt.get_fignums() == []
    yield
    plt.close("all")


def new_ax(width=6.4, height=4.8):
    """Axes that pyplot knows nothing of."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure.subplots()


def texts(ax):
    return [text.get_text() for text in ax.texts]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def curve(history, **options):
    return LearningCurveDisplay.from_history(history, ax=new_ax(), **options)


def history(n=5, factor=0.5, accuracy=True):
    cost = list(2.0 * factor ** np.arange(n))
    return xpnet.History(
        cost, [c + 0.25 for c in cost], [i / n for i in range(n)] if accuracy else []
    )


def net_2d(output="sigmoid", n_y=1, **options):
    return xpnet.DeepNet([2, 4, n_y], hidden="tanh", output=output, seed=3, **options)


POINTS = np.random.default_rng(0).normal(size=(2, 30))


# -- what all share ----------------------------------------------------------------------
NET, LABELS = xpnet.DeepNet([64, 12, 10], output="softmax"), np.arange(30) % 2
DRAW = [
    lambda ax=None: LearningCurveDisplay.from_history(history(), ax=ax),
    lambda ax=None: WeightsDisplay.from_net(NET, ax=ax),
    lambda ax=None: FirstLayerDisplay.from_net(NET, (8, 8), ax=ax),
    lambda ax=None: DecisionBoundaryDisplay.from_net(net_2d(), POINTS, LABELS, ax=ax),
    lambda ax=None: GraphDisplay.from_net(NET, ax=ax),
]
each_display = pytest.mark.parametrize("draw", DRAW)


@each_display
def test_a_display_is_drawn_on_the_axes_given_and_again_elsewhere(draw):
    for ax in (new_ax(), new_ax().figure.subfigures(1, 2)[0].subplots()):
        display = draw(ax)
        assert display.ax_ is ax
        assert display.figure_ is ax.figure
        display.figure_.canvas.draw()
        ax = new_ax()
        assert display.plot(ax) is display
        assert display.ax_ is ax
    assert plt.get_fignums() == []  # pyplot is left alone


@each_display
def test_without_axes_there_is_a_new_figure(draw):
    display = draw()
    assert len(plt.get_fignums()) == 1
    assert display.figure_ is plt.gcf()
    display.figure_.canvas.draw()


@each_display
@pytest.mark.parametrize("size", [(2.4, 1.8), (1.5, 1.2), (16.0, 3.0)])
def test_any_size_of_axes_is_drawn_without_a_warning(draw, size):
    display = draw(new_ax(*size))
    display.figure_.canvas.draw()
    pixels = np.asarray(display.figure_.canvas.buffer_rgba())[..., :3]
    assert np.unique(pixels.reshape(-1, 3), axis=0).shape[0] > 10


@each_display
def test_missing_matplotlib_says_what_installs_it(draw, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r'python -m pip install "xpnet\[plot\]"'):
        draw()


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, xpnet.plotting; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


# -- learning curves ---------------------------------------------------------------------
def test_learning_curve_data_and_lines():
    h = history()
    display = curve(h)
    (kept,) = display.curves
    np.testing.assert_array_equal(kept.cost, h.cost)
    drawn = {line.get_label(): line for line in display.lines_}
    assert set(drawn) == {"cost", "validation cost", "validation accuracy"}
    for name, values in (("cost", h.cost), ("validation cost", h.validation_cost),
                         ("validation accuracy", h.validation_accuracy)):  # fmt: skip
        np.testing.assert_array_equal(drawn[name].get_xdata(), [1, 2, 3, 4, 5])
        np.testing.assert_array_equal(drawn[name].get_ydata(), values)
    assert drawn["validation accuracy"].axes is display.accuracy_ax_ is not display.ax_
    assert display.accuracy_ax_.get_ylabel() == "validation accuracy"
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "cost")
    assert legend(display.ax_) == ["cost", "validation cost", "validation accuracy"]


def test_a_cost_with_a_penalty_says_so():
    labels = legend(curve(replace(history(), penalized=True)).ax_)
    assert labels == ["cost (with penalty)", "validation cost", "validation accuracy"]


def test_axis_of_accuracy_ends_at_one():
    h = history()
    h.validation_accuracy = [1.0] * 5
    _, top = curve(h).accuracy_ax_.get_ylim()
    assert 1.0 < top < 1.01


def test_accuracy_is_left_out():
    display = curve(history(), accuracy=False)
    assert display.accuracy_ax_ is None
    assert len(display.lines_) == 2
    assert curve(history(accuracy=False)).accuracy_ax_ is None


@pytest.mark.parametrize(
    ("factor", "log", "scale"),
    [(0.5, None, "linear"), (0.1, None, "log"), (0.5, True, "log"), (0.1, False, "linear")],
)
def test_logarithmic_axis(factor, log, scale):
    display = curve(history(3, factor), log=log)
    assert display.ax_.get_yscale() == scale


def test_when_a_logarithm_helps():
    assert spans_decades([1.0, 11.0, float("nan")])
    assert not spans_decades([1.0, 9.0])
    assert not spans_decades([0.0, 9.0])
    assert not spans_decades([-1.0, 100.0])
    assert not spans_decades([])


def test_several_histories_by_name_or_number():
    two = history(3), history(4, 0.9)
    display = curve(dict(zip("ab", two)))
    assert [kept.name for kept in display.curves] == ["a", "b"]
    costs = [line for line in display.lines_ if line.get_label().endswith(": cost")]
    assert [len(line.get_xdata()) for line in costs] == [3, 4]
    assert [line.get_color() for line in costs] == list(COLOURS[:2])
    assert legend(display.ax_) == ["a", "b", "cost", "validation cost", "validation accuracy"]
    numbered = curve(two)
    assert [kept.name for kept in numbered.curves] == ["1", "2"]


def test_one_epoch_is_a_point():
    display = curve(history(1))
    assert {line.get_marker() for line in display.lines_} == {"o"}


def test_learning_curve_of_a_fit(lib):
    X, Y = lib.asarray(POINTS), lib.asarray(POINTS[:1] > 0)
    net = net_2d(**lib.options)
    fitted = net.fit(X, Y, epochs=3, validation=(X, Y))
    display = curve(fitted)
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), fitted.cost)


@pytest.mark.parametrize("wrong", [[1.0, 2.0], 3, net_2d(), {"a": [1.0]}])
def test_not_a_history(wrong):
    with pytest.raises(TypeError, match=r"net\.history"):
        curve(wrong)


def test_history_without_epochs():
    for empty in (xpnet.History(), [], {}):
        with pytest.raises(ValueError, match="no epochs"):
            curve(empty)


# -- weights -----------------------------------------------------------------------------
def test_histograms_of_weights(lib):
    net = xpnet.DeepNet([20, 30, 10, 3], dtype="float64", **lib.options)
    display = WeightsDisplay.from_net(net, bins=7, ax=new_ax())
    assert display.shapes == [(30, 20), (10, 30), (3, 10)]
    for l, (W, _) in enumerate(lib.host(net.parameters)):
        counts, edges = np.histogram(W, 7)
        np.testing.assert_array_equal(display.counts[l], counts)
        np.testing.assert_allclose(display.edges[l], edges, rtol=1e-12)
        np.testing.assert_allclose(display.std[l], W.std())
        drawn = display.patches_[l].get_data()  # layer 1 on top
        np.testing.assert_allclose(drawn.values, (2 - l) + 0.85 * counts / counts.max())
        np.testing.assert_allclose(drawn.edges, edges, rtol=1e-12)
        assert drawn.baseline == 2 - l
    assert [t.get_text() for t in display.text_] == [f"std {s:.3g}" for s in display.std]
    names = [label.get_text() for label in display.ax_.get_yticklabels()]
    assert names == ["$W^{[1]}$  30 × 20", "$W^{[2]}$  10 × 30", "$W^{[3]}$  3 × 10"]


def test_bins_follow_the_number_of_weights():
    display = WeightsDisplay.from_net(xpnet.DeepNet([200, 200, 8, 1]), ax=new_ax())
    assert [len(counts) for counts in display.counts] == [60, 24, 4]
    assert [counts.sum() for counts in display.counts] == [40_000, 1_600, 8]


def test_equal_weights_do_not_stretch_the_axis():
    net = xpnet.DeepNet([3, 4, 2])
    W, b = net.parameters[0]
    net.parameters = [(W, b), (np.full((2, 4), 0.25), np.zeros((2, 1)))]
    display = WeightsDisplay.from_net(net, ax=new_ax())
    low, high = display.edges[1]
    assert low < 0.25 < high
    assert high - low < 0.02 * np.ptp(W)
    single = WeightsDisplay.from_net(xpnet.DeepNet([1, 1]), ax=new_ax())
    assert single.counts[0].tolist() == [1]
    zero = xpnet.DeepNet([1, 1])
    zero.parameters = [(np.zeros((1, 1)), np.zeros((1, 1)))]
    assert WeightsDisplay.from_net(zero, ax=new_ax()).edges[0].tolist() == [-0.5, 0.5]


def test_many_layers_make_a_higher_figure_and_few_labels_in_a_small_one():
    net = xpnet.DeepNet([8] * 31)
    own = WeightsDisplay.from_net(net)
    assert own.figure_.get_figheight() > 10
    assert len(own.text_) == 30
    small = WeightsDisplay.from_net(net, ax=new_ax(2.4, 1.8))
    assert 5 < len(small.text_) < 30
    assert len(small.ax_.get_yticks()) == len(small.text_)


# -- the first layer ---------------------------------------------------------------------
def test_images_of_the_first_layer(lib):
    net = xpnet.DeepNet([6, 5, 2], **lib.options)
    W = lib.host(net.parameters)[0][0]
    display = FirstLayerDisplay.from_net(net, (2, 3), ax=new_ax(), columns=2)
    np.testing.assert_array_equal(display.images, W.reshape(5, 2, 3))
    masked = display.image_.get_array()
    drawn = masked.filled(9.0)
    assert drawn.shape == (3 * 3 + 1, 2 * 4 + 1)
    np.testing.assert_array_equal(drawn[1:3, 1:4], W[0].reshape(2, 3))
    np.testing.assert_array_equal(drawn[1:3, 5:8], W[1].reshape(2, 3))
    np.testing.assert_array_equal(drawn[7:9, 1:4], W[4].reshape(2, 3))
    assert masked.mask[0].all()
    assert masked.mask[:, 4].all()
    assert masked.mask[7:, 5:].all()  # the sixth place is empty
    assert masked.count() == W.size
    assert -display.image_.norm.vmin == display.image_.norm.vmax == np.abs(W).max()
    assert display.ax_.get_title() == "5 units"


def test_units_are_chosen():
    net = xpnet.DeepNet([4, 100, 1])
    W = net.parameters[0].W
    first = FirstLayerDisplay.from_net(net, (2, 2), ax=new_ax())
    np.testing.assert_array_equal(first.units, np.arange(64))
    assert first.ax_.get_title() == "64 of 100 units"
    some = FirstLayerDisplay.from_net(net, (4, 1), units=[99, 3], ax=new_ax(), vmax=0.5)
    np.testing.assert_array_equal(some.images, W[[99, 3]].reshape(2, 4, 1))
    assert some.image_.norm.vmax == 0.5
    assert len(FirstLayerDisplay.from_net(net, (2, 2), units=500, ax=new_ax()).units) == 100


def test_zero_weights_are_white():
    net = xpnet.DeepNet([4, 1])
    net.parameters = [(np.zeros((1, 4)), np.zeros((1, 1)))]
    image = FirstLayerDisplay.from_net(net, (2, 2), ax=new_ax()).image_
    assert min(image.cmap(image.norm(0.0))[:3]) > 0.95


@pytest.mark.parametrize("units", [0, -1, [], [12], [-1]])
def test_units_that_are_not_there(units):
    with pytest.raises(ValueError, match="units 0 to 11"):
        FirstLayerDisplay.from_net(xpnet.DeepNet([4, 12, 1]), (2, 2), units=units, ax=new_ax())


def test_pixels_must_be_the_features():
    with pytest.raises(ValueError, match="9 pixels, X 4 features"):
        FirstLayerDisplay.from_net(xpnet.DeepNet([4, 1]), (3, 3), ax=new_ax())


def test_mosaic_of_one():
    tiles = mosaic(np.ones((1, 2, 2)), 1)
    assert tiles.shape == (4, 4)
    assert tiles.count() == 4


# -- decision boundaries -----------------------------------------------------------------
@pytest.mark.parametrize(("output", "n_y"), [("sigmoid", 1), ("softmax", 3), ("identity", 1)])
def test_response_is_the_nets_on_the_grid(lib, output, n_y):
    net = net_2d(output, n_y, dtype="float64", **lib.options)
    X, y = lib.asarray(POINTS), np.arange(30) % max(n_y, 2)
    display = DecisionBoundaryDisplay.from_net(
        net, X, lib.asarray(y), grid_resolution=12, margin=0.5, ax=new_ax()
    )
    assert display.xx0.shape == display.xx1.shape == (12, 12)
    low, high = POINTS.min(axis=1), POINTS.max(axis=1)
    reach = 0.5 * (high - low)
    np.testing.assert_allclose([display.xx0[0, 0], display.xx1[0, 0]], low - reach)
    np.testing.assert_allclose([display.xx0[-1, -1], display.xx1[-1, -1]], high + reach)
    grid = np.stack([display.xx0.ravel(), display.xx1.ravel()])
    expected = lib.to_numpy(net.predict_proba(lib.asarray(grid)))
    shape = (12, 12) if n_y == 1 else (n_y, 12, 12)
    np.testing.assert_allclose(display.response, expected.reshape(shape), rtol=1e-6)
    np.testing.assert_array_equal(display.X, POINTS)
    np.testing.assert_array_equal(display.y, y)


def test_a_net_that_follows_its_data_gets_the_datas_dtype():
    net = net_2d()
    display = DecisionBoundaryDisplay.from_net(net, POINTS.astype(np.float32), ax=new_ax())
    assert net.backend.dtype_name == "float32"
    assert display.response.dtype == np.float32
    lists = DecisionBoundaryDisplay.from_net(net_2d(), POINTS.tolist(), ax=new_ax())
    np.testing.assert_allclose(lists.response, display.response, rtol=1e-4)


def straight_line(output="sigmoid"):
    """The net whose boundary is x1 = 0.25: class 1 to the right."""
    net = xpnet.DeepNet([2, 1 if output == "sigmoid" else 2], output=output, dtype="float64")
    W = [[4.0, 0.0]] if output == "sigmoid" else [[0.0, 0.0], [4.0, 0.0]]
    b = [[-1.0]] if output == "sigmoid" else [[0.0], [-1.0]]
    net.parameters = [(np.array(W), np.array(b))]
    return net


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_boundary_is_where_it_should_be(output):
    display = DecisionBoundaryDisplay.from_net(straight_line(output), POINTS, ax=new_ax())
    assert display.boundaries_
    for contour in display.boundaries_:
        (path,) = contour.get_paths()
        np.testing.assert_allclose(path.vertices[:, 0], 0.25, atol=1e-2)
    x, y = display.xx0[0], display.xx1[:, 0]  # the image's pixels are centred on the grid
    left, right, bottom, top = display.image_.get_extent()
    np.testing.assert_allclose([left + right, bottom + top], [x[0] + x[-1], y[0] + y[-1]])
    np.testing.assert_allclose((right - left) / 200, x[1] - x[0])
    np.testing.assert_allclose((top - bottom) / 200, y[1] - y[0])
    assert display.image_.origin == "lower"
    assert display.points_ == []


def test_colours_are_those_of_the_classes():
    y = (POINTS[0] > 0.25).astype(int)
    for output in ("sigmoid", "softmax"):
        display = DecisionBoundaryDisplay.from_net(straight_line(output), POINTS, y, ax=new_ax())
        drawn = display.image_.get_array()
        if output == "sigmoid":
            np.testing.assert_array_equal(drawn, display.response)
            assert (display.image_.norm.vmin, display.image_.norm.vmax) == (0, 1)
            drawn = display.image_.to_rgba(drawn)[..., :3]
        for k, column in enumerate((0, -1)):
            pixel = drawn[100, column]
            colour = display.points_[k].get_facecolor()[0, :3]
            others = [
                p.get_facecolor()[0, :3] for p in display.points_ if p is not display.points_[k]
            ]
            assert np.linalg.norm(pixel - colour) < np.linalg.norm(pixel - others[0])
        x = display.xx0[0]
        np.testing.assert_allclose(drawn[100, np.argmin(np.abs(x - 0.25))], 1.0, atol=0.05)


def test_examples_are_drawn_by_class():
    y = np.arange(30) % 3
    y[y == 1] = 2  # nobody is in class 1
    names = ["oak", "ash", "elm"]
    display = DecisionBoundaryDisplay.from_net(
        net_2d("softmax", 3), POINTS, y, class_names=names, ax=new_ax()
    )
    assert [points.get_label() for points in display.points_] == ["oak", "elm"]
    for points, k in zip(display.points_, (0, 2), strict=True):
        np.testing.assert_array_equal(points.get_offsets(), POINTS[:, y == k].T)
    assert legend(display.ax_) == names


def test_regression_shows_targets_on_the_scale_of_predictions():
    y = np.linspace(-50, 50, 30)
    display = DecisionBoundaryDisplay.from_net(net_2d("identity"), POINTS, y, ax=new_ax())
    (points,) = display.points_
    np.testing.assert_array_equal(points.get_array(), y)
    assert points.norm.vmin == display.image_.norm.vmin == -50
    assert points.norm.vmax == display.image_.norm.vmax == 50
    assert display.boundaries_ == []


def test_a_net_that_is_everywhere_sure_has_no_boundary():
    net = straight_line()
    net.parameters = [(np.zeros((1, 2)), np.ones((1, 1)))]
    display = DecisionBoundaryDisplay.from_net(net, np.zeros((2, 1)), ax=new_ax())
    assert display.boundaries_ == []
    assert display.xx0[0, 0] < 0 < display.xx0[0, -1]  # one example has no range


def test_what_has_no_boundary():
    draw = DecisionBoundaryDisplay.from_net
    for wrong, message in (
        (lambda: draw(xpnet.DeepNet([3, 1]), np.zeros((3, 4))), "this net has 3"),
        (lambda: draw(net_2d("sigmoid", 2), POINTS), "2 sigmoid outputs"),
        (lambda: draw(net_2d("identity", 2), POINTS), "2 identity outputs"),
        (lambda: draw(net_2d(), POINTS.T), r"X has shape \(30, 2\)"),
        (lambda: draw(net_2d(), POINTS, np.zeros(3)), "3 labels for 30"),
        (lambda: draw(net_2d(), POINTS, class_names=["a"]), "1 names for 2"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


# -- graphs ------------------------------------------------------------------------------
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


def test_shapes_in_the_graph_are_those_of_the_gradients():
    net = xpnet.DeepNet([5, 7, 6, 1], hidden=["relu", "elu"])
    nodes = {node.name: node for node in GraphDisplay.from_net(net, ax=new_ax()).nodes}
    X = np.zeros((5, 4))
    for l, (dW, db) in enumerate(net.gradients(X, np.zeros((1, 4))), 1):
        (_, dZ_shape), (_, dW_shape), (_, db_shape) = nodes[f"backward {l}"].lines
        assert (dW_shape, db_shape) == (dW.shape, db.shape)
        assert dZ_shape == (net.sizes[l], "m")


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
