"""The graph's side of AWQ: factors are folded into what makes each activation."""

from functools import partial

import onnx_ir as ir
import torch

from scripts.backends.captured import captured_name, hessian_of
from scripts.backends.conversion import rows_of
from scripts.backends.onnx.fold import Site, fold, readers_weight, sites
from scripts.calibration.stored import Captured
from scripts.checkpoint import Checkpoints
from scripts.methods.awq import best_factors
from scripts.methods.integer_grid import GridOptions
from scripts.progress import track
from scripts.workers import available_cores, single_core_workers


def scale_columns(model: ir.Model, captured: Captured, options: GridOptions) -> None:
    """Fold the best factors into the graph, wherever an activation can be scaled."""
    chosen = [
        site
        for site in sites(model)
        if not site.readers[0].columns % options.block_size
        and captured_name(site.readers[0], captured) is not None
    ]
    checkpoints = Checkpoints.of_this_run()

    def factors(site: Site) -> dict[str, torch.Tensor]:
        best = best_factors(
            rows_of(readers_weight(site.readers)),
            hessian_of(site.readers[0], captured),
            site.shared,
            options,
            pool,
        )
        return {"factors": torch.from_numpy(best)}

    with torch.inference_mode(), single_core_workers(available_cores()) as pool:
        for site in track(chosen, "scaling"):
            kept = checkpoints.result(f"scale {site.readers[0].name}", partial(factors, site))
            fold(model, site, kept["factors"].numpy())
