"""``benchmarks.tables`` on a tiny table: both sides train, what is refused or short is said."""

import pytest

tables = pytest.importorskip("benchmarks.tables.__main__", reason="not run from the repository")
TINY = tables.Table("tiny", "none:tiny", "y", "accuracy", "CC0")


def rows(k, labels="ab"):
    return [f"{i % 2 + i / 100},{i % 3},{labels[i % 2]}" for i in range(k)]


def test_the_command_line(tmp_path):
    files = [tmp_path / "train.csv", tmp_path / "test.csv"]
    for file, k in zip(files, (40, 20), strict=True):
        file.write_text("\n".join(["a,b,y", *rows(k)]))
    found = tables.by_xpnet(*files, TINY, "logistic", 0)
    assert found["score"] == 1.0
    assert found["seconds"] > 0
    files[1].write_text("a,y\n1,a\n")
    refused = tables.by_xpnet(*files, TINY, "logistic", 0)["refused"]
    assert "test.csv" in refused
    assert "\n" not in refused


@pytest.mark.parametrize("task", ["accuracy", "R2"])
def test_scikit_learns_side(task, tmp_path):
    """A gap in each column, a class that only the test part has: neither is an error."""
    pandas = pytest.importorskip("pandas", reason="needs pandas: the group tables has it")
    labels = ["a", "b"] if task == "accuracy" else [1.0, 2.0]
    x = [None, *(i % 2 + i / 100 for i in range(1, 60))]
    color = [*("red" if i % 3 else None for i in range(59)), "blue"]
    frame = pandas.DataFrame({"x": x, "color": color, "y": labels * 30})
    table = tables.Table("tiny", "none:tiny", "y", task, "CC0")
    files = tmp_path / "train.csv", tmp_path / "test.csv"
    for part, file, k in zip(tables.split(frame, table, 0), files, (42, 18), strict=True):
        assert len(part) == k
        part.to_csv(file, index=False)
    model = "logistic" if task == "accuracy" else "linear"
    assert tables.by_sklearn(*files, table, model, 0)["score"] > 0.9


@pytest.mark.parametrize(
    ("ours", "shown"),
    [
        ([0.8, 0.8], ("0.800 ± 0.000", "**0.800 ± 0.000**")),
        ([0.7, 0.7], ("**0.700 ± 0.000**",) * 2),
        ([0.9, None], ("**refused**",) * 2),
    ],
)
def test_what_counts_as_reached(ours, shown):
    """scikit-learn's scores .8 and .9: .85 ± .05, and the linear models have .01."""
    runs = [{"refused": "why"} if s is None else {"score": s, "seconds": 1.0} for s in ours]
    other = [{"score": s, "seconds": 1.0} for s in (0.8, 0.9)]
    sides = {"xpnet": runs, "scikit-learn": other}
    found = tables.summary({"net": sides, "linear": sides})
    cells = [c.strip() for c in tables.line(TINY, (60, 3), found).strip("|").split("|")]
    assert cells[:3] == ["tiny", "60 × 2", "accuracy"]
    assert (cells[3], cells[5]) == shown
    assert cells[4] == cells[6] == "0.850 ± 0.050"


def test_the_tables_are_named_with_source_and_licence():
    assert len({table.name for table in tables.TABLES}) == 18
    assert all(":" in table.source and table.licence for table in tables.TABLES)
