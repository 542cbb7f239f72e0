"""Dropout's random numbers: equal to the published ones, the same on every library, and random."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import plain_fields, plain_threefry

import xpnet
from xpnet.core import masks
from xpnet.core.network import PREFIX, step_table
from xpnet.engines import numpy as engine
from xpnet.engines.numpy_dropout import Fields

# Random123 (Salmon et al. 2011), kat_vectors, "threefry2x32 20": counter, key, expected.
KNOWN = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


def signed(*words):
    """Words of 32 bits as NumPy arrays of int32."""
    return [np.atleast_1d(np.array(w, np.uint32)).view(np.int32) for w in words]


def computed(lib, key, counter):
    """Both words as uint32 on the host."""
    place = xpnet.select(lib.name, lib.device)
    with place.context():
        pairs = [tuple(lib.asarray(x) for x in signed(*pair)) for pair in (key, counter)]
        words = masks.threefry2x32(*pairs)
    for word in words:
        assert lib.owns(word)
        assert lib.dtype_of(word) == "int32"
    return [lib.to_numpy(word).view(np.uint32) for word in words]


def test_published_numbers(lib):
    for counter, key, expected in KNOWN:
        assert [int(w[0]) for w in computed(lib, key, counter)] == list(expected)


def test_published_numbers_of_the_tests_own_version():
    for counter, key, expected in KNOWN:
        assert plain_threefry(key, counter) == expected


def test_numbers_of_jax(lib):
    random = pytest.importorskip("jax.extend.random")
    rng = np.random.default_rng(1)
    key = rng.integers(0, 2**32, 2, dtype=np.uint32)
    counter = rng.integers(0, 2**32, (2, 1000), dtype=np.uint32)
    expected = np.asarray(random.threefry_2x32(key, counter.reshape(-1))).reshape(2, 1000)
    np.testing.assert_array_equal(computed(lib, key, counter), expected)


KEYS = [(0, 1), (7, 3), (2**32 + 5, 2**16), (-1, 2**32 - 1)]  # seeds and numbers of steps


@pytest.mark.parametrize(("seed", "step"), KEYS)
@pytest.mark.parametrize("shape", [(3, 4), (5, 3), (1, 1)], ids=str)
def test_fields_on_every_library(lib, shape, seed, step):
    (row,) = step_table(xpnet.Adam(), np.array([step + 1.0]), np.ones(1), seed=seed)
    place = xpnet.select(lib.name, lib.device, "float32")
    with place.context():
        like = place.asarray(np.ones(1, np.float32))
        options = {"xp": place.xp, "device": getattr(like, "device", None)}
        found = masks.fields(1, *shape, row[3:PREFIX].tolist(), **options)
        assert lib.owns(found)
    np.testing.assert_array_equal(lib.to_numpy(found), plain_fields(1, *shape, seed, step))


def keys_of(steps, seed=3):
    t = np.asarray(steps, dtype=float) + 1.0
    return step_table(xpnet.Adam(), t, np.ones(len(t)), seed=seed)[:, 3:PREFIX]


@pytest.mark.parametrize(
    "steps",
    [range(200), [*range(9), *range(40, 60), 3, 2, 1], range(0, 60, 3), [5, 5, 5, 2**32 - 1, 0]],
    ids=["in-order", "restored", "every-third", "again"],
)
def test_fields_drawn_ahead_are_those_of_the_step(steps):
    """Masks are right whatever step comes next: in a run, after going back, or every third."""
    units, m = {0: 5, 2: 8}, 3
    key = [np.array(0.0, np.float32) for _ in range(4)]
    fields = Fields(units, m, key)
    for halves in keys_of(steps):
        for place, half in zip(key, halves, strict=True):
            place[()] = half
        fields.advance()
        for layer, n in units.items():
            expected = masks.fields(layer, m, n, halves.tolist(), xp=np, device=None)
            np.testing.assert_array_equal(fields[layer], expected)


@pytest.mark.usefixtures("recorded")
def test_a_run_draws_many_steps_at_once(monkeypatch):
    """Draws are shared by many steps: a small net would spend most of its time on them."""
    drawn = []
    original = Fields._draw
    monkeypatch.setattr(
        Fields, "_draw", lambda self, *args: drawn.append(args[2]) or original(self, *args)
    )
    net = xpnet.DeepNet([4, 16, 2], output="softmax")
    X, Y = np.ones((4, 20), np.float32), np.zeros(20, int)
    monkeypatch.setattr(engine, "best_recorder", lambda: engine.Recorder)  # not Numba's
    net.fit(X, Y, epochs=400, batch_size=20, dropout=0.5)
    assert drawn[:7] == [1, 2, 4, 8, 16, 32, 64]
    assert len(drawn) <= 7 + 400 // 64


def test_table_without_a_seed_has_no_key():
    table = step_table(xpnet.AdamW(), np.arange(1.0, 4.0), np.ones(3), l2=[1, 2, 3], clip_norm=5)
    assert table.shape == (3, PREFIX + 4)
    np.testing.assert_array_equal(table[:, :3], [[1, 0, 5], [2, 0, 5], [3, 0, 5]])
    assert not np.any(table[:, 3:PREFIX])


@pytest.mark.parametrize(
    ("rate", "kept"), [(0.0, 65536), (0.25, 49152), (0.5, 32768), (1e-9, 65536)]
)
def test_scale_is_exact(rate, kept):
    assert 65536 - masks.threshold(rate) == kept
    assert masks.scale(rate) * kept == 65536


def test_a_rate_next_to_one_keeps_something():
    assert masks.threshold(np.nextafter(1.0, 0.0)) == 65535
    assert masks.scale(np.nextafter(1.0, 0.0)) == 65536.0


M, N = 200, 300


def drawn(layer=0, step=0, seed=0):
    (key,) = keys_of([step], seed)
    return masks.fields(layer, M, N, key.tolist(), xp=np, device=None)


def test_fields_are_uniform():
    """Chi-squared over 256 classes of each byte: 255 expected, a standard deviation of 23."""
    x = drawn()
    assert x.min() >= 0
    assert x.max() < 65536
    for byte in (x >> 8, x & 255):
        counts = np.bincount(byte.ravel(), minlength=256)
        expected = M * N / 256
        assert abs(np.sum((counts - expected) ** 2) / expected - 255) < 4 * 23


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_share_of_kept_units(rate):
    kept = drawn() >= masks.threshold(rate)
    assert abs(kept.mean() - (1 - rate)) < 4 * np.sqrt(rate * (1 - rate) / (M * N))
    for axis in (0, 1):  # no unit, and no example, is preferred
        share = kept.mean(axis=axis)
        spread = np.sqrt(rate * (1 - rate) / kept.shape[axis])
        assert np.max(np.abs(share - (1 - rate))) < 5 * spread
        assert 0.85 < share.std() / spread < 1.15


def test_masks_are_independent_of_each_other():
    """Masks of other layers, steps, seeds, and of neighbours that share a counter."""
    base = drawn() >= 32768
    others = [drawn(layer=1), drawn(step=1), drawn(step=2**16), drawn(seed=1), drawn(seed=2**16)]
    others += [np.roll(drawn(), k, axis=axis) for k in (1, 2, 3, 4) for axis in (0, 1)]
    swapped = drawn(step=1, seed=2), drawn(step=2, seed=1)
    pairs = [(base, other >= 32768) for other in others]
    pairs.append(tuple(x >= 32768 for x in swapped))
    for one, other in pairs:
        assert abs((one == other).mean() - 0.5) < 4 * 0.5 / np.sqrt(M * N)
