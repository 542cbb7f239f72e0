"""The examples of README run as they are written, in an empty folder; the pages' names and links.

The Python of the pages is run where the site is built (``nox -s docs``), the commands of cli.md
by ``cli/test_cli_docs.py``.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

import xpnet

ROOT = Path(__file__).parents[1]
GUIDES = {path.name: path for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
pytestmark = pytest.mark.skipif("files.md" not in GUIDES, reason="the documents are not here")


def blocks(name, kind="python"):
    """The blocks of code of one kind, "" for those that name none, by the heading above them."""
    found, text = [], GUIDES[name].read_text("utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE):
        heading = section.partition("\n")[0]
        found += [(heading, code) for code in re.findall(rf"```{kind}\n(.*?)```", section, re.S)]
    return found


def execute(code, names=None):
    names = {} if names is None else names
    exec(compile(code, "example", "exec"), names)
    return names


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a bare `xpnet train` leaves behind."""
    pytest.importorskip("typer")
    pytest.importorskip("rich")
    folder, words = tmp_path_factory.mktemp("trained"), [sys.executable, "-m", "xpnet", "train"]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return folder / "model.safetensors"


@pytest.fixture
def model(trained, here):
    return shutil.copy(trained, here)


FIGURE = re.compile(r"# (0\.\d+)")


@pytest.mark.parametrize("heading", [heading for heading, _ in blocks("README.md")])
def test_the_blocks_of_the_readme_stand_alone(here, heading):
    """Each is pasted into a fresh interpreter; the figures in their comments are what comes out."""
    code = dict(blocks("README.md"))[heading]
    for library in {"cupy", "sklearn"} & set(re.findall(r"^(?:import|from) (\w+)", code, re.M)):
        pytest.importorskip(library, exc_type=ImportError)
    names = execute(
        code.replace("\nnet.score", "\nscore = net.score").replace(
            "\nmodel.score", "\nscore = model.score"
        )
    )
    for figure in FIGURE.findall(code):
        assert figure == f"{float(names['score']):.2f}"


def test_the_readme_shows_each_way():
    headings = [heading.partition(",")[0].partition(":")[0] for heading, _ in blocks("README.md")]
    assert headings == ["NumPy", "CuPy", "scikit-learn"]
    assert len(GUIDES["README.md"].read_text("utf-8").splitlines()) < 150


def test_the_grid_searches_of_the_readme_are_those_measured():
    measured = json.loads((ROOT / "benchmarks/results/sklearn-search.json").read_text("utf-8"))
    rows = [
        f"| {name} | {found['sklearn']['seconds']:.2f} s | {found['xpnet']['seconds']:.2f} s "
        f"| {found['times faster']:.1f} | {found['sklearn']['score']:.3f} "
        f"| {found['xpnet']['score']:.3f} |"
        for name, found in measured["searches"].items()
    ]
    assert "\n".join(rows) in GUIDES["README.md"].read_text("utf-8")
    for name, found in measured["searches"].items():
        same = found["sklearn"]["score"] == found["xpnet"]["score"]
        assert same or not name.startswith("MLP")


def test_what_the_readme_says_of_wide_nets_is_measured():
    measured = json.loads((ROOT / "benchmarks/results/peers.json").read_text("utf-8"))["rows"]
    wide = ("784-1024-10", "784-1024-1024-10", "784-4096-10")
    times = [measured[net]["cells"]["xpnet/torch"]["wall"] for net in wide]
    said = f"a step takes {min(times):.2f} to {max(times):.2f} times as long as PyTorch's"
    assert said in GUIDES["README.md"].read_text("utf-8")


def test_the_commands_of_the_readme(here):
    """As they are written, on a table with the column that they name."""
    pytest.importorskip("typer")
    pytest.importorskip("pandas")
    houses = xpnet.load_houses().rename(columns={"price_thousands": "price"})
    houses.to_csv("data.csv", index=False)
    houses.drop(columns="price").to_csv("new.csv", index=False)
    (commands,) = (code for at, code in blocks("README.md", "") if at == "A table")
    for line in commands.strip().splitlines():
        words = shlex.split(line, comments=True)
        assert words[0] == "xpnet"
        call = [sys.executable, "-m", *words]
        done = subprocess.run(call, capture_output=True, encoding="utf-8")
        assert done.returncode == 0, (line, done.stdout, done.stderr)
    assert (here / "model.onnx").stat().st_size > 0
    assert len((here / "answers.csv").read_text().splitlines()) == 501


def test_pictures_of_the_guide_are_shown():
    """A script that is pasted together from the blocks of plotting.md opens its windows."""
    drawing = [code for heading, code in blocks("plotting.md") if heading and "Display." in code]
    assert len(drawing) > 5
    assert all(code.endswith("plt.show()\n") for code in drawing)


@pytest.mark.parametrize("name", ["README.md", "plotting.md", "files.md", "training.md", "data.md"])
def test_nothing_is_installed_from_an_index_where_the_package_is_not(name):
    assert "xpnet[" not in GUIDES[name].read_text("utf-8")


@pytest.mark.parametrize("module", ["", "callbacks.", "plotting.", "schedules."])
def test_every_public_name_has_a_page(module):
    """Each is named once in docs/api/index.md, from which its page is made."""
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    text = (ROOT / "docs/api/index.md").read_text("utf-8")
    named = re.findall(rf"^   {re.escape(module)}(\w+)$", text, re.MULTILINE)
    public = import_module(f"xpnet.{module}".rstrip(".")).__all__
    assert sorted(named) == sorted(set(public) - {"callbacks", "plotting", "schedules"})


@pytest.mark.parametrize("script", sorted((ROOT / "docs/gallery").glob("plot_*.py")))
def test_a_script_of_the_gallery_says_what_it_needs(script):
    tree = ast.parse(script.read_text("utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
             for alias in node.names]  # fmt: skip
    names += [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    needed = {name.partition(".")[0] for name in names} - {"numpy", "xpnet"}
    for name in needed - sys.stdlib_module_names:
        assert {"sklearn": "scikit-learn"}.get(name, name) in ast.get_docstring(tree)
    assert "Where to go next" in script.read_text("utf-8")


LISTS = {"index.md", "guides.md", "project.md", "changelog.md"}  # nothing but links, or the history
PAGES = [path for path in (ROOT / "docs").glob("[!_]*/*.md") if path.parent.name != "generated"]


@pytest.mark.parametrize("page", [*(ROOT / "docs").glob("*.md"), *PAGES], ids=lambda p: p.stem)
def test_a_page_ends_with_where_to_go_next(page):
    if page.parent.name != "docs" or page.name not in LISTS:
        *_, last = re.findall(r"^## (.*)", page.read_text("utf-8"), re.MULTILINE)
        assert last == "Where to go next"


def test_links_lead_somewhere():
    for path in GUIDES.values():
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text("utf-8")):
            assert (path.parent / target).exists(), (path.name, target)


def test_what_predict_raw_says_is_what_the_command_says(model):
    """Of the table as it stands, on either side of the standardisation."""
    X, y = xpnet.load_digits()
    np.savez("digits.npz", X=X, y=y)
    words = ["-m", "xpnet", "predict", str(model), "digits.npz", "--out", "answers.csv"]
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    _, *said = Path("answers.csv").read_text().splitlines()
    assert [str(label) for label in xpnet.load(model).predict_raw(X.T)] == said


def test_the_version_and_its_date_are_the_same_everywhere():
    released = re.findall(r"^## \[(\d.*)\] - (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    cited = (ROOT / "CITATION.cff").read_text()
    written = re.findall(r'^version: (.*)\ndate-released: "(.*)"$', cited, re.M)
    assert written == released[:1]
    assert written[0][0] == xpnet.__version__
