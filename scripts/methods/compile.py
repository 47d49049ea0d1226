"""Compile the loops of `scripts.methods.kernels`, once: numba keeps them beside their sources.

python -m scripts.methods.compile
"""

import torch

from scripts.methods.block_grid import BlockGrid
from scripts.methods.gptq import best_scales, factor, gptq

if __name__ == "__main__":
    grid, weights = BlockGrid((-1, 0, 1), 4), torch.ones(2, 8)
    share = factor(torch.eye(8), (4,), 0.01)
    gptq(weights, share, grid, rounds=1)
    best_scales(weights, share, grid)
