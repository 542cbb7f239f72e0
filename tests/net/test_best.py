"""``backend="best"``: a GPU where one is usable and the work of a step pays for it."""

import numpy as np
import pytest
from array_api_strict import asarray

import xpnet
from xpnet.backends import place

RNG = np.random.default_rng(5)
X = RNG.standard_normal((100, 300))
Y = (X[:1] > 0).astype(float)
STRICT = xpnet.select("array_api_strict")
WIDE = [100, 200, 1]  # 20,401 parameters: 15.7 MFLOP a step of 128 examples


@pytest.fixture
def gpu(monkeypatch):
    """A device of array-api-strict plays the GPU."""
    monkeypatch.setattr(place, "_best", lambda: STRICT)
    monkeypatch.setattr(place.Backend, "is_accelerator", property(lambda b: b.name != "numpy"))


@pytest.mark.parametrize(
    ("parameters", "batch", "pays"),
    [(13_021, 128, True), (13_020, 128, False), (13_021, 127, False), (2, 10**6, True)],
)
def test_a_gpu_is_taken_from_ten_million_operations_of_a_step(parameters, batch, pays, gpu):
    found, why = place.best_for(parameters, batch)
    assert found.name == ("array_api_strict" if pays else "numpy")
    assert why.endswith("MFLOP") if pays else why.endswith("is too little for a GPU")


def test_without_a_gpu_it_is_numpy(monkeypatch):
    monkeypatch.setattr(place, "_best", place._numpy)
    found, why = place.best_for(10**6, 128, "float32")
    assert (found.name, found.dtype_name, why) == ("numpy", "float32", "no GPU is usable")


@pytest.mark.parametrize(
    "error",
    [xpnet.BackendUnavailable("exclusive mode"), RuntimeError("failed to load libnvrtc.so")],
)
def test_a_gpu_that_cannot_compute_is_passed_by(error, monkeypatch, caplog):
    def fails(self, x):
        raise error

    monkeypatch.setattr(place, "_load", lambda name: None)
    monkeypatch.setattr(place, "_on", lambda name, xp, device: STRICT)
    monkeypatch.setattr(place.Backend, "asarray", fails)
    caplog.set_level("INFO", "xpnet")
    assert xpnet.select("best").name == "numpy"
    assert ("libnvrtc" in caplog.text) == ("libnvrtc" in str(error))


@pytest.mark.parametrize(
    ("sizes", "options", "name"),
    [
        (WIDE, {}, "array_api_strict"),
        (WIDE, {"batch_size": 64}, "numpy"),
        (WIDE, {"batch_size": None}, "array_api_strict"),
        ([100, 1], {}, "numpy"),
    ],
)
def test_the_first_fit_chooses_and_the_net_says_why(sizes, options, name, gpu):
    net = xpnet.DeepNet(sizes, backend="best")
    assert repr(net).endswith("not placed yet: the first fit chooses>")
    net.predict(X)
    assert repr(net).endswith("NumPy on cpu, float64: the first fit chooses>")
    net.fit(X, Y, epochs=1, **options)
    assert net.backend.name == name
    assert net.backend.dtype_name == ("float32" if name != "numpy" else "float64")
    assert "MFLOP" in repr(net)
    before = repr(net)
    net.fit(X[:, :10], Y[:, :10], epochs=1)  # it stays
    assert repr(net) == before


def test_it_trains_as_where_it_went(gpu):
    nets = [xpnet.DeepNet(WIDE, backend=b, dtype="float64") for b in ("best", "array_api_strict")]
    for net in nets:
        net.fit(X, Y, epochs=2)
    assert np.array_equal(*(xpnet.to_numpy(net.theta) for net in nets))


def test_data_of_another_library_is_followed(gpu):
    net = xpnet.DeepNet([100, 1], backend="best")
    net.predict(X)
    net.fit(asarray(X), asarray(Y), epochs=1)
    assert net.backend.name == "array_api_strict"
    assert "MFLOP" not in repr(net)


@pytest.mark.parametrize(("batch_size", "name"), [(128, "array_api_strict"), (8, "numpy")])
def test_a_stream_is_trained_on_where_its_batches_pay(batch_size, name, gpu):
    net = xpnet.DeepNet(WIDE, backend="best")
    net.fit(xpnet.stream(X.T, Y[0]), epochs=1, batch_size=batch_size)
    assert net.backend.name == name


@pytest.mark.parametrize(("hidden", "name"), [(400, "array_api_strict"), (4, "numpy")])
def test_an_estimator_chooses_by_its_work_and_stays(hidden, name, gpu):
    model = xpnet.MLPRegressor(hidden_layer_sizes=hidden, backend="best")
    model.partial_fit(X.T, Y[0])
    assert xpnet.select(model.coefs_[0]).name == name
    model.partial_fit(X[:, :2].T, Y[0, :2])
    assert xpnet.select(model.coefs_[0]).name == name


def test_best_takes_no_device():
    with pytest.raises(ValueError, match="chooses the device itself"):
        xpnet.DeepNet([2, 1], backend="best", device="cuda:1")
