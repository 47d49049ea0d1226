"""The grid of blocks of small floats, FP8 and FP4: levels times a scale as it is stored.

E4M3 and E2M1: OCP Microscaling Formats v1.0, section 5.3; E4M3 has no infinity and reaches 448.
Weights are [N, K], one row per output; each run of `block_size` columns of a row is a block.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

_FP4 = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_REFITS = 2
_ROWS = 512  # searched together, to stay within the processor's cache
_TINY = 1e-30

Store = Callable[[torch.Tensor], torch.Tensor]
"""The nearest scales above zero that can be stored to some scales, float32."""


@dataclass(frozen=True)
class FloatType:
    """A type of few bits. `stretches` are what a block's scale is multiplied by in a search: how
    its weights lie among the levels changes with it, over an octave."""

    name: Literal["e4m3", "e2m1"]
    largest: float
    stretches: tuple[float, ...]

    def levels(self) -> tuple[float, ...]:
        """All of them, ascending, with one zero."""
        if self.name == "e2m1":
            positive = torch.tensor(_FP4)
        else:
            codes = torch.arange(128, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
            positive = codes[torch.isfinite(codes)]
        return tuple(torch.cat([-positive.flip(0)[:-1], positive]).tolist())

    def nearest(self, ratios: torch.Tensor) -> torch.Tensor:
        """The level nearest to each ratio, of the same shape; what lies beyond is clipped."""
        if self.name == "e4m3":
            inside = ratios.clamp(-self.largest, self.largest)
            return inside.to(torch.float8_e4m3fn).float()
        levels = torch.tensor(_FP4)
        places = torch.bucketize(ratios.abs(), (levels[1:] + levels[:-1]) / 2)
        return levels[places].copysign(ratios)


E4M3 = FloatType("e4m3", 448.0, (1.0, 0.9, 0.8, 0.7, 0.6))
# Beyond 1 the largest weight of a block becomes 4 or 5 in place of 6, where levels lie closer.
E2M1 = FloatType("e2m1", 6.0, (1.0, 0.92, 0.84, 1.1, 1.2, 1.35, 1.5))


@dataclass(frozen=True)
class FloatGrid:
    """Scales [N, K / block_size], float32 and above zero, as they are stored."""

    scales: torch.Tensor
    block_size: int
    kind: FloatType

    def quantise(self, weight: torch.Tensor) -> torch.Tensor:
        """The nearest levels [N, K] to a weight [N, K]."""
        return self.kind.nearest(weight / self._expanded())

    def _expanded(self) -> torch.Tensor:
        return self.scales.repeat_interleave(self.block_size, 1)


def search(
    weight: torch.Tensor, importance: torch.Tensor, block_size: int, kind: FloatType, store: Store
) -> FloatGrid:
    """The grid with the least Σ importance · (weight - value)² per block; importance is [K].

    The scale that the largest magnitude asks for is stretched by several factors, each followed by
    least squares.
    """
    shares = importance.reshape(1, -1, block_size)
    parts = [_search(part, shares, kind, store) for part in torch.split(weight, _ROWS)]
    return FloatGrid(torch.cat(parts), block_size, kind)


def _search(
    weight: torch.Tensor, shares: torch.Tensor, kind: FloatType, store: Store
) -> torch.Tensor:
    blocks = weight.reshape(len(weight), *shares.shape[1:])
    least = blocks.abs().amax(-1, keepdim=True) / kind.largest
    best, scales = torch.full_like(least, torch.inf), store(least)
    for stretch in kind.stretches:
        scale = store(least * stretch)
        for _ in range(_REFITS):
            levels = kind.nearest(blocks / scale)
            loss = (shares * (blocks - levels * scale).square()).sum(-1, keepdim=True)
            better = loss < best
            best, scales = torch.where(better, loss, best), torch.where(better, scale, scales)
            weighted = shares * levels
            fit = (weighted * blocks).sum(-1, keepdim=True)
            scale = store(fit / (weighted * levels).sum(-1, keepdim=True).clamp(min=_TINY))
    return scales[..., 0]
