"""``xpnet bench``: what follows from times, its files, and workers that fail in every way."""

import csv
import io
import json
import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import fake_worker
import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from xpnet.backends.place import select
from xpnet.bench import measure, products
from xpnet.bench.results import Cell, Results, Series, Settings
from xpnet.bench.runner import measured, places
from xpnet.bench.runner import run as run_workers
from xpnet.bench.timing import Timed, interleaved
from xpnet.cli import bench as report
from xpnet.cli.bench import time_text
from xpnet.cli.commands import app

WINDOWS = sys.platform == "win32"
TINY = Settings(hidden=(2, 3), inputs=4, outputs=3, batch_size=5, seconds=0.02)
OPTIONS = "--hidden 2,3 --inputs 4 --outputs 3 --batch-size 5 --seconds 0.02"


# -- made-up results ---------------------------------------------------------------------
def made_up(steps, widths=(16, 64, 256), hardware=None):
    """Results with these times of a step in microseconds, floors of half of it; None: left out."""
    results = Results(Settings(hidden=widths), "2026-01-02T03:04:05Z", {"processor": "A CPU"})
    for label, times in steps.items():
        backend, _, device = label.partition(" on ")
        series = Series(backend, device, "1.0", (hardware or {}).get(label, "A CPU"))
        for hidden, t in zip(widths, times, strict=True):
            if t is None:
                series.cells.append(Cell(hidden, "out of memory"))
                continue
            s = t * 1e-6
            floor = {"rows": [0.5 * s, 0.6 * s, 0.5 * s], "columns": [s, s, s]}
            times = {"step": [9 * s, s, s], "floor": floor, "predict": [0.1, 0.1]}
            series.cells.append(Cell(hidden, steps_per_epoch=8, predict_examples=1000, **times))
        results.series.append(series)
    return results


NO_NUMPY = {"numpy on cpu": None}


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        ({}, ["numpy alone was measured: nothing to compare it with"]),
        (
            NO_NUMPY | {"torch on cpu": (1, 2, 3)},
            ["NumPy was not measured: nothing to compare with"],
        ),
        (NO_NUMPY, ["nothing was measured"]),
        ({"numpy on cpu": (None, None, None)}, ["nothing was measured"]),
        ({"torch on cpu": (11, 21, 31)}, ["no device pays up to 256 hidden units"]),
        # Equal is not faster.
        ({"torch on cpu": (5, 20, 30)}, ["no device pays up to 256 hidden units"]),
        (  # not from 16 on: 64 is slower
            {"cupy on cuda:0": (5, 21, 10)},
            ["from 256 hidden units on, cupy on cuda:0 pays: 3 times as fast as NumPy at 256"],
        ),
        (
            {"cupy on cuda:0": (5, 5, 5), "torch on cpu": (11, 19, 31)},
            [
                "from 16 hidden units on, cupy on cuda:0 pays: 6 times as fast as NumPy at 256",
                "torch on cpu does not pay up to 256 hidden units",
            ],
        ),
        (  # where one of both is left out, nothing is claimed
            {"numpy on cpu": (10, 20, None), "jax on gpu:0": (20, 10, 5)},
            ["from 64 hidden units on, jax on gpu:0 pays: 2 times as fast as NumPy at 64"],
        ),
        (
            {"numpy on cpu": (10, None, None), "jax on gpu:0": (None, 10, 5)},
            ["jax on gpu:0 has no width in common with NumPy"],
        ),
    ],
)
def test_from_how_many_units_on_a_device_pays(steps, verdict):
    """By times of NumPy of 10, 20 and 30 microseconds, unless others are given."""
    steps = {"numpy on cpu": (10, 20, 30)} | steps
    assert made_up({label: times for label, times in steps.items() if times}).verdict() == verdict


@pytest.mark.parametrize(
    ("steps", "floors", "load", "said"),
    [
        ((10, 20, 30), (5, 10, 15), 0.1, []),
        ((14, 10, 30), (5, 5, 15), 0.1, []),  # little
        ((10, 20, 30), (5, 10, 15), 1.5, ["Other programs were running (load 1.5)."]),
        ((10, 20, 30), (5, 21, 15), 0.1, ["numpy on cpu: at 64 hidden units a step is faster"]),
        ((40, 20, 10), (5, 5, 5), 0.1, ["numpy on cpu: at 16, 64 hidden units a step is"]),
    ],
)
def test_a_busy_machine_is_told(steps, floors, load, said):
    results = made_up({"numpy on cpu": steps})
    results.machine |= {"usable_cores": 2, "load": (load, 0, 0)}
    cells = results.series[0].cells
    for i, floor in enumerate(floors):
        cells[i] = replace(cells[i], floor={"rows": [floor * 1e-6]})
    found = results.disturbances()
    assert [line[: len(start)] for line, start in zip(found, said)] == said
    assert len(found) == len(said) + bool(said)
    assert not said or "OMP_NUM_THREADS=1 xpnet bench" in found[-1]


def test_rates_and_shares():
    """By hand: 2 * 128 * 16 * (2 * 784 + 3 * 10) operations at 16 units."""
    results = made_up({"numpy on cpu": (100, 400, None)})
    assert results.settings.flops(16) == 6_545_408
    series, first = results.series[0], results.series[0].measured[16]
    assert first.step_seconds == pytest.approx(100e-6)  # the median of 900, 100, 100
    assert first.floor_seconds == pytest.approx(50e-6)
    assert first.predict_rate == pytest.approx(1e4)
    assert results.peak("A CPU") == pytest.approx(6_545_408 / 50e-6)
    assert results.share(series, 100e-6, 16) == pytest.approx(0.5)
    series.squares["1000"] = 0.01  # 2e11 a second
    assert results.peak("A CPU") == pytest.approx(2e11)


def test_the_peak_belongs_to_the_hardware():
    hardware = {"torch on cuda:0": "A GPU"}
    results = made_up(
        {"numpy on cpu": (8, 8, 8), "torch on cpu": (4, 4, 4), "torch on cuda:0": (1, 1, 1)},
        hardware=hardware,
    )
    flops = results.settings.flops(256)
    assert results.peak("A CPU") == pytest.approx(flops / 2e-6)  # torch's, for NumPy too
    assert results.peak("A GPU") == pytest.approx(flops / 0.5e-6)


# -- files -------------------------------------------------------------------------------
SIX = {
    "numpy on cpu": (40, 90, 400),
    "cupy on cuda:0": (70, 70, 70),
    "torch on cpu": (170, 210, 420),
    "torch on cuda:0": (130, 130, 130),
    "jax on cpu:0": (60, 100, 390),
    "dpnp on opencl:cpu:0": (2000, 2500, None),
}


def test_csv():
    found = list(csv.DictReader(io.StringIO(report.csv_text(made_up(SIX)))))
    assert len(found) == 18
    assert found[2]["hidden"] == "256"
    assert float(found[2]["step_seconds"]) == pytest.approx(400e-6)
    assert float(found[2]["step_over_floor"]) == pytest.approx(2)
    assert float(found[5]["times_as_fast_as_numpy"]) == pytest.approx(400 / 70)
    assert (found[17]["left_out"], found[17]["step_seconds"]) == ("out of memory", "")


def test_json_holds_every_raw_time():
    found = json.loads(report.json_text(made_up(SIX)))
    assert set(found) == {
        *("settings", "date", "machine", "series", "absent", "failures", "interrupted"),
        *("peak_flops_per_second", "verdict"),
    }
    cell = found["series"][0]["cells"][0]
    assert cell["step"] == pytest.approx([360e-6, 40e-6, 40e-6])
    assert set(cell["floor"]) == {"rows", "columns"}
    assert len(found["verdict"]) == 5


@pytest.mark.parametrize("picture", report.PICTURES.values(), ids=report.PICTURES)
@pytest.mark.parametrize(
    ("steps", "widths"),
    [
        (SIX, (16, 64, 256)),
        ({"numpy on cpu": (40, None, 400), "torch on <&>": (1, 2, 3)}, (16, 64, 256)),
        ({"numpy on cpu": (40,)}, (64,)),
        ({"numpy on cpu": range(40, 80)}, tuple(range(100, 140))),
    ],
    ids=["six", "gap", "one width", "many widths"],
)
def test_pictures(monkeypatch, picture, steps, widths):
    """The lines of each series hold its numbers; the SVG is well-formed, its labels text."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    drawn, savefig = [], figure.savefig

    def catch(self, *args, **kwargs):
        drawn.extend(self.axes)
        savefig(self, *args, **kwargs)

    monkeypatch.setattr(figure, "savefig", catch)
    results = made_up(steps, widths)
    root = ElementTree.fromstring(picture(results))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    (ax,) = drawn
    *lines, _ = ax.get_lines()  # the last one is the legend's
    assert [line.get_label() for line in lines[::2]] == list(steps)
    for series, step, floor in zip(results.series, lines[::2], lines[1::2], strict=True):
        for line, factor in ((step, 1.0), (floor, 0.5)):
            expected = [t and factor * t * 1e-6 for t in steps[series.label]]
            if "share" in ax.get_ylabel():
                shares = zip(expected, widths, strict=True)
                expected = [t and results.share(series, t, hidden) for t, hidden in shares]
            np.testing.assert_allclose(line.get_ydata(), np.array(expected, dtype=float))
    assert len(ax.get_xticks()) <= 12


def test_times_as_text():
    times = [27.12e-6, 2e-3, 0.99996e-3, 3e-9, 12]
    assert list(map(time_text, times)) == ["27.1 us", "2.00 ms", "1.00 ms", "3.00 ns", "12.0 s"]


# -- timing ------------------------------------------------------------------------------
def test_times_are_per_piece_of_work_and_wait_for_the_device():
    seen = []

    def wait(result):
        seen.append(f"wait {result}")
        time.sleep(0.02)

    timed = Timed(lambda: seen.append("call") or "done", wait, chunk=4)
    assert 0.02 <= 8 * timed.seconds(8) < 1
    assert seen == ["call", "call", "wait done"]
    assert 8 * timed.host_seconds(8) < 0.02  # the calls return before the device is done
    assert seen[3:] == ["call", "wait done", "call", "call", "wait done"]
    assert Timed(lambda: seen.clear()).within(0.001, most=7) > 0


def test_what_is_compared_takes_turns():
    order = []
    found = interleaved({name: lambda n=name: order.append(n) or len(order) for name in "ab"}, 3)
    assert order == ["a", "b", "a", "b", "a", "b"]
    assert found == {"a": [1, 3, 5], "b": [2, 4, 6]}


def test_the_products_of_a_step_are_those_of_backpropagation():
    """By the chain rule of a linear net of three layers, with the logits for dZ."""
    generator = np.random.default_rng(1)
    X, W1, W2, W3 = (generator.standard_normal(s) for s in ((6, 5), (4, 5), (3, 4), (2, 3)))
    counted = []

    def product(left, right, is_gradient):
        counted.append(2 * left.shape[0] * left.shape[1] * right.shape[1])
        return left @ right

    gradients = products.step_products(X, [W1, W2, W3], product)
    Z = X @ W1.T @ W2.T @ W3.T
    np.testing.assert_allclose(gradients[0], (Z @ W3 @ W2).T @ X)
    np.testing.assert_allclose(gradients[1], (Z @ W3).T @ (X @ W1.T))
    np.testing.assert_allclose(gradients[2], Z.T @ (X @ W1.T @ W2.T))
    assert len(counted) == 3 * 3 - 1
    assert sum(counted) == products.step_flops([5, 4, 3, 2], 6)


def test_floors_on_every_library(lib):
    """The products of unit norm end at the W1 that they began with, in every layout."""
    place = select(lib.options["backend"], lib.device, "float32")
    generator = np.random.default_rng(0)
    _, x, h, *_ = (v / np.linalg.norm(v) for v in map(generator.standard_normal, (6, 5, 4, 3)))
    with place.context():
        floors = products.floors(place, [5, 4, 3], 6)
        assert set(floors) == ({"compiled"} if place.name == "jax" else {"rows", "columns"})
        for timed in floors.values():
            assert timed.seconds() > 0
            result = timed.call()
            first = result[0] if place.name == "jax" else result
            np.testing.assert_allclose(lib.to_numpy(first), np.outer(h, x), atol=1e-5)


def test_squares_stop_in_time():
    place = select("numpy", dtype="float32")
    assert [side for side, _ in products.squares(place, 0.0)] == [512]


# -- measuring ---------------------------------------------------------------------------
def test_one_net(lib):
    """On every library: times, products in each layout, and the place of the numbers."""
    place = select(lib.options["backend"], lib.device, "float32")
    bench = measure.Bench(place, replace(TINY, seconds=1.0))  # enough for a busy machine
    with place.context():
        cell = bench.cell(3)
    assert cell.left_out is None
    assert len(cell.step) >= measure.FEWEST
    assert {len(times) for times in cell.floor.values()} == {len(cell.step)}
    assert min(cell.step + cell.predict + [t for ts in cell.floor.values() for t in ts]) > 0
    assert np.isfinite(cell.cost)
    assert cell.predict_examples == min(4096, bench.y.shape[0])


def numpy_bench(settings=TINY):
    return measure.Bench(select("numpy", dtype=settings.dtype), settings)


def test_one_output_and_float64():
    assert numpy_bench(Settings((2,), 3, 1, 4, "float64", 0.02)).cell(2).left_out is None


def test_a_net_without_time_is_left_out(monkeypatch):
    bench = numpy_bench()
    monkeypatch.setattr(Timed, "seconds", lambda self, times=1: 1.0)
    assert bench.cell(3) == Cell(3, "its products alone take 1 s a step", failed=False)


def test_a_step_that_is_too_slow_is_left_out(monkeypatch):
    class Slow(measure.Clock):
        def on_epoch_end(self, net, progress):
            time.sleep(0.05)
            return super().on_epoch_end(net, progress)

    monkeypatch.setattr(measure, "Clock", Slow)
    cell = numpy_bench().cell(3)
    assert re.fullmatch(r"3 times \d+ steps take more than 0.08 s", cell.left_out)


@pytest.mark.parametrize(
    ("raised", "left_out", "failed"),
    [
        (MemoryError(), "out of memory", False),
        (RuntimeError("CUDA out of memory. Tried"), "out of memory", False),
        (RuntimeError("bad\nluck"), "RuntimeError: bad luck", True),
    ],
)
def test_a_net_that_fails_is_left_out(monkeypatch, raised, left_out, failed):
    def floors(*args):
        raise raised

    monkeypatch.setattr(measure, "floors", floors)
    assert numpy_bench().cell(3) == Cell(3, left_out, failed)


def test_places(lib):
    found = places(select(lib.options["backend"]))
    assert found[0] == select(lib.options["backend"])
    assert len({place.is_accelerator for place in found}) == len(found)
    for place in found:  # each can be asked for by its name
        assert select(place.name, place.device_name) == place


# -- workers -----------------------------------------------------------------------------
def test_what_a_worker_answers():
    (series,) = measured("numpy", None, TINY)
    assert [(s.label, s.accelerator, s.version) for s in series] == [
        ("numpy on cpu", False, np.__version__)
    ]
    answers = list(measured("numpy", "cpu", replace(TINY, seconds=0.5)))
    assert answers[0][0] == 512
    assert [(cell.hidden, cell.left_out) for cell in answers[-2:]] == [(2, None), (3, None)]


def left_out(series):
    return {cell.hidden: cell.left_out for cell in series.cells if cell.left_out}


def test_one_that_breaks_loses_only_itself(capfd):
    names = ["fails", "absent", "dies-early", "numpy", "hangs"]
    seen = []
    start = time.monotonic()
    results = run_workers(TINY, names, watch=seen.append, silence=6, answers=fake_worker.answers)
    assert time.monotonic() - start < 30
    assert [list(series.measured) for series in results.series] == [[2], [2, 3], [2]]
    assert left_out(results.series[0]) == {3: "ValueError: no luck"}
    assert left_out(results.series[2]) == {3: "no answer for 6 s"}
    assert results.absent == {"absent": "not here", "dies-early": "crashed: exit status 3"}
    assert results.failures == [
        "dies-early: crashed: exit status 3",
        "fails on cpu: ValueError: no luck",
        "hangs on cpu: no answer for 6 s",
    ]
    assert not results.interrupted
    assert seen[-1] == "hangs on cpu"
    assert capfd.readouterr() == ("", "")  # what workers print does not reach the terminal


@pytest.mark.skipif(WINDOWS, reason="Windows has no such signal")
def test_a_crash_is_told_by_its_signal():
    (series,) = run_workers(TINY, ["crashes"], answers=fake_worker.answers).series
    assert left_out(series) == {3: "crashed: SIGKILL"}


def test_one_that_was_named_must_be_there():
    results = run_workers(TINY, ["absent"], required=True, answers=fake_worker.answers)
    assert results.failures == ["absent: not here"]


@pytest.mark.skipif(WINDOWS, reason="Windows sends no SIGINT to one process")
def test_ctrl_c_keeps_what_there_is():
    start = time.monotonic()
    results = run_workers(TINY, ["numpy", "ctrl-c", "fails"], answers=fake_worker.answers)
    assert time.monotonic() - start < 30  # nobody waits for the one that sleeps
    assert results.interrupted
    assert list(results.series[0].measured) == [2, 3]
    assert left_out(results.series[1]) == {3: "interrupted"}
    assert left_out(results.series[2]) == {2: "interrupted", 3: "interrupted"}


# -- the command -------------------------------------------------------------------------
FILES = ["bench.csv", "bench.json", "peak.svg", "time.svg"]
TWO = {"numpy on cpu": (2, 3), "torch on cpu": (4, 6)}


@pytest.fixture
def run(tmp_path, monkeypatch):
    """The command in an empty folder; with ``results`` it says that it has measured them."""
    monkeypatch.chdir(tmp_path)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(words, results=None):
        if results is not None:
            results.machine |= {"usable_cores": 2, "blas": "a BLAS"}
            monkeypatch.setattr("xpnet.cli.bench.run", lambda *args, **kwargs: results)
        return CliRunner().invoke(app, ["bench", *words.split()])

    return invoke


def test_numpy_for_real(run):
    result = run(f"--backends numpy {OPTIONS}")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4-h-3, batch 5, float32, Adam\n")
    assert re.search(r"^hidden +step +floor +/floor +peak +predict/s$", result.stdout, re.M)
    assert re.search(r"^ +2 +[\d.]+ \ws +[\d.]+ \ws +[\d.]+ +\d+ % +\S+$", result.stdout, re.M)
    assert "numpy alone was measured" in result.stdout
    assert sorted(os.listdir("xpnet-bench")) == FILES
    found = json.loads(Path("xpnet-bench", "bench.json").read_text())
    assert [cell["hidden"] for cell in found["series"][0]["cells"]] == [2, 3]
    assert found["machine"]["processor"]
    assert result.stderr == "measuring numpy on cpu\n"


def test_what_is_missing_is_told(run):
    results = made_up(TWO | {"fails on cpu": (1, None)}, (2, 3))
    results.absent, results.failures = {"absent": "not here"}, ["absent: not here"]
    result = run("", results)
    assert result.exit_code == 1
    assert "no device pays" not in result.stdout
    assert re.search(r"^ +3 +6.00 us +3.00 us +2.00 .* 0.50 x$", result.stdout, re.M)
    assert "not measured: absent (not here)" in result.stdout
    assert "left out: 3 hidden units (out of memory)" in result.stdout
    assert "xpnet: error: absent: not here" in result.stderr
    assert sorted(os.listdir("xpnet-bench")) == FILES


def test_without_matplotlib_the_numbers_are_written(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run("", made_up(TWO, (2, 3)))
    assert result.exit_code == 0
    message = "no pictures: drawing needs matplotlib: python -m pip install matplotlib"
    assert f"xpnet: {message}\n" in result.stderr
    assert "numpy on cpu" in result.stdout
    assert sorted(os.listdir("xpnet-bench")) == ["bench.csv", "bench.json"]


def test_replaced_files_are_told(run):
    assert "replaced" not in run("--out a/b", made_up(TWO, (2, 3))).stdout
    Path("a", "b", "mine.txt").write_text("mine")
    said = run("--out a/b", made_up(TWO, (2, 3))).stdout
    assert f"{os.path.join('a', 'b', 'bench.json')} (replaced)" in said
    assert Path("a", "b", "mine.txt").read_text() == "mine"


def test_json_alone_on_stdout(run):
    result = run("--json", made_up(TWO, (2, 3)))
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads(Path("xpnet-bench/bench.json").read_text())
    assert "bench.json" in result.stderr


@pytest.mark.skipif(WINDOWS, reason="there is no /dev/full")
@pytest.mark.parametrize("option", ["", "--json"])
def test_a_full_disk_behind_stdout_loses_no_file(run, monkeypatch, option):
    with open("/dev/full", "w") as full:
        run("--out other", made_up(TWO, (2, 3)))
        monkeypatch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as stopped:
            app(["bench", *option.split()])
    assert stopped.value.code == 1
    assert sorted(os.listdir("xpnet-bench")) == FILES


def test_nothing_measured_writes_nothing(run):
    run("", made_up(TWO, (2, 3)))
    before = Path("xpnet-bench", "bench.json").read_bytes()
    result = run("", made_up({}))
    assert result.exit_code == 1
    assert "nothing was measured" in result.stdout
    assert Path("xpnet-bench", "bench.json").read_bytes() == before


@pytest.mark.parametrize("columns", [40, 64, 72, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_tables_fit_the_terminal(run, monkeypatch, columns, colour):
    monkeypatch.setenv("COLUMNS", str(columns))
    if colour:  # rich takes anything for a terminal then
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    result = run("", made_up(TWO, (2, 3)))
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.stdout)
    tables = [line for line in text.splitlines() if re.match(r" *(hidden|\d+) {2}", line)]
    assert len(tables) == 6
    assert max(map(len, tables)) <= columns
    assert "…" not in text
    if colour:
        assert max(map(len, text.splitlines())) <= columns


def test_ctrl_c_leaves_files(run):
    results = made_up(TWO | {"jax on cpu": (1, None)}, (2, 3))
    results.series[2].cells[1], results.interrupted = Cell(3, "interrupted"), True
    result = run("", results)
    assert result.exit_code == 130
    assert result.stderr.endswith("xpnet: stopped by Ctrl-C; the rest was not measured\n")
    assert "(interrupted)" in result.stdout
    assert sorted(os.listdir("xpnet-bench")) == FILES
