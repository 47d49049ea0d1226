"""AWQ: columns that are fed large activations are scaled up before rounding.

Lin, Tang, Tang, Yang, Dang, Han: AWQ, MLSys 2024 (arXiv:2306.00978). Each activation's columns are
divided by s = m^α, of their root mean square m, and the weight's rows multiplied by it, with the
α of a grid that leaves the least error in the outputs. The paper measures the error on samples; the
Hessian gives the same mean without them. AutoAWQ needs a GPU and folds into PyTorch modules, so it
is not used.
"""

from collections.abc import Callable
from concurrent.futures import Executor

import numpy as np
import torch
from numpy.typing import NDArray

from scripts.methods.integer_grid import GridOptions, search

# Of α: the best of coarse steps, then of its neighbours.
_COARSE, _FINE = 0.2, 0.1
Factors = NDArray[np.float32]


def best_factors(
    weight: torch.Tensor,
    hessian: torch.Tensor,
    shared: Callable[[Factors], Factors],
    options: GridOptions,
    pool: Executor,
) -> Factors:
    """The factors [K] with the least output error of a weight [N, K] whose inputs have H [K, K].

    `shared` makes factors equal where columns of the activation are copies of one. The factors of
    each α are weighed in a thread of their own of `pool`.
    """
    rms = np.sqrt(hessian.diagonal().numpy()).clip(1e-8)

    def of(alpha: float) -> Factors:
        return shared(_balanced(rms**alpha))

    def error(alpha: float) -> float:
        return output_error(weight, hessian, torch.from_numpy(of(alpha)), options)

    alphas = np.arange(0, 1 + _FINE, _COARSE).tolist()
    errors = dict(zip(alphas, pool.map(error, alphas), strict=True))
    best = min(errors, key=errors.__getitem__)
    near = [alpha for alpha in (best - _FINE, best + _FINE) if 0 <= alpha <= 1]
    errors |= dict(zip(near, pool.map(error, near), strict=True))
    return of(min(errors, key=errors.__getitem__))


def output_error(
    weight: torch.Tensor, hessian: torch.Tensor, factors: torch.Tensor, options: GridOptions
) -> float:
    """tr((W - Q) H (W - Q)ᵀ) where Q is W [N, K] rounded with its columns scaled by factors [K]."""
    scaled = weight * factors
    # As in the paper, ranges are clipped once α is chosen.
    grid = search(scaled, hessian.diagonal() / factors.square(), options, clip=False)
    error = weight - grid.dequantise(grid.quantise(scaled)) / factors
    return float((error @ hessian * error).sum())


def _balanced(factors: Factors) -> Factors:
    """Factors divided by the geometric mean of their maximum and minimum, as in the paper."""
    balanced: Factors = factors / np.sqrt(factors.max() * factors.min())
    return balanced.astype(np.float32)
