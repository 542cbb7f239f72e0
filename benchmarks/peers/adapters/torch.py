"""PyTorch as its users write it: modules, autograd, the fused optimiser.

On the CPU, or where ``XPNET_PEERS_DEVICE`` says. "torch-compile" compiles the loss; "torch-graph"
makes a step one CUDA graph.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional


class Net:
    def __init__(self, workload, dtype, way="eager"):
        self.workload, self.dtype, self.way = workload, getattr(torch, dtype), way
        self.device = os.environ.get("XPNET_PEERS_DEVICE", "cpu")
        if way == "graph" and self.device == "cpu":
            raise ValueError("CUDA graphs need a GPU")
        torch.backends.cuda.matmul.allow_tf32 = False
        layers = []
        for k, n in pairwise(workload.sizes):
            layers += [nn.Linear(k, n), nn.Tanh() if workload.hidden == "tanh" else nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1]).to(self.device, self.dtype)
        X, y = (torch.from_numpy(x).to(self.device) for x in workload.data(dtype))
        self.X = X
        self.y = y[:, None].to(self.dtype) if workload.binary else y
        loss = (
            functional.binary_cross_entropy_with_logits
            if workload.binary
            else functional.cross_entropy
        )
        self.cost = lambda X, y: loss(self.model(X), y)
        if way == "compile":  # on the CPU only to see that it runs
            how = {"backend": "eager"} if self.device == "cpu" else {"mode": "reduce-overhead"}
            self.cost = torch.compile(self.cost, **how)
        self.initial = workload.parameters(dtype)
        self.orders = [torch.from_numpy(order) for order in workload.orders()]
        self.replay = self.captured() if way == "graph" else None

    def optimizer(self):
        full = self.workload.batch_size is None
        kind = torch.optim.SGD if full else torch.optim.Adam
        graph = {"capturable": True} if self.way == "graph" and not full else {}
        return kind(self.model.parameters(), lr=self.workload.rate, fused=True, **graph)

    def reset(self):
        linear = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer, (W, b) in zip(linear, self.initial, strict=True):
                layer.weight.copy_(torch.from_numpy(W))
                layer.bias.copy_(torch.from_numpy(b[:, 0]))
            for moments in self.captured_state.values() if self.replay else ():
                for moment in filter(torch.is_tensor, moments.values()):
                    moment.zero_()

    def run(self):
        if self.workload.kind == "inference":
            with torch.inference_mode():
                Z = self.model(self.X)
                torch.sigmoid(Z) if self.workload.binary else torch.softmax(Z, dim=1)
            return
        size, step = self.workload.batch_size, self.replay or partial(self.step, self.optimizer())
        costs = []
        for order in self.orders:
            for rows in [None] if size is None else order.to(self.device).split(size):
                cost = step(rows)
                costs.append(cost if self.way == "eager" else cost.clone())  # a graph's is its own
        self.costs = torch.stack(costs).cpu().numpy()

    def step(self, optimizer, rows):
        X, y = (self.X, self.y) if rows is None else (self.X[rows], self.y[rows])
        optimizer.zero_grad(set_to_none=True)
        cost = self.cost(X, y)
        cost.backward()
        optimizer.step()
        return cost.detach()

    def captured(self):
        """A step as a CUDA graph that reads its rows from an array of its own."""
        size, optimizer = self.workload.batch_size, self.optimizer()
        own = None if size is None else torch.arange(size, device=self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # what PyTorch asks for before a capture
            for _ in range(3):
                self.step(optimizer, own)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            cost = self.step(optimizer, own)
        self.captured_state = optimizer.state

        def replay(rows):
            if own is not None:
                own.copy_(rows)
            graph.replay()
            return cost

        return replay

    def result(self):
        layers = [layer for layer in self.model if isinstance(layer, nn.Linear)]
        numbers = [(l.weight.detach().cpu().numpy(), l.bias.detach().cpu().numpy()) for l in layers]
        epochs = self.costs.astype(np.float64).reshape(self.workload.epochs, -1)
        return numbers, epochs.mean(axis=1).tolist()


CANDIDATES = {
    "torch": Net,
    "torch-compile": partial(Net, way="compile"),
    "torch-graph": partial(Net, way="graph"),
}
