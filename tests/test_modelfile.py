"""Model files: they come back as they were, and a damaged one never comes back at all."""

import json
import os
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import xpnet.modelfile as modelfile
from xpnet import ModelFileError
from xpnet.modelfile import load_model, save_model

CONFIG = {"sizes": [4, 5, 1], "name": "Grüße", "nested": {"l2": 0.5, "none": None}}


def layers(dtype=np.float32):
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(n_out, n_in)).astype(dtype), rng.normal(size=(n_out, 1)).astype(dtype))
        for n_in, n_out in ((4, 5), (5, 1))
    ]


EXTRA = {"mean": np.arange(4.0), "count": np.array([7]), "flag": np.array(True)}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, layers(), CONFIG, EXTRA)
    return path


def rewrite(path, *, metadata=None, header=None):
    """Change the header of a model file and keep the rest."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    said = json.loads(raw[8 : 8 + length])
    said["__metadata__"].update(metadata or {})
    said.update(header or {})
    text = json.dumps(said).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + raw[8 + length :])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(tmp_path, dtype):
    save_model(tmp_path / "m", layers(dtype), CONFIG, EXTRA)
    model = load_model(tmp_path / "m")
    assert model.config == CONFIG
    assert set(model.tensors) == set(EXTRA)
    for name, expected in EXTRA.items():
        found = model.tensors[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    for read, written in zip(model.parameters, layers(dtype), strict=True):
        for a, b in zip(read, written, strict=True):
            np.testing.assert_array_equal(a, b)
            assert a.dtype == dtype
            assert a.flags.writeable


def test_any_reader_of_safetensors_reads_it(path):
    tensors = load_file(path)
    assert set(tensors) == {"W1", "b1", "W2", "b2", *EXTRA}
    np.testing.assert_array_equal(tensors["W1"], layers()[0][0])


def test_memory_order_and_byte_order_do_not_matter(tmp_path):
    odd = [(np.asfortranarray(W).astype(">f4"), np.repeat(b, 2, axis=0)[::2]) for W, b in layers()]
    save_model(tmp_path / "m", odd, {}, {"turned": np.arange(3)[::-1]})
    model = load_model(tmp_path / "m")
    for read, written in zip(model.parameters, layers(), strict=True):
        for a, b in zip(read, written, strict=True):
            np.testing.assert_array_equal(a, b)
    assert model.tensors["turned"].tolist() == [2, 1, 0]


def test_empty_extra_tensor(tmp_path):
    save_model(tmp_path / "m", layers(), {}, {"none": np.zeros((0, 3))})
    assert load_model(tmp_path / "m").tensors["none"].shape == (0, 3)


@pytest.mark.parametrize(
    ("parameters", "config", "extra", "error", "said"),
    [
        ([], {}, {}, ValueError, "no tensor W1"),
        ([(np.ones((2, 3)), np.ones(2))], {}, {}, ValueError, "b1"),
        ([(np.ones(3), np.ones((2, 1)))], {}, {}, ValueError, "W1"),
        (layers()[::-1], {}, {}, ValueError, "1 outputs"),
        ([(np.ones((1, 1), int), np.ones((1, 1), int))], {}, {}, ValueError, "float32 or float64"),
        ([(np.ones((1, 1)), np.ones((1, 1), "f4"))], {}, {}, ValueError, "float32 or float64"),
        (layers(), {"lr": float("nan")}, {}, ValueError, "JSON"),
        (layers(), {"lr": object()}, {}, TypeError, "JSON"),
        (layers(), {}, {"W1": np.ones(1)}, ValueError, "'W1'"),
        (layers(), {}, {"names": np.array(["a"])}, TypeError, "'names'"),
        (layers(), {}, {"z": np.ones(1, complex)}, TypeError, "complex128"),
    ],
)
def test_what_cannot_be_saved(tmp_path, path, parameters, config, extra, error, said):
    before = path.read_bytes()
    with pytest.raises(error, match=said):
        save_model(path, parameters, config, extra)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


# -- writing in one step -----------------------------------------------------------------
def test_a_failed_write_leaves_the_old_file(path, tmp_path, monkeypatch):
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(modelfile.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save_model(path, layers(np.float64), {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="symbolic links need rights on Windows")
def test_a_link_stays_a_link(path, tmp_path):
    link = tmp_path / "latest"
    link.symlink_to(path)
    save_model(link, layers(np.float64), {})
    assert link.is_symlink()
    assert load_model(path).config == {}


def test_folders_and_devices_are_not_replaced(tmp_path):
    with pytest.raises(OSError, match="not a regular file"):
        save_model(tmp_path, layers(), {})
    if os.path.exists("/dev/null"):
        with pytest.raises(OSError, match="not a regular file"):
            save_model("/dev/null", layers(), {})


# -- files that must not load ------------------------------------------------------------
def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes"),
        (b"1234567", "7 bytes"),
        (b"\x80\x04\x95" + b"pickle" * 20, "not a safetensors file"),
        (b"PK\x03\x04" + bytes(200), "not a safetensors file"),
        ((2**63).to_bytes(8, "little") + b"{}", "not a safetensors file"),
        ((99_000_000).to_bytes(8, "little") + b"{}", "truncated, or not a safetensors file"),
        ((10).to_bytes(8, "little") + b'{"a": [[[[', "header is damaged"),
        ((4).to_bytes(8, "little") + b"[{}]", "not a safetensors file"),
        ((200_001).to_bytes(8, "little") + b'{"a":' + b"[" * 200_000, "header is damaged"),
        ((2).to_bytes(8, "little") + b"{}", "not a model that xpnet saved"),
    ],
)
def test_foreign_files(tmp_path, content, said):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(ModelFileError, match=said):
        load_model(tmp_path / "m")


def test_safetensors_of_others(tmp_path):
    save_file({"W1": np.ones((1, 1)), "b1": np.ones((1, 1))}, tmp_path / "m")
    with pytest.raises(ModelFileError, match="not a model that xpnet saved"):
        load_model(tmp_path / "m")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"format_version": "2"}, "newer than this xpnet, which reads up to 1"),
        ({"format_version": "9" * 5000}, "newer than this xpnet"),
        ({"format_version": "0"}, "incomplete"),
        ({"format_version": "one"}, "format version 'one'"),
        ({"format_version": 1}, "format version 1"),
        ({"format": "other"}, "not a model that xpnet saved"),
        ({"config": None}, "incomplete"),
        ({"config": "{}"}, "do not fit the checksum"),
        ({"sha256": "0" * 64}, "do not fit the checksum"),
    ],
)
def test_other_versions_and_damaged_metadata(path, metadata, said):
    rewrite(path, metadata=metadata)
    with pytest.raises(ModelFileError, match=said):
        load_model(path)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 80]},
        {"dtype": "F32", "shape": [0, 10**30], "data_offsets": [0, 0]},
        {"dtype": "F32", "shape": [5, 4], "data_offsets": [0, 2**62]},
        {"dtype": "F32", "shape": [-5, -4], "data_offsets": [0, 80]},
        {"dtype": "F32", "shape": [True] * 20, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1] * 40, "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [4, 5.0], "data_offsets": [0, 80]},
        {"dtype": "F32", "shape": "45", "data_offsets": [0, 80]},
        {"dtype": "BF16", "shape": [4, 5], "data_offsets": [0, 40]},
        {"dtype": ["F32"], "shape": [4, 5], "data_offsets": [0, 80]},
        {"dtype": "F32", "shape": [4, 5], "data_offsets": [0, 80, 90]},
        {"dtype": "F32", "shape": [4, 5]},
        {"dtype": "F32", "shape": [4, 5], "data_offsets": [4, 84]},
        "text",
        None,
    ],
    ids=str,
)
def test_headers_that_lie(path, entry):
    rewrite(path, header={"W1": entry})
    with pytest.raises(ModelFileError, match=r"damaged|truncated|longer"):
        load_model(path)


@pytest.mark.parametrize(("config", "said"), [("[]", "not a JSON object"), ("{", "damaged")])
def test_a_good_checksum_over_a_bad_configuration(path, config, said, monkeypatch):
    monkeypatch.setattr(modelfile.json, "dumps", lambda *args, **kwargs: config)
    save_model(path, layers(), {})
    with pytest.raises(ModelFileError, match=f"configuration is {said}"):
        load_model(path)


def test_a_good_checksum_over_layers_that_do_not_fit(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(modelfile, "_layers", lambda tensors: [])
        save_model(path, layers()[::-1], {})
    with pytest.raises(ModelFileError, match="1 outputs"):
        load_model(path)


def test_mutated_files(path):
    """Bits flipped, bytes replaced, removed and added: each is refused, in one line."""
    raw = path.read_bytes()
    header = 8 + int.from_bytes(raw[:8], "little")
    rng = np.random.default_rng(0)
    for i in range(600):
        changed = bytearray(raw)
        # Half of them in the header, where the lies are.
        at = int(rng.integers(header if i % 2 else len(raw)))
        match i % 6:
            case 0 | 1:
                changed[at] ^= 1 << int(rng.integers(8))
            case 2:
                del changed[at:]
            case 3:
                changed[at] = int(rng.choice(list(b'0123456789,:"{}[]eE-')))
            case 4:
                changed[at : at + int(rng.integers(1, 40))] = rng.bytes(int(rng.integers(40)))
            case 5:
                changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
        if changed == raw:
            continue
        path.write_bytes(changed)
        with pytest.raises(ModelFileError) as raised:
            load_model(path)
        assert "\n" not in str(raised.value)
        assert str(path) in str(raised.value)
        assert len(str(raised.value)) < 300 + len(str(path))


def test_no_allocation_beyond_the_file(tmp_path):
    """A sparse file of a terabyte that is no model of ours is not read."""
    path = tmp_path / "huge"
    text = b'{"W1":{"dtype":"F32","shape":[250000000000],"data_offsets":[0,1000000000000]}}'
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        try:
            file.truncate(8 + len(text) + 10**12)
        except OSError:
            pytest.skip("the file system holds no sparse file of a terabyte")
    with pytest.raises(ModelFileError, match="not a model that xpnet saved"):
        load_model(path)
