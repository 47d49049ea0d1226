"""The base's side of AWQ: factors are folded into what makes each activation."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch

from scripts.backends.compressed_tensors.layouts import Packed
from scripts.backends.compressed_tensors.schemes import Settings, layout_of
from scripts.backends.folding import Folding, Site, fold, sites
from scripts.backends.hessians import Hessians
from scripts.checkpoint import Checkpoints
from scripts.methods.awq import best_factors
from scripts.methods.integer_grid import GridOptions
from scripts.progress import track
from scripts.workers import available_cores, single_core_workers


def folding_of(inputs: Mapping[str, Path], settings: Settings) -> Folding:
    """The best factors wherever an activation can be scaled. Raises QuantmakeError as `sites` and
    `Hessians`."""
    places = sites(inputs["base"], "method: awq")
    hessians = Hessians(inputs["capture"], [site.readers[0] for site in places], "error")
    layout = layout_of(settings)
    assert isinstance(layout, Packed)
    options = GridOptions(layout.bits, layout.divisor, symmetric=True)
    checkpoints = Checkpoints.of_this_run()

    def best(site: Site, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        found = best_factors(weight, hessians.of(site.readers[0]), site.shared, options, pool)
        return {"factors": torch.from_numpy(found)}

    def choose(site: Site, weight: torch.Tensor) -> torch.Tensor:
        return checkpoints.result(f"scale {site.maker}", partial(best, site, weight))["factors"]

    with torch.inference_mode(), single_core_workers(available_cores()) as pool:
        return fold(inputs["base"], track(places, "scaling"), choose)
