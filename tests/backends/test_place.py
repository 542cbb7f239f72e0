"""The library and device of a net: `auto`, `best`, names, modules, and missing ones."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from array_api_compat import array_namespace
from helpers import LIBRARIES, assert_pairs_equal, raises_on_purpose

import xpnet

RNG = np.random.default_rng(81)
X = RNG.normal(size=(3, 10))
Y = (X[:1] > 0).astype(float)
INSTALL = {
    "cupy": 'pip install "cupy-cuda12x[ctk]"  # CUDA 13: cupy-cuda13x; never both',
    "torch": "pip install torch --index-url https://download.pytorch.org/whl/cpu",
    "jax": "pip install jax",
    "dpnp": "pip install dpnp",
    "array_api_strict": "pip install array-api-strict",
}


NOT_NUMPY = pytest.mark.parametrize("lib", LIBRARIES[1:], indirect=True)


def make_net(**options):
    return xpnet.DeepNet([3, 4, 1], hidden="tanh", output="sigmoid", **options)


def fit(net, x, y, **settings):
    return net.fit(x, y, **({"optimizer": xpnet.Adam(0.01), "epochs": 2} | settings))


def python(code: str, **environment: str) -> str:
    """The output of a fresh interpreter; the test fails if it does."""
    source = str(Path(xpnet.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning:xpnet", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": source} | environment,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# ---------------------------------------------------------------- auto


@pytest.mark.parametrize("call", ["fit", "predict", "predict_proba", "cost", "gradients"])
def test_auto_is_numpy_until_the_first_x_and_then_follows_it(lib, call):
    net = make_net()
    assert net.backend.name == "numpy"
    assert type(net.parameters[0][0]) is np.ndarray
    examples = (lib.asarray(X), lib.asarray(Y))[: 1 if "predict" in call else 2]
    getattr(net, call)(*examples)
    assert net.backend.name == lib.name
    assert lib.dtype_of(net.parameters[0][0]) == "float64"
    assert all(lib.owns(array) for pair in net.parameters for array in pair)


def test_a_net_starts_from_the_same_weights_on_every_library(lib):
    net, told = make_net(seed=4), make_net(seed=4, dtype="float64", **lib.options)
    host = [(np.array(W), np.array(b)) for W, b in net.parameters]
    net.predict(lib.asarray(X))
    assert_pairs_equal(lib.host(net.parameters), host)
    assert_pairs_equal(lib.host(told.parameters), host)


@NOT_NUMPY
@pytest.mark.parametrize("call", ["fit", "predict", "cost"])
def test_later_data_of_another_library_names_both_and_the_fix(lib, call):
    both = (X, Y), (lib.asarray(X), lib.asarray(Y))
    for first, later in (both, both[::-1]):
        net = make_net()
        fit(net, *first)
        with raises_on_purpose((TypeError, ValueError), "(?i)numpy", rf"(?i){lib.name}", r"\.to\("):
            getattr(net, call)(*later[: 1 if call == "predict" else 2])


@NOT_NUMPY
def test_y_follows_x_only_in_its_library(lib):
    """auto, X of one library and Y of NumPy: an error that names both."""
    with raises_on_purpose((TypeError, ValueError), r"\bY\b", "(?i)numpy", rf"(?i){lib.name}"):
        fit(make_net(), lib.asarray(X), Y)


# ---------------------------------------------------------------- explicit backends


def test_an_explicit_backend_takes_numpy_data_and_lists(lib):
    nets = [make_net(dtype="float64", **lib.options) for _ in range(3)]
    fit(nets[0], lib.asarray(X), lib.asarray(Y))
    fit(nets[1], X, Y)
    fit(nets[2], X.tolist(), Y.tolist())
    for net in nets:
        assert net.backend.name == lib.name
        assert lib.owns(net.parameters[0][0])
    first = lib.host(nets[0].parameters)
    for net in nets[1:]:
        assert_pairs_equal(lib.host(net.parameters), first)


@pytest.mark.parametrize("lib", ["array_api_strict", "torch"], indirect=True)
def test_host_data_are_moved_once(lib, monkeypatch):
    """Data are moved once: many batches cost no more moves than one."""
    moves = []
    original = lib.xp.asarray

    def counting(value, *args, **kwargs):
        if isinstance(value, np.ndarray) and value.size >= X.size:
            moves.append(value.shape)
        return original(value, *args, **kwargs)

    monkeypatch.setattr(lib.xp, "asarray", counting)
    fit(make_net(dtype="float64", **lib.options), X, Y, epochs=5, batch_size=1)
    assert len(moves) <= 4


def test_a_device_is_a_string_or_the_librarys_own_object(lib):
    device = {
        "array_api_strict": lambda: lib.xp.Device(lib.device or "CPU_DEVICE"),
        "torch": lambda: lib.xp.device("cpu"),
        "jax": lambda: __import__("jax").devices()[0],
        "cupy": lambda: lib.xp.cuda.Device(0),
    }.get(lib.name, lambda: lib.asarray(np.zeros(1)).device)()
    by_object = make_net(backend=lib.name, device=device, dtype="float64")
    fit(by_object, lib.asarray(X), lib.asarray(Y))
    assert lib.owns(by_object.parameters[0][0])
    moved = make_net().to(lib.name, device=device)
    assert lib.owns(moved.parameters[0][0])


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_cpu_is_a_device_of_every_host_library(name):
    pytest.importorskip(name)
    net = make_net(backend=name, device="cpu", dtype="float32")
    assert net.backend.name == name
    fit(net, X, Y)


def test_a_device_that_does_not_exist_is_named(lib):
    with raises_on_purpose((TypeError, ValueError, xpnet.BackendUnavailable), "warp:9"):
        make_net(backend=lib.name, device="warp:9")


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_torch_without_a_gpu_is_unavailable_not_a_silent_cpu(device):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with raises_on_purpose((ValueError, xpnet.BackendUnavailable), "cuda"):
        fit(make_net(backend="torch", device=device, dtype="float64"), X, Y)


@pytest.mark.parametrize("kind", ["module", "array", "array_api_compat"])
def test_a_module_or_an_array_is_a_backend(lib, kind):
    one = lib.asarray(np.zeros(1))
    backend = {"module": lib.xp, "array": one}.get(kind, array_namespace(one))
    device = None if kind == "array" else lib.device
    net = make_net(backend=backend, device=device, dtype="float64")
    fit(net, lib.asarray(X), lib.asarray(Y))
    assert net.backend.name == lib.name
    assert lib.owns(net.parameters[0][0])


def test_the_backend_says_where(lib):
    net = make_net(dtype="float32", **lib.options)
    assert net.backend.name == lib.name
    assert str(net.backend.dtype).rpartition(".")[2].rstrip("'>") == "float32"
    assert net.backend.device is not None
    if lib.device:
        assert lib.device in str(net.backend.device)


def test_dtype_as_a_name_or_a_dtype(lib):
    for dtype in ("float32", np.float32, np.dtype("float32"), lib.xp.float32):
        net = make_net(dtype=dtype, **lib.options)
        assert lib.dtype_of(net.parameters[0][0]) == "float32"


def test_numpy_keeps_the_dtype_of_x_and_others_that_of_the_net():
    for dtype in ("float32", "float64"):
        net = make_net(backend="numpy")
        fit(net, X.astype(dtype), Y.astype(dtype))
        assert net.parameters[0][0].dtype == dtype
    pytest.importorskip("torch")
    net = make_net(backend="torch")
    fit(net, X, Y)
    assert str(net.parameters[0][0].dtype) in ("torch.float32", "torch.float64")
    net = make_net(backend="torch", dtype="float64")
    fit(net, X, Y)
    assert str(net.parameters[0][0].dtype) == "torch.float64"


# ---------------------------------------------------------------- what is missing


def test_an_unknown_backend_names_the_known_ones():
    with raises_on_purpose(ValueError, "abacus", "numpy", "cupy", "torch", "jax", "dpnp"):
        make_net(backend="abacus")


@pytest.mark.parametrize("backend", [3, None, object()], ids=["3", "None", "object"])
def test_a_backend_of_another_type(backend):
    with raises_on_purpose((TypeError, ValueError), "backend"):
        make_net(backend=backend)


@pytest.mark.parametrize("name", INSTALL)
def test_a_missing_library_comes_with_the_line_that_installs_it(name):
    code = f"""
        import sys
        sys.modules["{name}"] = None  # its import raises ImportError
        import xpnet
        net = xpnet.DeepNet([2, 1])
        for attempt in (lambda: xpnet.DeepNet([2, 1], backend="{name}"), lambda: net.to("{name}")):
            try:
                attempt()
            except xpnet.BackendUnavailable as error:
                print(error)
                assert error.__cause__ is None and error.__suppress_context__
        found = xpnet.backends()
        assert not found["{name}"].usable
        assert found["numpy"].usable
    """
    assert issubclass(xpnet.BackendUnavailable, RuntimeError)
    messages = python(code).splitlines()
    assert len(messages) == 2
    for message in messages:
        assert name in message.lower().replace("-", "_")
        assert INSTALL[name] in message


def test_cupy_without_a_device_is_unavailable():
    """CuPy may be installed on a machine without a GPU; that is not a reason to run on NumPy."""
    code = """
        import sys, types, numpy
        fake = types.ModuleType("cupy")
        fake.__version__, fake.__all__, fake.__path__ = "14.0", [], []
        fake.__getattr__ = lambda name: getattr(numpy, name)
        def count():
            raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
        fake.cuda = types.SimpleNamespace(runtime=types.SimpleNamespace(getDeviceCount=count))
        sys.modules |= {"cupy": fake, "cupy.cuda": fake.cuda}
        sys.modules |= {"cupy.fft": numpy.fft, "cupy.linalg": numpy.linalg}
        sys.modules["cupy.cuda.device"] = types.SimpleNamespace(Device=int)
        import xpnet
        try:
            xpnet.DeepNet([2, 1], backend="cupy")
        except xpnet.BackendUnavailable as error:
            print(error)
    """
    text = python(code)
    assert "cupy" in text.lower()
    assert "no CUDA-capable device is detected" in text
    assert INSTALL["cupy"] in text


def test_jax_without_x64_refuses_float64_by_the_name_of_the_switch():
    pytest.importorskip("jax")
    code = """
        import numpy as np, xpnet
        try:
            net = xpnet.DeepNet([2, 1], output="identity", backend="jax", dtype="float64")
            net.fit(np.ones((2, 3)), np.ones((1, 3)), optimizer=xpnet.Adam(), epochs=1)
        except (ValueError, xpnet.BackendUnavailable) as error:
            print(error)
        net = xpnet.DeepNet([2, 1], output="identity", backend="jax", dtype="float32")
        net.fit(np.ones((2, 3)), np.ones((1, 3)), optimizer=xpnet.Adam(), epochs=1)
        print(net.parameters[0][0].dtype)
    """
    first, *_, last = python(code, JAX_ENABLE_X64="0").splitlines()
    assert "jax_enable_x64" in first
    assert last == "float32"


def test_backends_lists_what_is_usable(lib):
    found = xpnet.backends()
    assert set(found) >= {"numpy", *INSTALL}
    assert found[lib.name].usable
    assert found[lib.name].version
    for name, info in found.items():
        assert info.usable == bool(info.devices)
        assert info.usable or INSTALL[name] in info.install


def test_dpnp_finds_the_driver_that_comes_with_it():
    driver = Path(sys.prefix, "lib", "libintelocl.so")
    if not driver.exists() or find_spec("dpnp") is None:
        pytest.skip(f"no dpnp with {driver}")
    code = """
        import os
        os.environ.pop("OCL_ICD_FILENAMES", None)
        import xpnet
        print(xpnet.select("dpnp").device_name, os.environ["OCL_ICD_FILENAMES"])
    """
    assert python(code) == f"opencl:cpu:0 {driver}"


@pytest.mark.parametrize("gpu", [False, pytest.param(True, marks=pytest.mark.gpu)])
def test_best_is_a_gpu_or_numpy(gpu):
    net = xpnet.DeepNet([3, 2000, 1000, 1], backend="best")  # whose steps pay for a GPU
    fit(net, X, Y)
    if net.backend.name == "numpy":
        assert not gpu
        assert type(net.parameters[0][0]) is np.ndarray
    else:
        assert net.backend.name in ("cupy", "torch", "jax")
        assert "cpu" not in str(net.backend.device).lower()


def test_a_run_on_numpy_brings_no_other_array_library():
    code = """
        import os, sys, numpy as np, xpnet
        os.environ["XPNET_NUMBA"] = "0"  # an extra, which imports SciPy
        net = xpnet.DeepNet([2, 3, 1], output="sigmoid")
        x = np.ones((2, 4))
        net.fit(x, np.ones((1, 4)), optimizer=xpnet.Adam(), epochs=1)
        net.predict(x)
        heavy = ("cupy", "torch", "jax", "dpnp", "array_api_strict", "sklearn", "scipy")
        print(*[name for name in heavy if name in sys.modules])
    """
    assert python(code) == ""
