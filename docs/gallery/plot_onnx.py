"""
Hand-over to ONNX Runtime
=========================

A net is trained here and runs there: ``to_onnx`` writes a file that ONNX
Runtime reads, on servers, phones and in browsers, where neither xpnet nor
Python need be.

This example needs matplotlib and onnxruntime (``python -m pip install
matplotlib onnxruntime``).
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime

import xpnet

temporary = tempfile.TemporaryDirectory()  # deleted when the script ends
path = Path(temporary.name) / "digits.onnx"

# %%
# Training, and one line
# ----------------------
# The package ``onnx`` is not needed to write the file.
X, y = xpnet.load_digits()
X = (X / 16).astype("float32")  # (1797, 64): examples in rows
net = xpnet.DeepNet([64, 64, 10], hidden="relu", output="softmax")
columns = X[:1500].T  # which a net takes, as in the notes
net.fit(columns, y[:1500], xpnet.Adam(2e-3), epochs=30)
net.to_onnx(path)
print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")

# %%
# The other side
# --------------
# A model in ONNX takes examples in rows, as all its relatives do. Its
# outputs are the probabilities and the likeliest class.
session = onnxruntime.InferenceSession(path)
for kind, ports in (
    ("input", session.get_inputs()),
    ("output", session.get_outputs()),
):
    for port in ports:
        print(f"{kind} {port.name}: {port.type} {port.shape}")
probabilities, labels = session.run(
    ["probabilities", "label"], {"X": X[1500:]}
)

# %%
# The same answers
# ----------------
# Left, one image and what both say of it. Right, how far apart the
# probabilities of all 297 new images are: the last digits of float32
# (those below 1e-12 stand at 1e-12).
ours = net.predict_proba(X[1500:].T).T
print(f"same labels: {np.mean(labels == net.predict(X[1500:].T)):.1%}")
apart = np.abs(ours - probabilities).reshape(-1)
print(f"largest difference of a probability: {apart.max():.1e}")

unsure = int(np.argmin(probabilities.max(axis=1)))
figure, axes = plt.subplots(
    1,
    3,
    figsize=(10, 3.2),
    layout="constrained",
    gridspec_kw={"width_ratios": [1, 2.2, 2.2]},
)
axes[0].imshow(X[1500 + unsure].reshape(8, 8), cmap="gray_r")
axes[0].set_title(f"a hard one: {y[1500 + unsure]}")
axes[0].set_axis_off()
digits = np.arange(10)
axes[1].bar(digits - 0.2, ours[unsure], 0.4, label="xpnet", color="#3f90da")
axes[1].bar(
    digits + 0.2,
    probabilities[unsure],
    0.4,
    label="ONNX Runtime",
    color="#e76300",
)
axes[1].set(
    xlabel="digit",
    ylabel="probability",
    xticks=digits,
    title="both answers",
)
axes[1].set_ylim(0, 1.5 * probabilities[unsure].max())
axes[1].legend()
rounding = float(np.finfo(np.float32).eps)
axes[2].hist(
    np.maximum(apart, 1e-12),
    bins=list(np.logspace(-12, -6, 31)),
    color="#832db6",
)
axes[2].axvline(
    rounding, color="0.4", linestyle="--", label="rounding of float32"
)
axes[2].set(
    xscale="log",
    xlabel="difference",
    ylabel="probabilities",
    title="how far apart",
)
axes[2].margins(y=0.25)
axes[2].legend(loc="upper right")
plt.show()

# %%
# Where to go next: :doc:`/files` for ONNX models that take a table's
# columns as they stand, and for PyTorch and scikit-learn.
