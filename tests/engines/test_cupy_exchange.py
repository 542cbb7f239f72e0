"""Arrays of other libraries for CuPy, and back: shared memory, sparse matrices, frames.

PyTorch with CUDA, Numba, cuDF and RMM are played by small classes around CuPy's arrays, so no test
here has seen these libraries themselves, nor PyTorch's side of the streams.
"""

import os
from types import ModuleType

import numpy as np
import pytest
from device_counts import cupy
from scipy import sparse

import xpnet
from xpnet.backends.place import exchanged, place_of
from xpnet.estimators.arrays import dense, dense_blocks, taken

X = np.random.default_rng(0).standard_normal((4, 32)).astype(np.float32)
Y = (X[:1] > 0).astype(np.float32)
W = np.linspace(0.5, 1.5, 32, dtype=np.float32)


class Interface:
    """Offers an array as Numba's and RMM's do."""

    def __init__(self, x):
        self.x = x

    __cuda_array_interface__ = property(lambda self: self.x.__cuda_array_interface__)


class DLPack:
    """Offers an array as libraries do that know nothing of CUDA's interface."""

    def __init__(self, x):
        self.x = x

    def __dlpack__(self, **options):
        return self.x.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.x.__dlpack_device__()


class Frame:
    """Has the methods of a cuDF frame that are asked for."""

    def __init__(self, x, index):
        self.x, self.index, self.columns, self.shape = x, index, list("abcd"), x.shape

    def to_cupy(self):
        return self.x


class Index:
    """Cannot be listed, as cuDF's."""

    __iter__ = None

    def __init__(self, names):
        self.to_pandas = lambda: names


torch = ModuleType("torch")  # an Array API namespace by the name of PyTorch's


class Tensor(DLPack):
    """Looks to xpnet as PyTorch's on the first GPU: its library, its device, its DLPack."""

    device = "cuda:0"
    shape, ndim, dtype = (
        property(lambda self, n=n: getattr(self.x, n)) for n in ("shape", "ndim", "dtype")
    )

    def __array_namespace__(self, api_version=None):
        return torch

    def detach(self):
        return self


torch.from_dlpack = lambda x: Tensor(cupy.from_dlpack(x))


def trained(backend, wrap):
    net = xpnet.DeepNet([4, 3, 1], output="sigmoid", backend=backend, seed=1)
    x, y, w = (wrap(cupy.asarray(x)) for x in (X, Y, W))
    net.fit(x, y, sample_weight=w, epochs=3, batch_size=16)
    return net


def assert_same_nets(one, other):
    for mine, its in zip(one.parameters, other.parameters, strict=True):
        np.testing.assert_array_equal(mine.W.get(), its.W.get())


@pytest.mark.parametrize("backend", ["auto", "cupy"])
@pytest.mark.parametrize("wrap", [Interface, DLPack])
def test_memory_on_the_device_is_taken_and_not_copied(wrap, backend):
    x = cupy.asarray(X)
    assert exchanged(wrap(x), "X").data.ptr == x.data.ptr
    net = trained(backend, wrap)
    assert_same_nets(net, trained("cupy", lambda x: x))
    assert net.backend.name == "cupy"
    A = net.predict_proba(wrap(x))
    assert isinstance(A, cupy.ndarray)
    cupy.testing.assert_array_equal(A, net.predict_proba(x))
    assert net.score(wrap(x), wrap(cupy.asarray(Y))) == net.score(x, cupy.asarray(Y))


def test_memory_on_the_host_is_numpys():
    host = exchanged(DLPack(X), "X")
    assert np.shares_memory(host, X)
    net = xpnet.DeepNet([4, 1], output="sigmoid")
    net.fit(DLPack(X), DLPack(Y), epochs=1)
    assert net.backend.name == "numpy"


def test_objects_for_other_libraries_are_refused_with_the_way_out(monkeypatch):
    net = xpnet.DeepNet([4, 1], output="sigmoid", backend="numpy")
    with pytest.raises(TypeError, match=r"X lives in CuPy on cuda:0 .*\.to\('cupy', 'cuda:0'\)"):
        net.fit(Interface(cupy.asarray(X)), Y)
    monkeypatch.setattr(DLPack, "__dlpack_device__", lambda self: (8, 0))
    with pytest.raises(TypeError, match="X is a DLPack, and is read by its __dlpack__ only on"):
        net.fit(DLPack(X), Y)
    monkeypatch.setitem(__import__("sys").modules, "array_api_compat.cupy", None)
    with pytest.raises(xpnet.BackendUnavailable, match="__cuda_array_interface__; or copy it"):
        net.fit(Interface(cupy.asarray(X)), Y)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("wrap", [Interface, DLPack])
def test_estimators_and_streams_take_it(wrap):
    x, labels = cupy.ascontiguousarray(cupy.asarray(X.T)), (X[0] > 0).astype(np.int32)
    settings = {"hidden_layer_sizes": (3,), "max_iter": 3, "random_state": 0}
    fits = [
        xpnet.MLPClassifier(**settings).fit(rows, y)
        for rows, y in ((x, labels), (wrap(x), wrap(cupy.asarray(labels))))
    ]
    cupy.testing.assert_array_equal(*(fit.coefs_[0] for fit in fits))
    P = fits[1].predict_proba(wrap(x))
    assert isinstance(P, cupy.ndarray)
    assert isinstance(fits[1].predict(wrap(x)), cupy.ndarray)
    batches = [(wrap(x), wrap(cupy.asarray(labels)))]
    net = xpnet.DeepNet([4, 2], output="softmax")
    net.fit(xpnet.stream(batches), epochs=1)
    assert net.backend.name == "cupy"
    assert xpnet.stream(wrap(x), wrap(cupy.asarray(labels))).n_examples == 32


def test_a_frame_on_the_device():
    net = trained("cupy", lambda x: x)
    net.data["features"] = list("pqrs")
    x = cupy.asarray(X)
    A = net.predict_proba(Frame(x, Index(list("pqrs"))))
    cupy.testing.assert_array_equal(A, net.predict_proba(x))
    with pytest.raises(ValueError, match="has the names"):
        net.predict(Frame(x, Index(list("abcd"))))


@pytest.mark.skipif(os.environ.get("XPNET_CUPY_ON_CPU") != "1", reason="counts copies")
def test_tensors_of_the_gpu_come_in_and_go_out_without_the_host():
    from cupy_on_cpu.counting import counting

    net, x = trained("cupy", lambda x: x), cupy.asarray(X)
    assert_same_nets(trained("cupy", Tensor), net)
    found, copied = [], []
    for given in (x, Tensor(x)):
        net.predict_proba(given)
        with counting() as c:
            found.append((net.predict_proba(given), net.predict(given)))
        copied.append(c.d2h_bytes)
    assert copied[0] == copied[1] < X[0].nbytes  # one number says that X is finite
    for mine, its in zip(*found, strict=True):
        assert type(its) is Tensor
        cupy.testing.assert_array_equal(mine, its.x)
    elsewhere = Tensor(x)
    elsewhere.device = "cuda:1"
    with pytest.raises(TypeError, match="X lives in PyTorch on cuda:1"):
        net.predict(elsewhere)


def rows_of(n, integers="int32"):
    """Cupyx's matrix (60, n), unsorted, with duplicates and 20 empty rows, and SciPy's of it."""
    import cupyx.scipy.sparse

    rng = np.random.default_rng(n)
    lengths = np.where(np.arange(60) // 20 == 1, 0, 1 + np.arange(60) % 4)
    indptr, nnz = np.append(0, lengths.cumsum()).astype(integers), lengths.sum()
    parts = rng.standard_normal(nnz), rng.integers(0, n, nnz, integers), indptr
    found = cupyx.scipy.sparse.csr_matrix((60, n))
    found.data, found.indices, found.indptr = map(cupy.asarray, parts)
    return found, sparse.csr_matrix(parts, (60, n))


@pytest.mark.parametrize("integers", ["int32", "int64"])
@pytest.mark.parametrize("n", [1, 5])
def test_rows_of_a_sparse_matrix_are_made_dense_as_scipys(n, integers, monkeypatch):
    monkeypatch.setattr("xpnet.estimators.arrays.BLOCK", 20 * n)  # the second block is empty
    given, theirs = rows_of(n, integers)
    kept, whole, place = given.indices.copy(), theirs.toarray(), place_of(given.data)
    for index in (None, slice(15, 45), np.array([59, 3, 30, 3, 0]), np.arange(25, 30)):
        rows = slice(None) if index is None else index
        np.testing.assert_allclose(dense(given, index, place).get(), whole[rows], atol=1e-14)
        if isinstance(index, np.ndarray):
            copy = taken(given, index, place)
            np.testing.assert_allclose(dense(copy, None, place).get(), whole[index], atol=1e-14)
    blocks = [block.get() for _, block in dense_blocks(given, place)]
    assert [len(block) for block in blocks] == [20, 20, 20]
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=1e-14)
    cupy.testing.assert_array_equal(given.indices, kept)  # the user's matrix is not sorted


NET = {"hidden_layer_sizes": (3,), "max_iter": 4, "random_state": 0, "batch_size": 10, "tol": 0.0}
FITS = {
    "adam": (xpnet.MLPClassifier, NET | {"early_stopping": True, "dropout": 0.2}),
    "scoring": (xpnet.MLPClassifier, NET | {"early_stopping": True, "scoring": "accuracy"}),
    "sgd": (xpnet.MLPRegressor, NET | {"solver": "sgd", "clip_norm": 1.0, "l1_ratio": 0.5}),
    "full batch": (xpnet.MLPRegressor, NET | {"batch_size": 60}),
    "lbfgs": (xpnet.MLPClassifier, NET | {"solver": "lbfgs"}),
    "partial_fit": (xpnet.MLPClassifier, NET),
    "LogisticRegression": (xpnet.LogisticRegression, {"C": 0.1}),
    "LinearRegression": (xpnet.LinearRegression, {}),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("n", "name"), [*((5, k) for k in FITS), (1, "sgd"), (1, "lbfgs")])
def test_sparse_rows_on_the_device_train_as_scipys_on_numpy(n, name, monkeypatch):
    monkeypatch.setattr("xpnet.estimators.arrays.BLOCK", 20 * n)  # two minibatches
    kind, settings = FITS[name]
    given, theirs = rows_of(n, "int64")
    y, w = np.asarray(theirs.sum(axis=1)).ravel(), 1.0 + np.arange(60) % 3
    if hasattr(kind, "predict_proba"):
        y = (y > 0).astype(int)
    outputs = []
    for X in (given, theirs):
        model = kind(**settings)
        if name == "partial_fit":
            model.partial_fit(X, y, w, classes=[0, 1]).partial_fit(X, y)
        else:
            model.fit(X, y, w)
        found = getattr(model, "predict_proba", model.predict)(X)
        outputs.append((found, model.score(X, y, w)))
    (found, score), (expected, its_score) = outputs
    assert isinstance(found, cupy.ndarray)
    np.testing.assert_allclose(found.get(), expected, rtol=0, atol=1e-10)
    np.testing.assert_allclose(score, its_score, rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_blocks_of_sparse_rows_share_their_recordings(monkeypatch):
    from xpnet.engines.cupy.program import Program

    monkeypatch.setattr("xpnet.estimators.arrays.BLOCK", 100)  # four blocks
    record, recorded = Program._record, []
    monkeypatch.setattr(
        Program, "_record", lambda p, *batch: recorded.append(batch) or record(p, *batch)
    )
    for X in rows_of(5):
        model = xpnet.MLPRegressor(hidden_layer_sizes=3, batch_size=8, max_iter=4, backend="cupy")
        model.fit(X, np.arange(60.0))
    assert recorded == [(8, 0), (4, 0)] * 2  # full minibatches, and the last
