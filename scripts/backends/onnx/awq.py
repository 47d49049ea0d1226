"""AWQ: columns that are fed large activations are scaled up before rounding.

Lin, Tang, Tang, Yang, Dang, Han: AWQ, MLSys 2024 (arXiv:2306.00978). Each activation's columns are
divided by s = m^α, of their root mean square m, and the weight's rows multiplied by it, with the
α of a grid that leaves the least error in the outputs. The division is folded into what makes the
activation. The paper measures the error on samples; the Hessian gives the same mean without them.
AutoAWQ needs a GPU and folds into PyTorch modules, so it is not used.
"""

from functools import partial

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from scripts.backends.onnx.blockwise import Blockwise, captured_name, hessian_of, rows_of
from scripts.backends.onnx.fold import Site, fold, readers_weight, sites
from scripts.calibration.stored import Captured
from scripts.checkpoint import Checkpoints
from scripts.methods.integer_grid import search
from scripts.progress import track

# Of α: the best of coarse steps, then of its neighbours.
_COARSE, _FINE = 0.2, 0.1


def scale_columns(model: ir.Model, captured: Captured, options: Blockwise) -> None:
    """Fold the best factors into the graph, wherever an activation can be scaled."""
    chosen = [
        site
        for site in sites(model)
        if not site.readers[0].columns % options.block_size
        and captured_name(site.readers[0], captured) is not None
    ]
    checkpoints = Checkpoints.of_this_run()

    def factors(site: Site) -> dict[str, torch.Tensor]:
        return {"factors": torch.from_numpy(best_factors(site, captured, options))}

    with torch.inference_mode():
        for site in track(chosen, "scaling"):
            name = f"scale {site.readers[0].name}"
            found = checkpoints.result(name, partial(factors, site))
            fold(model, site, found["factors"].numpy())


def best_factors(site: Site, captured: Captured, options: Blockwise) -> NDArray[np.float32]:
    """The factors [K] with the least output error of all readers together."""
    hessian = hessian_of(site.readers[0], captured)
    rms = np.sqrt(hessian.diagonal().numpy()).clip(1e-8)
    weight = rows_of(readers_weight(site.readers))

    def of(alpha: float) -> NDArray[np.float32]:
        return site.shared(_balanced(rms**alpha))

    def error(alpha: float) -> float:
        return output_error(weight, hessian, torch.from_numpy(of(alpha)), options)

    errors = {alpha: error(alpha) for alpha in np.arange(0, 1 + _FINE, _COARSE).tolist()}
    best = min(errors, key=errors.__getitem__)
    near = [alpha for alpha in (best - _FINE, best + _FINE) if 0 <= alpha <= 1]
    errors |= {alpha: error(alpha) for alpha in near}
    return of(min(errors, key=errors.__getitem__))


def output_error(
    weight: torch.Tensor, hessian: torch.Tensor, factors: torch.Tensor, options: Blockwise
) -> float:
    """tr((W - Q) H (W - Q)ᵀ) where Q is W [N, K] rounded with its columns scaled by factors [K]."""
    scaled = weight * factors
    grid = search(
        scaled,
        hessian.diagonal() / factors.square(),
        bits=options.bits,
        block_size=options.block_size,
        symmetric=options.symmetric,
        clip=False,  # as in the paper, ranges are clipped once α is chosen
    )
    error = weight - grid.values(grid.quantise(scaled)) / factors
    return float((error @ hessian * error).sum())


def _balanced(factors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Factors divided by the geometric mean of the greatest and the least, as in the paper."""
    found: NDArray[np.float32] = factors / np.sqrt(factors.max() * factors.min())
    return found.astype(np.float32)
