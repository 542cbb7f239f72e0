"""Nets as PyTorch modules, and modules as ``.pt`` files.

Examples are rows there, (m, n_x). Parameters are copied, never shared.
"""

from __future__ import annotations

from typing import Any, BinaryIO

from xpnet.backends.libraries import LIBRARIES
from xpnet.backends.place import dtype_name, to_numpy
from xpnet.files.model import activation_names, written_as


def to_torch(net: Any) -> Any:
    """An ``nn.Sequential`` of equal outputs: (m, n_x) to (m, n_y), like ``predict_proba(X).T``.

    It has the net's dtype, and lies on its device if that is PyTorch's, else on the CPU. The last
    module is the output's ``Sigmoid`` or ``Softmax``; ``module[:-1]`` gives logits, which
    PyTorch's losses want. Nothing is drawn: the global random state stays as it is.

    Raises
    ------
    ImportError
        PyTorch is not installed.
    ValueError
        A hidden layer has an activation of the user's own.
    """
    try:
        import torch
    except ImportError:
        raise ImportError(f"to_torch needs PyTorch: {LIBRARIES['torch'].install}") from None
    from torch import nn

    device = net.backend.device if net.backend.name == "torch" else torch.device("cpu")
    names = [*activation_names(net, "a torch module"), net.output]
    layers: list[Any] = []
    for (W, b), name in zip(net.parameters, names, strict=True):
        n_out, n_in = W.shape
        dtype = getattr(torch, dtype_name(W.dtype))
        linear = nn.utils.skip_init(nn.Linear, n_in, n_out, device=device, dtype=dtype)
        with torch.no_grad():
            linear.weight.copy_(_tensor(W, torch))
            linear.bias.copy_(_tensor(b[:, 0], torch))
        layers.append(linear)
        if name == "softmax":
            layers.append(nn.Softmax(dim=1))
        elif name != "identity":
            kind, settings = written_as(name, "torch_module", "a torch module")
            layers.append(getattr(nn, kind)(**settings))
    return nn.Sequential(*layers)


def _tensor(x: Any, torch: Any) -> Any:
    return x if isinstance(x, torch.Tensor) else torch.tensor(to_numpy(x))


def save_torch(net: Any, file: BinaryIO) -> None:
    """Writes ``to_torch(net)``, in evaluation mode, for ``torch.load(weights_only=False)``.

    Raises
    ------
    ImportError, ValueError
        As ``to_torch``.
    """
    module = to_torch(net)
    import torch

    torch.save(module.eval(), file)
