"""The base's side of SmoothQuant: factors are folded into what makes each activation."""

from collections.abc import Mapping
from pathlib import Path

import torch

from scripts.backends.compressed_tensors.schemes import Settings
from scripts.backends.folding import Folding, Site, fold, sites
from scripts.calibration.stored import Captured
from scripts.methods.smoothquant import Activation, best_factors
from scripts.progress import track
from scripts.workers import one_thread


def folding_of(inputs: Mapping[str, Path], _: Settings) -> Folding:
    """The best factors wherever an activation can be scaled. Raises QuantmakeError as `sites`."""
    captured = Captured(inputs["capture"])

    def choose(site: Site, weight: torch.Tensor) -> torch.Tensor:
        name = site.readers[0].removesuffix(".weight")
        activation = Activation(*captured.range(name), captured.mean_square(name))
        return torch.from_numpy(best_factors(weight.T.numpy(), activation, site.shared))

    with torch.inference_mode(), one_thread():
        places = sites(inputs["base"], "smooth: true")
        return fold(inputs["base"], track(places, "smoothing"), choose)
