"""A linear layer whose levels are fixed and whose scales are learnt."""

from typing import Any

import torch
from torch import nn


def dequantised(levels: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The weight [N, K] of levels [N, K / block, block] and scales [N, K / block]."""
    return (levels * scales[..., None]).flatten(1)


class _Product(torch.autograd.Function):
    """x Wᵀ, which keeps the small levels for the way back in place of W in float."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, levels: torch.Tensor, scales: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(x, levels, scales)
        return x @ dequantised(levels, scales).T

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, torch.Tensor | None]:
        x, levels, scales = ctx.saved_tensors
        (grad,) = grads
        of_input = grad @ dequantised(levels, scales)
        of_weight = grad.flatten(0, -2).T @ x.flatten(0, -2)
        return of_input, None, (of_weight.view(levels.shape) * levels).sum(-1)


class BlockLinear(nn.Module):
    """y = x Wᵀ + b with W = levels · scales · (1 + change); `change` [N, K / block] is learnt.

    levels: integer codes less their zero points, int8 or int16 [N, K / block, block].
    """

    def __init__(
        self, levels: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.levels: torch.Tensor
        self.scales: torch.Tensor
        self.register_buffer("levels", levels)
        self.register_buffer("scales", scales)
        self.change = nn.Parameter(torch.zeros_like(scales))
        self.bias = bias

    def tuned(self) -> torch.Tensor:
        """The scales as they are now."""
        return self.scales * (1 + self.change)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As torch's Linear."""
        apply: Any = _Product.apply
        y: torch.Tensor = apply(x, self.levels, self.tuned())
        return y if self.bias is None else y + self.bias


class Scaled(nn.Module):
    """A parametrisation of a norm's weight: `weight` · (1 + change); `change` is learnt."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight: torch.Tensor
        self.register_buffer("weight", weight)

    def forward(self, change: torch.Tensor) -> torch.Tensor:
        """The weight as it is now."""
        return self.weight * (1 + change)
