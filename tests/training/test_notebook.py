"""Tables of nets and histories: well-formed, escaped, small, and showing the right numbers."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import xpnet
from xpnet.training.notebook import history_html, net_html


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
    assert repr(h) in page.text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0123, "0.0123 s"), (59.9, "59.9 s"), (61, "1 min 1 s"),
                          (3599.8, "1 h 0 min"), (7325, "2 h 2 min")]
)  # fmt: skip
def test_seconds(seconds, text):
    assert repr(history(3, validation=False, seconds=seconds)).endswith(f"cost 0.5, {text}")


def test_a_history_prints_in_one_line():
    h = xpnet.History([2.0, 1.0, 0.5], [3.0, 1.25, np.nan], [0.5, 0.75, np.nan], 1.5)
    assert h.best_epoch == 2
    assert repr(h) == (
        "History: 3 epochs, cost 0.5, best validation cost 1.25 (epoch 2), "
        "best validation accuracy 0.75, 1.5 s"
    )
    assert repr(xpnet.History()) == "History: 0 epochs, 0 s"
    assert xpnet.History([1.0]).best_epoch is None
    assert [line.split() for line in h.table().splitlines()[1:]] == [
        ["1", "2", "3", "0.5"], ["2", "1", "1.25", "0.75"], ["3", "0.5", "nan", "nan"]
    ]  # fmt: skip


def test_short_histories():
    assert "0 epochs" in Page(history_html(xpnet.History())).text
    assert Page(history_html(history(1))).rows[1][0] == "1"


def test_a_cost_with_a_penalty_says_so():
    h = history(3)
    h.penalized = True
    assert Page(history_html(h)).rows[0] == ["epoch", "cost (with penalty)", "validation cost"]


def test_ten_thousand_epochs_are_small():
    cost = [1.0] * 10_000
    assert len(history_html(xpnet.History(cost, cost, [0.5] * 10_000, 12.0))) < 2_000


def test_nothing_is_loaded_or_run():
    html = net_html(xpnet.DeepNet([2, 1])) + history_html(history(20))
    for word in ("<script", "href", "src=", "url(", "@import", "onload", "http"):
        assert word not in html


def test_no_fixed_light_or_dark_colours():
    html = net_html(xpnet.DeepNet([2, 1])) + history_html(history(20))
    colours = re.findall(r"(?:color|background|solid)[: ]([^;}]*)", html)
    assert set(colours) == {"inherit", "none", "currentColor"}
