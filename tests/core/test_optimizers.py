"""Optimisers against their papers and torch.optim in float64, and their settings."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from helpers import (
    OPTIMIZERS,
    assert_pairs_close,
    draw_parameters,
    draw_targets,
    raises_on_purpose,
    reference_gradients,
)

import xpnet
from xpnet.core import optimizers

STEPS = 20
SIZES = [3, 5, 2]


def start(seed=21):
    rng = np.random.default_rng(seed)
    parameters = draw_parameters(SIZES, rng)
    return parameters, rng.normal(size=(3, 16)), draw_targets("sigmoid", 2, 16, rng)


def train(optimizer, l2=0.0, **options):
    parameters, X, Y = start()
    options = {"backend": "numpy", "dtype": "float64"} | options
    net = xpnet.DeepNet(SIZES, hidden="tanh", output="sigmoid", **options)
    net.parameters = parameters
    history = net.fit(X, Y, optimizer=optimizer, batch_size=None, epochs=STEPS, l2=l2)
    return net, history


def torch_train(name, settings, l2=0.0):
    """The same problem by autograd and torch's own optimiser: (pairs, costs)."""
    torch = pytest.importorskip("torch")
    parameters, X, Y = start()
    x, y = torch.tensor(X), torch.tensor(Y)
    pairs = [[torch.tensor(array, requires_grad=True) for array in pair] for pair in parameters]
    weights, biases = [W for W, _ in pairs], [b for _, b in pairs]
    groups = [{"params": weights}, {"params": biases, "weight_decay": 0.0}]
    optimizer, costs = getattr(torch.optim, name)(groups, **settings), []
    loss = torch.nn.functional.binary_cross_entropy_with_logits
    for _ in range(STEPS):
        A = torch.tanh(weights[0] @ x + biases[0])
        Z = weights[1] @ A + biases[1]
        cost = loss(Z, y, reduction="sum") / x.shape[1] + 0.5 * l2 * sum(
            (W**2).sum() for W in weights
        )
        optimizer.zero_grad()
        cost.backward()
        costs.append(cost.item())
        optimizer.step()
    return [tuple(array.detach().numpy() for array in pair) for pair in pairs], costs


# The optimiser of torch and its settings; weight decay is on weights only, never on biases.
TORCH = {
    "GradientDescent": (xpnet.GradientDescent(0.3), "SGD", {"lr": 0.3}),
    "Momentum": (xpnet.Momentum(0.1, momentum=0.9), "SGD", {"lr": 0.1, "momentum": 0.9}),
    "Nesterov": (
        xpnet.Momentum(0.1, momentum=0.8, nesterov=True),
        "SGD",
        {"lr": 0.1, "momentum": 0.8, "nesterov": True},
    ),
    "Adam": (xpnet.Adam(0.05), "Adam", {"lr": 0.05, "betas": (0.9, 0.999), "eps": 1e-8}),
    "Adam-settings": (
        xpnet.Adam(0.02, beta1=0.7, beta2=0.95, epsilon=1e-3),
        "Adam",
        {"lr": 0.02, "betas": (0.7, 0.95), "eps": 1e-3},
    ),
    "AdamW": (
        xpnet.AdamW(0.05, weight_decay=0.1),
        "AdamW",
        {"lr": 0.05, "eps": 1e-8, "weight_decay": 0.1},
    ),
    "AdamW-default": (xpnet.AdamW(), "AdamW", {"lr": 1e-3, "eps": 1e-8, "weight_decay": 1e-2}),
    "RMSProp": (xpnet.RMSProp(0.01), "RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-8}),
    "RMSProp-settings": (
        xpnet.RMSProp(0.01, rho=0.5, epsilon=1e-4),
        "RMSprop",
        {"lr": 0.01, "alpha": 0.5, "eps": 1e-4},
    ),
}
CASES = {name: optimizer for name, (optimizer, _) in OPTIMIZERS.items()}
CASES |= {name: ours for name, (ours, *_) in TORCH.items()}


def test_the_table_holds_every_optimiser():
    kinds = {type(optimizer) for optimizer, _ in OPTIMIZERS.values()}
    assert kinds == {rule.kind for rule in optimizers.OPTIMIZERS.values()}
    for name, rule in optimizers.OPTIMIZERS.items():
        assert getattr(xpnet, name) is rule.kind
        assert name in xpnet.__all__
        assert isinstance(rule.kind(rule.rate), optimizers.Optimizer)


@pytest.mark.parametrize("l2", [0.0, 0.2], ids=["", "l2"])
@pytest.mark.parametrize("case", TORCH)
def test_the_same_as_torch_optim(case, l2):
    ours, *theirs = TORCH[case]
    net, history = train(ours, l2=l2)
    expected, costs = torch_train(*theirs, l2=l2)
    assert_pairs_close(net.parameters, expected, 1e-10)
    np.testing.assert_allclose(history.cost, costs, rtol=1e-10)


@pytest.mark.parametrize("engine", ["generic", "numpy"])
@pytest.mark.parametrize("case", CASES)
def test_steps_by_hand(case, engine):
    """Each rule as its paper has it, from gradients of the plain NumPy net."""
    optimizer = CASES[case]
    (by_hand,) = {rule for o, rule in OPTIMIZERS.values() if type(o) is type(optimizer)}
    expected, X, Y = start()
    net = xpnet.DeepNet(SIZES, hidden="tanh", output="sigmoid", backend="numpy", dtype="float64")
    net.parameters = expected
    moments = [[(np.zeros_like(x),) * optimizer.n_moments for x in pair] for pair in expected]
    for t in range(1, STEPS + 1):
        gradients = reference_gradients(expected, X, Y, "tanh", "sigmoid")
        found = [
            [by_hand(optimizer, t, *parts, parts[0] is pair[0]) for parts in zip(pair, g, m)]
            for pair, g, m in zip(expected, gradients, moments, strict=True)
        ]
        expected = [tuple(theta for theta, _ in pair) for pair in found]
        moments = [[m for _, m in pair] for pair in found]
        if t == 1 or t == STEPS:
            with xpnet.engines.use(engine):
                epochs = 1 if t == 1 else STEPS - 1
                net.fit(X, Y, optimizer, batch_size=None, epochs=epochs, resume=True)
            assert_pairs_close(net.parameters, expected, 1e-12 if t == 1 else 1e-10)


def test_defaults():
    assert xpnet.Adam() == xpnet.Adam(learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8)
    assert xpnet.AdamW() == xpnet.AdamW(
        learning_rate=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=1e-2
    )
    assert xpnet.RMSProp() == xpnet.RMSProp(learning_rate=1e-3, rho=0.9, epsilon=1e-8)
    assert xpnet.Momentum(0.1) == xpnet.Momentum(learning_rate=0.1, momentum=0.9, nesterov=False)
    assert xpnet.GradientDescent(0.1).learning_rate == 0.1


@pytest.mark.parametrize("case", CASES)
def test_settings_are_frozen(case):
    optimizer = CASES[case]
    with pytest.raises(dataclasses.FrozenInstanceError):
        optimizer.learning_rate = 1.0


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: xpnet.GradientDescent(-0.1), "learning_rate"),
        (lambda: xpnet.GradientDescent(float("nan")), "learning_rate"),
        (lambda: xpnet.Adam(float("inf")), "learning_rate"),
        (lambda: xpnet.Momentum(0.1, momentum=1.0), "momentum"),
        (lambda: xpnet.Momentum(0.1, momentum=-0.1), "momentum"),
        (lambda: xpnet.Adam(beta1=1.0), "beta1"),
        (lambda: xpnet.Adam(beta2=-0.5), "beta2"),
        (lambda: xpnet.Adam(epsilon=-1e-8), "epsilon"),
        (lambda: xpnet.AdamW(weight_decay=-0.1), "weight_decay"),
        (lambda: xpnet.RMSProp(rho=1.5), "rho"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_out_of_range(make, named):
    with raises_on_purpose(ValueError, named):
        make()


def test_numpy_scalars_as_settings_do_not_promote_a_float32_net():
    net, _ = train(xpnet.Adam(np.float64(0.05)), dtype="float32")
    assert {array.dtype for pair in net.parameters for array in pair} == {np.dtype("float32")}
