"""
Decision boundaries that grow with the hidden units
===================================================

How many hidden units does a shape need? Six nets learn the same flower of
two classes, with one hidden layer of 1, 2, 3, 4, 8 and 32 tanh units.

This example needs matplotlib.
"""

import matplotlib.pyplot as plt

import xpnet
from xpnet.plotting import DecisionBoundaryDisplay, LearningCurveDisplay

# %%
# The data
# --------
# ``load_planar`` draws points of a flower from a seed; its petals take
# turns between two classes. It gives examples in rows, and a net takes
# them in columns, so ``X.T``. A second seed draws points that no net is
# trained on.
X, y = xpnet.load_planar(m=400, seed=0)
X_new, y_new = xpnet.load_planar(m=1000, seed=1)

# %%
# Six nets
# --------
# All have the same seed, the same optimiser and the same number of epochs.
nets, histories = {}, {}
for n_h in (1, 2, 3, 4, 8, 32):
    net = xpnet.shallow_net(n_x=2, n_h=n_h)
    histories[f"{n_h}"] = net.fit(
        X.T, y, xpnet.Adam(0.02), epochs=400, validation=(X_new.T, y_new)
    )
    nets[n_h] = net
    right = net.score(X_new.T, y_new)
    print(f"{n_h:2} units: {right:.1%} of the new points right")

# %%
# What they answer
# ----------------
# The colour is the probability of the class drawn in orange, the black
# line where it is one half. A tanh unit bends the plane along one line,
# and three lines through the middle part six petals: with fewer units
# whole petals are on the wrong side. Percentages are of the new points,
# which are not drawn.
figure, axes = plt.subplots(
    2, 3, figsize=(10, 6.6), layout="constrained", sharex=True, sharey=True
)
for ax, (n_h, net) in zip(axes.flat, nets.items(), strict=True):
    display = DecisionBoundaryDisplay.from_net(net, X.T, y, ax=ax)
    right = net.score(X_new.T, y_new)
    ax.set_title(
        f"{n_h} hidden unit{'s' if n_h > 1 else ''}: {right:.0%} right"
    )
    display.image_.colorbar.remove()  # one for all six is enough
    ax.get_legend().remove()
    ax.grid(visible=False)
    ax.label_outer()
figure.colorbar(
    display.image_,
    ax=axes,
    label="probability of class 1 (orange)",
    shrink=0.6,
)
plt.show()

# %%
# How they got there
# ------------------
# Solid: the cost on the points trained on, which more units always lower.
# Dashed: that on the new points. Its least value is ringed; what a large
# net learns after that is the noise of its own 400 points.
curves = LearningCurveDisplay.from_history(histories, accuracy=False)
curves.figure_.suptitle("costs by the number of hidden units")
plt.show()

# %%
# Where to go next: :doc:`/training` for optimisers and schedules,
# :doc:`/plotting` for all displays.
