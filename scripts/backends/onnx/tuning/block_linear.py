"""A linear layer whose whole numbers are fixed and whose scales are learnt."""

from typing import Any

import torch
from torch import nn


def dequantised(numbers: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
    """The weight [N, K] of numbers [N, K / block, block] and scales [N, K / block]."""
    return (numbers * scales[..., None]).flatten(1)


class _Product(torch.autograd.Function):
    """x Wᵀ, which keeps the small whole numbers for the way back in place of W in float."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, numbers: torch.Tensor, scales: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(x, numbers, scales)
        return x @ dequantised(numbers, scales).T

    @staticmethod
    def backward(
        ctx: Any, *grads: torch.Tensor
    ) -> tuple[torch.Tensor | None, None, torch.Tensor | None]:
        x, numbers, scales = ctx.saved_tensors
        (grad,) = grads
        of_input = grad @ dequantised(numbers, scales)
        of_weight = grad.flatten(0, -2).T @ x.flatten(0, -2)
        return of_input, None, (of_weight.view(numbers.shape) * numbers).sum(-1)


class BlockLinear(nn.Module):
    """y = x Wᵀ + b with W = numbers · scales · (1 + change); `change` [N, K / block] is learnt.

    numbers: whole numbers less their zero points, int8 or int16 [N, K / block, block].
    """

    def __init__(
        self, numbers: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None
    ) -> None:
        super().__init__()
        self.numbers: torch.Tensor
        self.scales: torch.Tensor
        self.register_buffer("numbers", numbers)
        self.register_buffer("scales", scales)
        self.change = nn.Parameter(torch.zeros_like(scales))
        self.bias = bias

    def tuned(self) -> torch.Tensor:
        """The scales as they are now."""
        return self.scales * (1 + self.change)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As torch's Linear."""
        apply: Any = _Product.apply
        y: torch.Tensor = apply(x, self.numbers, self.tuned())
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
