"""``python -m xpnet.gpu_check``: what a machine with a GPU must show, and what it takes.

Files: ``machine`` (what is installed), ``correctness`` (CuPy against NumPy), ``timing`` (host
time per call, step against products, PyTorch), ``memory`` (host data, running out of memory),
``report`` (JSON and table).
"""
