"""What all displays share, and learning curves, weights and first layers."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from plotting_helpers import POINTS, legend, net_2d, new_ax, plt

import xpnet
from xpnet.plotting import (
    DecisionBoundaryDisplay,
    FirstLayerDisplay,
    GraphDisplay,
    LearningCurveDisplay,
    WeightsDisplay,
)
from xpnet.plotting.shared import COLOURS


def curve(history, **options):
    return LearningCurveDisplay.from_history(history, ax=new_ax(), **options)


def history(n=5, factor=0.5, accuracy=True):
    cost = list(2.0 * factor ** np.arange(n))
    return xpnet.History(
        cost, [c + 0.25 for c in cost], [i / n for i in range(n)] if accuracy else []
    )


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
    with pytest.raises(ImportError, match="python -m pip install matplotlib"):
        draw()


def test_matplotlib_is_imported_when_something_is_drawn():
    code = "import sys, xpnet.plotting; print('matplotlib' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "False"


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_estimators_are_drawn_as_their_nets():
    pytest.importorskip("sklearn")
    y = np.array(["oak", "ash", "elm"])[LABELS + (POINTS[0] > 1)]
    model = xpnet.MLPClassifier((4,), max_iter=2).fit(POINTS.T, y)
    net = xpnet.DeepNet.from_sklearn(model)
    for kind, options in ((WeightsDisplay, {}), (FirstLayerDisplay, {"shape": (1, 2)})):
        drawn, other = (kind.from_net(each, ax=new_ax(), **options) for each in (model, net))
        for name, value in vars(drawn).items():
            if not name.endswith("_"):
                np.testing.assert_equal(value, vars(other)[name])
    drawn = GraphDisplay.from_net(model, X=POINTS.T, Y=y, ax=new_ax())
    codes = np.searchsorted(["ash", "elm", "oak"], y)
    other = GraphDisplay.from_net(net, X=POINTS, Y=codes, ax=new_ax())
    assert (drawn.nodes, drawn.edges) == (other.nodes, other.edges)


# -- learning curves ---------------------------------------------------------------------
def test_learning_curve_data_and_lines():
    h = history()
    display = curve(h)
    assert display.curves == {"": h}
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


def test_the_best_epoch_is_marked():
    costs = [3.0, 1.0, 2.0]
    display = curve({"a": xpnet.History(costs, costs), "b": xpnet.History(costs)})
    assert [ring.get_xydata().tolist() for ring in display.best_] == [[[2.0, 1.0]]]
    assert legend(display.ax_) == ["a", "b", "cost", "validation cost"]
    assert [text.get_text() for text in curve(xpnet.History(costs, costs)).ax_.texts] == [
        "best: epoch 2"
    ]


@pytest.mark.parametrize(("least", "few"), [(0.05, 4), (0.004, 3), (1e-6, 3)])
def test_a_logarithmic_axis_has_ticks_to_read(least, few):
    ax = curve(xpnet.History([1.0, 0.3, least])).ax_
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    labels = {tick: label.get_text() for tick, label in zip(ax.get_yticks(), ax.get_yticklabels())}
    shown = [label for tick, label in labels.items() if low <= tick <= high and label]
    assert len(shown) >= few
    assert ("0.1" in shown) == (least > 1e-3)  # plain numbers, where they are few decades


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
    ("costs", "log", "scale"),
    [
        ([2.0, 1.0, 0.5], None, "linear"),
        ([2.0, 0.2, 0.02], None, "log"),
        ([2.0, 1.0, 0.5], True, "log"),
        ([2.0, 0.2, 0.02], False, "linear"),
        ([11.0, 1.0, float("nan")], None, "log"),
        ([9.0, 1.0], None, "linear"),
        ([9.0, 0.0], None, "linear"),  # a logarithm has no place for these
        ([100.0, -1.0], None, "linear"),
    ],
)
def test_logarithmic_axis(costs, log, scale):
    assert curve(xpnet.History(costs), log=log).ax_.get_yscale() == scale


def test_several_histories_by_name_or_number():
    two = history(3), history(4, 0.9)
    display = curve(dict(zip("ab", two)))
    assert list(display.curves) == ["a", "b"]
    costs = [line for line in display.lines_ if line.get_label().endswith(": cost")]
    assert [len(line.get_xdata()) for line in costs] == [3, 4]
    assert [line.get_color() for line in costs] == list(COLOURS[:2])
    assert legend(display.ax_) == ["a", "b", "cost", "validation cost", "validation accuracy"]
    numbered = curve(two)
    assert list(numbered.curves) == ["1", "2"]


def test_one_epoch_is_a_point():
    display = curve(history(1))
    assert {line.get_marker() for line in display.lines_} == {"o"}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("home", ["sklearn.neural_network", "xpnet"])
def test_the_curves_of_an_estimator(home):
    MLP = pytest.importorskip(home).MLPClassifier
    X, y = np.random.default_rng(0).normal(size=(200, 2)), np.arange(200) % 2
    model = MLP((4,), max_iter=5, early_stopping=True).fit(X, y)
    (shown,) = curve(model).curves.values()
    assert shown.cost == model.loss_curve_
    assert shown.validation_accuracy == model.validation_scores_
    assert shown.validation_cost == list(getattr(model, "validation_loss_curve_", []))
    assert shown.penalized
    with pytest.raises(TypeError, match="a fitted MLP, not MLPClassifier"):
        curve(MLP())


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
    with pytest.raises(ValueError, match=r"units 0 to 11|units=-1: must be at least 0"):
        FirstLayerDisplay.from_net(xpnet.DeepNet([4, 12, 1]), (2, 2), units=units, ax=new_ax())


def test_pixels_must_be_the_features():
    with pytest.raises(ValueError, match="9 pixels, X 4 features"):
        FirstLayerDisplay.from_net(xpnet.DeepNet([4, 1]), (3, 3), ax=new_ax())
