"""``xpnet bench``: what follows from times, its files, and workers that fail in every way."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from typer.testing import CliRunner

from xpnet.backends.place import select
from xpnet.bench import measure, pictures, products, report, worker
from xpnet.bench.results import Cell, Results, Series, Settings
from xpnet.bench.runner import run as run_workers
from xpnet.cli import app

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
            series.cells.append(
                Cell(hidden, None, False, 8, [9 * s, s, s], floor, [0.1, 0.1], 1000, 0.5, 1.2)
            )
        results.series.append(series)
    return results


@pytest.mark.parametrize(
    ("steps", "verdict"),
    [
        ({"numpy on cpu": (1, 2, 3)}, ["numpy alone was measured: nothing to compare it with"]),
        ({"torch on cpu": (1, 2, 3)}, ["NumPy was not measured: nothing to compare with"]),
        ({}, ["nothing was measured"]),
        ({"numpy on cpu": (None, None, None)}, ["nothing was measured"]),
        (
            {"numpy on cpu": (10, 20, 30), "torch on cpu": (11, 21, 31)},
            ["no device pays up to 256 hidden units"],
        ),
        (  # equal is not faster
            {"numpy on cpu": (10, 20, 30), "torch on cpu": (5, 20, 30)},
            ["no device pays up to 256 hidden units"],
        ),
        (  # not from 16 on: 64 is slower
            {"numpy on cpu": (10, 20, 30), "cupy on cuda:0": (5, 21, 10)},
            ["from 256 hidden units on, cupy on cuda:0 pays: 3 times as fast as NumPy at 256"],
        ),
        (
            {
                "numpy on cpu": (10, 20, 30),
                "cupy on cuda:0": (5, 5, 5),
                "torch on cpu": (11, 19, 31),
            },
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
    assert made_up(steps).verdict() == verdict


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
    assert tuple(found[0]) == report.CSV_COLUMNS
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


@pytest.mark.parametrize("picture", [pictures.time_picture, pictures.share_picture])
@pytest.mark.parametrize(
    "steps",
    [SIX, {"numpy on cpu": (40, 90, 400)}, {"numpy on cpu": (40, None, 400)}, {}],
    ids=["six", "one", "gap", "none"],
)
def test_pictures(picture, steps):
    root = ElementTree.fromstring(picture(made_up(steps)))
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert [text for text in texts if " on " in text] == sorted(steps, key=texts.index)
    assert "hidden units" in texts
    numbers = [
        float(x) for x in re.findall(r"[ML](\d+\.\d+) ", ElementTree.tostring(root, "unicode"))
    ]
    assert all(0 <= x <= pictures.WIDTH for x in numbers)
    marks = list(root.iter("{http://www.w3.org/2000/svg}circle"))
    if len(steps) == 1:  # a mark for each width, and the legend's
        assert len(marks) == 1 + sum(t is not None for t in steps["numpy on cpu"])


def test_pictures_of_one_width_and_of_many():
    for widths in ((64,), tuple(range(100, 140))):
        results = made_up({"numpy on cpu": [40 + w for w in widths]}, widths)
        root = ElementTree.fromstring(pictures.time_picture(results))
        labels = [
            (float(text.get("x")), len(text.text))
            for text in root.iter("{http://www.w3.org/2000/svg}text")
            if text.get("text-anchor") == "middle" and text.text.isdigit()
        ]
        assert labels
        for (x, n), (x_next, n_next) in pairwise(labels):
            assert x_next - x >= 4 * (n + n_next)  # pixels: digits are about 8 wide


def test_a_label_cannot_break_a_picture():
    results = made_up({"numpy on <&>": (1, 2, 3)})
    root = ElementTree.fromstring(pictures.time_picture(results))
    assert "numpy on <&>" in "".join(root.itertext())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (27.12e-6, "27.1 us"),
        (2e-3, "2.00 ms"),
        (0.99996e-3, "1.00 ms"),
        (3e-9, "3.00 ns"),
        (12, "12.0 s"),
    ],
)
def test_times_as_text(seconds, text):
    assert pictures.time_text(seconds) == text


# -- measuring ---------------------------------------------------------------------------
def test_one_net(lib):
    """On every library: times, products in each layout, and the place of the numbers."""
    place = select(lib.options["backend"], lib.device, "float32")
    bench = measure.Bench(place, replace(TINY, seconds=1.0))  # enough for a busy machine
    cell = bench.cell(3)
    assert cell.left_out is None
    assert len(cell.step) >= measure.FEWEST
    assert {len(times) for times in cell.floor.values()} == {len(cell.step)}
    assert min(cell.step + cell.predict + [t for ts in cell.floor.values() for t in ts]) > 0
    assert np.isfinite(cell.cost)
    assert cell.predict_examples == min(4096, bench.y.shape[0])


def test_the_floor_is_the_products_of_a_step(lib):
    """Its numbers are those of five products, worked out in float64."""
    place = select(lib.options["backend"], lib.device, "float32")
    n, h, k, m = 5, 4, 3, 6
    made = []

    class Recording:
        def __getattr__(self, name):
            return getattr(place, name)

        def asarray(self, x, dtype=None):
            made.append(np.array(x))
            return place.asarray(x, dtype=dtype)

    with place.context():
        floors = products.floors(Recording(), n, h, k, m)
        X, W1, W2 = made[:3]
        dA1 = X @ W1.T @ W2.T @ W2
        for name, timed in floors.items():
            assert timed.seconds(1) > 0
            result = timed.call()
            if name != "compiled":  # as often as a scan goes
                np.testing.assert_allclose(lib.to_numpy(result), dA1.T @ X, atol=1e-6)
            else:
                dW1, dW2 = (lib.to_numpy(x) for x in result)
                assert (dW1.shape, dW2.shape) == (W1.shape, W2.shape)
                assert 1e-6 < np.abs(dW1).max() < 10  # a NaN is neither


def test_squares_stop_in_time():
    place = select("numpy", dtype="float32")
    assert [side for side, _ in products.squares(place, 0.0)] == [512]


def test_a_net_without_time_is_left_out(monkeypatch):
    bench = measure.Bench(select("numpy", dtype="float32"), TINY)
    monkeypatch.setattr(products.Timed, "seconds", lambda self, times: 1.0)
    cell = bench.cell(3)
    assert cell.left_out == "its products alone take 1 s a step"
    assert not cell.failed


def test_a_step_that_is_too_slow_is_left_out(monkeypatch):
    bench = measure.Bench(select("numpy", dtype="float32"), TINY)

    class Slow(measure.Clock):
        def on_epoch_end(self, net, progress):
            time.sleep(0.05)
            return super().on_epoch_end(net, progress)

    monkeypatch.setattr(measure, "Clock", Slow)
    cell = bench.cell(3)
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
    bench = measure.Bench(select("numpy", dtype="float32"), TINY)

    def floors(*args):
        raise raised

    monkeypatch.setattr(measure, "floors", floors)
    assert bench.cell(3) == Cell(3, left_out, failed)


def test_places(lib):
    found = worker.places(select(lib.options["backend"]))
    assert found[0] == select(lib.options["backend"])
    assert len({products.is_accelerator(place) for place in found}) == len(found)
    for place in found:  # each can be asked for by its name, and says what it is
        assert select(place.name, place.device_name) == place
        assert products.hardware(place)


def test_one_output_and_float64():
    settings = Settings((2,), 3, 1, 4, "float64", 0.02)
    cell = measure.Bench(select("numpy", dtype="float64"), settings).cell(2)
    assert cell.left_out is None


# -- workers -----------------------------------------------------------------------------
# Answers as a worker does; what NAME does besides is told by its name.
FAKE = """
import json, os, signal, sys, time
spec = json.loads(sys.argv[1])
name = spec["backend"]
def say(**answer):
    print(json.dumps(answer), flush=True)
if name == "absent":
    say(absent="not here")
elif name == "dies-early":
    sys.exit("cannot be imported")
elif "device" not in spec:
    say(places=[{"backend": name, "device": "cpu", "hardware": "A CPU"}])
else:
    say(side=512, seconds=0.001)
    for i, hidden in enumerate(spec["settings"]["hidden"]):
        if i == 1 and name == "crashes":
            os.kill(os.getpid(), signal.SIGKILL)
        if i == 1 and name == "fails":
            print("Traceback", file=sys.stderr)
            raise SystemExit("ValueError: no luck")
        if i == 1 and name == "hangs":
            time.sleep(60)
        if i == 1 and name == "ctrl-c":
            time.sleep(0.5)  # until the first answer was read
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(60)
        step = [hidden * (1e-6 if name == "numpy" else 2e-6)] * 3
        say(cell={"hidden": hidden, "step": step, "floor": {"rows": step}, "steps_per_epoch": 4,
                  "predict": step, "predict_examples": 5})
    if name == "torch":  # has said all, and crashes on its way out
        say(done=True)
        os.abort()
"""


@pytest.fixture
def fake(tmp_path):
    """The command of a worker that only pretends."""
    script = tmp_path / "fake.py"
    script.write_text(FAKE)
    return sys.executable, str(script)


def test_one_that_breaks_loses_only_itself(fake):
    names = ["fails", "absent", "dies-early", "numpy", "hangs"]
    seen = []
    watch = lambda *what: seen.append(what)  # noqa: E731
    start = time.monotonic()
    results = run_workers(TINY, names, watch=watch, silence=3, worker=fake)
    assert time.monotonic() - start < 30
    fails, numpy, hangs = results.series
    assert list(numpy.measured) == [2, 3]
    assert list(fails.measured) == list(hangs.measured) == [2]
    assert fails.left_out == {"ValueError: no luck": [3]}
    assert hangs.left_out == {"no answer for 3 s": [3]}
    assert results.absent == {"absent": "not here", "dies-early": "cannot be imported"}
    assert results.failures == [
        "dies-early: cannot be imported",
        "fails on cpu: ValueError: no luck",
        "hangs on cpu: no answer for 3 s",
    ]
    assert not results.interrupted
    assert seen[-1] == ("hangs on cpu: 3 units", 5, 6)


@pytest.mark.skipif(WINDOWS, reason="Windows has no such signal")
def test_a_crash_is_told_by_its_signal(fake):
    (series,) = run_workers(TINY, ["crashes"], worker=fake).series
    assert series.left_out == {"crashed: SIGKILL": [3]}


def test_one_that_was_named_must_be_there(fake):
    results = run_workers(TINY, ["absent"], required=True, worker=fake)
    assert results.failures == ["absent: not here"]


@pytest.mark.skipif(WINDOWS, reason="Windows sends no SIGINT to one process")
def test_ctrl_c_keeps_what_there_is(fake):
    start = time.monotonic()
    results = run_workers(TINY, ["numpy", "ctrl-c", "fails"], worker=fake)
    assert time.monotonic() - start < 30  # nobody waits for the one that sleeps
    assert results.interrupted
    numpy, broken_off, never = results.series
    assert list(numpy.measured) == [2, 3]
    assert broken_off.left_out == {"interrupted": [3]}
    assert never.left_out == {"interrupted": [2, 3]}


def test_the_worker_speaks_through_what_libraries_print(monkeypatch, capfd):
    def answers(spec):
        os.write(1, b"noise on stdout\n")
        yield {"spec": spec}

    monkeypatch.setattr(worker, "answers", answers)
    monkeypatch.setattr(sys, "argv", ["worker", '{"a": 1}'])
    stdout = os.dup(1)
    try:
        worker.main()
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    out, err = capfd.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"spec": {"a": 1}}, {"done": True}]
    assert err == "noise on stdout\n"


def test_answers_of_a_missing_library(monkeypatch):
    from xpnet.exceptions import BackendUnavailable

    def select(name):
        raise BackendUnavailable("install it")

    monkeypatch.setattr(worker, "select", select)
    assert list(worker.answers({"backend": "cupy"})) == [{"absent": "install it"}]


# -- the command -------------------------------------------------------------------------
@pytest.fixture
def here(tmp_path, monkeypatch):
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return folder


@pytest.fixture
def run(here):
    return lambda words: CliRunner().invoke(app, words.split())


@pytest.fixture
def run_fake(run, fake, monkeypatch):
    """The command with pretended workers, for any names."""

    def measured(settings, names, required=False, watch=None, **kwargs):
        return run_workers(settings, names, required, watch, silence=3, worker=fake)

    monkeypatch.setattr("xpnet.cli.bench.run", measured)
    monkeypatch.setattr("xpnet.cli.bench.LIBRARIES", dict.fromkeys(FAKE_NAMES))
    return run


FAKE_NAMES = ["numpy", "torch", "absent", "fails", "ctrl-c"]
FILES = ["bench.csv", "bench.json", "peak.svg", "time.svg"]


def test_numpy_for_real(run, here):
    result = run(f"bench --backends numpy {OPTIONS}")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("4-h-3, batch 5, float32, Adam\n")
    assert re.search(r"^hidden +step +floor +/floor +peak +predict/s$", result.stdout, re.M)
    assert re.search(r"^ +2 +[\d.]+ \ws +[\d.]+ \ws +[\d.]+ +\d+ % +\S+$", result.stdout, re.M)
    assert "numpy alone was measured" in result.stdout
    assert sorted(os.listdir(here / "xpnet-bench")) == FILES
    found = json.loads((here / "xpnet-bench" / "bench.json").read_text())
    assert [cell["hidden"] for cell in found["series"][0]["cells"]] == [2, 3]
    assert found["machine"]["processor"]
    assert result.stderr == "measuring numpy on cpu\n"


def test_a_comparison(run_fake, here):
    result = run_fake(f"bench --backends torch,numpy {OPTIONS}")
    assert result.exit_code == 0, result.output
    assert "no device pays up to 3 hidden units" in result.stdout
    assert re.search(r"^ +3 +6.00 us +6.00 us +1.00 .* 0.50 x$", result.stdout, re.M)


def test_what_is_missing_is_told(run_fake, here):
    result = run_fake(f"bench --backends numpy,absent,fails {OPTIONS}")
    assert result.exit_code == 1
    assert "not measured: absent (not here)" in result.stdout
    assert "left out: 3 hidden units (ValueError: no luck)" in result.stdout
    assert "xpnet: error: absent: not here" in result.stderr
    assert "xpnet: error: fails on cpu: ValueError: no luck" in result.stderr
    assert sorted(os.listdir("xpnet-bench")) == FILES


def test_replaced_files_are_told(run_fake, here):
    words = f"bench --backends numpy --out a/b {OPTIONS}"
    assert "replaced" not in run_fake(words).stdout
    (here / "a" / "b" / "mine.txt").write_text("mine")
    assert f"{os.path.join('a', 'b', 'bench.json')} (replaced)" in run_fake(words).stdout
    assert (here / "a" / "b" / "mine.txt").read_text() == "mine"


def test_json_alone_on_stdout(run_fake, here):
    result = run_fake(f"bench --json --backends numpy {OPTIONS}")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json.loads((here / "xpnet-bench/bench.json").read_text())
    assert "bench.json" in result.stderr


def test_nothing_measured_writes_nothing(run_fake, here):
    (here / "xpnet-bench").mkdir()
    (here / "xpnet-bench" / "bench.json").write_text("old")
    result = run_fake(f"bench --backends absent {OPTIONS}")
    assert result.exit_code == 1
    assert "nothing was measured" in result.stdout
    assert (here / "xpnet-bench" / "bench.json").read_text() == "old"


@pytest.mark.skipif(WINDOWS, reason="Windows sends no SIGINT to one process")
def test_ctrl_c(run_fake, here):
    result = run_fake(f"bench --backends numpy,ctrl-c {OPTIONS}")
    assert result.exit_code == 130, result.output
    assert "left out: 3 hidden units (interrupted)" in result.stdout
    assert result.stderr.endswith("xpnet: stopped by Ctrl-C; the rest was not measured\n")
    assert sorted(os.listdir("xpnet-bench")) == FILES


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--backends numpy,tensorflow", "'--backends': 'tensorflow' is not one of numpy,"),
        ("--backends ,", "'--backends': '' is not one of"),
        ("--hidden 3,,4", "'--hidden': '3,,4' is no list of widths"),
        ("--hidden 0", "'--hidden': '0'"),
        ("--batch-size 0", "'--batch-size'"),
        ("--seconds 0", "'--seconds': 0.0 is not a number above 0"),
        ("--seconds nan", "'--seconds': nan"),
        ("--dtype float16", "'float16' is not one of"),
        ("--out file", "'--out': file is not a folder"),
        ("numpy", "unexpected"),
    ],
)
def test_usage_errors(run, here, options, said):
    (here / "file").write_text("")
    result = run(f"bench {options}")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("xpnet: error: ")
    assert said in line
    assert line.endswith("(see xpnet bench --help)")
    assert result.stdout == ""


@pytest.mark.parametrize("columns", [40, 64, 72, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_tables_fit_the_terminal(run_fake, here, monkeypatch, columns, colour):
    monkeypatch.setenv("COLUMNS", str(columns))
    if colour:  # rich takes anything for a terminal then
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
    result = run_fake(f"bench --backends numpy,torch,absent {OPTIONS}")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", result.stdout)
    tables = [line for line in text.splitlines() if re.match(r" *(hidden|\d+) {2}", line)]
    assert len(tables) == 6
    assert max(map(len, tables)) <= columns
    assert "…" not in text
    if colour:
        assert max(map(len, text.splitlines())) <= columns


@pytest.mark.parametrize("columns", [40, 80])
def test_help_fits_the_terminal(run, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = run("bench --help").stdout.splitlines()
    assert any(line.endswith("xpnet bench --backends numpy,torch") for line in lines)
    assert max(len(line) for line in lines if not line.startswith("    xpnet ")) <= columns


@pytest.mark.skipif(WINDOWS, reason="Windows sends no SIGINT to one process")
def test_ctrl_c_on_the_program(here):
    """A real worker under way is ended, and the program leaves its files."""
    pytest.importorskip("array_api_strict")
    words = "-m xpnet bench --backends numpy,array_api_strict --seconds 0.1 --hidden 2,3,4,5,6"
    with subprocess.Popen(
        [sys.executable, *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    ) as program:
        assert program.stderr.readline() == b"measuring numpy on cpu\n"
        assert program.stderr.readline().startswith(b"measuring array_api_strict on ")
        program.send_signal(signal.SIGINT)
        out, errors = program.communicate(timeout=60)
    assert program.returncode == 130, errors
    assert b"(interrupted)" in out
    assert sorted(os.listdir("xpnet-bench")) == FILES
