"""Nets and histories in notebooks: well-formed, escaped, small, and showing the right numbers."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

import xpnet
from xpnet.training.notebook import curve_svg, history_html, net_html, spans_decades

SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """Reads HTML; every tag must be closed in its order. ``rows`` are the texts of cells."""

    def __init__(self, html):
        super().__init__()
        self.open, self.rows, self.tags, self.text = [], [], set(), ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attributes):
        self.tags.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.text += data
        if self.open[-1:] in (["th"], ["td"]):
            self.rows[-1][-1] += data


def history(n, *, validation=True, seconds=1.5):
    cost = list(2.0 * 0.5 ** np.arange(n))
    return xpnet.History(cost, [c + 0.1 for c in cost] if validation else [], [], seconds)


def lines(svg):
    """The curves of an SVG picture: arrays (points, 2) of pixels, by colour."""
    found = {}
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if path.get("stroke") != "currentColor" and "h" not in path.get("d"):
            points = re.findall(r"[ML](\S+) ([^L]+)", path.get("d"))
            found.setdefault(path.get("stroke"), []).append(np.array(points, dtype=float))
    return list(found.values())


# -- nets --------------------------------------------------------------------------------
def test_table_of_layers():
    net = xpnet.DeepNet([64, 128, 32, 10], hidden=["relu", "tanh"], output="softmax")
    page = Page(net_html(net))
    assert page.rows == [
        ["layer", "W", "b", "activation", "parameters"],
        ["1", "(128, 64)", "(128, 1)", "relu", "8,320"],
        ["2", "(32, 128)", "(32, 1)", "tanh", "4,128"],
        ["3", "(10, 32)", "(10, 1)", "softmax", "330"],
        ["", "", "", "total", "12,778"],
    ]
    assert f"{net.n_parameters:,}" == "12,778"
    assert "64 inputs, not placed yet" in page.text


def test_place_of_a_net(lib):
    net = xpnet.DeepNet([3, 1], dtype="float64", **lib.options)
    assert f"{net.backend}, float64" in Page(net_html(net)).text


def test_names_are_escaped():
    for name in ("<script>alert(1)</script>", '"&<b>', "</td>"):
        net = xpnet.DeepNet([2, 3, 1], hidden=xpnet.Activation(name, np.tanh, np.tanh))
        page = Page(net_html(net))
        assert page.rows[1][3] == name
        assert not page.tags & {"script", "b>"}


def test_very_deep_nets_are_shown_by_both_ends():
    html = net_html(xpnet.DeepNet([5] * 1001))
    rows = Page(html).rows
    assert [rows[1][0], rows[-2][0]] == ["1", "1000"]
    shown = [row for row in rows if row[0].isdigit()]
    assert f"… {1000 - len(shown)} more layers …" in Page(html).text
    assert len(html) < 5_000


# -- histories ---------------------------------------------------------------------------
def test_last_epochs_of_a_history():
    h = history(7)
    h.validation_accuracy = [0.1 * i for i in range(7)]
    page = Page(history_html(h))
    assert page.rows[0] == ["epoch", "cost", "validation cost", "validation accuracy"]
    assert [row[0] for row in page.rows[1:]] == ["3", "4", "5", "6", "7"]
    assert page.rows[-1][1:] == [f"{x[-1]:.5g}" for x in (h.cost, h.validation_cost,
                                                          h.validation_accuracy)]  # fmt: skip
    assert "7 epochs, 1.5 s" in page.text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.0123 s"), (59.9, "59.9 s"), (61, "1 min 1 s"),
                          (3599.8, "1 h 0 min"), (7325, "2 h 2 min")]
)  # fmt: skip
def test_seconds(seconds, text):
    assert f"3 epochs, {text}" in Page(history_html(history(3, seconds=seconds))).text


def test_short_histories_have_no_curve():
    assert "0 epochs" in Page(history_html(xpnet.History())).text
    one = Page(history_html(history(1)))
    assert one.rows[1][0] == "1"
    assert "svg" not in one.tags
    assert "svg" in Page(history_html(history(2))).tags


def test_curve_goes_through_the_costs():
    cost, validation = [4.0, 3.0, 2.0], [3.0, 3.5, 4.0]
    (drawn,), (other,) = lines(curve_svg(cost, validation))
    left, right, top, bottom = drawn[0, 0], drawn[-1, 0], drawn[0, 1], drawn[-1, 1]
    assert left < right
    assert top < bottom  # pixels are counted from the top
    for curve, points in ((cost, drawn), (validation, other)):
        np.testing.assert_allclose(points[:, 0], np.linspace(left, right, 3), atol=0.06)
        height = bottom + (top - bottom) * (np.array(curve) - 2.0) / 2.0
        np.testing.assert_allclose(points[:, 1], height, atol=0.06)


def test_wide_ranges_are_logarithmic():
    ((drawn,),) = lines(curve_svg([100.0, 10.0, 1.0]))
    np.testing.assert_allclose(np.diff(drawn[:, 1], n=2), 0, atol=0.11)  # on a straight line
    labels = [
        t.text for t in ElementTree.fromstring(curve_svg([100.0, 10.0, 1.0])).iter(f"{SVG}text")
    ]
    assert {"1", "10", "100"} <= set(labels)


def test_a_cost_with_a_penalty_says_so():
    h = history(3)
    h.penalized = True
    page = history_html(h)
    assert Page(page).rows[0] == ["epoch", "cost (with penalty)", "validation cost"]
    svg = page[page.index("<svg") : page.index("</svg>") + 6]
    key = [t for t in ElementTree.fromstring(svg).iter(f"{SVG}text") if "cost" in t.text]
    assert [t.text for t in key] == ["cost (with penalty)", "validation cost"]
    # the second begins where the first has ended, at about 7 pixels a letter
    assert float(key[1].get("x")) - float(key[0].get("x")) > 7 * len(key[0].text)


def test_when_a_logarithm_helps():
    assert spans_decades([1.0, 11.0, float("nan")])
    assert not spans_decades([1.0, 9.0])
    assert not spans_decades([0.0, 9.0])
    assert not spans_decades([-1.0, 100.0])
    assert not spans_decades([])


def test_ten_thousand_epochs_are_small_and_keep_their_extremes():
    rng = np.random.default_rng(0)
    cost = 1.0 + rng.random(10_000)
    cost[5_432], cost[7_654] = 5.0, 0.6
    h = xpnet.History(list(cost), list(cost + 0.5), [0.5] * 10_000, 12.0)
    assert len(history_html(h)) < 20_000
    ((drawn,),) = lines(curve_svg(h.cost))
    left, right = drawn[:, 0].min(), drawn[:, 0].max()
    for epoch, end in ((5_432, drawn[:, 1].min()), (7_654, drawn[:, 1].max())):
        at = drawn[drawn[:, 1] == end, 0]
        np.testing.assert_allclose(at, left + (right - left) * epoch / 9_999, atol=0.2)


@pytest.mark.parametrize("n", [150, 151, 300, 10_000])
def test_gaps_break_the_line_and_stay_small(n):
    cost = [float("nan") if i % 2 else 1.0 + i for i in range(n)]
    h = xpnet.History(cost, cost[::-1], [], 1.0)
    assert len(history_html(h)) < 20_000
    Page(history_html(h))
    assert "nan" not in curve_svg(cost)
    if n == 150:
        assert len(lines(curve_svg(cost))[0]) == 75


@pytest.mark.parametrize(
    "cost",
    [
        [0.0, 0.0],
        [1.0, 1.0 + 1e-16, 1.0],
        [5e-324, 0.0],
        [5e-324, 1.7e308],
        [1e-300, 1e-308],
        [-1.7e308, 1.7e308],
        [-3.0, -2.0],
        [float("inf"), 1.0],
        [float("nan")] * 3,
        [12345.6, 12345.7],
    ],
)
def test_odd_costs_are_drawn_or_left_out(cost):
    svg = curve_svg(cost)
    Page(history_html(xpnet.History(cost)))
    if svg:
        numbers = re.findall(r"[-\d.e]+|nan|inf", " ".join(re.findall(r' d="([^"]*)"', svg)))
        assert not {"nan", "inf"} & set(numbers)
        assert 1 <= svg.count('text-anchor="end"') - 1 <= 6
    else:
        assert not np.all(np.isfinite(cost)) or cost == [-1.7e308, 1.7e308]


def test_nothing_is_loaded_or_run():
    html = net_html(xpnet.DeepNet([2, 1])) + history_html(history(20))
    for word in ("<script", "href", "src=", "url(", "@import", "onload"):
        assert word not in html
    addresses = re.findall(r"https?://[^\"]*", html)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}


def test_no_fixed_light_or_dark_colours():
    root = ElementTree.fromstring(curve_svg(history(20).cost))
    assert root.get("fill") == "currentColor"
    assert all(text.get("fill") is None for text in root.iter(f"{SVG}text"))
