"""Invented data, made from a seed: a flower of two classes in the plane, and a table of houses."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from xpnet.core.settings import check_count


def load_planar(m: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw points of a flower with six petals, whose classes alternate from petal to petal.

    Parameters
    ----------
    m : int
        How many points.
    seed : int
        One seed gives the same data everywhere.

    Returns
    -------
    X : ndarray of float64 (m, 2)
        Examples in rows, as ``load_digits`` has them: a ``DeepNet`` takes ``X.T``.
    y : ndarray of int64 (m,)
        Classes 0 and 1.

    Raises
    ------
    ValueError
        ``m`` is below 1.

    Examples
    --------
    >>> import xpnet
    >>> X, y = xpnet.load_planar()
    >>> X.shape, y.shape
    ((400, 2), (400,))
    >>> net = xpnet.shallow_net(n_x=2, n_h=4)
    >>> history = net.fit(X.T, y, epochs=10)
    """
    m = check_count(m, "m", 1)
    rng = np.random.default_rng(check_count(seed, "seed", 0))
    petal = rng.permutation(np.arange(m) % 6)
    angle = (petal + rng.beta(2.0, 2.0, m)) * (np.pi / 3)  # few points where two petals meet
    radius = 4.0 * np.abs(np.sin(3.0 * angle)) * np.sqrt(rng.uniform(0.1, 1.0, m))
    points = radius * np.stack([np.cos(angle), np.sin(angle)])
    return (points + rng.normal(scale=0.15, size=(2, m))).T, petal % 2


def load_houses(m: int = 500, seed: int = 0) -> Any:
    """Draw a table of invented houses: numbers with units, a category, cells that are missing.

    Parameters
    ----------
    m : int
        How many houses.
    seed : int
        One seed gives the same data everywhere.

    Returns
    -------
    houses : pandas.DataFrame
        A row for each house. ``area_m2``, ``rooms``, ``age_years`` and ``distance_km`` (to the
        centre) are numbers, ``heating`` is a category, ``price_thousands`` is the target. Some ages
        and kinds of heating are missing.

    Raises
    ------
    ImportError
        pandas is not installed.
    ValueError
        ``m`` is below 1.

    Examples
    --------
    >>> import xpnet
    >>> houses = xpnet.load_houses()
    >>> list(houses)
    ['area_m2', 'rooms', 'age_years', 'distance_km', 'heating', 'price_thousands']
    >>> int(houses["age_years"].isna().sum()) > 0
    True

    ``houses.to_csv("houses.csv", index=False)`` writes it for
    ``xpnet train houses.csv --target price_thousands``.
    """
    try:
        pandas = import_module("pandas")
    except ImportError as error:
        raise ImportError("load_houses needs pandas: python -m pip install pandas") from error
    m = check_count(m, "m", 1)
    rng = np.random.default_rng(check_count(seed, "seed", 0))
    area = np.round(rng.gamma(9.0, 13.0, m) + 30.0)
    rooms = np.clip(np.round(area / 28.0 + rng.normal(scale=0.8, size=m)), 1, None)
    age = np.round(rng.uniform(0.0, 90.0, m))
    distance = np.round(rng.gamma(2.0, 4.0, m), 1)
    kinds = np.array(["gas", "heat pump", "oil", "wood"], dtype=object)
    kind = rng.choice(4, m, p=[0.4, 0.3, 0.2, 0.1])
    # the nearer to the centre, the dearer each square metre
    price = area * (1.2 + 2.5 * np.exp(-distance / 6.0)) * (1.0 - 0.004 * age)
    price = price + 8.0 * rooms + np.array([0.0, 35.0, -20.0, -5.0])[kind] + 40.0
    price = np.round(price * np.exp(rng.normal(scale=0.06, size=m)), 1)
    heating = kinds[kind]
    heating[rng.random(m) < 0.04] = None
    return pandas.DataFrame(
        {
            "area_m2": area.astype(int),
            "rooms": rooms.astype(int),
            "age_years": np.where(rng.random(m) < 0.08, np.nan, age),
            "distance_km": distance,
            "heating": heating,
            "price_thousands": price,
        }
    )
