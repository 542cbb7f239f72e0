"""Nets as PyTorch modules: they compute the same, and share nothing."""

import numpy as np
import pytest
from exchange_helpers import OUTPUTS, examples, random_net

from xpnet import Activation, DeepNet
from xpnet.core.activations import ACTIVATIONS
from xpnet.files.torch import to_torch


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-14)])
@pytest.mark.parametrize(("output", "n_y"), OUTPUTS)
@pytest.mark.parametrize("hidden", ACTIVATIONS)
def test_torch_computes_what_the_net_does(torch, hidden, output, n_y, dtype, tolerance):
    net = random_net([5, 8, 6, n_y], hidden, output, dtype=dtype)
    module, X = to_torch(net), examples().astype(dtype)
    with torch.no_grad():
        A = module(torch.tensor(X)).numpy()
    expected = net.predict_proba(X.T).T
    assert A.dtype == dtype
    np.testing.assert_allclose(A, expected, rtol=10 * tolerance, atol=10 * tolerance)


def test_torch_softplus_is_exact_where_it_is_large(torch):
    """By default PyTorch's returns z from 20 on."""
    net = random_net([1, 1, 1], "softplus")
    net.parameters = [(np.ones((1, 1)), np.zeros((1, 1)))] * 2
    X = np.linspace(-50.0, 50.0, 1001)[:, None]
    A = to_torch(net)(torch.tensor(X)).detach().numpy()
    np.testing.assert_allclose(A, net.predict(X.T).T, rtol=1e-15)


def test_a_torch_module_is_a_copy_that_learns(torch):
    net = random_net([5, 4, 1], "relu", "sigmoid", backend="torch", dtype="float32")
    before = [(W.clone(), b.clone()) for W, b in net.parameters]
    module = to_torch(net)
    assert [type(part).__name__ for part in module] == ["Linear", "ReLU", "Linear", "Sigmoid"]
    assert all(p.requires_grad and p.is_leaf for p in module.parameters())
    storages = {p.untyped_storage().data_ptr() for p in module.parameters()}
    assert len(storages) == 4
    module(torch.ones(3, 5)).sum().backward()
    with torch.no_grad():
        for p in module.parameters():
            assert torch.any(p.grad != 0)
            p.zero_()
    for (W, b), (V, c) in zip(before, net.parameters, strict=True):
        assert torch.equal(W, V)
        assert torch.equal(b, c)


def test_to_torch_draws_nothing(torch):
    before = torch.get_rng_state()
    to_torch(random_net([50, 40, 1]))
    assert torch.equal(before, torch.get_rng_state())


def test_a_torch_module_lies_where_the_net_does(torch):
    net = random_net([3, 4, 1])
    assert to_torch(net)[0].weight.device == torch.device("cpu")
    device = "cuda:0" if torch.cuda.is_available() else "cpu"
    assert to_torch(net.to("torch", device))[0].weight.device == torch.device(device)


def test_to_torch_from_any_library(torch, lib):
    net = random_net([5, 8, 2], "elu", "softmax", **lib.options)
    X = examples()
    A = to_torch(net)(torch.tensor(X)).detach().cpu().numpy()
    expected = lib.to_numpy(net.predict_proba(lib.asarray(X.T))).T
    np.testing.assert_allclose(A, expected, rtol=1e-12, atol=1e-12)


def test_an_activation_that_torch_does_not_have(torch, monkeypatch):
    square = Activation("square", value=lambda z, *, xp: z**2, slope=lambda a, *, xp: a)
    monkeypatch.setitem(ACTIVATIONS, "square", square)
    with pytest.raises(ValueError, match="'square' has no counterpart in a torch module"):
        to_torch(DeepNet([2, 3, 1], "square", "identity"))
