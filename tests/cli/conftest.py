"""What the tests of the command line share: an empty folder, a runner, small tables."""

import signal

import numpy as np
import pytest

from xpnet import DeepNet


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in, on something that is 80 columns wide and no terminal."""
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    # `--dtype float64` sets this one; so it is put back after the test.
    monkeypatch.setenv("JAX_ENABLE_X64", "1")
    monkeypatch.delenv("JAX_ENABLE_X64")
    return tmp_path


@pytest.fixture(scope="session", autouse=True)
def compiled():
    """The first compile on a machine is told on stderr: not in the middle of a test."""
    for dtype in ("float32", "float64"):
        DeepNet([1, 1], dtype=dtype).fit(np.ones((1, 2)), np.ones(2), epochs=1)


@pytest.fixture
def run(here):
    """Run the command line on the words of a string."""
    from typer.testing import CliRunner

    from xpnet.cli.commands import app

    def run(words: str):
        return CliRunner().invoke(app, words.split())

    return run


@pytest.fixture
def ok(run):
    """The same, for what must succeed: returns stdout."""

    def ok(words: str) -> str:
        result = run(words)
        assert result.exit_code == 0, result.output
        return result.stdout

    return ok


@pytest.fixture
def blobs(here):
    """Two clouds of points in blobs.csv with text labels, easy to tell apart."""
    from cli_helpers import write_csv

    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(60, 2)) - 3, rng.normal(size=(60, 2)) + 3]).round(3)
    X = np.concatenate([X, np.full((120, 1), 7.0)], axis=1)  # and a constant column
    write_csv(here / "blobs.csv", X, ["left"] * 60 + ["right"] * 60, "a,b,c,side")
    return X


@pytest.fixture
def plane(here):
    """y = 100 + 3 a - 2 b and a little noise in plane.npz."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)) * [1, 50] + [0, 1000]
    y = 100 + X @ [3, -2] + rng.normal(size=200) / 10
    np.savez(here / "plane.npz", X=X, y=y)
    return X, y


@pytest.fixture
def stop_after(monkeypatch):
    """Presses Ctrl-C after a step, in the middle of an epoch."""
    from xpnet.cli.interrupt import Interrupt

    original = Interrupt.on_steps_end

    def stop_after(step: int | None) -> None:
        def on_steps_end(interrupt, net, progress):
            if step is not None and progress.step >= step:
                signal.raise_signal(signal.SIGINT)
            return original(interrupt, net, progress)

        monkeypatch.setattr(Interrupt, "on_steps_end", on_steps_end)
        # Parts of an epoch stay short, where they would grow to half a second.
        monkeypatch.setattr("xpnet.training.plan.Pace.took", lambda *args: None)

    return stop_after
