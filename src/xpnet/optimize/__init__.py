"""Optimisers of functions of one vector: L-BFGS and its line search."""
