"""GPTQ onto blocks of integers with zero points, as `scripts.methods.integer_grid` has them."""

import numpy as np
import torch

from scripts.methods.block_grid import BlockGrid, Storage
from scripts.methods.gptq import Factor, gptq
from scripts.methods.integer_grid import GridOptions, IntegerGrid, Rounded


def block_grid(options: GridOptions) -> BlockGrid:
    """What GPTQ rounds to."""
    middle = 2 ** (options.bits - 1)
    if options.symmetric:
        return BlockGrid(tuple(range(-middle, middle)), options.block_size)
    levels = tuple(range(2 * middle))
    return BlockGrid(levels, options.block_size, with_offset=True, storage=Storage.ZERO_POINTS)


def integer_gptq(
    weight: torch.Tensor, factor: Factor, options: GridOptions, *, rounds: int
) -> Rounded:
    """Codes and their grid for a weight [N, K]; `factor` is that of its Hessian and keeps blocks
    together, `rounds` counts the refinements."""
    rounded = gptq(weight, factor, block_grid(options), rounds=rounds)
    zeros = np.full_like(rounded.scales, 2 ** (options.bits - 1))
    if not options.symmetric:
        # A block of zeros has no scale; its codes are zero, whatever the zero point is.
        whole = np.divide(-rounded.offsets, rounded.scales, where=rounded.scales != 0, out=zeros)
        zeros = np.rint(whole)
    scales = torch.from_numpy(rounded.scales)
    codes = torch.from_numpy(rounded.codes)
    return codes, IntegerGrid(scales, torch.from_numpy(zeros), options.bits, options.block_size)
