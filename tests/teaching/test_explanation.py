"""``explain`` tells the step that ``fit`` makes, number for number, and where its source is."""

from __future__ import annotations

import inspect
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from helpers import OPTIMIZERS, OUTPUTS, draw_targets

import xpnet
from xpnet.core.activations import identity as IDENTITY

SIZES = {"sigmoid": [3, 4, 5, 2], "softmax": [3, 4, 5, 3], "identity": [3, 4, 5, 1]}


def case(output, m=7):
    rng = np.random.default_rng(1)
    X, Y = rng.normal(size=(3, m)), draw_targets(output, SIZES[output][-1], m, rng)
    return X, Y, rng.uniform(0.5, 2.0, m)


@pytest.mark.parametrize("penalties", [{}, {"l2": 0.3}, {"l2": 0.1, "l1": 0.2}])
@pytest.mark.parametrize("output", OUTPUTS)
def test_its_numbers_are_those_of_the_engine(lib, output, penalties):
    X, Y, w = map(lib.asarray, case(output))
    net = xpnet.DeepNet(SIZES[output], ["tanh", "relu"], output, dtype="float64", **lib.options)
    before = lib.host(net.parameters)
    given = penalties | {"sample_weight": w if penalties else None}
    told = xpnet.explain(net, X, Y, xpnet.Adam(0.1), **given)
    close = {"rtol": 1e-12, "atol": 1e-14}
    np.testing.assert_allclose(told["J"], net.cost(X, Y, **given), **close)
    for l, layer in enumerate(lib.host(net.gradients(X, Y, **given)), 1):
        for name, expected in zip("Wb", layer, strict=True):
            np.testing.assert_allclose(told[f"d{name}[{l}]"], expected, **close)
    np.testing.assert_allclose(told["A[3]"], lib.to_numpy(net.predict_proba(X)), **close)
    for old, now in zip(before, lib.host(net.parameters), strict=True):
        np.testing.assert_array_equal(old[0], now[0])
    net.fit(X, Y, xpnet.Adam(0.1), epochs=1, batch_size=None, **given)
    for l, layer in enumerate(lib.host(net.parameters), 1):
        for name, expected in zip("Wb", layer, strict=True):
            np.testing.assert_allclose(told[f"{name}[{l}]"], expected, **close)


def test_every_symbol_in_order():
    net = xpnet.DeepNet([3, 4, 1], "tanh")
    steps = xpnet.explain(net, np.ones((3, 5)), np.ones((1, 5)), l2=0.1).steps
    inside = "A[0] Y s W[1] b[1] W[2] b[2] Z[1] A[1] Z[2] A[2] J dZ[2] dW[2] db[2] dA[1] dZ[1]"
    after = "dW[1] db[1] J dW[1] dW[2] scalars W[1] b[1] W[2] b[2]"
    assert " ".join(step.symbol for step in steps) == f"{inside} {after}"
    shapes = {step.symbol: step.value.shape for step in steps}
    assert (shapes["Z[1]"], shapes["dW[2]"], shapes["db[1]"]) == ((4, 5), (1, 4), (4, 1))
    formulas = [step.formula for step in steps if step.symbol == "dW[1]"]
    assert formulas == ["dZ[1] A[0]^T", "dW[1] + l2 W[1]"]


@pytest.mark.parametrize(
    ("symbol", "calls", "computes"),
    [
        ("Z[1]", "ops.affine(", "return W @ A + b"),
        ("A[1]", "ops.activate(", "xp.tanh(z)"),
        ("Y", "ops.gather(", "def gather("),  # which returns in three places
        ("dZ[2]", "ops.output(", "return cost, s * (loss.predict(Z, xp=self.xp) - Y)"),
        ("dZ[1]", "ops.slope(", "1.0 - a * a"),
        ("dW[2]", "ops.weight_gradient(", "return dZ @ A_prev.T"),
        ("W[1]", "ops.update(", "return theta - rate * gradient, moments"),
    ],
)
def test_the_source_is_where_it_says(symbol, calls, computes):
    told = xpnet.explain(xpnet.DeepNet([2, 3, 1], "tanh"), np.eye(2), np.array([[0, 1]]))
    source = [step.source for step in told.steps if step.symbol == symbol][-1]
    lines = []
    for place in source:
        file, _, line = place.partition(":")
        path = Path(xpnet.__file__).parent / file
        lines.append(path.read_text("utf-8").splitlines()[int(line) - 1])
    assert calls in lines[0]
    assert computes in lines[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimiser_tells_its_rule_and_state(name):
    optimizer = OPTIMIZERS[name][0]
    told = xpnet.explain(xpnet.DeepNet([2, 1]), np.eye(2), np.array([[0, 1]]), optimizer)
    moments = [step for step in told.steps if step.symbol.startswith("moment ")]
    assert len(moments) == optimizer.n_moments
    rules = told.steps[-2].formula.removeprefix("theta, moments := ").split(", or ")
    source = inspect.getsource(type(optimizer).update)
    assert [f"return {rule}" in source for rule in rules] == [True] * source.count("return ")


def test_own_functions_need_no_source():
    own = xpnet.Activation("own", np.tanh, eval("lambda a, xp: 1 - a * a"))
    own = xpnet.Activation("own", lambda z, *, xp: np.tanh(z), own.slope)
    told = xpnet.explain(xpnet.DeepNet([2, 3, 1], own), np.eye(2), np.array([[0, 1]]))
    assert "test_explanation.py" in str(told)


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.seen = []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)


def test_it_prints_as_text_and_as_html():
    net = xpnet.DeepNet([2, 3, 1], xpnet.Activation("<b>&", IDENTITY.value, IDENTITY.slope))
    told = xpnet.explain(net, np.eye(2), np.array([[0, 1]]))
    assert re.search(r"Z\[1\] +\(3, 2\) +W\[1\] A\[0\] \+ b\[1\] ", str(told))
    assert repr(told) == str(told)
    tags = Tags()
    tags.feed(told._repr_html_())
    assert tags.seen.count("tr") == len(told.steps) + 1
    assert tags.seen.count("b") == 1  # the title: the name is escaped
    assert not re.search(r"color:(?!inherit)", told._repr_html_())


def test_what_it_cannot_tell():
    net = xpnet.DeepNet([2, 1])
    with pytest.raises(KeyError, match=r"'dW\[9\]': this step has A\[0\], Y"):
        xpnet.explain(net, np.eye(2), np.array([[0, 1]]))["dW[9]"]
    with pytest.raises(TypeError, match="optimizer="):
        xpnet.explain(net, np.eye(2), np.array([[0, 1]]), "adam")
    with pytest.raises(ValueError, match="l2=-1"):
        xpnet.explain(net, np.eye(2), np.array([[0, 1]]), l2=-1)
