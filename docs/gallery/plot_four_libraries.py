"""
One seed on four libraries
==========================

The same net, data and seed on NumPy, PyTorch, JAX and CuPy, drawn on top
of each other.

Whatever is installed takes part, and what is missing is named below. Where
there is no CuPy, as on a machine without a GPU, array-api-strict, the
reference of the Array API standard, stands in as the fourth. This example
needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet

# %%
# What is here
# ------------
# A library that is missing, or has no device, is a ``BackendUnavailable``,
# whose message says what installs it. ``xpnet.backends()`` tells of all of
# them.
wanted = ["numpy", "torch", "jax", "cupy", "array_api_strict"]
names: list[str] = []
for name in wanted:
    try:
        place = xpnet.select(name)
    except xpnet.BackendUnavailable as error:
        print(f"without {name}: {error}")
    else:
        print(place)
        names.append(name)
names = names[:4]

# %%
# The same run on each
# --------------------
# NumPy's data is moved to the library of the net, once. Weights, shuffles
# and dropout masks follow from the seed alone.
X, y = xpnet.load_digits()
X = X.T.astype("float32") / 16
costs, accuracy = {}, {}
for name in names:
    net = xpnet.DeepNet(
        [64, 32, 10],
        output="softmax",
        backend=name,
        dtype="float32",
        seed=3,
    )
    history = net.fit(
        X[:, :1500], y[:1500], xpnet.Adam(2e-3), epochs=20, dropout=0.1
    )
    costs[name] = np.array(history.cost)
    accuracy[name] = net.score(X[:, 1500:], y[1500:])
    print(
        f"{name}: cost {costs[name][-1]:.7f}, "
        f"accuracy on new digits {accuracy[name]:.4f}"
    )

# %%
# On top of each other
# --------------------
# Left, thick lines below thin ones: all are there, and look like one.
# Right, what is between them (at the bottom: nothing): a few units in the
# eighth digit, where float32 rounds. Sums are formed in another order, or
# by other instructions, and nothing else differs.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.9), layout="constrained"
)
epochs = np.arange(1, 21)
colours = ("#92dadd", "#ffa90e", "#bd1f01", "#3f90da")
for i, name in enumerate(names):
    left.plot(
        epochs,
        costs[name],
        linewidth=11 - 3 * i,
        label=name,
        color=colours[i],
    )
    if name != "numpy":
        apart = np.abs(costs[name] / costs["numpy"] - 1)
        right.plot(
            epochs,
            np.maximum(apart, 1e-10),
            marker=".",
            label=name,
            color=colours[i],
        )
rounding = float(np.finfo(np.float32).eps)
right.axhline(
    rounding, color="0.4", linestyle="--", label="rounding of float32"
)
left.set(
    xlabel="epoch",
    ylabel="cost",
    title="the costs",
    xticks=(1, 5, 10, 15, 20),
)
right.set(
    xlabel="epoch", ylabel="relative difference of the cost", yscale="log"
)
right.set(
    title="apart from NumPy", ylim=(1e-10, 1e-4), xticks=(1, 5, 10, 15, 20)
)
left.legend()
right.legend()
plt.show()

# %%
# Where to go next: :doc:`/architecture` for how one derivation runs on
# every library, :doc:`/performance` for what each costs.
