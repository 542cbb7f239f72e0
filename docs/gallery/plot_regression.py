"""
Regression, its residuals and its learning curve
================================================

A net predicts the price of a house; its residuals show what a straight
line leaves over.

This example needs matplotlib and pandas (``python -m pip install
matplotlib pandas``).
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.plotting import LearningCurveDisplay

# %%
# The data
# --------
# ``load_houses`` draws a table of invented houses. The dearer a square
# metre, the nearer the house is to the centre: area and distance work
# together, which no sum of the two can say. The columns of numbers are
# used here, with missing ages as the median of the training data;
# :doc:`/tables` shows how whole tables are taken.
houses = xpnet.load_houses(m=1200, seed=0)
numbers = houses[["area_m2", "rooms", "age_years", "distance_km"]]
X = (
    numbers.fillna(numbers[:800].median()).to_numpy().T.astype(float)
)  # (4, m)
price = houses["price_thousands"].to_numpy()
train, held_out, new = slice(0, 800), slice(800, 1000), slice(1000, None)

# %%
# Features and targets on one scale
# ---------------------------------
# Means and standard deviations are those of the training data alone.
mean, std = (
    X[:, train].mean(axis=1, keepdims=True),
    X[:, train].std(axis=1, keepdims=True),
)
X = (X - mean) / std
centre, scale = price[train].mean(), price[train].std()
Y = (price - centre) / scale

# %%
# A straight line and a net
# -------------------------
# Least squares in closed form, and a net with two hidden layers, whose
# output is the identity and whose cost is half the mean squared error.
line = xpnet.linear_regression(n_x=4)
w, b = xpnet.least_squares(X[:, train], Y[train])
line.parameters = [(w, b)]
net = xpnet.DeepNet([4, 32, 32, 1], hidden="tanh", output="identity")
history = net.fit(
    X[:, train],
    Y[train],
    xpnet.Adam(2e-3),
    epochs=150,
    batch_size=32,
    schedule=xpnet.schedules.Cosine(),
    validation=(X[:, held_out], Y[held_out]),
)
print(history)
LearningCurveDisplay.from_history(history, log=True)
plt.show()

# %%
# Residuals
# ---------
# What each gets wrong, on 200 houses that neither has seen. The line is
# too low for cheap and for dear houses and too high in between: its
# residuals are curved. Those of the net scatter around 0; what is left is
# noise, and the heating, which neither was told.
figure, axes = plt.subplots(
    1, 2, figsize=(9, 3.8), layout="constrained", sharex=True, sharey=True
)
for ax, name, model in zip(
    axes, ("least squares", "net"), (line, net), strict=True
):
    predicted = centre + scale * model.predict(X[:, new])[0]
    residual = price[new] - predicted
    ax.axhline(0, color="0.4", linewidth=1)
    ax.scatter(
        predicted,
        residual,
        s=12,
        alpha=0.7,
        color="#3f90da" if model is net else "#e76300",
    )
    error = np.sqrt(np.mean(residual**2))
    ax.set_title(
        f"{name}: R² {model.score(X[:, new], Y[new]):.2f}, "
        f"typical error {error:.0f}"
    )
    ax.set_xlabel("predicted price (thousands)")
axes[0].set_ylabel("price − prediction (thousands)")
plt.show()

# %%
# Where to go next: :doc:`/tables` for tables with categories and missing
# cells, :doc:`/training` for schedules.
