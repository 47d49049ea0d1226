"""The refinements of `scripts.methods.gptq` for blocks that are made of groups.

Offsets, and what one unit of integer scales is, stay as the search chose them; a group's scale and
its codes move.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from scripts.methods.block_gptq import DAMPING, ratio
from scripts.methods.block_grid import BlockGrid, Blocks, Rounded
from scripts.methods.gptq import damp, refine, values

_ROWS = 512  # at once: least squares takes a matrix [groups, groups] for each row


@dataclass(frozen=True)
class _Columns:
    """As `scripts.methods.gptq.Columns`."""

    scales: Tensor
    levels: Tensor

    def nearest(self, at: int, wanted: Tensor) -> Tensor:
        """The levels [N] whose values come nearest to `wanted` [N]."""
        middles = (self.levels[1:] + self.levels[:-1]) / 2
        return self.levels[torch.bucketize(ratio(wanted, self.scales[at]), middles)]


@dataclass(frozen=True)
class _Groups:
    """As `scripts.methods.gptq.Grid`: scales [N, groups]; `units` [N, groups] is what they are
    integer multiples of, where they are."""

    kind: BlockGrid
    scales: Tensor
    units: Tensor

    @property
    def block_size(self) -> int:
        """Columns with one scale."""
        return self.kind.group

    def columns(self, index: Tensor | slice) -> _Columns:
        """The columns `index` of the weight, in that order."""
        groups = torch.arange(self.scales.shape[1] * self.block_size)[index] // self.block_size
        levels = torch.tensor(self.kind.levels, dtype=torch.float32)
        return _Columns(self.scales[:, groups].T.contiguous(), levels)

    def refitted(self, scales: Tensor) -> "_Groups":
        """With the nearest scales that can be stored; where one is not finite, the old stays."""
        if self.kind.scales is None:
            stored = scales.half().float()
        else:
            stored = ratio(scales, self.units).round().clamp(*self.kind.scales) * self.units
        return replace(self, scales=torch.where(torch.isfinite(stored), stored, self.scales))

    def in_rows(self, rows: Tensor, other: "_Groups") -> "_Groups":
        """The scales of `other` where `rows` [N, 1] is true."""
        return replace(self, scales=torch.where(rows, other.scales, self.scales))


def refined(
    weights: Tensor, rounded: Rounded, hessian: Tensor, kind: BlockGrid, rounds: int
) -> Rounded:
    """What `block_gptq.gptq` gave for `weights` [rows, columns] and H, with no more loss under
    the damped H in any row: least squares for the scales, then one sweep over the columns, as many
    times as `rounds` says."""
    damped = damp(hessian, DAMPING)
    parts = []
    for rows in (slice(start, start + _ROWS) for start in range(0, len(weights), _ROWS)):
        blocks = [
            replace(one, **{field.name: getattr(one, field.name)[rows] for field in fields(one)})
            for one in rounded.blocks
        ]
        moved, error = _refined(weights[rows].float(), blocks, damped, kind, rounds)
        parts.append(Rounded(moved, (error @ hessian * error).sum(1)))
    return Rounded.of_rows(parts)


def _refined(
    weights: Tensor, blocks: list[Blocks], damped: Tensor, kind: BlockGrid, rounds: int
) -> tuple[list[Blocks], Tensor]:
    """The blocks, and what they differ from the weights by [rows, columns]."""

    def joined(parts: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(parts, 1))

    groups = kind.block // kind.group
    units = joined([block.scale for block in blocks]).float().repeat_interleave(groups, 1)
    lows = joined([block.offset for block in blocks]).float().repeat_interleave(groups, 1)
    scales = units * joined([block.scales for block in blocks])
    offsets = lows * joined([block.offsets for block in blocks])
    target = weights - offsets.repeat_interleave(kind.group, 1)
    steps = torch.tensor(kind.levels, dtype=torch.float32)
    levels = steps[joined([block.codes for block in blocks]).long()]
    levels, grid = refine(target, levels, _Groups(kind, scales, units), damped, rounds)
    codes = torch.searchsorted(steps, levels.contiguous()).to(torch.uint8).numpy()
    moved = []
    for at, block in enumerate(blocks):
        mine = grid.scales[:, at * groups : (at + 1) * groups]
        unit = mine if kind.scales is None else torch.from_numpy(block.scale).float()
        integers = ratio(mine, unit).round().int().numpy()
        inside = codes[:, at * kind.block : (at + 1) * kind.block]
        scale = unit.half().numpy()
        moved.append(replace(block, codes=inside, scale=scale, scales=integers))
    return moved, target - values(levels, grid)
