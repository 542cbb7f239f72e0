"""Statistics of a stream, and rows prepared with them."""

from __future__ import annotations

import numpy as np
import pytest
from stream_helpers import MEMORY, NUMBERS, RNG, ROWS, write_csv

from xpnet.data import statistics
from xpnet.data.open_stream import stream
from xpnet.data.standardizer import Standardizer
from xpnet.data.task import Labels

COLUMNS = RNG.normal(size=(4000, 6)) * [1, 1e-5, 1e6, 1e300, 0, 1] + [0, 1, 1e7, 0, 0.1, -1e9]
COLUMNS[:2000, 5] += 1e9  # far from the first block's mean
COLUMNS = np.column_stack([COLUMNS, RNG.normal(size=4000) + 1e8])  # close together, far from 0


@pytest.mark.parametrize("memory", [20_000, 1e6, 1e9])
def test_statistics_are_those_of_all_rows_at_once(memory):
    labels = RNG.integers(3, 9, len(COLUMNS))
    found = stream(COLUMNS, labels, memory=memory).statistics()
    expected, y = Standardizer.fit(COLUMNS), Standardizer.fit(labels[:, None])
    np.testing.assert_allclose(found.inputs.mean / expected.mean, 1.0, rtol=1e-9)
    np.testing.assert_allclose(found.inputs.scale[:4], expected.scale[:4], rtol=1e-9)
    assert (found.inputs.scale[4], found.inputs.mean[4]) == (0.0, 0.1)
    np.testing.assert_allclose(found.inputs.scale[5:], expected.scale[5:], rtol=1e-9)
    assert abs(found.inputs.mean[6] - expected.mean[6]) <= np.spacing(1e8)
    np.testing.assert_allclose(found.inputs.scale[6], (COLUMNS[:, 6] - 1e8).std(), rtol=1e-12)
    np.testing.assert_allclose([found.targets.mean, found.targets.scale], [y.mean, y.scale])
    assert (found.n, found.classes.tolist()) == (4000, [3, 4, 5, 6, 7, 8])
    assert found.task == Labels.of(labels).task == "classification"
    as_floats = stream(COLUMNS, labels.astype(float), memory=memory).statistics()
    assert as_floats.task == "classification"


def test_statistics_of_huge_values_do_not_overflow():
    X = np.repeat([[1e308], [-1e308], [0.0]], 50, axis=0)
    found = stream(X, np.ones(150), memory=4000).statistics()
    assert np.isfinite(found.inputs.mean).all()
    np.testing.assert_allclose(found.inputs.scale, 1e308 * np.sqrt(2 / 3))


def test_statistics_of_a_part(tmp_path):
    with stream(write_csv(tmp_path / "a.csv"), target="y", memory=MEMORY) as rows:
        found, train = rows.statistics(), rows.split(0.2)[0]
        assert train.statistics().n == train.n_examples
        expected = Standardizer.fit(ROWS)
        np.testing.assert_allclose(found.inputs.mean, expected.mean, rtol=1e-9)
        np.testing.assert_allclose(found.inputs.scale, expected.scale, rtol=1e-9)


def test_too_many_labels_are_no_classes():
    assert stream(np.ones((20_000, 1)), np.arange(20_000)).statistics().classes is None
    texts = np.arange(100_002).astype(str)
    with pytest.raises(ValueError, match="more than 100,000 distinct texts"):
        stream(np.ones((100_002, 1)), texts).statistics()
    assert stream(ROWS, ROWS[:, :2]).statistics().classes is None


def test_prepared_rows():
    source = stream(ROWS, NUMBERS * 2.0, memory=MEMORY)
    found = source.statistics()
    ready = source.prepared(found.inputs, found.targets)
    X, Y = (np.concatenate(x) for x in zip(*((b.X, b.Y) for b in ready.blocks(64))))
    np.testing.assert_allclose(X, Standardizer.fit(ROWS).apply(ROWS), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose([X.mean(), X.std(), Y.mean(), Y.std()], [0, 1, 0, 1], atol=1e-7)
    X32 = np.concatenate([b.X for b in source.standardized().blocks(64, dtype="float32")])
    np.testing.assert_allclose(X32, X, atol=1e-6)  # standardised before digits were dropped
    with pytest.raises(ValueError, match=r"row 900 .*: y is 1800\.0, none of the 900 classes"):
        list(source.prepared(classes=np.arange(900) * 2.0).blocks())
    with pytest.raises(ValueError, match="targets or classes"):
        source.prepared(targets=found.targets, classes=found.classes)


@pytest.mark.parametrize(("parts", "most"), [(1, 6), (3, 6), (3, 5)])
def test_labels_are_counted_over_all_parts(monkeypatch, parts, most):
    monkeypatch.setattr(statistics, "MOST_LABELS", most)
    seen = statistics.RunningLabels()
    for part in np.array_split(np.array([5, 4, 3, 3, 2, 1, 5, 0, 1]), parts):
        seen.add(part)
    assert seen.distinct is None if most == 5 else seen.distinct.tolist() == [0, 1, 2, 3, 4, 5]
