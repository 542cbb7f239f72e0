"""Nets and examples that the tests of other libraries' formats share."""

import numpy as np

from xpnet import DeepNet

OUTPUTS = [("identity", 1), ("identity", 3), ("sigmoid", 1), ("sigmoid", 3), ("softmax", 2),
           ("softmax", 4)]  # fmt: skip


def random_net(sizes, hidden="tanh", output="identity", *, scale=1.0, **options):
    """A net with weights and biases that are not small."""
    net = DeepNet(sizes, hidden, output, **{"backend": "numpy", "dtype": "float64", **options})
    rng = np.random.default_rng(0)
    net.parameters = [
        (scale * rng.normal(size=W.shape), scale * rng.normal(size=b.shape))
        for W, b in net.parameters
    ]
    return net


def examples(m=200, n=5):
    return 2 * np.random.default_rng(1).normal(size=(m, n))
