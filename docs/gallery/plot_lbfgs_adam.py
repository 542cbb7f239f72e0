"""
L-BFGS against Adam
===================

Two ways down the same cost, by how often each looked at all examples.

``xpnet.lbfgs`` minimises any function of one vector. Here this is the cost
of a small net. It fits a curve to the gradients it has seen and knows how
far to go; Adam takes steps of about its learning rate. This example needs
matplotlib.
"""

from itertools import accumulate

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FixedLocator, NullFormatter

import xpnet

X, y = xpnet.load_planar()
X = X.T


def new_net() -> xpnet.DeepNet:
    """The net that every run starts from."""
    return xpnet.DeepNet(
        [2, 8, 1], hidden="tanh", output="sigmoid", dtype="float64", seed=1
    )


# %%
# The cost as a function of one vector
# ------------------------------------
# ``lbfgs`` asks for cost and gradient at a vector ``theta``. Weights and
# biases are cut from it and given to the net, and its gradients are joined
# to a vector again. Each evaluation looks at all examples once.
net = new_net()
shapes = [x.shape for layer in net.parameters for x in layer]
ends = list(accumulate(int(np.prod(shape)) for shape in shapes))
costs: list[float] = []


def cost_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
    parts = np.split(theta, ends[:-1])
    arrays = [
        part.reshape(shape)
        for part, shape in zip(parts, shapes, strict=True)
    ]
    net.parameters = list(zip(arrays[::2], arrays[1::2], strict=True))
    costs.append(net.cost(X, y))
    gradients = net.gradients(X, y)
    return costs[-1], np.concatenate(
        [g.reshape(-1) for layer in gradients for g in layer]
    )


start = np.concatenate(
    [x.reshape(-1) for layer in net.parameters for x in layer]
)
result = xpnet.lbfgs(cost_and_gradient, start, max_iter=300, tol=1e-4)
print(f"{result.iterations} iterations, {result.evaluations} evaluations")
print(result.message)
curves = {"L-BFGS": np.minimum.accumulate(costs)}

# %%
# Adam
# ----
# On all examples at once, an epoch is one evaluation and one update. With
# minibatches of 32, an epoch makes 13 updates for the same look at the
# data.
for name, batch_size in (
    ("Adam, all examples", None),
    ("Adam, minibatches of 32", 32),
):
    net = new_net()
    costs_at_end: list[float] = []
    for _ in range(300):
        net.fit(
            X,
            y,
            xpnet.Adam(0.02),
            epochs=1,
            batch_size=batch_size,
            resume=bool(costs_at_end),
        )
        costs_at_end.append(net.cost(X, y))
    curves[name] = np.array(costs_at_end)

# %%
# Beside each other
# -----------------
# On 400 points L-BFGS is far ahead, and it needs no learning rate. It
# needs exact costs, though, so all examples for each step: with millions
# of them Adam has made thousands of updates by the time that L-BFGS has
# made its first.
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, curve), colour in zip(
    curves.items(), ("#832db6", "#3f90da", "#e76300"), strict=True
):
    ax.plot(np.arange(1, len(curve) + 1), curve, label=name, color=colour)
ax.set(
    xlabel="times that all examples were looked at",
    ylabel="cost (mean cross-entropy)",
    yscale="log",
)
ax.set_xlim(0, 300)
ax.yaxis.set_major_locator(FixedLocator([0.02, 0.05, 0.1, 0.2, 0.5]))
ax.yaxis.set_major_formatter("{x:g}")
ax.yaxis.set_minor_formatter(NullFormatter())
ax.set_title("8 hidden units on the flower of 400 points")
ax.legend()
plt.show()

# %%
# ``MLPClassifier(solver="lbfgs")`` and ``LogisticRegression`` use
# ``lbfgs`` by themselves. Where to go next: :doc:`/training` for
# minibatches.
