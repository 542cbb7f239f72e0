"""No test of pictures leaves a figure behind."""

import pytest


@pytest.fixture(autouse=True)
def no_figure_is_left():
    plt = pytest.importorskip("matplotlib.pyplot")
    assert plt.get_fignums() == []
    yield
    plt.close("all")
