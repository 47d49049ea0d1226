"""The grid of bitsandbytes' 4-bit blocks: 16 levels, and absmax as the file stores it.

Weights are [N, K] here, one row per output; each run of `block_size` columns of a row is a block,
whose values are level · absmax. absmax is [N, K / block_size].
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from bitsandbytes.functional import get_4bit_type

from scripts.backends.bitsandbytes.double_quantisation import Frame

_SHRINKS = (1.0, 0.9, 0.8, 0.7)  # of the range, to try
_REFITS = 2
_ROWS = 512  # searched together, to stay within the processor's cache
_TINY = 1e-30


@dataclass(frozen=True)
class Levels:
    """The 16 values of a 4-bit type, sorted; `order` [16] are their codes in the file."""

    values: torch.Tensor
    order: torch.Tensor

    @classmethod
    def of(cls, quant_type: str) -> "Levels":
        """Those of `nf4` or `fp4`, which has zero twice."""
        table = get_4bit_type(quant_type, device="cpu")
        order = torch.argsort(table, stable=True)
        return cls(table[order], order)

    @cached_property
    def middles(self) -> torch.Tensor:
        """What separates neighbours, [15]."""
        return (self.values[1:] + self.values[:-1]) / 2

    def nearest(self, ratios: torch.Tensor) -> torch.Tensor:
        """The level nearest to each ratio, of the same shape."""
        return self.values[torch.bucketize(ratios, self.middles)]

    def pack(self, levels: torch.Tensor) -> torch.Tensor:
        """Codes of levels [N, K] as the file has them: uint8 [N · K / 2, 1], the first of each
        pair in the high nibble."""
        places = torch.searchsorted(self.values, levels.reshape(-1))
        codes = self.order[places].to(torch.uint8)
        return (codes[::2] << 4 | codes[1::2])[:, None]


@dataclass(frozen=True)
class LevelColumns:
    """Columns of the grid, as `Columns` of scripts/methods/gptq.py; both tensors [K, N]."""

    scales: torch.Tensor
    inverse: torch.Tensor
    levels: Levels

    @classmethod
    def of(cls, absmax: torch.Tensor, index: torch.Tensor, levels: Levels) -> "LevelColumns":
        """The columns whose blocks are `index` [K]. A block with absmax 0 has level 0 only."""
        scales = absmax.T[index].contiguous()
        return cls(scales, torch.where(scales == 0, 0, 1 / scales), levels)

    def nearest(self, at: int, wanted: torch.Tensor) -> torch.Tensor:
        """As `Columns.nearest`."""
        return self.levels.nearest(wanted * self.inverse[at])


@dataclass(frozen=True)
class Absmax:
    """absmax as it is stored, [N, K / block_size]: uint8 codes in a frame, or float32."""

    stored: torch.Tensor
    frame: Frame | None

    @classmethod
    def of(cls, absmax: torch.Tensor, double_quant: bool) -> "Absmax":
        """Stored as bitsandbytes would store these."""
        if not double_quant:
            return cls(absmax, None)
        frame, codes = Frame.of(absmax.reshape(-1))
        return cls(codes.reshape(absmax.shape), frame)

    @cached_property
    def values(self) -> torch.Tensor:
        """What bitsandbytes computes with, float32."""
        return self.stored if self.frame is None else self.frame.values(self.stored)

    def refitted(self, wanted: torch.Tensor) -> "Absmax":
        """The nearest to `wanted` in the same frame; one that is not above zero stays."""
        usable = torch.isfinite(wanted) & (wanted > 0)
        kept = torch.where(usable, wanted, self.values)
        stored = kept if self.frame is None else self.frame.codes(kept)
        return replace(self, stored=torch.where(usable, stored, self.stored))

    def in_rows(self, rows: torch.Tensor, other: "Absmax") -> "Absmax":
        """That of `other`, of the same frame, where `rows` [N, 1] is true."""
        return replace(self, stored=torch.where(rows, other.stored, self.stored))


@dataclass(frozen=True)
class LevelGrid:
    """absmax of the blocks of a weight and the levels: a `Grid` of scripts/methods/gptq.py."""

    absmax: Absmax
    levels: Levels
    block_size: int

    @property
    def scales(self) -> torch.Tensor:
        """As `Grid.scales`."""
        return self.absmax.values

    def columns(self, index: torch.Tensor | slice) -> LevelColumns:
        """As `Grid.columns`."""
        width = self.scales.shape[1] * self.block_size
        blocks = torch.arange(width)[index] // self.block_size
        return LevelColumns.of(self.scales, blocks, self.levels)

    def refitted(self, scales: torch.Tensor) -> "LevelGrid":
        """As `Grid.refitted`."""
        return replace(self, absmax=self.absmax.refitted(scales))

    def in_rows(self, rows: torch.Tensor, other: "LevelGrid") -> "LevelGrid":
        """As `Grid.in_rows`."""
        return replace(self, absmax=self.absmax.in_rows(rows, other.absmax))


def search(
    weight: torch.Tensor, importance: torch.Tensor, block_size: int, levels: Levels
) -> torch.Tensor:
    """absmax with the least Σ importance · (weight - value)² per block; importance is [K].

    The maximum magnitude is shrunk by several factors, each followed by least squares.
    """
    shares = importance.reshape(1, -1, block_size)
    parts = [_search(part, shares, levels.nearest) for part in torch.split(weight, _ROWS)]
    return torch.cat(parts)


def _search(
    weight: torch.Tensor, shares: torch.Tensor, nearest: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    blocks = weight.reshape(len(weight), *shares.shape[1:])
    magnitude = blocks.abs().amax(-1, keepdim=True)
    least_loss, best = torch.full_like(magnitude, torch.inf), magnitude
    for shrink in _SHRINKS:
        absmax = magnitude * shrink
        for _ in range(_REFITS):
            levels = nearest(blocks / absmax.clamp(min=_TINY))
            loss = (shares * (blocks - levels * absmax).square()).sum(-1, keepdim=True)
            better = loss < least_loss
            least_loss = torch.where(better, loss, least_loss)
            best = torch.where(better, absmax, best)
            weighted = shares * levels
            fit = (weighted * blocks).sum(-1, keepdim=True)
            absmax = fit / (weighted * levels).sum(-1, keepdim=True).clamp(min=_TINY)
    return best[..., 0]
