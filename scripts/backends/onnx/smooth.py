"""SmoothQuant: activations give their outliers to the weights, so that both fit into 8 bits.

Xiao, Lin, Seznec, Wu, Demouth, Han: SmoothQuant, ICML 2023 (arXiv:2211.10438). The columns of an
activation are divided by max|x|^α / max|w|^(1 - α), folded into what makes it. The paper takes
one α for the model; here each activation gets the α of a grid with the least error expected in
the outputs of the MatMuls that read it.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from scripts.backends.onnx.blockwise import captured_name
from scripts.backends.onnx.fold import Site, fold, readers_weight, sites
from scripts.backends.onnx.graph import Linear
from scripts.calibration.stored import Captured
from scripts.progress import track

_ALPHAS = np.linspace(0, 1, 21)
_LEAST = 1e-5
_STEPS = 255  # of an 8-bit activation
_GREATEST = 127  # of an 8-bit weight


def smooth(
    model: ir.Model, captured: Captured, integer: list[Linear]
) -> Mapping[str, NDArray[np.float32]]:
    """Fold the best factors into the graph for each activation that only integer MatMuls read.

    Returns the factors [K] that each activation was divided by, by its name; activations that
    can't be scaled, and those that the capture has not seen, are not among them.
    """
    nodes = {linear.node for linear in integer}
    chosen = [
        site
        for site in sites(model)
        if all(one.node in nodes for one in site.readers)
        and captured_name(site.readers[0], captured) is not None
    ]
    factors = {}
    for site in track(chosen, "smoothing"):
        factors[site.name] = best_factors(site, captured)
        fold(model, site, factors[site.name])
    return factors


def best_factors(site: Site, captured: Captured) -> NDArray[np.float32]:
    """The factors [K] with the least error expected in the outputs of all readers."""
    name = captured_name(site.readers[0], captured)
    assert name is not None
    least, greatest = captured.range(name)
    square = captured.mean_square(name)
    weight = readers_weight(site.readers)
    peak = np.maximum(-least, greatest).clip(_LEAST)
    heaviest = np.abs(weight).max(1).clip(_LEAST)
    candidates = [np.ones_like(peak)]
    for alpha in _ALPHAS.tolist():
        factors = peak**alpha / heaviest ** (1 - alpha)
        candidates.append(site.shared(factors / np.exp(np.log(factors).mean())))
    return min(
        (one.astype(np.float32) for one in candidates),
        key=lambda one: expected_error(
            weight * one[:, None], least / one, greatest / one, square / one**2
        ),
    )


def expected_error(
    weight: NDArray[np.float32],
    least: NDArray[np.float32],
    greatest: NDArray[np.float32],
    square: NDArray[np.float32],
) -> float:
    """Mean squared error of a row of X W, summed over its columns, when X has one scale for all
    and each column of W [K, N] its own; rounding errors are taken as uniform and independent.

    `least`, `greatest` and `square` [K] are the range and the mean square of X's columns.
    """
    step = (max(float(greatest.max()), 0) - min(float(least.min()), 0)) / _STEPS
    own = np.abs(weight).max(0) / _GREATEST
    of_activation = step**2 / 12 * float(np.square(weight, dtype=np.float64).sum())
    of_weight = float(np.square(own, dtype=np.float64).sum()) / 12 * float(square.sum())
    return of_activation + of_weight
