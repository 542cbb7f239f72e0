"""PyTorch as its users write it: modules, autograd, the fused optimiser."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Net:
    def __init__(self, workload, dtype):
        self.workload, self.dtype = workload, getattr(torch, dtype)
        layers = []
        for k, n in pairwise(workload.sizes):
            layers += [nn.Linear(k, n), nn.Tanh() if workload.hidden == "tanh" else nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1]).to(self.dtype)
        X, y = workload.data(dtype)
        self.X, y = torch.from_numpy(X), torch.from_numpy(y)
        self.y = y[:, None].to(self.dtype) if workload.binary else y
        self.loss = (
            functional.binary_cross_entropy_with_logits
            if workload.binary
            else functional.cross_entropy
        )
        self.initial = workload.parameters(dtype)
        self.orders = [torch.from_numpy(order) for order in workload.orders()]

    def reset(self):
        linear = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, (W, b) in zip(linear, self.initial, strict=True):
                layer.weight.copy_(torch.from_numpy(W))
                layer.bias.copy_(torch.from_numpy(b[:, 0]))

    def run(self):
        if self.workload.kind == "inference":
            with torch.inference_mode():
                Z = self.model(self.X)
                torch.sigmoid(Z) if self.workload.binary else torch.softmax(Z, dim=1)
            return
        size, model, loss = self.workload.batch_size, self.model, self.loss
        kind = torch.optim.SGD if size is None else torch.optim.Adam
        optimizer = kind(model.parameters(), lr=self.workload.rate, fused=True)
        costs = []
        for order in self.orders:
            batches = [None] if size is None else order.split(size)
            for rows in batches:
                X, y = (self.X, self.y) if rows is None else (self.X[rows], self.y[rows])
                optimizer.zero_grad(set_to_none=True)
                cost = loss(model(X), y)
                cost.backward()
                optimizer.step()
                costs.append(cost.detach())
        self.costs = torch.stack(costs).numpy()

    def result(self):
        layers = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        numbers = [(l.weight.detach().numpy(), l.bias.detach().numpy()) for l in layers]
        epochs = self.costs.astype(np.float64).reshape(self.workload.epochs, -1)
        return numbers, epochs.mean(axis=1).tolist()


CANDIDATES = {"torch": Net}
