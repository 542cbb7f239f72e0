"""Model files: they come back as they were, and a damaged one never comes back at all."""

import contextlib
import io
import json
import os
import re
import time
from collections import Counter

import numpy as np
import pytest
import safetensors.numpy
from safetensors.numpy import load_file

import xpnet
import xpnet.files.model as modelfile
from xpnet import ModelFileError
from xpnet.files.model import load_model, save_model
from xpnet.schedules import Plateau

CONFIG = {"sizes": [4, 5, 1], "name": "Grüße", "nested": {"l2": 0.5, "none": None}}


def layers(dtype=np.float32):
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(n_out, n_in)).astype(dtype), rng.normal(size=(n_out, 1)).astype(dtype))
        for n_in, n_out in ((4, 5), (5, 1))
    ]


GOOD = {"sizes": [4, 5, 1], "hidden": ["elu"], "output": "sigmoid", "dtype": None, "seed": 0}
EXTRA = {"mean": np.arange(4.0), "count": np.array([7]), "flag": np.array(True)}


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "model.safetensors"
    save_model(path, layers(), CONFIG, EXTRA)
    return path


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


def test_the_same_net_is_the_same_bytes(tmp_path):
    """The order of keys in the header is ours, not that of a hash map."""
    contents = set()
    for i in range(8):  # four keys, so that equal ones by chance are rare
        save_model(tmp_path / f"{i}", layers(), CONFIG, EXTRA)
        contents.add((tmp_path / f"{i}").read_bytes())
    (content,) = contents
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    assert list(header["__metadata__"]) == sorted(header["__metadata__"])
    assert length % 8 == 0


def test_memory_order_and_byte_order_do_not_matter(tmp_path):
    odd = [(np.asfortranarray(W).astype(">f4"), np.repeat(b, 2, axis=0)[::2]) for W, b in layers()]
    save_model(tmp_path / "m", odd, {}, {"turned": np.arange(3)[::-1]})
    model = load_model(tmp_path / "m")
    for read, written in zip(model.parameters, layers(), strict=True):
        for a, b in zip(read, written, strict=True):
            np.testing.assert_array_equal(a, b)
    assert model.tensors["turned"].tolist() == [2, 1, 0]


def test_what_numpy_and_other_libraries_hold_is_saved(lib, tmp_path):
    """Numbers and arrays beside a net, lists as tensors; in ONNX too."""
    net, x = xpnet.DeepNet([2, 1]), np.linspace(0.0, 1.0, 4, dtype=np.float32)
    net.data = {"classes": np.array(["no", "yes"]), "n": np.int64(3), "rate": np.float32(0.5),
                "flags": [np.True_, {"x": lib.asarray(x)}]}  # fmt: skip
    net.tensors = {"own": lib.asarray(x), "list": [[1, 2], [3, 4]], "number": 2.5}
    plain = {"classes": ["no", "yes"], "n": 3, "rate": 0.5, "flags": [True, {"x": x.tolist()}]}
    for data, tensors in ((None, None), (net.data, net.tensors)):
        net.save(tmp_path / "m", data, tensors)
        loaded = xpnet.load(tmp_path / "m")
        assert loaded.data == plain
        np.testing.assert_array_equal(loaded.tensors["own"], x, strict=True)
        assert loaded.tensors["list"].tolist() == [[1, 2], [3, 4]]
        assert loaded.tensors["number"].shape == ()
    net.to_onnx(tmp_path / "own.onnx")
    loaded.to_onnx(tmp_path / "loaded.onnx")
    assert (tmp_path / "own.onnx").read_bytes() == (tmp_path / "loaded.onnx").read_bytes()
    net.tensors = {"input_mean": lib.asarray(x[:2]), "input_scale": [1.0, 2.0]}
    assert net.predict_raw(np.zeros((2, 3))).shape == (3,)


@pytest.mark.parametrize("name", ["x.h5", "x.PT", "x.onnx", "x.pkl", "x.keras"])
def test_a_name_of_another_programs_model_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"\.safetensors'; net\.to_onnx.*net\.to_torch"):
        xpnet.DeepNet([2, 1]).save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_refused():
    with pytest.raises(TypeError, match="a path or an open file is needed, not None"):
        xpnet.DeepNet([2, 1]).save(None)


def test_open_files(tmp_path):
    net = xpnet.DeepNet([4, 3, 2], output="softmax", seed=5)
    X, y = np.random.default_rng(0).normal(size=(4, 20)), np.arange(20) % 2
    net.fit(X, y, epochs=2)
    file = io.BytesIO(b"skipped")
    file.seek(7)
    net.save(file, {"a": 1}, {"t": [1.0]}, training=True)
    net.save(tmp_path / "m", {"a": 1}, {"t": [1.0]}, training=True)
    assert file.getvalue()[7:] == (tmp_path / "m").read_bytes()
    file.seek(7)
    loaded = xpnet.load(file)
    with open(tmp_path / "m", "rb") as opened:
        assert xpnet.load(opened).data == loaded.data == {"a": 1}
    loaded.fit(X, y, epochs=1, resume=True)
    net.fit(X, y, epochs=1, resume=True)
    np.testing.assert_array_equal(loaded.theta, net.theta)
    net.to_onnx(onnx := io.BytesIO())
    net.to_onnx(tmp_path / "m.onnx")
    assert onnx.getvalue() == (tmp_path / "m.onnx").read_bytes()
    content = file.getvalue()[7:]
    for damaged in (b"", content[:50], content[:-1], content[:-1] + b"x"):
        with pytest.raises(ModelFileError, match=r"open file: .*(truncated|damaged)"):
            xpnet.load(io.BytesIO(damaged))


@pytest.mark.parametrize("shape", [(0, 3), (0, 10**9), (3, 0, 10**9), (1,) * 64, ()], ids=len)
def test_odd_shapes_of_extra_tensors(tmp_path, shape):
    save_model(tmp_path / "m", layers(), {}, {"odd": np.zeros(shape)})
    assert load_model(tmp_path / "m").tensors["odd"].shape == shape


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
        (layers(), {}, {"__metadata__": np.ones(1)}, ValueError, "'__metadata__'"),
        (layers(), {}, {3: np.ones(1)}, TypeError, "named by text, not by 3"),
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


# -- files that must not load ------------------------------------------------------------
def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_model(tmp_path / "none")
    with pytest.raises(OSError, match=r"directory|Permission denied"):
        load_model(tmp_path)


def pieces(raw):
    """Header (a dict), configuration (a dict) and the bytes of the tensors."""
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["config"]), raw[8 + length :]


def assembled(header, body, text=None):
    text = json.dumps(header) if text is None else text
    text = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    return len(text).to_bytes(8, "little") + text + body


UNREADABLE = "not a safetensors file, or a truncated or damaged one"
FOREIGN = "a safetensors file, but not a model that xpnet saved"


def header_of(n_bytes, rest=b"{}"):
    return n_bytes.to_bytes(8, "little") + rest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", UNREADABLE),
        (b"1234567", UNREADABLE),
        (b"\x80\x04\x95" + b"pickle" * 20, UNREADABLE),
        (b"PK\x03\x04" + bytes(200), UNREADABLE),
        (header_of(2**63), UNREADABLE),
        (header_of(99_000_000), UNREADABLE),
        (header_of(200_001, b'{"a":' + b"[" * 200_000), UNREADABLE),
        (header_of(2), FOREIGN),
        (safetensors.numpy.save({"W1": np.ones((1, 1)), "b1": np.ones((1, 1))}), FOREIGN),
        (lambda raw: raw[:-9], UNREADABLE),
        (lambda raw: raw + b"?", UNREADABLE),
        (lambda raw: raw[:-1] + b"?", "do not match the checksum"),
    ],
)
def test_damaged_and_foreign_files(path, content, said):
    path.write_bytes(content(path.read_bytes()) if callable(content) else content)
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))}: .*{said}"):
        load_model(path)


def entry(shape=(5, 4), offsets=(0, 80), dtype="F32"):
    return {"W1": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        # The metadata
        ({"format_version": "2"}, "newer than this xpnet, which reads up to 1"),
        ({"format_version": "9" * 5000}, "newer than this xpnet"),
        ({"format_version": "0"}, "incomplete"),
        ({"format_version": "one"}, "format version 'one'"),
        ({"format_version": ""}, "format version ''"),
        ({"format_version": 1}, UNREADABLE),
        ({"format": "other"}, FOREIGN),
        ({"config": None}, UNREADABLE),
        ({"config": "\ud800"}, UNREADABLE),
        ({"config": "{}"}, "do not match the checksum"),
        ({"sha256": "0" * 64}, "do not match the checksum"),
        # A tensor: one far beyond the file, and what the format's reader refuses
        (entry([2**40, 2**40]), UNREADABLE),
        (entry([-5, -4]), UNREADABLE),
        (entry(dtype="BF16", offsets=[0, 40]), UNREADABLE),
        # The text
        (lambda text: text.replace(b'"config"', b'"sha256"'), "incomplete"),  # stands twice then
        (lambda text: text.replace(b'{"__metadata__"', b'{"W1":null,"__metadata__"'), UNREADABLE),
        (lambda text: text.replace(b"[5,4]", b"[5,NaN]"), UNREADABLE),
        (lambda text: text.replace(b"xpnet", b"xpn\xfft"), UNREADABLE),
        (lambda text: text.decode().encode("utf-16-le"), UNREADABLE),
    ],
)
def test_damaged_headers(path, header, said):
    raw = path.read_bytes()
    text = raw[8 : 8 + int.from_bytes(raw[:8], "little")]
    whole, _, body = pieces(raw)
    if callable(header):
        assert header(text) != text
        path.write_bytes(assembled(None, body, header(text)))
    elif "W1" in header:
        path.write_bytes(assembled(whole | header, body))
    else:
        whole["__metadata__"] |= header
        path.write_bytes(assembled(whole, body))
    with pytest.raises(ModelFileError, match=f"^{re.escape(str(path))}: .*{said}"):
        load_model(path)


@pytest.mark.parametrize(
    ("config", "said"),
    [("[]", "is not a JSON object"), ("{", "is not JSON"), ("[[[", "is not JSON")],
)
def test_a_right_checksum_of_a_damaged_configuration(path, config, said):
    header, _, body = pieces(path.read_bytes())
    header["__metadata__"]["config"] = config
    path.write_bytes(assembled(signed(header, body), body))
    with pytest.raises(ModelFileError, match=f"configuration.* {said}"):
        load_model(path)


def test_a_right_checksum_of_layers_that_do_not_fit(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(modelfile, "_layers", lambda tensors: [])
        save_model(path, layers()[::-1], {})
    with pytest.raises(ModelFileError, match="1 outputs"):
        load_model(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on Windows")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelFileError, match="a pipe, not a model file"):
        load_model(tmp_path / "pipe")


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


# -- ten thousand files ------------------------------------------------------------------
# What a value may be replaced by, as JSON or what looks like it. @ stands for the value itself.
INSTEAD = [
    "0", "-1", "1", "3", "4.0", "1000000000000", "9223372036854775808", "1" * 400, "9" * 5000,
    "1e999", "-0.5", "NaN", "Infinity", "-Infinity", "true", "false", "null", "", '""', '"4"',
    '"float16"', '"float64"', '"relu"', '"softmax"', '"os.system"', '"\\ud800"', '"\\u0000"',
    '"' + "x" * 10_000 + '"', "[]", "{}", "[@]", "[@,@]", "[[@]]", "[-1,2]", "[true,true]",
    "[1000000000000,1000000000000]", '{"a":@}', '{"a":1,"a":2}', "[" * 900 + "]" * 900,
    "[" * 100_000 + "]" * 100_000, '{"a":' * 900 + "1" + "}" * 900, "@,@", "@}", "\ud800",
]  # fmt: skip


DTYPES = {"F64": "<f8", "F32": "<f4", "I64": "<i8", "BOOL": "|b1"}


def signed(header, body):
    """The header with the checksum that its contents ask for, where they have one."""
    try:
        tensors = {}
        for name, entry in header.items():
            if name != "__metadata__":
                content = body[slice(*entry["data_offsets"])]
                flat = np.frombuffer(content, DTYPES[entry["dtype"]])
                tensors[name] = flat.reshape(entry["shape"])
        metadata = header["__metadata__"]
        metadata["sha256"] = modelfile._checksum(metadata["config"], tensors)
    except (ArithmeticError, LookupError, TypeError, ValueError):
        pass
    return header


def changed_text(rng, value):
    """``value`` as JSON, with one value somewhere in it replaced, dropped or given twice."""
    holders = [value]
    for holder in holders:
        inside = holder.values() if isinstance(holder, dict) else holder
        holders += [x for x in inside if isinstance(x, (dict, list)) and x]
    holder = holders[rng.integers(len(holders))]
    keys = list(holder) if isinstance(holder, dict) else range(len(holder))
    key = keys[rng.integers(len(keys))]
    was, instead = holder[key], INSTEAD[rng.integers(len(INSTEAD))]
    if rng.random() < 0.1:
        del holder[key]
        return json.dumps(value)
    holder[key] = "@@@"
    text = json.dumps(value).replace('"@@@"', instead.replace("@", json.dumps(was)))
    holder[key] = was
    return text


def changed_bytes(rng, content):
    """Bits flipped, bytes replaced, removed and added; half the time near the start."""
    changed = bytearray(content)
    at = int(rng.integers(len(changed) if rng.random() < 0.5 else min(1200, len(changed))))
    match rng.integers(6):
        case 0 | 1:
            changed[at] ^= 1 << int(rng.integers(8))
        case 2:
            del changed[at:]
        case 3:
            changed[at] = int(rng.choice(list(b'0123456789,:"{}[]eE-')))
        case 4:
            changed[at : at + int(rng.integers(40))] = rng.bytes(int(rng.integers(1, 40)))
        case 5:
            changed += changed[: int(rng.integers(1, 200))]
    return bytes(changed)


def mutated(rng, raw):
    """A file made from ``raw``; half of those changed have a checksum that is right again."""
    header, config, body = pieces(raw)
    metadata = header["__metadata__"]
    match rng.integers(7):
        case 0:
            return changed_bytes(rng, raw)
        case 1:  # the length of the header
            length = rng.choice([0, 1, 7, len(raw), 2**20, 99_999_999, 2**31, 2**63], 1)
            return np.uint64(length[0]).astype("<u8").tobytes() + raw[8:]
        case 2 | 3 as kind:  # the header, signed again where that can be
            text = changed_text(rng, header)
            with contextlib.suppress(ValueError, RecursionError, AttributeError):
                text = json.dumps(signed(json.loads(text), body)) if kind == 3 else text
            return assembled(header, body, text)
        case 4 | 5:  # the configuration, signed
            metadata["config"] = changed_text(rng, config)
            return assembled(signed(header, body), body)
        case _:  # bytes of the configuration or of the tensors, signed
            if rng.random() < 0.5:
                content = changed_bytes(rng, metadata["config"].encode())
                metadata["config"] = content.decode(errors="surrogateescape")
            else:
                body = changed_bytes(rng, body)
            return assembled(signed(header, body), body)


@pytest.mark.parametrize("training", [False, True], ids=["model", "checkpoint"])
@pytest.mark.parametrize("n_files", [700, pytest.param(10_000, marks=pytest.mark.long)])
def test_mutated_files(tmp_path, n_files, training):
    """``load`` refuses each in one line, or gives a net that fits its file; and quickly."""
    path = tmp_path / "model.safetensors"
    net = xpnet.DeepNet([4, 5, 3], "tanh", "softmax", dtype="float32", seed=3)
    data = {"classes": ["a", "b", "c"], "note": None, "nested": {"l2": 0.5, "text": ["é", 1]}}
    if training:
        net.fit(np.ones((4, 6)), np.zeros(6, int), epochs=2, schedule=Plateau())
    net.save(path, data, {"input_mean": np.arange(4.0), "flag": np.array(True)}, training=training)
    raw = path.read_bytes()
    rng = np.random.default_rng(n_files)
    kinds, slowest = Counter(), 0.0
    for i in range(n_files):
        content = mutated(rng, raw)
        path.write_bytes(content)
        start = time.perf_counter()
        try:
            found = xpnet.load(path)
        except ModelFileError as error:
            said = str(error)
            assert "\n" not in said
            assert said.startswith(f"{path}: ")
            assert len(said) < 300 + len(str(path))
            kinds[said.removeprefix(f"{path}: ")[:60]] += 1
        except Exception as error:
            raise AssertionError(f"file {i}: {error!r:.200}, {content[:300]!r}") from error
        else:
            assert [W.shape for W, _ in found.parameters] == [(5, 4), (3, 5)]
            assert found.predict_proba(np.ones((4, 2))).shape == (3, 2)
            assert isinstance(found.data, dict)
            kinds["loaded"] += 1
        slowest = max(slowest, time.perf_counter() - start)
    assert slowest < 2.0
    # The mutations get far: some pass every check, and many different ones fail.
    assert kinds["loaded"] > n_files // 50
    assert len(kinds) > 10


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("sizes", [[4, 10**12, 1], [4, 5.0, 1], [4, 5], "451", [4, 5, True]]),
        ("hidden", [[], ["gelu"], [["relu"]]]),
        ("output", ["exp", {}]),
        ("dtype", ["float64", []]),
        ("seed", [-1, True, "0"]),
    ],
)
def test_settings_that_do_not_fit_the_layers(path, key, values):
    save_model(path, layers(), {"net": GOOD})
    assert xpnet.load(path).sizes == (4, 5, 1)
    without = {name: value for name, value in GOOD.items() if name != key}
    for net, said in (
        (None, "damaged: "),
        (without, f"net setting '{key}' is missing"),
        *((GOOD | {key: value}, "damaged: ") for value in values),
    ):
        save_model(path, layers(), {"net": net})
        with pytest.raises(ModelFileError, match=said):
            xpnet.load(path)


def test_parameters_that_are_not_finite(path):
    (W, b), last = layers()
    W[0, 0] = np.nan
    save_model(path, [(W, b), last], {"net": GOOD})
    with pytest.raises(ModelFileError, match="NaN or infinity"):
        xpnet.load(path)
