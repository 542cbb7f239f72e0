"""Pictures of nets, as displays in scikit-learn's way. They need matplotlib.

A display is made by its ``from_...`` method, which draws it at once, into ``ax`` or into a new
figure. It keeps what it shows as plain NumPy arrays; ``plot(ax)`` draws it again elsewhere. The
objects that matplotlib made are in ``ax_``, ``figure_`` and the other attributes that end in an
underscore. ``from_...`` takes the options of ``plot`` too.

Nets and data may be of any array library. Drawing without matplotlib raises an ``ImportError``.
"""

from xpnet.plotting.decision_boundary import DecisionBoundaryDisplay
from xpnet.plotting.first_layer import FirstLayerDisplay
from xpnet.plotting.graph import GraphDisplay
from xpnet.plotting.learning_curve import LearningCurveDisplay
from xpnet.plotting.product import ProductDisplay
from xpnet.plotting.weights import WeightsDisplay

__all__ = [
    "DecisionBoundaryDisplay",
    "FirstLayerDisplay",
    "GraphDisplay",
    "LearningCurveDisplay",
    "ProductDisplay",
    "WeightsDisplay",
]


def __dir__() -> list[str]:
    return __all__
