"""The doors of a GPU: CuPy's import and its kernel cache, CUDA's errors, JAX beside it."""

from __future__ import annotations

import importlib
import os
import stat
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import xpnet
from xpnet.backends import cuda
from xpnet.backends.libraries import LIBRARIES
from xpnet.cli.info import info

NOWHERE = ["/dev/null/kernels", "/proc/self"]  # cannot be made; is there and takes no file


class CUDARuntimeError(RuntimeError):
    """As CuPy's, by its name and ``status``."""

    def __init__(self, status):
        super().__init__("cudaErrorName: what CUDA says")
        self.status = status


class CUBLASError(RuntimeError):
    status = 3  # of cuBLAS, with another meaning


# -- the import --------------------------------------------------------------------------
@pytest.mark.parametrize("error", [PermissionError("read-only"), AttributeError("numpy"), KeyError])
def test_an_import_that_raises_anything_is_told_and_gone_on_without(error, monkeypatch, capsys):
    def broken(name, *args, **more):
        if "cupy" in name:
            raise error
        return real(name, *args, **more)

    real = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(xpnet.BackendUnavailable) as told:
        xpnet.DeepNet([2, 1], backend="cupy")
    reason = type(error).__name__ if isinstance(error, Exception) else error.__name__
    assert reason in str(told.value)
    assert str(told.value).endswith(LIBRARIES["cupy"].install)
    assert xpnet.select("best").name != "cupy"
    found = xpnet.backends()["cupy"]
    assert (found.installed, found.usable, found.reason) == (True, False, str(told.value))
    info()
    assert "cupy: installed, but not usable" in capsys.readouterr().out


@pytest.fixture
def environment(monkeypatch):
    """The variables that ``kernel_cache`` sets, put back afterwards."""
    monkeypatch.setenv("CUPY_CACHE_IN_MEMORY", "")
    monkeypatch.setenv("CUPY_CACHE_DIR", "")
    return monkeypatch


@pytest.mark.parametrize("folder", NOWHERE)
@pytest.mark.parametrize("named", [True, False])
def test_kernels_stay_in_memory_where_their_folder_takes_none(folder, named, environment):
    environment.setenv("CUPY_CACHE_DIR", folder)
    if not named:
        environment.delenv("CUPY_CACHE_DIR")
        environment.setenv("HOME", folder)
    cuda.kernel_cache.__wrapped__()
    assert os.environ["CUPY_CACHE_IN_MEMORY"] == "1"
    # nobody else's kernels are read from there
    assert stat.S_IMODE(os.stat(os.environ["CUPY_CACHE_DIR"]).st_mode) == 0o700


@pytest.mark.parametrize("readable", [True, False])
def test_kernels_are_kept_where_they_can_be(readable, environment, tmp_path):
    (tmp_path / "a.cubin").write_bytes(b"")
    environment.setenv("CUPY_CACHE_DIR", str(tmp_path))
    environment.setattr(os, "access", lambda path, mode: readable)  # another user's
    cuda.kernel_cache.__wrapped__()
    assert (os.environ["CUPY_CACHE_DIR"] == str(tmp_path)) is readable
    assert os.environ["CUPY_CACHE_IN_MEMORY"] == ("" if readable else "1")
    assert os.listdir(tmp_path) == ["a.cubin"]


# -- CUDA's errors -----------------------------------------------------------------------
@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (3, "forked"),
        (34, "stub"),
        (35, "older than this build of CuPy"),
        (46, "exclusive mode"),
        (100, "CUDA_VISIBLE_DEVICES"),
        (802, "nvidia-fabricmanager"),
        (803, "restart the machine"),
        (804, "cuda-compat"),
        (999, "suspend"),
        (12345, "unknown"),
    ],
)
def test_where_no_device_is_usable_the_message_has_cudas_error_and_its_cause(
    code, cause, monkeypatch
):
    def count():
        raise CUDARuntimeError(code)

    device = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=count))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=device))
    with pytest.raises(xpnet.BackendUnavailable) as told:
        LIBRARIES["cupy"].device(None)
    for part in ("what CUDA says", f"CUDA's error {code}", cause, LIBRARIES["cupy"].install):
        assert part in str(told.value)


@pytest.mark.parametrize("code", [214, 700, 702, 710, 716, 719])
def test_a_lost_device_is_told_once_by_its_first_error(code):
    first = CUDARuntimeError(code)

    @cuda.told()
    def fit():
        try:
            with cuda.told():  # contexts nest
                raise first
        finally:
            raise CUDARuntimeError(719)  # going back, or asking for the state

    with pytest.raises(xpnet.BackendUnavailable, match="restart the process") as told:
        fit()
    assert told.value.__cause__ is first
    assert f"CUDA's error {code}" in str(told.value)
    assert ("CUDA_LAUNCH_BLOCKING=1" in str(told.value)) == (code >= 700 and code != 702)


@pytest.mark.parametrize("error", [ValueError("a user's"), CUDARuntimeError(2), CUBLASError()])
def test_other_errors_pass(error):
    with pytest.raises(type(error)) as found, cuda.told():
        raise error
    assert found.value is error


# -- float64 -----------------------------------------------------------------------------
@pytest.mark.parametrize(("ratio", "slow"), [(64, 64), (8, 8), (2, 0), (None, 0)])
def test_float64_is_slow_from_a_ratio_of_8(ratio, slow):
    attributes = {} if ratio is None else {"SingleToDoublePrecisionPerfRatio": ratio}
    assert cuda.slow_in_float64(SimpleNamespace(attributes=attributes)) == slow


X, Y = np.arange(12.0).reshape(2, 6) / 12, np.array([0, 1, 0, 1, 1, 0])


def fit_net(X, **options):
    net = xpnet.DeepNet([2, 1], **options)
    net.fit(X, Y[None, :], epochs=1)
    return net.fit(X, Y[None, :], epochs=1)


def fit_estimator(X, **options):
    return xpnet.LogisticRegression(**options).fit(X.T, Y)


@pytest.mark.parametrize("fit", [fit_net, fit_estimator])
def test_float64_that_x_brought_is_told_where_it_is_slow(fit, monkeypatch, recwarn):
    slow = replace(LIBRARIES["numpy"], slow_in_float64=lambda device: 64)
    monkeypatch.setitem(LIBRARIES, "numpy", slow)
    fit(X)
    (warning,) = recwarn
    assert "64 times slower" in str(warning.message)
    assert "dtype='float32'" in str(warning.message)
    assert warning.filename == __file__
    recwarn.clear()
    fit(X, dtype="float64")
    fit(X.astype(np.float32))
    assert not recwarn


# -- JAX beside it -----------------------------------------------------------------------
@pytest.mark.parametrize("asked", [None, "true"])
def test_showing_the_backends_leaves_the_gpus_memory_to_others(asked, monkeypatch):
    jax, name, seen = pytest.importorskip("jax"), "XLA_PYTHON_CLIENT_PREALLOCATE", []
    real = jax.devices
    monkeypatch.setattr(jax, "devices", lambda *a: (seen.append(os.environ.get(name)), real(*a))[1])
    monkeypatch.setenv(name, asked or "")
    if asked is None:
        monkeypatch.delenv(name)
    xpnet.backends()
    assert set(seen) == {asked or "false"}
