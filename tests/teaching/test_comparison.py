"""``compare`` finds the first quantity in which two libraries differ, and counts ulps."""

from __future__ import annotations

import re

import numpy as np
import pytest

import xpnet
from xpnet.teaching import comparison
from xpnet.teaching.comparison import ulps


def problem(dtype="float64", hidden="tanh"):
    rng = np.random.default_rng(0)
    net = xpnet.DeepNet([3, 4, 2], hidden, dtype=dtype)
    return net, rng.normal(size=(3, 6)), rng.integers(0, 2, size=(2, 6))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ulps(dtype):
    up = np.nextafter(np.ones(1, dtype), 2, dtype=dtype)[0]
    tiny = np.finfo(dtype).smallest_subnormal
    nan, inf = np.nan, np.inf
    a = np.array([1, 1, up, -1, 0.0, -tiny, nan, inf, nan], dtype)
    b = np.array([1, up, 1, -up, -0.0, tiny, nan, inf, 1], dtype)
    assert ulps(a, b).tolist()[:-1] == [0, 1, 1, 1, 0, 2, 0, 0]
    assert ulps(a, b)[-1] > 1e6
    assert ulps(-np.array([inf], dtype), np.array([inf], dtype))[0] > 1e9


def test_frames_and_masked_arrays_are_read_as_by_fit(monkeypatch):
    frames = pytest.importorskip("pandas")
    net, X, Y = problem()
    with pytest.raises(ValueError, match="X holds NaN"):
        xpnet.compare(net, np.ma.array(X, mask=X > 1), Y, ["numpy", "numpy"])
    net.data["features"] = list("abc")
    turned, taken = frames.DataFrame(X, list("abc")).loc[list("cba")], []
    told_steps = comparison.told_steps

    def spy(there, data, *rest):
        taken.append(data[0])
        return told_steps(there, data, *rest)

    monkeypatch.setattr(comparison, "told_steps", spy)
    xpnet.compare(net, turned, Y, ["numpy", "numpy"], steps=1)
    assert all(np.array_equal(x, X) for x in taken)


def test_a_library_agrees_with_itself(lib):
    net, X, Y = problem()
    found = xpnet.compare(net, X, Y, [lib.name, lib.name], steps=2)
    assert found.first == {f"{lib.name} (2)": None}
    assert "agree to the last bit" in str(found)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_library_stays_within_rounding(lib, dtype):
    net, X, Y = problem(dtype)
    found = xpnet.compare(
        net, X, Y, ["numpy", lib.xp if lib.name == "torch" else lib.name], steps=2
    )
    for difference in next(iter(found.differences.values())):
        assert abs(difference.one - difference.other) < 1e3 * np.finfo(dtype).eps
    assert dtype in found.title


def test_the_first_difference_is_named(lib):
    """A unit that is one ulp off on every library but NumPy."""

    def value(z, *, xp):
        a = 0.5 * z
        return a if isinstance(a, np.ndarray) else a + 2.0**-52 * xp.abs(a)

    own = xpnet.Activation("own", value, lambda a, *, xp: 0.5 * xp.ones_like(a))
    net = xpnet.DeepNet([1, 1, 1], own, "identity", dtype="float64")
    net.parameters = [(np.ones((1, 1)), np.zeros((1, 1)))] * 2
    found = xpnet.compare(net, np.ones((1, 1)), np.zeros((1, 1)), ["numpy", lib.name], steps=1)
    (first,) = found.first.values()
    if lib.name == "numpy":
        assert first is None
    else:
        assert (first.step, first.symbol, first.ulp, first.entry) == (1, "A[1]", 1, (0, 0))
        assert first.one == 0.5
        assert re.search(rf"{lib.name} +first difference +1 +A\[1\] +1 ", str(found))
        assert "A[1]" in found._repr_html_()


def test_a_missing_library_has_one_line():
    net, X, Y = problem()
    names = [name for name, info in xpnet.backends().items() if not info.usable]
    if not names:
        pytest.skip("every library is installed")
    found = xpnet.compare(net, X, Y, ["numpy", names[0], "numpy"])
    assert list(found.missing) == [names[0]]
    assert f"{names[0]} is left out: " in found.notes[0]
    assert "\n" not in found.notes[0]
    for one in (["numpy", names[0]], "numpy", [], np.array(["numpy"])):
        with pytest.raises(ValueError, match="two libraries are needed to compare"):
            xpnet.compare(net, X, Y, one)


def test_all_usable_libraries_by_default(monkeypatch):
    usable = {"numpy": xpnet.backends()["numpy"], "array_api_strict": xpnet.backends()["numpy"]}
    pytest.importorskip("array_api_strict")
    monkeypatch.setattr("xpnet.teaching.comparison.installed", lambda: usable)
    assert list(xpnet.compare(*problem()).differences) == ["array_api_strict"]
