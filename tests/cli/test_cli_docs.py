"""docs/cli.md says what the command line takes: no more, no less."""

import inspect
import re
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("rich")

from xpnet.cli.config import long_name
from xpnet.cli.settings import Settings
from xpnet.data.task import EXAMPLES_PER_CLASS, MOST_CLASSES

DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documents are not here")


def test_every_option_of_train_is_in_the_document():
    said = DOCS.read_text(encoding="utf-8")
    names = {long_name(name) for name in inspect.signature(Settings).parameters} - {"data"}
    missing = {name for name in names if not re.search(rf"--{name}\b|`--{name}`", said)}
    assert missing - {"out"} == set()


def test_every_option_in_the_document_is_one(ok):
    words = ("", "train", "predict", "evaluate", "export", "show", "info")
    known = set(re.findall(r"--[a-z][a-z0-9-]+", "".join(ok(f"{word} --help") for word in words)))
    found = set(re.findall(r"--[a-z][a-z0-9-]+", DOCS.read_text(encoding="utf-8")))
    assert found - known == set()


def test_the_cost_has_one_name(ok, blobs):
    pytest.importorskip("matplotlib")
    ok("train blobs.csv --target side --epochs 1 --hidden 2 --out m --log log.csv --plot curve.svg")
    said = [ok(f"{word} --help") for word in ("train", "evaluate", "bench")]
    said += [ok(f"evaluate m blobs.csv {json}") for json in ("", "--json")]
    said += [path.read_text() for path in (DOCS, Path("log.csv"), Path("curve.svg"))]
    assert all("cost" in text for text in said)
    assert not re.search(r"\bloss", "".join(said))


def test_the_rule_of_the_task_is_that_of_the_code():
    rule = f"up to {MOST_CLASSES} distinct ones with {EXAMPLES_PER_CLASS} examples each on average"
    assert rule in DOCS.read_text(encoding="utf-8")


def test_commands_of_the_document_run(run, here, blobs):
    """Those of the section on tables, with blobs.csv in place of iris.csv."""
    section = DOCS.read_text(encoding="utf-8").split("```")[1]
    for line in section.strip().splitlines():
        line = line.partition(" >")[0].partition(" |")[0].replace("iris.csv", "blobs.csv")
        line = line.replace("species", "side")
        line = re.sub(r"\b(test|new)\.csv", "blobs.csv", line)
        result = run(line.removeprefix("xpnet "))
        assert result.exit_code == 0, result.output
