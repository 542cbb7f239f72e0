"""
A real table, end to end
========================

From a CSV file with a category and empty cells to answers about new rows:
no line of preparation.

This example needs matplotlib, scikit-learn and pandas for the data, and
the command ``xpnet`` (``python -m pip install matplotlib scikit-learn
pandas typer rich pyarrow``).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer

import xpnet

temporary = tempfile.TemporaryDirectory()  # deleted when the script ends
folder = Path(temporary.name)

# %%
# A table as tables are
# ---------------------
# Ten measurements of 569 tumours. So that it looks like other people's
# files, one column is turned into words, one cell in twenty is emptied,
# and each row has the number of its patient. 150 rows are kept for the
# end.
cancer = load_breast_cancer(as_frame=True)
table = cancer.data.loc[:, "mean radius":"mean fractal dimension"].round(4)
rng = np.random.default_rng(0)
table = table.mask(rng.random(table.shape) < 0.05)
words = ["smooth", "even", "rough"]
table["mean texture"] = pd.cut(
    table["mean texture"], [0, 16, 21, 99], labels=words
)
table.insert(0, "patient", [f"P{i:04}" for i in range(len(table))])
table["diagnosis"] = cancer.target_names[cancer.target]

order = rng.permutation(len(table))
table.iloc[order[:-150]].to_csv(folder / "tumours.csv", index=False)
new = table.iloc[order[-150:]]
print((folder / "tumours.csv").read_text()[:400])

# %%
# Training
# --------
# One command, as it is typed in a shell: ``xpnet train tumours.csv
# --target diagnosis``. It says what it takes each column for, leaves out
# the patients' numbers, and keeps the best epoch.
command = (
    "train tumours.csv --target diagnosis --hidden 32 --early-stopping 20"
)
done = subprocess.run(
    [sys.executable, "-m", "xpnet", *command.split()],
    cwd=folder,
    capture_output=True,
    text=True,
    check=True,
)
print(done.stdout)

# %%
# New rows
# --------
# The model file holds means, medians, categories and the words for the
# classes. ``predict_raw`` takes a frame of rows as they come, with their
# empty cells, and answers in the words of the table.
net = xpnet.load(folder / "model.safetensors")
answers = net.predict_raw(new.drop(columns="diagnosis"))
right = answers == new["diagnosis"]
print(f"{right.mean():.1%} of {len(new)} new rows right")

# %%
# Where it is wrong
# -----------------
# Two of the measurements. The mistakes lie where the two kinds of tumours
# meet.
figure, ax = plt.subplots(figsize=(7, 4.4), layout="constrained")
for name, colour in (("benign", "#3f90da"), ("malignant", "#e76300")):
    rows = new[new["diagnosis"] == name]
    ax.scatter(
        rows["mean radius"],
        rows["mean concave points"],
        s=22,
        color=colour,
        label=name,
    )
mistakes = new[~right]
ring = {
    "s": 110,
    "facecolors": "none",
    "edgecolors": "black",
    "linewidths": 1.3,
}
ax.scatter(
    mistakes["mean radius"],
    mistakes["mean concave points"],
    label="taken wrongly",
    **ring,
)
ax.set(
    xlabel="mean radius",
    ylabel="mean concave points",
    title=f"{len(new)} new tumours",
)
ax.legend()
plt.show()

# %%
# Where to go next: :doc:`/tables` for kinds of columns, :doc:`/cli` for
# the command, :doc:`/files` for what is in the model file.
