"""``python -m xpnet.gpu_check``: the command of ``xpnet.bench.gpu``."""
