"""The grid of block-wise integers: scales and zero points, and which of them suit a weight.

Weights are [N, K] here, one row per output; each run of `block_size` columns of a row is a block
with a scale and a zero point: the value is (code - zero point) · scale. Scales are float16 numbers,
which is how they are stored.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

# How far ranges are clipped, in how many steps: finer grids have less to gain.
_SHRINKS = {4: (0.5, 8), 8: (0.92, 3)}
_REFITS = 3
_ROWS = 512  # searched together, to stay within the processor's cache
_MIN_SCALE = 2.0**-24  # the smallest float16 above zero


@dataclass(frozen=True)
class GridOptions:
    """All zero points of a symmetric grid are 2^(bits - 1); `bits` is 4 or 8."""

    bits: int
    block_size: int
    symmetric: bool


@dataclass(frozen=True)
class IntegerGrid:
    """Scales and zero points [N, K / block_size], float32; zero points are integers."""

    scales: torch.Tensor
    zeros: torch.Tensor
    bits: int
    block_size: int

    def expanded(self, index: torch.Tensor | slice) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales and zero points [N, n] of some columns of the weight."""
        width = self.scales.shape[1] * self.block_size
        blocks = torch.arange(width)[index] // self.block_size
        return self.scales[:, blocks], self.zeros[:, blocks]

    def quantise(self, weight: torch.Tensor) -> torch.Tensor:
        """Nearest integer codes [N, K] of a weight [N, K], as float32."""
        return nearest(weight, *self.expanded(slice(None)), self.bits)

    def dequantise(self, codes: torch.Tensor) -> torch.Tensor:
        """The weight [N, K] that integer codes [N, K] stand for."""
        scales, zeros = self.expanded(slice(None))
        return (codes - zeros) * scales


# Integer codes [N, K] and their grid.
Rounded = tuple[torch.Tensor, IntegerGrid]


def joined(parts: Sequence[Rounded]) -> Rounded:
    """The rows of all the parts, which have one number of bits and one block size."""
    codes, grids = zip(*parts, strict=True)
    scales, zeros = (torch.cat([getattr(g, name) for g in grids]) for name in ("scales", "zeros"))
    return torch.cat(codes), replace(grids[0], scales=scales, zeros=zeros)


def nearest(
    weight: torch.Tensor, scales: torch.Tensor, zeros: torch.Tensor, bits: int
) -> torch.Tensor:
    """The integer codes in [0, 2^bits) whose values are nearest to the weight's."""
    return (weight / scales + zeros).round().clamp(0, 2**bits - 1)


def storable(scales: torch.Tensor) -> torch.Tensor:
    """The nearest scales that float16 holds; none is zero."""
    return scales.half().float().clamp(min=_MIN_SCALE)


def search(
    weight: torch.Tensor, importance: torch.Tensor, options: GridOptions, *, clip: bool = True
) -> IntegerGrid:
    """The grid with the least Σ importance · (weight - value)² per block.

    weight is [N, K], importance [K]. Ranges are clipped by several factors, each followed by
    least squares for the scale; without `clip` none is clipped.
    """
    bits, size = options.bits, options.block_size
    shrinks = torch.linspace(1, *_SHRINKS[bits]).tolist() if clip else [1.0]
    pairs = [
        _search(part, importance.reshape(1, -1, size), bits, options.symmetric, shrinks)
        for part in torch.split(weight, _ROWS)
    ]
    scales, zeros = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return IntegerGrid(scales, zeros, bits, size)


def _search(
    weight: torch.Tensor, shares: torch.Tensor, bits: int, symmetric: bool, shrinks: list[float]
) -> tuple[torch.Tensor, torch.Tensor]:
    blocks = weight.reshape(len(weight), *shares.shape[1:])
    low = blocks.amin(-1, keepdim=True).clamp(max=0)
    high = blocks.amax(-1, keepdim=True).clamp(min=0)
    magnitude = torch.maximum(-low, high)
    max_code = 2**bits - 1
    best = torch.full_like(low, torch.inf)
    scales, zeros = torch.ones_like(low), torch.full_like(low, 2.0 ** (bits - 1))
    for shrink in shrinks:
        if symmetric:
            scale, zero = magnitude * shrink / (2 ** (bits - 1) - 0.5), zeros
        else:
            scale = (high - low) * shrink / max_code
            zero = (-low * shrink / scale.clamp(min=_MIN_SCALE)).round().clamp(0, max_code)
        scale = storable(scale)
        for _ in range(_REFITS):
            levels = nearest(blocks, scale, zero, bits) - zero
            loss = (shares * (blocks - levels * scale).square()).sum(-1, keepdim=True)
            better = loss < best
            best = torch.where(better, loss, best)
            scales, zeros = torch.where(better, scale, scales), torch.where(better, zero, zeros)
            weighted = shares * levels
            fit = (weighted * blocks).sum(-1, keepdim=True)
            scale = storable(fit / (weighted * levels).sum(-1, keepdim=True).clamp(min=1e-30))
    return scales[..., 0], zeros[..., 0]
