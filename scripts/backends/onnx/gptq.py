"""GPTQ on the grid of block-wise integers; its mathematics are in scripts/calibration/gptq.py."""

from dataclasses import dataclass

import torch

from scripts.methods.gptq import (
    compensate,
    damp,
    descend,
    inverse_factor_order,
    least_squares_scales,
    loss,
)
from scripts.methods.integer_grid import Grid, nearest, search, with_scales


@dataclass(frozen=True)
class Settings:
    """`damping` is the share of H's mean diagonal that is added to it; `rounds` counts the
    refinements after the paper's pass."""

    bits: int
    block_size: int
    symmetric: bool
    damping: float
    rounds: int


@dataclass(frozen=True)
class IntegerColumns:
    """Scales and zero points [K, N] of some columns; a level is a whole number less its zero."""

    scales: torch.Tensor
    zeros: torch.Tensor
    bits: int

    @classmethod
    def of(cls, grid: Grid, index: torch.Tensor | slice) -> "IntegerColumns":
        """The columns `index` of a grid."""
        scales, zeros = (part.T.contiguous() for part in grid.columns(index))
        return cls(scales, zeros, grid.bits)

    def nearest(self, at: int, wanted: torch.Tensor) -> torch.Tensor:
        """As `Columns.nearest`."""
        zeros = self.zeros[at]
        return nearest(wanted, self.scales[at], zeros, self.bits) - zeros


def gptq(
    weight: torch.Tensor, hessian: torch.Tensor, settings: Settings
) -> tuple[torch.Tensor, Grid]:
    """Whole numbers [N, K] and their grid for a weight [N, K] and H [K, K], all float32.

    A column that is never fed anything (H's diagonal is 0) is rounded to nearest.
    """
    damped = damp(hessian, settings.damping)
    order, factor = inverse_factor_order(damped)
    grid = search(
        weight,
        damped.diagonal(),
        bits=settings.bits,
        block_size=settings.block_size,
        symmetric=settings.symmetric,
    )
    zeros = grid.columns(slice(None))[1]
    numbers = compensate(weight, order, factor, IntegerColumns.of(grid, order)) + zeros
    best = loss(weight, grid.values(numbers), damped)
    for _ in range(settings.rounds):
        levels = numbers - zeros
        scales = least_squares_scales(weight, levels, grid.block_size, damped)
        refit = with_scales(grid, scales)
        moved = descend(weight, levels, IntegerColumns.of(refit, slice(None)), damped) + zeros
        now = loss(weight, refit.values(moved), damped)
        # Row by row: scales that had to be rounded to float16 may make one row worse.
        better = (now < best)[:, None]
        numbers = torch.where(better, moved, numbers)
        scales = torch.where(better, refit.scales, grid.scales)
        grid = Grid(scales, grid.zeros, grid.bits, grid.block_size)
        best = torch.minimum(best, now)
    return numbers, grid
