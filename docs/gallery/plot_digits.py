"""
Handwritten digits
==================

A net of one hidden layer learns the 1797 handwritten digits that come with
xpnet, and is asked about 300 of them that it has not seen.

This example needs matplotlib.
"""

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.callbacks import EarlyStopping
from xpnet.plotting import FirstLayerDisplay, LearningCurveDisplay

# %%
# The data
# --------
# Images of 8 x 8 pixels, 0 to 16, a row for each. A net takes a column for
# each, so ``X.T``.
X, y = xpnet.load_digits()
X = X.T / 16
order = np.random.default_rng(0).permutation(len(y))
train, held_out, new = order[:1200], order[1200:1497], order[1497:]

figure, axes = plt.subplots(2, 10, figsize=(9, 2.2), layout="constrained")
for ax, i in zip(axes.flat, train, strict=False):
    ax.imshow(X[:, i].reshape(8, 8), cmap="gray_r")
    ax.set_title(y[i], fontsize=9)
    ax.set_axis_off()
plt.show()

# %%
# Training
# --------
# 64 inputs, 128 ReLU units, a softmax over ten classes. ``EarlyStopping``
# watches data held out from training and gives back the parameters of the
# best epoch.
net = xpnet.DeepNet([64, 128, 10], hidden="relu", output="softmax")
history = net.fit(
    X[:, train],
    y[train],
    xpnet.Adam(2e-3),
    epochs=100,
    batch_size=64,
    validation=(X[:, held_out], y[held_out]),
    callbacks=[EarlyStopping(patience=10)],
)
print(history)
LearningCurveDisplay.from_history(history)
plt.show()

# %%
# What it has learnt
# ------------------
# The weights of the first 32 hidden units, as images: a pixel in red
# speaks for the unit, one in blue against it.
figure, ax = plt.subplots(figsize=(8, 3.7), layout="constrained")
FirstLayerDisplay.from_net(net, shape=(8, 8), units=32, ax=ax)
plt.show()

# %%
# New digits
# ----------
# The accuracy is that of the 300 images that took no part in training or
# stopping. These are the ones it gets wrong, with its answer and how sure
# it was.
print(f"accuracy on new digits: {net.score(X[:, new], y[new]):.1%}")

probability = net.predict_proba(X[:, new])  # (10, 300)
answer = np.argmax(probability, axis=0)
wrong = np.flatnonzero(answer != y[new])[:10]
figure, axes = plt.subplots(1, 10, figsize=(9, 1.7), layout="constrained")
for ax in axes:
    ax.set_axis_off()
for ax, i in zip(axes, wrong, strict=False):
    ax.imshow(X[:, new[i]].reshape(8, 8), cmap="gray_r")
    ax.set_title(
        f"{y[new[i]]}, not {answer[i]}\n"
        f"({probability[answer[i], i]:.0%} sure)",
        fontsize=8,
    )
plt.show()

# %%
# Where to go next: :doc:`/training` for callbacks and checkpoints,
# :doc:`/files` for what to do with a trained net.
