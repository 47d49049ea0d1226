"""The graph's side of SmoothQuant: factors are folded into what makes each activation."""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.captured import captured_name
from scripts.backends.onnx.fold import Site, fold, readers_weight, sites
from scripts.backends.onnx.graph import Linear
from scripts.calibration.stored import Captured
from scripts.methods.smoothquant import Activation, best_factors
from scripts.progress import track

Factors = Mapping[str, NDArray[np.float32]]
"""What activations are divided by: [K] by the activation's name."""


def smooth(model: ir.Model, captured: Captured, integer: list[Linear]) -> Factors:
    """Fold the best factors into the graph for each activation that only integer MatMuls read.

    Returns the factors [K] that each activation was divided by, by its name; activations that
    can't be scaled, and those that the capture has not seen, are not among them.
    """
    nodes = {linear.node for linear in integer}
    factors = {}
    chosen = [
        site
        for site in sites(model)
        if all(one.node in nodes for one in site.readers)
        and captured_name(site.readers[0], captured) is not None
    ]
    for site in track(chosen, "smoothing"):
        weight = readers_weight(site.readers)
        factors[site.name] = best_factors(weight, activation_of(site, captured), site.shared)
        fold(model, site, factors[site.name])
    return factors


def activation_of(site: Site, captured: Captured) -> Activation:
    """What the capture tells of a site's activation."""
    name = captured_name(site.readers[0], captured)
    assert name is not None
    return Activation(*captured.range(name), captured.mean_square(name))
