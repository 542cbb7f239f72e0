"""Tools that show what a net computes: a gradient check, one step told in order, a comparison.

They are public as ``xpnet.check_gradients``, ``xpnet.explain`` and ``xpnet.compare``, and the
invented data as ``xpnet.load_planar`` and ``xpnet.load_houses``.
"""

from xpnet.teaching.comparison import compare
from xpnet.teaching.datasets import load_houses, load_planar
from xpnet.teaching.explanation import explain
from xpnet.teaching.gradient_check import check_gradients

__all__ = ["check_gradients", "compare", "explain", "load_houses", "load_planar"]
