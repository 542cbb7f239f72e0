"""
A pipeline with a grid search
=============================

``xpnet.MLPClassifier`` inside scikit-learn's own tools: a pipeline that
standardises, and a grid search over hidden units and the penalty.

This example needs matplotlib and scikit-learn (``python -m pip install
matplotlib scikit-learn``).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import ConfusionMatrixDisplay
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import xpnet

# %%
# The data
# --------
# Measurements of 569 tumours, malignant (0) or benign (1). Examples are
# rows here, as scikit-learn has them. A quarter is kept for the end.
cancer = load_breast_cancer()
X, X_new, y, y_new = train_test_split(
    cancer.data,
    cancer.target,
    test_size=0.25,
    stratify=cancer.target,
    random_state=0,
)

# %%
# The search
# ----------
# Each of 3 x 4 settings is trained on four fifths of the data and scored
# on the fifth, five times. Nothing here is xpnet's but the classifier.
units, penalties = [2, 8, 32], [1e-2, 1e0, 1e1, 1e2]
model = make_pipeline(
    StandardScaler(),
    xpnet.MLPClassifier(solver="lbfgs", max_iter=2000, random_state=0),
)
search = GridSearchCV(
    model,
    {
        "mlpclassifier__hidden_layer_sizes": [(n,) for n in units],
        "mlpclassifier__alpha": penalties,
    },
    cv=5,
)
search.fit(X, y)
print("best:", search.best_params_)
print(f"mean accuracy of the folds: {search.best_score_:.3f}")

# %%
# What was found
# --------------
# The penalty matters more than the number of units: too weak, and nets
# learn the training data by heart; too strong, and they stop learning.
score = (
    search.cv_results_["mean_test_score"]
    .reshape(len(penalties), len(units))
    .T
)
figure, ax = plt.subplots(figsize=(6, 4), layout="constrained")
image = ax.imshow(score, cmap="viridis", aspect="auto")
ax.set_xticks(range(len(penalties)), [f"{alpha:g}" for alpha in penalties])
ax.set_yticks(range(len(units)), [str(n) for n in units])
ax.set(
    xlabel="penalty alpha",
    ylabel="hidden units",
    title="mean accuracy of five folds",
)
ax.grid(visible=False)
middle = (score.min() + score.max()) / 2
for i, j in np.ndindex(score.shape):
    ink = "black" if score[i, j] > middle else "white"
    ax.text(j, i, f"{score[i, j]:.3f}", ha="center", va="center", color=ink)
figure.colorbar(image, ax=ax, label="accuracy")
plt.show()

# %%
# Data that the search has not seen
# ---------------------------------
# The search has trained the best setting once more on all its data.
print(f"accuracy on new tumours: {search.score(X_new, y_new):.3f}")
ConfusionMatrixDisplay.from_predictions(
    y_new,
    search.predict(X_new),
    display_labels=cancer.target_names,
    colorbar=False,
    cmap="Blues",
)
plt.grid(visible=False)
plt.title("new tumours")
plt.show()

# %%
# Where to go next: :doc:`/data` for sparse matrices, :doc:`/files` for
# nets to and from scikit-learn.
