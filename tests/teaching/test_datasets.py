"""The invented data: reproducible, learnable, and as the docstrings describe them."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

import xpnet


def test_the_flower():
    X, y = xpnet.load_planar()
    assert (X.shape, X.dtype.name, y.shape, y.dtype.name) == ((400, 2), "float64", (400,), "int64")
    assert np.bincount(y).tolist() == [200, 200]
    again, _ = xpnet.load_planar(seed=0)
    other, _ = xpnet.load_planar(seed=1)
    np.testing.assert_array_equal(X, again)
    assert np.any(other != X)


def test_the_flower_needs_a_hidden_layer():
    X, y = xpnet.load_planar()
    line = xpnet.logistic_regression(2)
    line.fit(X.T, y, epochs=200)
    net = xpnet.DeepNet([2, 12, 1], "tanh")
    net.fit(X.T, y, xpnet.Adam(0.02), epochs=200)
    new, labels = xpnet.load_planar(seed=1)
    assert line.score(new.T, labels) < 0.65
    assert net.score(new.T, labels) > 0.85


def test_the_houses(tmp_path):
    pandas = pytest.importorskip("pandas")
    houses = xpnet.load_houses()
    assert houses.shape == (500, 6)
    pandas.testing.assert_frame_equal(houses, xpnet.load_houses(seed=0))
    missing = houses.isna().mean()
    assert set(missing.index[missing > 0]) == {"age_years", "heating"}
    assert missing.max() < 0.15
    assert houses["heating"].nunique() == 4
    assert houses["price_thousands"].min() > 0
    (tmp_path / "houses.csv").write_text(houses.to_csv(index=False), "utf-8")
    command = [sys.executable, "-m", "xpnet", "train", "houses.csv", "--target", "price_thousands"]
    if all(map(find_spec, ("typer", "pyarrow"))):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        assert float(re.search(r"validation R² +│ +(\S+)", done.stdout)[1]) > 0.85
    linear = houses.select_dtypes("number").corr()["price_thousands"]
    assert linear["area_m2"] > 0.4


@pytest.mark.parametrize("load", ["load_planar", "load_houses"])
def test_bad_sizes(load):
    with pytest.raises(ValueError, match="m=0"):
        getattr(xpnet, load)(0)


def test_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="load_houses needs pandas: python -m pip install pandas"):
        xpnet.load_houses()
