"""The rule by which labels are classes or numbers."""

import numpy as np
import pytest

from xpnet.data.task import Labels


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (np.array(["a", "b"]), "classification"),
        (np.array([True, False]), "classification"),
        (np.array([0, 1, 5, 9] * 20), "classification"),
        (np.array([0, 1, 5, 9] * 20)[:-1], "regression"),  # 79 examples for 4 values
        (np.array([3, 7]), "classification"),
        (np.arange(101).repeat(50), "regression"),
        (np.arange(100).repeat(50), "classification"),
        (np.array([0.0, 1.0]), "classification"),  # as in a .csv file
        (np.arange(101.0).repeat(50), "regression"),
        (np.array([0, 2.0**60]), "regression"),  # no longer exact
        (np.array([0.5, 1.0]), "regression"),
    ],
)
def test_task(y, task):
    assert Labels.of(y).task == task
