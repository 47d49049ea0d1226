"""A linear layer whose levels are fixed and whose scales are learnt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

Store = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Part:
    """Levels, and the scales that they are multiplied by; a weight [N, K] is a sum of parts.

    `levels` [N, K / block, groups, columns], of which the last two may be 1 where all that they
    stand for are alike, as offsets are; `scales` [N, K / block], one for each block. `store` gives
    of scales what the file can hold; without it, every float is held.
    """

    levels: torch.Tensor
    scales: torch.Tensor
    store: Store | None = None


def as_half(scales: torch.Tensor) -> torch.Tensor:
    """What FP16 holds."""
    return scales.half().float()


def dequantised(levels: Sequence[torch.Tensor], scales: Sequence[torch.Tensor]) -> torch.Tensor:
    """The weight [N, K] of the parts' levels and scales."""
    first, *others = (
        one * scale[..., None, None] for one, scale in zip(levels, scales, strict=True)
    )
    return sum(others, first).flatten(1)


class _Product(torch.autograd.Function):
    """x Wᵀ, which keeps the levels for the way back in place of W in float."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, *parts)
        return x @ dequantised(parts[::2], parts[1::2]).T

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, *parts = ctx.saved_tensors
        levels, scales = parts[::2], parts[1::2]
        (grad,) = grads
        of_input = grad @ dequantised(levels, scales)
        of_weight = grad.flatten(0, -2).T @ x.flatten(0, -2)
        of_blocks = of_weight.view(levels[0].shape)
        of_scales = [(of_blocks * one).sum((-1, -2)) for one in levels]
        return of_input, *(one for scale in of_scales for one in (None, scale))


class BlockLinear(nn.Module):
    """y = x Wᵀ + b with W = Σ levels · scales · (1 + change) over its parts, the first of which
    has every column; each `changes` [N, K / block] is learnt."""

    def __init__(self, parts: Sequence[Part], bias: torch.Tensor | None) -> None:
        super().__init__()
        self.parts = tuple(parts)
        self.changes = nn.ParameterList(torch.zeros_like(part.scales) for part in parts)
        self.bias = bias

    def tuned(self) -> list[torch.Tensor]:
        """The scales of the parts, as the file would hold them now."""
        return [
            stored(part.scales * (1 + change), part.store)
            for part, change in zip(self.parts, self.changes, strict=True)
        ]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """As torch's Linear."""
        apply: Any = _Product.apply
        levels = (part.levels for part in self.parts)
        pairs = zip(levels, self.tuned(), strict=True)
        y: torch.Tensor = apply(x, *(one for pair in pairs for one in pair))
        return y if self.bias is None else y + self.bias


def stored(values: torch.Tensor, store: Store | None) -> torch.Tensor:
    """What the file would hold; the gradient goes through the rounding as if there were none
    (Bengio et al., 2013, arXiv:1308.3432)."""
    if store is None:
        return values
    return values + (store(values.detach()) - values.detach())


class Scaled(nn.Module):
    """A parametrisation of a norm's weight: (weight + shift) · (1 + change) − shift; `change` is
    learnt. The shift is what the norm itself adds to its weight, such as Gemma's 1."""

    def __init__(self, weight: torch.Tensor, shift: float = 0, store: Store | None = None) -> None:
        super().__init__()
        self.weight: torch.Tensor
        self.register_buffer("weight", weight)
        self.shift, self.store = shift, store

    def forward(self, change: torch.Tensor) -> torch.Tensor:
        """The weight as it is now."""
        changed = (self.weight + self.shift) * (1 + change) - self.shift
        return stored(changed, self.store)
