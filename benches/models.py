"""The networks of Arpit, Campos & Bengio (2019) with weight normalisation, in PyTorch.

Both baselines train these. They differ in the layers that they put in: the harness hands in
`Parametrized`, the careful loop `Fused` (or, to compare, `Hooked`).

A residual block is `conv2(relu(conv1(x))) + shortcut(x)`; no ReLU stands after the stem, after
the sum or before the pooling. The head is a plain linear layer.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads import CLASSES, Workload


class WeightNormLinear(nn.Module):
    """`x @ (g·v/‖v‖)ᵀ + b`, by libtorch's fused kernel without a parametrization's bookkeeping."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight_v = nn.Parameter(torch.empty(outputs, inputs))
        self.weight_g = nn.Parameter(torch.empty(outputs, 1))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, torch._weight_norm(self.weight_v, self.weight_g, 0), self.bias)


class WeightNormConv(nn.Module):
    """The same for a convolution padded by half its kernel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        self.weight_v = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        self.weight_g = nn.Parameter(torch.empty(outputs, 1, 1, 1))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch._weight_norm(self.weight_v, self.weight_g, 0)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding)


class Fused:
    """Weight norm by one call of the fused kernel."""

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return WeightNormLinear(inputs, outputs)

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        return WeightNormConv(inputs, outputs, kernel, stride)

    def parts(self, layer: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        """Direction, gain and bias."""
        return layer.weight_v, layer.weight_g, layer.bias


class Hooked(Fused):
    """Weight norm by `torch.nn.utils.weight_norm`, PyTorch's older way."""

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return nn.utils.weight_norm(nn.Linear(inputs, outputs))

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        return nn.utils.weight_norm(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2))


class Parametrized(Fused):
    """Weight norm by `torch.nn.utils.parametrizations.weight_norm`, PyTorch's documented way."""

    def linear(self, inputs: int, outputs: int) -> nn.Module:
        return nn.utils.parametrizations.weight_norm(nn.Linear(inputs, outputs))

    def conv(self, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        return nn.utils.parametrizations.weight_norm(conv)

    def parts(self, layer: nn.Module) -> tuple[Tensor, Tensor, Tensor]:
        weight = layer.parametrizations.weight
        return weight.original1, weight.original0, layer.bias


class Mlp(nn.Module):
    """`depth` hidden layers of `width` units, a ReLU after each."""

    def __init__(self, features: int, depth: int, width: int, layers: Fused) -> None:
        super().__init__()
        sizes = [features] + [width] * depth
        self.hidden = nn.ModuleList(layers.linear(*pair) for pair in zip(sizes, sizes[1:]))
        self.head = nn.Linear(width, CLASSES)
        self.gammas = [(layer, 2.0) for layer in self.hidden]

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        for layer in self.hidden:
            x = F.relu(layer(x), inplace=True)
        return self.head(x)


class Block(nn.Module):
    """A residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int, layers: Fused) -> None:
        super().__init__()
        self.conv1 = layers.conv(inputs, outputs, 3, stride)
        self.conv2 = layers.conv(outputs, outputs, 3, 1)
        project = inputs != outputs or stride > 1
        self.shortcut = layers.conv(inputs, outputs, 1, stride) if project else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(F.relu(self.conv1(x), inplace=True)) + self.shortcut(x)


class Residual(nn.Module):
    """`resnet` and `wrn`: stem, three stages of blocks, mean over each channel, head."""

    def __init__(self, workload: Workload, layers: Fused) -> None:
        super().__init__()
        stem, stages = workload.stages()
        self.stem = layers.conv(workload.shape[0], stem, 3, 2 if workload.reduced_memory else 1)
        self.gammas = [(self.stem, 2.0 if workload.model == "resnet" else 1.0)]
        blocks, before = [], stem
        for stage, maps in enumerate(stages):
            for b in range(workload.blocks):
                block = Block(before, maps, 2 if stage > 0 and b == 0 else 1, layers)
                self.gammas += [(block.conv1, 2.0), (block.conv2, 1.0 / workload.blocks)]
                if not isinstance(block.shortcut, nn.Identity):
                    self.gammas.append((block.shortcut, 1.0))
                blocks.append(block)
                before = maps
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


def build(workload: Workload, layers: Fused) -> nn.Module:
    """The workload's network, not yet initialised."""
    if workload.model == "mlp":
        return Mlp(math.prod(workload.shape), workload.depth, workload.width, layers)
    return Residual(workload, layers)


@torch.no_grad()
def initialise(model: nn.Module, layers: Fused) -> None:
    """`orthogonal_proposed`: v orthogonal, `g = sqrt(γ·fan_in/fan_out)`, b = 0; PyTorch's default
    for the head."""
    for layer, gamma in model.gammas:
        v, g, bias = layers.parts(layer)
        # Through a tensor in memory order: orthogonal_ cannot write into a channels-last one.
        v.copy_(nn.init.orthogonal_(torch.empty(v.shape, device=v.device)))
        g.fill_(math.sqrt(gamma * v.shape[1] / v.shape[0]))  # the kernel's area cancels
        bias.zero_()
    model.head.reset_parameters()


def warm_up() -> None:
    """Imports what PyTorch puts off until the first optimizer step, so that it counts as start-up."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    torch.optim.SGD([weight], lr=0.1).step()
