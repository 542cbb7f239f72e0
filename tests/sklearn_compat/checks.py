"""scikit-learn's own checks of an estimator, its array API checks among them.

They need SCIPY_ARRAY_API=1 in the environment and this folder's pytest.ini, and they switch
array-api-strict to another revision of the standard: `nox -s sklearn_compat` runs them by
themselves.
"""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import xpnet


@parametrize_with_checks(
    [
        xpnet.MLPClassifier(max_iter=100),
        xpnet.MLPRegressor(max_iter=100),
        xpnet.MLPClassifier(max_iter=100, solver="lbfgs"),
        xpnet.LogisticRegression(),
        xpnet.LinearRegression(),
    ]
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    try:
        check(estimator)
    except Exception as error:
        if type(error).__name__ == "SyclDeviceCreationError":  # the checks ask dpnp for a GPU
            pytest.skip(f"dpnp has no such device: {error}")
        raise
