"""Groups of integer codes with a scale and an offset, both float16: a value is
code · scale + offset.

Offsets are no multiples of the scale, as zero points are, so that a group's grid begins where it is
best. Weights are [N, K], one row per output.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.methods.block_grid import BlockGrid

# How far in, as parts of the range, lie the lowest and the highest value; finer grids have less to
# gain.
_COARSE = ((0.0, 0.0), (0.05, 0.05), (0.1, 0.1), (0.17, 0.17), (0.1, 0.0), (0.0, 0.1))
_FINE = ((0.0, 0.0), (0.02, 0.02))
_REFITS = 3
_ROWS = 512  # searched together, to stay within the processor's cache
_LEAST = 1e-4  # a column that no input reaches counts so much, in times the mean
_TINY = 1e-30


@dataclass(frozen=True)
class Groups:
    """`codes` uint8 [N, K]; `scales` and `offsets` float32 [N, groups], which float16 holds."""

    codes: NDArray[np.uint8]
    scales: NDArray[np.float32]
    offsets: NDArray[np.float32]


@dataclass(frozen=True)
class Affine:
    """`bits` of a code, and `group` columns of a row that share a scale and an offset."""

    bits: int
    group: int

    def grid(self) -> BlockGrid:
        """What GPTQ rounds to."""
        return BlockGrid(tuple(range(2**self.bits)), self.group, with_offset=True)

    def nearest(self, weight: torch.Tensor, importance: torch.Tensor | None = None) -> Groups:
        """The grid of each group of a weight [N, K] with the least
        Σ importance · (weight - value)², and the nearest codes; importance is [K].

        Without it a weight counts by its size and its group's, |w| + root mean square, as in
        llama.cpp's search for k-quants (ggml-quants.c): the largest carry most of an output. Ranges
        are clipped by several parts, each followed by least squares for scale and offset.
        """
        parts = []
        for rows in torch.split(weight.float(), _ROWS):
            groups = rows.reshape(len(rows), -1, self.group)
            if importance is None:
                shares = groups.abs() + groups.square().mean(-1, keepdim=True).sqrt()
            else:
                shares = (importance / importance.mean().clamp(min=_TINY)).clamp(min=_LEAST)
            parts.append(self._search(groups, shares.view(-1, *groups.shape[1:])))
        codes, scales, offsets = (torch.cat(one) for one in zip(*parts, strict=True))
        return Groups(codes.view(weight.shape).numpy(), scales.numpy(), offsets.numpy())

    def _search(
        self, groups: torch.Tensor, shares: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        low, high = groups.amin(-1, keepdim=True), groups.amax(-1, keepdim=True)
        span, top = high - low, 2**self.bits - 1
        best = torch.full_like(low, torch.inf)
        scales, offsets = torch.zeros_like(low), low.half().float()
        codes = torch.zeros_like(groups, dtype=torch.uint8)
        for below, above in _COARSE if self.bits <= 4 else _FINE:
            scale, offset = span * (1 - below - above) / top, low + below * span
            for _ in range(_REFITS):
                scale, offset = scale.half().float(), offset.half().float()
                inverse = torch.where(scale == 0, scale, 1 / scale)
                levels = ((groups - offset) * inverse).round().clamp(0, top)
                loss = (shares * (groups - levels * scale - offset).square()).sum(-1, keepdim=True)
                better = loss < best
                best = torch.where(better, loss, best)
                scales, offsets = (
                    torch.where(better, new, old)
                    for new, old in ((scale, scales), (offset, offsets))
                )
                codes = torch.where(better, levels.to(torch.uint8), codes)
                scale, offset = _least_squares(groups, levels, shares)
        return codes, scales[..., 0], offsets[..., 0]


def _least_squares(
    groups: torch.Tensor, levels: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The scale and the offset with the least Σ shares · (groups - levels · scale - offset)²."""
    weighted, total = shares * levels, shares.sum(-1, keepdim=True)
    level, value = weighted.sum(-1, keepdim=True), (shares * groups).sum(-1, keepdim=True)
    square = (weighted * levels).sum(-1, keepdim=True)
    product = (weighted * groups).sum(-1, keepdim=True)
    scale = (total * product - level * value) / (total * square - level * level).clamp(min=_TINY)
    return scale, (value - scale * level) / total.clamp(min=_TINY)
