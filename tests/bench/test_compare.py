"""``benchmarks.compare``: two revisions take turns, and the median ratio decides."""

import sys
from pathlib import Path

import pytest

compare = pytest.importorskip("benchmarks.compare", reason="not run from the repository")


@pytest.mark.parametrize(("factor", "code", "said"), [(1.05, 0, " 1.050 "), (1.2, 1, "slower")])
def test_two_revisions(monkeypatch, capsys, factor, code, said):
    """B takes ``factor`` times as long, but for one round that something disturbed."""
    asked = []

    def medians(folder, arguments):
        asked.append((folder.name, arguments))
        disturbed = 10.0 if len(asked) == 4 else 1.0
        return {"a step": disturbed * (factor if folder.name == "1" else 1.0)}

    monkeypatch.setattr(compare, "unpacked", lambda revision, folder: Path(folder))
    monkeypatch.setattr(compare, "medians", medians)
    monkeypatch.setattr(sys, "argv", ["compare", "old", "new", "--rounds", "3", "-k", "numpy"])
    with pytest.raises(SystemExit) as info:
        compare.main()
    assert info.value.code == code
    assert said in capsys.readouterr().out
    assert asked == [(name, ["-k", "numpy"]) for name in "010101"]
