"""
Resuming after a crash
======================

A run that dies in the middle goes on from its last checkpoint, and ends
with the same parameters to the last bit as one that never stopped.

This example needs matplotlib.
"""

import tempfile
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.callbacks import Checkpoints, latest_checkpoint
from xpnet.schedules import Cosine

temporary = tempfile.TemporaryDirectory()  # deleted when the script ends
folder = Path(temporary.name) / "checkpoints"

X, y = xpnet.load_digits()
X = X.T / 16
EPOCHS = 30
settings: dict[str, Any] = {
    "optimizer": xpnet.Adam(2e-3),
    "batch_size": 64,
    "dropout": 0.2,
    "l2": 1e-4,
}


def new_net() -> xpnet.DeepNet:
    """The net that both runs start from."""
    return xpnet.DeepNet([64, 64, 10], output="softmax", seed=7)


# %%
# A run without a break
# ---------------------
# With all that remembers something: Adam's moments, dropout, a schedule.
whole = new_net()
uninterrupted = whole.fit(
    X, y, epochs=EPOCHS, schedule=Cosine(EPOCHS), **settings
)


# %%
# A run that dies
# ---------------
# ``Checkpoints`` writes one every five epochs. A power cut is played by a
# callback that raises in epoch 18.
class PowerCut:
    """A callback that ends the fit with an error."""

    def on_epoch_end(self, net: xpnet.DeepNet, progress: Any) -> None:
        if progress.epoch == 18:
            raise RuntimeError("the power is gone")


try:
    new_net().fit(
        X,
        y,
        epochs=EPOCHS,
        schedule=Cosine(EPOCHS),
        callbacks=[Checkpoints(folder, every=5), PowerCut()],
        **settings,
    )
except RuntimeError as error:
    print(f"died: {error}")
print(
    "left behind:",
    ", ".join(sorted(path.name for path in folder.iterdir())),
)

# %%
# Another process
# ---------------
# It has the data, the settings and the folder, and nothing else. Epochs 16
# to 18 are made once more.
found = latest_checkpoint(folder)
assert found is not None
net = xpnet.load(found)
done = len(net.history.cost)  # epochs that the checkpoint has seen
net.fit(
    X,
    y,
    epochs=EPOCHS - done,
    resume=True,
    schedule=Cosine(EPOCHS),
    callbacks=[Checkpoints(folder, every=5)],
    **settings,
)
same = all(
    np.array_equal(a, b)
    for ours, theirs in zip(net.parameters, whole.parameters, strict=True)
    for a, b in zip(ours, theirs, strict=True)
)
print(f"resumed after epoch {done}; the same to the last bit: {same}")

# %%
# Both runs
# ---------
# The resumed run lies on the other from its first epoch to its last.
figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
epochs = np.arange(1, EPOCHS + 1)
resumed = net.history.cost
ax.plot(
    epochs,
    uninterrupted.cost,
    linewidth=7,
    color="#92dadd",
    label="without a break",
)
ax.plot(
    epochs[:done],
    resumed[:done],
    color="#832db6",
    label="up to the checkpoint",
)
ax.plot(
    epochs[done - 1 :],
    resumed[done - 1 :],
    color="#e76300",
    label="resumed",
)
ax.axvline(18, color="0.4", linestyle="--")
ax.annotate(
    "the power is gone",
    (18, uninterrupted.cost[0]),
    (-105, -110),
    textcoords="offset points",
)
ax.plot(done, resumed[done - 1], "o", color="#832db6")
ax.set(xlabel="epoch", ylabel="cost (with penalty and dropout)")
ax.set_title("a run in two parts on one in a piece")
ax.legend(loc="upper right")
plt.show()

# %%
# Where to go next: :doc:`/training` for checkpoints and callbacks,
# :doc:`/cli` for ``xpnet train --resume``.
