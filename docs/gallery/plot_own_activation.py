"""
Your own activation, and a check of its slope
=============================================

An activation is two functions: its value, and its slope. A slope that is
wrong raises no error and trains badly; ``xpnet.check_gradients`` finds it.

This example needs matplotlib.
"""

from types import ModuleType
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import xpnet
from xpnet.plotting import DecisionBoundaryDisplay

# %%
# Softsign
# --------
# ``softsign(z) = z / (1 + |z|)``. The slope is written in terms of the
# output ``a``, which a net keeps anyway: with ``1 - |a| = 1 / (1 + |z|)``
# it is ``(1 - |a|)**2``. ``xp`` is the library that the net computes in,
# so this runs on all of them.


def value(z: Any, *, xp: ModuleType) -> Any:
    return z / (1.0 + xp.abs(z))


def slope(a: Any, *, xp: ModuleType) -> Any:
    return (1.0 - xp.abs(a)) ** 2


softsign = xpnet.Activation("softsign", value, slope)

z = np.linspace(-4, 4, 401)
a = value(z, xp=np)
figure, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
ax.plot(z, a, label="softsign", color="#3f90da")
ax.plot(z, slope(a, xp=np), label="its slope", color="#e76300")
ax.plot(
    z, np.gradient(a, z), ":", label="slope by differences", color="black"
)
ax.set(xlabel="z", title="softsign, and its slope in terms of its output")
ax.legend()
plt.show()

# %%
# The check
# ---------
# Every derivative of the cost beside differences of the cost itself. The
# error is relative, and its largest in each layer is named. A few examples
# are enough.
X, y = xpnet.load_planar()
X = X.T
net = xpnet.DeepNet([2, 8, 1], hidden=softsign, seed=2)
print(xpnet.check_gradients(net, X[:, :20], y[:20]))

# %%
# A slope that is wrong
# ---------------------
# As it may happen: the square is forgotten. The last layer is still right,
# since its derivatives do not use the slope; those of the first are not.


def forgotten(a: Any, *, xp: ModuleType) -> Any:
    return 1.0 - xp.abs(a)


wrong = xpnet.DeepNet(
    [2, 8, 1], hidden=xpnet.Activation("wrong", value, forgotten), seed=2
)
print(xpnet.check_gradients(wrong, X[:, :20], y[:20]))

# %%
# In use
# ------
# The net learns the flower with it as with one of the library's own.
net.fit(X, y, xpnet.Adam(0.03), epochs=800)
X_new, y_new = xpnet.load_planar(m=1000, seed=1)
display = DecisionBoundaryDisplay.from_net(net, X, y)
display.ax_.grid(visible=False)
display.figure_.suptitle(
    f"8 softsign units: {net.score(X_new.T, y_new):.0%} of new points right"
)
plt.show()

# %%
# Where to go next: :doc:`/training` for more to set, :doc:`/architecture`
# for the derivation that calls the slope.
