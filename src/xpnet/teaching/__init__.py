"""Tools that show what a net computes, and invented data; public in ``xpnet`` itself."""

from xpnet.teaching.comparison import compare
from xpnet.teaching.datasets import load_houses, load_planar
from xpnet.teaching.explanation import explain
from xpnet.teaching.gradient_check import check_gradients

__all__ = ["check_gradients", "compare", "explain", "load_houses", "load_planar"]
