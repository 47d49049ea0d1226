"""HQQ: a grid that resists outliers, found without any data.

Badri, Shaji: Half-Quadratic Quantization of Large Machine Learning Models, 2023
(https://mobiusml.github.io/hqq_blog/). Minimises Σ |W - value|^p with p < 1 by half-quadratic
splitting: E ← shrink(W - value), then the zero point in closed form for W - E. The fast kernels of
MatMulNBits hold integer zero points, so the best one is rounded, and the scale, which the paper
keeps fixed, takes its closed form in the same way. The reference code keeps zero points in
float16 and can't be used for these operators.
"""

import torch

from scripts.methods.integer_grid import (
    GridOptions,
    IntegerGrid,
    Rounded,
    nearest,
    search,
    storable,
)

_NORM = 0.7  # p, β and its growth, as in the paper's code
_BETA = 10.0
_GROWTH = 1.01
_STEPS = 20


def hqq(weight: torch.Tensor, options: GridOptions) -> Rounded:
    """Integer codes [N, K] and their grid for a weight [N, K]."""
    bits, block_size = options.bits, options.block_size
    start = search(weight, torch.ones(weight.shape[1]), options)
    rows = weight.shape[0]
    blocks = weight.reshape(rows, -1, block_size)
    scales, zeros = start.scales[..., None], start.zeros[..., None]
    best_scales, best_zeros = scales, zeros
    best = torch.full_like(scales, torch.inf)
    beta = _BETA
    for _ in range(_STEPS):
        codes = nearest(blocks, scales, zeros, bits)
        value = (codes - zeros) * scales
        distance = (blocks - value).abs().pow(_NORM).sum(-1, keepdim=True)
        better = distance < best
        best = torch.where(better, distance, best)
        best_scales = torch.where(better, scales, best_scales)
        best_zeros = torch.where(better, zeros, best_zeros)
        cleaned = blocks - shrink(blocks - value, beta)
        if not options.symmetric:
            zeros = (codes - cleaned / scales).mean(-1, keepdim=True)
            zeros = zeros.round().clamp(0, 2**bits - 1)
        levels = codes - zeros
        scales = storable((levels * cleaned).sum(-1, keepdim=True) / _above_zero(levels))
        beta *= _GROWTH
    grid = IntegerGrid(best_scales[..., 0], best_zeros[..., 0], bits, block_size)
    return grid.quantise(weight), grid


def shrink(error: torch.Tensor, beta: float) -> torch.Tensor:
    """The generalised soft threshold of the paper: what of an error counts as an outlier."""
    size = error.abs()
    kept = size - size.clamp(min=1e-8).pow(_NORM - 1) / beta
    return error.sign() * kept.clamp(min=0)


def _above_zero(levels: torch.Tensor) -> torch.Tensor:
    return levels.square().sum(-1, keepdim=True).clamp(min=1e-30)
