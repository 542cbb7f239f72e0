"""Everything that is checked: ``nox`` runs the default sessions, ``nox -l`` lists all of them.

Every session prints its seconds; the last lines of a run count the tests per array library.
"""

import atexit
import functools
import json
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = [
    "lint",
    "typecheck",
    "tests",
    "sklearn_compat",
    "cupy_on_cpu",
    "cuda_compile",
    "docs",
    "coverage",
]
# Not uv: it would pass by the CPU wheel of torch that pip has been shown, and fetch a CUDA build.
nox.options.default_venv_backend = "virtualenv"
nox.options.error_on_missing_interpreters = True

GROUPS = functools.partial(nox.project.dependency_groups, nox.project.load_toml("pyproject.toml"))
# What only one session can cover: left out of the verdict when that session did not run.
COVERED_BY = {"cupy_on_cpu": "*/engines/cupy/*,*/backends/upload.py,*/bench/gpu*.py"}
COVERAGE = ("--cov", "--cov-report=")
# A process per core, whose libraries compute on one thread each.
PARALLEL = ("-n=auto", "--maxprocesses=4", "--dist=worksteal")
SECONDS: dict[str, float] = {}
REPORTS: list[Path] = []


def timed(function: Callable[[nox.Session], None]) -> Callable[[nox.Session], None]:
    """Print how many seconds a session took, also when it fails."""

    @functools.wraps(function)
    def session_with_clock(session: nox.Session) -> None:
        start = time.perf_counter()
        try:
            function(session)
        finally:
            SECONDS[session.name] = time.perf_counter() - start
            session.log(f"{session.name} took {SECONDS[session.name]:.0f} seconds")

    return session_with_clock


def pytest(
    session: nox.Session,
    *args: str,
    under: tuple[str, ...] = (),
    success_codes: tuple[int, ...] = (0,),
    **environment: str,
) -> bool:
    """Run pytest and keep its counts for the closing lines.

    Returns whether a test failed, where ``success_codes`` lets that pass.
    """
    report = Path(session.create_tmp()) / f"report-{len(REPORTS)}.json"
    report.unlink(missing_ok=True)
    REPORTS.append(report)
    # Read by tests/conftest.py, and by coverage.
    env = {"XPNET_TEST_REPORT": str(report), "COVERAGE_FILE": f".coverage.{session.name}"}
    command = (*under, "python", "-m", "pytest", *args)
    session.run(*command, env=env | environment, success_codes=success_codes)
    return report.exists() and json.loads(report.read_text())["failed"] > 0


@atexit.register
def closing_lines() -> None:
    """Seconds per session, tests per array library, and the totals, after nox's own summary."""
    if SECONDS:
        print("seconds: " + ", ".join(f"{name} {s:.0f}" for name, s in SECONDS.items()))
    counts: Counter[str] = Counter()
    libraries: Counter[str] = Counter()
    for report in filter(Path.exists, REPORTS):
        found = json.loads(report.read_text())
        libraries.update(found.pop("backends"))
        counts.update(found)
    if counts:
        print("backends: " + ", ".join(f"{name} {n}" for name, n in libraries.items()))
        print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")


@nox.session
@timed
def lint(session: nox.Session) -> None:
    """Ruff: mistakes, import order and layout."""
    session.install(*GROUPS("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
@timed
def typecheck(session: nox.Session) -> None:
    """Mypy over src, and over the gallery as a user's code, beside the installed package."""
    session.install(*GROUPS("typecheck"), ".[cli]")
    session.run("mypy")
    alone = ("--config-file=", "--ignore-missing-imports")
    session.run("mypy", "--strict", *alone, "docs/gallery")


@nox.session
@timed
def tests(session: nox.Session) -> None:
    """All tests on NumPy, array-api-strict, PyTorch, JAX, dpnp; one pass over the benchmarks."""
    session.install(*GROUPS("test", "backends"), ".[cli]")
    everything = ("tests", "benchmarks", "--benchmark-disable", *COVERAGE)
    if session.posargs:
        pytest(session, *session.posargs)
    else:
        pytest(session, *everything, *PARALLEL, "-k", "not dpnp", OMP_NUM_THREADS="1")
        on_dpnp(session, *everything, "--cov-append")


@nox.session(default=False)
@timed
def quick(session: nox.Session) -> None:
    """The tests on NumPy alone, without PyTorch, JAX or dpnp: for while you work."""
    session.install(*GROUPS("test"), ".[cli]")
    pytest(session, "--backends=numpy", *PARALLEL, *session.posargs, OMP_NUM_THREADS="1")


def on_dpnp(session: nox.Session, *args: str) -> None:
    """Run the tests of dpnp in a process of their own, again if that hangs, at most three times.

    dpnp 0.20 can stand still for good while it waits with Python's lock in hand. The cause that is
    known is kept out by ``libraries.py``; a test that *fails* is not run again.
    """
    hang = ("-o", "faulthandler_timeout=120", "-o", "faulthandler_exit_on_timeout=true")
    for _ in range(3):
        failed = pytest(session, *args, *hang, "-k", "dpnp", success_codes=(0, 1))
        if failed:
            session.error("tests failed on dpnp")
        if REPORTS[-1].exists():  # written by every run that came to its end
            return
    session.error("dpnp hung three times")


@nox.session(default=False)
@timed
def full(session: nox.Session) -> None:
    """The tests with their longer variants: run before a larger change is called done."""
    session.install(*GROUPS("test", "backends", "sklearn-compat"), ".[cli]")
    if session.posargs:
        pytest(session, "--long", *session.posargs)
    else:
        pytest(session, "--long", "tests", *PARALLEL, "-k", "not dpnp", OMP_NUM_THREADS="1")
        on_dpnp(session, "--long", "tests")
    for library in ("torch", "array_api_strict", "array_api_strict:device1"):
        swapped(session, library)


@nox.session
@timed
def sklearn_compat(session: nox.Session) -> None:
    """scikit-learn's installed tests with this package's estimators in their place, on NumPy."""
    session.install(*GROUPS("test", "sklearn-compat"), ".[sklearn]")
    for library in session.posargs or ["numpy"]:
        swapped(session, library)
    checks = ("-c", "tests/sklearn_compat/pytest.ini", "tests/sklearn_compat/checks.py")
    pytest(session, *checks, SCIPY_ARRAY_API="1")


def swapped(session: nox.Session, library: str, under: tuple[str, ...] = ()) -> None:
    """Run scikit-learn's own tests with our estimators, their inputs turned into a library's."""
    swap = ("-c", "tests/sklearn_compat/pytest.ini", "-p", "swap", "--swap-to", library)
    path = str(Path("tests/sklearn_compat").resolve())
    tests = ["sklearn.neural_network.tests.test_mlp"]
    if library == "numpy":  # those of LogisticRegression write NumPy attributes in between
        tests.append("sklearn.linear_model.tests.test_logistic")
    pytest(session, *swap, "--pyargs", *tests, under=under, PYTHONPATH=path)


@nox.session
@timed
def cupy_on_cpu(session: nox.Session) -> None:
    """All tests on the real CuPy, over a stand-in for the GPU (tools/cupy_on_cpu; needs g++)."""
    session.install(*GROUPS("test", "cupy-on-cpu"), ".[cli]")
    session.run("python", "tools/cupy_on_cpu/build.py", silent=True)
    under = ("python", "tools/cupy_on_cpu/run.py", "--")
    # What has nothing to do with CuPy has been run by `tests`.
    ours = ["--backends=cupy", "tests", "-k", "cupy or gpu_check", *COVERAGE, *PARALLEL]
    pytest(session, *(session.posargs or ours), under=under, OMP_NUM_THREADS="1")
    if not session.posargs:
        more = ("-q", *COVERAGE, "--cov-append", "tests/cupy_on_cpu")
        more += ("tests/engines/test_cupy.py", "tests/engines/test_cupy_upload.py")
        pytest(session, *more, *PARALLEL, under=under, FAKEHIP_PROTECT="1", OMP_NUM_THREADS="1")
        for late in ({"FAKEHIP_LAZY": "1"}, {"FAKEHIP_LAZY": "2", "FAKEHIP_LATE_PAGEABLE": "1"}):
            pytest(session, *more, "-k", "stream or prefetch", under=under, **late)
        model = f"--out={session.create_tmp()}/model.safetensors"
        session.run(*under, "xpnet", "train", "--backend=cupy", "--epochs=5", model)
        engine = ("--include=*/engines/cupy/*", "--fail-under=95")
        session.run("coverage", "report", *engine, env={"COVERAGE_FILE": ".coverage.cupy_on_cpu"})


@nox.session(default=False)
@timed
def sklearn_on_cupy(session: nox.Session) -> None:
    """scikit-learn's own tests of MLPs on CuPy arrays, over the stand-in for the GPU."""
    session.install(*GROUPS("test", "cupy-on-cpu"), ".[sklearn]")
    session.run("python", "tools/cupy_on_cpu/build.py", silent=True)
    swapped(session, "cupy", under=("python", "tools/cupy_on_cpu/run.py", "--"))


@nox.session
@timed
def cuda_compile(session: nox.Session) -> None:
    """Every kernel that `cupy_on_cpu` ran compiles for NVIDIA's GPUs (NVRTC: no GPU, no driver)."""
    session.install(*GROUPS("cupy-on-cpu", "cuda-compile"))
    session.run("python", "tools/compile_kernels.py", "tools/cupy_on_cpu/build/kernels")


@nox.session
@timed
def docs(session: nox.Session) -> None:
    """The site: every block of Python is run, a warning is an error; docstrings are checked."""
    session.install(*GROUPS("docs"), ".[cli]")
    session.run("python", "tools/cupy_on_cpu/build.py", silent=True)
    under = ("python", "tools/cupy_on_cpu/run.py", "--")
    for made in ("_build", "auto_gallery", "api/generated"):  # a page runs again when xpnet changes
        shutil.rmtree(Path("docs") / made, ignore_errors=True)
    build = ("sphinx-build", "-q", "-j2", "-W", "--keep-going", "docs", "docs/_build/html")
    session.run(*under, *build, *session.posargs)
    pytest(session, "-q", "tests/test_docstrings.py")


@nox.session(default=False)
@timed
def docs_browser(session: nox.Session) -> None:
    """The site that `docs` built, used in headless Chromium, with pictures of its pages."""
    if not (shutil.which("chromedriver") and shutil.which("chromium")):
        session.skip("there is no chromium with chromedriver here")
    session.install(*GROUPS("docs-browser"))
    shots = Path(session.create_tmp()) / "shots"
    session.run("python", "tools/browse_site.py", "docs/_build/html", f"--out={shots}")


@nox.session(default=False)
@timed
def package(session: nox.Session) -> None:
    """Wheel and sdist, checked; the wheel trains a net outside the checkout."""
    session.install(*GROUPS("package"))
    dist = Path("dist")
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--quiet")
    session.run("twine", "check", "--strict", *map(str, dist.iterdir()))
    (wheel,) = dist.glob("*.whl")
    if wheel.stat().st_size >= 1_000_000:
        session.error(f"{wheel} has {wheel.stat().st_size:,} bytes, a million or more")
    session.install(f"xpnet[cli] @ {wheel.resolve().as_uri()}")
    session.chdir(session.create_tmp())
    session.run("xpnet", "train", "--epochs=2")


@nox.session
@timed
def coverage(session: nox.Session) -> None:
    """At least 95 % of src was run by the sessions before this one."""
    session.install("coverage>=7.10")
    elsewhere = [files for name, files in COVERED_BY.items() if name not in SECONDS]
    session.run("coverage", "combine", "--keep", "--quiet")
    session.run("coverage", "report", "--fail-under=95", f"--omit={','.join(elsewhere)}")


@nox.session(default=False)
@timed
def gpu(session: nox.Session) -> None:
    """gpu_check and all tests on a GPU, by CuPy for CUDA 12 (`nox -s gpu -- cuda13` for 13).

    `nox -s gpu -- FOLDER` installs from a folder of wheels alone, without network.
    """
    chosen, *more = session.posargs or ["cuda12"]
    if (folder := Path(chosen)).is_dir():
        extra = "cuda13" if any(folder.glob("cupy_cuda13x*")) else "cuda12"
        session.install("--no-index", "--find-links", chosen, f"xpnet[{extra}]", "pytest")
    else:
        session.install(*GROUPS("test"), f".[cli,{chosen}]")
    session.run("python", "-m", "xpnet.gpu_check", "--json", "gpu_check.json")
    pytest(session, "--backends=numpy,cupy", *more)


@nox.session(default=False)
@timed
def bench(session: nox.Session) -> None:
    """All benchmarks; results are saved under .benchmarks. Arguments go to pytest."""
    session.install(*GROUPS("bench"), ".")
    pytest(session, "benchmarks", "--benchmark-autosave", *session.posargs)


@nox.session(default=False)
@timed
def peers(session: nox.Session) -> None:
    """xpnet's step beside its peers' and the floor: `nox -s peers -- --rows 64-64-10 --extra`."""
    session.install(*GROUPS("bench"), ".[sklearn,numba]")
    session.run("python", "-m", "benchmarks.peers", *session.posargs)


@nox.session(default=False)
@timed
def tables(session: nox.Session) -> None:
    """18 public tables in `xpnet train` and in scikit-learn: `nox -s tables -- --only iris`."""
    session.install(*GROUPS("tables"), ".[cli]")
    session.install("--no-deps", "ISLP>=0.4")  # its dependencies include PyTorch Lightning
    session.run("python", "-m", "benchmarks.tables", *session.posargs)


@nox.session(default=False)
@timed
def compare(session: nox.Session) -> None:
    """Two git revisions under today's benchmarks, in turn: `nox -s compare -- A B -k numpy`.

    Fails where a benchmark's median ratio, of B's time over A's, is above 1.10.
    """
    session.install(*GROUPS("bench"), ".")
    session.run("python", "-m", "benchmarks.compare", *session.posargs)
