"""RTN: each weight is rounded to the nearest of a grid that fits its block."""

import torch

from scripts.methods.integer_grid import GridOptions, Rounded, search


def rtn(weight: torch.Tensor, options: GridOptions) -> Rounded:
    """Integer codes [N, K] and their grid, the one with the least squared error, for a weight
    [N, K]."""
    grid = search(weight, torch.ones(weight.shape[1]), options)
    return grid.quantise(weight), grid
