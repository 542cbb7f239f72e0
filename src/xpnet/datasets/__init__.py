"""Data that comes with the package: ``digits.npz``, described in ``digits.txt``."""
