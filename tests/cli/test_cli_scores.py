"""Scores, their standard errors and baselines; classes that a model does not know."""

import json

import cli_helpers  # noqa: F401 - skips these tests where the command line cannot be imported
import numpy as np
import pytest

from xpnet.cli.scores import Tally, as_text
from xpnet.data.standardizer import Standardizer


class Says:
    """A net with given answers (m,), which come as the only feature."""

    def __init__(self, n_y=1):
        self.sizes = (1, n_y)

    def cost(self, X, Y):
        return 2.0

    def predict(self, X):
        return X


def figures(answers, y, k=None, blocks=7, targets=None):
    """Those of the tally over so many blocks, for k classes or a regression."""
    targets = targets or (Standardizer.identity(1) if k is None else None)
    tally = Tally(Says(k or 1), targets)
    for a, b in zip(np.array_split(answers, blocks), np.array_split(y, blocks), strict=True):
        tally.add(a[None], b if k else b[None])
    return tally.figures()


def draw(rng, case, m=500):
    """Answers, true answers and the number of classes."""
    if case == "classes":
        y = rng.choice(3, m, p=[0.7, 0.2, 0.1])
        return np.where(rng.random(m) < 0.6 + 0.1 * y, y, rng.integers(0, 3, m)), y, 3
    y = 1e6 + rng.gamma(2.0, 5.0, m)
    return y + rng.normal(size=m) * (0.2 * (y - 1e6) + 1), y, None


def test_scores_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    answers, y, k = draw(rng, "classes")
    found = figures(answers, y, k)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, answers), rel=1e-12)
    balanced = metrics.balanced_accuracy_score(y, answers)
    assert found["balanced_accuracy"] == pytest.approx(balanced, rel=1e-12)
    assert found["baseline_accuracy"] == pytest.approx(np.mean(y == 0), rel=1e-12)
    answers, y, _ = draw(rng, "numbers")
    units = Standardizer(np.array([0.0]), np.array([8.0]))
    found = figures(answers / 8, y / 8, targets=units)
    assert found["r2"] == pytest.approx(metrics.r2_score(y, answers), rel=1e-7)
    rmse = metrics.root_mean_squared_error(y, answers)
    assert found["rmse"] == pytest.approx(rmse, rel=1e-9)
    assert found["baseline_rmse"] == pytest.approx(np.std(y), rel=1e-7)


@pytest.mark.parametrize("case", ["classes", "numbers"])
def test_standard_errors_are_those_of_the_bootstrap(case):
    rng = np.random.default_rng(1)
    answers, y, k = draw(rng, case)
    found, again = figures(answers, y, k), []
    for _ in range(1000):
        i = rng.integers(0, len(y), len(y))
        again.append(figures(answers[i], y[i], k, blocks=1))
    names = [name.removesuffix("_se") for name in found if name.endswith("_se")]
    assert names == (["accuracy", "balanced_accuracy"] if k else ["r2"])
    for name in names:
        spread = np.std([scores[name] for scores in again])
        assert found[f"{name}_se"] == pytest.approx(spread, rel=0.15)


def test_scores_of_few_examples():
    y = np.array([3.0, 3.0, 3.0])
    flat = figures(y + [1, 0, 0], y, blocks=1)
    assert np.isnan([flat["r2"], flat["r2_se"]]).all()
    assert (flat["rmse"], flat["baseline_rmse"]) == (pytest.approx(3**-0.5), 0.0)
    one = figures(np.array([1]), np.array([0]), 3, blocks=1)
    assert (one["accuracy"], one["balanced_accuracy"], one["baseline_accuracy"]) == (0, 0, 1)
    assert as_text(one)["accuracy"] == "0.0000 ±0.0000"


def test_classes_that_the_model_does_not_know(ok, run, here, blobs):
    metrics = pytest.importorskip("sklearn.metrics")
    ok("train blobs.csv --target side --epochs 20 --out m")
    lines = (here / "blobs.csv").read_text().splitlines()
    lines[1:4] = [f"{line.rpartition(',')[0]},up" for line in lines[1:4]]
    lines[70] = f"{lines[70].rpartition(',')[0]},down"
    (here / "new.csv").write_text("\n".join(lines))
    result = run("evaluate m new.csv --json")
    (said,) = result.stderr.splitlines()
    assert said == (
        "xpnet: warning: new.csv: 4 of 120 examples are of classes that the model does not know, "
        "and count as wrong: 'up' (3), 'down' (1)"
    )
    found = json.loads(result.stdout)
    y, answers = [line.rpartition(",")[2] for line in lines[1:]], ["left"] * 60 + ["right"] * 60
    assert found["unseen"] == {"up": 3, "down": 1}
    assert found["examples"] == 120
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(y, answers))
    balanced = metrics.balanced_accuracy_score(y, answers)
    assert found["balanced_accuracy"] == pytest.approx(balanced)
    assert np.sum(found["confusion"]) == 116
    assert json.loads(ok("evaluate m blobs.csv --json"))["unseen"] == {}
