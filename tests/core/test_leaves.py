"""The reference leaves read no value from the device: they run on arrays that hold none."""

import numpy as np
import pytest

from xpnet.core.activations import ACTIVATIONS
from xpnet.core.leaves import Batch, Data, Leaves
from xpnet.core.losses import LOSSES
from xpnet.core.network import Objective, step, step_table
from xpnet.core.optimizers import OPTIMIZERS


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("output", LOSSES)
def test_a_step_reads_no_value(output, optimizer, weighted):
    """PyTorch's meta device has shapes and no numbers: any float(), bool() or mask raises there."""
    torch = pytest.importorskip("torch")
    import array_api_compat.torch as xp

    n_hidden = len(ACTIVATIONS)
    objective = Objective(
        (3, *[4] * n_hidden, 2),
        tuple(ACTIVATIONS.values()),
        LOSSES[output],
        penalized=True,
        sparse=True,
        dropout=(0.3,) * n_hidden,
        clipped=True,
    )

    def meta(*shape, dtype=torch.float32):
        return torch.empty(shape, dtype=dtype, device="meta")

    data = Data(meta(9, 3), meta(9, 2), meta(9) if weighted else None)
    theta = meta(objective.layout.n_parameters)
    rule = OPTIMIZERS[optimizer].kind(0.1)
    moments = tuple(meta(objective.layout.n_parameters) for _ in range(rule.n_moments))
    (row,) = step_table(rule, np.ones(1), np.ones(1), l2=1e-3, l1=1e-3, clip_norm=1.0, seed=3)
    batch = Batch(data, meta(5, dtype=torch.int64))
    theta, moments, cost = step(
        Leaves(xp, objective.layout), objective, rule, theta, moments, batch, row.tolist()
    )
    assert theta.shape == (objective.layout.n_parameters,)
    assert theta.dtype == torch.float32
    assert cost.shape == ()
    assert len(moments) == rule.n_moments
