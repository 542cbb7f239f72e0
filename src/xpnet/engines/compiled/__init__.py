"""The compiled engine: whole epochs of a net on NumPy arrays as one function, by Numba."""
