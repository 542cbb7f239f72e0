"""Searches of scikit-learn's on a cluster's scheduler."""

import numpy as np
import pytest

import xpnet

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the scheduler's own libraries


def test_a_grid_search_on_dask_finds_what_one_process_finds():
    joblib = pytest.importorskip("joblib")
    dask = pytest.importorskip("dask.distributed")
    model_selection = pytest.importorskip("sklearn.model_selection")
    X, y = xpnet.load_digits()

    def search():
        mlp = xpnet.MLPClassifier((8,), max_iter=5, random_state=0)
        found = model_selection.GridSearchCV(mlp, {"alpha": [1e-4, 1.0]}, cv=2)
        return found.fit(X[:200] / 16, y[:200]).cv_results_["mean_test_score"]

    alone = search()
    settings = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
    with (
        dask.LocalCluster(**settings) as cluster,
        dask.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        assert np.array_equal(search(), alone)
