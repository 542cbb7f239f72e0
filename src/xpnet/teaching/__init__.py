"""Tools that show what a net computes: a gradient check, one step told in order, a comparison.

Each gives an object that prints as a table, in HTML in a notebook. They are public as
``xpnet.check_gradients``, ``xpnet.explain``, ``xpnet.compare``; the invented data as
``xpnet.load_planar`` and ``xpnet.load_houses``.
"""

from xpnet.teaching.comparison import Comparison, compare
from xpnet.teaching.datasets import load_houses, load_planar
from xpnet.teaching.explanation import Explanation, explain
from xpnet.teaching.gradient_check import GradientReport, check_gradients

__all__ = [
    "Comparison",
    "Explanation",
    "GradientReport",
    "check_gradients",
    "compare",
    "explain",
    "load_houses",
    "load_planar",
]
