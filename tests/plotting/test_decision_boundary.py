"""Decision boundaries: the response of the net, its boundary, the examples."""

from __future__ import annotations

import numpy as np
import pytest
from plotting_helpers import POINTS, legend, net_2d, new_ax

import xpnet
from xpnet.plotting import DecisionBoundaryDisplay


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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("kind", ["MLPClassifier", "LogisticRegression"])
@pytest.mark.parametrize("names", [["oak", "ash"], ["oak", "ash", "elm"]])
def test_an_estimator_has_examples_in_rows_and_its_own_classes(kind, names):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("sklearn")
    y = np.array(names)[np.arange(30) % len(names)]
    X = pd.DataFrame(POINTS.T, columns=["height", "girth"])
    model = getattr(xpnet, kind)(max_iter=20).fit(X, y)
    display = DecisionBoundaryDisplay.from_net(model, X, y, grid_resolution=9, ax=new_ax())
    grid = np.stack([display.xx0.ravel(), display.xx1.ravel()], axis=1)
    expected = model.predict_proba(pd.DataFrame(grid, columns=X.columns)).T
    expected = expected[1] if len(names) == 2 else expected
    np.testing.assert_allclose(display.response, expected.reshape(display.response.shape))
    assert display.class_names == sorted(names)
    for points, name in zip(display.points_, sorted(names), strict=True):
        np.testing.assert_array_equal(points.get_offsets(), POINTS[:, y == name].T)
    if kind == "MLPClassifier":
        assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("height", "girth")


def test_a_circle_is_one_where_the_features_have_one_scale():
    for scale, options, aspect in ((1, {}, 1.0), (9, {}, "auto"), (9, {"equal": True}, 1.0)):
        points = POINTS * [[scale], [1]]
        display = DecisionBoundaryDisplay.from_net(net_2d(), points, ax=new_ax(), **options)
        assert display.ax_.get_aspect() == aspect
        assert display.ax_.get_legend() is None  # no examples, no entries for them
