"""Linear and logistic models are solved; classes that weigh the same; how regressions start."""

import json
import signal

import numpy as np
import pytest
from cli_helpers import error, same_model

import xpnet
from xpnet.files.model import load_model


@pytest.fixture
def table(here):
    """Writes a table of scikit-learn's to t.npz; returns standardised X and y."""
    datasets = pytest.importorskip("sklearn.datasets")

    def write(name):
        X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
        np.savez(here / "t.npz", X=X, y=y)
        return (X - X.mean(axis=0)) / X.std(axis=0), y

    return write


SOLVE = "--dtype float64 --validation 0 --out m"


def coefficients():
    ((W, _),) = load_model("m").parameters
    return W


# -- the least cost ----------------------------------------------------------------------
@pytest.mark.parametrize("weight", ["", "--class-weight balanced"])
@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_logistic_models_are_scikit_learns(ok, table, name, weight):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = table(name)
    ok(f"train t.npz --model logistic {weight} {SOLVE}")
    like = "balanced" if weight else None
    fitted = linear_model.LogisticRegression(max_iter=10_000, tol=1e-9, class_weight=like).fit(X, y)
    np.testing.assert_allclose(coefficients(), fitted.coef_, atol=1e-3)


@pytest.mark.parametrize("penalty", ["", "--l2 0", "--l2 0 --l1 0.1"])
def test_linear_models_are_scikit_learns(ok, table, penalty):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = table("diabetes")
    ok(f"train t.npz --model linear {penalty} {SOLVE}")
    others = {
        "": linear_model.Ridge(alpha=1.0),
        "--l2 0": linear_model.LinearRegression(),
        "--l2 0 --l1 0.1": linear_model.Lasso(alpha=0.1, tol=1e-9),
    }
    fitted = others[penalty].fit(X, (y - y.mean()) / y.std())
    np.testing.assert_allclose(coefficients()[0], fitted.coef_, atol=1e-4)
    assert np.array_equal(coefficients()[0] == 0, fitted.coef_ == 0)


def test_a_penalty_leaves_the_bias(ok, table):
    _, y = table("breast_cancer")
    ok(f"train t.npz --model logistic --l1 9 {SOLVE}")
    ((W, b),) = load_model("m").parameters
    assert not W.any()
    assert b.item() == pytest.approx(np.log(y.mean() / (1 - y.mean())), rel=1e-4)


def test_every_backend_solves_the_same(ok, table, lib):
    table("wine")
    options = f"--backend {lib.name}" + (f" --device {lib.device}" if lib.device else "")
    ok(f"train t.npz --model logistic {SOLVE} {options}")
    found = coefficients()
    ok(f"train t.npz --model logistic {SOLVE}")
    np.testing.assert_allclose(found, coefficients(), atol=1e-4)


# -- when ----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "option",
    ["--optimizer adam", "--lr 0.1", "--epochs 2", "--batch-size 64", "--schedule cosine",
     "--clip-norm 1", "--early-stopping 50", "--checkpoint-dir ck", "--stream"],
)  # fmt: skip
def test_what_asks_for_minibatches(ok, plane, option):
    assert "linear: 2-1, adam, learning rate" in ok(f"train plane.npz --model linear {option}")
    assert "linear: 2-1, lbfgs, l2 0.00625\n" in ok("train plane.npz --model linear --l1 0")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--optimizer lbfgs", "'--optimizer': lbfgs is for linear and logistic models in memory"),
        ("--optimizer lbfgs --model linear --stream", "lbfgs is for linear and logistic models in"),
        ("--optimizer lbfgs --model linear --lr 1", "'--lr': --optimizer lbfgs has none"),
        ("--optimizer lbfgs --model linear --batch-size 9", "'--batch-size': --optimizer lbfgs"),
        ("--model linear --resume --run-dir r", "'--resume': a linear model is solved in one go"),
        ("--model linear --class-weight balanced", "'--class-weight': 'y' holds no classes"),
        (
            "--task classification --class-weight balanced --stream",
            "plane.npz is streamed, without",
        ),
        ("--class-weight even", "'--class-weight': 'even' is not"),
    ],
)
def test_refusals(run, here, plane, options, said):
    X, y = plane
    np.savez("plane.npz", X=X, y=y > np.median(y) if "classification" in options else y)
    assert said in error(run(f"train plane.npz {options}"), 2)
    assert not (here / "model.safetensors").exists()


# -- the rest of a run ---------------------------------------------------------------------
def test_a_run_folder_of_what_is_solved(ok, run, here, plane):
    found = json.loads(ok("train plane.npz --model linear --run-dir r --json"))
    assert found["validation"]["r2"] > 0.999
    assert found["epochs"] == len(found["history"]["validation_cost"])
    assert {path.name for path in (here / "r").iterdir()} >= {"config.toml", "log.csv"}
    assert not (here / "r" / "checkpoints").exists()
    costs = [float(line.split(",")[4]) for line in (here / "r/log.csv").read_text().split()[1:]]
    assert costs == found["history"]["cost"]
    assert costs == sorted(costs, reverse=True)
    ok("train --config r/config.toml --out again")
    assert same_model("r/model.safetensors", "again")
    assert "'--resume': a linear model is solved in one go" in error(
        run("train --run-dir r --resume"), 2
    )


def test_ctrl_c_keeps_what_is_solved_so_far(run, here, plane, monkeypatch):
    from xpnet.cli.interrupt import Interrupt

    original = Interrupt.on_epoch_end

    def on_epoch_end(interrupt, net, progress):
        if progress.epoch == 2:
            signal.raise_signal(signal.SIGINT)
        return original(interrupt, net, progress)

    monkeypatch.setattr(Interrupt, "on_epoch_end", on_epoch_end)
    result = run("train plane.npz --model linear --l2 1")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[1:] == [
        "xpnet: stopped by Ctrl-C after epoch 2 of 5000",
    ]
    assert load_model(here / "model.safetensors").parameters[0][0].any()


# -- nets ----------------------------------------------------------------------------------
def test_a_regression_begins_with_the_mean(ok, plane, here):
    ok("train plane.npz --hidden 4 --epochs 1 --run-dir r")
    first = xpnet.load(here / "r/checkpoints/epoch-000000.safetensors").parameters
    assert first[0][0].any()
    assert not first[1][0].any()
    np.savez("sides.npz", X=plane[0], y=plane[1] > np.median(plane[1]))
    ok("train sides.npz --hidden 4 --epochs 1 --run-dir s")
    assert xpnet.load(here / "s/checkpoints/epoch-000000.safetensors").parameters[1][0].any()


def test_classes_weigh_the_same_in_minibatches(ok, here):
    rng = np.random.default_rng(0)
    y = np.arange(600) % 20 == 0
    np.savez("t.npz", X=rng.normal(size=(600, 2)) + y[:, None], y=y)
    scores = [
        json.loads(ok(f"train t.npz --epochs 20 --hidden 8 --json {weight}"))["validation"]
        for weight in ("", "--class-weight balanced")
    ]
    assert scores[0]["balanced_accuracy"] < 0.65 < 0.7 < scores[1]["balanced_accuracy"]
    assert scores[1]["accuracy"] < scores[0]["accuracy"]
